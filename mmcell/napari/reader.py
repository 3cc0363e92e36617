"""mmcell's files of objects as layers of labels with their measurements."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmcell.engine.errors import DataError

LayerData = tuple[Any, dict[str, Any], str]
Read = Callable[[Any], list[LayerData]]

_TIFF = ('.tif', '.tiff')
_GEOJSON = ('.geojson', '.geojson.gz')
_ZARR = '.ome.zarr'


def get_reader(path: str | Sequence[str]) -> Read | None:
    """What napari asks before it opens a path: a function that reads it, or None.

    Args:
        path: a label map in a folder ``labels``, where ``mmcell predict`` puts it (any other TIFF
            may be an image), an OME-Zarr with labels, or GeoJSON; or several of them.
    """
    paths = [path] if isinstance(path, str) else list(path)
    readers = [_reader_of(Path(each)) for each in paths]
    if not all(readers):
        return None
    return lambda _: [
        layer for read, each in zip(readers, paths, strict=True) for layer in read(Path(each))
    ]


def _reader_of(path: Path) -> Callable[[Path], list[LayerData]] | None:
    name = path.name.casefold()
    if name.endswith(_TIFF) and path.parent.name == 'labels':
        return read_label_tiff
    if name.endswith(_GEOJSON):
        return read_geojson_labels
    if name.endswith(_ZARR) and (path / 'labels').is_dir():
        return read_zarr_labels
    return None


def read_label_tiff(path: Path) -> list[LayerData]:
    """A label map, its pyramid where it has one, in microns where the file holds the pixel size.

    The table of the same image beside it, ``../tables/<name>.csv`` or ``.parquet``, becomes the
    layer's features.

    Raises:
        DataError: If the file holds anything but one label map.
    """
    import tifffile
    import zarr

    from mmcell.inference.sources import open_sources

    with tifffile.TiffFile(path) as tiff:
        levels = tiff.series[0].levels
        if len(tiff.series) != 1 or levels[0].ndim != 2 or levels[0].dtype.kind not in 'iu':
            raise DataError(f'{path}: is no label map: expected one 2-D image of integers')
        count = len(levels)
        if count == 1:
            pixels = [levels[0].asarray()]
    if count > 1:  # a slide's, which is read as it is looked at
        stores = (tifffile.imread(path, aszarr=True, series=0, level=k) for k in range(count))
        pixels = [zarr.open_array(store, mode='r') for store in stores]
    with open_sources(path)[0] as source:
        mpp = source.mpp
    name = path.name[: -len(path.suffix)]
    table = _table_beside(path.parent.parent / 'tables', name)
    if mpp is None and table is not None:
        mpp = _mpp_of(table)  # tags above 20 microns are not believed; the run was told
    return [labels_layer(pixels if len(pixels) > 1 else pixels[0], name, mpp, table)]


def read_zarr_labels(path: Path) -> list[LayerData]:
    """All label images of an OME-Zarr (NGFF up to 0.5), pyramids read as they are looked at."""
    import zarr

    from mmcell.inference.zarr_source import ome_attributes

    name = path.name[: -len(_ZARR)]
    table = _table_beside(path.parent.parent / 'tables', name)
    # Opened one by one: labels may be of another version of Zarr than the image around them.
    folder = path / 'labels'
    layers = []
    for each in ome_attributes(zarr.open_group(folder, mode='r').attrs)['labels']:
        group = zarr.open_group(folder / each, mode='r')
        (description,) = ome_attributes(group.attrs)['multiscales']
        datasets = description['datasets']
        pixels = [group[dataset['path']] for dataset in datasets]
        in_microns = all(axis.get('unit') == 'micrometer' for axis in description['axes'])
        scale = datasets[0]['coordinateTransformations'][0]['scale'][-1]
        layers.append(labels_layer(pixels, f'{name} {each}', scale if in_microns else None, table))
    return layers


def read_geojson_labels(path: Path) -> list[LayerData]:
    """QuPath's objects drawn into a label map, as large as they reach, with their measurements.

    Objects are numbered by their measurement ``label``, which mmcell writes; those without one go
    on from the largest, in the order of the file. Where there are detections or cells, annotated
    regions are left out. The pixel size follows from ``area_um2`` and ``area_px``, where there are
    both. Holes stay holes, which napari's own shapes have none of.

    Raises:
        DataError: If a feature is neither Polygon nor MultiPolygon.
        ValueError: If the file is not GeoJSON.
    """
    from mmcell.evaluation.readers.geojson import load_objects

    features, _ = load_objects(path)
    polygons = [_polygons(feature, path) for feature in features]
    measurements = [_measurements(feature) for feature in features]
    free = itertools.count(max((int(m.get('label', 0)) for m in measurements), default=0) + 1)
    rows = [
        {
            'label': int(values['label']) if 'label' in values else next(free),
            'class': _class_name(feature),
            **{name: value for name, value in values.items() if name != 'label'},
        }
        for feature, values in zip(features, measurements, strict=True)
    ]
    corners = np.array([c for p in polygons for rings in p for c in rings[0]]).reshape(-1, 2)
    width, height = np.ceil(corners.max(axis=0, initial=1)).astype(int)
    labels = np.zeros((height, width), dtype=np.int32)
    for row, pieces in zip(rows, polygons, strict=True):
        _draw(labels, pieces, row['label'])
    table = pd.DataFrame(rows)
    name = path.name[: path.name.casefold().rindex('.geojson')]
    return [labels_layer(labels, name, _mpp_of(table), table)]


def labels_layer(
    pixels: Any, name: str, mpp: float | None = None, table: pd.DataFrame | None = None
) -> LayerData:
    """A layer of labels, as napari's readers and widgets give them.

    Args:
        pixels: (H, W), or the levels of a pyramid.
        name: of the layer.
        mpp: microns per pixel; None: the layer is in pixels.
        table: a row per object, its number in the column ``label``.
    """
    options: dict[str, Any] = {'name': name}
    if mpp is not None:
        options |= {'scale': (mpp, mpp), 'units': ('um', 'um')}
    if table is not None and len(table):
        # napari looks for the number of an object in a column ``index``.
        options['features'] = table.rename(columns={'label': 'index'})
    return pixels, options, 'labels'


def _table_beside(folder: Path, name: str) -> pd.DataFrame | None:
    for ending, read in (('.csv', pd.read_csv), ('.parquet', pd.read_parquet)):
        path = folder / (name + ending)
        if path.is_file():
            return read(path)
    return None


def _polygons(feature: dict[str, Any], path: Path) -> list[list[list[list[float]]]]:
    geometry = feature.get('geometry') or {}
    if geometry.get('type') not in ('Polygon', 'MultiPolygon'):
        raise DataError(f'{path}: an object is a {geometry.get("type")}, expected a Polygon')
    coordinates = geometry['coordinates']
    return [coordinates] if geometry['type'] == 'Polygon' else coordinates


def _measurements(feature: dict[str, Any]) -> dict[str, Any]:
    found = (feature.get('properties') or {}).get('measurements') or {}
    if isinstance(found, list):  # QuPath before 0.4
        return {entry['name']: entry['value'] for entry in found}
    return found


def _class_name(feature: dict[str, Any]) -> str:
    properties = feature.get('properties') or {}
    return (properties.get('classification') or {}).get('name', '')


def _draw(labels: np.ndarray, pieces: list[list[list[list[float]]]], number: int) -> None:
    """Paint one object, in no more memory than its box."""
    from pycocotools import mask as coco_mask

    from mmcell.functional.rasterize import polygons_to_rle

    corners = np.concatenate([np.asarray(rings[0], dtype=float) for rings in pieces])
    left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int)
    if left >= right or top >= bottom:
        return
    shifted = [[np.asarray(ring, dtype=float) - (left, top) for ring in rings] for rings in pieces]
    rle = polygons_to_rle(shifted, (int(bottom - top), int(right - left)))
    labels[top:bottom, left:right][coco_mask.decode(rle) > 0] = number


def _mpp_of(table: pd.DataFrame) -> float | None:
    if not {'area_um2', 'area_px'} <= set(table.columns):
        return None
    mpp = np.sqrt(table['area_um2'] / table['area_px']).median()
    return float(f'{mpp:.6g}') if np.isfinite(mpp) else None
