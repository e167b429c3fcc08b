"""OpenTelemetry: what was decided on the framework's own span, memory spans, and results of judges as events.

    from rar.integrations.otel import OpenTelemetry

    RouterChatModel(..., observers=[OpenTelemetry()])

Spans of models and chains are made by instrumentors, OpenInference's for example. This observer adds attributes to
theirs. Memory operations and evaluations have the names of OpenTelemetry's GenAI conventions, and what is RAR's own
begins with `rar.`. No text of a prompt is told, unless `questions=True` asks for it.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from rar.errors import MissingDependencyError
from rar.integrations.aside import Aside
from rar.integrations.expected import Expectations, strong_id_of
from rar.integrations.watched import Watched
from rar.observers import Called, Decided, Learned, Stored, decision_of
from rar.runs import current_run
from rar.values import Answer, Decision

try:
    from opentelemetry import context as contexts
    from opentelemetry import trace
    from opentelemetry._logs import LogRecord, get_logger
    from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind
except ImportError as error:
    raise MissingDependencyError("OpenTelemetry", "otel") from error

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.trace import TracerProvider

    from rar.facts import AttemptFact, DecisionFacts
    from rar.memory.base import Memory
    from rar.memory.forgetting import Gone
    from rar.router import Router

T = TypeVar("T")

DECIDE = "rar.decide"  # the span of a decision where no framework's span is known
SEARCH, UPSERT, CREATE, DELETE = "search_memory", "upsert_memory", "create_memory", "delete_memory"
EVALUATION = "gen_ai.evaluation.result"
SERVED = "rar.served"  # an event: what an answer cost, where its span had ended before that was known

_SERVING = 1_000  # decisions whose answer is awaited
_TRACED = 10_000  # decisions whose place in a trace is known to lessons
_NANO = 1_000_000_000


@dataclass(slots=True)
class _Serving:
    """A decision on its way to its answer."""

    span: Span
    router: Router
    decision: Decision
    more_usd: float | None  # calls beside the one that serves
    failed: tuple[str, ...] = ()


class OpenTelemetry:
    """An observer that writes to OpenTelemetry's traces and events. Routers and threads may share it.

    Args:
        tracer_provider, logger_provider: None: the global ones.
        span: Gives the span that a decision is described on, for instrumentors other than OpenInference's. None: the
            one that OpenInference's instrumentors made for the call, or a span `rar.decide` where there is none.
        questions: Also tell the question, as `gen_ai.memory.query.text`.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        span: Callable[[], Span | None] | None = None,
        questions: bool = False,
    ) -> None:
        self._tracer = trace.get_tracer("rar", version("rar-llm"), tracer_provider)
        self._logger = get_logger("rar", version("rar-llm"), logger_provider=logger_provider)
        self._span, self._questions = span, questions
        self._routers, self._aside, self._expectations = Watched(), Aside(), Expectations()
        self._serving: OrderedDict[str, _Serving] = OrderedDict()
        self._traced: OrderedDict[str, SpanContext] = OrderedDict()
        self._guides: OrderedDict[str, str] = OrderedDict()  # that were written, by decision
        self._deletions: WeakKeyDictionary[Memory, _Deletions] = WeakKeyDictionary()

    def __deepcopy__(self, memo: dict[int, Any]) -> OpenTelemetry:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _with_global_providers, (self._questions,)  # others belong to their process

    def attached(self, router: Router) -> None:
        self._routers.add(router)
        self._expectations.forget(router)
        if (watch := getattr(router.memory, "watch", None)) is not None and router.memory not in self._deletions:
            assert router.memory is not None
            told = self._deletions[router.memory] = _Deletions(router.memory.where, self._deleted)
            watch(told.told)

    def detached(self, router: Router) -> None:
        self._aside.flush()  # its process may end without any notice

    def flush(self) -> None:
        """Hand all spans and events over now; they come a tenth of a second later else, and at the process's end."""
        self._aside.flush()

    # --- events of a router -----------------------------------------------------------------------------------------

    def decided(self, event: Decided) -> None:
        decision = decision_of(event)
        if decision is None or contexts.get_value(_SUPPRESSED):
            return
        router = self._routers.of(event.decision_id)
        if router is None:
            return
        now, attributes = time.time_ns(), described(decision)
        attributes.update(self._expectations.of(router, decision, event.at))
        span = self._current(decision)
        if span is None:
            began = now - round((event.strategy_seconds + event.recall_seconds) * _NANO)
            span = self._tracer.start_span(DECIDE, attributes=attributes, start_time=began)
            span.end(now)
        else:
            span.set_attributes(attributes)
        if not isinstance(decision.choice, Answer):  # else a draft is what is served
            drafted = _drafted(decision) if decision.calls else 0.0
            _put(self._serving, decision.id, _Serving(span, router, decision, drafted), _SERVING)
        self._aside.put(self._decided, router, decision, span, event, now)

    def called(self, event: Called) -> None:
        if event.purpose == "serve" and event.error is None:
            serving = self._serving.pop(event.decision_id, None)
            if serving is not None:
                self._answered(event, serving)
        elif event.purpose in ("serve", "draft"):
            serving = self._serving.get(event.decision_id)
            if serving is not None and event.error is not None:
                serving.failed = (*serving.failed, event.model)
            elif serving is not None:
                serving.more_usd = _sum(serving.more_usd, event.usd)

    def _answered(self, event: Called, serving: _Serving) -> None:
        self._aside.put(self._expectations.renew, serving.router, serving.decision, event.at)
        if serving.span.is_recording():
            serving.span.set_attributes(_served(event, serving))
        else:
            known = {"rar.decision_id": event.decision_id, "rar.model": event.model} | _served(event, serving)
            self._tell(SERVED, serving.span.get_span_context(), known, time.time_ns())

    def learned(self, event: Learned) -> None:
        self._aside.put(self._learned, event, time.time_ns())

    def stored(self, event: Stored) -> None:
        if event.experiences or event.guides or event.trials:
            self._aside.put(self._stored, event, time.time_ns())

    # --- aside, in the order of the events --------------------------------------------------------------------------

    def _decided(self, router: Router, decision: Decision, span: Span, event: Decided, now: int) -> None:
        _put(self._traced, decision.id, span.get_span_context(), _TRACED)
        if not event.recall_seconds or router.memory is None:
            return
        where, ended = router.memory.where, now - round(event.strategy_seconds * _NANO)
        began = ended - round(event.recall_seconds * _NANO)
        attributes = _memory(SEARCH, where)
        evidence = decision.request.evidence
        if evidence is not None:
            attributes["gen_ai.memory.record.count"] = len(evidence.matches) + len(evidence.guides)
        if self._questions and decision.request.key is not None:
            attributes["gen_ai.memory.query.text"] = decision.request.key
        above = trace.set_span_in_context(span)
        self._tracer.start_span(SEARCH, above, _kind(where), attributes, start_time=began).end(ended)

    def _learned(self, event: Learned, now: int) -> None:
        facts = event.facts
        found, place = facts.learned, self._traced.get(facts.decision_id)
        if found is None:
            return
        if found.audit_agreed is not None:
            self._evaluated(facts, place, facts.model, facts.guide_id, float(found.audit_agreed), now, served=True)
        for attempt in found.attempts:
            self._evaluated(
                facts, place, attempt.model, attempt.guide_id, _score(attempt), now, judge=attempt.judge, ok=attempt.ok
            )
        if found.guide_written is not None:
            _put(self._guides, facts.decision_id, found.guide_written, _SERVING)

    def _stored(self, event: Stored, now: int) -> None:
        places = [place for id in event.decisions if (place := self._traced.get(id)) is not None]
        router = next((one for id in event.decisions if (one := self._routers.of(id)) is not None), None)
        where = "" if router is None or router.memory is None else router.memory.where
        began = now - round(event.seconds * _NANO)
        for id in event.decisions:
            guide = self._guides.pop(id, None)
            if guide is not None:
                self._wrote(CREATE, where, places, began, now, 1, guide)
        if event.experiences or event.trials:
            self._wrote(UPSERT, where, places, began, now, max(event.experiences, 1))

    def _deleted(self, where: str, now: int) -> None:
        """By whatever process: a trace of its own, for the call that came upon it has nothing to do with it."""
        span = self._tracer.start_span(DELETE, contexts.Context(), _kind(where), _memory(DELETE, where), start_time=now)
        span.end()

    # --- spans and events -------------------------------------------------------------------------------------------

    def _current(self, decision: Decision) -> Span | None:
        """The span of the framework's call, as long as it records."""
        if self._span is not None:
            span = self._span()
        else:
            source = decision.request.source
            span = _of_langchain() if source == "langchain" else _of_llama_index() if source == "llama_index" else None
        return span if span is not None and span.is_recording() else None

    def _wrote(
        self, operation: str, where: str, places: list[SpanContext], began: int, ended: int, count: int, id: str = ""
    ) -> None:
        """A write: under the call that it is about, or linked to several."""
        attributes = _memory(operation, where) | {"gen_ai.memory.record.count": count}
        if id:
            attributes["gen_ai.memory.record.id"] = id
        above = _under(places[0]) if len(places) == 1 else contexts.Context()
        links = [Link(place) for place in places] if len(places) > 1 else None
        self._tracer.start_span(operation, above, _kind(where), attributes, links, began).end(ended)

    def _evaluated(
        self,
        facts: DecisionFacts,
        place: SpanContext | None,
        model: str,
        guide_id: str | None,
        score: float,
        now: int,
        *,
        judge: str = "",
        ok: bool | None = None,
        served: bool = False,
    ) -> None:
        agrees = score >= 0.5 if ok is None else ok
        attributes: dict[str, Any] = {
            "gen_ai.evaluation.name": "agreement",
            "gen_ai.evaluation.score.value": score,
            "gen_ai.evaluation.score.label": "pass" if agrees else "fail",
            "rar.decision_id": facts.decision_id,
            "rar.namespace": facts.namespace,
            "rar.model": model,
            "rar.arm": _arm(model, guide_id),
            "rar.evaluation.of": "served" if served else "shadow",
        }
        attributes |= {"rar.guide_id": guide_id} if guide_id else {}
        attributes |= {"rar.judge": judge} if judge else {}
        self._tell(EVALUATION, place, attributes, now)

    def _tell(self, name: str, place: SpanContext | None, attributes: Mapping[str, Any], now: int) -> None:
        context = contexts.Context() if place is None else _under(place)
        record = LogRecord(timestamp=now, context=context, event_name=name, attributes=attributes)
        self._aside.put(self._logger.emit, record)


class _Deletions:
    """Hears what was deleted from one memory."""

    def __init__(self, where: str, tell: Callable[[str, int], None]) -> None:
        self._where, self._tell = where, tell

    def told(self, _: Gone) -> None:
        self._tell(self._where, time.time_ns())


def described(decision: Decision) -> dict[str, Any]:
    """A decision as attributes of a span."""
    choice = decision.choice
    route = None if isinstance(choice, Answer) else choice
    model, guide = (choice.reply.model, None) if isinstance(choice, Answer) else (choice.model, choice.guide)
    known: dict[str, Any] = {
        "rar.decision_id": decision.id,
        "rar.namespace": decision.request.namespace,
        "rar.task": decision.request.task,
        "rar.model": model,
        "rar.arm": model if guide is None else _arm(model, guide.id),
        "rar.reason": choice.reason,
    }
    if guide is not None:
        known["rar.guide_id"] = guide.id
    if choice.confidence is not None:
        known["rar.confidence"] = choice.confidence
    if route is not None and route.needed is not None:
        known["rar.needed"] = route.needed
    if route is not None and route.audit:
        known["rar.audit"] = True
    if decision.drafts:
        known["rar.drafts"] = decision.drafts
    if decision.floor is not None:
        known["rar.quality.floor"] = decision.floor
    return known


def _served(event: Called, serving: _Serving) -> dict[str, Any]:
    """What an answer cost and saved, and who gave it, where that is another model than was chosen."""
    strong = serving.router.ledger.strong_usd(event, strong_id_of(serving.decision))
    spent, chosen = _sum(event.usd, serving.more_usd), serving.decision.model
    known: dict[str, Any] = {}
    if spent is not None:
        known["rar.cost.usd"] = spent
    if strong is not None:
        known["rar.cost.strong_usd"] = strong
        if spent is not None:
            known["rar.saving.usd"] = strong - spent
    if event.model != chosen:
        known |= {"rar.model": event.model, "rar.arm": event.model, "rar.failed_over": serving.failed or (chosen,)}
    elif serving.failed:
        known["rar.failed_over"] = serving.failed
    return known


def _memory(operation: str, where: str) -> dict[str, Any]:
    known: dict[str, Any] = {"gen_ai.operation.name": operation}
    return known | {"gen_ai.memory.store.id": where} if where else known


def _kind(where: str) -> SpanKind:
    """A memory that is a file is in this process; one with a server's address is not."""
    return SpanKind.CLIENT if "://" in where and not where.startswith("sqlite:") else SpanKind.INTERNAL


def _arm(model: str, guide_id: str | None) -> str:
    return f"{model}+guide" if guide_id else model


def _score(attempt: AttemptFact) -> float:
    return float(attempt.ok) if attempt.gap is None else 1.0 - attempt.gap


def _drafted(decision: Decision) -> float | None:
    usd: float | None = 0.0
    for call in decision.calls:
        usd = _sum(usd, call.usd)
    return usd


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _put(kept: OrderedDict[str, T], id: str, value: T, most: int) -> None:
    kept[id] = value
    if len(kept) > most:
        kept.popitem(last=False)


def _under(place: SpanContext) -> contexts.Context:
    return trace.set_span_in_context(NonRecordingSpan(place), contexts.Context())


_SUPPRESSED: str = getattr(contexts, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")


def _of_langchain() -> Span | None:
    """The span of the run that the call is, or is part of."""
    module: Any = sys.modules.get("openinference.instrumentation.langchain")
    if module is None:
        return None
    run, instrumentor = current_run(), module.LangChainInstrumentor()
    if getattr(instrumentor, "_tracer", None) is None:  # it would print that
        return None
    span: Span | None = module.get_current_span() if run is None else instrumentor.get_span(run)
    return span


def _of_llama_index() -> Span | None:
    module: Any = sys.modules.get("openinference.instrumentation.llama_index")
    span: Span | None = None if module is None else module.get_current_span()
    return span


def _with_global_providers(questions: bool) -> OpenTelemetry:
    return OpenTelemetry(questions=questions)


NAMES: Mapping[str, str] = {
    "rar.decision_id": "the decision, as in `router.explain`",
    "rar.namespace": "tenant or app",
    "rar.task": "kind of work, in which form",
    "rar.model": "who answers, by the name in the router",
    "rar.arm": "the model, with `+guide` where it was given one",
    "rar.guide_id": "the guide",
    "rar.reason": "why, a code",
    "rar.audit": "chance chose to check the cheaper model here",
    "rar.drafts": "calls of a strategy before the decision",
    "rar.confidence": "lower bound of the cheaper answer's quality",
    "rar.needed": "what that was held against",
    "rar.quality.floor": "the share of the strong model's quality to keep",
    "rar.policy": "the policy's class",
    "rar.policy.version": "changes with the policy's settings and with the package",
    "rar.cost.expected_usd": "what the call was expected to cost",
    "rar.saving.expected_usd": "what the strong model was expected to cost above that",
    "rar.cost.usd": "what the answer cost, drafts and refused answers included",
    "rar.cost.strong_usd": "what the strong model would have cost for the same tokens",
    "rar.saving.usd": "the difference: net of drafts, before learning",
    "rar.failed_over": "models that failed before",
    "rar.evaluation.of": "`served`: the user's answer; `shadow`: one that nobody saw",
    "rar.judge": "which judge compared",
}
"""What each attribute of RAR's own says."""
