"""Whether tiles change what is found: an image tiled against the same image in one piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mmcell.evaluation.tables import without_nan
from mmcell.functional.overlap import overlap_table
from mmcell.functional.tiling import TilePlan
from mmcell.inference.image_source import ImageSource
from mmcell.inference.intensity import DisplayRange
from mmcell.inference.stream import Detect
from mmcell.inference.tiles import find_objects
from mmcell.structures import FoundObjects
from mmcell.visualization.overlay import overlay_pair

NEAR_PX = 32
FAR_PX = 128

# What a check passes, see docs/large_images.md.
MAX_COUNT_CHANGE = 0.01
MIN_F1 = 0.98
MAX_F1_LOSS_NEAR = 0.01
MAX_STRAIGHT_EXCESS = 1.1

_SEAM_COLOUR = (255, 255, 255)
_PLACE_PX = 192

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Agreement:
    """How well the objects of one part of the image agree.

    Attributes:
        untiled: objects found in one piece, with their box's centre in that part.
        tiled: objects found in tiles.
        f1: 2 matched / (untiled + tiled) at IoU > 0.5, matched objects counted where they are
            themselves; NaN if there are none.
    """

    untiled: int
    tiled: int
    f1: float


@dataclass(frozen=True)
class SeamReport:
    """Tiled against untiled.

    Attributes:
        size: height, width of the image, in pixels.
        tiles: their number.
        everywhere: all objects.
        near: those with their box's centre within 32 pixels of a border between two cores.
        elsewhere: all others.
        far: those at least 128 pixels away: what they differ in, they would differ in without any
            seam (a network with group norm sees another neighbourhood in each tile).
        straight_tiled: length of objects' outlines per line of pixels that is a border of cores,
            regions or windows, over the same per other line; 1 if borders leave no trace. NaN
            without outlines elsewhere.
        straight_untiled: the same of the objects found in one piece, where it is chance.
        straight_expected: outline pixels that would lie on borders by chance: few mean noise.
        places: (x, y) of objects without a partner, those near seams first, the largest first.
    """

    size: tuple[int, int]
    tiles: int
    everywhere: Agreement
    near: Agreement
    elsewhere: Agreement
    far: Agreement
    straight_tiled: float
    straight_untiled: float
    straight_expected: float
    places: tuple[tuple[int, int], ...]

    @property
    def count_change(self) -> float:
        """(tiled - untiled) / untiled; 0 if both found nothing, else infinite without untiled."""
        untiled, tiled, _ = asdict(self.everywhere).values()
        return (tiled - untiled) / untiled if untiled else float('inf' if tiled else 0)

    @property
    def problems(self) -> list[str]:
        """What a seamless result would not show, in words; empty if the check is passed."""
        found = []
        if abs(self.count_change) > MAX_COUNT_CHANGE:
            found.append(f'the number of objects changes by {self.count_change:+.1%}')
        if self.everywhere.f1 < MIN_F1:
            found.append(f'F1 of tiled against untiled is {self.everywhere.f1:.4f} < {MIN_F1}')
        loss = self.elsewhere.f1 - self.near.f1
        if loss > MAX_F1_LOSS_NEAR:
            found.append(f'F1 is {loss:.4f} lower near seams than elsewhere')
        # Three standard deviations of what chance gives.
        allowed = MAX_STRAIGHT_EXCESS + 3 / max(self.straight_expected, 1) ** 0.5
        if self.straight_tiled > self.straight_untiled * allowed:
            found.append(
                f'outlines follow borders of tiles {self.straight_tiled:.2f} times as often as '
                f'other lines (untiled: {self.straight_untiled:.2f})'
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON; NaN as None."""
        return without_nan(
            {**asdict(self), 'count_change': self.count_change, 'problems': self.problems}
        )


@dataclass(frozen=True)
class SeamCheck:
    """Both ways of looking at an image, and what they differ in.

    Attributes:
        plan: the tiles.
        untiled: (H, W) label map of the image in one piece.
        tiled: (H, W) label map of the tiles.
        report: the comparison.
    """

    plan: TilePlan
    untiled: npt.NDArray[np.int32]
    tiled: npt.NDArray[np.int32]
    report: SeamReport


def check_seams(
    source: ImageSource,
    detect_factory: Callable[[], Detect],
    plan: TilePlan,
    display_range: DisplayRange,
    one_piece_factory: Callable[[], Detect] | None = None,
    on_tile: Callable[[int, int], object] = lambda done, total: None,
) -> SeamCheck:
    """Segment an image in tiles and in one piece, and compare.

    Args:
        source: the image; the network must be able to take it in one piece.
        detect_factory: builds the network.
        plan: the tiles.
        display_range: how stored pixels become what the network sees.
        one_piece_factory: builds the network for the image in one piece; the same if None.
        on_tile: called with the numbers of windows done and in all.
    """
    untiled_plan = replace(plan, tile=max(plan.size), halo=0)
    total = len(plan) + 1
    maps = []
    ways = (
        (plan, detect_factory, 0),
        (untiled_plan, one_piece_factory or detect_factory, len(plan)),
    )
    for each, factory, before in ways:
        batches = find_objects(
            source,
            factory,
            each,
            display_range=display_range,
            on_tile=lambda done, _, before=before: on_tile(before + done, total),
        )
        label_map = np.zeros(plan.size, dtype=np.int32)
        for objects, _, _ in batches:
            objects.paint(label_map)
        maps.append(label_map)
    tiled, untiled = maps
    return SeamCheck(plan, untiled, tiled, compare(untiled, tiled, plan))


def compare(
    untiled: npt.NDArray[np.integer], tiled: npt.NDArray[np.integer], plan: TilePlan
) -> SeamReport:
    """Compare two label maps of an image, one of which was put together from tiles.

    Args:
        untiled: (H, W), 0 is background.
        tiled: (H, W), 0 is background.
        plan: the tiles.
    """
    table = overlap_table(untiled, tiled)
    same = table.ious > 0.5
    has_partner = [np.zeros(table.n_gt, bool), np.zeros(table.n_pred, bool)]
    has_partner[0][table.gt_index[same]] = True
    has_partner[1][table.pred_index[same]] = True
    boxes = [FoundObjects.from_label_map(labels).boxes for labels in (untiled, tiled)]
    distances = [_distance_to_seams(each, plan) for each in boxes]

    def agreement(test: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]]) -> Agreement:
        chosen = [test(distance) for distance in distances]
        counts = [int(each.sum()) for each in chosen]
        matched = sum(int((a & b).sum()) for a, b in zip(chosen, has_partner, strict=True))
        return Agreement(*counts, matched / sum(counts) if sum(counts) else float('nan'))

    straight_tiled, expected = _straightness(tiled, plan)
    return SeamReport(
        size=plan.size,
        tiles=len(plan),
        everywhere=agreement(lambda distance: distance >= 0),
        near=agreement(lambda distance: distance <= NEAR_PX),
        elsewhere=agreement(lambda distance: distance > NEAR_PX),
        far=agreement(lambda distance: distance >= FAR_PX),
        straight_tiled=straight_tiled,
        straight_untiled=_straightness(untiled, plan)[0],
        straight_expected=expected,
        places=_places(boxes, distances, has_partner),
    )


def draw_places(
    check: SeamCheck, image_rgb: npt.NDArray[np.uint8], count: int = 6
) -> npt.NDArray[np.uint8]:
    """The places where tiled and untiled differ most, side by side, with the seams as lines.

    Args:
        check: the comparison.
        image_rgb: (H, W, 3).
        count: largest number of places.

    Returns:
        RGB page; if the two differ nowhere, the middle of the image.
    """
    height, width = check.plan.size
    columns, rows = check.plan.edges()
    lined = image_rgb.copy()
    lined[:, columns[1:-1]] = _SEAM_COLOUR
    lined[rows[1:-1]] = _SEAM_COLOUR
    corners: list[tuple[int, int]] = []
    for x, y in check.report.places or [(width // 2, height // 2)]:
        corner = (_clamp(x - _PLACE_PX // 2, width), _clamp(y - _PLACE_PX // 2, height))
        if all(max(abs(corner[0] - x1), abs(corner[1] - y1)) >= _PLACE_PX for x1, y1 in corners):
            corners.append(corner)
    pictures = []
    for x, y in corners[:count]:
        place = np.s_[y : y + _PLACE_PX, x : x + _PLACE_PX]
        pictures.append(
            overlay_pair(
                lined[place],
                check.untiled[place],
                check.tiled[place],
                f'x {x} to {x + _PLACE_PX}, y {y} to {y + _PLACE_PX}',
                ('In one piece', 'In tiles'),
            )
        )
    widest = max(picture.shape[1] for picture in pictures)
    padded = [
        cv2.copyMakeBorder(p, 0, 0, 0, widest - p.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3)
        for p in pictures
    ]
    return np.concatenate(padded)


def _clamp(start: int, length: int) -> int:
    return max(min(start, length - _PLACE_PX), 0)


def _distance_to_seams(boxes: IntArray, plan: TilePlan) -> npt.NDArray[np.float64]:
    """From the centre of each box to the nearest border between cores; infinite without one."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    distances = [np.full(len(boxes), np.inf)]
    for axis, edges in enumerate(plan.edges()):
        distances += [np.abs(centres[:, axis] - edge) for edge in edges[1:-1]]
    return np.min(distances, axis=0)


def _straightness(labels: npt.NDArray[np.integer], plan: TilePlan) -> tuple[float, float]:
    """Outlines per line that is a border over those per other line, and the former by chance."""
    outlines, is_border = [], []
    for axis in (0, 1):
        changes = np.diff(labels, axis=1 - axis) != 0
        outlines.append(changes.sum(axis=axis))  # at k: between pixels k and k + 1
        lines = np.zeros(changes.shape[1 - axis] + 2, dtype=bool)
        for number in range(len(plan)):
            tile = plan[number]
            for box in (tile.core, tile.region, tile.window):
                lines[[box[axis], box[axis + 2]]] = True
        is_border.append(lines[1:-1])
    lengths, borders = np.concatenate(outlines), np.concatenate(is_border)
    elsewhere = lengths[~borders].mean() if (~borders).any() else 0.0
    expected = float(elsewhere * borders.sum())
    return (float(lengths[borders].sum() / expected) if expected else float('nan')), expected


def _places(
    boxes: Sequence[IntArray],
    distances: Sequence[npt.NDArray[np.float64]],
    has_partner: Sequence[npt.NDArray[np.bool_]],
) -> tuple[tuple[int, int], ...]:
    found = []
    for each, distance, matched in zip(boxes, distances, has_partner, strict=True):
        for k in np.flatnonzero(~matched):
            x1, y1, x2, y2 = each[k].tolist()
            area = (x2 - x1) * (y2 - y1)
            found.append((distance[k] > NEAR_PX, -area, (x1 + x2) // 2, (y1 + y2) // 2))
    return tuple((x, y) for _, _, x, y in sorted(found))
