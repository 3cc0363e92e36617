"""The best or worst overlays of a test on one page."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mmcell.visualization.overlay import overlay_names

_TILE_PX = (640, 400)  # width, height
_CAPTION_PX, _MARGIN_PX = 24, 8


def ranked_overlays(
    per_image_csv: str | Path, overlay_dir: str | Path, count: int, *, best: bool = False
) -> list[tuple[str, Path]]:
    """Find the overlays of the images with the lowest (or highest) AJI.

    Args:
        per_image_csv: as CellMetric writes it: columns ``image`` and ``aji``.
        overlay_dir: holds the pictures, named by ``overlay_names``, as ``tools/test.py --show-dir``
            writes them.
        count: how many; fewer if there are fewer.
        best: highest instead of lowest AJI.

    Returns:
        Caption and picture of each, the most extreme first. Images without a score (nothing
        annotated, nothing predicted) are left out.

    Raises:
        FileNotFoundError: If an overlay is missing.
    """
    with open(per_image_csv, newline='') as file:
        table = list(csv.DictReader(file))
    names = overlay_names([(row['image'], row.get('img_id')) for row in table])
    rows = [
        (float(row['aji'] or 'nan'), name, row['image'])
        for row, name in zip(table, names, strict=True)
    ]
    ranked = sorted((row for row in rows if not np.isnan(row[0])), reverse=best)
    overlays = []
    for aji, name, image in ranked[:count]:
        path = Path(overlay_dir, f'{name}.png')
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no overlay of {image}, which {per_image_csv} lists')
        overlays.append((f'AJI {aji:.3f}', path))
    return overlays


def montage(overlays: list[tuple[str, Path]], columns: int = 2) -> npt.NDArray[np.uint8]:
    """Arrange pictures on a page, row by row, each shrunk to fit its tile.

    Args:
        overlays: caption and picture file of each; at least one.
        columns: pictures per row.

    Returns:
        (H, W, 3) RGB.
    """
    columns = min(columns, len(overlays))
    rows = -(-len(overlays) // columns)
    step_x = _TILE_PX[0] + _MARGIN_PX
    step_y = _TILE_PX[1] + _CAPTION_PX + _MARGIN_PX
    page = Image.new('RGB', (columns * step_x + _MARGIN_PX, rows * step_y + _MARGIN_PX), 'white')
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(16)
    for k, (caption, path) in enumerate(overlays):
        row, column = divmod(k, columns)
        left, top = _MARGIN_PX + column * step_x, _MARGIN_PX + row * step_y
        draw.text((left, top), caption, 'black', font)
        with Image.open(path) as picture:
            tile = ImageOps.contain(picture.convert('RGB'), _TILE_PX)
        page.paste(tile, (left, top + _CAPTION_PX))
    return np.asarray(page)
