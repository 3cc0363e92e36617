import json
import runpy
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from pycocotools import mask as coco_mask

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'dsb2018.py'


@pytest.fixture(scope='module')
def command():
    return runpy.run_path(str(TOOL))['main']


def run(command, *args):
    return CliRunner().invoke(command, [str(arg) for arg in args])


@pytest.fixture
def tree(tmp_path):
    """Ten images `img0`.. of 12 x 16, RGBA, image k with k square masks."""
    root = tmp_path / 'stage1_train'
    for number in range(10):
        folder = root / f'img{number}'
        (folder / 'images').mkdir(parents=True)
        (folder / 'masks').mkdir()
        cv2.imwrite(
            str(folder / 'images' / f'img{number}.png'), np.full((12, 16, 4), number, np.uint8)
        )
        for k in range(number):
            mask = np.zeros((12, 16), np.uint8)
            mask[k : k + 2, k : k + 3] = 255
            cv2.imwrite(str(folder / 'masks' / f'mask{k}.png'), mask)
    return root


def read(out, split):
    return json.loads((out / 'annotations' / f'{split}.json').read_text())


def test_what_a_mac_adds_is_passed_over(command, tree, tmp_path):
    shutil.copytree(tree / 'img3', tmp_path / '__MACOSX' / 'img3')
    (tmp_path / '__MACOSX').rename(tree / '__MACOSX')
    for name in ('images', 'masks'):
        (tree / 'img4' / name / '._img4.png').write_bytes(b'Mac OS X')
    for image in (tree / '__MACOSX').rglob('*.png'):
        image.rename(image.with_name(f'._{image.name}'))
    result = run(command, tree, '--out', tmp_path / 'out')
    assert result.exit_code == 0, result.output
    splits = (read(tmp_path / 'out', split)['images'] for split in ('train', 'val', 'test'))
    assert sum(map(len, splits)) == 10


def test_folder_is_converted_by_lists(command, tree, tmp_path):
    lists = tmp_path / 'lists'
    lists.mkdir()
    (lists / 'train.txt').write_text('img3\nimg0\n')
    (lists / 'val.txt').write_text('img2\n')
    out = tmp_path / 'out'
    result = run(command, tree, '--out', out, '--split-lists', lists)
    assert result.exit_code == 0, result.output
    assert '7 images are in no split list' in result.output
    train = read(out, 'train')
    assert [image['file_name'] for image in train['images']] == ['img3.png', 'img0.png']
    assert [annotation['bbox'] for annotation in train['annotations']] == [
        [0, 0, 3, 2],
        [1, 1, 3, 2],
        [2, 2, 3, 2],
    ]
    assert {annotation['image_id'] for annotation in train['annotations']} == {1}
    assert not (out / 'annotations' / 'test.json').exists()
    assert cv2.imread(str(out / 'images' / 'img3.png'), cv2.IMREAD_UNCHANGED).shape == (12, 16, 3)


@pytest.mark.parametrize('top_folder', [False, True])
def test_zip_gives_the_same_seeded_split_as_the_folder(command, tree, tmp_path, top_folder):
    archive = shutil.make_archive(
        str(tmp_path / 'stage1_train'),
        'zip',
        root_dir=tmp_path if top_folder else tree,
        base_dir='stage1_train' if top_folder else None,
    )
    outs = tmp_path / 'from_zip', tmp_path / 'from_folder'
    for source, out in zip((archive, tree), outs, strict=True):
        assert run(command, source, '--out', out, '--seed', 5).exit_code == 0
    for split, size in (('train', 6), ('val', 2), ('test', 2)):
        from_zip, from_folder = (read(out, split) for out in outs)
        assert from_zip == from_folder
        assert len(from_zip['images']) == size


def test_broken_entries_are_named_the_rest_is_converted(command, tree, tmp_path):
    (tree / 'img1' / 'images' / 'img1.png').write_bytes(b'broken')
    cv2.imwrite(str(tree / 'img2' / 'masks' / 'mask0.png'), np.ones((12, 15), np.uint8))
    cv2.imwrite(str(tree / 'img3' / 'masks' / 'mask0.png'), np.zeros((12, 16), np.uint8))
    (tree / 'img4' / 'images' / 'img4.png').unlink()
    shutil.rmtree(tree / 'img5' / 'masks')
    result = run(command, tree, '--out', tmp_path / 'out')
    assert result.exit_code == 1
    for stem, reason in (
        ('img1', 'cannot be decoded'),
        ('img2', 'is (12, 15) (height, width), its image (12, 16)'),
        ('img3', 'has no pixel set'),
        ('img4', 'holds 0 images, expected one'),
        ('img5', 'has no folder masks'),
    ):
        (line,) = [x for x in result.output.splitlines() if x.startswith(f'left out {stem}: ')]
        assert reason in line
    written = [
        image
        for split in ('train', 'val', 'test')
        for image in read(tmp_path / 'out', split)['images']
    ]
    assert len(written) == 5


def test_wrong_sources_are_refused_in_one_sentence(command, tmp_path):
    (tmp_path / 'a.zip').write_bytes(b'not a zip')
    result = run(command, tmp_path / 'a.zip', '--out', tmp_path / 'out')
    assert result.exit_code == 1
    assert 'a.zip: File is not a zip file; download it again' in result.output
    with zipfile.ZipFile(tmp_path / 'b.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('x/images/x.png', bytes(range(256)) * 9)
    damaged = bytearray((tmp_path / 'b.zip').read_bytes())
    damaged[50:90] = b'\xff' * 40
    (tmp_path / 'b.zip').write_bytes(damaged)
    result = run(command, tmp_path / 'b.zip', '--out', tmp_path / 'out')
    assert result.exit_code == 1
    assert 'b.zip: Error -3 while decompressing data' in result.output
    assert 'download it again' in result.output
    result = run(command, tmp_path, '--out', tmp_path / 'out')
    assert 'found no <id>/images folder' in result.output
    assert not (tmp_path / 'out').exists()


def test_real_images_keep_their_masks(command, test_data, tmp_path):
    source = test_data / 'data' / 'dsb2018'
    stems = (source / 'train.txt').read_text().split()[:3]
    with zipfile.ZipFile(source / 'stage1_train.zip') as archive:
        names = [name for name in archive.namelist() if name.split('/')[0] in stems]
        archive.extractall(tmp_path / 'part', names)
    result = run(command, tmp_path / 'part', '--out', tmp_path / 'out', '--seed', 1)
    assert result.exit_code == 0, result.output
    seen = 0
    for split in ('train', 'val', 'test'):
        coco = read(tmp_path / 'out', split)
        files = {image['id']: image['file_name'] for image in coco['images']}
        areas: dict[str, list[int]] = {}
        for annotation in coco['annotations']:
            stem = Path(files[annotation['image_id']]).stem
            areas.setdefault(stem, []).append(annotation['area'])
            assert coco_mask.area(annotation['segmentation']) == annotation['area']
        for stem, found in areas.items():
            masks = (tmp_path / 'part' / stem / 'masks').glob('*.png')
            expected = [int((cv2.imread(str(path), 0) > 0).sum()) for path in masks]
            assert sorted(found) == sorted(expected)
            seen += len(found)
    assert seen == sum('/masks/' in name and name.endswith('.png') for name in names)
