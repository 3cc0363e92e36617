import json
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.coco import COCO

from mmcell.engine.errors import DataError
from mmcell.inference.writers import open_writers
from mmcell.structures import FoundObjects

FILE = 'coco/image.json'


@pytest.fixture
def load(capsys):
    """pycocotools prints as it loads."""
    return lambda out: COCO(out / FILE)


def test_pycocotools_reads_every_noisy_shape_to_the_pixel(tmp_path, save, noisy, load):
    labels = noisy(12, 11, side=6)
    save(labels, ['coco'], tmp_path, batch=50)
    coco = load(tmp_path)
    back = np.zeros_like(labels)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation).astype(bool)
        assert annotation['area'] == mask.sum()
        y, x = np.nonzero(mask)
        width, height = x.max() + 1 - x.min(), y.max() + 1 - y.min()
        assert annotation['bbox'] == [x.min(), y.min(), width, height]
        assert annotation['iscrowd'] == 0 and annotation['image_id'] == 1
        back[mask] = annotation['id']
    assert (back == labels).all()


def test_categories_are_the_models_classes_and_scores_are_kept(tmp_path, save, load):
    found = FoundObjects.from_label_map(np.array([[1, 0], [0, 2]]), scores=np.array([0.9, 0.3]))
    found = replace(found, classes=np.array([1, 0]))
    save(found, ['coco'], tmp_path, size=(2, 2), classes=['cell', 'no "cell", ü'])
    coco = load(tmp_path)
    assert coco.loadCats(coco.getCatIds()) == [
        {'id': 1, 'name': 'cell'},
        {'id': 2, 'name': 'no "cell", ü'},
    ]
    annotations = coco.loadAnns([1, 2])
    assert [a['category_id'] for a in annotations] == [2, 1]
    assert [a['score'] for a in annotations] == [0.9, 0.3]
    assert coco.loadImgs(1) == [{'id': 1, 'file_name': 'image.tif', 'height': 2, 'width': 2}]


@pytest.mark.parametrize(
    ('path', 'name', 'expected'),
    [
        ('a.ome.tif', 'a', 'a.ome.tif'),
        ('a.tif', 'a', 'a.tif'),
        ('a.tif', 'a_page001', 'a_page001.tif'),
        ('plate.zarr/A/1', 'plate_A_1', 'plate_A_1'),
    ],
)
def test_the_image_is_named_as_its_file(tmp_path, make_source, path, name, expected):
    source = make_source(np.zeros((4, 4, 1), np.uint8), name)
    source.path = f'/folder/{path}'
    (file,) = open_writers(['coco'], tmp_path, source).close()
    assert json.loads(file.read_text())['images'][0]['file_name'] == expected


def test_no_objects_are_no_annotations(tmp_path, save, load):
    save(np.zeros((3, 2), int), ['coco'], tmp_path)
    assert load(tmp_path).getAnnIds() == [] and len(load(tmp_path).getImgIds()) == 1


def test_images_that_run_lengths_cannot_span_are_refused_at_once(tmp_path, make_source):
    source = make_source(np.zeros((1, 1, 1), np.uint8))
    source.size = (70_000, 70_000)
    with pytest.raises(DataError, match='4900000000 pixels.*save geojson instead'):
        open_writers(['geojson', 'coco'], tmp_path, source)
    assert not list(tmp_path.glob('*/*'))
