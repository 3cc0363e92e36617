from dataclasses import replace
from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell.functional.tiling import TilePlan
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
    height, width = rgb.shape[:2]
    boxes, patches, found = [], [], []
    for k, (x1, y1, x2, y2) in enumerate(truth.boxes.tolist()):
        left, top, right, bottom = (
            max(x1, x0),
            max(y1, y0),
            min(x2, x0 + width),
            min(y2, y0 + height),
        )
        if left >= right or top >= bottom:
            continue
        patch = truth.patches[k][top - y1 : bottom - y1, left - x1 : right - x1]
        if patch.any():
            boxes.append((left - x0, top - y0, right - x0, bottom - y0))
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


def pixel_sets(objects):
    """Class, score and pixels of each object, in any order."""
    described = []
    for k, (x1, y1, _, _) in enumerate(objects.boxes.tolist()):
        rows, columns = np.nonzero(objects.patches[k])
        pixels = tuple(zip((rows + y1).tolist(), (columns + x1).tolist(), strict=True))
        described.append((pixels, float(objects.scores[k]), int(objects.classes[k])))
    return sorted(described)


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
    assert pixel_sets(found) == pixel_sets(flatten_untiled(truth, plan.size))
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


@settings(max_examples=300)
@given(scenes())
def test_any_masks_in_any_tiles_are_those_of_the_whole_image(scene):
    plan, truth = scene
    assert_as_untiled(truth, plan)
