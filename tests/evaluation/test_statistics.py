import numpy as np
import pytest
from scipy import stats

from mmcell.evaluation.statistics import holm, mark, paired_test

# AJI of the 14 test images of Kumar, as table 2 of Cell R-CNN V2 (IJCAI 2019) prints them.
PROPOSED = [.5490, .6362, .6202, .5902, .5491, .5179, .6305, .6423, .6749, .4745, .4450, .4871,
            .6909, .6871]  # fmt: skip
CNN3 = [.4974, .5796, .4792, .6672, .5175, .5148, .4914, .3761, .5465, .4968, .4891, .5692, .4538,
        .4378]  # fmt: skip
DIST = [.5334, .5884, .5648, .5420, .5466, .4432, .6273, .6294, .6475, .5467, .4240, .4484, .6408,
        .6550]  # fmt: skip
MASK_RCNN = [.4960, .5577, .5794, .5286, .5183, .4577, .5934, .6282, .6237, .4677, .3691, .4354,
             .6352, .6449]  # fmt: skip

# Student's sleep data, extra hours of ten patients under two drugs. R's paired t.test prints
# t = -4.0621, df = 9, two-sided p-value = 0.002833.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


@pytest.mark.parametrize(
    ('other', 'low', 'high'),
    [(CNN3, 0.01, 0.05), (DIST, 0, 0.01), (MASK_RCNN, 0, 0.01)],
    ids=['CNN3 **', 'DIST ***', 'Mask R-CNN ***'],
)
def test_one_tailed_t_test_gives_the_significance_that_the_paper_prints(other, low, high):
    assert low < paired_test(PROPOSED, other, 'higher').p_t < high


def test_t_test_of_students_sleep_data():
    result = paired_test(SLEEP_2, SLEEP_1, 'higher')
    assert result.t == pytest.approx(4.0621, abs=5e-5)
    assert result.p_t == pytest.approx(0.002833 / 2, abs=5e-7)
    assert (result.n, result.wins, result.ties, result.losses) == (10, 9, 1, 0)
    assert result.mean_difference == pytest.approx(1.58)


def test_wilcoxon_counts_the_sign_patterns_of_the_ranks():
    # Differences 1, 2, 3, -4: of 16 sign patterns, the sums of positive ranks >= 6 are those whose
    # negative ranks sum to <= 4: {}, 1, 2, 3, 4, 1+2, 1+3.
    result = paired_test([11.0, 12, 13, 10], [10.0, 10, 10, 14], 'higher')
    assert (result.w, result.p_wilcoxon) == (6, 7 / 16)


@pytest.mark.parametrize(
    ('better', 'alternative', 'seen'),
    [('higher', 'greater', np.asarray), ('lower', 'less', np.asarray), ('zero', 'less', np.abs)],
)
def test_direction_and_values_are_those_of_scipy(better, alternative, seen):
    rng = np.random.default_rng(5)
    x, y = rng.normal(0, 1, 40), rng.normal(0.2, 2, 40)
    result = paired_test(x, y, better, seed=3)
    x, y = seen(x), seen(y)
    t_test = stats.ttest_rel(x, y, alternative=alternative)
    wilcoxon = stats.wilcoxon(x - y, alternative=alternative)
    assert (result.t, result.p_t) == pytest.approx((t_test.statistic, t_test.pvalue), rel=1e-12)
    assert (result.w, result.p_wilcoxon) == (wilcoxon.statistic, wilcoxon.pvalue)
    interval = stats.bootstrap(
        (x, y),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        paired=True,
        n_resamples=9999,
        batch=500,
        random_state=np.random.default_rng(3),
    ).confidence_interval
    assert (result.ci_low, result.ci_high) == pytest.approx(tuple(interval), rel=1e-9)


def test_lower_is_better_turns_the_alternative_round():
    near, far = [1.0, 2, 3, 2.5, 1.5], [2.0, 4, 4, 3.0, 2.5]
    assert paired_test(near, far, 'lower').p_t < 0.05 < paired_test(near, far, 'higher').p_t
    assert paired_test(near, far, 'lower').wins == 5
    assert paired_test(near, far, 'lower').mean_difference == pytest.approx(-1.1)


def test_zero_is_best_whatever_the_sign():
    result = paired_test([-1.0, 0, 1, -1], [-4.0, 3, 4, 5], 'zero')
    assert (result.wins, result.mean_difference) == (4, -3.25)


def test_interval_is_near_that_of_the_t_distribution_and_repeats_with_its_seed():
    rng = np.random.default_rng(0)
    x = rng.normal(0.6, 0.1, 200)
    y = x - rng.normal(0.02, 0.05, 200)
    result = paired_test(x, y, 'higher')
    low, high = stats.t.interval(0.95, 199, (x - y).mean(), stats.sem(x - y))
    assert (result.ci_low, result.ci_high) == pytest.approx((low, high), abs=5e-4)
    assert paired_test(x, y, 'higher') == result
    assert paired_test(x, y, 'higher', seed=1).ci_low != result.ci_low


def test_identical_methods_have_p_of_one_and_say_so():
    result = paired_test(CNN3, CNN3, 'higher')
    assert (result.p_t, result.p_wilcoxon, result.mean_difference) == (1, 1, 0)
    assert (result.ci_low, result.ci_high, result.ties) == (0, 0, 14)
    assert 'identical' in result.note


def test_constant_difference_has_no_t_test_but_ranks():
    result = paired_test(np.array(CNN3) + 0.01, CNN3, 'higher')
    assert np.isnan([result.t, result.p_t, result.ci_low, result.ci_high]).all()
    assert 0 < result.p_wilcoxon < 0.001
    assert 'same on every image' in result.note


def test_fewer_than_three_images_are_refused_with_the_reason():
    with pytest.raises(ValueError, match='2 images: a paired test needs at least 3'):
        paired_test([0.1, 0.2], [0.2, 0.1], 'higher')


@pytest.mark.parametrize(
    ('reference', 'other', 'better', 'message'),
    [
        ([1.0, 2, 3], [1.0, 2, 3], 'bigger', "got 'bigger'"),
        ([1.0, 2, 3], [1.0, 2, 3, 4], 'higher', r'\(3,\) and \(4,\)'),
        ([1.0, 2, np.nan], [1.0, 2, 3], 'higher', 'finite'),
    ],
)
def test_what_is_no_pair_of_scores_is_refused(reference, other, better, message):
    with pytest.raises(ValueError, match=message):
        paired_test(reference, other, better)


def test_holm_by_hand():
    # Sorted 0.01 * 4, 0.02 * 3, 0.03 * 2 (not below the one before), 0.5 * 1.
    np.testing.assert_allclose(holm([0.03, 0.5, 0.01, 0.02]), [0.06, 0.5, 0.04, 0.06])


@pytest.mark.parametrize(
    ('p', 'adjusted'),
    [
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        # The AJI column of table III of PFFNet.
        (
            [2.69e-3, 2.35e-6, 6.44e-5, 3.93e-6, 7.02e-4],
            [0.00269, 1.175e-05, 0.0001932, 1.572e-05, 0.001404],
        ),
    ],
)
def test_holm_of_statsmodels(p, adjusted):
    # multipletests(p, method='holm')[1] of statsmodels 0.15.0
    np.testing.assert_allclose(holm(p), adjusted, rtol=1e-12)


def test_holm_ends_at_one_and_skips_what_was_not_tested():
    np.testing.assert_allclose(holm([0.6, np.nan, 0.7, 0.02]), [1, np.nan, 1, 0.06])
    assert holm([]).shape == (0,)


@pytest.mark.parametrize(
    ('p', 'stars'),
    [(0.0009, '***'), (0.001, '**'), (0.01, '*'), (0.0499, '*'), (0.05, ''), (np.nan, '')],
)
def test_marks(p, stars):
    assert mark(p) == stars
