import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pycocotools import mask as coco_mask

from mmcell.datasets.synthetic import generate_cells, watershed_aji
from mmcell.functional.rle import rles_to_label_layers

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'synthetic.py'


@pytest.mark.parametrize('style', ['he', 'fluorescence'])
def test_same_seed_and_index_give_the_same_image(style):
    first, again = (generate_cells(7, 3, 96, style) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert first.masks == again.masks
    for other in (generate_cells(7, 4, 96, style), generate_cells(8, 3, 96, style)):
        assert (other.pixels != first.pixels).any()


@pytest.mark.parametrize('style', ['he', 'fluorescence'])
def test_masks_are_disjoint_objects_of_sensible_size(style):
    cells = generate_cells(0, 0, 256, style)
    assert cells.pixels.shape == (256, 256, 3)
    assert cells.pixels.dtype == np.uint8
    assert 15 <= len(cells.masks) <= 90
    assert len(rles_to_label_layers(cells.masks, (256, 256))) == 1
    assert min(coco_mask.area(mask) for mask in cells.masks) >= 12


def test_mixed_alternates_between_the_styles():
    for index, style in enumerate(['he', 'fluorescence']):
        mixed, plain = (generate_cells(1, index, 96, name) for name in ('mixed', style))
        np.testing.assert_array_equal(mixed.pixels, plain.pixels)


def test_nuclei_touch_each_other():
    (labels,) = rles_to_label_layers(generate_cells(0, 2, 256).masks, (256, 256))
    left, right = labels[:, :-1], labels[:, 1:]
    pairs = {(a, b) for a, b in zip(left.ravel(), right.ravel(), strict=True) if a != b and a and b}
    assert len(pairs) >= 5


def test_watershed_finds_nuclei_but_is_far_from_right():
    scores = watershed_aji(generate_cells(0, index, 256) for index in range(8))
    assert 0.35 < np.mean(scores) < 0.55


@pytest.mark.parametrize(
    ('size', 'style', 'message'), [(96, 'dapi', 'style must be one of'), (32, 'he', 'size must be')]
)
def test_bad_arguments_are_named(size, style, message):
    with pytest.raises(ValueError, match=message):
        generate_cells(0, 0, size, style)


def test_tool_writes_a_split_data_set_and_prints_the_baseline(tmp_path):
    command = runpy.run_path(str(TOOL))['main']
    args = ['--out', str(tmp_path), '--images', '5', '--size', '64', '--baseline']
    result = CliRunner().invoke(command, args)
    assert result.exit_code == 0, result.output
    assert 'watershed on the 1 test images: AJI 0.' in result.output
    sizes = [
        len(json.loads((tmp_path / 'annotations' / f'{split}.json').read_text())['images'])
        for split in ('train', 'val', 'test')
    ]
    assert sizes == [3, 1, 1]
    again = CliRunner().invoke(command, args)
    assert again.exit_code == 1
    assert 'say --overwrite' in again.output
