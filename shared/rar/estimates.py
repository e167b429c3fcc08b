"""Estimates with their uncertainty, as pure functions of arrays: intervals, calibration, and the hull of points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rar.errors import ConfigurationError
from rar.linear import Array

_CELLS = 4_000_000  # weights that are held in memory at a time


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds between which 95 of 100 resamples lie."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def bootstrap(
    statistic: Callable[[Array], Array], n: int, *, samples: int = 1_000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Percentile bootstrap over questions (Efron & Tibshirani 1993, chapter 13); equal seeds draw equal resamples.

    For a paired comparison let `statistic` return the difference of two routers on the same weights.

    Args:
        statistic: From weights of shape `(..., n)` to values of shape `(...)`.
        n: Questions.
        samples: Resamples.
        seed: Of the draws.
        level: Share of the resamples between the bounds.
    """
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS // n)
    drawn = [statistic(_resampled(rng, min(chunk, samples - start), n)) for start in range(0, samples, chunk)]
    low, high = np.nanquantile(np.concatenate(drawn), [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(statistic(np.ones(n))), float(low), float(high))


def _resampled(rng: np.random.Generator, samples: int, n: int) -> Array:
    """How often each of `n` questions is drawn in each of `samples` draws of `n`."""
    drawn = rng.integers(0, n, (samples, n)) + n * np.arange(samples)[:, None]
    return np.bincount(drawn.ravel(), minlength=samples * n).reshape(samples, n).astype(np.float64)


def ratio(values: Array, reference: Array) -> Callable[[Array], Array]:
    """The statistic sum of `values` over sum of `reference`, for `bootstrap`."""

    def statistic(weights: Array) -> Array:
        return (weights @ values) / (weights @ reference)

    return statistic


@dataclass(frozen=True)
class Calibration:
    """Bins of equal width over [0, 1] that hold something: mean confidence, share that came true, and how many."""

    confidence: Array
    accuracy: Array
    count: npt.NDArray[np.int64]

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy (Guo et al. 2017, 1706.04599)."""
        if not len(self.count):
            return float("nan")
        return float(np.average(np.abs(self.confidence - self.accuracy), weights=self.count))


def calibration(confidence: Array, outcome: Array, bins: int = 10) -> Calibration:
    """Whether what was held to be likely came true as often. Entries whose confidence is NaN are left out."""
    known = ~np.isnan(confidence)
    chance, came = np.asarray(confidence)[known], np.asarray(outcome, np.float64)[known]
    index = np.clip((chance * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    held = count > 0
    return Calibration(
        np.bincount(index, chance, bins)[held] / count[held],
        np.bincount(index, came, bins)[held] / count[held],
        count[held],
    )


def nondecreasing_hull(costs: Array, qualities: Array) -> tuple[Array, Array]:
    """The corners of the non-decreasing upper convex hull, cheapest first (RouterBench, arXiv 2403.12031, section 3).

    What lies on it can be had by mixing two corners at random; a point beside or under it is worth nothing.
    """
    corners: list[tuple[float, float]] = []
    for cost, quality in sorted(
        zip(map(float, costs), map(float, qualities), strict=True), key=lambda p: (p[0], -p[1])
    ):
        if corners and quality <= corners[-1][1]:
            continue
        # Drop corners that the line from their predecessor to this point passes over (Andrew's monotone chain).
        while len(corners) > 1 and _turns_up(corners[-2], corners[-1], (cost, quality)):
            corners.pop()
        corners.append((cost, quality))
    if not corners:
        raise ConfigurationError("There is no point, so that there is no hull.")
    hull = np.array(corners)
    return hull[:, 0], hull[:, 1]


def _turns_up(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) >= (b[1] - a[1]) * (c[0] - a[0])
