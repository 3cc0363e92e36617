import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmengine.structures import InstanceData
from PIL import Image

import mmcell
from mmcell.engine.errors import DataError
from mmcell.inference.image_source import ImageSource
from mmcell.inference.model import Model
from mmcell.inference.sources import ArraySource
from mmcell.structures import RoiMasks


@pytest.fixture
def model(files):
    return mmcell.load(*files, device='cpu')


@pytest.fixture
def expected():
    """The label map of ``scene``."""
    labels = np.zeros((40, 50), dtype=np.uint16)
    labels[2:6, 10:18], labels[20:26, 30:36] = 1, 2
    return labels


def assert_is_scene(prediction, expected):
    assert prediction.labels.dtype == np.uint16
    np.testing.assert_array_equal(prediction.labels, expected)


@pytest.mark.parametrize('kind', ['gray', 'rgb', 'rgba', 'tensor', '16-bit', 'bool', 'source'])
def test_arrays_of_each_kind(model, scene, expected, kind):
    image = {
        'gray': scene(),
        'rgb': np.dstack([scene()] * 3),
        'rgba': np.dstack([scene()] * 3 + [np.full((40, 50), 7, np.uint8)]),
        'tensor': torch.from_numpy(scene()),
        '16-bit': scene(3000, np.uint16),
        'bool': scene() > 0,
        'source': ArraySource(scene()),
    }[kind]
    assert_is_scene(model.predict(image), expected)


def test_a_path_is_one_image(model, scene, expected, tmp_path):
    cv2.imwrite(str(tmp_path / 'x.png'), scene())
    for path in (tmp_path / 'x.png', str(tmp_path / 'x.png')):
        prediction = model.predict(path)
        assert_is_scene(prediction, expected)
        assert prediction.name == 'x'
    tifffile.imwrite(tmp_path / 'pages.tif', np.stack([scene(), scene()]), photometric='minisblack')
    with pytest.raises(ValueError, match=r'holds 2 images: give \['):
        model.predict(tmp_path / 'pages.tif', axes='ZYX')
    with pytest.raises(DataError, match='no such file'):
        model.predict(tmp_path / 'missing.png')


def test_a_list_gives_a_list_and_folders_and_pages_all_their_images(model, scene, tmp_path):
    cv2.imwrite(str(tmp_path / 'x.png'), scene())
    pages = np.stack([scene(), np.zeros((40, 50), np.uint8)])
    tifffile.imwrite(tmp_path / 'y.tif', pages, photometric='minisblack', metadata={'axes': 'ZYX'})
    found = model.predict([scene(), tmp_path])
    assert [each.name for each in found] == ['image_001', 'x', 'y_page001', 'y_page002']
    assert [len(each) for each in found] == [2, 2, 2, 0]
    assert model.predict([]) == [] and len(model.predict((scene(),))) == 1


def test_an_iterator_gives_results_as_it_goes(model, scene):
    taken = []

    def images():
        for k in range(3):
            taken.append(k)
            yield scene()

    results = model.predict(images())
    assert taken == []
    assert len(next(results)) == 2 and taken == [0]
    assert [len(each) for each in results] == [2, 2]


def test_axes_and_channels_are_chosen(model, scene, expected):
    stack = np.stack([np.zeros((40, 50), np.uint8), scene(), np.zeros((40, 50), np.uint8)] * 2)[:5]
    with pytest.raises(ValueError, match='axes'):
        model.predict(stack)
    with pytest.raises(ValueError, match='has 5 channels'):
        model.predict(stack, axes='CYX')
    assert_is_scene(model.predict(stack, axes='CYX', channels='2'), expected)
    assert_is_scene(model.predict(stack, axes='CYX', channels=[2]), expected)


def test_what_a_prediction_holds(model, scene):
    prediction = model.predict(scene(), mpp=0.5)
    assert repr(prediction) == "Prediction('image', 2 objects in 40 x 50 pixels)"
    assert prediction.scores.tolist() == pytest.approx([0.8, 0.6])
    assert prediction.classes.tolist() == [0, 1]
    assert prediction.class_names == ('small', 'large')
    assert prediction.mpp == 0.5 and prediction.remarks == ()
    assert [polygon.area for polygon in prediction.polygons] == [32, 36]
    assert prediction.polygons[0].bounds == (10, 2, 18, 6)
    bitmaps = prediction.masks.to_bitmaps()
    for k in range(2):
        np.testing.assert_array_equal(bitmaps[k], prediction.labels == k + 1)
    table = prediction.table
    assert table['label'].tolist() == [1, 2] and table['class'].tolist() == ['small', 'large']
    assert table['area_px'].tolist() == [32, 36] and table['area_um2'].tolist() == [8, 9]
    assert table['mean_channel 1'].tolist() == [200, 200]


def test_polygons_have_the_holes_of_their_objects(model, scene):
    prediction = model.predict(scene())
    prediction.objects.patches[0][1:3, 2:4] = False
    holed, whole = prediction.polygons
    assert holed.area == 32 - 4 and len(holed.interiors) == 1
    assert whole.area == 36 and not whole.interiors


def test_an_image_without_objects(model):
    prediction = model.predict(np.zeros((9, 8), np.uint8))
    assert len(prediction) == 0 and not prediction.labels.any()
    assert prediction.labels.shape == (9, 8) and prediction.polygons == []
    assert len(prediction.masks) == 0
    assert len(prediction.table) == 0 and 'area_px' in prediction.table


@pytest.mark.parametrize('shape', [(1, 1), (1, 30), (300, 1)])
def test_the_smallest_images(model, shape):
    prediction = model.predict(np.full(shape, 255, np.uint8), score_threshold=0.1)
    assert len(prediction) == 1 and (prediction.labels == 1).all()


def test_tiles_give_what_one_tile_gives(model):
    rng = np.random.default_rng(0)
    image = np.zeros((400, 500), np.uint8)
    for y, x, h, w in rng.integers([0, 0, 3, 5], [390, 490, 20, 20], (60, 4)):
        image[y : y + h, x : x + w] = 255
    whole = model.predict(image)
    progress = []
    for batch_size in (1, 3):
        tiled = model.predict(
            image,
            tile=128,
            overlap=40,
            batch_size=batch_size,
            progress=lambda *c: progress.append(c),
        )
        pairs = np.unique(np.stack([whole.labels, tiled.labels]).reshape(2, -1), axis=1)
        assert len(pairs[0]) == len(whole) + 1 == len(tiled) + 1
        assert progress == [(k, 16) for k in range(1, 17)]
        progress.clear()


def test_images_are_resampled_to_the_pixel_size_of_the_model(model, scene):
    twice = scene().repeat(2, axis=0).repeat(2, axis=1)
    # Half of 0.25 is 0.125: the model sees the scene as it is.
    prediction = model.predict(twice, mpp=0.125, model_mpp=0.25)
    assert prediction.scores.tolist() == pytest.approx([0.8, 0.6])
    assert prediction.objects.areas.tolist() == [4 * 32, 4 * 36]
    (remark,) = model.predict(scene(), model_mpp=0.25).remarks
    assert remark == "pixel size unknown, the model's 0.25 microns assumed: give --mpp"


def test_images_are_magnified_beyond_the_pixel_size_and_results_come_back_in_their_pixels(
    model, scene
):
    plain = model.predict(scene())
    half = scene()[::2, ::2]
    prediction = model.predict(half, magnify=2)
    # The stub's score is the width that it sees, a tenth per pixel: that of the scene, give or take
    # one. Not magnified it would be half of that.
    assert prediction.scores.tolist() == pytest.approx(plain.scores.tolist(), abs=0.11)
    assert prediction.labels.shape == half.shape[:2]
    assert np.mean((prediction.labels > 0) == (plain.labels[::2, ::2] > 0)) > 0.99
    # Shrunk by the pixel size and magnified by as much: as it comes.
    again = model.predict(scene(), mpp=0.125, model_mpp=0.25, magnify=2)
    assert (again.labels == plain.labels).all()
    assert again.scores.tolist() == plain.scores.tolist()


def test_limits_that_cut_off_objects_are_said(model):
    crowd = np.zeros((200, 200), np.uint8)
    crowd[::10, :180:12] = 200
    (remark,) = model.predict(crowd, score_threshold=0).remarks
    assert remark.startswith('model.test_cfg.max_per_img=200 was reached: objects may be missing')


def test_errors_of_an_image_come_as_they_are(model, tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'no picture')
    with pytest.raises(OSError, match=r'broken\.png'):
        model.predict(tmp_path / 'broken.png')
    image = np.zeros((40, 50), np.uint8)
    image[5, 5:18] = 255
    with pytest.raises(RuntimeError, match='confused'):
        model.predict(image)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(score_threshold=1.5), r'score_threshold must be in \[0, 1\], got 1.5'),
        (dict(tile=3), 'tile must be >= 64 pixels, got 3'),
        (dict(mpp=0), 'mpp must be microns per pixel > 0, got 0'),
        (dict(magnify=0), 'magnify must be a factor > 0, got 0'),
        (dict(percentiles=(99, 1)), 'percentiles'),
    ],
)
def test_options_out_of_range_are_refused(model, scene, options, message):
    with pytest.raises(ValueError, match=message):
        model.predict(scene(100, np.uint16), **options)


SUFFIXES = {
    'x.tif': lambda path: tifffile.imread(path).max(),
    'x.csv': lambda path: len(path.read_text().splitlines()) - 1,
    'x.geojson': lambda path: path.read_text().count('"Feature"'),
    'x.png': lambda path: 2 * (cv2.imread(str(path)) is not None),
}


def test_an_image_of_pillow_is_an_array(model, scene):
    expected = model.predict(scene()).labels
    image = Image.fromarray(scene())
    for each in (image, image.convert('RGBA'), image.quantize(256), image.convert('L')):
        found = model.predict(each)
        assert (found.labels == expected).all() and len(found) == 2
    assert len(model.predict([image, image])) == 2


@pytest.mark.parametrize('name', SUFFIXES)
def test_a_prediction_is_saved_by_the_end_of_the_name(model, scene, tmp_path, name):
    path = tmp_path / 'new' / name
    assert model.predict(scene()).save(path) == [path]
    assert SUFFIXES[name](path) == 2


def test_tables_and_files_leave_no_image_open(model, scene, tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / 'a.png'), scene())
    found = model.predict(tmp_path / 'a.png')
    closed = []
    close = ImageSource.close
    monkeypatch.setattr(ImageSource, 'close', lambda self: (closed.append(self), close(self)))
    assert len(found.table) == 2 and len(closed) == 1
    found.save(tmp_path / 'a.csv')
    assert len(closed) == 2


def test_a_prediction_is_saved_into_a_folder(model, scene, tmp_path):
    prediction = model.predict(scene())
    saved = prediction.save(tmp_path / 'all')
    assert [path.relative_to(tmp_path / 'all') for path in saved] == [
        Path('labels/image.tif'),
        Path('geojson/image.geojson'),
        Path('tables/image.csv'),
        Path('overlays/image.png'),
    ]
    assert all(path.is_file() for path in saved)
    (only,) = prediction.save(tmp_path / 'one', ['coco'])
    assert only == tmp_path / 'one/coco/image.json'
    assert prediction.save(tmp_path / 'one', 'csv') == [tmp_path / 'one/tables/image.csv']
    with pytest.raises(DataError, match=r'cannot save this, expected a name in \.tif'):
        prediction.save(tmp_path / 'x.xyz')
    with pytest.raises(DataError, match='has the one it ends in'):
        prediction.save(tmp_path / 'x.tif', ['csv'])


def test_results_do_not_replace_their_image(model, scene, tmp_path):
    cv2.imwrite(str(tmp_path / 'x.png'), scene())
    before = (tmp_path / 'x.png').read_bytes()
    with pytest.raises(DataError, match='x.png is the image itself'):
        model.predict(tmp_path / 'x.png').save(tmp_path / 'x.png')
    assert (tmp_path / 'x.png').read_bytes() == before


def test_seventy_thousand_objects_keep_their_numbers(model, bright_objects, monkeypatch, tmp_path):
    def every_pixel(self, bright):
        y, x = torch.from_numpy(bright).nonzero().unbind(1)
        boxes = torch.stack([x, y, x + 1, y + 1], dim=1).float()
        return InstanceData(
            scores=torch.ones(len(x)),
            labels=torch.zeros(len(x), dtype=torch.int64),
            masks=RoiMasks(boxes, torch.ones(len(x), 1, 1), bright.shape),
        )

    monkeypatch.setattr(bright_objects, 'find', every_pixel)
    prediction = model.predict(np.full((250, 280), 255, np.uint8))
    prediction.save(tmp_path / 'many.tif')
    for labels in (prediction.labels, tifffile.imread(tmp_path / 'many.tif')):
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(np.sort(labels.ravel()), np.arange(1, 70_001))


def test_importing_mmcell_imports_no_torch():
    code = "import sys, mmcell; mmcell.load; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, '-c', code], text=True).strip() == 'False'


def test_any_model_of_mmdetection_predicts(narrow_model, scene):
    found = mmcell.load(
        *narrow_model('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'), device='cpu'
    )
    assert isinstance(found, Model)
    prediction = found.predict(scene(), score_threshold=0.0)
    assert len(prediction) > 0
    areas = np.bincount(prediction.labels.ravel())[1:]
    assert prediction.table['area_px'].tolist() == areas.tolist()


def test_pffnet_predicts_through_its_own_test_pipeline(narrow_model):
    config = Path(__file__).parents[2] / 'configs' / 'pffnet_tiny_synthetic.py'
    model = mmcell.load(*narrow_model(str(config)), device='cpu')
    image = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    labels = model.predict(image, score_threshold=0.0).labels
    assert labels.shape == (70, 90)
    assert np.unique(labels).tolist() == list(range(labels.max() + 1)) and labels.max() > 0
