"""The dock widget: a model on an image layer. napari alone imports this module."""

from pathlib import Path

from magicgui import magic_factory
from napari.layers import Image
from napari.qt.threading import FunctionWorker, thread_worker
from napari.types import LayerDataTuple

from mmcell.napari.prediction import predict_layer


@magic_factory(
    call_button='Find cells',
    model={'tooltip': "Config of the model: a file or a name, such as 'pffnet_kumar'"},
    checkpoint={'filter': 'Weights (*.pth)'},
    mpp={'label': 'microns per pixel', 'tooltip': '0: unknown', 'step': 0.01, 'max': 100},
    score_threshold={'tooltip': "0: the model's own", 'min': 0, 'max': 1, 'step': 0.05},
    views={'choices': [1, 4, 8], 'tooltip': 'Test-time augmentation: mirrored and turned views'},
)
def predict_widget(
    image: Image,
    model: str,
    checkpoint: Path,
    mpp: float = 0.0,
    score_threshold: float = 0.0,
    views: int = 1,
) -> FunctionWorker[LayerDataTuple]:
    """Find the objects of a layer in a thread of its own; a layer of labels appears."""
    data = image.data[0] if image.multiscale else image.data

    @thread_worker(start_thread=True)
    def work() -> LayerDataTuple:
        return predict_layer(
            data,
            image.name,
            tuple(image.scale[-2:]),
            tuple(image.translate[-2:]),
            model=model,
            checkpoint=checkpoint,
            mpp=mpp or None,
            score_threshold=score_threshold or None,
            views=views,
        )

    return work()
