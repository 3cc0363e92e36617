import numpy as np
import pytest

import mmcell
from mmcell.engine.errors import DataError
from mmcell.napari import prediction
from mmcell.napari.prediction import predict_layer
from mmcell.structures import FoundObjects


class Result:
    """What a model gives for one bright square."""

    def __init__(self, image):
        self.labels = (image.reshape(*image.shape[:2], -1)[..., 0] > 100).astype(np.uint16)
        pandas = pytest.importorskip('pandas')
        objects = FoundObjects.from_label_map(self.labels)
        self.table = pandas.DataFrame({'label': objects.ids, 'area_px': objects.areas})


class Model:
    """Remembers what it was asked."""

    def predict(self, image, **options):
        self.options = options
        return Result(image)


@pytest.fixture
def model(monkeypatch):
    model = Model()
    monkeypatch.setattr(prediction, '_load', lambda spec: model)
    return model


@pytest.mark.parametrize('channels', [(), (3,), (4,)])
def test_objects_lie_where_the_image_lies(model, channels):
    image = np.zeros((20, 30, *channels), np.uint8)
    image[4:8, 5:9] = 200
    pixels, options, kind = predict_layer(
        image, 'slide', (0.5, 0.25), (7.0, 9.0), model='m', checkpoint='c', mpp=0.5, views=4
    )
    assert kind == 'labels' and np.count_nonzero(pixels) == 16
    assert options['name'] == 'slide cells'
    assert (options['scale'], options['translate']) == ((0.5, 0.25), (7.0, 9.0))
    assert options['features'].to_dict('list') == {'index': [1], 'area_px': [16]}
    assert model.options == {'mpp': 0.5, 'views': 4}


def test_a_stack_is_refused_by_name(model):
    with pytest.raises(DataError, match=r"layer 'stack' has shape \(5, 20, 30\)"):
        predict_layer(np.zeros((5, 20, 30)), 'stack', (1, 1), model='m', checkpoint='c')


def test_weights_that_have_changed_are_loaded_again(monkeypatch, tmp_path):
    checkpoint = tmp_path / 'weights.pth'
    checkpoint.write_bytes(b'old')
    loaded = []
    monkeypatch.setattr(mmcell, 'load', lambda *spec: loaded.append(spec) or Model())
    for content in (b'old', b'old', b'newer'):
        if checkpoint.read_bytes() != content:
            checkpoint.write_bytes(content)
        predict_layer(np.zeros((9, 9)), 'a', (1, 1), model='m', checkpoint=checkpoint)
    assert loaded == [('m', str(checkpoint))] * 2
