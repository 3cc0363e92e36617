"""``mmcell.load`` and ``model.predict``: prediction from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from mmcell.inference.distribution import OrderedMap, ahead, in_process
from mmcell.inference.layout import Channels
from mmcell.inference.network import Network, NetworkSpec, load_network
from mmcell.inference.options import PredictOptions, make_task, remarks
from mmcell.inference.prediction import Part, Prediction
from mmcell.inference.sources import ArraySource, ImageSource, find_inputs, open_sources
from mmcell.inference.stream import Finished, Found, ImageTask, TileDone, find_in_images

Array = npt.NDArray[Any]
Input = Array | torch.Tensor | Image.Image | str | Path | ImageSource
Progress = Callable[[int, int], object]

# Of Pillow's images: those whose numbers are brightnesses. Palettes' are not, CMYK's are inverse.
_PIXEL_MODES = ('1', 'L', 'I', 'I;16', 'I;16B', 'I;16L', 'F', 'RGB', 'RGBA')


def load(config: str | Path, checkpoint: str | Path, device: str | torch.device = 'auto') -> Model:
    """Load a model for prediction.

    Args:
        config: a config file, of mmcell or of any instance segmentation model of MMDetection; or
            the name of one that mmcell ships, such as 'pffnet_kumar'.
        checkpoint: its trained weights (.pth).
        device: such as 'cpu' or 'cuda:0'; 'auto' takes an accelerator where there is one.

    Raises:
        ConfigError: If there is no such config.
        CheckpointError: If the checkpoint is missing, broken or of another architecture.
    """
    return Model(load_network(NetworkSpec(str(config), str(checkpoint), str(device))))


class Model:
    """A network that finds objects in images of any kind and size."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __repr__(self) -> str:
        spec = self.network.spec
        return f'Model({spec.config!r}, {spec.checkpoint!r}, device={str(self.network.device)!r})'

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.network.classes

    @property
    def mpp(self) -> float | None:
        """Microns per pixel of the images it was trained on; None if nothing says so."""
        return self.network.mpp

    def predict(
        self,
        x: Input | Iterable[Input],
        *,
        mpp: float | None = None,
        channels: Channels = None,
        axes: str | None = None,
        progress: Progress | None = None,
        batch_size: int = 1,
        **options: Any,
    ) -> Any:
        """Find the objects of an image, or of many.

        Args:
            x: an array, tensor or image of Pillow (gray, colour, or any channels with ``axes``),
                or the path of a file; or a list, tuple or iterator of these, where folders,
                patterns and CSV lists stand for all their images and a file may hold several.
                Arrays have no name: they are called 'image', in a list 'image_001' and so on.
            mpp: microns per pixel, instead of what the file says.
            channels: one to three channels for the network: names, or numbers from 1.
            axes: a letter per axis of what is stored, such as 'CYX', instead of what files say.
            progress: called as ``progress(done, total)`` after each tile of an image.
            batch_size: tiles, of one or several images, that pass through the network together.
            **options: further fields of :class:`~mmcell.inference.options.PredictOptions`, such as
                ``score_threshold``, ``tile`` and ``overlap``.

        Returns:
            One :class:`~mmcell.inference.prediction.Prediction` for an array or path; a list of
            them for a list or tuple; a generator, which takes images as it needs them, for
            anything else.

        Raises:
            DataError: If a path gives no image.
            OSError: If an image cannot be read.
            OutOfMemoryError: If the tile is too large for the device's memory.
            ValueError: If an image's axes or an option's value are not clear. A list or generator
                stops at the first image that fails; ``mmcell predict`` goes on.
        """
        chosen = PredictOptions(mpp=mpp, channels=channels, axes=axes, **options)

        def run(inputs: Iterable[Input], ordered_map: OrderedMap) -> Iterator[Prediction]:
            tasks = (
                make_task(source, self.network, chosen)
                for number, each in enumerate(inputs, start=1)
                for source in _sources(each, chosen, f'image_{number:03}')
            )
            return self._predict(tasks, chosen, progress, batch_size, ordered_map)

        if isinstance(x, (np.ndarray, torch.Tensor, str, Path, ImageSource, Image.Image)):
            (prediction,) = run([_single(x, chosen)], ahead)
            return prediction
        if isinstance(x, (list, tuple)):
            return list(run(x, ahead))
        return run(x, in_process)  # the next image may come only after this one's result

    def _predict(
        self,
        tasks: Iterable[ImageTask],
        options: PredictOptions,
        progress: Progress | None,
        batch_size: int,
        ordered_map: OrderedMap,
    ) -> Iterator[Prediction]:
        parts: list[Part] = []
        limits: set[str] = set()
        for event in find_in_images(tasks, ordered_map, batch_size):
            task = event.task
            if isinstance(event, Found):
                parts.append(Part.of(event))
            elif isinstance(event, TileDone):
                limits.update(event.limits)
                if progress is not None:
                    progress(event.done, len(task.numbers))
            elif isinstance(event, Finished):
                task.source.close()  # read again for measurements; many files are not kept open
                if event.error is not None:
                    raise event.error
                notes = remarks(task.source, self.network, options, limits)
                yield Prediction(task, parts, self.classes, self.network.palette, notes)
                parts, limits = [], set()


def _single(x: Input, options: PredictOptions) -> ImageSource:
    """The one image that ``x`` is."""
    sources = list(_sources(x, options))
    if len(sources) != 1:
        raise ValueError(
            f'{x} holds {len(sources)} images: give [{str(x)!r}], a list, to get a list of results'
        )
    return sources[0]


def _sources(x: Input, options: PredictOptions, name: str = 'image') -> Iterator[ImageSource]:
    if isinstance(x, ImageSource):
        yield x
    elif isinstance(x, (str, Path)):
        for path in find_inputs([x]):
            yield from open_sources(path, **options.reading)
    else:
        if isinstance(x, Image.Image) and x.mode not in _PIXEL_MODES:
            x = x.convert('RGB')
        array = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
        yield ArraySource(array, name, **options.reading)
