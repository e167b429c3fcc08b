"""The router: recall, decide, learn. Framework-neutral; plugins make the serving call themselves."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from rar.counting import Counting
from rar.deciding import Deciding, Draws, Remembered
from rar.drive import Model, Models
from rar.embedding import as_embedder
from rar.embedding.cache import CachedEmbedder
from rar.errors import (
    ClosedError,
    ConfigurationError,
    MissingModelError,
    OtherModelsError,
    UnknownDecisionError,
    UnknownNameError,
)
from rar.failover import Failover
from rar.health import Health
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
from rar.learning.spending import Budgets
from rar.learning.worker import CLOSING
from rar.learning.writer import Writer
from rar.ledger import Ledger
from rar.lineup import Floors, Lineup
from rar.memory.base import Memory
from rar.memory.forgetting import Gone
from rar.memory.lessons import PackedLesson
from rar.memory.opening import as_memory
from rar.memory.queueing import queue_of
from rar.metering import rules
from rar.models import as_model, named_models
from rar.naming import cause, shown
from rar.notices import Notices
from rar.observers import Observers
from rar.options import RouterOptions, RouterSettings, settings_of, shows_options
from rar.own_guides import GuideShelf, OwnGuide, OwnState
from rar.parts import arun, run
from rar.prefixes import Prefixes
from rar.prices import Prices
from rar.purses import purse_of
from rar.recall import Recall, follows_verdicts
from rar.recent import Recent
from rar.redaction import Redaction
from rar.reviving import revived
from rar.rollout import Steering
from rar.routers import as_static_router
from rar.stamps import is_sealed, sealing_key
from rar.strategies import RAR
from rar.strategy import HearsServed, Strategy, as_strategy
from rar.values import (
    GUIDE_MODEL,
    STRONG,
    WEAK,
    Answer,
    Decision,
    Failure,
    Guide,
    Reply,
    Request,
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
        self.strategy = _strategy(settings.strategy, self.policy)
        self._models = _models(weak, strong, models)
        writer = settings.guide_model
        self._guide_writer: dict[str, Model] = {} if writer is None else {GUIDE_MODEL: as_model(writer, GUIDE_MODEL)}
        self._clock, self._store_text = settings.clock, settings.store_text
        self._tell, self._recent, self._pairs = Notices(), Recent(), Pairs(settings.seed)
        self._redaction = Redaction(settings.redact, self._tell)
        self.health = Health(settings.clock)
        self._learning: LearningLoop | None = None
        self._corrections: Corrections | None = None
        self._kept: KeptAnswers | None = None
        floors = Floors(getattr(self.policy, "quality", None), settings.floors or {})
        self._prepare(settings, floors)
        self._views = Views(
            self.memory, self.ledger, self._learning, self._recent, floors.of, settings.clock, self._ceilings
        )
        self._labelling = Labelling(self._pairs, self._corrections, self._learning, self._views.record, settings.clock)
        if (watch := getattr(self.memory, "watch", None)) is not None:
            watch(self._forget)
        _routers.add(self)
        self._observers.attach(self)

    def _prepare(self, settings: RouterSettings, floors: Floors) -> None:
        """Open the memory, and load what reads texts and prices, what learns and what recalls."""
        self.ledger = Ledger(
            Prices(settings.prices), budget_share=settings.learning_budget, judge_share=settings.judge_budget,
            usd_per_day=settings.learning_usd_per_day, notices=self._tell,
        )  # fmt: skip
        self._lineup = Lineup(settings.weak_id, settings.strong_id, self.strategy, self.ledger, self._tell)
        if self._models is not None:
            self.pair(self._models)
        judges = self._open(settings)
        self.ledger.purse = purse_of(self.memory, self._tell, read_only=settings.read_only)
        self._budgets = Budgets(self.ledger, *self.ledger.budgets)
        static = as_static_router(settings.static_router)
        prior = None if static is None else Prior(static, self.embedder.id if self.embedder is not None else "")
        held = rules(
            settings.limits, settings.spend, settings.over_limit, self.ledger, self.memory, self._tell, settings.clock
        )
        self._ceilings = held.ceilings
        rollout = None
        if settings.rollout is not None and self.memory is not None:
            rollout = Steering(settings.rollout, self.memory, floors.kept, settings.clock)
        own = [one for one in (self.ledger, self._budgets, self._ceilings, rollout) if one is not None]
        self._observers = Observers((*own, *settings.observers), self._tell, settings.clock)
        if self._ceilings is not None:
            self._ceilings.begin(self._observers)
        self._failover = Failover(self.ledger, self.health, degrade=self.degrade)
        self._calls = Counting(self.ledger, self._observers, settings.clock)
        self._prefixes = Prefixes(self.ledger)
        remembered = None
        if self.memory is not None and self.embedder is not None:
            remembered = self._learn_from(self.memory, self.embedder, judges, prior, settings)
        self._deciding = Deciding(
            self.strategy, self.policy, floors, self._lineup, self.ledger, held, self._observers, self._redaction,
            self._prefixes, self._recent, self._tell, settings.clock, Draws(settings.seed), prior, remembered, rollout,
            sealing_key(self.memory),
        )  # fmt: skip

    def _open(self, settings: RouterSettings) -> Judge:
        """Open the memory and what embeds questions for it; returns what judges answers."""
        self._owns_memory = isinstance(settings.memory, (str, os.PathLike))
        self.memory: Memory | None = as_memory(settings.memory)
        embeds = as_embedder("minilm" if settings.embedder is None else settings.embedder)
        self.embedder = CachedEmbedder(embeds) if self.memory is not None else None
        judges = as_judge(settings.judge, embedder=self.embedder or embeds)
        if self.memory is not None and self.embedder is not None:
            self.memory.bind(self.embedder.id, self.embedder.dim)
        return judges

    def _learn_from(
        self, memory: Memory, embedder: CachedEmbedder, judges: Judge, prior: Prior | None, settings: RouterSettings
    ) -> Remembered:
        self.ledger.seed(memory.spending())
        self._corrections = corrections = Corrections(memory, settings.clock)
        screen = Screen(memory, approved=settings.guides == "review", observers=self._observers)
        scores = LearnedScores(memory, prior, stated_error(settings.paraphrase, self.policy))
        writes_guides = settings.store_text if settings.guides is None else bool(settings.guides)
        ladder = Ladder(
            judges, write_guides=writes_guides, check=settings.guide_check,
            author=next(iter(self._guide_writer), STRONG),
        )  # fmt: skip
        learner = Learner(
            memory, self.ledger, ladder, self.policy,
            settings.near, settings.retry_after, settings.store_text, settings.store_answers,
            self._redaction.clean if settings.redact is not None else None, settings.clock, notices=self._tell,
            screen=screen, observers=self._observers, ceilings=self._ceilings, budgets=self._budgets,
            timeout=LEARNING_TIMEOUT if settings.timeout is None else settings.timeout,
            guide_style=settings.guide_style, pairs=self._pairs, drafts=bool(self._lineup.drafters),
        )  # fmt: skip
        read_only = settings.read_only or bool(getattr(memory, "read_only", False))
        if settings.learning == "queue" and not read_only:
            queue_of(memory).prepare()
        self._learning = LearningLoop(
            learner, Writer(memory, self.ledger, self._tell, self._observers), screen, scores,
            mode="off" if read_only else settings.learning, stores=not read_only,
            learns_not="read_only" if read_only else "off" if settings.learning == "off" else None,
        )  # fmt: skip
        recall = Recall(
            memory, embedder, screen, scores, prior, self._tell, self._learning.ready,
            follows_verdicts(self.strategy, self.policy), settings.same, settings.near, settings.limit,
            corrections, self._observers, bool(self._lineup.drafters),
        )  # fmt: skip
        if isinstance(self.strategy, LooksUp) and settings.store_text:
            remember = None if read_only else self._learning.remember
            self._kept = KeptAnswers(memory, remember, learner.redact, settings.clock)
        return Remembered(memory, recall, self._learning, self._kept)

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
        return run(self._deciding.steps(request, self._models_of(models)))

    async def adecide(self, request: Request, models: Models | None = None) -> Decision:
        """`decide` for callers with an event loop: what reads files, embeds or predicts does so in a thread."""
        return await arun(self._deciding.steps(request, self._models_of(models)))

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

    def stamped(self, facts: Mapping[str, Any], seal: object, namespace: str) -> bool:
        """Whether these facts of a response were stamped by a router of this memory in `namespace`, and not made up."""
        return is_sealed(self._deciding.key, facts, seal, namespace)

    # --- learning ---------------------------------------------------------------------------------------------------

    def learn(self, decision: Decision, reply: Reply, models: Models | None = None) -> None:
        """Hand over a served reply, whole also when it was streamed. Never raises; returns at once unless inline.

        Call it after success only: an abandoned stream or an error teaches nothing.
        """
        try:
            models = self._models_of(models)
            reply = reply if reply.model_id else replace(reply, model_id=models[decision.model].id)
            self._lineup.check_prices(models)
            self.health.answered(decision.model)
            if not isinstance(decision.choice, Answer):  # an accepted draft was counted when it was made
                self._calls.called(decision, decision.call, reply)
                self._prefixes.served(decision, reply, models[decision.model].id, self._clock())
            if isinstance(self.strategy, HearsServed) and not self._deciding.closed:
                self.strategy.served(decision, reply)
            if decision.request.kept is not None:  # lessons may wait, and be sent elsewhere
                decision = replace(decision, request=replace(decision.request, kept=None))
            if self._deciding.closed or self._learning is None or not self._learning.stores:
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
        if self._deciding.closed or self._learning is None or self.memory is None:
            raise ClosedError("router")
        if self.memory.applied(lesson.effect):
            return
        models = self._models_of(models)
        unpacked = unpack(lesson, {**models, **self._guide_writer})
        evidence = unpacked.decision.request.evidence
        assert evidence is not None
        ids = {name: model.id for name, model in models.items()}
        ids[WEAK], ids[STRONG] = self._lineup.pair(models)
        wanted = {STRONG: evidence.reference_id, **{one.model: one.model_id for one in evidence.standings}}
        for role, id in wanted.items():
            if ids.get(role) != id:
                raise OtherModelsError(role, id, ids.get(role))
        self._learning.study_once(unpacked, lesson.effect)

    def refused(self, decision: Decision, reply: Reply) -> None:
        """Count a reply that was paid for and is not served, since it holds no answer. Never raises."""
        self._calls.refused(decision, reply)

    def joined(self, decision: Decision, share: Reply, count: int, *, answered: bool) -> Decision:
        """Count a request's share of a call that `count` requests were joined into, and return its decision with it.

        Nothing is learned from an answer to several questions: it may be worse than one that was asked for alone.

        Args:
            answered: False: the call gave no answer to this request, which is to be asked alone.
        """
        after = self._calls.joined(decision, share, count, answered=answered)
        if answered:
            self._recent.add(after)  # a word on it teaches nothing either
        return after

    def unpaid(self, decision: Decision) -> None:
        """Note that an answer came from a cache, so that no ceiling waits for its cost."""
        if self._ceilings is not None:
            self._ceilings.release(decision.id)

    def failed(self, decision: Decision, error: Exception) -> None:
        """Tell observers that a serving call raised `error`. Never raises."""
        if not isinstance(decision.choice, Answer):
            self._calls.called(decision, decision.call, Failure(decision.model, error))

    def costs(self, decision: Decision, reply: Reply, models: Models | None = None) -> dict[str, Any]:
        """The cost of a served reply as far as it is known, to be shown with `decision.as_dict()`. Never raises.

        Returns:
            `usd` of this call and `strong_usd` of the same tokens at the strong model's price, None where no price is
            known; `input_tokens`, `output_tokens`, and `estimated` if the provider did not report both; `calls`, all
            that were made for the decision.
        """
        return self._calls.costs(decision, reply, models or self._models or {})

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
        self._check_open()
        self.flush(LOOK)
        decision = self._recent.get(decision_id)
        if decision is not None:
            record = record_of(Served(decision), store_text=self._store_text)
        elif self.memory is None or self.embedder is None or (found := self.memory.decision(decision_id)) is None:
            raise UnknownDecisionError(decision_id)
        else:
            record, decision = found, revived(found, self.memory, self.embedder, self._deciding.epoch)
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
        self._check_open()
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
        self._check_open()
        self.flush(LOOK)
        self._labelling.label(decision_id, weak, strong, weight, self._deciding.epoch)

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
        if self._deciding.closed:
            return
        if self._learning is not None:
            self._learning.close(timeout)
        if self.ledger.purse is not None:
            self.ledger.purse.close()
        self._deciding.closed = True
        if self.memory is not None and self._owns_memory:
            self.memory.close()
        self._observers.detach(self)

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
        self._check_open()
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
        self._check_open()
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
        self._check_open()
        return self._views.stats()

    def decisions(self, limit: int = 20) -> list[dict[str, Any]]:
        """The last decisions of this router's memory, newest first, with their facts: for callers that see no response.

        Raises:
            ClosedError: The router was closed.
        """
        self._check_open()
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
        self._check_open()
        self.flush()
        return self._views.report(namespace, days)

    def explain(self, decision_id: str) -> dict[str, Any]:
        """Why a decision was made and what was learned from it, JSON-able.

        Raises:
            UnknownDecisionError: No such decision is known, here or in the memory.
        """
        self._check_open()
        self.flush(LOOK)
        return self._views.explain(decision_id)

    # --- small parts ------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._deciding.closed:
            raise ClosedError("router")

    def pair(self, models: Models) -> tuple[str, str]:
        """The ids under which this pair's verdicts are kept.

        Raises:
            SameModelError: They are equal.
            UnknownModelError: The strategy lists a model that is not among `models`.
        """
        return self._lineup.checked(models)

    @property
    def models(self) -> Models | None:
        """Those that the router was given, by role; None if each call brings its own."""
        return self._models

    def _models_of(self, models: Models | None) -> Models:
        models = self._models if models is None else models
        if models is None:
            raise MissingModelError(WEAK, "and `strong=`, to the router or to the call")
        return models

    def _after_fork(self) -> None:
        self.ledger.after_fork()


def _version_of(policy: Policy) -> str:
    settings = f"{type(policy).__module__}.{type(policy).__qualname__} {shown(policy)}"
    return f"{version('rar-llm')}+{hashlib.blake2b(settings.encode(), digest_size=4).hexdigest()}"


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
