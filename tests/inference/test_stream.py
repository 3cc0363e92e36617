import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from mmcell.functional.tiling import TilePlan
from mmcell.inference.distribution import ahead, in_process
from mmcell.inference.stream import Finished, Found, ImageTask, TileDone, find_in_images
from mmcell.structures import FoundObjects


class Squares:
    """An image of 4 x 4 squares, 10 pixels apart."""

    def __init__(self, height, width):
        self.size = (height, width)
        y, x = np.ogrid[:height, :width]
        self.pixels = ((y % 10 < 4) & (x % 10 < 4))[:, :, None].astype(np.uint8)

    def read(self, x1, y1, x2, y2):
        return self.pixels[y1:y2, x1:x2]


class BrokenSquares(Squares):
    """Cannot be read right of x = 30."""

    def read(self, x1, y1, x2, y2):
        if x2 > 30:
            raise OSError('damaged')
        return super().read(x1, y1, x2, y2)


class Unchanged:
    @staticmethod
    def to_rgb8(pixels):
        return pixels


def squares_of(window):
    return FoundObjects.from_label_map(ndimage.label(window[:, :, 0])[0])


def find_squares():
    return squares_of


def task_of(size, kind=Squares, tiles=None):
    plan = TilePlan(size, tile=20, overlap=5, halo=0, align=1, margin=2)
    return ImageTask(kind(*size), find_squares, plan, Unchanged, tiles)


def summary(events):
    """For each image in order: its ids, tiles done and error."""
    images, ids, tiles = [], [], 0
    for event in events:
        if isinstance(event, Found):
            ids += event.objects.ids.tolist()
        elif isinstance(event, TileDone):
            tiles += 1
        else:
            images.append((event.task, ids, tiles, event.error and str(event.error)))
            ids, tiles = [], 0
    return images


def in_chunks_ahead(factory, items):
    """An ordered map whose workers take everything at once."""
    function = factory()
    yield from [function(item) for item in list(items)]


@pytest.mark.parametrize('ordered_map', [in_process, ahead, in_chunks_ahead])
@pytest.mark.parametrize('batch_size', [1, 2, 5, 100])
def test_an_image_that_fails_ends_alone(ordered_map, batch_size):
    tasks = [
        task_of((20, 20)),
        task_of((40, 40), BrokenSquares),
        task_of((40, 20), tiles=()),
        task_of((40, 40)),
    ]
    found = summary(find_in_images(tasks, ordered_map, batch_size))
    assert [task for task, *_ in found] == tasks
    assert [error for *_, error in found] == [None, 'damaged', None, None]
    whole, broken, empty, tiled = found
    assert whole[1:3] == ([1, 2, 3, 4], 1)
    assert empty[1:3] == ([], 0)
    assert tiled[1:3] == (list(range(1, 17)), 4)
    assert broken[2] == 1 and len(broken[1]) < 16  # the first tile was fine


def test_a_failed_image_gets_no_more_tiles_and_its_end_is_known_at_once():
    size = (20, 400)
    reads = []

    class Counted(BrokenSquares):
        def read(self, *region):
            reads.append(region)
            return super().read(*region)

    events = list(find_in_images([task_of(size, Counted), task_of((20, 20))]))
    assert len(reads) == 2
    kinds = [type(event) for event in events]
    assert kinds.index(Finished) < len(kinds) - 2


def test_images_are_taken_as_they_are_needed():
    taken = []

    def tasks():
        for k in range(3):
            taken.append(k)
            yield task_of((20, 20))

    for event in find_in_images(tasks()):
        if isinstance(event, Finished):
            break
    assert taken == [0]


def test_objects_that_cannot_be_used_end_their_image():
    events = find_in_images([task_of((40, 40)), task_of((20, 20))])
    ends = []
    for event in events:
        if isinstance(event, Found) and event.task.plan.size == (40, 40):
            event.error = OSError('disk full')
        elif isinstance(event, Finished):
            ends.append(event.error and str(event.error))
    assert ends == ['disk full', None]


def test_tiles_of_several_images_are_detected_together_and_one_bad_window_fails_alone():
    batches = []

    class Batched:
        def __call__(self, window):
            if window.shape[1] == 7:
                raise ValueError('seven')
            return FoundObjects.from_label_map(np.ones(window.shape[:2], int))

        def batch(self, windows):
            batches.append(len(windows))
            return [self(window) for window in windows]

    def factory():
        return Batched()

    tasks = [replace(task_of((5, width)), detect_factory=factory) for width in (5, 6, 7, 8)]
    found = summary(find_in_images(tasks, batch_size=4))
    assert batches == [4]
    assert [ids for _, ids, *_ in found] == [[1], [1], [], [1]]
    assert [error for *_, error in found] == [None, None, 'seven', None]


def test_errors_that_cannot_travel_leave_their_message():
    class Local(Exception):
        pass

    class Unreadable(Squares):
        def read(self, *region):
            raise Local('only here')

    def travelling(factory, items):
        function = factory()
        for item in items:
            yield pickle.loads(pickle.dumps(function(item)))

    [(*_, error)] = summary(find_in_images([task_of((5, 5), Unreadable)], travelling))
    assert error == 'only here'


def test_a_plan_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r'plan is for an image of \(5, 6\), this one is \(5, 5\)'):
        ImageTask(Squares(5, 5), None, TilePlan((5, 6)), Unchanged)
    with pytest.raises(ValueError, match='ascending'):
        task_of((40, 40), tiles=(2, 1))


def test_a_worker_opens_an_image_once_and_lets_go_of_former_ones():
    opened, closed = [], []

    class File(Squares):
        def __setstate__(self, state):
            self.__dict__.update(state, opened=False)

        def read(self, *region):
            if not self.opened:
                opened.append(self.size)
                self.opened = True
            return super().read(*region)

        def close(self):
            closed.append(self.size)

    def copied(source):
        twin = copy.copy(source)
        twin.__setstate__(vars(source))
        return twin

    def workers(factory, items):
        function = factory()
        for item in items:
            yield function(
                [
                    each._replace(task=replace(each.task, source=copied(each.task.source)))
                    for each in item
                ]
            )

    tasks = [task_of((40, 20 * k), File) for k in range(1, 7)]
    found = summary(find_in_images(tasks, workers))
    assert [len(ids) for _, ids, *_ in found] == [8 * k for k in range(1, 7)]
    assert opened == [(40, 20 * k) for k in range(1, 7)]
    assert closed == [(40, 20), (40, 40)]
