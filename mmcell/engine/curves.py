"""Reading what MMEngine logged and drawing it: losses, learning rate, validation scores."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Logged beside losses and scores, of no use in a picture.
_NOT_CURVES = {'iter', 'epoch', 'step', 'time', 'data_time', 'memory'}
# Below this many points the raw line is readable as it is.
_MIN_POINTS_TO_SMOOTH = 41  # the mean over 1/20 of fewer is each point itself
_COLUMNS = 3
# A longer legend would hide lines, so it stands outside, in the order of the lines' ends.
_MAX_LINES_BESIDE_LEGEND = 3

Series = list[tuple[int, float]]


@dataclass
class Curves:
    """What one run logged.

    Attributes:
        name: Of the work directory.
        train: Name -> (iteration, value) points: losses, 'lr', 'grad_norm', accuracies.
        val: The same for the scores of the validations.
    """

    name: str
    train: dict[str, Series] = field(default_factory=dict)
    val: dict[str, Series] = field(default_factory=dict)

    def forget_from(self, iteration: int) -> None:
        """Drop the points at ``iteration`` and later: a restart did them again, or logs others."""
        for group in (self.train, self.val):
            for name, series in list(group.items()):
                series[:] = [point for point in series if point[0] < iteration]
                if not series:
                    del group[name]


def read_curves(work_dir: str | Path) -> Curves:
    """Join the logs of all starts of a run.

    Args:
        work_dir: Holds ``<start time>/vis_data/scalars.json``, one JSON object a line. A resumed
            start replaces what the killed one did after its last checkpoint.

    Returns:
        Empty curves if nothing was logged. Values that are not finite are left out.
    """
    work_dir = Path(work_dir)
    curves = Curves(work_dir.resolve().name)
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        first, iteration = True, 0
        for line in log.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # the line that a kill cut off
                continue
            is_train = 'iter' in entry
            if is_train:
                iteration = entry['iter']
                if first:
                    curves.forget_from(iteration)
                    first = False
            # Validations are logged with the iteration or, epoch by epoch, with the epoch.
            at = iteration if is_train else max(iteration, entry.get('step', 0))
            group = curves.train if is_train else curves.val
            for name, value in entry.items():
                if name not in _NOT_CURVES and _is_finite_number(value):
                    group.setdefault(name, []).append((at, value))
    return curves


def draw_curves(runs: list[Curves], path: str | Path) -> None:
    """Draw one run at a glance, or several against each other.

    Args:
        runs: One: three panels (losses, learning rate, validation scores), a line per name.
            Several: a panel per quantity, a line per run.
        path: The picture, in a format that matplotlib knows from the suffix.

    Raises:
        ValueError: No run has logged anything.
    """
    if not any(run.train or run.val for run in runs):
        raise ValueError(f'nothing was logged by {", ".join(r.name for r in runs) or "no run"}')
    panels = _panels_of_run(runs[0]) if len(runs) == 1 else _panels_of_comparison(runs)
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(6 * columns, 4 * rows), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (title, lines) in zip(axes, panels.items(), strict=False):
        _draw_panel(axis, title, lines)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(runs[0].name if len(runs) == 1 else '')
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _panels_of_run(run: Curves) -> dict[str, dict[str, Series]]:
    scores = {name: series for name, series in run.val.items() if _is_score(name, series)}
    panels = {
        'losses': {n: s for n, s in run.train.items() if 'loss' in n},
        'learning rate': {n: s for n, s in run.train.items() if n == 'lr'},
        'validation scores': scores,
    }
    return {title: lines for title, lines in panels.items() if lines}


def _panels_of_comparison(runs: list[Curves]) -> dict[str, dict[str, Series]]:
    panels: dict[str, dict[str, Series]] = {}
    for index, run in enumerate(runs):
        same_name = [r.name for r in runs].count(run.name) > 1
        label = f'{run.name} ({index + 1})' if same_name else run.name
        shown = {n: s for n, s in run.train.items() if 'loss' in n or n == 'lr'}
        shown |= {n: s for n, s in run.val.items() if _is_score(n, s)}
        for name, series in shown.items():
            panels.setdefault(name, {})[label] = series
    return panels


def _draw_panel(axis: Axes, title: str, lines: dict[str, Series]) -> None:
    with_points = 'validation' in title or '/' in title
    if len(lines) > _MAX_LINES_BESIDE_LEGEND:
        lines = dict(sorted(lines.items(), key=lambda line: -line[1][-1][1]))
        axis.set_prop_cycle(color=colormaps['tab10' if len(lines) <= 10 else 'tab20'].colors)
    for name, series in lines.items():
        x, y = np.array(series, dtype=float).T
        smooth = len(y) >= _MIN_POINTS_TO_SMOOTH and 'loss' in title
        marker = 'o' if with_points or len(y) == 1 else ''
        (raw,) = axis.plot(
            x, y, lw=0.8 if smooth else 1.5, alpha=0.3 if smooth else 1, marker=marker, ms=3
        )
        label = name if not with_points else f'{name} {y[-1]:.3f}'
        if smooth:
            axis.plot(x, _smooth(y), color=raw.get_color(), label=label)
        else:
            raw.set_label(label)
    if 'loss' in title and all(value > 0 for s in lines.values() for _, value in s):
        axis.set_yscale('log')
    axis.set(title=title, xlabel='iteration')
    axis.grid(alpha=0.3)
    if len(lines) > _MAX_LINES_BESIDE_LEGEND:
        axis.legend(fontsize=7, loc='center left', bbox_to_anchor=(1, 0.5))
    else:
        axis.legend(fontsize=7)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Exponential mean over about 1/20 of the points, without the pull of a zero start."""
    return pd.Series(values).ewm(alpha=40 / len(values)).mean().to_numpy()


def _is_score(name: str, series: Series) -> bool:
    # Standard deviations and counts would set the scale; COCO writes -1 where nothing was measured.
    return not name.endswith(('_std', '_left_out')) and all(0 <= value <= 1 for _, value in series)


def _is_finite_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
