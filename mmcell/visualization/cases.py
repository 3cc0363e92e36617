"""Predictions of several methods beside the ground truth, image by image on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mmcell.visualization.contours import contour_mask, draw_contours
from mmcell.visualization.overlay import FALSE, MATCHED, MISSED, match_colors

_PANEL_PX = 400
_MARGIN, _LINE_HEIGHT, _FONT_SIZE = 8, 22, 15
_BACKGROUND, _INK = (255, 255, 255), (30, 30, 30)


class Case(NamedTuple):
    """One image of a page.

    Attributes:
        title: what the image is, and why it is shown.
        image_rgb: (H, W, 3) uint8.
        gt: (H, W) label map.
        predictions: method -> (H, W) label map.
        captions: method -> its score here, in words.
    """

    title: str
    image_rgb: npt.NDArray[np.uint8]
    gt: npt.NDArray[np.integer]
    predictions: Mapping[str, npt.NDArray[np.integer]]
    captions: Mapping[str, str]


def draw_cases(cases: Sequence[Case], window_px: int = 320) -> npt.NDArray[np.uint8]:
    """Draw a row per case: the image, the ground truth, then each method.

    Objects matched at IoU > 0.5, missed and false ones differ in colour; in the ground truth an
    object counts as missed if no method matches it. Of larger images the window is shown in which
    most objects are missed or false.

    Args:
        cases: of the same methods, in the same order; at least one.
        window_px: side of the largest square that is shown.

    Returns:
        RGB page.
    """
    rows = [_draw_row(case, window_px) for case in cases]
    width = max(row.shape[1] for row in rows)
    legend = _legend(width)
    padded = [
        np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows
    ]
    return np.concatenate([*padded, legend])


def _draw_row(case: Case, window_px: int) -> npt.NDArray[np.uint8]:
    colors = {name: match_colors(case.gt, pred) for name, pred in case.predictions.items()}
    never_matched = np.all([(gt_colors == MISSED).all(1) for gt_colors, _ in colors.values()], 0)
    gt_colors = np.where(never_matched[:, None], MISSED, MATCHED)
    trouble = np.zeros(case.gt.shape, dtype=np.float32)
    for name, pred in case.predictions.items():
        missed, false = ((table != MATCHED).any(1) for table in colors[name])
        trouble += (missed[case.gt] & (case.gt > 0)) | (false[pred] & (pred > 0))
    rows, columns = _window(trouble, window_px)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    title = case.title
    if (height, width) != case.gt.shape:
        title += f', {width} x {height} pixels from ({columns.start}, {rows.start})'
    crop = case.image_rgb[rows, columns]
    panels = [('Image', _enlarged(crop))]
    panels += [('Ground truth', _panel(crop, case.gt[rows, columns], gt_colors))]
    panels += [
        (f'{name}: {case.captions[name]}', _panel(crop, pred[rows, columns], colors[name][1]))
        for name, pred in case.predictions.items()
    ]
    return _compose(title, panels)


def _window(trouble: npt.NDArray[np.float32], side: int) -> tuple[slice, slice]:
    """The square, of ``side`` pixels at most, that holds most of ``trouble``."""
    height, width = trouble.shape
    box_height, box_width = min(side, height), min(side, width)
    sums = cv2.boxFilter(
        trouble, -1, (box_width, box_height), anchor=(0, 0), normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )[: height - box_height + 1, : width - box_width + 1]  # fmt: skip
    top, left = np.unravel_index(np.argmax(sums), sums.shape)
    return slice(top, top + box_height), slice(left, left + box_width)


def _enlarged(pixels: np.ndarray, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    factor = _PANEL_PX / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return cv2.resize(pixels, size, interpolation=interpolation)


def _panel(image: np.ndarray, label_map: np.ndarray, colors: np.ndarray) -> np.ndarray:
    labels = _enlarged(label_map.astype(np.float64), cv2.INTER_NEAREST).astype(np.int64)
    outlined = draw_contours(_enlarged(image), labels, colors)
    # A second line inside the first: a page of many panels is looked at in less than full size.
    return draw_contours(outlined, np.where(contour_mask(labels), 0, labels), colors)


def _compose(title: str, panels: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    font = ImageFont.load_default(_FONT_SIZE)
    height = max(panel.shape[0] for _, panel in panels)
    width = len(panels) * (_PANEL_PX + _MARGIN) + _MARGIN
    page = Image.new('RGB', (width, height + 2 * _LINE_HEIGHT + 2 * _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN), title, _INK, font)
    for k, (caption, panel) in enumerate(panels):
        left = _MARGIN + k * (_PANEL_PX + _MARGIN)
        text = _shortened(caption, font)
        draw.text((left, _MARGIN + _LINE_HEIGHT), text, _INK, font)
        page.paste(Image.fromarray(panel), (left, _MARGIN + 2 * _LINE_HEIGHT))
    return np.asarray(page)


def _shortened(text: str, font: ImageFont.FreeTypeFont) -> str:
    """Cut a method's name, not its score, to what fits above a panel."""
    name, colon, score = text.rpartition(': ')
    while len(name) > 1 and font.getlength(f'{name}…{colon}{score}') > _PANEL_PX:
        name = name[:-1]
    return text if text.startswith(f'{name}{colon}') else f'{name}…{colon}{score}'


def _legend(width: int) -> np.ndarray:
    page = Image.new('RGB', (width, _LINE_HEIGHT + _MARGIN), _BACKGROUND)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(_FONT_SIZE)
    left = _MARGIN
    entries = ((MATCHED, 'matched (IoU > 0.5)'), (MISSED, 'missed by all'), (FALSE, 'false'))
    for color, text in entries:
        draw.rectangle((left, 2, left + _FONT_SIZE, 2 + _FONT_SIZE), fill=color)
        draw.text((left + _FONT_SIZE + _MARGIN, 0), text, _INK, font)
        left += _FONT_SIZE + 3 * _MARGIN + int(font.getlength(text))
    return np.asarray(page)
