"""What a router is worth, as pure functions of arrays.

Everywhere `weak` and `strong` are the two models' scores, shape `(n,)`, and a router's `score`, shape `(n,)`, is high
where it would rather send a question to the strong model. Questions of equal score are sent in random order: between
two steps of the score, quality is linear in the share of strong calls, in expectation. Functions that take `weights`,
shape `(..., n)`, count each question so often and return shape `(...)`: this is how `bootstrap` resamples many times at
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from rar.errors import ConfigurationError
from rar.estimates import Calibration as Calibration  # noqa: PLC0414
from rar.estimates import Interval as Interval  # noqa: PLC0414 - the engine needs these, too
from rar.estimates import bootstrap as bootstrap  # noqa: PLC0414
from rar.estimates import calibration as calibration  # noqa: PLC0414
from rar.estimates import nondecreasing_hull as nondecreasing_hull  # noqa: PLC0414
from rar.estimates import ratio as ratio  # noqa: PLC0414
from rar.linear import Array

# --- cost and quality of a score ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """Mean quality over the share of strong calls, from 0 to 1. Both have shape `(..., m)`; linear in between."""

    share: Array
    quality: Array


def curve(score: Array, weak: Array, strong: Array, weights: Array | None = None) -> Curve:
    """The cost-quality curve of a score: its threshold lowered from "none to the strong model" to "all"."""
    weights = np.ones(len(score)) if weights is None else weights
    order = np.argsort(-np.asarray(score, np.float64), kind="stable")
    ranked = np.asarray(score, np.float64)[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])  # of questions of equal score
    total = weights.sum(-1, keepdims=True)
    share = np.add.reduceat(weights[..., order], starts, -1).cumsum(-1) / total
    gain = np.add.reduceat((weights * (strong - weak))[..., order], starts, -1).cumsum(-1) / total
    base = (weights * weak).sum(-1, keepdims=True) / total
    return Curve(np.concatenate([np.zeros_like(base), share], -1), np.concatenate([base, base + gain], -1))


def pgr(quality: Array | float, weak: Array | float, strong: Array | float) -> Array:
    """Performance gap recovered: 0 at the weak model's mean quality, 1 at the strong one's (RouteLLM, 2406.18665).

    NaN where the two are equal: there is no gap to recover.
    """
    gap = np.asarray(strong, np.float64) - weak
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gap == 0.0, np.nan, (np.asarray(quality, np.float64) - weak) / gap)


def apgr(score: Array, weak: Array, strong: Array, weights: Array | None = None) -> Array:
    """Average PGR: the area under PGR over the share of strong calls (RouteLLM, arXiv 2406.18665, eq. 4).

    The paper averages over ten shares; this is the exact area. A random score has 0.5 in expectation; scores that know
    where the weak model is better can exceed 1.
    """
    found = curve(score, weak, strong, weights)
    recovered = pgr(found.quality, found.quality[..., :1], found.quality[..., -1:])
    return _area(found.share, recovered)


def _area(x: Array, y: Array) -> Array:
    """Trapezoids; NumPy renamed its own in version 2."""
    area: Array = (np.diff(x) * (y[..., 1:] + y[..., :-1]) / 2.0).sum(-1)
    return area


def calls_for(found: Curve, quality: float) -> float:
    """The smallest share of strong calls whose mean quality is at least `quality`; NaN if none's is."""
    reached = np.flatnonzero(found.quality >= quality - 1e-12)
    if not len(reached):
        return float("nan")
    at = int(reached[0])
    if at == 0:
        return 0.0
    below, above = found.quality[at - 1], found.quality[at]
    step = (quality - below) / (above - below)
    return float(found.share[at - 1] + step * (found.share[at] - found.share[at - 1]))


def cpt(score: Array, weak: Array, strong: Array, x: float) -> float:
    """CPT(x): the smallest share of strong calls that recovers `x` of the gap (RouteLLM, 2406.18665); NaN if none."""
    return calls_for(curve(score, weak, strong), weak.mean() + x * (strong.mean() - weak.mean()))


def calls_to_keep(score: Array, weak: Array, strong: Array, share: float) -> float:
    """The smallest share of strong calls that keeps `share` of the strong model's mean quality; NaN if none does.

    "95 % of GPT-4's quality with 14 % of its calls" (RouteLLM, arXiv 2406.18665).
    """
    return calls_for(curve(score, weak, strong), share * float(strong.mean()))


# --- points in the plane of cost and quality ------------------------------------------------------------------------


def aiq(costs: Array, qualities: Array, c_min: float | None = None, c_max: float | None = None) -> float:
    """Average improvement in quality: the hull's mean height between two costs (RouterBench, arXiv 2403.12031).

    Right of its dearest corner the hull goes on level; left of its cheapest there is nothing to be had, which counts 0.

    Args:
        costs: Of the points, shape `(m,)`.
        qualities: Of the points, shape `(m,)`.
        c_min: By default the smallest of `costs`. Give that of all routers that are compared.
        c_max: By default the largest.
    """
    x, y = nondecreasing_hull(costs, qualities)
    low = float(np.min(costs)) if c_min is None else c_min
    high = float(np.max(costs)) if c_max is None else c_max
    if low > high:
        raise ConfigurationError(f"c_min={low} is above c_max={high}.")
    if low == high:
        return float(np.interp(low, x, y, left=0.0))
    start = max(low, float(x[0]))
    if start >= high:
        return 0.0
    at = np.unique(np.r_[start, x[(x > start) & (x < high)], high])
    return float(_area(at, np.interp(at, x, y)) / (high - low))


def perf_gain(quality: float, best: float) -> float:
    """How much better than the best single model, as a share of it (PerfGain of LLMRouterBench)."""
    return quality / best - 1.0


def cost_save(cost: float, best_cost: float) -> float:
    """Which share of the best single model's cost is saved (CostSave of LLMRouterBench); read it at equal quality."""
    return 1.0 - cost / best_cost


def oracle(weak: Array, strong: Array) -> Array:
    """The scores of the router that knows both answers' scores beforehand (RouterBench, arXiv 2403.12031)."""
    return np.maximum(weak, strong)


def gap_to_oracle(scores: Array, weak: Array, strong: Array) -> float:
    """Which share of the oracle's quality is missing (LLMRouterBench)."""
    return 1.0 - float(scores.sum() / oracle(weak, strong).sum())


# --- along a stream -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Band:
    """A value along a stream with its interval; each has shape `(n,)`."""

    value: Array
    low: Array
    high: Array


def window_of(n: int) -> int:
    """How many questions of a stream of `n` make a window: an eighth, but 100 to 1,000, where there are as many."""
    return min(n, max(100, min(1_000, n // 8)))


def worst_window(values: Array, reference: Array, window: int, *, level: float = 0.95) -> tuple[int, int, Interval]:
    """The run, the end (questions up to it) and the ratio of the window whose interval ends lowest.

    The intervals hold for all windows together with chance `level`, at least about: Bonferroni over twice as many as
    fit side by side, for those that overlap are much alike.

    Args:
        values: Shape `(k, n)`, of `k` runs that are looked at each for itself.
        reference: As `values`; positive sums.
        window: At least 1.
    """
    runs, n = values.shape
    together = max(1.0, 2.0 * runs * n / window)
    z = NormalDist().inv_cdf(1.0 - (1.0 - level) / (2.0 * together))
    bands = [over_time(v, r, window, z=z) for v, r in zip(values, reference, strict=True)]
    high = np.array([band.high[window - 1 :] for band in bands])
    run, at = np.unravel_index(int(np.nanargmin(np.where(np.isnan(high), np.inf, high))), high.shape)
    end, band = int(at) + window, bands[int(run)]
    return int(run), end, Interval(float(band.value[end - 1]), float(band.low[end - 1]), float(band.high[end - 1]))


def over_time(values: Array, reference: Array, window: int | None = None, *, z: float = 1.96) -> Band:
    """Sum of `values` over sum of `reference` in the `window` questions that end at each, or in all up to it.

    With scores this is realised quality over time, with costs net cost over time against always-strong (prequential
    evaluation, Dawid 1984); the interval is that of a ratio estimate (Cochran 1977, chapter 6). Before a window is full
    it is what there is of it; NaN while the reference sums to 0.

    Args:
        values: Shape `(n,)`, or `(k, n)` for `k` runs that are pooled.
        reference: As `values`.
        window: At least 1; None: all up to each question.
        z: Standard errors to each side; 1.96 make a 95 % interval.
    """
    v, r = np.atleast_2d(np.asarray(values, np.float64)), np.atleast_2d(np.asarray(reference, np.float64))
    products = np.stack([v, r, v * v, v * r, r * r]).sum(1)
    sums = np.concatenate([np.zeros((5, 1)), products.cumsum(1)], 1)
    ends = np.arange(1, v.shape[1] + 1)
    starts = np.zeros_like(ends) if window is None else np.maximum(ends - window, 0)
    sv, sr, svv, svr, srr = sums[:, ends] - sums[:, starts]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(sr > 0.0, sv / sr, np.nan)
        error = np.sqrt(np.maximum(svv - 2.0 * value * svr + value * value * srr, 0.0)) / sr
    return Band(value, value - z * error, value + z * error)
