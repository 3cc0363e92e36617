from dataclasses import replace

import numpy as np
import pytest

from mmcell.structures import FoundObjects

LABELS = np.array([[0, 7, 7, 0], [3, 7, 0, 0], [3, 0, 0, 9]])


def test_a_label_map_gives_its_objects_in_their_boxes():
    objects = FoundObjects.from_label_map(LABELS, corner=(10, 100))
    assert objects.ids.tolist() == [3, 7, 9]
    assert objects.boxes.tolist() == [[10, 101, 11, 103], [11, 100, 13, 102], [13, 102, 14, 103]]
    assert objects.areas.tolist() == [2, 3, 1]
    assert objects.patches[1].tolist() == [[True, True], [True, False]]


def test_ranks_of_a_label_map_are_its_scores():
    objects = FoundObjects.from_label_map(LABELS, scores=np.array([0.5, 0.25, 1]))
    assert objects.ranks.tolist() == objects.scores.tolist() == [0.5, 0.25, 1]


def test_a_label_map_without_background_or_objects():
    assert FoundObjects.from_label_map(np.full((2, 2), 5)).areas.tolist() == [4]
    assert len(FoundObjects.from_label_map(np.zeros((2, 2), int))) == 0


def test_masks_without_pixels_have_the_area_0():
    sides = [(0, 0), (2, 3), (1, 2), (3, 0), (1, 1)]
    patches = [np.ones(side, bool) for side in sides]
    patches[2][:] = False
    boxes = np.array([[5, 5, 5 + w, 5 + h] for h, w in sides])
    column = np.arange(1, 6)
    objects = FoundObjects(boxes, patches, column, column, column, column)
    assert objects.areas.tolist() == [0, 6, 0, 0, 1]
    assert objects[np.array([0, 3])].areas.tolist() == [0, 0]


def test_indexing_and_joining_keep_every_column():
    objects = FoundObjects.from_label_map(LABELS, scores=np.array([0.5, 0.25, 1]))
    again = FoundObjects.cat([objects[np.array([2])], objects[objects.ids < 8]])
    assert again.ids.tolist() == [9, 3, 7]
    assert again.scores.tolist() == [1, 0.5, 0.25]
    assert [patch.sum() for patch in again.patches] == [1, 2, 3]
    assert len(FoundObjects.cat([])) == 0


def test_a_mask_that_does_not_fit_its_box_is_refused():
    objects = FoundObjects.from_label_map(LABELS)
    with pytest.raises(ValueError, match=r'mask 1 is \(1, 1\) but its box is \[1 0 3 2\]'):
        FoundObjects(
            objects.boxes,
            [objects.patches[0], np.ones((1, 1), bool), objects.patches[2]],
            objects.scores,
            objects.classes,
            objects.ids,
            objects.ranks,
        )
    with pytest.raises(ValueError, match='one entry per object'):
        FoundObjects(objects.boxes, [], objects.scores, objects.classes, objects.ids, objects.ranks)


def test_limits_are_kept_and_joined():
    objects = FoundObjects.from_label_map(LABELS)
    limited = [replace(objects, limits=names) for names in (('b',), ('b', 'a'), ())]
    assert limited[0][objects.ids > 3].limits == ('b',)
    assert FoundObjects.cat(limited).limits == ('a', 'b')
