import io
import json

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from rich.console import Console

import mmcell.plugin  # noqa: F401
from mmcell.datasets.coco_writer import CellImage, random_splits, read_splits, write_dataset

LABELS = np.array([[0, 3, 3, 0], [0, 3, 0, 9], [0, 0, 0, 9]])
PIXELS = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)


def cells():
    return CellImage.from_label_map(PIXELS, LABELS)


def negative():
    return CellImage(PIXELS[:2], [])


def broken():
    raise OSError('broken.png: cannot be decoded')


ENTRIES = {'a.b': cells, 'neg': negative, 'broken': broken, 'unused': cells}
SPLITS = {'train': ['a.b', 'broken', 'neg'], 'val': ['absent']}


def test_written_data_set_reads_back_pixel_by_pixel(tmp_path):
    write_dataset(ENTRIES, SPLITS, tmp_path / 'new' / 'out', progress=False)
    root = tmp_path / 'new' / 'out'
    dataset = DATASETS.build(
        {
            'type': 'CellDataset',
            'data_root': str(root),
            'ann_file': 'annotations/train.json',
            'data_prefix': {'img': 'images/'},
            'pipeline': [{'type': 'mmdet.LoadCellImage'}, {'type': 'mmdet.LoadCellAnnotations'}],
        }
    )
    assert len(dataset) == 2
    np.testing.assert_array_equal(dataset[0]['img'][:, :, ::-1], PIXELS)
    np.testing.assert_array_equal(
        dataset[0]['gt_masks'].to_label_map(), np.where(LABELS == 3, 1, np.where(LABELS == 9, 2, 0))
    )
    assert dataset[1]['img_shape'] == (2, 4)
    assert len(dataset[1]['gt_masks']) == 0


def test_broken_images_are_left_out_and_reported(tmp_path):
    report = write_dataset(ENTRIES, SPLITS, tmp_path, progress=False)
    assert report.failures == [
        'broken: broken.png: cannot be decoded',
        'absent: in val.txt, but not in the data set',
    ]
    assert report.unlisted == 1
    assert report.images == {'train': [(3, 4, [3, 2]), (2, 4, [])], 'val': []}
    assert (tmp_path / 'splits' / 'train.txt').read_text() == 'a.b\nneg\n'
    assert sorted(path.name for path in (tmp_path / 'images').iterdir()) == ['a.b.png', 'neg.png']


def test_annotations_are_plain_coco(tmp_path):
    write_dataset(ENTRIES, SPLITS, tmp_path, category='nuclei', progress=False)
    coco = json.loads((tmp_path / 'annotations' / 'train.json').read_text())
    assert coco['categories'] == [{'id': 1, 'name': 'nuclei'}]
    first, second = coco['annotations']
    assert (first['id'], first['image_id'], first['area'], first['bbox']) == (1, 1, 3, [1, 0, 2, 2])
    assert (second['id'], second['image_id'], second['bbox']) == (2, 1, [3, 1, 1, 2])
    read = cv2.imread(str(tmp_path / 'images' / coco['images'][0]['file_name']))
    np.testing.assert_array_equal(read[:, :, ::-1], PIXELS)


def test_subsets_are_written_with_their_images_and_only_there(tmp_path):
    entries = {'a': lambda: CellImage(PIXELS, [], subsets=('unseen', 'liver')), 'neg': negative}
    write_dataset(entries, {'test': ['a', 'neg']}, tmp_path, progress=False)
    images = json.loads((tmp_path / 'annotations' / 'test.json').read_text())['images']
    assert images[0]['subset'] == ['unseen', 'liver']
    assert 'subset' not in images[1]


def test_existing_data_set_is_replaced_only_on_request(tmp_path):
    write_dataset(ENTRIES, SPLITS, tmp_path, progress=False)
    with pytest.raises(FileExistsError, match='images exists already; say --overwrite'):
        write_dataset(ENTRIES, SPLITS, tmp_path, progress=False)
    write_dataset(ENTRIES, {'test': ['neg']}, tmp_path, overwrite=True, progress=False)
    assert [path.name for path in (tmp_path / 'annotations').iterdir()] == ['test.json']
    assert [path.name for path in (tmp_path / 'images').iterdir()] == ['neg.png']


def test_report_counts_every_split(tmp_path):
    console = Console(file=io.StringIO(), width=100)
    write_dataset(ENTRIES, SPLITS, tmp_path, progress=False).show(console)
    text = console.file.getvalue()
    assert 'left out broken: broken.png: cannot be decoded' in text
    assert '1 images are in no split list' in text
    row = next(line for line in text.splitlines() if 'train' in line)
    assert [cell.strip() for cell in row.strip('│ ').split('│')] == [
        *('train', '2', '1', '2', '2', '2', '2x4', '3x4')
    ]


def test_split_lists_take_names_with_and_without_suffix(tmp_path):
    (tmp_path / 'train.txt').write_text('a.b\n\nneg.png\n')
    (tmp_path / 'test.txt').write_text('absent.tif\n')
    assert read_splits(tmp_path, ENTRIES) == {'train': ['a.b', 'neg'], 'test': ['absent']}


def test_image_in_two_lists_is_refused(tmp_path):
    (tmp_path / 'train.txt').write_text('neg\n')
    (tmp_path / 'val.txt').write_text('neg.png\n')
    with pytest.raises(ValueError, match='val.txt: neg is listed in train.txt already'):
        read_splits(tmp_path, ENTRIES)


def test_folder_without_lists_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'holds none of train.txt'):
        read_splits(tmp_path, ENTRIES)


def test_random_split_is_60_20_20_and_depends_on_the_seed_alone():
    stems = [f'{number:03}' for number in range(50)]
    splits = random_splits(stems, seed=3)
    assert [len(splits[name]) for name in ('train', 'val', 'test')] == [30, 10, 10]
    assert sorted(sum(splits.values(), [])) == stems
    assert random_splits(stems[::-1], seed=3) == splits
    assert random_splits(stems, seed=4) != splits
