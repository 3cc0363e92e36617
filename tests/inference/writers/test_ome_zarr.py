import logging

import numpy as np
import pytest

from mmcell.inference.writers import label_image

pytest.importorskip('zarr')
pytest.importorskip('ome_zarr')

FILE = 'ome-zarr/image.ome.zarr'


def read(out):
    """The label image as ome-zarr reads it: its levels, and what it says about them."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    logging.getLogger('ome_zarr').setLevel(logging.ERROR)
    nodes = list(Reader(parse_url(str(out / FILE / 'labels')))())
    (node,) = [node for node in nodes if node.data]
    return [np.asarray(level) for level in node.data], node.metadata


def test_ome_zarr_reads_the_same_objects(tmp_path, save, noisy):
    labels = noisy(7, 9)
    save(labels, ['ome-zarr'], tmp_path, batch=20, mpp=0.25)
    (level,), metadata = read(tmp_path)
    assert (level == labels).all() and level.dtype == np.int32
    assert metadata['name'] == 'cells'
    assert metadata['axes'] == [
        {'name': name, 'type': 'space', 'unit': 'micrometer'} for name in 'yx'
    ]
    assert metadata['coordinateTransformations'] == [[{'type': 'scale', 'scale': [0.25, 0.25]}]]


def test_a_large_image_gets_levels_of_ids_with_their_scales(tmp_path, save, squares):
    labels = squares((1100, 2100), side=40, gap=3)
    save(labels, ['ome-zarr'], tmp_path)
    levels, metadata = read(tmp_path)
    assert [level.shape for level in levels] == [(1100, 2100), (550, 1050), (275, 525)]
    for k, level in enumerate(levels):
        assert (level == labels[:: 2**k, :: 2**k]).all()
    scales = [transforms[0]['scale'] for transforms in metadata['coordinateTransformations']]
    assert scales == [[1, 1], [2, 2], [4, 4]]
    assert metadata['axes'][0] == {'name': 'y', 'type': 'space'}  # no pixel size, no unit


def test_the_metadata_are_valid_ngff(tmp_path, save, odd_shapes):
    models = pytest.importorskip('ome_zarr_models.v04')
    import zarr

    save(odd_shapes, ['ome-zarr'], tmp_path, mpp=0.5)
    root = zarr.open_group(tmp_path / FILE, mode='r')
    assert root['labels'].attrs['labels'] == ['cells']
    models.ImageLabel.from_zarr(root['labels/cells'])


def test_no_objects_and_one_pixel(tmp_path, save):
    save(np.zeros((5, 3), int), ['ome-zarr'], tmp_path / 'none')
    assert [level.tolist() for level in read(tmp_path / 'none')[0]] == [[[0] * 3] * 5]
    save(np.ones((1, 1), int), ['ome-zarr'], tmp_path / 'one')
    assert read(tmp_path / 'one')[0][0].tolist() == [[1]]


def test_a_former_folder_is_replaced(tmp_path, save):
    save(np.full((3, 3), 2), ['ome-zarr'], tmp_path)
    (tmp_path / FILE / 'stray').write_text('')
    save(np.full((3, 3), 5), ['ome-zarr'], tmp_path)
    assert read(tmp_path)[0][0].max() == 5 and not (tmp_path / FILE / 'stray').exists()


def test_level_sizes_end_where_the_longer_side_is_small(tmp_path):
    image = label_image.LabelImage((100_000, 3), tmp_path)
    assert image.level_sizes[-1] == (782, 1)
