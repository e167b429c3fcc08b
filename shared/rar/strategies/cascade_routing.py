"""Cascade routing: after each reply, choose anew whom to ask (Dekoninck, Baader & Vechev, arXiv 2410.10347)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Self

from rar.answers import Extractor, as_extractor, shown
from rar.errors import ConfigurationError
from rar.linear import Array
from rar.looks import same
from rar.naming import shown as named
from rar.options import POSITIVE, Number
from rar.outcomes import Outcomes
from rar.routers import saving
from rar.routers.base import Progress
from rar.strategies.reply_words import ReplyWords
from rar.strategies.routing_states import Rule, Signs, State, Weights, estimated, fitted, spreads, weight_for
from rar.strategies.scorer import LearnedScorer, all_same, answers_of, target_of, words_out_of_fold
from rar.strategies.search import zero_router
from rar.strategy import Steps, ask_all
from rar.values import Answer, Call, Choice, Reply, Request, Route, as_text

_DEPTH = Number(1, whole=True)
KIND = "cascade routing"


@dataclass(frozen=True, eq=False)
class CascadeRouting:
    """Ask the model that is worth asking next, read its reply, and choose again, until no other is worth its price.

    `CascadeRouting.fit` makes one. The dearest model's reply is taken unread, so that it streams; so is every one where
    `depth` is 1, which is plain routing. Where every draft fails, the dearest model answers.

    Args:
        models: By the names that the router has for them, cheapest first.
        rule: Chooses; its `weight` is what one unit of cost has to bring in quality.
        extract: What a reply says, for agreement.
    """

    models: tuple[str, ...]
    rule: Rule = field(repr=False)
    extract: str | Extractor = "auto"
    unit: str = "USD"
    _before: Sequence[ReplyWords] = field(default=(), repr=False)
    _after: Sequence[ReplyWords] = field(default=(), repr=False)
    _weights: Weights = field(default_factory=dict, repr=False)

    @classmethod
    def fit(
        cls,
        outcomes: Outcomes,
        *,
        budget: float,
        depth: int = 3,
        names: Mapping[str, str] | None = None,
        scorer: LearnedScorer | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn what to expect of each model before and after replies, and what costs have to weigh for the budget.

        Args:
            outcomes: With replies. Of many models, the five are taken that are worth their price best.
            budget: Mean cost of a request that is kept on the outcomes: USD, or strong calls where costs are not known.
            depth: Models that are asked for one request at most.
            names: What the router calls the models, by their names in `outcomes`; None: `"weak"` the first, `"strong"`
                the last, others as they are.
            scorer: Its settings are taken.

        Raises:
            TrainingDataError: There are no replies, or too few rows.
            ConfigurationError: The budget buys no model.
        """
        POSITIVE("budget", budget)
        _DEPTH("depth", depth)
        called = dict(zip(outcomes.models, outcomes.roles, strict=True)) | dict(names or {})
        data = useful(outcomes)
        cheapest = float(data.call_costs.mean(0).min())
        if budget < cheapest:
            raise ConfigurationError(f"budget={budget:g} buys no model: the cheapest costs {cheapest:.3g} a request.")
        named = tuple(called[model] for model in data.models)
        return cls._learned(data, named, budget, min(depth, len(named)), scorer or LearnedScorer(), progress)

    @classmethod
    def _learned(
        cls,
        data: Outcomes,
        models: tuple[str, ...],
        budget: float,
        depth: int,
        settings: LearnedScorer,
        progress: Progress | None,
    ) -> Self:
        signs, target = signs_of(data, settings, progress), target_of(data)
        weights = fitted(signs, target, depth)
        estimates = estimated(signs, weights)
        costs = data.call_costs.mean(0)
        rule = partial(_rule, costs, spreads(estimates), depth)
        weight = weight_for(rule, estimates, data.call_costs, budget)
        answers = answers_of(data)
        nothing: Any = np.full(answers.shape, "")
        before, after = (
            [ReplyWords.fit(data.texts, said[:, at], target[:, at], settings.penalty) for at in range(len(data.models))]
            for said in (nothing, answers)
        )
        unit = "USD" if data.in_usd else "strong calls"
        return cls(models, rule(weight), settings.extract, unit, before, after, weights)

    def steps(self, request: Request) -> Steps[Choice]:
        replies: dict[int, Reply] = {}
        failed: set[int] = set()
        while True:
            state = tuple(sorted(replies))
            chances = self._chances(request, replies)
            model = int(self._without(failed).next(state, chances)[0])
            if model == self.rule.last or (model >= 0 and self.rule.depth == 1 and not failed):
                reason = "drafts_failed" if failed and not replies else "worth_asking"
                return Route(self.models[model], reason=reason, confidence=float(chances[0, model]))
            if model < 0:
                best = int(self.rule.best(state, chances)[0])
                return Answer(replies[best], "best_draft", float(chances[0, best]))
            (draft,) = yield from ask_all([Call(self.models[model], request)])
            if isinstance(draft, Reply) and not draft.empty:
                replies[model] = draft
            else:
                failed.add(model)

    def _without(self, failed: set[int]) -> Rule:
        """The rule, to which models that failed are not worth anything."""
        if not failed:
            return self.rule
        costs = self.rule.costs.copy()
        costs[list(failed)] = np.inf
        return replace(self.rule, costs=costs, weight=max(self.rule.weight, 1e-12))

    def _chances(self, request: Request, replies: Mapping[int, Reply]) -> Array:
        """The estimates of the present state, shape `(1, m)`."""
        asked, extract = [request.key or as_text(request.messages)], as_extractor(self.extract)
        m = len(self.models)
        signs = Signs(np.zeros((1, m)), np.zeros((1, m)), np.zeros((1, m, m)))
        said = {model: extract(request, reply) for model, reply in replies.items()}
        for model in range(m):
            signs.before[0, model] = self._before[model].score(asked, [""])[0]
        for model, reply in replies.items():
            signs.after[0, model] = self._after[model].score(asked, [shown(reply)])[0]
            signs.same[0, model, list(said)] = [same(said[model], said[other]) for other in said]
        state: State = tuple(sorted(replies))
        return estimated(signs, {state: self._weights[state]})[state]

    def walk(self, outcomes: Outcomes) -> tuple[Array, Array]:
        """What it scores and costs on each row of recorded outcomes of its models, in its order and by its names."""
        answers = answers_of(outcomes)
        nothing: Any = np.full(answers.shape, "")
        before, after = (
            np.stack([words.score(outcomes.texts, said[:, at]) for at, words in enumerate(own)], 1)
            for own, said in ((self._before, nothing), (self._after, answers))
        )
        signs = Signs(before, after, all_same(LearnedScorer(extract=self.extract).said(outcomes, answers)))
        who, asked = self.rule.walk(estimated(signs, self._weights))
        return outcomes.scores[np.arange(len(who)), who], (asked * outcomes.call_costs).sum(1)

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write it into a folder, which is made where it is missing.

        Raises:
            ConfigurationError: `extract` is a function, which no file holds.
        """
        if not isinstance(self.extract, str):
            raise ConfigurationError(f"extract={named(self.extract)} is a function, which no file holds. Name one.")
        arrays: dict[str, Any] = {"costs": self.rule.costs, "spread": self.rule.spread}
        for name, own in (("before", self._before), ("after", self._after)):
            arrays |= {
                f"{name}{at}_{key}": array for at, words in enumerate(own) for key, array in words.arrays().items()
            }
        for state, of_state in self._weights.items():
            arrays |= {f"state_{'_'.join(map(str, state))}:{at}": weights for at, weights in enumerate(of_state)}
        facts = {"models": list(self.models), "unit": self.unit, "last": self.rule.last}
        config = {"weight": self.rule.weight, "depth": self.rule.depth, "extract": self.extract}
        return saving.write(Path(folder), "cascade_routing", config, facts, arrays, kind=KIND)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RouterFileError: It is missing, damaged, of a newer version, or something else.
        """
        saved = saving.read_known(Path(folder), kind=KIND, name="cascade_routing")
        with saving.blamed(saved):
            models = tuple(saved.about["models"])
            rule = Rule(
                saved.arrays["costs"], saved.arrays["spread"], float(saved.config["weight"]),
                int(saved.config["depth"]), int(saved.about["last"]),
            )  # fmt: skip
            before, after = (
                [ReplyWords.of_arrays(_beginning(saved.arrays, f"{name}{at}_")) for at in range(len(models))]
                for name in ("before", "after")
            )
            weights = _weights_of(_beginning(saved.arrays, "state_"), len(models))
            return cls(models, rule, saved.config["extract"], saved.about["unit"], before, after, weights)


def useful(outcomes: Outcomes, most: int = 5) -> Outcomes:
    """The outcomes of the best model and of cheaper ones, cheapest first, on the rows that all of these have.

    Kept are the `most` that come nearest to what single models, mixed at random, score at the same cost: one that falls
    a little short of it may still be worth a second opinion.
    """
    means, costs = np.nanmean(outcomes.scores, 0), np.nanmean(outcomes.call_costs, 0)
    best = int(np.lexsort((costs, -means))[0])
    cheaper = np.flatnonzero(costs < costs[best])
    if not len(cheaper):
        raise ConfigurationError(
            f"{outcomes.name}: {outcomes.models[best]!r} is the cheapest model and the best. Take it alone."
        )
    short = np.array([zero_router(costs, means, float(costs[model])) - means[model] for model in cheaper])
    kept = cheaper[np.argsort(short, kind="stable")[: most - 1]]
    ordered = sorted(kept.tolist(), key=lambda model: costs[model])
    return outcomes.of_models(*(outcomes.models[model] for model in (*ordered, best)))


def signs_of(data: Outcomes, settings: LearnedScorer, progress: Progress | None = None) -> Signs:
    """What recorded replies show, words out of fold."""
    answers, target, parts = answers_of(data), target_of(data), settings.parts(data)
    nothing = np.full(answers.shape, "")
    before = words_out_of_fold(data.texts, nothing, target, parts, settings.penalty, progress)
    after = words_out_of_fold(data.texts, answers, target, parts, settings.penalty, progress)
    return Signs(before, after, all_same(settings.said(data, answers)))


def _rule(costs: Array, spread: Array, depth: int, weight: float) -> Rule:
    return Rule(costs, spread, weight, depth, len(costs) - 1)


def _beginning(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _weights_of(arrays: Mapping[str, Any], models: int) -> Weights:
    found: dict[State, list[Array]] = {}
    for name in arrays:
        written = name.partition(":")[0]
        state = tuple(int(model) for model in written.split("_") if model)
        found[state] = [arrays[f"{written}:{at}"] for at in range(models)]
    return found
