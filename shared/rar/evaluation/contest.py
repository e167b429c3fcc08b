"""A strategy beside the single models, RAR, the Zero router and the oracle, on recorded outcomes.

Half of the questions are learned from, the other half is asked. All drafts are charged at their recorded cost, and so
is what RAR pays to learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from rar.errors import ConfigurationError, UnknownNameError
from rar.estimates import Interval
from rar.evaluation.embeddings import Progress, embedded
from rar.evaluation.replay import served_by, shuffle, stream
from rar.linear import Array
from rar.options import SHARE
from rar.outcomes import Outcomes
from rar.routers import RewardDistilledRouter, TfidfRouter
from rar.strategies import (
    AgreementCascade,
    BestOf,
    Blended,
    Cascade,
    CascadeRouting,
    LabelledTexts,
    MultiLevel,
    SelfConsistency,
    Threshold,
)
from rar.strategies.search import gain_over_singles, zero_router
from rar.strategy import Strategy
from rar.values import STRONG, WEAK


@dataclass(frozen=True)
class Goal:
    """What a strategy is made for.

    Args:
        budget: Mean cost of a request.
        keep: Share of the strong model's quality.
        embedder: Of routers that look at embeddings.
    """

    budget: float | None
    keep: float
    embedder: Any

    @property
    def asked(self) -> dict[str, Any]:
        """As `Cascade.fit` takes it."""
        return {"keep_quality": self.keep} if self.budget is None else {"budget": self.budget}


Make: TypeAlias = Callable[[Outcomes, Goal], Strategy]  # from what is learned from


def _agreement(seen: Outcomes, _: Goal) -> Strategy:
    if len(seen.models) < 3:
        raise ConfigurationError("agreement takes two cheap models and a dear one. Name a third one with --model.")
    return AgreementCascade(seen.roles[:2])


def _best_of(seen: Outcomes, goal: Goal) -> Strategy:
    return BestOf(seen.roles, RewardDistilledRouter(embedder=goal.embedder).fit(replace(seen, models=seen.roles)))


def _cascade_routing(seen: Outcomes, goal: Goal) -> Strategy:
    if goal.budget is None:
        raise ConfigurationError("cascade-routing spends a budget. Give --budget, in USD a request or as a share: 40%.")
    return CascadeRouting.fit(seen, budget=goal.budget)


def _multi_level(seen: Outcomes, goal: Goal) -> Strategy:
    """Of the recorded models alone: what a local classifier would say was not recorded."""
    texts = seen.replies.texts if seen.replies is not None else None
    if texts is None:
        raise ConfigurationError("multi-level reads answers, and none were recorded.")
    said = texts if texts.ndim == 2 else texts[:, :, 0]
    right = seen.scores >= 1.0
    rows = np.flatnonzero(right.any(1))  # of the others nobody knows the label
    labels = [str(said[row, right[row].argmax()]).strip() for row in rows]
    if len(set(labels)) > len(labels) / 5:
        raise ConfigurationError(f"multi-level chooses among a few labels, and there are {len(set(labels))} answers.")
    logprobs = None if seen.replies is None else seen.replies.logprobs
    sure = {}
    for at, role in enumerate(seen.roles):
        known = None if logprobs is None else (logprobs if logprobs.ndim == 2 else logprobs[:, :, 0])[rows, at]
        if known is not None and np.isfinite(known).all():
            sure[role] = known.tolist()
    answers = {role: [str(text) for text in said[rows, at]] for at, role in enumerate(seen.roles)}
    val = LabelledTexts([seen.texts[row] for row in rows], labels, answers, sure)
    accuracy = float(right[rows, -1].mean())
    return MultiLevel(seen.roles, goal.keep * accuracy, costs=seen.call_costs.mean(0).tolist()).fit(val)


def _self_consistency(seen: Outcomes, _: Goal) -> Strategy:
    if seen.replies is None or seen.replies.texts is None or seen.replies.texts.ndim < 3:
        raise ConfigurationError("self-consistency takes several recorded samples of each answer, and there is one.")
    return SelfConsistency(WEAK, samples=seen.replies.texts.shape[2], escalate_below=0.5)


def _threshold(seen: Outcomes, goal: Goal) -> Strategy:
    order = shuffle(seen, 0)
    pair = seen.pair(seen.weak_id, seen.strong_id)
    learned, rest = pair.take(order[: len(order) // 2]), pair.take(order[len(order) // 2 :])
    router = TfidfRouter().fit(learned)
    router.calibrate(rest, max_drop=1.0 - goal.keep)
    return Threshold(router)


MAKERS: Mapping[str, Make] = {
    "agreement": _agreement,
    "best-of": _best_of,
    "blended": lambda seen, _: Blended(seen.roles),
    "cascade": lambda seen, goal: Cascade.fit(seen, **goal.asked),
    "cascade-routing": _cascade_routing,
    "multi-level": _multi_level,
    "self-consistency": _self_consistency,
    "threshold": _threshold,
}
"""Strategies by name, each made of the half that is learned from. Chain of thought is none: it sends other prompts."""


@dataclass(frozen=True)
class Contender:
    """One way to answer the questions that were asked.

    Args:
        quality: Mean score.
        cost: Mean cost of a request, all calls counted.
        strong_calls: Calls of the strong model a request; None where nobody counts them.
        ahead: Quality less that of single models mixed to the same cost; None for these.
    """

    name: str
    quality: float
    cost: float
    strong_calls: float | None = None
    ahead: Interval | None = None


@dataclass(frozen=True)
class Contest:
    """What came of it. `strategy` is the one that was asked about, as it shows itself."""

    data: str
    learned_from: int
    asked: int
    unit: str
    strategy: str
    contenders: tuple[Contender, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        return asdict(self)


def contest(
    name: str,
    outcomes: Outcomes,
    *,
    budget: float | None = None,
    keep_quality: float = 0.95,
    embedder: Any = "hashing",
    seed: int = 0,
    progress: Progress | None = None,
) -> Contest:
    """Hold the strategy of that name against the others.

    Args:
        outcomes: Of all models, with replies where the strategy reads them; rows that lack a score are left out.
        budget: Mean cost of a request, for strategies that are made for one.
        keep_quality: The share of the strong model's quality that the strategy, without a budget, and RAR keep.
        embedder: RAR's.
        seed: Of the halves.

    Raises:
        UnknownNameError: There is no such strategy.
        ConfigurationError: The outcomes or the goal are not what it takes.
    """
    if name not in MAKERS:
        raise UnknownNameError("strategy", name, sorted(MAKERS))
    SHARE("keep_quality", keep_quality)
    data = outcomes.of_models(*outcomes.models)
    order = shuffle(data, seed)
    data = data.take(order)
    half = len(data) // 2
    seen, asked = data.take(range(half)), data.take(range(half, len(data)))
    strategy = MAKERS[name](seen, Goal(budget, keep_quality, embedder))
    run = served_by(strategy, asked, progress=progress, what=name)
    found = [_contender(name, asked, run.scores, run.costs, float(run.of(STRONG).mean()), seed)]
    found.append(_rar(data, half, keep_quality, embedder, seed, progress))
    found += [_alone(asked, model) for model in range(len(asked.models))]
    found.append(_zero(asked, found[0].cost))
    found.append(_oracle(asked, seed))
    unit = "USD" if data.in_usd else "strong calls"
    return Contest(data.name, half, len(asked), unit, repr(strategy), tuple(found))


def _contender(name: str, asked: Outcomes, quality: Array, cost: Array, strong: float | None, seed: int) -> Contender:
    ahead = gain_over_singles(asked.scores, asked.call_costs, quality, cost, seed=seed)
    return Contender(name, float(quality.mean()), float(cost.mean()), strong, ahead)


def _rar(data: Outcomes, half: int, keep: float, embedder: Any, seed: int, progress: Progress | None) -> Contender:
    """RAR, which learns as it goes, on the second half of the same stream."""
    run = stream(embedded(data, embedder, progress=progress), quality=keep, seed=seed, progress=progress)
    asked, rows = data.take(range(half, len(data))), slice(half, len(data))
    strong = float(run.of(STRONG)[rows].mean())
    return _contender(f"RAR at {keep:g}", asked, run.scores[rows], run.costs[rows], strong, seed)


def _alone(asked: Outcomes, model: int) -> Contender:
    quality, cost = asked.scores[:, model].mean(), asked.call_costs[:, model].mean()
    strong = float(model == len(asked.models) - 1)
    return Contender(f"{asked.models[model]} alone", float(quality), float(cost), strong)


def _zero(asked: Outcomes, cost: float) -> Contender:
    quality = zero_router(asked.call_costs.mean(0), asked.scores.mean(0), cost)
    return Contender("Zero router, of the same cost", quality, cost)


def _oracle(asked: Outcomes, seed: int) -> Contender:
    """The cheapest of the best answers, by someone who knows all of them."""
    best = asked.scores.max(1)
    cost = np.where(asked.scores == best[:, None], asked.call_costs, np.inf)
    strong = float((cost.argmin(1) == len(asked.models) - 1).mean())
    return _contender("oracle", asked, best, cost.min(1), strong, seed)
