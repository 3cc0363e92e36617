"""Pictures of segmentations: predictions alone, or beside the ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mmcell.functional.assignment import best_assignment
from mmcell.functional.overlap import OverlapTable, overlap_table
from mmcell.functional.ranked_precision import box_ious
from mmcell.visualization.contours import PALETTE, draw_contours

MATCHED, MISSED, FALSE = (0, 200, 90), (255, 80, 0), (40, 150, 255)

_MIN_LONG_SIDE_PX = 512  # smaller images are enlarged, so that lines stay thin against the objects
_MAX_ENLARGEMENT = 8
_MARGIN, _LINE_HEIGHT, _FONT_SIZE = 8, 24, 16
_BACKGROUND, _INK = (255, 255, 255), (30, 30, 30)

RgbImage = npt.NDArray[np.uint8]
LabelMap = npt.NDArray[np.integer]
Color = tuple[int, int, int]


def overlay_names(images: Sequence[tuple[str, object]]) -> list[str]:
    """Names of the pictures of images, without ending, each different.

    Args:
        images: path or name, and id, of each.

    Returns:
        The stem of each, or ``<stem>_<id>`` where it is that of several, or such a name itself.
    """
    stems = [Path(image).stem for image, _ in images]
    counts = Counter(stems)
    longer = [f'{stem}_{key}' for stem, (_, key) in zip(stems, images, strict=True)]
    taken = {name for stem, name in zip(stems, longer, strict=True) if counts[stem] > 1}
    return [
        name if counts[stem] > 1 or stem in taken else stem
        for stem, name in zip(stems, longer, strict=True)
    ]


def overlay_objects(
    image_rgb: RgbImage,
    label_map: LabelMap,
    title: str = '',
    caption: str = 'Prediction',
    *,
    colors: npt.NDArray[np.uint8] | None = None,
    count: int | None = None,
    legend: Sequence[tuple[Color, str]] = (),
) -> RgbImage:
    """Contours of the objects, neighbours in different colours, and their number.

    Args:
        image_rgb: (H, W, 3).
        label_map: (H, W), 0 is background.
        title: put above the picture.
        caption: what the objects are; their number is added.
        colors: (largest id + 1, 3), a colour per id instead of one that differs from neighbours'.
        count: the number of objects where ``label_map`` does not hold all of them.
        legend: RGB colours and what they mean.

    Returns:
        RGB picture; images below 512 pixels are enlarged by a whole factor.
    """
    if count is None:
        count = np.count_nonzero(np.unique(label_map))
    panel = _draw_enlarged(image_rgb, label_map, colors)
    return _compose([(f'{caption}: {count} objects', panel)], title, legend)


def overlay_pair(
    image_rgb: RgbImage,
    gt: LabelMap,
    pred: LabelMap,
    title: str = '',
    captions: tuple[str, str] = ('Ground truth', 'Prediction'),
) -> RgbImage:
    """Ground truth beside prediction, coloured by what was found.

    An object is matched if it and one of the other side have an IoU above 0.5 (then there is only
    one such partner); objects of the ground truth without a match are missed, predicted ones false.

    Args:
        image_rgb: (H, W, 3).
        gt: (H, W), 0 is background.
        pred: (H, W), 0 is background; numbers need not correspond to those of ``gt``.
        title: put above the picture.
        captions: what the two sides are; their numbers of objects are added.

    Returns:
        RGB picture; images below 512 pixels are enlarged by a whole factor.
    """
    table = overlap_table(gt, pred)
    gt_colors, pred_colors = match_colors(gt, pred, table)
    return _compose(
        [
            (f'{captions[0]}: {table.n_gt} objects', _draw_enlarged(image_rgb, gt, gt_colors)),
            (
                f'{captions[1]}: {table.n_pred} objects',
                _draw_enlarged(image_rgb, pred, pred_colors),
            ),
        ],
        title,
        _match_legend(int((table.ious > 0.5).sum()), table.n_gt, table.n_pred),
    )


def overlay_boxes(
    image_rgb: RgbImage,
    gt: npt.ArrayLike | None,
    pred: npt.ArrayLike | None,
    title: str = '',
) -> RgbImage:
    """Boxes of the ground truth beside predicted ones, coloured by what was found.

    Matched boxes are the pairs of a one-to-one assignment of largest IoU, above 0.5 each.

    Args:
        image_rgb: (H, W, 3).
        gt: (G, 4), x1, y1, x2, y2 in pixels; None leaves the side out, and boxes have one colour.
        pred: (P, 4), the same.
        title: put above the picture.

    Returns:
        RGB picture; images below 512 pixels are enlarged by a whole factor.
    """
    given = {'Ground truth': gt, 'Prediction': pred}
    sides = {
        name: np.asarray(boxes).reshape(-1, 4) for name, boxes in given.items() if boxes is not None
    }
    colors = {name: np.tile(PALETTE[0], (len(boxes), 1)) for name, boxes in sides.items()}
    legend: Sequence[tuple[Color, str]] = ()
    if len(sides) == 2:
        pairs = box_ious(*sides.values())
        close = pairs.ious > 0.5
        pairs = pairs._replace(
            gt_index=pairs.gt_index[close],
            pred_index=pairs.pred_index[close],
            ious=pairs.ious[close],
        )
        chosen = best_assignment(pairs)
        colors = {
            'Ground truth': np.tile(MISSED, (pairs.n_gt, 1)),
            'Prediction': np.tile(FALSE, (pairs.n_pred, 1)),
        }
        colors['Ground truth'][pairs.gt_index[chosen]] = MATCHED
        colors['Prediction'][pairs.pred_index[chosen]] = MATCHED
        legend = _match_legend(len(chosen), pairs.n_gt, pairs.n_pred)
    panels = [
        (f'{name}: {len(boxes)} objects', _draw_boxes(image_rgb, boxes, colors[name]))
        for name, boxes in sides.items()
    ]
    return _compose(panels, title, legend)


def _match_legend(matched: int, n_gt: int, n_pred: int) -> list[tuple[Color, str]]:
    return [
        (MATCHED, f'{matched} matched (IoU > 0.5)'),
        (MISSED, f'{n_gt - matched} missed'),
        (FALSE, f'{n_pred - matched} false'),
    ]


def match_colors(
    gt: LabelMap, pred: LabelMap, table: OverlapTable | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Colours that say which objects have a partner of IoU > 0.5 on the other side.

    Args:
        gt: (H, W), 0 is background.
        pred: (H, W), 0 is background.
        table: their overlaps, where they are at hand.

    Returns:
        RGB per id, (largest id + 1, 3) each: MATCHED or MISSED for ``gt``, MATCHED or FALSE for
        ``pred``. Row 0 and the rows of ids that do not occur mean nothing.
    """
    table = overlap_table(gt, pred) if table is None else table
    matched = table.ious > 0.5
    gt_colors = np.full((int(gt.max(initial=0)) + 1, 3), MISSED)
    pred_colors = np.full((int(pred.max(initial=0)) + 1, 3), FALSE)
    gt_colors[table.gt_ids[table.gt_index[matched]]] = MATCHED
    pred_colors[table.pred_ids[table.pred_index[matched]]] = MATCHED
    return gt_colors, pred_colors


def _draw_enlarged(image_rgb: RgbImage, label_map: LabelMap, colors: np.ndarray | None) -> RgbImage:
    image_rgb, factor = _enlarged(image_rgb)
    if factor > 1:
        label_map = label_map.repeat(factor, axis=0).repeat(factor, axis=1)
    return draw_contours(image_rgb, label_map, colors)


def _draw_boxes(image_rgb: RgbImage, boxes: np.ndarray, colors: np.ndarray) -> RgbImage:
    enlarged, factor = _enlarged(image_rgb)
    drawn = enlarged.copy()
    corners = np.rint(boxes * factor).astype(int) - (0, 0, 1, 1)  # the last pixels inside
    for (x1, y1, x2, y2), color in zip(corners.tolist(), colors.tolist(), strict=True):
        cv2.rectangle(drawn, (x1, y1), (x2, y2), color)
    return drawn


def _enlarged(image_rgb: RgbImage) -> tuple[RgbImage, int]:
    """The image by a whole factor, where it is small, and the factor."""
    height, width = image_rgb.shape[:2]
    factor = min(-(-_MIN_LONG_SIDE_PX // max(height, width)), _MAX_ENLARGEMENT)
    if factor > 1:
        size = (width * factor, height * factor)
        image_rgb = cv2.resize(image_rgb, size, interpolation=cv2.INTER_CUBIC)
    return image_rgb, factor


def _compose(
    panels: list[tuple[str, RgbImage]], title: str, legend: Sequence[tuple[Color, str]]
) -> RgbImage:
    """Panels side by side under their captions, the title above, the legend below."""
    font = ImageFont.load_default(_FONT_SIZE)
    swatch = _FONT_SIZE
    legend_width = sum(swatch + 3 * _MARGIN + int(font.getlength(text)) for _, text in legend)
    panel_width = max(
        *(panel.shape[1] for _, panel in panels),
        *(int(font.getlength(caption)) + 1 for caption, _ in panels),
    )
    panels_width = len(panels) * (panel_width + _MARGIN) - _MARGIN
    width = max(panels_width, legend_width, int(font.getlength(title)) + 1) + 2 * _MARGIN
    top = _MARGIN + _LINE_HEIGHT * (1 + bool(title))
    panel_height = panels[0][1].shape[0]
    height = top + panel_height + _MARGIN + (_LINE_HEIGHT if legend else 0)

    canvas = Image.new('RGB', (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((_MARGIN, _MARGIN), title, _INK, font)
    for k, (caption, panel) in enumerate(panels):
        left = _MARGIN + k * (panel_width + _MARGIN)
        draw.text((left, top - _LINE_HEIGHT), caption, _INK, font)
        canvas.paste(Image.fromarray(panel), (left, top))
    left, y = _MARGIN, height - _LINE_HEIGHT
    for color, text in legend:
        draw.rectangle((left, y, left + swatch, y + swatch), fill=tuple(color))
        draw.text((left + swatch + _MARGIN, y - 2), text, _INK, font)
        left += swatch + 3 * _MARGIN + int(font.getlength(text))
    return np.asarray(canvas)


def write_png(path: str | PathLike[str], image_rgb: RgbImage) -> None:
    """Write a picture; missing folders are made, names may hold any character.

    Raises:
        OSError: If the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not cv2.imwrite: it returns False where it should raise.
    path.write_bytes(cv2.imencode('.png', cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))[1].tobytes())
