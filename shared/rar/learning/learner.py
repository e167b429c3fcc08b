"""The learner: turns a served answer into what memory should hold. The I/O around `rar.learning.shadow`."""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from rar.ceilings import Ceilings
from rar.drive import Model, Models, drive
from rar.errors import BudgetError, LessonFailedError
from rar.evidence import Evidence
from rar.facts import EvidenceFacts, LearnedFacts, facts_of, read_facts
from rar.guide_form import style_of
from rar.learning.answers import judged_answers
from rar.learning.drafting import with_drafts
from rar.learning.guide_style import StyleChoice, style_for
from rar.learning.guides import first_state
from rar.learning.obstacles import asks, obstacle
from rar.learning.pairs import Pairs, judged_pair
from rar.learning.policy import FloorPolicy, Judged, PaperPolicy, Policy
from rar.learning.prospects import SAMPLED, Scout, drawn_by_chance, from_model, not_spared, weight_of
from rar.learning.records import Served, learned_facts, record_of
from rar.learning.scores import Kind, kinds_of
from rar.learning.screen import Screen
from rar.learning.shadow import DRAFT, Findings, Ladder
from rar.learning.spending import Budgets, Spending
from rar.learning.verdicts import due, works_in
from rar.ledger import Ledger
from rar.memory.base import Batch, DecisionRecord, JudgedAnswers, Memory, PolicyStep
from rar.memory.identity import keyed_digest
from rar.memory.transitions import double_of
from rar.notices import Notices
from rar.observers import Learned, Observers
from rar.sameness import signature
from rar.sizes import size_of
from rar.strategy import Outcome, Steps
from rar.timeouts import within
from rar.values import GUIDE_MODEL, STRONG, Call, Decision, Experience, Failure, Guide, Reply, Request, Route, Trial

LEARNING_TIMEOUT = 120.0  # seconds: slow reasoning models take one or two minutes
_OPTIONS = 50  # parts of a call's options and reply that are weighed
_UNDECIDED = 10_000  # of these are kept in mind


@dataclass(frozen=True, slots=True)
class Lesson:
    """A served answer to learn from, with the models that can be asked about it."""

    decision: Decision
    reply: Reply
    models: Models
    costs: Mapping[str, Any] = field(default_factory=dict)

    def left(self, code: str | None) -> Served:
        """What is kept of it where nothing was learned, with the code of why."""
        return Served(self.decision, self.costs, code)

    def size(self) -> int:
        """About how many bytes it takes: prompts may hold images."""
        request = self.decision.request
        # Options hold what a framework wants back, of which little is the call's own.
        return size_of(request.key, request.messages) + size_of(request.options, self.reply, parts=_OPTIONS)


@dataclass(frozen=True)
class Learner:
    """Studies lessons one at a time (the worker's handler). Calls of one router never run at once.

    Args:
        near: Cosine from which an older guide is tried on a request.
        guide_style: Of the guides that are written.
        retry_after: Seconds after which a request that only the strong model could answer is tried again.
        store_answers: Whether the answers that a judge compared are kept, too.
        redact: Applied to every guide and answer before it is stored; None from it means that it cannot be.
        timeout: Seconds after which a call that does not come back is given up: what hangs must not end all learning.
        notices: Told once that a judge cannot tell.
        screen: Keeps out the guides whose text may no longer be used.
        observers: Told of calls and of what was learned, the ledger among them.
        ceilings: What learning and serving may cost together.
        budgets: What learning may cost, where processes share a memory; None: the ledger's.
        pairs: Holds what was judged for people to grade; None: nothing is held.
        drafts: Whether a score of drafts is fitted.
    """

    memory: Memory
    ledger: Ledger
    ladder: Ladder
    policy: Policy
    near: float = 0.5
    retry_after: float = 7 * 86_400.0
    store_text: bool = True
    store_answers: bool = False
    redact: Callable[[str], str | None] | None = None
    clock: Callable[[], float] = time.time
    timeout: float = LEARNING_TIMEOUT
    notices: Notices = field(default_factory=Notices)
    screen: Screen | None = None
    observers: Observers = field(default_factory=Observers)
    ceilings: Ceilings | None = None
    budgets: Budgets | None = None
    guide_style: StyleChoice = "steps"
    pairs: Pairs | None = None
    drafts: bool = False
    _waiting: set[str] = field(default_factory=set, init=False, repr=False)  # namespaces that spent their budget
    _undecided: dict[str, float] = field(default_factory=dict, init=False, repr=False)  # experience id -> when

    def study(self, lesson: Lesson, claim: Callable[[], bool] | None = None, *, again: bool = False) -> Batch:
        """Make the calls that this lesson is worth, and return all that is to be written about it.

        Args:
            claim: Asked before models are tried on a request: false if another process is trying them on it.
            again: The lesson can be studied again, so that nothing need be written where nothing was learned.

        Raises:
            LessonFailedError: A call failed before anything was learned, or another process has the request. Only with
                `again`.
        """
        decision = lesson.decision
        request, evidence = decision.request, decision.request.evidence
        code = obstacle(decision, lesson.reply)
        if code is not None or evidence is None or request.embedding is None:
            return lesson.left(code).batch(store_text=self.store_text)
        now, began = self.clock(), time.perf_counter()
        found = self._climb(lesson, now, claim)
        if again and found.not_learned in {"call_failed", "elsewhere"}:
            raise LessonFailedError(found.stopped or found.not_learned) from found.error
        steps = self._steps(decision, evidence, found)
        self._tell(found, request.namespace)
        if self.pairs is not None and self.store_text and (pair := judged_pair(found, decision, lesson.reply)):
            self.pairs.add(pair)
        author = lesson.models[GUIDE_MODEL].id if self.ladder.author == GUIDE_MODEL else ""
        guides, trials = self._written(found, decision, evidence, now, author)
        experiences = (self._experience(decision, now),) if trials else ()
        learned = learned_facts(found, guides, store_text=self.store_text)
        record = record_of(lesson.left(found.not_learned), store_text=self.store_text, learned=learned)
        if asks(decision):
            quotes_nothing = learned_facts(found, guides, store_text=False)
            self.tell_learned(lesson.left(found.not_learned), quotes_nothing, time.perf_counter() - began)
        judged: tuple[JudgedAnswers, ...] = ()
        if self.store_answers:
            written = guides[0].id if guides else DRAFT
            judged = judged_answers(found, decision, lesson.reply, now, written=written, clean=self.redact)
        return Batch(
            experiences, (*guides, *self._turned(found)), trials, steps, (), (record,), judged=judged,
            epoch=decision.epoch,
        )  # fmt: skip

    def tell_learned(self, served: Served, learned: LearnedFacts | None = None, seconds: float = 0.0) -> None:
        """Tell observers that a lesson is over."""
        if self.observers.hear(Learned):
            facts = facts_of(served.decision, costs=served.costs, not_learned=served.not_learned, learned=learned)
            self.observers.tell(Learned(self.clock(), facts, seconds))

    def kinds(self, lesson: Lesson, batch: Batch) -> set[Kind]:
        """The learned scores to which what was written of a lesson brings another example."""
        request, evidence = lesson.decision.request, lesson.decision.request.evidence
        if evidence is None:
            return set()
        known = {kind.model_id: kind for kind in kinds_of(request.namespace, request.task, evidence)}
        tried = {trial.weak_id: trial.ok for trial in batch.trials if trial.guide_id is None}
        helped = {trial.weak_id for trial in batch.trials if trial.guide_id is not None}
        # Where a cheaper model will do, a dearer one's score takes that for an example.
        alone = {kind for id, kind in known.items() if id in tried or any(tried.get(other) for other in kind.cheaper)}
        alone |= {kind.with_drafts for id, kind in known.items() if self.drafts and id in tried}
        return alone | {kind.with_guides for id, kind in known.items() if id in helped}

    def _turned(self, found: Findings) -> tuple[Guide, ...]:
        """The guides to be quarantined for what the weak model said by them."""
        for guide in found.turned:
            logging.getLogger("rar").warning(
                "Guide %s is quarantined: by it the weak model would have had a user call, visit, pay or give "
                "something that the strong model did not name.",
                guide.id,
            )
            self.observers.alarm("quarantined", guide.namespace, guide.id)
        return tuple(replace(guide, state="quarantined") for guide in found.turned)

    def _tell(self, found: Findings, namespace: str) -> None:
        """Say, the first time, what keeps this router from learning, and what can be done."""
        if found.not_learned == "budget":
            self.ledger.tell_paused()
            if namespace not in self._waiting:
                self._waiting.add(namespace)
                self.observers.alarm("budget", namespace)
        elif found.attempts:
            self._waiting.discard(namespace)
        if found.ended == "undecided":
            self.notices(
                "undecided",
                "The judge (%s) could not tell whether a weak answer agrees with the strong one, so nothing is learned "
                "from such questions. Pass judge='llm' to have a model compare them, or a function of request, "
                "reference and candidate.",
                self.ladder.judge.name,
                advice=True,
            )

    def _steps(self, decision: Decision, evidence: Evidence, found: Findings) -> tuple[PolicyStep, ...]:
        if (route := decision.route) is None:
            return ()
        evidence = with_drafts(evidence, route)
        # What a dearer model is tried on for the failure of all others is harder than the rest, and no sample of it.
        first = evidence.standings[0].model if evidence.standings else ""
        alone = {
            one.model: one.gap_or_verdict
            for one in found.attempts
            if one.guide is None and (one.drawn or one.model == first)
        }
        audited = found.served.gap_or_verdict if found.served else None
        if route.instead_of is not None:
            preferred = route.instead_of
            gaps = (one.gap_or_verdict for one in found.attempts if one.arm == preferred and one.drawn)
            audited = next(gaps, None)
            # Where a guide was preferred, the model alone is worse than elsewhere, and no sample of what it is.
            alone.pop(preferred.model, None)
        # What is tried after an answer failed its check was not preferred by anybody.
        judged = Judged(audited, {} if route.check else alone, found.reference)
        return tuple(self.policy.steps(decision.request.namespace, evidence, route, judged))

    def _climb(self, lesson: Lesson, now: float, claim: Callable[[], bool] | None) -> Findings:
        """What the ladder or the audit found, whichever is due; nothing if neither is."""
        decision = lesson.decision
        request, evidence = decision.request, decision.request.evidence
        assert evidence is not None and request.embedding is not None
        if not asks(decision):
            return Findings()
        route = decision.choice
        drawn = drawn_by_chance(route, evidence)
        checks = isinstance(route, Route) and route.check
        models = not_spared(from_model(decision.model, evidence), decision)
        if not checks and not drawn:
            if isinstance(due := self._due(decision, evidence, now, claim), Findings):
                return due
            models = due
        ladder = self._writing(request)
        found = self._scout.look(request, evidence, alone=any(arm.guide is None for arm in drawn[:1]))
        guides, write = found.guides, found.worth_writing
        rest: dict[str, Any] = {"drawn": drawn, "fair": found.fair, "drafts": decision.drafted}
        steps = (
            ladder.audit(request, lesson.reply, decision.guide, guides, models=models, write=write)
            if checks
            else ladder.steps(request, lesson.reply, guides, models=models, write=write, **rest)
        )
        findings = self._drive(steps, lesson.models, decision)
        findings.stands = found.stands
        if findings.ended == "undecided":
            if len(self._undecided) >= _UNDECIDED:
                self._undecided.pop(next(iter(self._undecided)))
            self._undecided[_use(evidence)] = now
        return findings

    def _due(
        self, decision: Decision, evidence: Evidence, now: float, claim: Callable[[], bool] | None
    ) -> list[str] | Findings:
        """The models that are due to be tried where chance chose nothing, or why none is."""
        models = not_spared(self._models_due(evidence, now), decision)
        if not models:
            return Findings()
        # What no judge could decide leaves no trial, and must not be paid for each time that it is asked again.
        if now - self._undecided.get(_use(evidence), -math.inf) < self.retry_after:
            return Findings(stopped="no judge could tell when it was last tried", ended="undecided")
        if claim is None:
            return models
        if not claim():
            return Findings(stopped="another process learns from the same request", ended="elsewhere")
        return not_spared(self._models_due(evidence, now), decision) or Findings()  # what was learned before that

    @cached_property
    def _scout(self) -> Scout:
        expected = None
        if not isinstance(self.policy, PaperPolicy):
            policy = self.policy if isinstance(self.policy, FloorPolicy) else FloorPolicy()
            expected = policy.expected
        return Scout(self.memory, self.screen, self.near, self.ladder.guide_tries, expected)

    def _writing(self, request: Request) -> Ladder:
        """The ladder that has guides written in the style which is due for such requests."""
        if not self.ladder.write_guides:
            return self.ladder
        return replace(self.ladder, style=style_for(self.memory, request, self.near, self.guide_style))

    def _models_due(self, evidence: Evidence, now: float) -> list[str]:
        """The models to be tried on a request, from cheap to dear: none that is dearer than one that works here."""
        known = self.memory.experience(evidence.experience_id)
        models = []
        for standing in evidence.standings:
            if known is None or due(
                known, standing.model_id, evidence.reference_id, now, self.retry_after, standing.since, evidence.context
            ):
                models.append(standing.model)
            elif works_in(known, standing, evidence):
                break
        return models

    def _drive(self, steps: Steps[Findings], models: Models, decision: Decision) -> Findings:
        budgets = self.budgets or Budgets(self.ledger, None, None, None)
        spending = Spending(self.ledger, budgets, self.ceilings, decision.request, self.clock)
        gated = {name: _Gated(model, spending, self.timeout) for name, model in models.items()}

        spent: list[float | None] = []

        def observe(call: Call, outcome: Outcome) -> None:
            if isinstance(outcome, Failure) and isinstance(outcome.error, BudgetError):
                return  # it was not made
            self.observers.tell(
                self.ledger.event_of(call, outcome, decision.request, at=self.clock(), decision_id=decision.id)
            )
            spending.made(call)
            if isinstance(outcome, Reply):
                spent.append(self.ledger.costs(call, outcome, ())["usd"])

        try:
            found = drive(steps, gated, observe)
        finally:
            spending.end()
        found.usd = None if None in spent else sum(usd for usd in spent if usd is not None)
        return found

    def _written(
        self, found: Findings, decision: Decision, evidence: Evidence, now: float, author: str
    ) -> tuple[tuple[Guide, ...], tuple[Trial, ...]]:
        draft = self._draft(found, decision, evidence, now, author)
        double = None if draft is None else self._double(draft)
        if draft is not None and double is not None:
            draft = replace(draft, state="retired")
        trials = []
        # Alone first: by that it is told whether a guide made a difference.
        for attempt in sorted(found.attempts, key=lambda one: one.guide is not None):
            guide_id = attempt.guide.id if attempt.guide else None
            if guide_id == DRAFT:
                if draft is None:
                    continue  # an attempt with a guide that was thrown away proves nothing
                guide_id = (double or draft).id
            standing = evidence.of(attempt.model)
            assert standing is not None  # none but those were tried
            trials.append(
                Trial(
                    evidence.experience_id, guide_id, standing.model_id, evidence.reference_id, attempt.ok, now,
                    attempt.gap, weight_of(attempt, found, decision.choice),
                    context=evidence.context, user=evidence.user,
                )
            )  # fmt: skip
        return () if draft is None else (draft,), tuple(trials)

    def _draft(self, found: Findings, decision: Decision, evidence: Evidence, now: float, author: str) -> Guide | None:
        """The guide that was written, as it is to be kept."""
        request, published = decision.request, isinstance(self.policy, PaperPolicy)
        assert request.embedding is not None
        # One that did not work is kept as such, so that not all its kind's failures have another written.
        text = found.failed if found.guide is None and not published else found.guide
        text = self.redact(text) if self.redact and text is not None else text
        if text is None:
            return None
        helpful = sum(one.ok for one in found.attempts if one.guide is not None and one.guide.id == DRAFT)
        state = first_state(helpful, published=published) if found.guide is not None else "retired"
        return Guide(
            uuid.uuid4().hex, request.namespace, request.task, text, request.embedding,
            author or evidence.reference_id, evidence.experience_id, state, created_at=now, style=style_of(text),
        )  # fmt: skip

    def _double(self, draft: Guide) -> Guide | None:
        """The guide in use or on trial that says nearly the same as one just written."""
        if draft.state == "retired":
            return None
        found = self.memory.search_guides(
            draft.embedding, namespace=draft.namespace, task=draft.task, limit=SAMPLED, states=("active", "candidate")
        )
        return double_of(draft, [entry.guide for entry in found])

    def _experience(self, decision: Decision, now: float) -> Experience:
        request = decision.request
        assert request.key is not None and request.embedding is not None and request.evidence is not None
        return Experience(
            id=request.evidence.experience_id,
            namespace=request.namespace,
            task=request.task,
            text=request.key if self.store_text else None,
            signature=keyed_digest(self.memory.secret, signature(request.key)),
            embedding=request.embedding,
            created_at=now,
            updated_at=now,
            source=request.source,
        )

    def feedback(self, record: DecisionRecord, decision: Decision | None, good: bool) -> Batch:
        """What a user's word on a weak answer adds: a trial like an audit's."""
        evidence = read_facts(record.facts).evidence or EvidenceFacts()
        pair = evidence.pair or ("", "")
        if record.model == STRONG or not record.experience_id or not pair[0]:
            return Batch()  # of the reference, or of a model that nothing is learned about
        now = self.clock()
        trial = Trial(
            record.experience_id, record.guide_id, pair[0], pair[1], good, now,
            context=evidence.context, user=evidence.user,
        )  # fmt: skip
        steps: tuple[PolicyStep, ...] = ()
        if decision is not None and decision.request.evidence is not None and decision.route is not None:
            known = with_drafts(decision.request.evidence, decision.route)
            steps = tuple(self.policy.steps(record.namespace, known, decision.route, Judged(0.0 if good else 1.0)))
        experiences = (self._experience(decision, now),) if decision and decision.request.embedding is not None else ()
        epoch = decision.epoch if decision is not None else None
        return Batch(experiences=experiences, trials=(trial,), steps=steps, epoch=epoch)


@dataclass(frozen=True)
class _Gated:
    """A model that learning may call only while the budget lasts."""

    model: Model
    spending: Spending
    timeout: float

    @property
    def id(self) -> str:
        return self.model.id

    def call(self, call: Call) -> Reply:
        self.spending.admit(call, self.model.id)
        limit = None if getattr(self.model, "at_once", False) else self.timeout
        return within(limit, call.model, lambda: self.model.call(call))

    async def acall(self, call: Call) -> Reply:
        return self.call(call)


def _use(evidence: Evidence) -> str:
    """A request in its context of use."""
    return f"{evidence.experience_id}/{evidence.context}"
