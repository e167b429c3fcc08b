"""What is expected of models before and after some of them were asked, and which to ask next. Pure.

A state is the set of models that were asked. In each, a small logistic regression says of every model how likely its
reply is good: of those that were asked by their replies, of the others by what these replies tell of the question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rar.linear import Array, logistic, sigmoid

State: TypeAlias = tuple[int, ...]  # models that were asked, ascending
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True, eq=False)
class Signs:
    """What is known of `n` requests and the replies of `m` models.

    Args:
        before: Expected score by the words of the question alone, shape `(n, m)`.
        after: By those of question and reply, shape `(n, m)`; of models that were not asked, anything.
        same: As of `rar.strategies.scorer.Readings`, shape `(n, m, m)`.
    """

    before: Array = field(repr=False)
    after: Array = field(repr=False)
    same: Array = field(repr=False)

    def columns(self, state: State, model: int) -> Array:
        """What is weighed to expect something of a model in a state; a constant first."""
        parts = [np.ones(len(self.before)), 4.0 * (self.before[:, model] - 0.5)]
        parts += [4.0 * (self.after[:, one] - 0.5) for one in (state if model not in state else (model,))]
        parts += [self.same[:, one, other] for one, other in combinations(state, 2)]
        return np.stack(parts, 1)


Weights: TypeAlias = Mapping[State, Sequence[Array]]  # for each state and model
Estimates: TypeAlias = Mapping[State, Array]  # for each state, shape (n, m)


def states(models: int, depth: int) -> Iterator[State]:
    """All sets of up to so many models."""
    for size in range(depth + 1):
        yield from combinations(range(models), size)


def fitted(signs: Signs, target: Array, depth: int) -> Weights:
    """The weights of all states, learned from `target`, shape `(n, m)`."""
    models = range(target.shape[1])
    return {
        state: [logistic(signs.columns(state, model), target[:, model]) for model in models]
        for state in states(len(models), depth)
    }


def estimated(signs: Signs, weights: Weights) -> Estimates:
    """How likely each model's reply is good, in each state."""
    return {
        state: np.stack([sigmoid(signs.columns(state, model) @ own) for model, own in enumerate(of_state)], 1)
        for state, of_state in weights.items()
    }


def spreads(estimates: Estimates) -> Array:
    """How far an estimate moves when its model is asked (a standard deviation), shape `(m,)`."""
    moved: list[list[Array]] = [[] for _ in range(next(iter(estimates.values())).shape[1])]
    for state, chances in estimates.items():
        for model in state:
            before = tuple(one for one in state if one != model)
            moved[model].append(chances[:, model] - estimates[before][:, model])
    return np.array([max(float(np.std(np.concatenate(each))), _LEAST_SPREAD) for each in moved])


@dataclass(frozen=True, eq=False)
class Rule:
    """Which model is asked next: the set is sought whose best reply is worth most, less its price.

    The last model's reply is taken unread, so that it can stream.

    Args:
        costs: Mean cost of a call of each model, shape `(m,)`.
        spread: As `spreads` gives it.
        weight: Of costs: what one unit of them has to bring in quality.
        depth: Models that are asked at most.
        last: Whose reply ends it.
    """

    costs: Array
    spread: Array
    weight: float
    depth: int
    last: int

    def next(self, state: State, chances: Array) -> npt.NDArray[np.intp]:
        """The model to ask on each row, -1 to stop; `chances` are the estimates of the state, shape `(n, m)`."""
        if len(state) == self.depth or self.last in state:
            return np.full(len(chances), -1, np.intp)
        others = [model for model in range(len(self.costs)) if model not in state]
        sets = [
            more
            for size in range(0 if state else 1, self.depth - len(state) + 1)
            for more in combinations(others, size)
        ]
        worth = np.stack([self._worth(state, more, chances) for more in sets], 1)
        first = np.array([min(more, key=lambda model: self.costs[model]) if more else -1 for more in sets], np.intp)
        return np.asarray(first[worth.argmax(1)], np.intp)

    def _worth(self, state: State, more: State, chances: Array) -> Array:
        mean = chances[:, state].max(1) if state else None
        square = np.zeros(len(chances))
        for model in more:
            if mean is None:
                mean, square = chances[:, model], np.full(len(chances), self.spread[model] ** 2)
            else:
                mean, square = _largest(mean, square, chances[:, model], self.spread[model] ** 2)
        assert mean is not None
        return np.asarray(mean - self.weight * self.costs[list(more)].sum(), np.float64)

    def walk(self, estimates: Estimates) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Who answers each row, shape `(n,)`, and who is asked, shape `(n, m)`."""
        n = len(estimates[()])
        answers, asked = np.full(n, -1), np.zeros((n, len(self.costs)), bool)
        waiting: dict[State, npt.NDArray[np.intp]] = {(): np.arange(n)}
        while waiting:
            state, rows = waiting.popitem()
            chances = estimates[state][rows]
            chosen = self.next(state, chances)
            ended = chosen < 0
            answers[rows[ended]] = self.best(state, chances[ended])
            for model in np.unique(chosen[~ended]).tolist():
                some = rows[chosen == model]
                asked[some, model] = True
                then = tuple(sorted((*state, model)))
                waiting[then] = np.concatenate([waiting.get(then, np.zeros(0, np.intp)), some])
        return answers, asked

    def best(self, state: State, chances: Array) -> npt.NDArray[np.intp]:
        """Whose reply is given in the end: the last model's if it was asked, else the likeliest to be good."""
        if self.last in state:
            return np.full(len(chances), self.last)
        return np.array(state, np.intp)[chances[:, state].argmax(1)] if len(chances) else np.zeros(0, np.intp)


def _largest(mean: Array, square: Array, other: Array, other_square: float) -> tuple[Array, Array]:
    """Mean and variance of the larger of two normal variables (Clark 1961, Operations Research 9)."""
    spread = np.sqrt(np.maximum(square + other_square, _LEAST_SPREAD**2))
    apart = (mean - other) / spread
    density, below = np.exp(-0.5 * apart**2) / np.sqrt(2.0 * np.pi), _normal(apart)
    first = mean * below + other * (1.0 - below) + spread * density
    second = (mean**2 + square) * below + (other**2 + other_square) * (1.0 - below) + (mean + other) * spread * density
    return first, np.maximum(second - first**2, 0.0)


def _normal(x: Array) -> Array:
    """The standard normal distribution, to within 2e-4 (a logistic curve with a cubic term: Page 1977)."""
    return sigmoid(1.5976 * x + 0.07056 * x**3)


def weight_for(
    rule: Callable[[float], Rule], estimates: Estimates, costs: Array, budget: float, *, steps: int = 40
) -> float:
    """The least weight of costs with which the mean cost is within the budget, by bisection.

    Args:
        rule: Makes a `Rule` of a weight.
        costs: Of each call, shape `(n, m)`.
    """

    def spent(weight: float) -> float:
        return float((rule(weight).walk(estimates)[1] * costs).sum(1).mean())

    if spent(0.0) <= budget:
        return 0.0
    low, high = 0.0, 1.0 / max(float(costs.mean()), 1e-12)
    while spent(high) > budget and high < 1e12:
        low, high = high, high * 4.0
    for _ in range(steps):
        middle = (low + high) / 2.0
        low, high = (middle, high) if spent(middle) > budget else (low, middle)
    return high
