import json
import runpy
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from conversion import reported, stems, write_png, write_tiff

from mmcell.datasets.layouts import find_files
from mmcell.functional.rle import rles_to_label_map

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'label_folder.py'
LABELS = np.zeros((10, 14), np.uint16)
LABELS[1:4, 2:6], LABELS[4:8, 2:9] = 500, 7
GRAY = np.arange(140, dtype=np.uint8).reshape(10, 14)


@pytest.fixture(scope='module')
def command():
    return runpy.run_path(str(TOOL))['main']


def run(command, *args):
    return CliRunner().invoke(command, [str(arg) for arg in args])


def converted(out):
    """Per file name: the label map, ids ascending as in the source."""
    found = {}
    for split in ('train', 'val', 'test'):
        coco = json.loads((out / 'annotations' / f'{split}.json').read_text())
        for image in coco['images']:
            rles = [a['segmentation'] for a in coco['annotations'] if a['image_id'] == image['id']]
            found[image['file_name']] = rles_to_label_map(rles, (image['height'], image['width']))
    return found


@pytest.fixture
def two_folders(tmp_path):
    """Five images of every kind, one without objects; masks of every kind."""
    root = tmp_path / 'cells'
    (root / 'images').mkdir(parents=True)
    (root / 'masks').mkdir()
    colour = np.dstack([GRAY, GRAY // 2, GRAY // 3])
    tifffile.imwrite(root / 'images' / 'gray16.tif', GRAY.astype(np.uint16) * 20)
    cv2.imwrite(str(root / 'images' / 'gray8.png'), GRAY)
    cv2.imwrite(str(root / 'images' / 'rgba.v2.png'), np.dstack([colour, GRAY]))
    tifffile.imwrite(root / 'images' / 'rgb.tiff', colour, photometric='rgb')
    cv2.imwrite(str(root / 'images' / 'negative.bmp'), colour)
    tifffile.imwrite(root / 'masks' / 'gray16.tif', LABELS.astype(np.int32))
    cv2.imwrite(str(root / 'masks' / 'gray8.png'), LABELS)
    np.save(root / 'masks' / 'rgba.v2.npy', LABELS)
    cv2.imwrite(str(root / 'masks' / 'rgb.png'), (LABELS // 4).astype(np.uint8))
    cv2.imwrite(str(root / 'masks' / 'negative.png'), np.zeros_like(GRAY))
    return root


EXPECTED = np.where(LABELS == 7, 1, np.where(LABELS == 500, 2, 0))


def test_images_and_masks_of_every_kind_are_converted(command, two_folders, tmp_path):
    result = run(command, two_folders, '--out', tmp_path / 'out')
    assert result.exit_code == 0, result.output
    maps = converted(tmp_path / 'out')
    assert (maps.pop('negative.png') == 0).all()
    assert sorted(maps) == ['gray16.png', 'gray8.png', 'rgb.png', 'rgba.v2.png']
    for label_map in maps.values():
        np.testing.assert_array_equal(label_map, EXPECTED)
    for name in maps:
        image = cv2.imread(str(tmp_path / 'out' / 'images' / name), cv2.IMREAD_UNCHANGED)
        assert (image.shape, image.dtype) == ((10, 14, 3), np.uint8)


def test_side_by_side_gives_the_same(command, two_folders, tmp_path):
    flat = tmp_path / 'flat'
    shutil.copytree(two_folders / 'images', flat)
    for path in (two_folders / 'masks').iterdir():
        shutil.copy(path, flat / f'{path.stem}_masks{path.suffix}')
    for source, out in ((two_folders, 'out1'), (flat, 'out2')):
        assert run(command, source, '--out', tmp_path / out).exit_code == 0
    first, second = (converted(tmp_path / out) for out in ('out1', 'out2'))
    assert first.keys() == second.keys()
    for name, label_map in first.items():
        np.testing.assert_array_equal(label_map, second[name])


def test_zip_of_the_folder_is_unpacked(command, two_folders, tmp_path):
    archive = shutil.make_archive(
        str(tmp_path / 'cells'), 'zip', root_dir=tmp_path, base_dir='cells'
    )
    assert run(command, archive, '--out', tmp_path / 'out').exit_code == 0
    assert len(converted(tmp_path / 'out')) == 5


def test_zip_made_on_a_mac_is_unpacked(command, two_folders, tmp_path):
    archive = tmp_path / 'mac.zip'
    with zipfile.ZipFile(archive, 'w') as packed:
        for path in two_folders.rglob('*.*'):
            packed.write(path, f'cells/{path.relative_to(two_folders)}')
        packed.writestr('__MACOSX/cells/._x', b'')
        packed.writestr('.DS_Store', b'')
    assert run(command, archive, '--out', tmp_path / 'out').exit_code == 0
    assert len(converted(tmp_path / 'out')) == 5


def test_every_kind_of_trouble_is_named_the_rest_is_converted(command, two_folders, tmp_path):
    images, masks = two_folders / 'images', two_folders / 'masks'
    cv2.imwrite(str(images / 'alone.png'), GRAY)
    cv2.imwrite(str(masks / 'orphan.png'), GRAY)
    for name in ('twice', 'small', 'float', 'broken', 'stack'):
        cv2.imwrite(str(images / f'{name}.png'), GRAY)
    cv2.imwrite(str(images / 'twice.bmp'), GRAY)
    cv2.imwrite(str(masks / 'twice.png'), GRAY)
    cv2.imwrite(str(masks / 'small.png'), GRAY[1:])
    tifffile.imwrite(masks / 'float.tif', LABELS.astype(np.float32))
    cv2.imwrite(str(masks / 'broken.png'), GRAY)
    (images / 'broken.png').write_bytes(b'broken')
    (images / 'stack.png').unlink()
    tifffile.imwrite(images / 'stack.tif', np.zeros((5, 10, 14), np.uint8))
    cv2.imwrite(str(masks / 'stack.png'), GRAY)
    result = run(command, two_folders, '--out', tmp_path / 'out')
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line.startswith('left out')]
    assert len(lines) == 7
    for stem, reason in (
        ('alone', 'has no label map masks/alone.tif; if it shows no objects'),
        ('orphan', 'has no image orphan'),
        ('twice', f'has 2 images, keep or rename one of {images}/twice.bmp, {images}/twice.png'),
        ('small', 'is (9, 14) (height, width), its image (10, 14)'),
        ('float', 'holds float32, expected integers'),
        ('broken', 'cannot be decoded'),
        ('stack', 'has shape (5, 10, 14)'),
    ):
        (line,) = [line for line in lines if line.startswith(f'left out {stem}: ')]
        assert reason in line
    assert len(converted(tmp_path / 'out')) == 5


def test_an_only_object_in_pieces_is_one_beside_files_that_number_theirs(
    command, two_folders, tmp_path
):
    pieces = np.zeros_like(LABELS)
    pieces[1:4, 2:6], pieces[6:9, 8:13] = 7, 7
    cv2.imwrite(str(two_folders / 'images' / 'pieces.png'), GRAY)
    cv2.imwrite(str(two_folders / 'masks' / 'pieces.png'), pieces)
    assert run(command, two_folders, '--out', tmp_path / 'out').exit_code == 0
    np.testing.assert_array_equal(converted(tmp_path / 'out')['pieces.png'], pieces > 0)
    for mask in (two_folders / 'masks').iterdir():
        if mask.stem != 'pieces':
            mask.unlink()
    alone = run(command, two_folders, '--out', tmp_path / 'alone')
    assert alone.exit_code == 1 and 'is a foreground mask (everything is 7)' in alone.output


def test_a_negative_seed_is_refused_in_one_line(command, two_folders, tmp_path):
    result = run(command, two_folders, '--out', tmp_path / 'out', '--seed', -1)
    assert result.exit_code == 2 and "'--seed': -1 is not in the range" in result.output


def test_one_folder_takes_neither_jpeg_for_labels_nor_arrays_for_images(command, tmp_path):
    root = tmp_path / 'cells'
    root.mkdir()
    for name in ('a', 'b'):
        cv2.imwrite(str(root / f'{name}.png'), GRAY)
        cv2.imwrite(str(root / f'{name}_masks.png'), LABELS)
    np.save(root / 'a_seg.npy', LABELS)  # Cellpose's
    cv2.imwrite(str(root / 'c.png'), GRAY)
    cv2.imwrite(str(root / 'c_masks.jpg'), LABELS.astype(np.uint8))
    result = run(command, root, '--out', tmp_path / 'out')
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if line.startswith('left out')]
    assert line.startswith('left out c: ') and 'has no label map c_masks.tif' in line
    assert sorted(converted(tmp_path / 'out')) == ['a.png', 'b.png']


def test_what_a_converter_wrote_is_no_source(tmp_path):
    for name in ('raw/images/a.png', 'raw/b.png', 'raw/out/images/c.png', 'raw/out/splits/d.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'raw/out/annotations').mkdir()
    assert [path.name for path in find_files(tmp_path / 'raw', '.png')] == ['b.png', 'a.png']


def test_category_and_lists_are_honoured(command, two_folders, tmp_path):
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists' / 'train.txt').write_text('gray8.png\nrgba.v2\n')
    args = ('--split-lists', tmp_path / 'lists', '--category', 'cell', '--out', tmp_path / 'out')
    assert run(command, two_folders, *args).exit_code == 0
    coco = json.loads((tmp_path / 'out' / 'annotations' / 'train.json').read_text())
    assert coco['categories'] == [{'id': 1, 'name': 'cell'}]
    assert [image['file_name'] for image in coco['images']] == ['gray8.png', 'rgba.v2.png']


def test_folder_without_label_maps_is_refused(command, tmp_path):
    (tmp_path / 'in').mkdir()
    cv2.imwrite(str(tmp_path / 'in' / 'a.png'), GRAY)
    result = run(command, tmp_path / 'in', '--out', tmp_path / 'out')
    assert result.exit_code == 1
    assert 'found 1 images and 0 label maps' in result.output


def test_where_the_images_lie_nothing_is_written_or_deleted(command, tmp_path):
    image = tmp_path / 'mine' / 'images' / 'a.png'
    write_png(image, GRAY)
    write_png(tmp_path / 'mine' / 'masks' / 'a.png', LABELS)
    for source, message in (
        (tmp_path / 'mine', 'images is not from a converter'),
        (image.parent, 'is where SOURCE lies; choose another folder'),
    ):
        result = run(command, source, '--out', tmp_path / 'mine', '--overwrite')
        assert result.exit_code == 1
        assert message in result.output
    assert image.exists()


def test_a_tiff_cut_off_after_a_few_bytes_is_named_the_rest_is_converted(command, tmp_path):
    for name in 'abc':
        write_tiff(tmp_path / 'in' / 'images' / f'{name}.tif', GRAY)
        write_tiff(tmp_path / 'in' / 'masks' / f'{name}.tif', LABELS)
    (tmp_path / 'in' / 'images' / 'b.tif').write_bytes(b'II*\0\x08')
    result = run(command, tmp_path / 'in', '--out', tmp_path / 'out')
    assert result.exit_code == 1
    (line,) = reported(result, 'left out')
    assert line.startswith('b: ')
    assert 'b.tif: cannot be decoded as TIFF' in line
    assert sum(len(stems(tmp_path / 'out', split)) for split in ('train', 'val', 'test')) == 2
