"""How far each part of a fit may be believed: it is fitted again without some of its rows, and asked about those.

What looks best to a fit looks better to it than it is, since its own rows' luck is in its weights. Rows that it was not
fitted to show by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rar.linear import Array, Design, ridge

FOLDS = 5
LEAST = 15  # rows below which none are left out: what is expected is near the mean then
ENOUGH = 4_000  # rows left out that tell a slope well; more would make large fits slow
TAKEN = 300.0  # rows that speak for believing each part as it is, beside those that were left out
# The same where a part may have been found by luck: fewer rows speak for it, and it is believed at the lower end of
# what rows left out allow, in standard errors.
TAKEN_WARILY, WARY = 60.0, 1.2
_SWEEPS = 50
_TOLERANCE = 0.01  # of a solution: a slope needs no more

BINS = 8
_BIN = 100  # rows of a bin at least: the mean of fewer scatters too much
_LINE = 40.0  # rows that speak for leaving a bin's mean as it is

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Curve:
    """A line through a few points that never falls: from what a fit expects to what came of it where it was left out.

    Beyond the outermost points, what was added to those is added.
    """

    expected: Array  # rising
    added: Array

    def __call__(self, gap: float) -> float:
        return gap + float(np.interp(gap, self.expected, self.added))

    @classmethod
    def of(cls, expected: Array, came: Array, weights: Array) -> Curve:
        """Through the means of up to eight bins of rows, drawn to the straight line while they hold few."""
        order = np.argsort(expected, kind="stable")
        bins = np.array_split(order, min(max(len(order) // _BIN, 1), BINS))
        count = np.array([weights[one].sum() ** 2 / (weights[one] @ weights[one]) for one in bins])
        x = np.array([np.average(expected[one], weights=weights[one]) for one in bins])
        y = np.array([np.average(came[one], weights=weights[one]) for one in bins])
        y = x + (y - x) * count / (count + _LINE)
        return cls(x, _rising(y, count) - x)


@dataclass(frozen=True)
class Calibration:
    """What a fit's weights are multiplied by, what curve its sums follow, and what is missing at the mean.

    Args:
        factors: Shape `(columns,)`.
        hoped: The same without being wary.
    """

    factors: Array = field(repr=False)
    curve: Curve
    level: float
    hoped: Array = field(repr=False)


def calibration(
    design: Design,
    target: Array,
    weights: Array,
    pulls: Array,
    penalty: float,
    starts: Sequence[int],
    solved: Array,
    *,
    wary: bool = False,
) -> Calibration:
    """The calibration of `solved`, which fits all rows, by fits that leave some out.

    Args:
        pulls: The weights in those fits.
        starts: As of `Design.parts`.
        wary: As for `belief`.
    """
    if len(target) < LEAST:
        level = float(np.average(target - design.times(solved), weights=weights))
        ones = np.ones(design.columns)
        return Calibration(ones, Curve(np.zeros(1), np.zeros(1)), level, ones)
    rows, parts = left_out(design, target, pulls, penalty, starts)
    target, weights = target[rows], weights[rows]
    hoped = belief(parts, target, pulls[rows])
    factors = belief(parts, target, pulls[rows], wary=True) if wary else hoped
    expected = parts @ factors
    level = float(np.average(target - expected, weights=weights))
    sizes = np.diff([0, *(len(design.idf) + at for at in starts), design.columns])
    curve = Curve.of(expected, target - level, weights)
    return Calibration(np.repeat(factors, sizes), curve, level, np.repeat(hoped, sizes))


def left_out(
    design: Design, target: Array, weights: Array, penalty: float, starts: Sequence[int]
) -> tuple[Rows, Array]:
    """Rows that were left out of a fit to the others, and the parts of what that expected of them, shape `(m, parts)`.

    Args:
        starts: As of `Design.parts`.
    """
    n = len(target)
    fold_of = np.random.default_rng(0).permutation(n) % FOLDS
    folds = min(FOLDS, -(-ENOUGH * FOLDS // n))
    rows, found = [], []
    for fold in range(folds):
        out = np.flatnonzero(fold_of == fold)
        solved = ridge(design, target, np.where(fold_of == fold, 0.0, weights), penalty, tolerance=_TOLERANCE)
        rows.append(out)
        found.append(design.parts(solved, starts)[out])
    return np.concatenate(rows), np.concatenate(found)


def belief(parts: Array, target: Array, weights: Array, *, wary: bool = False) -> Array:
    """The factor of each part, at least 0, with which their sum comes nearest to `target`; 1 while rows are few.

    Args:
        wary: Take the lower end of what each factor may be, so that nothing is hoped for that luck may have brought.
    """
    weighted = parts * weights[:, None]
    matrix, right = parts.T @ weighted, weighted.T @ target
    total = max(float(weights.sum()), 1.0)
    taken = np.diag(matrix) * (TAKEN_WARILY if wary else TAKEN) / total + 1e-12
    matrix, right = matrix + np.diag(taken), right + taken
    factors = np.ones(len(right))
    for _ in range(_SWEEPS):  # coordinate descent: the problem is convex
        for k in range(len(factors)):
            factors[k] = max(0.0, factors[k] + (right[k] - matrix[k] @ factors) / matrix[k, k])
    if not wary:
        return factors
    left = float(np.average((target - parts @ factors) ** 2, weights=weights))
    errors = np.sqrt(left * float(weights @ weights) / total / np.diag(matrix))
    return np.maximum(factors - WARY * errors, 0.0)


def _rising(values: Array, weights: Array) -> Array:
    """The nearest values that never fall (pool adjacent violators: Barlow et al. 1972)."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (a, m, i), (b, n, j) = pools[-2:]
            pools[-2:] = [((a * m + b * n) / (m + n), m + n, i + j)]
    return np.concatenate([np.full(count, value) for value, _, count in pools])
