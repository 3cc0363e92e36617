"""The converters of the keypoint papers' data sets on miniatures of what is distributed."""

import shutil

import cv2
import numpy as np
import pytest
from conversion import (
    GRAY,
    LABELS,
    RGB,
    coco,
    convert,
    label_maps,
    reported,
    stems,
    write_png,
    write_tiff,
)

from mmcell.datasets.ctc_layout import fill_in
from mmcell.datasets.keypoint_layouts import plant_phenotyping_layout
from mmcell.datasets.splits import SPLITS


def write_leaves(folder, *names, labels=LABELS):
    for name in names:
        write_png(folder / f'{name}_rgb.png', RGB)
        write_png(folder / f'{name}_label.png', labels)
        write_png(folder / f'{name}_fg.png', (labels > 0).astype(np.uint8))


def numbered(prefix, count):
    return [f'{prefix}{k:03}' for k in range(1, count + 1)]


# Plant phenotyping

FRAMES = [
    f'ara{year}_plant{plant:02}_frame{frame:02}'
    for year, plants, frames in ((2012, 4, 13), (2013, 8, 17))
    for plant in range(1, plants + 1)
    for frame in range(1, frames + 1)
]
SINGLE = [*numbered('ara2012_plant', 120), *numbered('ara2013_plant', 165)]


@pytest.fixture(scope='module')
def phenotyping(tmp_path_factory):
    folder = tmp_path_factory.mktemp('Plant_Phenotyping_Datasets')
    write_leaves(folder / 'Plant' / 'Ara', *SINGLE)
    write_leaves(folder / 'Plant' / 'Tobacco', *numbered('tobacco_plant', 62))
    write_leaves(folder / 'Stacks' / 'Ara', *FRAMES)
    write_png(folder / 'Tray' / 'Ara2012' / 'ara2012_tray01_rgb.png', RGB)
    return folder


def test_plants_are_split_by_chance_and_the_lists_are_saved(phenotyping, tmp_path):
    out = tmp_path / 'out'
    result = convert('plant_phenotyping', phenotyping, out, '--seed', 1)
    assert result.exit_code == 0, result.output
    assert reported(result, 'warning') == []
    assert '62 images are in no split list' in result.output
    saved = {s: (out / 'splits' / f'{s}.txt').read_text().split() for s in SPLITS}
    assert {s: stems(out, s) for s in SPLITS} == saved
    assert [len(members) for members in saved.values()] == [284, 95, 94]
    assert sorted(sum(saved.values(), [])) == sorted([*SINGLE, *FRAMES])
    layout = plant_phenotyping_layout(phenotyping)
    assert layout.split(1) == saved != layout.split(2)
    assert coco(out, 'train')['categories'] == [{'id': 1, 'name': 'leaf'}]
    for label_map in label_maps(out, 'val').values():
        np.testing.assert_array_equal(label_map, LABELS)


def test_lists_of_the_authors_name_plants_without_rgb(phenotyping, tmp_path):
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists' / 'val.txt').write_text(
        'ara2013_plant05_frame16.png\ntobacco_plant001.png\n'
    )
    options = ('--split-lists', tmp_path / 'lists')
    result = convert('plant_phenotyping', phenotyping, tmp_path / 'out', *options)
    assert result.exit_code == 0, result.output
    assert stems(tmp_path / 'out', 'val') == ['ara2013_plant05_frame16', 'tobacco_plant001']


def test_folds_keep_the_frames_of_a_plant_together(tmp_path):
    write_leaves(tmp_path / 'in', *SINGLE[:8], *FRAMES[:40])
    result = convert('plant_phenotyping', tmp_path / 'in', tmp_path / 'out', '--folds', 3)
    assert result.exit_code == 0, result.output
    plants = [
        {stem.split('_frame')[0] for stem in stems(tmp_path / 'out', f'fold{k}_test')}
        for k in (1, 2, 3)
    ]
    assert len(set.union(*plants)) == sum(map(len, plants)) == 8 + 4


def test_plant_faults_are_named_and_what_is_missing_is_said(tmp_path):
    folder = tmp_path / 'in'
    write_leaves(folder, *SINGLE[:4])
    (folder / f'{SINGLE[0]}_label.png').unlink()
    (folder / f'{SINGLE[1]}_rgb.png').unlink()
    write_png(folder / f'{SINGLE[2]}_label.png', LABELS[1:])
    result = convert('plant_phenotyping', folder, tmp_path / 'out')
    assert result.exit_code == 1
    left_out = sorted(reported(result, 'left out'))
    assert 'ara2012_plant001_rgb.png has no label map *_label.png for ara2012' in left_out[0]
    assert 'ara2012_plant002_label.png has no image ara2012_plant002' in left_out[1]
    assert (
        'ara2012_plant003_label.png is (9, 14) (height, width), its image (10, 14)' in (left_out[2])
    )
    assert len(left_out) == 3
    assert 'train has 2 images, published are 284' in reported(result, 'warning')


# Leaf segmentation challenge

LSC = {'A1': 128, 'A2': 31, 'A3': 27, 'A4': 624}


def test_leaves_of_four_folders_keep_their_names_apart(tmp_path):
    root = tmp_path / 'in' / 'CVPPP2017_LSC_training' / 'training'
    for part, count in LSC.items():
        write_leaves(root / part, *numbered('plant', count))
    write_leaves(root / 'A5', *numbered('plant', 3))
    write_png(tmp_path / 'in' / 'testing' / 'A1' / 'plant003_rgb.png', RGB)
    out = tmp_path / 'out'
    result = convert('lsc', tmp_path / 'in', out, '--folds', 2)
    assert result.exit_code == 0, result.output
    (sizes,) = reported(result, 'warning')
    assert sizes.endswith(
        'published are 441 x 441 or 530 x 500 or 530 x 565 or 2048 x 2448 or 2448 x 2048'
    )
    everything = [f'{part}_{name}' for part, n in LSC.items() for name in numbered('plant', n)]
    assert stems(out, 'all_train') == everything
    assert sorted(stems(out, 'train') + stems(out, 'val')) == everything
    drawn = [stem[:2] for stem in stems(out, 'val')]
    assert {part: drawn.count(part) for part in LSC} == {'A1': 26, 'A2': 6, 'A3': 5, 'A4': 125}
    # Every image is in one fold, though it is in two splits.
    assert sorted(stems(out, 'fold1_test') + stems(out, 'fold2_test')) == everything
    assert all(
        image['subset'] == [image['file_name'][:2]] for image in coco(out, 'all_train')['images']
    )


def test_missing_leaves_are_counted_by_folder(tmp_path):
    write_leaves(tmp_path / 'in' / 'A1', *numbered('plant', 128))
    write_leaves(tmp_path / 'in' / 'A3', *numbered('plant', 26))
    (tmp_path / 'in' / 'A3' / 'plant002_label.png').write_bytes(b'PNG?')
    result = convert('lsc', tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 1
    (fault,) = reported(result, 'left out')
    assert fault.startswith('A3_plant002: ')
    assert 'A3/plant002_label.png: cannot be decoded' in fault
    warnings = reported(result, 'warning')
    for part, images in (('A2', 0), ('A3', 26), ('A4', 0)):
        assert f'{part} has {images} images, published are {LSC[part]}' in warnings
    assert not any(line.startswith('A1 has') for line in warnings)


# Neural cells


def write_neural_cells(folder, *names, pixels=GRAY, split=''):
    """Images, and their annotation in colours on the gray image."""
    painted = np.dstack([GRAY] * 3)
    painted[LABELS == 1], painted[LABELS == 2] = (10, 10, 200), (10, 200, 10)
    for name in names:
        write_png(folder / split / f'{name}.png', pixels)
        write_png(folder / 'mask' / f'{name}.png', painted)


@pytest.mark.parametrize('given', [False, True])
def test_neural_cells_are_split_by_folder_or_by_chance(tmp_path, given):
    names, out = numbered('cell', 644), tmp_path / 'out'
    parts = {'train': names[258:], 'val': names[:129], 'test': names[129:258]}
    for split, members in parts.items() if given else [('images', names)]:
        write_neural_cells(tmp_path / 'in', *members, split=split)
    result = convert('neural_cell', tmp_path / 'in', out)
    assert result.exit_code == 0, result.output
    (sizes,) = reported(result, 'warning')
    assert sizes.endswith(' is 10 x 14 (height, width), published are 512 x 640')
    found = {split: stems(out, split) for split in parts}
    assert [len(members) for members in found.values()] == [386, 129, 129]
    assert sorted(sum(found.values(), [])) == names
    assert (found == parts) is given
    assert coco(out, 'train')['categories'] == [{'id': 1, 'name': 'cell'}]
    image = cv2.imread(str(out / 'images' / 'cell001.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(image, np.dstack([GRAY] * 3))
    for label_map in label_maps(out, 'val').values():
        # Colours are numbered by their red, then green.
        np.testing.assert_array_equal(label_map, np.array([0, 2, 1])[LABELS])


def test_neural_cells_beside_the_folders_of_splits_are_in_none(tmp_path):
    for split in ('train', 'val', 'test'):
        write_neural_cells(tmp_path / 'in', f'{split}_a', f'{split}_b', split=split)
    write_neural_cells(tmp_path / 'in', 'overview')
    result = convert('neural_cell', tmp_path / 'in', tmp_path / 'out')
    assert '1 images are in no split list' in result.output
    for split in ('train', 'val', 'test'):
        assert sorted(stems(tmp_path / 'out', split)) == [f'{split}_a', f'{split}_b']


def test_neural_cells_of_two_folders_are_these_splits(tmp_path):
    for split in ('train', 'test'):
        write_neural_cells(tmp_path / 'in', *numbered(split, 5), split=split)
    convert('neural_cell', tmp_path / 'in', tmp_path / 'out')
    assert [len(stems(tmp_path / 'out', s)) for s in ('train', 'val', 'test')] == [5, 0, 5]
    assert all(stem.startswith('test') for stem in stems(tmp_path / 'out', 'test'))


def test_neural_cells_may_come_as_label_maps_and_remarks_are_made(tmp_path):
    folder = tmp_path / 'in'
    write_neural_cells(folder, 'colour', pixels=RGB)
    write_neural_cells(folder, 'labels', 'specks', 'unannotated', 'smaller')
    write_png(folder / 'mask' / 'labels.png', LABELS)
    specks = LABELS.copy()
    specks[8:10, 12:14], specks[0, 0:9] = 4, 3
    write_tiff(folder / 'mask' / 'specks.tif', specks.astype(np.uint16))
    (folder / 'mask' / 'specks.png').unlink()
    (folder / 'mask' / 'unannotated.png').unlink()
    write_png(folder / 'mask' / 'smaller.png', LABELS[1:])
    result = convert('neural_cell', folder, tmp_path / 'out')
    assert result.exit_code == 1
    smaller, unannotated = sorted(reported(result, 'left out'))
    assert 'smaller.png is (9, 14) (height, width), its image (10, 14)' in smaller
    assert 'unannotated.png has no annotation mask/unannotated.png' in unannotated
    warnings = reported(result, 'warning')
    assert 'colour: is a colour image, published are gray ones' in warnings
    assert 'specks: specks of at most 2 pixels in height or width are left out' in warnings
    found = {
        stem: label_map
        for split in ('train', 'val', 'test')
        for stem, label_map in label_maps(tmp_path / 'out', split).items()
    }
    assert set(found) == {'colour', 'labels', 'specks'}
    for stem in ('labels', 'specks'):
        np.testing.assert_array_equal(found[stem], LABELS)


# Cell Tracking Challenge

SILVER = np.zeros((10, 14), np.uint16)
# Two of the cells of LABELS, drawn a little worse, and a third one that gold leaves out.
SILVER[1:4, 3:6], SILVER[4:9, 2:8], SILVER[1:3, 9:13] = 5, 9, 300
# What mixing is to give: LABELS where they are, the third cell of silver.
MIXED = LABELS.astype(np.int64)
MIXED[1:3, 9:13] = 3


def write_ctc(root, frames=92, silver=92, gold=2, size=(10, 14)):
    """Two videos, annotated from their first frame on, with markers for tracking in all frames."""

    def write(path, pixels):
        canvas = np.zeros(size, np.uint16)
        canvas[:10, :14] = pixels
        write_tiff(path, canvas)

    for video in ('01', '02'):
        for k in range(frames):
            write(root / video / f't{k:03}.tif', GRAY.astype(np.uint16) * 100)
            write(root / f'{video}_GT' / 'TRA' / f'man_track{k:03}.tif', SILVER)
        for k in range(silver):
            write(root / f'{video}_ST' / 'SEG' / f'man_seg{k:03}.tif', SILVER)
        for k in range(gold):
            write(root / f'{video}_GT' / 'SEG' / f'man_seg{k:03}.tif', LABELS)
        (root / f'{video}_GT' / 'TRA' / 'man_track.txt').write_text('1 0 0 0\n')


def frames_of(video, count, ending=''):
    return [f'{video}_t{k:03}{ending}' for k in range(count)]


def test_videos_of_the_challenge_are_split_by_annotation(tmp_path):
    write_ctc(tmp_path / 'Fluo-N2DL-HeLa', frames=93)
    out = tmp_path / 'out'
    archive = shutil.make_archive(
        str(tmp_path / 'hela'), 'zip', tmp_path, base_dir='Fluo-N2DL-HeLa'
    )
    result = convert('ctc', archive, out, '--folds', 2)
    assert result.exit_code == 0, result.output
    (sizes,) = reported(result, 'warning')
    assert sizes.endswith(': is 10 x 14 (height, width), published are 700 x 1100')
    assert {split: stems(out, split) for split in ('train', 'val', 'test', 'gold_train')} == {
        'train': frames_of('01', 92),
        'val': frames_of('02', 92),
        'test': frames_of('02', 2, '_gold'),
        'gold_train': frames_of('01', 2, '_mixed'),
    }
    assert stems(out, 'all_train') == frames_of('01', 92) + frames_of('02', 92)
    for split, ending in (('all_gold_train', '_mixed'), ('all_test', '_gold')):
        assert stems(out, split) == frames_of('01', 2, ending) + frames_of('02', 2, ending)
    # The last frame of each video has no annotation, and cells all the same.
    assert '2 images are in no split list' in result.output
    folds = [stems(out, f'fold{k}_test') for k in (1, 2)]
    assert sorted(folds) == [frames_of('01', 92), frames_of('02', 92)]
    for split, expected in (('val', SILVER), ('test', LABELS), ('all_gold_train', MIXED)):
        for label_map in label_maps(out, split).values():
            ids = np.unique(expected)
            np.testing.assert_array_equal(label_map, np.searchsorted(ids, expected))


def test_frames_of_the_published_size_and_number_get_no_remark(tmp_path):
    write_ctc(tmp_path / 'PhC-C2DL-PSC', frames=3, silver=3, size=(576, 720))
    result = convert('ctc', tmp_path / 'PhC-C2DL-PSC', tmp_path / 'out')
    assert result.exit_code == 0, result.output
    # 4 of gold are there.
    assert reported(result, 'warning') == ['all_train has 6 images, published are 202']
    write_ctc(tmp_path / 'Fluo-C2DL-MSC', frames=3, silver=3)
    result = convert('ctc', tmp_path / 'Fluo-C2DL-MSC', tmp_path / 'other')
    (warning,) = reported(result, 'warning')
    assert warning.startswith('Fluo-C2DL-MSC is none of Fluo-N2DL-HeLa, PhC-C2DH-U373, ')


def test_one_cell_in_pieces_is_no_foreground_mask(tmp_path):
    write_ctc(tmp_path / 'in', frames=1, silver=1, gold=1)
    one = np.where(LABELS == 2, 0, LABELS).astype(np.uint16)
    one[8, 12] = 1
    write_tiff(tmp_path / 'in' / '02_GT' / 'SEG' / 'man_seg000.tif', one)
    result = convert('ctc', tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(label_maps(tmp_path / 'out', 'test')['02_t000_gold'], one)


def test_faulty_frames_are_named_the_rest_is_converted(tmp_path):
    root = tmp_path / 'Fluo-N2DL-HeLa'
    write_ctc(root, frames=6, silver=5, gold=3)
    silver = root / '01_ST' / 'SEG'
    write_tiff(silver / 'man_seg000.tif', np.zeros((10, 14), np.uint16))
    write_tiff(silver / 'man_seg001.tif', SILVER[1:])
    (silver / 'man_seg002.tif').write_bytes(b'TIFF?')
    write_tiff(silver / 'man_seg003.tif', SILVER.astype(np.float32))
    write_tiff(root / '01_ST' / 'SEG' / 'man_seg009.tif', SILVER)
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists' / 'train.txt').write_text(
        '\n'.join([*frames_of('01', 6), '01_t009', *frames_of('01', 3, '_mixed'), '02_t000'])
    )
    result = convert('ctc', root, tmp_path / 'out', '--split-lists', tmp_path / 'lists')
    assert result.exit_code == 1
    reasons = {
        '01_t000': 'man_seg000.tif: annotates no cell; a frame without annotation is no negative',
        '01_t001': 'man_seg001.tif is (9, 14) (height, width), its image (10, 14)',
        '01_t002': 'man_seg002.tif: cannot be decoded as TIFF',
        '01_t003': 'man_seg003.tif: holds float32, expected integers',
        '01_t005': 't005.tif has no silver annotation for 01_t005',
        '01_t009': 'man_seg009.tif has no image 01_t009',
        '01_t000_mixed': 'man_seg000.tif: annotates no cell',
        '01_t001_mixed': 'man_seg001.tif is (9, 14)',
        '01_t002_mixed': 'man_seg002.tif: cannot be decoded',
    }
    left_out = dict(line.split(': ', 1) for line in reported(result, 'left out'))
    assert left_out.keys() == reasons.keys()
    for stem, reason in reasons.items():
        assert reason in left_out[stem]
    assert stems(tmp_path / 'out', 'train') == ['01_t004', '02_t000']
    strict = convert('ctc', root, tmp_path / 'strict', '--strict')
    assert strict.exit_code == 1
    assert 'Error: 01_t000: ' in strict.output


def test_silver_cells_are_added_where_they_are_no_gold_cell():
    # Gold: a cell; silver: it with more around, it within, a touching neighbour, one far off.
    gold = np.array([[0, 7, 7, 7, 7, 0, 0, 0, 0, 0]])
    silver = np.array([[1, 1, 1, 1, 2, 2, 2, 0, 3, 0]])
    np.testing.assert_array_equal(fill_in(gold, silver), [[0, 7, 7, 7, 7, 9, 9, 0, 10, 0]])
    # Half of the smaller is not more than half.
    np.testing.assert_array_equal(
        fill_in(np.array([[1, 1, 0, 0]]), np.array([[0, 4, 4, 0]])), [[1, 1, 5, 0]]
    )


def test_two_data_sets_of_the_challenge_at_once_are_refused(tmp_path):
    for name in ('PhC-C2DL-PSC', 'PhC-C2DH-U373'):
        write_ctc(tmp_path / 'in' / name, frames=1, silver=1, gold=1)
    result = convert('ctc', tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 1
    assert 'found 2 annotated data sets' in result.output
