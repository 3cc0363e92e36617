"""The converters of the papers' data sets on miniatures of what their authors distribute."""

import shutil

import cv2
import numpy as np
import pytest
import scipy.io
from conversion import (
    GRAY,
    KUMAR_NAMES,
    LABELS,
    RGB,
    aperio,
    coco,
    convert,
    label_maps,
    reported,
    stems,
    write_kumar,
    write_png,
    write_tiff,
)
from PIL import Image

from mmcell.datasets.paper_layouts import KUMAR_ORGANS

# Kumar


def test_whole_kumar_has_the_published_split_and_no_remark(tmp_path):
    extra = 'TCGA-UZ-A9PJ-01Z-00-DX1'  # of MoNuSeg alone
    pixels = np.full((1000, 1000, 3), 200, np.uint8)
    write_kumar(tmp_path / 'MoNuSeg 2018 Training Data', [*KUMAR_NAMES, extra], pixels)
    archive = shutil.make_archive(str(tmp_path / 'monuseg'), 'zip', tmp_path)
    out = tmp_path / 'out'
    result = convert('kumar', archive, out)
    assert result.exit_code == 0, result.output
    assert reported(result, 'warning') == []
    assert '1 images are in no split list' in result.output
    members = {split: stems(out, split) for split in ('train', 'val', 'test')}
    assert {split: len(names) for split, names in members.items()} == {
        'train': 12,
        'val': 4,
        'test': 14,
    }
    organ_of = {patient: organ for organ, names in KUMAR_ORGANS.items() for patient in names}
    organs = {
        split: sorted(organ_of[name[5:12]] for name in names) for split, names in members.items()
    }
    assert organs['val'] == ['breast', 'kidney', 'liver', 'prostate']
    assert organs['train'] == sorted(3 * organs['val'])
    subsets = [image['subset'] for image in coco(out, 'test')['images']]
    assert sum('seen' in names for names in subsets) == 8
    assert sum('unseen' in names for names in subsets) == 6
    assert {tuple(names) for names in subsets if 'unseen' in names} == {
        ('bladder', 'unseen'),
        ('colon', 'unseen'),
        ('stomach', 'unseen'),
    }
    # Kumar et al.'s test images of the organs that are trained on.
    assert {name[5:12] for name in members['test']} >= {
        *('21-5786', '49-4488', 'A7-A13F', 'E2-A1B5', 'CH-5767', 'G9-6336', 'B0-5698', 'B0-5710')
    }


def test_kumar_outlines_become_masks_and_what_is_missing_is_said(tmp_path):
    write_kumar(tmp_path / 'in', KUMAR_NAMES[1:])
    result = convert('kumar', tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 0, result.output
    maps = {**label_maps(tmp_path / 'out', 'train'), **label_maps(tmp_path / 'out', 'test')}
    for label_map in maps.values():
        np.testing.assert_array_equal(label_map, LABELS)
    warnings = reported(result, 'warning')
    assert warnings[0] == 'published, but not there: TCGA-A7-A13E'
    assert warnings[1] in (
        'train has 11 images, published are 12',
        'val has 3 images, published are 4',
    )
    (sizes,) = warnings[2:]
    assert sizes.endswith(' and 26 more: is 10 x 14 (height, width), published are 1000 x 1000')
    strict = convert('kumar', tmp_path / 'in', tmp_path / 'strict', '--strict')
    assert strict.exit_code == 1
    assert len(coco(tmp_path / 'strict', 'test')['images']) == 14


def test_kumar_validation_is_drawn_by_the_seed(tmp_path):
    write_kumar(tmp_path / 'in', KUMAR_NAMES)
    draws = {}
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        convert('kumar', tmp_path / 'in', tmp_path / name, '--seed', seed)
        draws[name] = stems(tmp_path / name, 'val')
        assert stems(tmp_path / name, 'test') == stems(tmp_path / 'a', 'test')
    assert draws['a'] == draws['b'] != draws['c']


def test_faulty_kumar_files_are_named_the_rest_is_converted(tmp_path):
    root = tmp_path / 'in'
    write_kumar(root, KUMAR_NAMES)
    images, outlines = root / 'Tissue Images', root / 'Annotations'
    names = iter(KUMAR_NAMES)
    faults = {}

    def break_outline(text, reason):
        faults[name := next(names)] = reason
        (outlines / f'{name}.xml').write_text(text)

    break_outline('<Annotations>', '.xml: is no valid XML: no element found')
    break_outline(aperio([(1, 1), (5, 5)]), 'annotation 1, region 1: is open, it has 2 different')
    break_outline(
        aperio([(1, 1), (5, 1), (5, 5)], [(-90, 1), (5, 1), (5, 5)]),
        'annotation 1, region 2, vertex 1: (-90.0, 1.0) (x, y) is outside the image',
    )
    faults[name := next(names)] = 'has no outlines TCGA-AR-A1AS-01Z-00-DX1.xml'
    (outlines / f'{name}.xml').unlink()
    faults[name := next(names)] = 'has no image TCGA-E2-A1B5-01Z-00-DX1'
    (images / f'{name}.tif').unlink()
    faults[name := next(names)] = 'pixels are uint16, expected uint8'
    write_tiff(images / f'{name}.tif', RGB.astype(np.uint16) * 100)
    faults[name := next(names)] = 'cannot be decoded as TIFF'
    (images / f'{name}.tif').write_bytes(b'no TIFF')
    result = convert('kumar', root, tmp_path / 'out')
    assert result.exit_code == 1
    lines = reported(result, 'left out')
    assert len(lines) == len(faults) == 7
    for name, reason in faults.items():
        (line,) = [line for line in lines if line.startswith(f'{name}: ')]
        assert reason in line
    written = sum(len(stems(tmp_path / 'out', split)) for split in ('train', 'val', 'test'))
    assert written == 30 - 7
    strict = convert('kumar', root, tmp_path / 'strict', '--strict')
    assert strict.exit_code == 1
    assert strict.output.count('Error: ') == 1
    assert any(f'Error: {name}: ' in strict.output for name in faults)


# TNBC

PATIENT_IMAGES = (7, 3, 5, 8, 4, 3, 3, 4, 6, 4, 3)


def write_tnbc(folder, size=LABELS.shape):
    image, mask = (np.zeros(size, np.uint8) for _ in range(2))
    mask[1:4, 2:6] = mask[6:8, 8:12] = 255
    for patient, count in enumerate(PATIENT_IMAGES, start=1):
        for number in range(1, count + 1):
            name = f'{patient:02}_{number}.png'
            write_png(folder / f'Slide_{patient:02}' / name, np.dstack([image] * 4))
            write_png(folder / f'GT_{patient:02}' / name, mask)


def test_tnbc_splits_are_by_patient(tmp_path):
    write_tnbc(tmp_path / 'TNBC_NucleiSegmentation', (512, 512))
    out = tmp_path / 'out'
    result = convert('tnbc', tmp_path, out)
    assert result.exit_code == 0, result.output
    assert reported(result, 'warning') == []
    patients = {}
    for split, images in (('train', 30), ('val', 7), ('test', 13)):
        names = stems(out, split)
        assert len(names) == images
        patients[split] = {name[:2] for name in names}
    assert [len(patients[split]) for split in ('train', 'val', 'test')] == [6, 2, 3]
    folds = [stems(out, f'fold{k}_test') for k in (1, 2, 3)]
    assert sorted(sum(folds, [])) == sorted(sum((stems(out, s) for s in patients), []))
    assert all(14 <= len(fold) <= 20 for fold in folds)
    fold_patients = [{name[:2] for name in fold} for fold in folds]
    assert sum(len(p) for p in fold_patients) == 11
    for k, test in enumerate(fold_patients, start=1):
        assert not test & {name[:2] for name in stems(out, f'fold{k}_train')}
    expected = np.zeros((512, 512))
    expected[1:4, 2:6], expected[6:8, 8:12] = 1, 2
    np.testing.assert_array_equal(label_maps(out, 'val')['07_1'], expected)


def test_tnbc_training_patches_are_cut_on_request(tmp_path):
    write_tnbc(tmp_path / 'in')
    out = tmp_path / 'out'
    convert('tnbc', tmp_path / 'in', out, '--patches', 5, '--patch-size', 8, '--seed', 3)
    assert len(stems(out, 'train')) == 5 * 30
    assert len(stems(out, 'val')) == 7
    assert {(i['height'], i['width']) for i in coco(out, 'train')['images']} == {(8, 8)}
    assert stems(out, 'train')[:5] == [f'01_1_{k:03}' for k in range(5)]


def test_tnbc_faults_are_named(tmp_path):
    write_tnbc(tmp_path / 'in')
    (tmp_path / 'in' / 'GT_01' / '01_1.png').unlink()
    (tmp_path / 'in' / 'Slide_01' / '01_2.png').unlink()
    write_png(tmp_path / 'in' / 'GT_01' / '01_3.png', np.zeros((9, 14), np.uint8))
    write_png(tmp_path / 'in' / 'Slide_01' / '01_4.png', RGB.astype(np.uint16))
    result = convert('tnbc', tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 1
    first, second, third, fourth = sorted(reported(result, 'left out'))
    assert '01_1.png has no mask GT_*/01_1.png' in first
    assert '01_2.png has no image 01_2' in second
    assert '01_3.png is (9, 14) (height, width), its image (10, 14)' in third
    assert '01_4.png: pixels are uint16, expected uint8' in fourth
    for kind in ('Slide', 'GT'):
        shutil.rmtree(tmp_path / 'in' / f'{kind}_01')
    result = convert('tnbc', tmp_path / 'in', tmp_path / 'out2')
    assert result.exit_code == 0
    assert 'train has 23 images, published are 30' in reported(result, 'warning')


def test_tnbc_list_may_name_what_is_not_there(tmp_path):
    write_tnbc(tmp_path / 'in')
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists' / 'train.txt').write_text('01_1\n02_1\n03_1\n99_9\n')
    result = convert('tnbc', tmp_path / 'in', tmp_path / 'out', '--split-lists', tmp_path / 'lists')
    assert result.exit_code == 1
    assert '99_9: in train.txt, but not in the data set' in reported(result, 'left out')
    assert stems(tmp_path / 'out', 'train') == ['01_1', '02_1', '03_1']
    assert len(stems(tmp_path / 'out', 'fold1_train')) == 2


def test_lists_with_folds_repeat_them(tmp_path):
    write_tnbc(tmp_path / 'in')
    for seed in ('5', '6'):
        convert('tnbc', tmp_path / 'in', tmp_path / seed, '--seed', seed)
    names = [f'fold{k}_{part}' for k in (1, 2, 3) for part in ('train', 'test')]
    folds = {seed: [stems(tmp_path / seed, name) for name in names] for seed in ('5', '6')}
    assert folds['5'] != folds['6']
    convert('tnbc', tmp_path / 'in', tmp_path / 'again', '--split-lists', tmp_path / '5' / 'splits')
    assert [stems(tmp_path / 'again', name) for name in names] == folds['5']


# BBBC039


def write_bbbc039(folder, counts=(3, 2, 1)):
    names = [f'IXMtest_{k:02}' for k in range(sum(counts))]
    # Touching nuclei differ in the first channel, distant ones are alike.
    mask = np.zeros((*LABELS.shape, 4), np.uint8)
    mask[:, :, 2] = np.where(LABELS == 1, 40, np.where(LABELS == 2, 80, 0))
    mask[9, 10:12, 2] = 40
    mask[:, :, 3] = 255
    for name in names:
        write_tiff(folder / 'images' / f'{name}.tif', GRAY.astype(np.uint16) * 20)
        write_png(folder / 'masks' / f'{name}.png', mask)
    start = 0
    (folder / 'metadata').mkdir()
    for part, count in zip(('training', 'validation', 'test'), counts, strict=True):
        listed = names[start : start + count]
        lines = ''.join(f'{name}.png\n' for name in listed)
        (folder / 'metadata' / f'{part}.txt').write_text(lines)
        start += count
    return names


def test_bbbc039_follows_its_lists_and_decodes_the_first_channel(tmp_path):
    names = write_bbbc039(tmp_path / 'in')
    out = tmp_path / 'out'
    result = convert('bbbc039', tmp_path / 'in', out)
    assert result.exit_code == 0, result.output
    assert stems(out, 'train') == names[:3]
    assert stems(out, 'val') == names[3:5]
    assert stems(out, 'test') == names[5:]
    expected = LABELS.astype(int)
    expected[9, 10:12] = 3
    np.testing.assert_array_equal(label_maps(out, 'test')[names[5]], expected)
    image = cv2.imread(str(out / 'images' / f'{names[0]}.png'), cv2.IMREAD_UNCHANGED)
    assert (image.shape, image.dtype, image.min(), image.max()) == ((10, 14, 3), np.uint8, 0, 255)
    assert reported(result, 'warning')[:3] == [
        'train has 3 images, published are 100',
        'val has 2 images, published are 50',
        'test has 1 images, published are 50',
    ]
    assert 'and 3 more: is 10 x 14 (height, width), published are 520 x 696' in result.output


def test_bbbc039_faults_are_named(tmp_path):
    names = write_bbbc039(tmp_path / 'in')
    write_tiff(tmp_path / 'in' / 'images' / f'{names[0]}.tif', GRAY)
    (tmp_path / 'in' / 'masks' / f'{names[1]}.png').unlink()
    (tmp_path / 'in' / 'images' / f'{names[2]}.tif').unlink()
    (tmp_path / 'in' / 'masks' / f'{names[2]}.png').unlink()
    result = convert('bbbc039', tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 1
    first, second, third = sorted(reported(result, 'left out'))
    assert 'pixels are uint8, expected uint16 as the data set is distributed' in first
    assert f'{names[1]}.tif has no mask masks/{names[1]}.png' in second
    assert third == f'{names[2]}: in train.txt, but not in the data set'
    (tmp_path / 'in' / 'metadata' / 'test.txt').unlink()
    result = convert('bbbc039', tmp_path / 'in', tmp_path / 'out2')
    assert 'lacks test.txt of the metadata; unpack them too' in result.output


# CVPPP


def write_cvppp(folder, plants):
    palette = np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8)
    for k in range(1, plants + 1):
        write_png(folder / 'training' / 'A1' / f'plant{k:03}_rgb.png', np.dstack([RGB, GRAY]))
        picture = Image.fromarray(LABELS, mode='P')
        picture.putpalette(palette.tobytes())
        picture.save(folder / 'training' / 'A1' / f'plant{k:03}_label.png')
    for subset in ('A2', 'A3'):
        write_png(folder / 'training' / subset / 'plant001_rgb.png', RGB)
    write_png(folder / 'testing' / 'A1' / 'plant900_rgb.png', RGB)


def test_cvppp_takes_a1_alone_and_reads_palettes_as_labels(tmp_path):
    write_cvppp(tmp_path / 'CVPPP2017', 128)
    out = tmp_path / 'out'
    result = convert('cvppp', tmp_path / 'CVPPP2017', out)
    assert result.exit_code == 0, result.output
    assert 'published, but' not in result.output
    assert 'images, published are' not in result.output
    names = [f'plant{k:03}' for k in range(1, 129)]
    assert len(stems(out, 'train')) == 100
    assert len(stems(out, 'val')) == 28
    assert sorted(stems(out, 'train') + stems(out, 'val')) == names
    assert sorted(len(stems(out, f'fold{k}_test')) for k in (1, 2, 3)) == [42, 43, 43]
    assert sorted(sum((stems(out, f'fold{k}_test') for k in (1, 2, 3)), [])) == names
    assert coco(out, 'train')['categories'] == [{'id': 1, 'name': 'leaf'}]
    for label_map in label_maps(out, 'val').values():
        np.testing.assert_array_equal(label_map, LABELS)


def test_cvppp_faults_are_named(tmp_path):
    write_cvppp(tmp_path / 'in', 40)
    (tmp_path / 'in' / 'training' / 'A1' / 'plant003_label.png').unlink()
    write_png(tmp_path / 'in' / 'training' / 'A1' / 'plant004_label.png', RGB)
    result = convert('cvppp', tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 1
    third, fourth = sorted(reported(result, 'left out'))
    assert 'plant003_rgb.png has no label map *_label.png for plant003' in third
    assert 'plant004_label.png: is a colour image' in fourth
    assert 'train has 12 images, published are 100' in reported(result, 'warning')


# CPM17


def write_cpm17(folder, images=2):
    for split in ('train', 'test'):
        for k in range(images):
            write_png(folder / split / 'Images' / f'image_{k:02}.png', RGB)
            (folder / split / 'Labels').mkdir(exist_ok=True)
            labels = LABELS if split == 'train' else LABELS[::-1]
            path = folder / split / 'Labels' / f'image_{k:02}.mat'
            scipy.io.savemat(path, {'inst_map': labels.astype(np.float64)})
            write_png(folder / split / 'Overlay' / f'image_{k:02}.png', RGB)


def test_cpm17_keeps_images_of_equal_name_apart(tmp_path):
    write_cpm17(tmp_path / 'cpm17')
    out = tmp_path / 'out'
    result = convert('cpm17', tmp_path, out)
    assert result.exit_code == 0, result.output
    assert stems(out, 'train') == ['train_image_00', 'train_image_01']
    assert stems(out, 'test') == ['test_image_00', 'test_image_01']
    assert not (out / 'annotations' / 'val.json').exists()
    np.testing.assert_array_equal(label_maps(out, 'train')['train_image_00'], LABELS)
    np.testing.assert_array_equal(label_maps(out, 'test')['test_image_01'], LABELS[::-1])
    assert 'test has 2 images, published are 32' in reported(result, 'warning')


def test_cpm17_faults_are_named(tmp_path):
    write_cpm17(tmp_path / 'in', 4)
    labels = tmp_path / 'in' / 'train' / 'Labels'
    scipy.io.savemat(labels / 'image_00.mat', {'type_map': LABELS})
    (labels / 'image_01.mat').write_bytes(b'MATLAB?')
    (labels / 'image_02.mat').unlink()
    result = convert('cpm17', tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 1
    first, second, third = sorted(reported(result, 'left out'))
    assert 'image_00.mat: has no inst_map, holds type_map' in first
    assert 'image_01.mat: cannot be decoded as MAT' in second
    assert 'image_02.png has no label map Labels/*.mat for train_image_02' in third


# Cell17


def write_cell17(folder, number, labels=LABELS):
    write_png(folder / f'image{number:02}.png', RGB)
    write_png(folder / f'image{number:02}_poly.png', RGB)
    height, width = labels.shape
    text = f'{width} {height}\n' + ''.join(f'{value}\n' for value in labels.ravel())
    (folder / f'image{number:02}_mask.txt').write_text(text)


@pytest.mark.parametrize('diseases', [('gbm', 'lgg', 'hnscc', 'nsclc'), ('',)])
def test_cell17_draws_four_for_validation(tmp_path, diseases):
    for disease in diseases:
        for k in range(1, 32 // len(diseases) + 1):
            write_cell17(tmp_path / 'in' / 'training' / disease, k)
            write_cell17(tmp_path / 'in' / 'testing' / disease, k, LABELS[:, ::-1])
    out = tmp_path / 'out'
    result = convert('cell17', tmp_path / 'in', out)
    assert result.exit_code == 0, result.output
    assert [len(stems(out, split)) for split in ('train', 'val', 'test')] == [28, 4, 32]
    drawn = {stem.rsplit('_', 1)[0] for stem in stems(out, 'val')}
    assert drawn == ({f'train_{d}' for d in diseases} if len(diseases) == 4 else {'train'})
    assert 'images, published are' not in result.output
    for split, expected in (('val', LABELS), ('test', LABELS[:, ::-1])):
        for label_map in label_maps(out, split).values():
            np.testing.assert_array_equal(label_map, expected)


def test_cell17_faults_are_named(tmp_path):
    for k in range(1, 5):
        write_cell17(tmp_path / 'in' / 'test', k)
    write_cell17(tmp_path / 'in' / 'test', 1, LABELS[1:])
    (tmp_path / 'in' / 'test' / 'image02_mask.txt').write_text('14 10\n0\n')
    (tmp_path / 'in' / 'test' / 'image03_mask.txt').unlink()
    result = convert('cell17', tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 1
    first, second, third = sorted(reported(result, 'left out'))
    assert 'image01_mask.txt is (9, 14) (height, width), its image (10, 14)' in first
    assert 'image02_mask.txt: holds 1 pixels, but says 14 x 10 (width, height)' in second
    assert 'image03.png has no label map *_mask.txt for test_image03' in third
    assert stems(tmp_path / 'out', 'test') == ['test_image04']


# All


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('kumar', 'found no image; expected TCGA-*.tif with TCGA-*.xml'),
        ('tnbc', 'found no image; expected Slide_01/01_1.png'),
        ('bbbc039', 'found no image; expected images/*.tif, masks/*.png and metadata/*.txt'),
        ('cvppp', 'found no image; expected A1/plant001_rgb.png'),
        ('cpm17', 'found no image; expected train/Images/image_00.png'),
        ('cell17', 'found no image; expected image01.png with image01_mask.txt'),
        ('plant_phenotyping', 'found no image; expected ara2012_plant001_rgb.png with '),
        ('lsc', 'found no image; expected A1/plant001_rgb.png with A1/plant001_label.png, to A4'),
        ('neural_cell', 'found no image; expected train/x.png, or x.png, with mask/x.png'),
        ('ctc', 'found 0 annotated data sets of the Cell Tracking Challenge, expected one: '),
    ],
)
def test_folder_of_something_else_is_refused_with_what_was_expected(tmp_path, name, expected):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'readme.md').write_text('nothing')
    result = convert(name, tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 1
    assert f'Error: {tmp_path / "in"}: {expected}' in result.output
    assert not (tmp_path / 'out').exists()


def test_lists_of_the_user_go_before_the_official_split(tmp_path):
    write_cpm17(tmp_path / 'in')
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists' / 'val.txt').write_text('test_image_01.png\n')
    options = ('--split-lists', tmp_path / 'lists')
    result = convert('cpm17', tmp_path / 'in', tmp_path / 'out', *options)
    assert result.exit_code == 0, result.output
    assert stems(tmp_path / 'out', 'val') == ['test_image_01']
    assert not (tmp_path / 'out' / 'annotations' / 'train.json').exists()
    assert 'images, published are' not in result.output


def test_what_macos_adds_to_archives_is_passed_over(tmp_path):
    write_cpm17(tmp_path / 'in')
    write_png(tmp_path / 'in' / '__MACOSX' / 'train' / 'Images' / 'image_00.png', RGB)
    (tmp_path / 'in' / 'train' / 'Images' / '._image_00.png').write_bytes(b'resource fork')
    result = convert('cpm17', tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 0, result.output


def test_same_image_in_two_folders_is_refused(tmp_path):
    write_kumar(tmp_path / 'in', KUMAR_NAMES[:1])
    shutil.copytree(tmp_path / 'in' / 'Tissue Images', tmp_path / 'in' / 'copy')
    result = convert('kumar', tmp_path / 'in', tmp_path / 'out')
    assert result.exit_code == 1
    (line,) = reported(result, 'left out')
    assert line.startswith(f'{KUMAR_NAMES[0]}: has 2 images, keep or rename one of ')
