"""Tiles come in raster order: what is one object, whose are shared pixels, what is final."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from mmcell.functional.patches import meeting_boxes, shared_box, view
from mmcell.functional.tiling import TilePlan
from mmcell.inference.tile_matching import Views, match_views
from mmcell.inference.tile_objects import TileResult, tightened
from mmcell.structures import FoundObjects

Pixels = npt.NDArray[Any]
Rows = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Batch = tuple[FoundObjects, Pixels, tuple[int, int]]

_ROW = np.dtype(
    [
        ('uid', np.int64),  # ascending
        ('tile', np.int64),
        ('last', np.int64),  # after this tile nothing can change what is seen of it
        ('box', np.int64, 4),
        ('score', np.float32),
        ('rank', np.float32),
        ('class', np.int64),
        ('whole', bool),
        ('claimed', bool),
        ('witness', bool),
        ('grouped', bool),  # another tile has seen it, too
        ('kept', bool),  # it is an object of the image, with these pixels or fewer
        ('blocked', bool),  # it may lose pixels to another of which that is not known yet
        ('strip', np.int64),  # the stored pixels to hand it out with; 0: none yet
        ('own', bool),  # its mask may be written to
        ('patch', object),
    ]
)

_Group = list[tuple[int, int]]  # uid and tile of each view of one object


class Frontier:
    """Objects that later tiles may still change.

    Holds what lies within the overlap of the lower border of one row of tiles and of the right
    border of one tile, with the pixels around it; and objects that exceed the overlap, with what
    overlaps them, until the last tile that touches them.

    Args:
        plan: of the image.
        read: ``read(x1, y1, x2, y2)`` gives stored pixels; called for objects that are put
            together from several tiles.
    """

    def __init__(self, plan: TilePlan, read: Callable[[int, int, int, int], Pixels]):
        self._plan = plan
        self._read = read
        self._rows = np.zeros(0, _ROW)
        self._next_uid = 1
        self._next_strip = 1
        self._strips: dict[int, tuple[Pixels, tuple[int, int]]] = {}
        self._groups: dict[int, _Group] = {}  # by uid; members of a group share one
        self._waits_for: dict[int, set[int]] = {}
        self._awaited_by: dict[int, list[int]] = defaultdict(list)

    def __len__(self) -> int:
        """How many candidates are held."""
        return len(self._rows)

    def add(self, result: TileResult, done: int) -> list[Batch]:
        """Take the objects of a tile, give those that are final now.

        Args:
            result: of a later tile than all before.
            done: the tiles up to this number are done or have nothing in them.

        Returns:
            Batches of objects, tight and without shared pixels, their ids of no meaning yet; each
            with stored pixels that cover it and the corner of these.
        """
        new = self._new_rows(result)
        self._match(new)
        self._rows = np.concatenate([self._rows, new])
        self._rows['grouped'] = np.isin(self._rows['uid'], list(self._groups))
        decided, gone = self._decide(done)
        self._share_pixels(decided)
        self._unblock([*decided, *gone])
        return self._hand_out(result)

    def _new_rows(self, result: TileResult) -> Rows:
        objects, whole, claimed, witness = result.candidates
        rows = self._rows_of(objects)
        rows['tile'] = result.index
        rows['whole'], rows['claimed'], rows['witness'] = whole, claimed, witness
        return rows

    def _rows_of(self, objects: FoundObjects) -> Rows:
        rows = np.zeros(len(objects), _ROW)
        rows['uid'] = np.arange(len(rows)) + self._next_uid
        self._next_uid += len(rows)
        rows['last'] = self._plan.last_tile(objects.boxes)
        rows['box'], rows['class'] = objects.boxes, objects.classes
        rows['score'], rows['rank'] = objects.scores, objects.ranks
        for k, patch in enumerate(objects.patches):
            rows['patch'][k] = patch
        return rows

    def _positions(self, uids: list[int]) -> IntArray:
        return np.searchsorted(self._rows['uid'], uids)

    # What is one object

    def _match(self, new: Rows) -> None:
        """Group the views of one object that different tiles have."""
        old = self._rows[~self._rows['kept']]  # the others lie where no later tile sees them
        for k, m, is_part in match_views(self._views(new), self._views(old)):
            self._unite(new[k], old[m], is_part)

    def _views(self, rows: Rows) -> Views:
        tiles = rows['tile'].tolist()
        regions = {tile: self._plan[tile].region for tile in set(tiles)}
        return Views(
            rows['box'],
            *(rows[name].tolist() for name in ('patch', 'rank', 'class')),
            (~rows['whole']).tolist(),
            rows['witness'].tolist(),
            [regions[tile] for tile in tiles],
            tiles,
        )

    def _unite(self, first: np.void, second: np.void, is_part: bool) -> None:
        views = [(int(row['uid']), int(row['tile'])) for row in (first, second)]
        one, other = (self._groups.get(view[0], [view]) for view in views)
        # Chains of similar views must not make one of two objects that a tile tells apart.
        if one is other or (not is_part and {t for _, t in one} & {t for _, t in other}):
            return
        joined = [*one, *other]
        self._groups.update((uid, joined) for uid, _ in joined)

    def _decide(self, done: int) -> tuple[list[int], list[int]]:
        """Choose among the views that are complete; uids of rows kept, and of those gone."""
        rows = self._rows
        ready = (rows['last'] <= done) & ~rows['kept']
        alone = ready & ~rows['grouped']
        kept = alone & rows['claimed'] & ~rows['witness']
        gone = alone & ~kept
        assembled = []
        for members in self._complete_groups(ready):
            gone[members] = True
            chosen = self._choose(rows[members])
            if isinstance(chosen, FoundObjects):
                assembled.append(chosen)
            else:
                position = members[chosen]
                kept[position], gone[position] = True, False
        rows['kept'] |= kept
        new = self._rows_of(FoundObjects.cat(assembled))
        new['kept'], new['own'], new['tile'] = True, True, -1
        self._rows = np.concatenate([rows[~gone], new])
        for uid in rows['uid'][(kept | gone) & rows['grouped']].tolist():
            del self._groups[uid]
        return [*rows['uid'][kept].tolist(), *new['uid'].tolist()], rows['uid'][gone].tolist()

    def _complete_groups(self, ready: BoolArray) -> Iterable[IntArray]:
        """Positions of the members of each group all of whose views are ready."""
        uids = self._rows['uid'][ready & self._rows['grouped']].tolist()
        groups = {id(self._groups[uid]): self._groups[uid] for uid in uids}
        for group in groups.values():
            members = self._positions(sorted(uid for uid, _ in group))
            if ready[members].all():
                yield members

    def _choose(self, views: Rows) -> int | FoundObjects:
        """The position of the best view of an object, or one put together from all."""
        seen = np.flatnonzero(~views['witness'])
        whole, cut = seen[views['whole'][seen]], seen[~views['whole'][seen]]
        if len(whole):
            rank = (views['tile'][whole], -views['rank'][whole], ~views['claimed'][whole])
            best = int(whole[np.lexsort(rank)[0]])
            if not len(cut):
                return best
        united = _united(views[seen])
        # A tile that sees the whole of an object has at least what the others have of it.
        if len(whole) and np.count_nonzero(views['patch'][best]) >= united.areas[0]:
            return best
        return united

    # Whose pixels

    def _share_pixels(self, decided: list[int]) -> None:
        """Give pixels that newly decided objects share with others to one of the two."""
        rows, fresh = self._rows, self._positions(decided)
        first, second = meeting_boxes(rows['box'][fresh], rows['box'])
        first = fresh[first]
        is_fresh = np.zeros(len(rows), dtype=bool)
        is_fresh[fresh] = True
        pairs = (first < second) | ((first != second) & ~is_fresh[second])
        pairs &= ~rows['witness'][second]
        boxes, patches = rows['box'].tolist(), rows['patch']
        for a, b in zip(first[pairs].tolist(), second[pairs].tolist(), strict=True):
            both = shared_box(boxes[a], boxes[b])
            shared = view(patches[a], boxes[a], both) & view(patches[b], boxes[b], both)
            if not shared.any():
                continue
            if rows['kept'][b]:
                loser = b if _key(rows[a]) <= _key(rows[b]) else a
            elif rows['rank'][b] < rows['rank'][a]:
                loser = b  # whether it is kept or not
            else:
                self._block(a, b)
                continue
            if not rows['own'][loser]:
                patches[loser], rows['own'][loser] = patches[loser].copy(), True
            view(patches[loser], boxes[loser], both)[shared] = False

    def _block(self, position: int, by: int) -> None:
        """Hold an object back until another is decided."""
        uid, other = (int(self._rows['uid'][k]) for k in (position, by))
        self._rows['blocked'][position] = True
        self._waits_for.setdefault(uid, set()).add(other)
        self._awaited_by[other].append(uid)

    def _unblock(self, uids: Iterable[int]) -> None:
        """Let go what waited for objects that are decided now."""
        for uid in uids:
            for waiting in self._awaited_by.pop(uid, ()):
                self._waits_for[waiting].discard(uid)
                if not self._waits_for[waiting]:
                    del self._waits_for[waiting]
                    self._rows['blocked'][self._positions([waiting])] = False

    # What is final

    def _hand_out(self, result: TileResult) -> list[Batch]:
        """Remove the final objects from those held, and give them with their stored pixels."""
        rows = self._rows
        final = rows['kept'] & ~rows['blocked']
        newest = rows['tile'] == result.index
        self._store_strips(result, newest & ~final & ~rows['witness'])
        out = final & newest
        batches = [_batch([result.settled, _objects(rows[out])], result.pixels, result.corner)]
        for strip in sorted(set(self._strips) - set(rows['strip'][~final].tolist())):
            members = rows['strip'] == strip
            batches.append(_batch([_objects(rows[members])], *self._strips.pop(strip)))
            out |= members
        for position in np.flatnonzero(final & (rows['tile'] < 0)).tolist():
            box = rows['box'][position].tolist()
            objects = _objects(rows[[position]])
            batches.append(_batch([objects], self._read(*box), (box[0], box[1])))
            out[position] = True
        self._rows = rows[~out]
        return [batch for batch in batches if len(batch[0])]

    def _store_strips(self, result: TileResult, late: BoolArray) -> None:
        """Keep the stored pixels of a tile's objects that are final later, and no others."""
        rows = self._rows
        last = rows['last'].copy()
        for position in np.flatnonzero(late & rows['blocked']):
            blockers = self._positions(sorted(self._waits_for[int(rows['uid'][position])]))
            last[position] = max(last[position], *last[blockers])
        # Those at the right are final soon, those at the bottom are a flat strip: two small boxes.
        row_ends = (result.index // self._plan.columns + 1) * self._plan.columns
        for members in (late & (last < row_ends), late & (last >= row_ends)):
            if members.any():
                x1, y1 = rows['box'][members, :2].min(axis=0).tolist()
                x2, y2 = rows['box'][members, 2:].max(axis=0).tolist()
                left, top = result.corner
                pixels = result.pixels[y1 - top : y2 - top, x1 - left : x2 - left].copy()
                self._strips[self._next_strip] = (pixels, (x1, y1))
                rows['strip'][members] = self._next_strip
                self._next_strip += 1


def _key(row: np.void) -> tuple[float, ...]:
    """Sorts as :func:`~mmcell.inference.tile_objects.priority`."""
    x1, y1, x2, y2 = row['box'].tolist()
    return (-float(row['rank']), y1, x1, y2, x2)


def _united(views: Rows) -> FoundObjects:
    """One object of several views, scored as the one of highest rank."""
    boxes = views['box']
    x1, y1 = boxes[:, :2].min(axis=0).tolist()
    x2, y2 = boxes[:, 2:].max(axis=0).tolist()
    mask = np.zeros((y2 - y1, x2 - x1), dtype=bool)
    for patch, box in zip(views['patch'], boxes.tolist(), strict=True):
        part = view(mask, (x1, y1, x2, y2), box)
        part |= patch
    best = views[[int(views['rank'].argmax())]]
    return FoundObjects(
        np.array([[x1, y1, x2, y2]]),
        [mask],
        best['score'],
        best['class'],
        best['uid'],
        best['rank'],
    )


def _objects(rows: Rows) -> FoundObjects:
    objects = FoundObjects.unchecked(
        boxes=rows['box'].copy(),
        patches=rows['patch'].tolist(),
        scores=rows['score'].copy(),
        classes=rows['class'].copy(),
        ids=rows['uid'].copy(),
        ranks=rows['rank'].copy(),
        limits=(),
    )
    return tightened(objects)


def _batch(parts: list[FoundObjects], pixels: Pixels | None, corner: tuple[int, int]) -> Batch:
    """Objects in reading order, which does not depend on the order in a network's output."""
    objects = FoundObjects.cat(parts)
    return objects[np.lexsort((objects.boxes[:, 0], objects.boxes[:, 1]))], pixels, corner
