import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmcell.structures import RoiMasks
from mmcell.structures.flattening import flatten_predictions, masks_to_rles


def squares(boxes, scores, **fields):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = RoiMasks(boxes, torch.ones(len(boxes), 2, 2), image_size=(6, 8))
    return InstanceData(
        bboxes=boxes, scores=torch.tensor(scores, dtype=torch.float32), masks=masks, **fields
    )


def test_ids_are_positions_among_all_predictions():
    instances = squares([(0, 0, 2, 2), (3, 0, 5, 2), (6, 4, 8, 6)], [0.4, 0.5, 0.9])
    expected = np.zeros((6, 8), dtype=np.int32)
    expected[0:2, 3:5], expected[4:6, 6:8] = 2, 3  # a score at the threshold stays
    label_map = flatten_predictions(instances, score_threshold=0.5)
    assert label_map.dtype == np.int32
    np.testing.assert_array_equal(label_map, expected)


def test_mask_scores_order_and_class_scores_select():
    boxes, scores = [(0, 0, 4, 4), (2, 2, 6, 6)], [0.9, 0.6]
    assert flatten_predictions(squares(boxes, scores))[3, 3] == 1
    by_quality = squares(boxes, scores, mask_scores=torch.tensor([0.2, 0.5]))
    assert flatten_predictions(by_quality)[3, 3] == 2
    assert flatten_predictions(by_quality, score_threshold=0.7).max() == 1


def test_mostly_hidden_predictions_are_dropped():
    instances = squares([(0, 0, 4, 4), (0, 0, 4, 5)], [0.9, 0.8])  # 4 of 20 pixels stay visible
    assert set(np.unique(flatten_predictions(instances))) == {0, 1, 2}
    assert set(np.unique(flatten_predictions(instances, min_visible=0.3))) == {0, 1}


def test_a_prediction_of_which_exactly_the_least_part_is_visible_stays():
    instances = squares([(0, 0, 7, 1), (0, 0, 2, 5)], [0.9, 0.8])  # hides 2 of 10
    assert set(np.unique(flatten_predictions(instances, min_visible=0.8))) == {0, 1, 2}
    boxes = torch.tensor([[0.0, 0, 50, 1], [0.0, 0, 35, 1]])  # 15 of 50 stay visible
    masks = RoiMasks(boxes, torch.ones(2, 2, 2), image_size=(1, 60))
    visible = masks.to_label_map(torch.tensor([0.5, 0.9]), min_visible=0.3)
    assert set(np.unique(visible)) == {0, 1, 2}


def test_nothing_predicted_is_an_empty_map():
    label_map = flatten_predictions(squares([], []))
    assert label_map.shape == (6, 8) and not label_map.any()


def test_masks_of_every_form_give_the_same_map():
    instances = squares([(0, 0, 4, 4), (2, 2, 6, 6), (4, 0, 8, 2)], [0.6, 0.9, 0.2])
    expected = flatten_predictions(instances)
    assert set(np.unique(expected)) == {0, 1, 2}
    bits = instances.masks.to_bitmaps()
    forms = [instances.masks.to_rle(), bits, bits.byte(), 0.2 + 0.3 * bits.bfloat16()]
    for masks in forms:
        other = InstanceData(scores=instances.scores.bfloat16(), masks=masks)
        assert (flatten_predictions(other, image_size=(6, 8)) == expected).all()
        assert masks_to_rles(masks) == instances.masks.to_rle()


@pytest.mark.parametrize('masks', [[], torch.zeros(0, 6, 8, dtype=torch.bool)])
def test_nothing_predicted_is_an_empty_map_in_every_form(masks):
    instances = InstanceData(scores=torch.zeros(0), masks=masks)
    label_map = flatten_predictions(instances, image_size=(6, 8))
    assert label_map.shape == (6, 8) and not label_map.any()
