"""A model on the image of a layer, without napari."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import mmcell
from mmcell.engine.errors import DataError
from mmcell.inference.network import NetworkSpec, files_version
from mmcell.napari.reader import LayerData, labels_layer


def predict_layer(
    data: Any,
    name: str,
    scale: tuple[float, ...],
    translate: tuple[float, ...] = (0.0, 0.0),
    *,
    model: str,
    checkpoint: Path,
    mpp: float | None = None,
    **options: Any,
) -> LayerData:
    """Find the objects of an image layer.

    Args:
        data: (H, W) or (H, W, 3 or 4), NumPy or anything that becomes it.
        name: of the layer.
        scale: of the layer, for rows and columns.
        translate: of the layer, likewise.
        model: config, a file or a name.
        checkpoint: its weights.
        mpp: microns per pixel of the image; None: unknown.
        **options: of ``Model.predict``.

    Returns:
        A layer of labels with measurements, where the image lies.

    Raises:
        DataError: If the layer is a stack.
        UserError: If the model cannot be loaded.
    """
    image = np.asarray(data)
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] in (3, 4)):
        raise DataError(
            f'layer {name!r} has shape {image.shape}; expected one gray or RGB image: split a '
            'stack (right click on the layer, Split Stack) and choose one of its images'
        )
    spec = NetworkSpec(model, str(checkpoint))
    found = _load(replace(spec, version=files_version(spec))).predict(image, mpp=mpp, **options)
    pixels, settings, kind = labels_layer(found.labels, f'{name} cells', table=found.table)
    place = {'scale': tuple(scale), 'translate': tuple(translate)}
    return pixels, {**settings, **place}, kind


@functools.lru_cache(maxsize=1)
def _load(spec: NetworkSpec) -> Any:
    return mmcell.load(spec.config, spec.checkpoint)
