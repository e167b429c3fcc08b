"""Which levels to ask, and below which confidence to ask the next one: the cheapest plan of all that is good enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rar.linear import Array, sigmoid


@dataclass(frozen=True)
class LevelPlan:
    """The levels that are asked, one after the other, and what that came to on the texts that it was chosen on.

    Args:
        levels: Places among all levels.
        thresholds: The confidence below which the next level is asked; one less than there are levels.
        accuracy: Share of right labels.
        cost: Mean cost of a text.
        rerouted: Share of texts that go beyond the first level.
    """

    levels: tuple[int, ...]
    thresholds: tuple[float, ...]
    accuracy: float
    cost: float
    rerouted: float


def reroute_chance(confidence: Array, threshold: float, spread: float) -> Array:
    """The chance that a text of this confidence goes to the next level: a step at the threshold, or a sigmoid."""
    if not spread:
        return np.asarray(confidence < threshold, np.float64)
    return sigmoid((threshold - confidence) / spread)


def plans(
    confidence: Array, right: Array, costs: Sequence[float], *, spread: float = 0.0, steps: int = 20
) -> Iterator[LevelPlan]:
    """All sets of levels with all thresholds among the quantiles of each level's confidence.

    Args:
        confidence: Shape `(n, levels)`.
        right: Whether each level is right, in the same shape.
    """
    shares = np.linspace(0.0, 1.0, steps + 1)[1:]
    grids = [np.unique(np.quantile(column, shares)) for column in confidence.T]
    moves = [
        [(c, reroute_chance(column, c, spread)) for c in grid] for column, grid in zip(confidence.T, grids, strict=True)
    ]

    def beyond(
        left: tuple[int, ...], reach: Array, hits: float, cost: float, thresholds: tuple[float, ...]
    ) -> Iterator[tuple[tuple[float, ...], float, float]]:
        level, *rest = left
        cost += costs[level] * float(reach.mean())
        if not rest:
            yield thresholds, hits + float((reach * right[:, level]).mean()), cost
            return
        for threshold, away in moves[level]:
            kept = float((reach * (1.0 - away) * right[:, level]).mean())
            yield from beyond(tuple(rest), reach * away, hits + kept, cost, (*thresholds, float(threshold)))

    for size in range(1, confidence.shape[1] + 1):
        for levels in combinations(range(confidence.shape[1]), size):
            for thresholds, hits, cost in beyond(levels, np.ones(len(confidence)), 0.0, 0.0, ()):
                away = 0.0
                if thresholds:
                    away = float(reroute_chance(confidence[:, levels[0]], thresholds[0], spread).mean())
                yield LevelPlan(levels, thresholds, hits, cost, away)


def best_plan(found: Iterator[LevelPlan], target: float) -> LevelPlan:
    """The cheapest that reaches `target`, of equals the more accurate; where none does, the most accurate."""

    def order(plan: LevelPlan) -> tuple[float, ...]:
        accuracy, cost = round(plan.accuracy, 9), round(plan.cost, 9)  # sums of the same parts differ by their order
        good = accuracy >= round(target, 9)
        return (0.0, cost, -accuracy, len(plan.levels)) if good else (1.0, -accuracy, cost, len(plan.levels))

    return min(found, key=order)
