"""The metrics, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rar.errors import ConfigurationError
from rar.evaluation import metrics

SCORE = np.array([3.0, 2.0, 1.0])
WEAK = np.array([0.0, 1.0, 0.0])
STRONG = np.array([1.0, 1.0, 1.0])  # the gaps are 1, 0, 1


def test_curve_goes_from_the_weak_to_the_strong_mean() -> None:
    found = metrics.curve(SCORE, WEAK, STRONG)

    assert found.share == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert found.quality == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1])


def test_questions_of_equal_score_are_sent_at_random() -> None:
    found = metrics.curve(np.array([2.0, 1.0, 1.0]), WEAK, STRONG)

    assert found.share == pytest.approx([0, 1 / 3, 1])


def test_infinite_scores_are_one_tie() -> None:
    assert len(metrics.curve(np.array([np.inf, np.inf, 0.0]), WEAK, STRONG).share) == 3


def test_weights_count_a_question_so_often() -> None:
    weighted = metrics.apgr(SCORE, WEAK, STRONG, np.array([2.0, 1.0, 1.0]))
    repeated = metrics.apgr(SCORE[[0, 0, 1, 2]], WEAK[[0, 0, 1, 2]], STRONG[[0, 0, 1, 2]])

    assert weighted == pytest.approx(repeated)


def test_pgr_is_the_share_of_the_gap_that_is_recovered() -> None:
    assert metrics.pgr(0.75, 0.5, 1.0) == pytest.approx(0.5)


def test_pgr_of_no_gap_is_nan() -> None:
    assert math.isnan(metrics.pgr(0.5, 0.5, 0.5))


def test_apgr_is_the_area_under_pgr() -> None:
    # PGR is 0, 1/2, 1/2, 1 at the thirds, so that the trapezoids are 1/4, 1/2 and 3/4 high.
    assert metrics.apgr(SCORE, WEAK, STRONG) == pytest.approx((0.25 + 0.5 + 0.75) / 3)


def test_apgr_of_a_score_that_says_nothing_is_one_half() -> None:
    rng = np.random.default_rng(0)
    weak, strong = rng.random(50), 0.5 + rng.random(50)

    assert metrics.apgr(np.zeros(50), weak, strong) == pytest.approx(0.5)


def test_apgr_of_the_oracle_exceeds_one_where_the_weak_model_is_sometimes_better() -> None:
    weak, strong = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 1.0])

    # PGR rises by 1 a question, passes 1 at the second, and falls back to 1 at the third.
    assert metrics.apgr(strong - weak, weak, strong) == pytest.approx((0.5 + 1.5 + 1.5) / 3)


def test_cpt_interpolates_between_two_shares() -> None:
    assert metrics.cpt(SCORE, WEAK, STRONG, 0.5) == pytest.approx(1 / 3)
    assert metrics.cpt(SCORE, WEAK, STRONG, 0.8) == pytest.approx(2 / 3 + 0.6 / 3)


def test_calls_to_keep_a_share_of_the_strong_quality() -> None:
    assert metrics.calls_to_keep(SCORE, WEAK, STRONG, 0.95) == pytest.approx(2 / 3 + 0.85 / 3)
    assert metrics.calls_to_keep(SCORE, WEAK, STRONG, 0.2) == 0.0
    assert math.isnan(metrics.calls_to_keep(SCORE, WEAK, STRONG, 1.1))


COSTS, QUALITIES = np.array([2.0, 0.0, 1.0, 2.0, 1.5]), np.array([0.9, 0.5, 0.8, 0.7, 0.8])


def test_hull_keeps_the_points_that_no_mix_beats() -> None:
    costs, qualities = metrics.nondecreasing_hull(COSTS, QUALITIES)

    assert costs.tolist() == [0.0, 1.0, 2.0]
    assert qualities.tolist() == [0.5, 0.8, 0.9]


def test_hull_never_falls() -> None:
    costs, qualities = metrics.nondecreasing_hull(np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.9, 0.7]))

    assert costs.tolist() == [0.0, 1.0]
    assert qualities.tolist() == [0.5, 0.9]


@pytest.mark.parametrize("seed", range(20))
def test_hull_is_the_best_mix_of_two_points_at_every_cost(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, qualities = rng.random(12), rng.random(12)
    hull = metrics.nondecreasing_hull(costs, qualities)

    for cost in np.linspace(costs.min(), 1.0, 17):
        best = max(q for c, q in zip(costs, qualities, strict=True) if c <= cost)
        for i in range(12):
            for j in range(12):
                if costs[i] < cost < costs[j]:
                    part = (cost - costs[i]) / (costs[j] - costs[i])
                    best = max(best, (1 - part) * qualities[i] + part * qualities[j])
        assert np.interp(cost, *hull) == pytest.approx(best)


def test_hull_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no point"):
        metrics.nondecreasing_hull(np.array([]), np.array([]))


def test_aiq_is_the_mean_height_of_the_hull() -> None:
    two = np.array([0.0, 1.0]), np.array([0.5, 1.0])

    assert metrics.aiq(*two) == pytest.approx(0.75)
    assert metrics.aiq(*two, c_max=2.0) == pytest.approx((0.75 + 1.0) / 2)


def test_aiq_does_not_depend_on_where_costs_begin() -> None:
    assert metrics.aiq(COSTS + 10.0, QUALITIES) == pytest.approx(metrics.aiq(COSTS, QUALITIES))


def test_aiq_of_one_point() -> None:
    one = np.array([1.0]), np.array([0.8])

    assert metrics.aiq(*one) == pytest.approx(0.8)
    assert metrics.aiq(*one, 0.0, 2.0) == pytest.approx(0.4)  # nothing is to be had below its cost
    assert metrics.aiq(*one, 0.0, 0.5) == 0.0


def test_aiq_ignores_dominated_points() -> None:
    more = np.r_[COSTS, 1.2], np.r_[QUALITIES, 0.1]

    assert metrics.aiq(*more) == pytest.approx(metrics.aiq(COSTS, QUALITIES))


def test_gains_against_the_best_single_model() -> None:
    assert metrics.perf_gain(0.9, 0.8) == pytest.approx(0.125)
    assert metrics.cost_save(30.0, 100.0) == pytest.approx(0.7)
    assert metrics.gap_to_oracle(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(0.5)


def test_quality_over_time_is_cumulative_or_rolling() -> None:
    served, strong = np.array([1.0, 0.0, 1.0]), np.ones(3)

    assert metrics.over_time(served, strong).value == pytest.approx([1, 1 / 2, 2 / 3])
    assert metrics.over_time(served, strong, window=2).value == pytest.approx([1, 1 / 2, 1 / 2])


def test_quality_over_time_has_the_interval_of_a_ratio() -> None:
    band = metrics.over_time(np.array([1.0, 0.0]), np.ones(2))

    # The residuals are 1/2 and -1/2: the error is sqrt(1/4 + 1/4) / 2.
    assert band.low[1] == pytest.approx(0.5 - 1.96 * math.sqrt(0.5) / 2)
    assert band.high[1] == pytest.approx(0.5 + 1.96 * math.sqrt(0.5) / 2)


def test_quality_over_time_pools_runs() -> None:
    assert metrics.over_time(np.array([[1.0, 1.0], [0.0, 1.0]]), np.ones((2, 2))).value == pytest.approx([0.5, 0.75])


def test_quality_over_time_is_nan_before_the_strong_model_scores() -> None:
    value = metrics.over_time(np.array([0.0, 1.0]), np.array([0.0, 1.0])).value

    assert math.isnan(value[0])
    assert value[1] == 1.0


def test_calibration_compares_confidence_with_what_came_true() -> None:
    found = metrics.calibration(np.array([0.25, 0.25, 0.85, np.nan]), np.array([0.0, 1.0, 1.0, 1.0]))

    assert found.confidence == pytest.approx([0.25, 0.85])
    assert found.accuracy == pytest.approx([0.5, 1.0])
    assert found.count.tolist() == [2, 1]
    assert found.ece == pytest.approx((2 * 0.25 + 1 * 0.15) / 3)


def test_calibration_holds_certainty_too() -> None:
    assert metrics.calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0])).ece == 0.0


def test_calibration_of_no_confidence_is_nan() -> None:
    assert math.isnan(metrics.calibration(np.array([np.nan]), np.array([1.0])).ece)


def test_bootstrap_agrees_with_the_normal_interval_of_a_share() -> None:
    values = np.tile([0.0, 1.0], 200)
    found = metrics.bootstrap(metrics.ratio(values, np.ones(400)), 400)

    assert found.value == 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=0.006)


def test_bootstrap_is_repeatable() -> None:
    statistic = metrics.ratio(np.random.default_rng(1).random(30), np.ones(30))

    assert metrics.bootstrap(statistic, 30, seed=3) == metrics.bootstrap(statistic, 30, seed=3)
    assert metrics.bootstrap(statistic, 30, seed=3) != metrics.bootstrap(statistic, 30, seed=4)


def test_paired_bootstrap_of_equals_has_no_width() -> None:
    def difference(weights: np.ndarray) -> np.ndarray:
        return metrics.apgr(SCORE, WEAK, STRONG, weights) - metrics.apgr(2.0 * SCORE, WEAK, STRONG, weights)

    found = metrics.bootstrap(difference, 3, samples=200)

    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
