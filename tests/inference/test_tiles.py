import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mmcell.datasets.synthetic import generate_cells
from mmcell.functional.patches import meeting_boxes, shared_box, view
from mmcell.functional.rle import rles_to_label_map
from mmcell.functional.tiling import TilePlan
from mmcell.inference.stream import ImageTask, find_tile
from mmcell.inference.tile_merging import Frontier
from mmcell.inference.tiles import find_objects
from mmcell.structures import FoundObjects


class PositionImage:
    """An image whose pixels say where they are, so that a stub knows which window it was given."""

    def __init__(self, height, width):
        self.size = (height, width)
        self.pixels = np.arange(height * width).reshape(height, width, 1) >> np.array([16, 8, 0])
        self.pixels = (self.pixels & 255).astype(np.uint8)

    def read(self, x1, y1, x2, y2):
        return self.pixels[y1:y2, x1:x2]


class Unchanged:
    @staticmethod
    def to_rgb8(pixels):
        return pixels


def cut_at_window(truth, image_width, rgb):
    """What a perfect network finds in a window: the true masks, cut at its border."""
    y0, x0 = divmod(int(rgb[0, 0].astype(int) @ [65536, 256, 1]), image_width)
    window = np.array([[x0, y0, x0 + rgb.shape[1], y0 + rgb.shape[0]]])
    boxes, patches, found = [], [], []
    for k in meeting_boxes(window, truth.boxes)[1].tolist():
        box = tuple(truth.boxes[k].tolist())
        x1, y1, x2, y2 = shared_box(box, tuple(window[0].tolist()))
        patch = view(truth.patches[k], box, (x1, y1, x2, y2))
        if patch.any():
            boxes.append((x1 - x0, y1 - y0, x2 - x0, y2 - y0))
            patches.append(patch)
            found.append(k)
    columns = (truth.scores, truth.classes, truth.ids, truth.ranks)
    boxes = np.array(boxes, dtype=np.int64).reshape(-1, 4)
    return FoundObjects(boxes, patches, *(column[found] for column in columns))


def run(truth, plan, **options):
    """All batches of the engine with a perfect network."""
    height, width = plan.size
    factory = partial(partial, cut_at_window, truth, width)
    image = PositionImage(height, width)
    return list(find_objects(image, factory, plan, display_range=Unchanged, **options))


def described(objects):
    """Class, score, tight box and pixels of each object, in any order."""
    columns = (objects.classes.tolist(), objects.scores.tolist(), objects.boxes.tolist())
    pixels = [patch.tobytes() for patch in objects.patches]
    return sorted(zip(*columns, pixels, strict=True))


def flatten_untiled(truth, size):
    """One full-size label map, painted from the worst mask to the best."""
    x1, y1, x2, y2 = truth.boxes.T
    order = sorted(range(len(truth)), key=lambda k: (-truth.ranks[k], y1[k], x1[k], y2[k], x2[k]))
    labels = np.zeros(size, dtype=int)
    for k in reversed(order):
        labels[y1[k] : y2[k], x1[k] : x2[k]][truth.patches[k]] = k + 1
    flat = FoundObjects.from_label_map(labels)
    kept = flat.ids - 1
    return replace(flat, scores=truth.scores[kept], classes=truth.classes[kept])


def assert_as_untiled(truth, plan, **options):
    batches = run(truth, plan, **options)
    found = FoundObjects.cat([batch[0] for batch in batches])
    assert described(found) == described(flatten_untiled(truth, plan.size))
    assert found.ids.tolist() == list(range(1, len(found) + 1))
    image = PositionImage(*plan.size).pixels
    for objects, pixels, (x, y) in batches:
        height, width = pixels.shape[:2]
        assert (pixels == image[y : y + height, x : x + width]).all()
        assert (objects.boxes >= [x, y, x, y]).all()
        assert (objects.boxes <= [x + width, y + height, x + width, y + height]).all()
    return found


def connected_blobs(draw, height, width, count):
    """Masks of up to four rectangles, each of which overlaps the one before."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = []
    for _ in range(count):
        mask = np.zeros((height, width), dtype=bool)
        y, x = rng.integers(height), rng.integers(width)
        reach = rng.choice([2, 5, max(height, width)])
        for _ in range(rng.integers(1, 5)):
            y2, x2 = (
                int(np.clip(c + rng.integers(-reach, reach + 1), 0, n - 1))
                for c, n in ((y, height), (x, width))
            )
            mask[min(y, y2) : max(y, y2) + 1, min(x, x2) : max(x, x2) + 1] = True
            y, x = y2, x2
        masks.append(mask)
    return masks


@st.composite
def scenes(draw, distinct_ranks=True):
    """A plan of a small image, and overlapping masks of all sizes in it."""
    size = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    plan = TilePlan(
        size,
        tile=draw(st.integers(2, 16)),
        overlap=draw(st.integers(1, 6)),
        halo=draw(st.integers(0, 3)),
        align=draw(st.sampled_from([1, 1, 4])),
        margin=draw(st.integers(0, 4)),
    )
    masks = connected_blobs(draw, *size, draw(st.integers(0, 12)))
    parts = [FoundObjects.from_label_map(mask.astype(int)) for mask in masks]
    truth = FoundObjects.cat(parts)
    ranks = draw(st.permutations(range(len(truth))))
    ranks = np.array(ranks, dtype=np.float32)
    return plan, replace(truth, ranks=ranks, scores=ranks / 100, ids=np.arange(len(truth)) + 1)


@settings(max_examples=150)
@given(scenes())
def test_any_masks_in_any_tiles_are_those_of_the_whole_image(scene):
    plan, truth = scene
    assert_as_untiled(truth, plan)


@settings(max_examples=100)
@given(scenes())
def test_equal_ranks_are_decided_by_position_not_by_tiles(scene):
    plan, truth = scene
    # Boxes that differ, so that the rule decides, and at most the overlap in size: what two objects
    # of equal rank look like where they are cut does not tell which is which.
    sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
    _, first = np.unique(truth.boxes, axis=0, return_index=True)
    chosen = np.intersect1d(first, np.flatnonzero((sides <= plan.overlap).all(axis=1)))
    assert_as_untiled(replace(truth, ranks=np.ones(len(truth), np.float32))[chosen], plan)


def square_grid(size, spacing, side):
    """Squares whose corners are everywhere, also on the borders of tiles."""
    labels = np.zeros(size, dtype=np.int64)
    for k, (y, x) in enumerate(np.ndindex(-(-size[0] // spacing), -(-size[1] // spacing)), 1):
        labels[y * spacing :, x * spacing :][:side, :side] = k
    return FoundObjects.from_label_map(labels)


@pytest.mark.parametrize(
    'size', [(48, 48), (31, 70), (70, 31), (16, 16), (5, 5), (1, 1), (1, 50), (50, 1)]
)
@pytest.mark.parametrize('halo', [0, 3])
def test_touching_squares_on_every_border_and_corner(size, halo):
    plan = TilePlan(size, tile=16, overlap=3, halo=halo, align=1, margin=1)
    found = assert_as_untiled(square_grid(size, 3, 3), plan)
    assert len(found) == -(-size[0] // 3) * -(-size[1] // 3)


def test_squares_centred_on_corners_of_tiles_are_found_once():
    labels = np.zeros((48, 48), dtype=int)
    for k, (y, x) in enumerate([(16, 16), (16, 32), (32, 16), (32, 32)], 1):
        labels[y - 2 : y + 2, x - 2 : x + 2] = k
    plan = TilePlan((48, 48), tile=16, overlap=4, halo=0, align=1, margin=0)
    found = assert_as_untiled(FoundObjects.from_label_map(labels), plan)
    assert found.areas.tolist() == [16] * 4


def test_an_object_larger_than_tiles_comes_out_whole():
    y, x = np.indices((60, 75))
    ring = np.abs(np.hypot(y - 30, x - 37) - 24) < 3
    plan = TilePlan(ring.shape, tile=16, overlap=3, halo=2, align=1)
    found = assert_as_untiled(FoundObjects.from_label_map(ring.astype(int)), plan)
    assert found.areas.tolist() == [ring.sum()]


def test_an_object_that_covers_the_image_and_small_ones_above_and_below():
    size = (40, 40)
    everything = FoundObjects.from_label_map(np.ones(size, dtype=int))
    above, below = square_grid(size, 8, 4), square_grid(size, 11, 5)
    truth = FoundObjects.cat([everything, above, below])
    ranks = np.concatenate([[500], 600 + np.arange(len(above)), np.arange(len(below))])
    truth = replace(truth, ranks=ranks.astype(np.float32))
    plan = TilePlan(size, tile=10, overlap=4, halo=0, align=1, margin=2)
    found = assert_as_untiled(truth, plan)
    assert len(found) == 1 + len(above)
    assert found.areas.max() == 1600 - above.areas.sum()


def test_two_parts_of_an_object_that_one_tile_tells_apart_are_one():
    size = (20, 40)
    horseshoe = np.zeros(size, dtype=bool)
    horseshoe[4:8, 4:30] = horseshoe[12:16, 4:30] = horseshoe[4:16, 4:8] = True
    plan = TilePlan(size, tile=20, overlap=4, halo=0, align=1, margin=2)

    def factory():
        def components(rgb):
            _, x0 = divmod(int(rgb[0, 0].astype(int) @ [65536, 256, 1]), size[1])
            labels, _ = ndimage.label(horseshoe[:, x0 : x0 + rgb.shape[1]])
            return FoundObjects.from_label_map(labels)

        return components

    image = PositionImage(*size)
    ((objects, _, _),) = find_objects(image, factory, plan, display_range=Unchanged)
    assert described(objects) == described(FoundObjects.from_label_map(horseshoe.astype(int)))


@pytest.mark.parametrize('shift', [-2, -1, 1, 2])
def test_an_object_seen_elsewhere_from_the_next_tile_is_found_once(shift):
    """As by a network: each tile sees the centre on its own side of the border, or on the other."""
    size = (20, 40)
    plan = TilePlan(size, tile=20, overlap=10, halo=0, align=1, margin=4)

    def factory():
        def shifted(rgb):
            _, x0 = divmod(int(rgb[0, 0].astype(int) @ [65536, 256, 1]), size[1])
            left = 12 - x0 + (shift if x0 else -shift)
            box = np.array([[left, 2, left + 16, 18]])
            one = np.ones(1, np.float32)
            return FoundObjects(box, [np.ones((16, 16), bool)], one, np.zeros(1, int), one, one)

        return shifted

    image = PositionImage(*size)
    ((objects, _, _),) = find_objects(image, factory, plan, display_range=Unchanged)
    assert len(objects) == 1


def test_no_objects():
    plan = TilePlan((50, 50), tile=16, overlap=4)
    assert run(FoundObjects.empty(), plan) == []


def test_masks_with_empty_rows_are_as_good_as_tight_ones():
    plan = TilePlan((40, 40), tile=10, overlap=3, halo=1, align=1)
    truth = square_grid((40, 40), 5, 3)
    boxes = np.clip(truth.boxes + [-2, -2, 2, 2], 0, 40)
    patches = []
    for (x1, y1, x2, y2), tight_box, patch in zip(boxes, truth.boxes, truth.patches, strict=True):
        loose = np.zeros((y2 - y1, x2 - x1), dtype=bool)
        loose[tight_box[1] - y1 :, tight_box[0] - x1 :][: patch.shape[0], : patch.shape[1]] = patch
        patches.append(loose)
    batches = run(replace(truth, boxes=boxes, patches=patches), plan)
    found = FoundObjects.cat([batch[0] for batch in batches])
    assert described(found) == described(truth)
    assert sorted(found.boxes.tolist()) == sorted(truth.boxes.tolist())


def cells(size, side=250):
    """Generated cells that touch and overlap: few images, side by side over size x size pixels."""
    pictures = [generate_cells(3, index, size=side) for index in range(6)]
    pictures = [rles_to_label_map(cell.masks, (side, side)).astype(int) for cell in pictures]
    labels = np.zeros((size, size), dtype=int)
    for k, (y, x) in enumerate(np.ndindex(size // side, size // side)):
        part = pictures[k % 6]
        part = np.where(part > 0, part + labels.max(), 0)
        labels[y * side : (y + 1) * side, x * side : (x + 1) * side] = part
    return FoundObjects.from_label_map(labels)


def test_512_px_tiles_on_3000_px_of_generated_cells():
    truth = cells(3000)
    rng = np.random.default_rng(0)
    # Masks that overlap: each cell grown by two pixels, of random rank.
    grown = [ndimage.binary_dilation(np.pad(patch, 2), iterations=2) for patch in truth.patches]
    boxes = truth.boxes + [-2, -2, 2, 2]
    low, high = np.maximum(-boxes, 0), np.maximum(boxes - 3000, 0)
    patches = [
        patch[y1 : patch.shape[0] - y2, x1 : patch.shape[1] - x2]
        for patch, (x1, y1), (x2, y2) in zip(grown, low[:, :2], high[:, 2:], strict=True)
    ]
    ranks = rng.permutation(len(truth)).astype(np.float32)
    truth = replace(truth, boxes=boxes.clip(0, 3000), patches=patches, ranks=ranks)
    # Beside them what exceeds the overlap (a band over several tiles) and a tile (a disc).
    y, x = np.indices((3000, 3000), sparse=True)
    large = [np.abs(y - 0.4 * x - 700) < 20, (y - 1500) ** 2 + (x - 1700) ** 2 < 420**2]
    truth = FoundObjects.cat(
        [truth] + [FoundObjects.from_label_map(mask.astype(np.int8)) for mask in large]
    )
    ranks = np.append(truth.ranks[:-2], [200.5, 400.5]).astype(np.float32)
    found = assert_as_untiled(replace(truth, ranks=ranks), TilePlan((3000, 3000), tile=512))
    assert len(found) > 5000


def test_the_frontier_does_not_grow_with_the_image():
    held = {}
    for height in (200, 800):
        plan = TilePlan((height, 200), tile=40, overlap=6, halo=0, align=1, margin=3)
        perfect = partial(partial, cut_at_window, square_grid(plan.size, 5, 4), 200)
        task = ImageTask(PositionImage(*plan.size), perfect, plan, Unchanged)
        frontier = Frontier(plan, PositionImage(*plan.size).read)
        held[height] = []
        for number in range(len(plan)):
            frontier.add(find_tile(task, number), number)
            held[height].append(len(frontier))
        assert held[height][-1] == 0
    assert max(held[800]) == max(held[200]) > 0


def test_tiles_without_tissue_are_left_out():
    truth = square_grid((64, 64), 16, 5)
    plan = TilePlan((64, 64), tile=16, overlap=2, halo=0, align=1, margin=1)
    tissue = np.zeros((8, 8), dtype=bool)
    tissue[0, :] = True  # 8 x 8 pixels each: only the first row of tiles sees it
    tissue[7, 7] = True  # and the last tile
    done = []
    found = FoundObjects.cat(
        [
            batch[0]
            for batch in run(
                truth,
                plan,
                tiles=plan.tiles_with(tissue),
                on_tile=lambda k, total: done.append((k, total)),
            )
        ]
    )
    assert found.boxes[:, :2].tolist() == [[0, 0], [16, 0], [32, 0], [48, 0], [48, 48]]
    assert done == [(k, 5) for k in range(1, 6)]


def test_results_of_tiles_survive_pickling():
    truth = square_grid((40, 40), 5, 4)
    plan = TilePlan((40, 40), tile=20, overlap=4, halo=2, align=1)

    def through_pickle(factory, items):
        work = factory()
        return (pickle.loads(pickle.dumps(work(item))) for item in items)

    here, there = run(truth, plan), run(truth, plan, ordered_map=through_pickle)
    assert len(here) == len(there)
    for batch, other in zip(here, there, strict=True):
        assert described(batch[0]) == described(other[0])
        assert batch[0].ids.tolist() == other[0].ids.tolist()
        assert (batch[1] == other[1]).all() and batch[2] == other[2]


def test_bad_arguments_are_refused():
    plan = TilePlan((20, 20), tile=10, overlap=2)
    with pytest.raises(
        ValueError, match=r'plan is for an image of \(20, 20\), this one is \(9, 9\)'
    ):
        list(find_objects(PositionImage(9, 9), None, plan, display_range=Unchanged))
    with pytest.raises(ValueError, match='ascending'):
        run(FoundObjects.empty(), plan, tiles=[2, 1])
