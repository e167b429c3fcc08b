"""Prometheus: counters of what a process does, and gauges that are read from routers when they are scraped.

    from prometheus_client import start_http_server
    from rar.integrations.prometheus import Prometheus

    RouterChatModel(..., observers=[Prometheus()])
    start_http_server(9464)

One object serves all routers of a process. `DASHBOARD` is a Grafana dashboard, `ALERTS` a file of alert rules.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rar.errors import ConfigurationError, MissingDependencyError
from rar.forking import Lock
from rar.integrations.aside import Aside
from rar.integrations.watched import Watched
from rar.observers import Alarmed, Called, Decided, Learned, Stored, decision_of
from rar.values import Answer
from rar.words import NOT_LEARNED, REASONS

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
except ImportError as error:
    raise MissingDependencyError("prometheus-client", "prometheus") from error

from rar.integrations.snapshot import OTHER, Snapshot

if TYPE_CHECKING:
    from rar.router import Router

DASHBOARD = Path(__file__).with_name("grafana.json")
ALERTS = Path(__file__).with_name("alerts.yml")

_DECISION = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_WRITE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_CHOSEN = 10_000  # decisions whose answer is awaited
_REASONS = 50  # of strategies of the user's own


class Labels:
    """The first values that a label takes; all others share one. Any thread may call it."""

    def __init__(self, most: int, known: Collection[str] = ()) -> None:
        self._names = dict.fromkeys(known)
        self._most, self._lock = most + len(self._names), Lock()

    def __call__(self, name: str) -> str:
        if name in self._names:
            return name
        with self._lock:
            if len(self._names) >= self._most:
                return OTHER
            self._names[name] = None
        return name


class Prometheus:
    """An observer that counts for Prometheus. Routers and threads may share it.

    Args:
        registry: Where the metrics are registered; None: prometheus_client's own.
        namespaces: As many get a label of their own; those that come later share `_other`.

    Raises:
        ConfigurationError: The registry has such metrics already: share one object.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, namespaces: int = 50) -> None:
        self._registry = registry = REGISTRY if registry is None else registry
        if not isinstance(namespaces, int) or isinstance(namespaces, bool) or namespaces < 0:
            raise ConfigurationError(f"namespaces={namespaces!r} is no number of labels. Pass 0 or more.")
        self._namespace, self._reason = Labels(namespaces), Labels(_REASONS, REASONS)
        # Counting takes several times as long as noting what to count, so no call waits for it.
        self._routers, self._aside = Watched(), Aside(all=True)
        self._chosen: OrderedDict[str, str] = OrderedDict()
        self._children: dict[tuple[Any, ...], Any] = {}
        self.snapshot = Snapshot(self._routers, self._namespace)
        try:
            registry.register(_Waiting(self._aside))  # before the counters, so that a scrape finds all counted
            self._counters = _counters(registry)
            registry.register(self.snapshot)
        except ValueError as error:
            raise ConfigurationError(
                "This registry has RAR's metrics already. Give all routers the same Prometheus object."
            ) from error
        if registry is REGISTRY:
            _of_process.append(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Prometheus:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_this_process, ()  # registries belong to their process

    def attached(self, router: Router) -> None:
        self._routers.add(router)

    def detached(self, router: Router) -> None:
        self._aside.flush()  # its process may end without any notice

    # --- events of a router -----------------------------------------------------------------------------------------

    def decided(self, event: Decided) -> None:
        self._aside.put(self._decided, event)

    def called(self, event: Called) -> None:
        self._aside.put(self._called, event)

    def learned(self, event: Learned) -> None:
        self._aside.put(self._learned, event)

    def stored(self, event: Stored) -> None:
        self._aside.put(self._observe, "memory_write_seconds", event.seconds)

    def alarmed(self, event: Alarmed) -> None:
        self._aside.put(self._alarmed, event)

    def flush(self) -> None:
        """Count all now; a scrape does that by itself, and it is done a tenth of a second later else."""
        self._aside.flush()

    # --- counting, one event at a time ------------------------------------------------------------------------------

    def _decided(self, event: Decided) -> None:
        decision = decision_of(event)
        if decision is None:
            return
        namespace, guided = self._namespace(decision.request.namespace), _yes(decision.guide is not None)
        self._count("decisions", namespace, decision.model, guided, self._reason(decision.choice.reason))
        self._observe("decision_seconds", event.recall_seconds + event.strategy_seconds)
        if not isinstance(decision.choice, Answer):  # else a draft is what is served
            self._chosen[decision.id] = decision.model
            if len(self._chosen) > _CHOSEN:
                self._chosen.popitem(last=False)

    def _called(self, event: Called) -> None:
        outcome = "failed" if event.error is not None else "cached" if event.cached else "answered"
        namespace = self._namespace(event.namespace)
        self._count("calls", namespace, event.purpose, event.model, outcome)
        if event.purpose == "serve" and event.error is None:
            chosen = self._chosen.pop(event.decision_id, event.model)
            if chosen != event.model:
                self._count("failovers", namespace, chosen, event.model)

    def _learned(self, event: Learned) -> None:
        facts, found = event.facts, event.facts.learned
        namespace = self._namespace(facts.namespace)
        self._count("lessons", namespace, _code(facts.not_learned))
        if found is None:
            return
        if found.audit_agreed is not None:
            self._count("audits", namespace, facts.model, _yes(found.audit_agreed))
        for attempt in found.attempts:
            self._count("trials", namespace, attempt.model, _yes(bool(attempt.guide_id)), _yes(attempt.ok))
        if found.guide_written is not None:
            self._count("guides_written", namespace)
        if found.guide_refused is not None:
            self._count("guides_refused", namespace)

    def _alarmed(self, event: Alarmed) -> None:
        self._count("alarms", self._namespace(event.namespace), event.kind)

    def _count(self, *key: str) -> None:
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._counters[key[0]].labels(*key[1:])
        child.inc()

    def _observe(self, name: str, seconds: float) -> None:
        self._counters[name].observe(seconds)


class _Waiting:
    """A collector of nothing, which has counted what waits to be."""

    def __init__(self, aside: Aside) -> None:
        self._aside = aside

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> list[Any]:
        self._aside.flush()
        return []


def _counters(registry: CollectorRegistry) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, (text, labels) in COUNTERS.items():
        made[name] = Counter(f"rar_{name}", text, labels, registry=registry)
    for name, (text, buckets) in HISTOGRAMS.items():
        made[name] = Histogram(f"rar_{name}", text, buckets=buckets, registry=registry)
    return made


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _code(not_learned: str | None) -> str:
    return "learned" if not_learned is None else not_learned if not_learned in NOT_LEARNED else OTHER


COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "decisions": ("Decisions, by who answers and why", ("namespace", "model", "guided", "reason")),
    "calls": ("Calls of models, by what for and what came of them", ("namespace", "purpose", "model", "outcome")),
    "failovers": ("Answers by another model than was chosen", ("namespace", "chosen", "answered")),
    "lessons": ("Lessons that are over, by why nothing was learned", ("namespace", "outcome")),
    "trials": ("Judged attempts of cheaper models that nobody saw", ("namespace", "model", "guided", "agreed")),
    "audits": ("Served answers of cheaper models that were checked", ("namespace", "model", "agreed")),
    "guides_written": ("Guides that passed their checks and worked", ("namespace",)),
    "guides_refused": ("Guides that were not kept", ("namespace",)),
    "alarms": ("Alarms", ("namespace", "kind")),
}
HISTOGRAMS: dict[str, tuple[str, tuple[float, ...]]] = {
    "decision_seconds": ("Looking up and choosing, with a strategy's own calls", _DECISION),
    "memory_write_seconds": ("A transaction of the memory", _WRITE),
}

_of_process: list[Prometheus] = []  # that of prometheus_client's own registry


def _in_this_process() -> Prometheus:
    return _of_process[0] if _of_process else Prometheus()
