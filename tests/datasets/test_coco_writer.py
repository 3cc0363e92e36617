import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from rich.console import Console

import mmcell.plugin  # noqa: F401
from mmcell.datasets.coco_writer import CellImage, Patches, Report, write_dataset
from mmcell.datasets.splits import read_splits
from mmcell.functional.rle import label_map_to_rles, rles_to_label_map

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


def test_folders_that_no_converter_wrote_are_never_deleted(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'mine.png').touch()
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match='images is not from a converter'):
            write_dataset(ENTRIES, SPLITS, tmp_path, overwrite=overwrite, progress=False)
    assert (tmp_path / 'images' / 'mine.png').exists()


@pytest.mark.parametrize('name', ['instances_train.json', 'TCGA.xml'])
def test_annotations_of_others_are_never_deleted(tmp_path, name):
    write_dataset(ENTRIES, SPLITS, tmp_path, progress=False)
    theirs = tmp_path / 'annotations' / name
    theirs.write_text('{"info": {"description": "COCO 2017 Dataset"}}')
    with pytest.raises(FileExistsError, match='is not from a converter'):
        write_dataset(ENTRIES, SPLITS, tmp_path, overwrite=True, progress=False)
    assert theirs.exists()


def test_what_an_interrupted_conversion_left_is_replaced(tmp_path):
    for folder in ('images', 'annotations', 'splits'):
        (tmp_path / folder).mkdir()
    write_dataset(ENTRIES, SPLITS, tmp_path, overwrite=True, progress=False)
    assert (tmp_path / 'annotations' / 'train.json').is_file()


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


def test_brackets_in_names_are_printed():
    # What QuPath calls tiles; rich takes brackets for its markup.
    name = 'slide [x=512,y=0,w=64,h=64]'
    console = Console(file=io.StringIO(), width=100)
    Report(failures=[f'{name}: no mask'], warnings=[f'{name}: large']).show(console)
    assert console.file.getvalue().splitlines()[:2] == [
        f'left out {name}: no mask',
        f'warning {name}: large',
    ]


def test_image_of_several_splits_is_loaded_once(tmp_path):
    loaded = []
    entries = {
        'a': lambda: loaded.append('a') or cells(),
        'b': lambda: loaded.append('b') or cells(),
    }
    splits = {'fold1_train': ['a'], 'fold1_test': ['b'], 'fold2_train': ['b'], 'fold2_test': ['a']}
    report = write_dataset(entries, splits, tmp_path, progress=False)
    assert loaded == ['a', 'b']
    for split, (stem,) in splits.items():
        coco = json.loads((tmp_path / 'annotations' / f'{split}.json').read_text())
        assert [image['file_name'] for image in coco['images']] == [f'{stem}.png']
        assert {annotation['image_id'] for annotation in coco['annotations']} == {1}
        assert len(report.images[split]) == 1


def test_strict_stops_at_the_first_broken_image(tmp_path):
    with pytest.raises(ValueError, match='^broken: broken.png: cannot be decoded$'):
        write_dataset(ENTRIES, SPLITS, tmp_path, strict=True, progress=False)
    assert list((tmp_path / 'annotations').iterdir()) == []


def test_notes_are_warnings_of_the_report(tmp_path):
    def noted(*notes):
        return lambda: CellImage(PIXELS, [], notes=notes)

    entries = {'a': noted('is odd', 'is late'), **{stem: noted('is odd') for stem in 'bcde'}}
    console = Console(file=io.StringIO(), width=100)
    report = write_dataset(entries, {'test': list(entries)}, tmp_path, progress=False)
    report.show(console)
    assert report.notes == {'is odd': ['a', 'b', 'c', 'd', 'e'], 'is late': ['a']}
    lines = console.file.getvalue().splitlines()
    assert lines[:2] == ['warning a, b, c and 2 more: is odd', 'warning a: is late']


def mosaic(height=40, width=60):
    """Pixels that name their place, and objects of 5 x 5 whose id is their place; one overlaps."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.dstack([rows, columns, rows]).astype(np.uint8)
    labels = rows // 5 * 12 + columns // 5 + 1
    masks = label_map_to_rles(labels)[1] + label_map_to_rles((columns == 33).astype(int))[1]
    return CellImage(pixels, masks, subsets=('seen',))


def test_patches_are_windows_of_image_and_masks():
    patches = Patches(count=30, side=16, seed=0).cut('a', mosaic())
    assert list(patches)[:2] == ['a_000', 'a_001']
    corners = set()
    for patch in patches.values():
        assert patch.pixels.shape == (16, 16, 3)
        assert patch.subsets == ('seen',)
        top, left = (int(value) for value in patch.pixels[0, 0, :2])
        corners.add((top, left))
        crossing = left <= 33 < left + 16
        cells_only = patch.masks[:-1] if crossing else patch.masks
        rows, columns = np.mgrid[top : top + 16, left : left + 16]
        expected = np.unique(rows // 5 * 12 + columns // 5, return_inverse=True)[1] + 1
        found = rles_to_label_map(cells_only, (16, 16))
        np.testing.assert_array_equal(found, expected.reshape(16, 16))
        if crossing:
            line = rles_to_label_map(patch.masks[-1:], (16, 16))
            np.testing.assert_array_equal(line, columns == 33)
    assert len(corners) > 25
    assert {0 <= top <= 24 and 0 <= left <= 44 for top, left in corners} == {True}


def test_a_patch_does_not_replace_an_image_of_its_name(tmp_path):
    splits = {'train': ['a'], 'val': ['a_001']}
    report = write_dataset(
        dict.fromkeys(['a', 'a_001'], mosaic),
        splits,
        tmp_path,
        patches=Patches(2, 16),
        progress=False,
    )
    assert report.failures == [
        'a_001: images/a_001.png is of a already, and patches are numbered; rename one of them'
    ]
    assert cv2.imread(str(tmp_path / 'images' / 'a_001.png')).shape == (16, 16, 3)
    assert (tmp_path / 'splits' / 'val.txt').read_text() == ''


def test_patches_depend_on_seed_and_stem_alone():
    def pixels(seed, stem):
        return Patches(3, 8, seed).cut(stem, mosaic())[f'{stem}_002'].pixels.tobytes()

    assert pixels(0, 'a') == pixels(0, 'a')
    assert len({pixels(0, 'a'), pixels(0, 'b'), pixels(1, 'a')}) == 3


def test_patch_of_a_smaller_image_keeps_it_whole_in_that_direction():
    (patch,) = Patches(1, 50).cut('a', mosaic()).values()
    assert patch.pixels.shape == (40, 50, 3)


def test_only_training_splits_are_cut_into_patches(tmp_path):
    splits = {'train': ['a'], 'val': ['b'], 'fold1_train': ['b'], 'fold1_test': ['a']}
    entries = {'a': mosaic, 'b': mosaic}
    write_dataset(entries, splits, tmp_path, patches=Patches(2, 16), progress=False)
    assert read_splits(tmp_path / 'splits', entries) == splits
    names = {}
    for split in splits:
        coco = json.loads((tmp_path / 'annotations' / f'{split}.json').read_text())
        names[split] = [Path(image['file_name']).stem for image in coco['images']]
    assert names == {
        'train': ['a_000', 'a_001'],
        'val': ['b'],
        'fold1_train': ['b_000', 'b_001'],
        'fold1_test': ['a'],
    }
    for stem, shape in (('a', (40, 60, 3)), ('a_001', (16, 16, 3))):
        assert cv2.imread(str(tmp_path / 'images' / f'{stem}.png')).shape == shape
