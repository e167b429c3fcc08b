"""How a router comes to a decision: what is given, what is recalled, what the strategy chooses, and what limits it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from rar.drafts import Drafts
from rar.drive import Models
from rar.errors import BudgetExceededError, StrategyError, UnknownModelError
from rar.evidence import Evidence
from rar.guarding import PASSED_ON
from rar.identifiers import new_id
from rar.keeping import KeptAnswers, LooksUp
from rar.learning.loop import LearningLoop
from rar.learning.policy import Policy
from rar.learning.prior import Prior
from rar.ledger import Ledger
from rar.lineup import Floors, Lineup
from rar.memory.base import Memory
from rar.metering import Rules
from rar.naming import cause, shown
from rar.notices import Notices
from rar.observers import Decided, Observers
from rar.parts import Ahead, Blocking, Driven, Parts
from rar.prefixes import Prefixes
from rar.recall import SAY_WHICH, Recall, with_prior
from rar.recent import Recent
from rar.redaction import Redaction
from rar.rollout import Steering
from rar.strategy import Strategy
from rar.values import STRONG, Answer, Call, Choice, Decision, Message, Reply, Request, Route, as_text

FORCE_VARIABLE = "RAR_FORCE"  # "strong" is the kill switch: no look-up, no learning


class Draws:
    """A router's random numbers, the same each time for a seed."""

    def __init__(self, seed: int | None) -> None:
        self.audit = random.Random(seed).random  # noqa: S311 - guards nothing
        # Apart, so that a strategy which draws moves no audit.
        self.chance = random.Random(None if seed is None else f"chance {seed}").random  # noqa: S311


@dataclass(frozen=True)
class Remembered:
    """What the decisions of a router with a memory look at.

    Args:
        kept: Answers that may be given again; None where the strategy looks at none.
    """

    memory: Memory
    recall: Recall
    learning: LearningLoop
    kept: KeptAnswers | None


@dataclass
class Deciding:
    """Makes a router's decisions. Any thread may use it.

    Args:
        remembered: None without a memory.
        key: Seals what is stamped on responses.
        closed: Set once the router is.
    """

    strategy: Strategy
    policy: Policy
    floors: Floors
    lineup: Lineup
    ledger: Ledger
    rules: Rules
    observers: Observers
    redaction: Redaction
    prefixes: Prefixes
    recent: Recent
    tell: Notices
    clock: Callable[[], float]
    draws: Draws
    prior: Prior | None
    remembered: Remembered | None
    rollout: Steering | None
    key: bytes
    closed: bool = False
    _prices_read: bool = False

    def steps(self, request: Request, models: Models) -> Parts[Decision]:
        """The parts of a decision, which the caller runs: those that wait in a thread where it has an event loop.

        Raises:
            UnknownModelError: The caller forces a model that does not exist.
            BudgetExceededError: A limit forbids that any model answers.
        """
        if not self._prices_read:
            yield Ahead(self._read_prices, (models,))
        request, choice = self._given(request, models)
        id = new_id()
        drafts = Drafts(id, self.ledger, self.observers, self.clock, self.rules.meter(request, models, id))
        if request.sticky_guide is not None:
            choice = yield Blocking(self._with_guide, (request, choice))
        if choice is None:
            if self.remembered is None and self.prior is None:
                request = self._recall(request, models)
            else:
                request = yield Blocking(self._recall, (request, models))
            if self.remembered is not None and self.remembered.kept is not None:
                request = yield Blocking(self._looked_up, (request, self.remembered.kept))
            drafts.recalled()
            try:
                found = yield Driven(self.strategy.steps(request), models, drafts.observe, drafts.meter)
                choice = _checked(found, models)
                if self.rollout is not None:
                    choice = yield from self._let_in(request, choice, self.rollout)
            except PASSED_ON:
                raise
            except BudgetExceededError:  # a strategy that does not look at why its draft failed
                choice = Route(STRONG, reason="over_limit")
            except BaseException as error:
                choice = self._degraded("strategy", error)
        if (ahead := drafts.counted(choice, request)) is not None:
            yield Blocking(ahead)
        return self._decided(request, choice, drafts)

    @property
    def epoch(self) -> int | None:
        """The memory's count of deletions: what is deleted after a decision must not come back by it."""
        if self.remembered is None or not self.remembered.learning.stores or self.closed:
            return None
        return getattr(self.remembered.memory, "epoch", None)

    def _let_in(self, request: Request, choice: Choice, rollout: Steering) -> Parts[Choice]:
        stage = rollout.stage(request.namespace)
        if stage is None:
            stage = yield Blocking(rollout.follow, (request.namespace,))
        return rollout.admitted(request, stage, choice, self.draws.audit())

    def _given(self, request: Request, models: Models) -> tuple[Request, Choice | None]:
        """What is decided without looking anything up, if anything is."""
        request = self.redaction.request(request)  # first of all: decisions that look nothing up are remembered too
        forced = os.environ.get(FORCE_VARIABLE)
        if forced:
            request = replace(request, force=forced, learn=False)
        if request.force is not None:
            if request.force not in models:
                raise UnknownModelError(request.force, models.keys())
            return request, Route(request.force, reason="forced")
        if not request.messages:  # what a model says of that is for its own client to say
            return replace(request, learn=False), Route(STRONG, reason="no_messages")
        if self.closed:
            self.tell("closed", "This router is closed; the strong model answers everything.")
            return replace(request, learn=False), Route(STRONG, reason="closed")
        if request.sticky is not None and request.sticky.model in models:
            return request, replace(request.sticky, reason="sticky", check=False, instead_of=None)
        return request, None

    def _with_guide(self, request: Request, choice: Choice | None) -> Choice | None:
        """A turn's route with the turn's guide, if that may be used here and now; the turn goes on without it else."""
        known = self.remembered
        if not (isinstance(choice, Route) and choice.reason == "sticky") or known is None:
            return choice
        try:
            guide = known.memory.guide(request.sticky_guide or "")
        except Exception as error:
            self.tell("memory", "The memory could not be searched; a turn goes on without its guide. %s", cause(error))
            return choice
        usable = guide is not None and guide.namespace == request.namespace and known.learning.screen.serves(guide)
        return replace(choice, guide=guide) if usable else choice

    def _recall(self, request: Request, models: Models) -> Request:
        """The request with all that a strategy may look at. Nothing recalled is no error: there is just no evidence."""
        evidence = Evidence(
            self.lineup.pair(models)[1], self.lineup.standings(request.namespace, models), start=self.policy.start,
            floor=self.floors.named.get(request.namespace), chance=self.draws.chance(), now=self.clock(),
            policy=self.policy,
        )  # fmt: skip
        ids = {name: model.id for name, model in models.items()}
        evidence = self.prefixes.charged(evidence, Call(STRONG, request), ids)
        learns = request.learn and self.remembered is not None and self.remembered.learning.learns
        if learns and self.ledger.may_learn(request.namespace, "audit", STRONG, now=evidence.now):
            evidence = replace(evidence, draw=self.draws.audit())
        if request.key_source == "hidden":
            self.tell(
                "hidden",
                "A prompt does not show which part of it is the question, so nothing is learned. %s",
                SAY_WHICH,
            )
        if request.key is None or self.remembered is None:
            text = request.key if request.key is not None else as_text(request.messages)
            return replace(request, evidence=with_prior(evidence, self.prior, self.tell, text))
        return self.remembered.recall(request, request.key, evidence)

    def _looked_up(self, request: Request, kept: KeptAnswers) -> Request:
        """The request with what its strategy finds among kept answers; nothing where that fails."""
        try:
            return replace(request, kept=cast("LooksUp", self.strategy).look_up(request, kept))
        except PASSED_ON:
            raise
        except BaseException as error:
            self.tell("kept", "Kept answers could not be looked at; a model answers. %s", cause(error))
            return request

    def _degraded(self, what: str, error: BaseException) -> Route:
        self.tell(f"{what}:{type(error).__name__}", "The %s failed; the strong model answers. %s", what, cause(error))
        return Route(STRONG, reason=f"{what}_failed")

    def _decided(self, request: Request, choice: Choice, drafts: Drafts) -> Decision:
        choice = drafts.settle(choice)
        decision = Decision(
            drafts.decision_id,
            request,
            choice,
            self.clock(),
            drafts.count,
            floor=self.floors.of(request.namespace),
            epoch=self.epoch,
            key=self.key,
            meter=drafts.meter,
            calls=drafts.records,
        )
        kept = self.recent.add(decision)
        if self.observers.hear(Decided):
            self.observers.tell(Decided(decision.at, kept, *drafts.seconds()))
        return decision

    def _read_prices(self, models: Models) -> None:
        """Load what prices come from, which is read from files at the first use."""
        for role, model in models.items():
            self.ledger.prices.of(role, model.id)
        self._prices_read = True


def _checked(choice: Choice, models: Models) -> Choice:
    if isinstance(choice, Answer) and isinstance(choice.reply, Reply):
        if choice.reply.model not in models:
            raise UnknownModelError(choice.reply.model, models.keys())
        return choice
    if not isinstance(choice, Route):
        raise StrategyError(shown(choice))
    if choice.model not in models:
        raise UnknownModelError(choice.model, models.keys())
    for name in choice.then:
        if name not in models:
            raise UnknownModelError(name, models.keys())
    return choice if choice.messages is None else replace(choice, messages=_to_send(choice.messages))


def _to_send(messages: Any) -> tuple[Message, ...]:
    found = tuple(messages) if isinstance(messages, Sequence) else ()
    if not found or not all(isinstance(message, Message) for message in found):
        raise StrategyError(f"a `Route` with messages={shown(messages)}")
    return found
