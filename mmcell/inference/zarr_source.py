"""Zarr arrays and OME-Zarr images (NGFF 0.1 to 0.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmcell.datasets.image_io import decoding
from mmcell.engine.errors import UserError
from mmcell.inference.image_source import Opened
from mmcell.inference.layout import guess_axes
from mmcell.inference.stored_images import StoredImages, microns

# Files that make a folder a zarr array or group, in versions 3 and 2.
_MARKERS = ('zarr.json', '.zarray', '.zgroup')

# Before NGFF 0.3 every image had these.
_EARLY_AXES = tuple({'name': name} for name in 'tczyx')


def is_zarr(path: Path) -> bool:
    """Whether a folder holds a zarr array or group."""
    return path.is_dir() and (
        path.suffix.casefold() == '.zarr' or any((path / name).is_file() for name in _MARKERS)
    )


def zarr_images(path: Path) -> list[StoredImages]:
    """The images of a folder: an array, an OME-Zarr image, or several as Bio-Formats writes them.

    Raises:
        OSError: If the folder cannot be decoded.
        UserError: If zarr is not installed; says how to.
        ValueError: If it is not clear which of its arrays is meant.
    """
    with decoding(path, 'zarr'):
        node = _open(path)
        attributes = dict(node.attrs)
        if hasattr(node, 'shape'):
            return [_plain_array(path, node, attributes)]
    members = sorted(child.name for child in path.iterdir() if is_zarr(child))
    ome = ome_attributes(attributes)
    if ome.get('multiscales'):
        return [_multiscale(path, ome)]
    parts = _parts(ome, members)
    if parts:
        return [image for part in parts for image in zarr_images(path / part)]
    if 'plate' in ome:
        wells = [str(well['path']) for well in ome['plate'].get('wells', [])]
        raise ValueError(
            f'{path}: is a plate of {len(wells)} wells; predict on the wells, such as '
            f'{path / wells[0] if wells else path}'
        )
    raise ValueError(
        f'{path}: is a zarr group without multiscales metadata; give one of its members '
        f'({", ".join(members[:8]) or "it has none"}), such as '
        f'{path / members[0] if members else path}'
    )


def _open(path: Path) -> Any:
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path}: Zarr needs the package zarr: pip install 'mmcell[zarr]' or pip install zarr"
        ) from error
    return zarr.open(path, mode='r')


def _open_arrays(path: Path, names: Sequence[str]) -> Opened:
    with decoding(path, 'zarr'):
        return Opened([_open(path / name) for name in names])


def ome_attributes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where NGFF keeps its metadata: in a key of its own since 0.5."""
    inner = attributes.get('ome')
    return inner if isinstance(inner, Mapping) else attributes


def _parts(ome: Mapping[str, Any], members: Sequence[str]) -> list[str]:
    """Images of their own in a group: series of Bio-Formats, or the fields of a well."""
    if 'well' in ome:
        return [str(field['path']) for field in ome['well'].get('images', [])]
    if 'bioformats2raw.layout' in ome:
        return sorted((name for name in members if name.isdecimal()), key=int)
    return []


def _plain_array(path: Path, array: Any, attributes: Mapping[str, Any]) -> StoredImages:
    names = getattr(array.metadata, 'dimension_names', None) or attributes.get('_ARRAY_DIMENSIONS')
    axes = _letters(names) if names else guess_axes(array.shape)
    return StoredImages(
        array.shape, axes, np.dtype(array.dtype), partial(_open_arrays, path, ['.'])
    )


def _letters(names: Sequence[str | None]) -> str:
    """A letter per axis, Q where the name is none of NGFF's."""
    letters = [str(name).upper() for name in names]
    return ''.join(letter if letter in tuple('TCZYXS') else 'Q' for letter in letters)


def _multiscale(path: Path, ome: Mapping[str, Any]) -> StoredImages:
    """The first pyramid of a group; NGFF allows for more, which show the same image."""
    with decoding(path, 'OME-Zarr'):
        multiscale = ome['multiscales'][0]
        datasets = multiscale['datasets']
        names = [str(dataset['path']) for dataset in datasets]
        array = _open(path / names[0])
        axes = [
            axis if isinstance(axis, Mapping) else {'name': axis}
            for axis in multiscale.get('axes', _EARLY_AXES)
        ]
        letters = _letters([axis['name'] for axis in axes])
        scale = np.ones(len(axes))
        has_scale = False
        for part in (datasets[0], multiscale):
            for transformation in part.get('coordinateTransformations', []):
                if transformation.get('type') == 'scale':
                    scale, has_scale = scale * transformation['scale'], True
        sizes = {
            letter: microns(step, axis.get('unit')) if has_scale else None
            for letter, step, axis in zip(letters, scale.tolist(), axes, strict=True)
        }
        channels = [c.get('label', '') for c in ome.get('omero', {}).get('channels', [])]
        if len(letters) != len(array.shape):
            raise ValueError(f'its axes are {letters}, its array is {array.shape}')
    return StoredImages(
        array.shape,
        letters,
        np.dtype(array.dtype),
        partial(_open_arrays, path, names),
        (sizes.get('X'), sizes.get('Y')),
        tuple(map(str, channels)),
    )
