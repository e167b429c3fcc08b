"""All cascades of a few models, and what each of them would have scored and cost on recorded outcomes. Pure.

A cascade is a list of models in order of their cost, and a threshold for each but the last. Lists are tried with all
pairs of thresholds at once: what a list of three gains is a product of two matrices of who is rejected where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rar.linear import Array

Models: TypeAlias = tuple[int, ...]  # columns of outcomes
Rows: TypeAlias = npt.NDArray[np.intp]
MOST = 3  # models of a list


@dataclass(frozen=True, eq=False)
class Trials:
    """Recorded outcomes as cascades see them.

    Args:
        scores: Shape `(n, m)`.
        costs: Of each call, shape `(n, m)`.
        order: The models, cheapest first.
        accept: The score of the last of some models' replies when they were asked in turn, by these models; each of
            shape `(n,)`. There is one for each beginning of a list.
        grid: The thresholds that are tried on it, by the same.
    """

    scores: Array = field(repr=False)
    costs: Array = field(repr=False)
    order: Models
    accept: Mapping[Models, Array] = field(repr=False)
    grid: Mapping[Models, Array] = field(repr=False)

    def lists(self, depth: int) -> list[Models]:
        """All lists of up to so many models."""
        return [found for size in range(1, depth + 1) for found in combinations(self.order, size)]

    def take(self, rows: Rows) -> Trials:
        """Some of the rows, with the thresholds of all."""
        accept = {models: score[rows] for models, score in self.accept.items()}
        return Trials(self.scores[rows], self.costs[rows], self.order, accept, self.grid)

    def rows_of(self, models: Models, thresholds: Sequence[float]) -> tuple[Array, Array]:
        """What a cascade scores and costs on each row."""
        quality, cost = self.scores[:, models[-1]], self.costs[:, models[-1]]
        for at in range(len(models) - 2, -1, -1):
            accepted = self.accept[models[: at + 1]] >= thresholds[at]
            quality = np.where(accepted, self.scores[:, models[at]], quality)
            cost = self.costs[:, models[at]] + np.where(accepted, 0.0, cost)
        return quality, cost


@dataclass(frozen=True, eq=False)
class Candidates:
    """Cascades and their means. Each has shape `(k,)`, but for `thresholds`, `(k, 2)`, NaN where there is none.

    Args:
        which: Place in `lists`.
        quality_error: Standard error of `quality`.
        cost_error: Of `cost`.
    """

    lists: Sequence[Models]
    which: npt.NDArray[np.intp] = field(repr=False)
    thresholds: Array = field(repr=False)
    quality: Array = field(repr=False)
    quality_error: Array = field(repr=False)
    cost: Array = field(repr=False)
    cost_error: Array = field(repr=False)

    def __len__(self) -> int:
        return len(self.which)

    def at(self, place: int) -> tuple[Models, tuple[float, ...]]:
        """The models and the thresholds of one."""
        models = self.lists[self.which[place]]
        return models, tuple(float(cut) for cut in self.thresholds[place, : len(models) - 1])


def candidates(trials: Trials, depth: int) -> Candidates:
    """All cascades of up to `depth` models."""
    lists = trials.lists(depth)
    found = [_moments(trials, models) for models in lists]
    which = np.repeat(np.arange(len(lists)), [len(cuts) for cuts, _ in found])
    cuts, (quality, squared, cost, cost_squared) = (
        np.concatenate([cuts for cuts, _ in found]),
        np.concatenate([moments for _, moments in found], 1),
    )
    n = len(trials.scores)

    def error(mean: Array, square: Array) -> Array:
        return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0.0) / n), np.float64)

    return Candidates(lists, which, cuts, quality, error(quality, squared), cost, error(cost, cost_squared))


def _moments(trials: Trials, models: Models) -> tuple[Array, Array]:
    """The thresholds of a list, `(k, 2)`, and the means of score, its square, cost, and its square, `(4, k)`."""
    s, c = trials.scores.T, trials.costs.T
    if len(models) == 1:
        (one,) = models
        return np.full((1, 2), np.nan), np.array([[x.mean()] for x in (s[one], s[one] ** 2, c[one], c[one] ** 2)])
    first, second = models[:2]
    n, cuts = len(trials.scores), trials.grid[models[:1]]
    passes = (trials.accept[models[:1]][:, None] >= cuts).astype(np.float64)
    fails = 1.0 - passes
    paid = c[first] + c[second]
    if len(models) == 2:
        pairs = ((s[first], s[second]), (s[first] ** 2, s[second] ** 2), (c[first], paid), (c[first] ** 2, paid**2))
        means = [(one @ passes + other @ fails) / n for one, other in pairs]
        return np.stack([cuts, np.full(len(cuts), np.nan)], 1), np.array(means)
    third, later = models[2], trials.grid[models[:2]]
    passes_later = (trials.accept[models[:2]][:, None] >= later).astype(np.float64)
    whole = paid + c[third]
    triples = (
        (s[first], s[second], s[third]), (s[first] ** 2, s[second] ** 2, s[third] ** 2),
        (c[first], paid, whole), (c[first] ** 2, paid**2, whole**2),
    )  # fmt: skip
    means = [
        ((one @ passes)[:, None] + fails.T @ (last[:, None] + passes_later * (other - last)[:, None])) / n
        for one, other, last in triples
    ]
    both = np.stack(np.meshgrid(cuts, later, indexing="ij"), -1).reshape(-1, 2)
    return both, np.array([mean.ravel() for mean in means])


def quantiles(score: Array, count: int) -> Array:
    """Different thresholds that reject about equal shares more, one after the other; none that rejects or keeps all."""
    cuts = np.unique(np.quantile(score, np.arange(1, count + 1) / (count + 1), method="higher"))
    return np.asarray(cuts[cuts > score.min()], np.float64)
