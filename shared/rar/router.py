"""The router: recall, decide, learn. Framework-neutral; plugins make the serving call themselves."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import Unpack

from rar import order
from rar.drafts import Drafts
from rar.drive import Model, Models
from rar.embedding import as_embedder
from rar.embedding.cache import CachedEmbedder
from rar.errors import (
    BudgetExceededError,
    ClosedError,
    ConfigurationError,
    MissingModelError,
    OtherModelsError,
    StrategyError,
    UnknownDecisionError,
    UnknownModelError,
    UnknownNameError,
)
from rar.evidence import Evidence, Standing
from rar.facts import facts_of, read_facts
from rar.failover import Failover
from rar.guarding import PASSED_ON
from rar.health import Health
from rar.identifiers import new_id
from rar.keeping import KeptAnswers, LooksUp
from rar.labelling import Labelling
from rar.learning.judges import Judge, as_judge
from rar.learning.labels import Corrections
from rar.learning.learner import LEARNING_TIMEOUT, Learner
from rar.learning.loop import LearningLoop
from rar.learning.packing import unpack
from rar.learning.pairs import Pair, Pairs
from rar.learning.paraphrase import stated_error
from rar.learning.policy import Policy, as_policy
from rar.learning.prior import Prior
from rar.learning.records import Served, record_of
from rar.learning.scores import LearnedScores
from rar.learning.screen import Screen, quarantine
from rar.learning.shadow import Ladder
from rar.learning.worker import CLOSING
from rar.learning.writer import Writer
from rar.ledger import Ledger
from rar.memory.base import DecisionRecord, Memory
from rar.memory.forgetting import Gone
from rar.memory.identity import experience_id
from rar.memory.lessons import PackedLesson
from rar.memory.opening import as_memory
from rar.memory.queueing import queue_of
from rar.metering import rules
from rar.models import as_model, check_pair, named_models
from rar.naming import cause, shown
from rar.notices import Notices
from rar.observers import Decided, Observers
from rar.options import RouterOptions, RouterSettings, settings_of, shows_options
from rar.order import CostOrder
from rar.own_guides import GuideShelf, OwnGuide, OwnState
from rar.parts import Ahead, Blocking, Driven, Parts, arun, run
from rar.prefixes import Prefixes
from rar.prices import Prices
from rar.recall import SAY_WHICH, Recall, embedded, follows_verdicts, with_prior
from rar.recent import Recent
from rar.redaction import Redaction
from rar.rollout import Steering
from rar.routers import as_static_router
from rar.stamps import is_sealed, sealing_key
from rar.strategies import RAR
from rar.strategy import HearsServed, Outcome, Strategy, as_strategy, check_models, drafters, keeps_floor
from rar.values import (
    GUIDE_MODEL,
    STRONG,
    WEAK,
    Answer,
    Call,
    Choice,
    Decision,
    Failure,
    Guide,
    Message,
    Reply,
    Request,
    Route,
    as_text,
)
from rar.views import RouterStats, Views

if TYPE_CHECKING:
    from rar.report import Report

logger = logging.getLogger("rar")

LOOK = 2.0  # seconds that looking at what was learned waits for what is just being learned
FORCE_VARIABLE = "RAR_FORCE"  # "strong" is the kill switch: no look-up, no learning


@shows_options
class Router:
    """Routes requests between a strong model and cheaper ones, and learns. May be shared by many wrappers and threads.

    How a plugin uses it, in every mode (sync shown)::

        decision = router.decide(request, models)            # never raises for trouble of ours: it degrades to strong
        turn = Turn(router, decision)                        # `rar.turn`: fails over before the first content only
        output = turn.whole(target)                          # a `Target` says how the decision's model is called
        ...                                                  # stamp `turn.decision.as_dict()` on the response, and
        ...                                                  # `router.costs(turn.decision, reply)` once it is whole
        router.learn(turn.decision, reply, models)           # after success only

    Args:
        weak, strong: Models or functions of messages, for callers without a framework. Plugins pass theirs with each
            call.
        models: Further models by name. The router learns which requests each of them answers well, as with the weak
            one, and takes the cheapest that keeps the floor. A strategy of your own may choose among them, too. Nothing
            is learned about them then.
        options: Those of `rar.options.RouterOptions`; `help(Router)` shows them here.

    Raises:
        ConfigurationError: An argument cannot work; the message says which and why.
        MemoryStoreError: The memory cannot be used.
        WeightsError: The embedder's weights were found nowhere.
    """

    def __init__(
        self,
        weak: Model | Callable[..., Any] | None = None,
        strong: Model | Callable[..., Any] | None = None,
        *,
        models: Mapping[str, Model | Callable[..., Any]] | None = None,
        **options: Unpack[RouterOptions],
    ) -> None:
        given = {"weak": weak, "strong": strong, "models": models}
        settings = settings_of(type(self).__name__, given, options)
        self._config = {**given, **options}
        self.namespace, self.degrade, self.timeout = settings.namespace, settings.degrade, settings.timeout
        self.policy = _policy(settings)
        self._floors = settings.floors or {}
        self._weak_id, self._strong_id = settings.weak_id, settings.strong_id
        self.strategy = _strategy(settings.strategy, self.policy)
        # Whether the strategy chooses by what is learned of models: of all, or of those whose drafts it looks at.
        self._chooses = keeps_floor(self.strategy)
        self._drafters = drafters(self.strategy)
        self._models = _models(weak, strong, models)
        if self._models is not None:
            self.pair(self._models)
        writer = settings.guide_model
        self._guide_writer: dict[str, Model] = {} if writer is None else {GUIDE_MODEL: as_model(writer, GUIDE_MODEL)}
        self._clock, self._store_text = settings.clock, settings.store_text
        self._random = random.Random(settings.seed)  # noqa: S311 - draws audits, guards nothing
        # Apart, so that a strategy which draws moves no audit.
        self._chance = random.Random(None if settings.seed is None else f"chance {settings.seed}")  # noqa: S311
        self._tell, self._recent, self._pairs = Notices(), Recent(), Pairs(settings.seed)
        self._redaction = Redaction(settings.redact, self._tell)
        self._compared: set[tuple[str, str]] = set()
        self._closed = self._prices_read = False
        self.health = Health(settings.clock)
        self._learning: LearningLoop | None = None
        self._corrections: Corrections | None = None
        self._memory_recall: Recall | None = None
        self._kept: KeptAnswers | None = None
        self._prepare(settings)
        _routers.add(self)
        self._observers.attach(self)

    def _prepare(self, settings: RouterSettings) -> None:
        """Open the memory, and load what reads texts and prices, what learns and what recalls."""
        self._owns_memory = isinstance(settings.memory, (str, os.PathLike))
        self.memory: Memory | None = as_memory(settings.memory)
        embeds = as_embedder("minilm" if settings.embedder is None else settings.embedder)
        self.embedder = CachedEmbedder(embeds) if self.memory is not None else None
        judges = as_judge(settings.judge, embedder=self.embedder or embeds)
        if self.memory is not None and self.embedder is not None:
            self.memory.bind(self.embedder.id, self.embedder.dim)
        self._sealing = sealing_key(self.memory)
        static = as_static_router(settings.static_router)
        self._prior = None if static is None else Prior(static, self.embedder.id if self.embedder is not None else "")
        self.ledger = Ledger(
            Prices(settings.prices),
            budget_share=settings.learning_budget,
            judge_share=settings.judge_budget,
            usd_per_day=settings.learning_usd_per_day,
            notices=self._tell,
        )
        self._rules = rules(
            settings.limits, settings.spend, settings.over_limit, self.ledger, self.memory, self._tell, settings.clock
        )
        self._ceilings = self._rules.ceilings
        counts = (self.ledger,) if self._ceilings is None else (self.ledger, self._ceilings)
        self._rollout = None
        if settings.rollout is not None and self.memory is not None:
            self._rollout = Steering(settings.rollout, self.memory, self._floor_of, settings.clock)
        steering = () if self._rollout is None else (self._rollout,)
        self._observers = Observers((*counts, *steering, *settings.observers), self._tell, settings.clock)
        if self._ceilings is not None:
            self._ceilings.begin(self._observers)
        self._order, self._prefixes = CostOrder(self.ledger), Prefixes(self.ledger)
        self._failover = Failover(self.ledger, self.health, degrade=self.degrade)
        if self.memory is not None and self.embedder is not None:
            self._learn_from(self.memory, self.embedder, judges, settings)
        self._views = self._viewed_by(settings.clock)
        self._labelling = Labelling(self._pairs, self._corrections, self._learning, self._views.record, settings.clock)
        if (watch := getattr(self.memory, "watch", None)) is not None:
            watch(self._forget)

    def _viewed_by(self, clock: Callable[[], float]) -> Views:
        floor = partial(_floor_in, self._floors, getattr(self.policy, "quality", None))
        return Views(self.memory, self.ledger, self._learning, self._recent, floor, clock, self._ceilings)

    def _learn_from(self, memory: Memory, embedder: CachedEmbedder, judges: Judge, settings: RouterSettings) -> None:
        self.ledger.seed(memory.spending())
        self._corrections = corrections = Corrections(memory, settings.clock)
        screen = Screen(memory, approved=settings.guides == "review", observers=self._observers)
        scores = LearnedScores(memory, self._prior, stated_error(settings.paraphrase, self.policy))
        writes_guides = settings.store_text if settings.guides is None else bool(settings.guides)
        ladder = Ladder(
            judges, write_guides=writes_guides, check=settings.guide_check,
            author=next(iter(self._guide_writer), STRONG),
        )  # fmt: skip
        learner = Learner(
            memory, self.ledger, ladder, self.policy,
            settings.near, settings.retry_after, settings.store_text, settings.store_answers,
            self._redaction.clean if settings.redact is not None else None, settings.clock, notices=self._tell,
            screen=screen, observers=self._observers, ceilings=self._ceilings,
            timeout=LEARNING_TIMEOUT if settings.timeout is None else settings.timeout,
            guide_style=settings.guide_style, pairs=self._pairs, drafts=bool(self._drafters),
        )  # fmt: skip
        read_only = settings.read_only or bool(getattr(memory, "read_only", False))
        if settings.learning == "queue" and not read_only:
            queue_of(memory).prepare()
        self._learning = LearningLoop(
            learner, Writer(memory, self.ledger, self._tell, self._observers), screen, scores,
            mode="off" if read_only else settings.learning, stores=not read_only,
            learns_not="read_only" if read_only else "off" if settings.learning == "off" else None,
        )  # fmt: skip
        self._memory_recall = Recall(
            memory, embedder, screen, scores, self._prior, self._tell, self._learning.ready,
            follows_verdicts(self.strategy, self.policy), settings.same, settings.near, settings.limit,
            corrections, self._observers, bool(self._drafters),
        )  # fmt: skip
        if isinstance(self.strategy, LooksUp) and settings.store_text:
            remember = None if read_only else self._learning.remember
            self._kept = KeptAnswers(memory, remember, learner.redact, settings.clock)

    def __repr__(self) -> str:
        where = shown(self.memory.where if self.memory is not None else None)
        mode = self._learning.mode if self._learning is not None else "off"
        namespace = shown(self.namespace)
        return f"Router(memory={where}, policy={shown(self.policy)}, learning={mode!r}, namespace={namespace})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Router:
        return self  # one memory, one worker: a copied chain goes on sharing them

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._config,)

    # --- deciding ---------------------------------------------------------------------------------------------------

    def decide(self, request: Request, models: Models | None = None) -> Decision:
        """Choose who answers. Trouble of ours is logged once and leaves the strong model to answer.

        Raises:
            UnknownModelError: The caller forces a model that does not exist.
            BudgetExceededError: A limit forbids that any model answers.
        """
        return run(self._deciding(request, self._models_of(models)))

    async def adecide(self, request: Request, models: Models | None = None) -> Decision:
        """`decide` for callers with an event loop: what reads files, embeds or predicts does so in a thread."""
        return await arun(self._deciding(request, self._models_of(models)))

    def _deciding(self, request: Request, models: Models) -> Parts[Decision]:
        if not self._prices_read:
            yield Ahead(self._read_prices, (models,))
        request, choice = self._given(request, models)
        if self._ceilings is not None and self._ceilings.stale:
            yield Blocking(self._ceilings.look)
        drafts = self._drafts(request, models)
        if request.sticky_guide is not None:
            choice = yield Blocking(self._with_guide, (request, choice))
        if choice is None:
            if self.memory is None and self._prior is None:
                request = self._recall(request, models)
            else:
                request = yield Blocking(self._recall, (request, models))
            if self._kept is not None:
                request = yield Blocking(self._looked_up, (request, self._kept))
            drafts.recalled()
            try:
                found = yield Driven(self.strategy.steps(request), models, drafts.observe, drafts.meter)
                choice = self._checked(found, models)
                if self._rollout is not None:
                    choice = yield from self._let_in(request, choice, self._rollout)
            except PASSED_ON:
                raise
            except BudgetExceededError:  # a strategy that does not look at why its draft failed
                choice = Route(STRONG, reason="over_limit")
            except BaseException as error:
                choice = self._degraded("strategy", error)
        return self._decided(request, choice, drafts)

    def _let_in(self, request: Request, choice: Choice, rollout: Steering) -> Parts[Choice]:
        stage = rollout.stage(request.namespace)
        if stage is None:
            stage = yield Blocking(rollout.follow, (request.namespace,))
        return rollout.admitted(request, stage, choice, self._random.random())

    def failover(self, decision: Decision, error: Exception) -> Decision:
        """The decision to try next after `error`, before any token was passed on.

        Raises:
            Exception: `error` itself, when no other model may answer: the strong one failed (unless `degrade=True`),
                all failed, or the caller forces a model.
        """
        after = self.stand_in(decision, error)
        if after is None:
            raise error
        return after

    def may_fail_over(self, decision: Decision) -> bool:
        """Whether another model may answer if the decision's own fails."""
        return self._failover.is_possible(decision)

    def stand_in(self, decision: Decision, error: Exception, refused: Reply | None = None) -> Decision | None:
        """What `failover` returns; None where it raises.

        Args:
            refused: What the model said, where that holds no answer; it was paid for all the same.
        """
        after = self._failover.after(decision, error, refused)
        if after is not None and refused is not None:
            self.refused(decision, refused)
        return after

    def _given(self, request: Request, models: Models) -> tuple[Request, Choice | None]:
        """What is decided without looking anything up, if anything is."""
        request = self._redaction.request(request)  # first of all: decisions that look nothing up are remembered too
        forced = os.environ.get(FORCE_VARIABLE)
        if forced:
            request = replace(request, force=forced, learn=False)
        if request.force is not None:
            if request.force not in models:
                raise UnknownModelError(request.force, models.keys())
            return request, Route(request.force, reason="forced")
        if not request.messages:  # what a model says of that is for its own client to say
            return replace(request, learn=False), Route(STRONG, reason="no_messages")
        if self._closed:
            self._tell("closed", "This router is closed; the strong model answers everything.")
            return replace(request, learn=False), Route(STRONG, reason="closed")
        if request.sticky is not None and request.sticky.model in models:
            return request, replace(request.sticky, reason="sticky", check=False, instead_of=None)
        return request, None

    def _with_guide(self, request: Request, choice: Choice | None) -> Choice | None:
        """A turn's route with the turn's guide, if that may be used here and now; the turn goes on without it else."""
        if (
            not (isinstance(choice, Route) and choice.reason == "sticky")
            or self.memory is None
            or self._learning is None
        ):
            return choice
        try:
            guide = self.memory.guide(request.sticky_guide or "")
        except Exception as error:
            self._tell("memory", "The memory could not be searched; a turn goes on without its guide. %s", cause(error))
            return choice
        usable = guide is not None and guide.namespace == request.namespace and self._learning.screen.serves(guide)
        return replace(choice, guide=guide) if usable else choice

    def _recall(self, request: Request, models: Models) -> Request:
        """The request with all that a strategy may look at. Nothing recalled is no error: there is just no evidence."""
        standings = self._standings(request.namespace, models)
        evidence = Evidence(
            self._pair(models)[1], standings, start=self.policy.start, floor=self._floors.get(request.namespace),
            chance=self._chance.random(), now=self._clock(), policy=self.policy,
        )  # fmt: skip
        ids = {name: model.id for name, model in models.items()}
        evidence = self._prefixes.charged(evidence, Call(STRONG, request), ids)
        learns = request.learn and self._learning is not None and self._learning.learns
        if learns and self.ledger.may_learn(request.namespace, "audit", STRONG, now=evidence.now):
            evidence = replace(evidence, draw=self._random.random())
        if request.key_source == "hidden":
            self._tell(
                "hidden",
                "A prompt does not show which part of it is the question, so nothing is learned. %s",
                SAY_WHICH,
            )
        if request.key is None or self._memory_recall is None:
            text = request.key if request.key is not None else as_text(request.messages)
            return replace(request, evidence=with_prior(evidence, self._prior, self._tell, text))
        return self._memory_recall(request, request.key, evidence)

    def _floor_of(self, namespace: str) -> float:
        floor: float = self._floors.get(namespace, getattr(self.policy, "quality", 1.0))
        return floor

    def _looked_up(self, request: Request, kept: KeptAnswers) -> Request:
        """The request with what its strategy finds among kept answers; nothing where that fails."""
        try:
            return replace(request, kept=cast("LooksUp", self.strategy).look_up(request, kept))
        except PASSED_ON:
            raise
        except BaseException as error:
            self._tell("kept", "Kept answers could not be looked at; a model answers. %s", cause(error))
            return request

    def _checked(self, choice: Choice, models: Models) -> Choice:
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

    def _degraded(self, what: str, error: BaseException) -> Route:
        self._tell(f"{what}:{type(error).__name__}", "The %s failed; the strong model answers. %s", what, cause(error))
        return Route(STRONG, reason=f"{what}_failed")

    def _drafts(self, request: Request, models: Models) -> Drafts:
        id = new_id()
        return Drafts(id, self.ledger, self._observers, self._clock, self._rules.meter(request, models, id))

    def _decided(self, request: Request, choice: Choice, drafts: Drafts) -> Decision:
        choice = drafts.settle(choice, request)
        decision = Decision(
            drafts.decision_id,
            request,
            choice,
            self._clock(),
            drafts.count,
            floor=_floor_in(self._floors, getattr(self.policy, "quality", None), request.namespace),
            epoch=self._epoch(),
            key=self._sealing,
            meter=drafts.meter,
            calls=drafts.records,
        )
        kept = self._recent.add(decision)
        if self._observers.hear(Decided):
            self._observers.tell(Decided(decision.at, partial(facts_of, kept), *drafts.seconds(), decision.id))
        return decision

    def _epoch(self) -> int | None:
        """The memory's count of deletions: what is deleted after a decision must not come back by it."""
        if self._learning is None or not self._learning.stores or self._closed:
            return None
        return getattr(self.memory, "epoch", None)

    def stamped(self, facts: Mapping[str, Any], seal: object, namespace: str) -> bool:
        """Whether these facts of a response were stamped by a router of this memory in `namespace`, and not made up."""
        return is_sealed(self._sealing, facts, seal, namespace)

    # --- learning ---------------------------------------------------------------------------------------------------

    def learn(self, decision: Decision, reply: Reply, models: Models | None = None) -> None:
        """Hand over a served reply, whole also when it was streamed. Never raises; returns at once unless inline.

        Call it after success only: an abandoned stream or an error teaches nothing.
        """
        try:
            models = self._models_of(models)
            reply = reply if reply.model_id else replace(reply, model_id=models[decision.model].id)
            self._check_order(models)
            self.health.answered(decision.model)
            if not isinstance(decision.choice, Answer):  # an accepted draft was counted when it was made
                self._called(decision, decision.call, reply)
                self._prefixes.served(decision, reply, models[decision.model].id, self._clock())
            if isinstance(self.strategy, HearsServed) and not self._closed:
                self.strategy.served(decision, reply)
            if decision.request.kept is not None:  # lessons may wait, and be sent elsewhere
                decision = replace(decision, request=replace(decision.request, kept=None))
            if self._closed or self._learning is None or not self._learning.stores:
                return
            self._learning.take(decision, reply, {**models, **self._guide_writer}, self.costs(decision, reply, models))
        except Exception as error:
            logger.error("A reply could not be learned from; serving goes on. %s", cause(error))  # noqa: TRY400

    def study(self, lesson: PackedLesson, models: Models | None = None) -> None:
        """Learn from what another process served with `learning="queue"`. `rar worker` calls it; again is no harm.

        Raises:
            LessonFailedError: A call failed before anything was learned: it is to be tried later.
            LessonFormatError, OtherModelsError: This process cannot study it.
            MemoryStoreError: What was learned could not be stored.
        """
        if self._closed or self._learning is None or self.memory is None:
            raise ClosedError("router")
        if self.memory.applied(lesson.effect):
            return
        models = self._models_of(models)
        unpacked = unpack(lesson, {**models, **self._guide_writer})
        evidence = unpacked.decision.request.evidence
        assert evidence is not None
        ids = {name: model.id for name, model in models.items()}
        ids[WEAK], ids[STRONG] = self._pair(models)
        wanted = {STRONG: evidence.reference_id, **{one.model: one.model_id for one in evidence.standings}}
        for role, id in wanted.items():
            if ids.get(role) != id:
                raise OtherModelsError(role, id, ids.get(role))
        self._learning.study_once(unpacked, lesson.effect)

    def refused(self, decision: Decision, reply: Reply) -> None:
        """Count a reply that was paid for and is not served, since it holds no answer. Never raises."""
        if isinstance(decision.choice, Answer):
            return  # counted when it was made
        try:
            self._called(decision, replace(decision.call, purpose="draft"), reply)
        except Exception as error:
            logger.error("What a refused reply cost could not be counted; serving goes on. %s", cause(error))  # noqa: TRY400

    def joined(self, decision: Decision, share: Reply, count: int, *, answered: bool) -> Decision:
        """Count a request's share of a call that `count` requests were joined into, and return its decision with it.

        Nothing is learned from an answer to several questions: it may be worse than one that was asked for alone.

        Args:
            answered: False: the call gave no answer to this request, which is to be asked alone.
        """
        call = replace(decision.call, purpose="serve" if answered else "draft")
        self._called(decision, call, share)
        record = self.ledger.record(call, share)
        if not answered:
            return replace(decision, calls=(*decision.calls, replace(record, failed=True)))
        choice = Answer(share, decision.choice.reason, decision.choice.confidence)
        request = replace(decision.request, learn=False)
        after = replace(decision, request=request, choice=choice, calls=(*decision.calls, record), joined=count)
        self._recent.add(after)  # a word on it teaches nothing either
        return after

    def unpaid(self, decision: Decision) -> None:
        """Note that an answer came from a cache, so that no ceiling waits for its cost."""
        if self._ceilings is not None:
            self._ceilings.release(decision.id)

    def failed(self, decision: Decision, error: Exception) -> None:
        """Tell observers that a serving call raised `error`. Never raises."""
        if not isinstance(decision.choice, Answer):
            self._called(decision, decision.call, Failure(decision.model, error))

    def _called(self, decision: Decision, call: Call, outcome: Outcome) -> None:
        if outcome.seconds is None:
            outcome = replace(outcome, seconds=decision.seconds)
        event = self.ledger.event_of(call, outcome, decision.request, at=self._clock(), decision_id=decision.id)
        self._observers.tell(event)

    def costs(self, decision: Decision, reply: Reply, models: Models | None = None) -> dict[str, Any]:
        """The cost of a served reply as far as it is known, to be shown with `decision.as_dict()`. Never raises.

        Returns:
            `usd` of this call and `strong_usd` of the same tokens at the strong model's price, None where no price is
            known; `input_tokens`, `output_tokens`, and `estimated` if the provider did not report both; `calls`, all
            that were made for the decision.
        """
        try:
            models = models or self._models or {}
            evidence, strong = decision.request.evidence, models.get(STRONG)
            served = models.get(decision.model)
            if served is not None and not reply.model_id:
                reply = replace(reply, model_id=served.id)
            ids = [*([strong.id] if strong else []), *([evidence.reference_id] if evidence else [])]
            costs = self.ledger.costs(decision.call, reply, ids)
            # An accepted draft is among those that were made before.
            last = [] if isinstance(decision.choice, Answer) else costs["calls"]
            return {**costs, "calls": [*(call.as_dict() for call in decision.calls), *last]}
        except Exception as error:
            logger.error("What a reply cost could not be told; serving goes on. %s", cause(error))  # noqa: TRY400
            return {}

    def _read_prices(self, models: Models) -> None:
        """Load what prices come from, which is read from files at the first use."""
        for role, model in models.items():
            self.ledger.prices.of(role, model.id)
        self._prices_read = True

    async def alearn(self, decision: Decision, reply: Reply, models: Models | None = None) -> None:
        """`learn` for callers with an event loop: `learning="inline"` runs in a thread."""
        if self._learning is not None and self._learning.mode == "inline":
            await asyncio.to_thread(self.learn, decision, reply, models)
        else:
            self.learn(decision, reply, models)

    def feedback(self, decision_id: str, good: bool) -> None:
        """Say whether an answer was good. A bad weak answer counts like an audit that failed.

        Raises:
            UnknownDecisionError: No such decision is known, here or in the memory.
            ClosedError: The router was closed.
        """
        if self._closed:
            raise ClosedError("router")
        self.flush(LOOK)
        decision = self._recent.get(decision_id)
        if decision is not None:
            record = record_of(Served(decision), store_text=self._store_text)
        else:
            found = self.memory.decision(decision_id) if self.memory is not None else None
            if found is None:
                raise UnknownDecisionError(decision_id)
            record = found
            decision = self._revived(found)
        if self._learning is not None:
            self._learning.write(self._learning.learner.feedback(record, decision, good))

    def to_label(self, count: int = 20, *, namespace: str | None = None) -> list[Pair]:
        """Judged pairs of answers for a person to grade: a random sample of those that this process holds.

        `rar.labelling.write_sheet` writes them to a file; `label` takes the grades. Nothing is held with
        `store_text=False`.

        Args:
            count: As many at most.
            namespace: None: the router's own.

        Raises:
            ClosedError: The router was closed.
        """
        if self._closed:
            raise ClosedError("router")
        self.flush(LOOK)
        return self._labelling.to_label(namespace or self.namespace, count)

    def label(self, decision_id: str, *, weak: float, strong: float, weight: float = 1.0) -> None:
        """Say how good the two answers of a judged request are, so that the judge is corrected by it.

        Args:
            weak, strong: Quality of each answer, from 0 (useless) to 1 (right).
            weight: Of the pair, as `to_label` gave it.

        Raises:
            UnknownDecisionError: No such decision is known, here or in the memory.
            ConfigurationError: A grade is no share, nothing was judged there, or there is no memory to keep it.
            ClosedError: The router was closed.
        """
        if self._closed:
            raise ClosedError("router")
        self.flush(LOOK)
        self._labelling.label(decision_id, weak, strong, weight, self._epoch())

    def _revived(self, record: DecisionRecord) -> Decision | None:
        """Enough of a decision of another process to remember its question; None where its whole text is not known."""
        facts = read_facts(record.facts)
        evidence, question, task = facts.evidence, facts.question, facts.task
        if (
            evidence is None
            or evidence.pair is None
            or question is None
            or self.memory is None
            or self.embedder is None
        ):
            return None
        own_id = experience_id(self.memory.secret, record.namespace, task, question)
        if own_id != record.experience_id:
            return None  # cut, or of another memory
        model_id, reference_id = evidence.pair
        standings = () if record.model == STRONG else (Standing(record.model, model_id),)
        request = Request(
            (), question, facts.key_source, record.namespace, task,
            embedding=embedded(self.embedder, task, question), evidence=Evidence(reference_id, standings, own_id),
        )  # fmt: skip
        return Decision(record.id, request, Route(record.model), record.at, epoch=self._epoch())

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was handed over is learned and stored. False if it is not; the log says what, and why.

        Args:
            timeout: Seconds to wait at most. None: as long as learning goes on.
        """
        return self._learning is None or self._learning.flush(timeout)

    async def aflush(self, timeout: float | None = None) -> bool:
        return await asyncio.to_thread(self.flush, timeout)

    def close(self, timeout: float | None = CLOSING) -> None:
        """Flush, stop learning, and close the memory if it was given as a path. Calls still get strong answers.

        Args:
            timeout: Seconds to wait for what is not learned yet. The rest is dropped.
        """
        if self._closed:
            return
        if self._learning is not None:
            self._learning.close(timeout)
        self._closed = True
        if self.memory is not None and self._owns_memory:
            self.memory.close()

    def __enter__(self) -> Router:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget(self, gone: Gone) -> None:
        """Let go of all that this process holds of what was deleted, by whomever."""
        self._recent.forget(gone)
        self._pairs.forget(gone)
        if self._kept is not None:
            self._kept.forget(gone)
        if self._corrections is not None:
            self._corrections.forget()
        self.ledger.forget(gone)
        if self._learning is not None:
            self._learning.forget(gone)
        if self.embedder is not None:
            self.embedder.clear()

    def set_prices(self, prices: Mapping[str, Sequence[float]]) -> None:
        """Say what models cost from now on, by model id or role; models are put in their new order within 20 calls.

        Raises:
            ConfigurationError: A price is not USD per million input, output and perhaps cached input tokens. Nothing
                was changed.
        """
        self.ledger.prices.update(prices)

    def quarantine_guides(self, *ids: str, namespace: str | None = None) -> int:
        """Never use these guides again, or, where none are named, any that is in use or on trial in the namespace.

        Args:
            ids: Guides of the namespace.
            namespace: None: the router's own. No other is touched.

        Returns:
            How many guides were quarantined.

        Raises:
            UnknownGuideError: The namespace has no such guide. Nothing was changed.
            ClosedError: The router was closed.
        """
        if self._closed:
            raise ClosedError("router")
        self.flush(LOOK)  # what is just being written belongs to them
        return 0 if self.memory is None else quarantine(self.memory, ids, namespace or self.namespace)

    def add_guide(
        self,
        text: str,
        *,
        used_for: str | Sequence[str] = (),
        namespace: str | None = None,
        task: str = "answer",
        state: OwnState | None = None,
        anyway: bool = False,
    ) -> Guide:
        """Add a guide that a person wrote. Its author is `"person"`; the same text again is the same guide.

        Args:
            text: In the form of a guide: a line "Use when: …", numbered steps, a line "Avoid: …".
            used_for: Questions that it is for, or a description of them. By default what its first line says.
            namespace: None: the router's own.
            task: Of the calls that it is for, as their decisions name it.
            state: `"candidate"`: it is tried, and used once it has proven itself, as by default. `"active"`: it is used
                at once, as if approved.
            anyway: Use it although the checks of its text refuse it.

        Raises:
            GuideRefusedError: The checks refuse it.
            ConfigurationError: There is no memory to write to, or the guide is empty, too long or for nothing.
            MemoryStoreError: It cannot be stored.
            ClosedError: The router was closed.
        """
        if self._closed:
            raise ClosedError("router")
        if self.memory is None or self.embedder is None or self._learning is None:
            raise ConfigurationError("Guides are kept in a memory, and this router has none. Pass memory=.")
        if not self._learning.stores:
            raise ConfigurationError(
                "This router only reads its memory. Add guides by another, without read_only=True."
            )
        shelf = GuideShelf(self.memory, self.embedder, self._redaction, self._learning.learner.ladder.check)
        texts = tuple(filter(None, (used_for,))) if isinstance(used_for, str) else tuple(used_for)
        given = OwnGuide(text, texts, namespace or self.namespace, task, state, anyway)
        return shelf.put([shelf.made(given, self._clock())])[0]

    # --- looking ----------------------------------------------------------------------------------------------------

    def recent(self, decision_id: str) -> Decision | None:
        """One of the last thousand decisions of this process, without its messages; None of any other."""
        return self._recent.get(decision_id)

    @cached_property
    def policy_version(self) -> str:
        """Changes with the settings of the policy and with this package."""
        return _version_of(self.policy)

    def stats(self) -> RouterStats:
        """Counts, spending and net saving, of this router's memory and of what is not stored yet.

        Raises:
            ClosedError: The router was closed.
        """
        if self._closed:
            raise ClosedError("router")
        return self._views.stats()

    def decisions(self, limit: int = 20) -> list[dict[str, Any]]:
        """The last decisions of this router's memory, newest first, with their facts: for callers that see no response.

        Raises:
            ClosedError: The router was closed.
        """
        if self._closed:
            raise ClosedError("router")
        self.flush(LOOK)
        return self._views.decisions(limit)

    def report(self, *, namespace: str | None = None, days: float | None = None) -> Report:
        """What became of the calls that this router's memory keeps; a notebook shows it as a page.

        Args:
            namespace: Only this one; None for all that the memory holds.
            days: Only so many days, today included, cut down to whole UTC days; None for all that is kept.

        Raises:
            ClosedError: The router was closed.
            ConfigurationError: It has no memory, or `days` is not above 0.
        """
        if self._closed:
            raise ClosedError("router")
        self.flush()
        return self._views.report(namespace, days)

    def explain(self, decision_id: str) -> dict[str, Any]:
        """Why a decision was made and what was learned from it, JSON-able.

        Raises:
            UnknownDecisionError: No such decision is known, here or in the memory.
        """
        if self._closed:
            raise ClosedError("router")
        self.flush(LOOK)
        return self._views.explain(decision_id)

    # --- small parts ------------------------------------------------------------------------------------------------

    def pair(self, models: Models) -> tuple[str, str]:
        """The ids under which this pair's verdicts are kept.

        Raises:
            SameModelError: They are equal.
            UnknownModelError: The strategy lists a model that is not among `models`.
        """
        pair = self._pair(models)
        check_pair(*pair)
        check_models(self.strategy, models.keys())
        return pair

    def _pair(self, models: Models) -> tuple[str, str]:
        return self._weak_id or models[WEAK].id, self._strong_id or models[STRONG].id

    def _standings(self, namespace: str, models: Models) -> tuple[Standing, ...]:
        """The models that may answer instead of the strong one, the cheapest first.

        Other models than the weak one take part where the strategy chooses by what is learned.
        """
        if not self._chooses or (len(models) == 2 and not self._drafters):
            return (Standing(WEAK, self._pair(models)[0]),)
        if self._drafters:
            models = {name: model for name, model in models.items() if name in (*self._drafters, WEAK, STRONG)}
        ids = dict(zip((WEAK, STRONG), self._pair(models), strict=True))
        for name, model in models.items():
            if name not in ids and model.id in ids.values():
                self._tell(f"same:{name}", "Two models are named %r, so nothing is learned about %r.", model.id, name)
            ids.setdefault(name, model.id)
        one_each = {id: name for name, id in reversed(ids.items())}  # the first of each id
        return self._order(namespace, {name: id for name, id in ids.items() if one_each[id] == name})

    @property
    def models(self) -> Models | None:
        """Those that the router was given, by role; None if each call brings its own."""
        return self._models

    def _models_of(self, models: Models | None) -> Models:
        models = self._models if models is None else models
        if models is None:
            raise MissingModelError(WEAK, "and `strong=`, to the router or to the call")
        return models

    def _check_order(self, models: Models) -> None:
        ids = models[WEAK].id, models[STRONG].id
        if ids not in self._compared:
            self._compared.add(ids)
            if (warning := order.by_price(self.ledger.prices, *ids)) is not None:
                self._tell(f"order:{ids}", "%s", warning, advice=True)

    def _after_fork(self) -> None:
        self.ledger.after_fork()


def _version_of(policy: Policy) -> str:
    settings = f"{type(policy).__module__}.{type(policy).__qualname__} {shown(policy)}"
    return f"{version('rar-llm')}+{hashlib.blake2b(settings.encode(), digest_size=4).hexdigest()}"


def _floor_in(floors: Mapping[str, float], usual: float | None, namespace: str | None) -> float | None:
    return usual if namespace is None else floors.get(namespace, usual)


def _to_send(messages: Any) -> tuple[Message, ...]:
    found = tuple(messages) if isinstance(messages, Sequence) else ()
    if not found or not all(isinstance(message, Message) for message in found):
        raise StrategyError(f"a `Route` with messages={shown(messages)}")
    return found


def _models(weak: Any, strong: Any, others: Mapping[str, Any] | None) -> Models | None:
    if weak is None and strong is None and not others:
        return None
    for role, model in ((WEAK, weak), (STRONG, strong)):
        if model is None:
            raise MissingModelError(role)
    return {WEAK: as_model(weak, WEAK), STRONG: as_model(strong, STRONG), **named_models(others, as_model)}


def _policy(settings: RouterSettings) -> Policy:
    return as_policy(
        settings.policy, quality=settings.quality, audit_rate=settings.audit_rate, promise=settings.promise
    )


def _strategy(value: Any, policy: Policy) -> Strategy:
    if value is None or value == "rar":
        return RAR(policy)
    if isinstance(value, str) or not (isinstance(value, Strategy) or callable(value)):
        raise UnknownNameError("strategy", value, ("rar",))
    return as_strategy(value)


def _rebuild(config: dict[str, Any]) -> Router:
    return Router(**config)


_routers: weakref.WeakSet[Router] = weakref.WeakSet()


def _after_fork() -> None:
    for router in list(_routers):
        router._after_fork()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
