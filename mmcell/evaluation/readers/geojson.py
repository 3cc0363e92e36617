"""QuPath's GeoJSON, plain or gzipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcell.evaluation.readers.instances import Instances, Size, flatten, require_size
from mmcell.evaluation.readers.json_files import load_json
from mmcell.functional.rasterize import polygons_to_rle

# What QuPath calls objects that a detector found, beside the regions in which it looked.
_DETECTED = ('detection', 'cell')
# Before it had objectType, the class stood in place of an id.
_OLD_IDS = {'PathDetectionObject': 'detection', 'PathCellObject': 'cell'}


def read_geojson(path: Path, size: Size | None = None) -> Instances:
    """Read polygons and multipolygons, holes included; an earlier object keeps shared pixels.

    Where a file holds detections or cells, other objects (annotated regions) are left out; without
    any, annotations are the objects. Of a cell the outline counts, not its nucleus.

    Args:
        path: ``.geojson`` or ``.geojson.gz``: a FeatureCollection, a list of features, or one.
        size: height, width in pixels, which the format does not store.

    Raises:
        OSError: If the file cannot be decompressed.
        ValueError: If it is not GeoJSON, or a feature has no area; names the feature.
    """
    size = require_size(size)
    objects, features = load_objects(path)
    rles = []
    for feature in objects:
        try:
            rles.append(polygons_to_rle(_polygons(feature), size))
        except (ValueError, TypeError, KeyError) as error:
            name = feature.get('id') or f'number {features.index(feature) + 1}'
            raise ValueError(f'{path}: feature {name}: {error}') from error
    return flatten(rles, size, left_out=len(features) - len(objects))


def load_objects(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The features that are objects, and all of them.

    Raises:
        OSError: If the file cannot be decompressed.
        ValueError: If it is not GeoJSON.
    """
    features = _features(load_json(path), path)
    detected = [feature for feature in features if _object_type(feature) in _DETECTED]
    return detected or features, features


def _features(content: Any, path: Path) -> list[dict[str, Any]]:
    if isinstance(content, dict) and content.get('type') == 'FeatureCollection':
        content = content.get('features')
    elif isinstance(content, dict) and content.get('type') == 'Feature':
        content = [content]
    if not isinstance(content, list) or not all(isinstance(f, dict) for f in content):
        raise ValueError(f'{path}: is not GeoJSON: neither a FeatureCollection nor features')
    return content


def _object_type(feature: dict[str, Any]) -> str:
    kind = (feature.get('properties') or {}).get('objectType')
    return kind or _OLD_IDS.get(str(feature.get('id')), '')


def _polygons(feature: dict[str, Any]) -> list[list[list[list[float]]]]:
    geometry = feature.get('geometry') or {}
    kind = geometry.get('type')
    if kind not in ('Polygon', 'MultiPolygon'):
        raise ValueError(f'is a {kind}, expected a Polygon or MultiPolygon')
    coordinates = geometry['coordinates']
    return [coordinates] if kind == 'Polygon' else coordinates
