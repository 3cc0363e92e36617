"""Pictures of scores per image: box plots of the methods, scatters against a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmcell.visualization.contours import PALETTE

_DPI = 150
_INK, _BOX, _REFERENCE_BOX, _POINT = '#222222', '#d5e3ee', '#f5d9b8', '#1f5f99'
_MAX_COLUMNS = 3

Values = npt.NDArray[np.float64]


def draw_boxes(
    path: Path, values: Mapping[str, Values], title: str, reference: str | None = None
) -> None:
    """Draw a box per method over its images, as figure 6 of PFFNet.

    Args:
        path: the picture.
        values: method -> (N,) scores.
        title: of the score, with the direction that is better.
        reference: method whose box stands out.
    """
    figure = _figure(max(4.0, 1.2 + 1.1 * len(values)), 3.6)
    axis = figure.subplots()
    names = list(values)
    boxes = axis.boxplot(
        [values[name] for name in names],
        tick_labels=[_wrapped(name) for name in names],
        widths=0.55,
        patch_artist=True,
        showmeans=True,
        flierprops={'marker': '.', 'markersize': 4, 'markeredgecolor': _INK},
        meanprops={'marker': 'D', 'markersize': 4.5, 'markerfacecolor': 'white',
                   'markeredgecolor': _INK},
        medianprops={'color': _INK, 'linewidth': 1.6},
    )  # fmt: skip
    for name, box in zip(names, boxes['boxes'], strict=True):
        box.set(facecolor=_REFERENCE_BOX if name == reference else _BOX, edgecolor=_INK)
    axis.set_ylabel(title)
    axis.set_title(
        f'{len(values[names[0]])} images; line: median, diamond: mean, whiskers: 1.5 IQR',
        fontsize=8,
        loc='left',
    )
    axis.grid(axis='y', alpha=0.3)
    _save(figure, path)


def draw_scatter(
    path: Path,
    reference: str,
    values: Mapping[str, Values],
    title: str,
    groups: Sequence[str] | None = None,
    better: str = 'higher',
) -> None:
    """Draw one point per image: the reference upwards, another method to the right.

    Args:
        path: the picture; one panel per method beside the reference.
        reference: name of the method that the others are drawn against.
        values: method -> (N,) scores on the same images.
        title: of the score.
        groups: (N,) a word for each image, told apart by colour.
        better: 'higher', 'lower' or 'zero'; says on which side of the line the reference wins.
    """
    others = [name for name in values if name != reference]
    columns = min(_MAX_COLUMNS, len(others))
    rows = -(-len(others) // columns)
    # Compressed: panels are square, and would leave gaps otherwise.
    figure = _figure(max(4.0, 3.3 * columns), 3.4 * rows + 0.3, 'compressed')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    shown = np.concatenate(list(values.values()))
    margin = 0.04 * (np.ptp(shown) or 1)
    limits = (shown.min() - margin, shown.max() + margin)
    for axis, other in zip(axes, others, strict=False):
        _draw_points(axis, values[other], values[reference], groups)
        axis.set(xlim=limits, ylim=limits, xlabel=_wrapped(other, 34), ylabel=reference)
        axis.set_aspect('equal')
    for axis in axes[len(others) :]:
        axis.set_visible(False)
    side = {'higher': 'above', 'lower': 'below'}.get(better)
    hint = f'; {reference} is better {side} the line' if side else ''
    figure.suptitle(f'{title}, one point per image{hint}', fontsize=9)
    if groups is not None and len(set(groups)) > 1:
        axes[0].legend(fontsize=7, loc='lower right')
    _save(figure, path)


def _draw_points(axis: Axes, x: Values, y: Values, groups: Sequence[str] | None) -> None:
    axis.axline((0, 0), slope=1, color=_INK, lw=0.8, zorder=1)
    axis.grid(alpha=0.3)
    named = np.array(groups if groups is not None else [''] * len(x))
    for k, group in enumerate(dict.fromkeys(named.tolist())):
        color = _POINT if k == 0 else tuple(PALETTE[k % len(PALETTE)] / 255)
        inside = named == group
        axis.scatter(
            x[inside], y[inside], s=14, color=color, alpha=0.7, lw=0, label=group, zorder=2
        )


def _wrapped(name: str, width: int = 12) -> str:
    """Long names over several lines, broken at blanks, underscores and hyphens."""
    lines = ['']
    for word in name.replace('_', '_ ').replace('-', '- ').split(' '):
        glue = '' if not lines[-1] or lines[-1][-1] in '_-' else ' '
        if len(lines[-1] + glue + word) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] += glue + word
    return '\n'.join(lines)


def _figure(width: float, height: float, layout: str = 'constrained') -> Figure:
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No date and no version inside: the same scores give the same file.
    figure.savefig(path, dpi=_DPI, bbox_inches='tight', metadata={'Software': None})
