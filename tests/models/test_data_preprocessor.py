import pytest
import torch
from mmdet.structures import DetDataSample

from mmcell.models.data_preprocessor import CellDataPreprocessor


def batch_of(*images, **metainfo):
    samples = [
        DetDataSample(metainfo=dict(img_shape=tuple(image.shape[1:]), **metainfo))
        for image in images
    ]
    return dict(inputs=list(images), data_samples=samples)


def test_training_batches_are_padded_to_the_divisor():
    batch = batch_of(torch.ones(3, 33, 60), torch.ones(3, 20, 20))
    data = CellDataPreprocessor()(batch, training=True)
    assert data['inputs'].shape == (2, 3, 64, 64)
    assert data['inputs'].sum() == 3 * (33 * 60 + 20 * 20)
    assert data['data_samples'][0].img_shape == (33, 60)


def test_images_of_a_test_are_resized_to_the_nearest_multiple():
    columns = torch.linspace(0, 100, 70).expand(3, 90, 70)
    batch = batch_of(columns, ori_shape=(45, 35), scale_factor=(2.0, 2.0))
    data = CellDataPreprocessor()(batch)
    (sample,) = data['data_samples']
    assert data['inputs'].shape == (1, 3, 96, 64)
    assert sample.img_shape == sample.pad_shape == sample.batch_input_shape == (96, 64)
    assert sample.scale_factor == pytest.approx((64 / 35, 96 / 45))
    assert sample.ori_shape == (45, 35)
    # Pixel centres keep their place: column x of 64 shows column (x + 0.5) * 70 / 64 - 0.5 of 70.
    expected = ((torch.arange(64) + 0.5) * 70 / 64 - 0.5) * 100 / 69
    torch.testing.assert_close(data['inputs'][0, 0, 0], expected, atol=1e-3, rtol=0)


def test_an_image_that_fits_is_shown_as_it_is_and_what_is_given_is_kept():
    image = torch.arange(3 * 32 * 64, dtype=torch.float32).reshape(3, 32, 64)
    batch = batch_of(image, torch.ones(3, 10, 47))
    data = CellDataPreprocessor()(batch)
    assert data['inputs'].shape == (2, 3, 32, 64)
    assert data['inputs'][0].equal(image)
    assert data['data_samples'][1].img_shape == (32, 32)  # no side is 0
    assert [sample.img_shape for sample in batch['data_samples']] == [(32, 64), (10, 47)]
    assert batch['inputs'][1].shape == (3, 10, 47)
