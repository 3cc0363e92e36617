"""Miniatures of data sets as their authors distribute them, and what a converter made of them."""

import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import tifffile
from click.testing import CliRunner

from mmcell.datasets.paper_layouts import KUMAR_ORGANS
from mmcell.functional.rle import rles_to_label_map

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_converters'

# Two objects that touch, in an image of 10 x 14.
LABELS = np.zeros((10, 14), np.uint8)
LABELS[1:4, 2:6], LABELS[4:8, 2:9] = 1, 2
GRAY = np.arange(140, dtype=np.uint8).reshape(10, 14)
RGB = np.dstack([GRAY, GRAY // 2, GRAY // 3])


def convert(name, source, out, *options):
    main = runpy.run_path(str(TOOLS / f'{name}.py'))['main']
    arguments = [str(a) for a in (source, '--out', out, *options)]
    return CliRunner().invoke(main, arguments)


def coco(out, split):
    return json.loads((out / 'annotations' / f'{split}.json').read_text())


def stems(out, split):
    return [Path(image['file_name']).stem for image in coco(out, split)['images']]


def label_maps(out, split):
    """Per stem, the label map with ids in the order of the annotations."""
    found = {}
    for image in coco(out, split)['images']:
        masks = [
            annotation['segmentation']
            for annotation in coco(out, split)['annotations']
            if annotation['image_id'] == image['id']
        ]
        size = image['height'], image['width']
        found[Path(image['file_name']).stem] = rles_to_label_map(masks, size)
    return found


def reported(result, kind):
    """The lines of a kind ('left out', 'warning') without it."""
    starts = f'{kind} '
    lines = result.output.splitlines()
    return [line.removeprefix(starts) for line in lines if line.startswith(starts)]


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_tiff(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    photometric = 'rgb' if pixels.ndim == 3 else 'minisblack'
    tifffile.imwrite(path, pixels, photometric=photometric, compression='zlib')


# Kumar


def aperio(*rings):
    regions = ''.join(
        f'<Region Id="{k}" NegativeROA="0"><Attributes/><Vertices>'
        + ''.join(f'<Vertex X="{x:.6f}" Y="{y:.6f}"/>' for x, y in ring)
        + '</Vertices></Region>'
        for k, ring in enumerate(rings, start=1)
    )
    return (
        '<Annotations MicronsPerPixel="0.252000"><Annotation Id="1"><Regions>'
        f'<RegionAttributeHeaders/>{regions}</Regions></Annotation></Annotations>'
    )


OUTLINES = aperio([(2, 1), (6, 1), (6, 4), (2, 4)], [(2, 4), (9, 4), (9, 8), (2, 8)])
KUMAR_NAMES = [
    f'TCGA-{patient}-01Z-00-DX1' for patients in KUMAR_ORGANS.values() for patient in patients
]


def write_kumar(folder, names, pixels=RGB):
    for name in names:
        write_tiff(folder / 'Tissue Images' / f'{name}.tif', pixels)
        (folder / 'Annotations').mkdir(exist_ok=True)
        (folder / 'Annotations' / f'{name}.xml').write_text(OUTLINES)
