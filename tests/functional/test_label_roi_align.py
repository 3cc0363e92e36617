import torch

from mmcell.functional.label_roi_align import label_roi_align

LAYERS = torch.tensor([[[5, 5, 0, 0], [5, 5, 0, 0], [0, 0, 7, 7]], [[0, 0, 0, 0]] * 2 + [[9] * 4]])


def align(box, label, layer=0, out_shape=(1, 2)):
    return label_roi_align(
        LAYERS, torch.tensor([layer]), torch.tensor([label]), torch.tensor([box]), out_shape
    )[0]


def test_box_on_the_pixel_grid_reads_pixels():
    assert align([0.0, 0, 4, 3], 5, out_shape=(3, 4)).tolist() == (LAYERS[0] == 5).float().tolist()


def test_bins_average_their_samples_by_hand():
    # Two samples per bin, on pixel centres: columns 0, 1 are the object, then 2, 3 are not.
    assert align([0.0, 0, 4, 2], 5).tolist() == [[1, 0]]
    # Shifted by half a pixel: columns 1, 1.5 on pixel edges give 1/2 and 0 after the object's end.
    assert align([0.5, 0, 2.5, 1], 5).tolist() == [[1, 0.5]]
    # One row inside, one outside.
    assert align([0.0, 1, 2, 3], 5).tolist() == [[0.5, 0.5]]


def test_only_the_named_object_on_the_named_layer_counts():
    assert align([2.0, 2, 4, 3], 7).tolist() == [[1, 1]]
    assert align([2.0, 2, 4, 3], 5).tolist() == [[0, 0]]
    assert align([2.0, 2, 4, 3], 9, layer=1).tolist() == [[1, 1]]


def test_far_outside_is_background_and_no_extent_is_zero():
    assert align([10.0, 10, 12, 11], 5).tolist() == [[0, 0]]
    assert align([1.0, 1, 1, 1], 5).tolist() == [[0, 0]]
