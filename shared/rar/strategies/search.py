"""Search for a cascade on recorded outcomes (FrugalGPT, arXiv 2305.05176, section 3), and whether it is worth having.

Scores of replies are out of fold. What is found is held against the Zero router (RouterBench, arXiv 2403.12031): single
models, mixed at random to the same cost. That comparison is made on texts that took no part in the choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from rar.errors import ConfigurationError
from rar.estimates import Interval, nondecreasing_hull
from rar.linear import Array
from rar.options import COUNT, POSITIVE, SHARE, Number, named_arguments
from rar.outcomes import Outcomes
from rar.routers.base import Progress
from rar.strategies.candidates import MOST, Candidates, Models, Trials, candidates, quantiles
from rar.strategies.scorer import LearnedScorer, crossed, target_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Choose: TypeAlias = Callable[[Trials, Candidates], int]  # the place of the chosen one
_DEPTH = Number(1, MOST, whole=True)
_SURE = 1.645  # standard errors of a one-sided bound that holds with 95 %
_RESAMPLES = 300


@dataclass(frozen=True, slots=True)
class Point:
    """A cascade that no other beats at its cost. Quality and cost are means of a request."""

    models: tuple[str, ...]
    thresholds: tuple[float, ...]
    cost: float
    quality: float


@dataclass(frozen=True)
class Frontier:
    """The cascades that no other beats at their cost, cheapest first, beside the single models.

    They were picked as the best of many on the same texts: read a point as a little too good.
    """

    points: tuple[Point, ...]
    singles: tuple[Point, ...]
    unit: str

    def plot(self) -> Figure:
        """Quality over cost, with the line that mixes single models.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        from rar.report.figure import canvas  # noqa: PLC0415 - the page's parts are needed by nothing else here

        figure, (axes,) = canvas(7.0, 4.5, 1, 1)
        paid, good = np.array([(point.cost, point.quality) for point in self.singles]).T
        hull = nondecreasing_hull(paid, good)
        axes.plot(*hull, color="0.6", ls="--", label="single models, mixed")
        axes.plot(paid, good, "o", color="0.5", label="single models")
        axes.step([p.cost for p in self.points], [p.quality for p in self.points], where="post", label="cascades")
        axes.set_xlabel(f"cost of a request, {self.unit}")
        axes.set_ylabel("quality")
        axes.legend(frameon=False)
        return figure


@dataclass(frozen=True, eq=False)
class FoundCascade:
    """What a search found. `worthwhile` is False where no cascade is: then `models` is the one to take alone.

    Args:
        models: In the order in which they are asked, by the names that the router has for them.
        thresholds: One for each model but the last.
        quality: Mean score of a request, on texts that took no part in the choice.
        cost: Mean cost, likewise.
        gain: What the quality is above single models that are mixed at random to the same cost.
        unit: Of costs.
        scorer: Fitted to `models`; not fitted where there is but one.
    """

    models: tuple[str, ...]
    thresholds: tuple[float, ...]
    quality: Interval
    cost: Interval
    gain: Interval
    worthwhile: bool
    unit: str
    scorer: LearnedScorer = field(repr=False)
    _frontier: Frontier = field(repr=False)

    def frontier(self) -> Frontier:
        """What other budgets would buy."""
        return self._frontier


@named_arguments
@dataclass(frozen=True)
class CascadeSearch:
    """Tries all lists of one to `depth` models in order of their mean cost, with thresholds at quantiles of scores.

    With a budget it takes the best cascade whose mean cost is surely within it, and then the cheapest that is within
    one standard error of that. With `keep_quality` it takes the cheapest one that surely keeps the share.

    Args:
        quantiles: Thresholds that are tried for each model.
        scorer: How replies are scored: its settings are taken, and it is fitted anew.
        folds: Parts in which the choice is repeated without them, to see what it is worth.
        seed: Of parts and resamples.
    """

    depth: int = 3
    quantiles: int = 16
    scorer: LearnedScorer = field(default_factory=LearnedScorer)
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        _DEPTH("depth", self.depth)
        COUNT("quantiles", self.quantiles)
        Number(2, whole=True)("folds", self.folds)

    def fit(
        self,
        outcomes: Outcomes,
        *,
        budget: float | None = None,
        keep_quality: float | None = None,
        names: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> FoundCascade:
        """Find the cascade that does what is asked; give one of the two.

        Args:
            outcomes: With replies; rows in which a model was not asked are left out.
            budget: Mean cost of a request: USD, or strong calls where costs are not known.
            keep_quality: Share of the last model's mean score.
            names: What the router calls the models, by their names in `outcomes`; None: `"weak"` the first, `"strong"`
                the last, others as they are.

        Raises:
            TrainingDataError: There are no replies, or too few rows.
            ConfigurationError: The budget buys no model.
        """
        data = outcomes.of_models(*outcomes.models)
        _goal(data, budget, keep_quality)  # refused before anything is fitted
        return self.choose(data, self.trials(data, progress), budget=budget, keep_quality=keep_quality, names=names)

    def choose(
        self,
        data: Outcomes,
        trials: Trials,
        *,
        budget: float | None = None,
        keep_quality: float | None = None,
        names: Mapping[str, str] | None = None,
    ) -> FoundCascade:
        """`fit` on trials that were made of `data` before: for several budgets, scorers are fitted once."""
        choose = _goal(data, budget, keep_quality)
        found = candidates(trials, self.depth)
        models, thresholds = found.at(choose(trials, found))
        quality, cost, gain = self._estimates(trials, choose)
        called = dict(zip(data.models, data.roles, strict=True)) | dict(names or {})
        worthwhile = len(models) > 1 and gain.low > 0.0
        if not worthwhile:
            models, thresholds = _single(trials, found, choose)
            quality, cost = (_mean(values[:, models[0]]) for values in (trials.scores, trials.costs))
        named = tuple(called[data.models[model]] for model in models)
        return FoundCascade(
            named, thresholds, quality, cost, gain, worthwhile, "USD" if data.in_usd else "strong calls",
            self._fitted(data, models, named), _frontier(data, found, called),
        )  # fmt: skip

    def trials(self, data: Outcomes, progress: Progress | None = None) -> Trials:
        """The outcomes with the score of each reply in each list, out of fold."""
        target, readings, parts = target_of(data), self._blank.read(data, progress=progress), self._blank.parts(data)
        order = tuple(int(model) for model in np.argsort(data.call_costs.mean(0), kind="stable"))
        accept: dict[Models, Array] = {}
        for at, model in enumerate(order):
            for before in _before(order[:at], self.depth - 1):
                accept[(*before, model)] = crossed(readings.columns(model, before), target[:, model], parts)
        grid = {models: quantiles(score, self.quantiles) for models, score in accept.items()}
        return Trials(data.scores, data.call_costs, order, accept, grid)

    @property
    def _blank(self) -> LearnedScorer:
        """A scorer of these settings that is not fitted."""
        return LearnedScorer(penalty=self.scorer.penalty, extract=self.scorer.extract, folds=self.scorer.folds)

    def _fitted(self, data: Outcomes, models: Models, named: tuple[str, ...]) -> LearnedScorer:
        if len(models) < 2:
            return self._blank
        return self._blank.fit(replace(data.of_models(*(data.models[model] for model in models)), models=named))

    def _estimates(self, trials: Trials, choose: Choose) -> tuple[Interval, Interval, Interval]:
        """Quality, cost and gain of what would have been chosen without each part of the rows, on that part."""
        n, rng = len(trials.scores), np.random.default_rng(self.seed)
        parts = rng.permutation(n) % self.folds
        quality, cost = np.zeros(n), np.zeros(n)
        for part in range(self.folds):
            held, seen = np.flatnonzero(parts == part), trials.take(np.flatnonzero(parts != part))
            found = candidates(seen, self.depth)
            quality[held], cost[held] = trials.take(held).rows_of(*found.at(choose(seen, found)))
        return (
            _mean(quality),
            _mean(cost),
            gain_over_singles(trials.scores, trials.costs, quality, cost, seed=self.seed),
        )


def zero_router(costs: Array, qualities: Array, cost: float) -> float:
    """What single models score that are mixed at random to a mean cost; of less than the cheapest: what that scores."""
    x, y = nondecreasing_hull(costs, qualities)
    return float(np.interp(cost, x, y))


def gain_over_singles(scores: Array, costs: Array, quality: Array, cost: Array, *, seed: int = 0) -> Interval:
    """What quality is above that of the Zero router of the same cost, with a paired bootstrap interval.

    Args:
        scores: Of single models, shape `(n, m)`, and `costs` likewise.
        quality: What is compared, shape `(n,)`, and its `cost`.
    """

    def gain(weight: Array) -> float:
        return float(weight @ quality) - zero_router(weight @ costs, weight @ scores, float(weight @ cost))

    n = len(quality)
    even = np.full(n, 1.0 / n)
    drawn = np.random.default_rng(seed).multinomial(n, even, _RESAMPLES) / n
    low, high = np.quantile([gain(weight) for weight in drawn], [0.025, 0.975])
    return Interval(gain(even), float(low), float(high))


# --- what is asked for ----------------------------------------------------------------------------------------------


def _goal(data: Outcomes, budget: float | None, keep_quality: float | None) -> Choose:
    if (budget is None) == (keep_quality is None):
        raise ConfigurationError("Give either budget or keep_quality.")
    if keep_quality is not None:
        SHARE("keep_quality", keep_quality)
        last = len(data.models) - 1
        return lambda trials, found: cheapest_that_keeps(trials, found, keep_quality, last)
    assert budget is not None
    POSITIVE("budget", budget)
    cheapest = float(data.call_costs.mean(0).min())
    if budget < cheapest:
        raise ConfigurationError(
            f"budget={budget:g} buys no model: the cheapest costs {cheapest:.3g} a request. Give at least that."
        )
    return lambda trials, found: best_within(trials, found, budget)


def best_within(trials: Trials, found: Candidates, budget: float) -> int:
    """The cheapest cascade within one standard error of the best whose cost is surely within the budget."""
    fits = np.flatnonzero(found.cost + _SURE * found.cost_error <= budget)
    if not len(fits):  # none is sure: the cheapest model
        return int(found.cost.argmin())
    best = fits[found.quality[fits].argmax()]
    top, _ = trials.rows_of(*found.at(best))
    near = fits[found.quality[fits] >= found.quality[best] - found.quality_error[best]]
    for place in near[np.argsort(found.cost[near], kind="stable")]:
        difference = top - trials.rows_of(*found.at(place))[0]
        if difference.mean() <= _error(difference):
            return int(place)
    return int(best)


def cheapest_that_keeps(trials: Trials, found: Candidates, share: float, last: int) -> int:
    """The cheapest cascade that surely keeps a share of the last model's mean score; that model if none does."""
    wanted = share * trials.scores[:, last]
    able = np.flatnonzero(found.quality >= wanted.mean())
    for place in able[np.argsort(found.cost[able], kind="stable")]:
        surplus = trials.rows_of(*found.at(place))[0] - wanted
        if surplus.mean() >= _SURE * _error(surplus):
            return int(place)
    return next(at for at in range(len(found)) if found.at(at)[0] == (last,))


def _single(trials: Trials, found: Candidates, choose: Choose) -> tuple[Models, tuple[float, ...]]:
    """The single model that would be chosen."""
    alone = np.flatnonzero([len(found.lists[which]) == 1 for which in found.which])
    fields = {name: getattr(found, name)[alone] for name in _COLUMNS}
    singles = replace(found, **fields)
    return singles.at(choose(trials, singles))


_COLUMNS = ("which", "thresholds", "quality", "quality_error", "cost", "cost_error")


# --- small parts ----------------------------------------------------------------------------------------------------


def _before(cheaper: Models, most: int) -> list[Models]:
    """What may have been asked before a model: none or some of the cheaper ones."""
    return [()] if most < 2 else [(), *((one,) for one in cheaper)]


def _frontier(data: Outcomes, found: Candidates, called: Mapping[str, str]) -> Frontier:
    def point(place: int) -> Point:
        models, thresholds = found.at(place)
        named = tuple(called[data.models[model]] for model in models)
        return Point(named, thresholds, float(found.cost[place]), float(found.quality[place]))

    points: list[Point] = []
    for place in np.lexsort((-found.quality, found.cost)):
        if not points or found.quality[place] > points[-1].quality:
            points.append(point(place))
    singles = tuple(point(place) for place in range(len(data.models)))  # lists of one come first
    return Frontier(tuple(points), singles, "USD" if data.in_usd else "strong calls")


def _error(values: Array) -> float:
    return float(values.std() / math.sqrt(len(values)))


def _mean(values: Array) -> Interval:
    mean, error = float(values.mean()), 1.96 * _error(values)
    return Interval(mean, mean - error, mean + error)
