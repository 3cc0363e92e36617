"""Paired tests between two methods on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

# Which values of a score are good; 'zero': those near 0, whatever their sign.
Direction = Literal['higher', 'lower', 'zero']

MIN_IMAGES = 3
CONFIDENCE = 0.95
NUM_RESAMPLES = 9999
_BATCH = 500  # resamples at a time: 40 MB with 10,000 images

IDENTICAL = 'identical on every image, so p = 1 by definition'
CONSTANT = 'the difference is the same on every image: its t-test and interval are undefined'


@dataclass(frozen=True)
class PairedTest:
    """How a reference method compares with another one in one score.

    Attributes:
        n: images with a value of both.
        mean_difference: reference minus other; of the absolute values where 0 is best.
        ci_low: lower end of the bootstrap interval of the mean difference.
        ci_high: its upper end.
        wins: images on which the reference is better.
        ties: images on which both are equal.
        losses: images on which the other one is better.
        t: statistic of the paired t-test.
        p_t: its one-tailed p-value; alternative: the reference is better.
        w: statistic of the Wilcoxon signed-rank test, ties dropped.
        p_wilcoxon: its one-tailed p-value for the same alternative.
        note: what is special about the differences; '' if nothing is.
    """

    n: int
    mean_difference: float
    ci_low: float
    ci_high: float
    wins: int
    ties: int
    losses: int
    t: float
    p_t: float
    w: float
    p_wilcoxon: float
    note: str = ''


def paired_test(
    reference: npt.ArrayLike, other: npt.ArrayLike, better: Direction, seed: int = 0
) -> PairedTest:
    """Test whether a method is better than another one, image by image.

    Args:
        reference: (N,) finite scores of the method that may be better.
        other: (N,) finite scores of the other one on the same images, in the same order.
        better: which values are good.
        seed: of the bootstrap (BCa, 9,999 resamples of the paired differences, 95 %).

    Returns:
        Both one-tailed tests and a two-sided confidence interval. Where all differences are 0,
        p-values are 1; where they are all the same, what cannot be computed is NaN.

    Raises:
        ValueError: If there are fewer than three images, the lengths differ, a value is not finite,
            or ``better`` is unknown.
    """
    x, y = np.asarray(reference, dtype=np.float64), np.asarray(other, dtype=np.float64)
    _check(x, y, better)
    if better == 'zero':
        x, y = np.abs(x), np.abs(y)
    difference = x - y
    gain = difference if better == 'higher' else -difference
    counts = {
        'wins': int((gain > 0).sum()),
        'ties': int((gain == 0).sum()),
        'losses': int((gain < 0).sum()),
    }
    mean, n = float(difference.mean()), len(difference)
    if not difference.any():
        return PairedTest(n, 0.0, 0.0, 0.0, **counts, t=np.nan, p_t=1.0, w=np.nan, p_wilcoxon=1.0,
                          note=IDENTICAL)  # fmt: skip
    alternative = 'greater' if better == 'higher' else 'less'
    ranks = stats.wilcoxon(x, y, alternative=alternative)
    low = high = t = p_t = np.nan
    # What rounding alone leaves of a constant difference would come out as p = 0.
    varies = np.ptp(difference) > 1e-12 * max(np.abs(x).max(), np.abs(y).max())
    if varies:
        t, p_t = stats.ttest_rel(x, y, alternative=alternative)
        low, high = _interval(difference, seed)
    return PairedTest(
        n,
        mean,
        float(low),
        float(high),
        **counts,
        t=float(t),
        p_t=float(p_t),
        w=float(ranks.statistic),
        p_wilcoxon=float(ranks.pvalue),
        note='' if varies else CONSTANT,
    )


def _interval(difference: np.ndarray, seed: int) -> tuple[float, float]:
    """Bootstrap interval of the mean."""
    return stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=NUM_RESAMPLES,
        batch=_BATCH,
        confidence_level=CONFIDENCE,
        method='BCa',
        random_state=np.random.default_rng(seed),
    ).confidence_interval


def _check(x: np.ndarray, y: np.ndarray, better: str) -> None:
    if better not in ('higher', 'lower', 'zero'):
        raise ValueError(f"better must be 'higher', 'lower' or 'zero', got {better!r}")
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f'scores must be paired lists, got shapes {x.shape} and {y.shape}')
    if len(x) < MIN_IMAGES:
        raise ValueError(
            f'{len(x)} images: a paired test needs at least {MIN_IMAGES}, since fewer differences '
            'say nothing about their spread'
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError('scores must be finite: leave out images without a value')


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Adjust the p-values of one family of tests (step-down).

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6
    (1979) 65-70.

    Args:
        p_values: (M,) in [0, 1]; NaN where there was no test, which does not count.

    Returns:
        (M,) adjusted p-values, at most 1; NaN stays.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested])]
    stepped = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


def mark(p_value: float) -> str:
    """Stars of a p-value: ``***`` below 0.001, ``**`` below 0.01, ``*`` below 0.05, else none."""
    return '*' * sum(p_value < level for level in (0.05, 0.01, 0.001))
