import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmcell.functional.overlap import object_boxes, overlap_table

label_maps = arrays.arrays(np.int32, (5, 6), elements=st.sampled_from([0, 1, 2, 9, 70_000]))


def naive_overlap(gt, pred):
    """Areas and intersections by comparing pixel sets, object by object."""

    def objects(label_map):
        return {i: set(zip(*np.nonzero(label_map == i), strict=True)) for i in set(label_map.flat)}

    gt_objects, pred_objects = objects(gt), objects(pred)
    return {
        (g, p): len(gt_objects[g] & pred_objects[p])
        for g in sorted(gt_objects)
        for p in sorted(pred_objects)
        if g and p and gt_objects[g] & pred_objects[p]
    }


@given(label_maps, label_maps)
def test_table_is_that_of_comparing_pixel_sets(gt, pred):
    table = overlap_table(gt, pred)
    for ids, areas, label_map in (
        (table.gt_ids, table.gt_areas, gt),
        (table.pred_ids, table.pred_areas, pred),
    ):
        assert ids.tolist() == [i for i in np.unique(label_map) if i]
        assert areas.tolist() == [(label_map == i).sum() for i in ids]
    pairs = zip(table.gt_ids[table.gt_index], table.pred_ids[table.pred_index], strict=True)
    assert dict(zip(pairs, table.intersections, strict=True)) == naive_overlap(gt, pred)


def test_pairs_are_ordered_by_gt_then_pred():
    table = overlap_table([[9, 9, 4, 4]], [[2, 1, 2, 1]])
    assert table.gt_index.tolist() == [0, 0, 1, 1]
    assert table.pred_index.tolist() == [0, 1, 0, 1]


def test_iou_worked_by_hand():
    # gt 5: 3 pixels, pred 8: 4 pixels, 2 shared, 5 in the union.
    table = overlap_table([[5, 5, 5, 0, 0, 0]], [[0, 8, 8, 8, 8, 0]])
    assert table.unions.tolist() == [5]
    assert table.ious.tolist() == [0.4]


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int64])
def test_ids_keep_their_value_in_any_integer_type(dtype):
    largest = np.iinfo(dtype).max
    gt = np.array([[largest, 0, largest]], dtype=dtype)
    table = overlap_table(gt, [[1, 1, 0]])
    assert table.gt_ids.tolist() == [largest]
    assert table.intersections.tolist() == [1]


@pytest.mark.parametrize('dtype', [np.uint8, np.int8])
def test_every_id_of_a_small_integer_type_may_occur(dtype):
    gt = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)[None]
    table = overlap_table(gt, gt)
    assert table.gt_ids.dtype == dtype
    assert table.gt_ids.tolist() == list(range(1, np.iinfo(dtype).max + 1))
    assert table.gt_areas.tolist() == table.intersections.tolist() == [1] * np.iinfo(dtype).max


def test_maps_without_background_lose_no_object():
    table = overlap_table([[3, 3, 7]], [[2, 5, 5]])
    assert table.gt_ids.tolist() == [3, 7]
    assert table.pred_ids.tolist() == [2, 5]
    assert table.intersections.sum() == 3


@pytest.mark.parametrize('shape', [(3, 4), (1, 1), (0, 0)])
def test_empty_maps_give_an_empty_table(shape):
    table = overlap_table(np.zeros(shape, int), np.zeros(shape, int))
    assert (table.n_gt, table.n_pred, len(table.intersections)) == (0, 0, 0)


def test_one_empty_map_keeps_the_objects_of_the_other():
    table = overlap_table([[1, 2]], [[0, 0]])
    assert (table.n_gt, table.n_pred, len(table.intersections)) == (2, 0, 0)


def test_inputs_are_not_modified():
    gt, pred = np.array([[1, 0, 2]]), np.array([[7, 7, 0]])
    gt.flags.writeable = pred.flags.writeable = False
    overlap_table(gt, pred)


@given(label_maps, label_maps, st.sets(st.integers(0, 4)))
def test_selected_objects_give_the_table_of_maps_without_the_others(gt, pred, dropped):
    table = overlap_table(gt, pred)
    keep_gt = ~np.isin(np.arange(table.n_gt), list(dropped))
    keep_pred = ~np.isin(np.arange(table.n_pred), [i + 1 for i in dropped])
    expected = overlap_table(
        np.where(np.isin(gt, table.gt_ids[keep_gt]), gt, 0),
        np.where(np.isin(pred, table.pred_ids[keep_pred]), pred, 0),
    )
    for found, wanted in zip(table.select(keep_gt, keep_pred), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ('bad', 'message'),
    [
        (np.ones((2, 2)), r'integer object ids, got float64.*astype\(np.int32\)'),
        (np.ones((2, 2), bool), 'boolean mask.*skimage.measure.label'),
        (np.full((2, 2), -1), 'ids >= 0, got -1.*background'),
        (np.ones((2, 2, 3), int), r'one label map.*\(2, 2, 3\)'),
        (None, 'integer object ids, got object'),
    ],
)
@pytest.mark.parametrize('side', ['gt', 'pred'])
def test_bad_input_is_refused_saying_what_would_be_right(bad, message, side):
    good = np.ones((2, 2), int)
    pair = (bad, good) if side == 'gt' else (good, bad)
    with pytest.raises(ValueError, match=f'{side} .*{message}'):
        overlap_table(*pair)


def test_sizes_that_differ_are_both_named():
    with pytest.raises(ValueError, match=r'\(4, 6\) and \(6, 4\)'):
        overlap_table(np.ones((4, 6), int), np.ones((6, 4), int))


def test_object_boxes_worked_by_hand():
    ids, boxes = object_boxes([[0, 7, 0, 0], [7, 0, 0, 3]])  # object 7 in two pieces
    assert ids.tolist() == [3, 7]
    assert boxes.tolist() == [[3, 1, 4, 2], [0, 0, 2, 2]]


@given(label_maps)
def test_object_boxes_are_those_of_numpy_nonzero(label_map):
    ids, boxes = object_boxes(label_map)
    assert boxes.shape == (len(ids), 4)
    for i, box in zip(ids, boxes.tolist(), strict=True):
        rows, columns = np.nonzero(label_map == i)
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_boxes_of_bad_maps_are_refused():
    with pytest.raises(ValueError, match='label_map must hold integer object ids, got float64'):
        object_boxes(np.ones((2, 2)))


def test_a_table_is_passed_on_and_takes_no_second_map():
    table = overlap_table([[1]], [[1]])
    assert overlap_table(table) is table
    with pytest.raises(ValueError, match='pred must be left out'):
        overlap_table(table, [[1]])
