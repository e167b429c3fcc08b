"""What routers and their memories hold, read when Prometheus scrapes: nothing of it costs a call anything."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from rar.errors import ClosedError
from rar.integrations.watched import Watched
from rar.naming import cause
from rar.savings import merge, savings

if TYPE_CHECKING:
    from rar.memory.base import Memory, Spend
    from rar.namespaces import NamespaceStats
    from rar.prices import Prices
    from rar.router import Router
    from rar.views import RouterStats

logger = logging.getLogger("rar")

OTHER = "_other"  # the label of namespaces that are too many
_IN_RAM = ":memory:"
_PLACE = ("memory", "namespace")

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "net_saving_usd": ("What always the strong model would have cost, less all that was spent", _PLACE),
    "always_strong_usd": ("What always the strong model would have cost", _PLACE),
    "spent_usd": ("All that was spent, learning included", _PLACE),
    "learning_usd": ("What learning cost", _PLACE),
    "lost_cache_usd": ("What the strong model alone would have saved by prompt caches besides", _PLACE),
    "quality_ratio": ("Share of the strong model's quality, by audits", (*_PLACE, "kind")),
    "quality_low_ratio": ("Its lower 95 % bound", (*_PLACE, "kind")),
    "quality_high_ratio": ("Its upper 95 % bound", (*_PLACE, "kind")),
    "quality_audits": ("Audits that it rests on", (*_PLACE, "kind")),
    "quality_floor_ratio": ("The share that is to be kept", _PLACE),
    "threshold": ("What confidence is held against", _PLACE),
    "drift_ratio": ("How near the alarm is that a model changed under its name", (*_PLACE, "model_id")),
    "model_changed_timestamp_seconds": ("When a model last changed so; 0 if it never did", (*_PLACE, "model_id")),
    "budget_left_ratio": ("Part of a learning budget that is left", (*_PLACE, "budget")),
    "ceiling_left_usd": ("What is left under a spending ceiling", (*_PLACE, "ceiling")),
    "guides": ("Guides by state", (*_PLACE, "state")),
    "not_learned": ("Decisions that the memory keeps and nothing was learned from", ("memory", "code")),
    "lessons_waiting": ("Lessons that this process has not learned yet", ("memory",)),
    "lesson_wait_seconds": ("How long the oldest of them has waited", ("memory",)),
    "unstored_batches": ("What this process has not stored yet", ("memory",)),
    "memory_lag_seconds": ("How long the oldest of that has waited", ("memory",)),
    "memory_writable": ("Whether the memory takes what it is given", ("memory",)),
    "memory_records": ("What the memory holds", ("memory", "kind")),
    "memory_bytes": ("Size of the memory's file", ("memory",)),
    "snapshot_up": ("Whether this router and its memory could be read", ("memory",)),
    "snapshot_seconds": ("What reading took", ("memory",)),
}
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "spend_usd": ("USD by what for, kept in the memory", (*_PLACE, "purpose", "role")),
    "spend_calls": ("Calls by what for, kept in the memory", (*_PLACE, "purpose", "role")),
    "spend_tokens": ("Tokens by what for, kept in the memory", (*_PLACE, "purpose", "role", "direction")),
    "unpriced_calls": ("Calls without a known price", _PLACE),
    "guide_trials": ("Trials with a guide by which the weak model agreed, or did not", (*_PLACE, "outcome")),
    "lessons_dropped": ("Lessons that this process gave up, for too many waited", ("memory",)),
    "lost_batches": ("What this process could never store", ("memory",)),
    "memory_evicted": ("Experiences that went, for there were too many", ("memory",)),
}


class Families(dict[str, Any]):
    """All families of one scrape, by their short names."""

    def __init__(self) -> None:
        super().__init__()
        for name, (text, labels) in GAUGES.items():
            self[name] = GaugeMetricFamily(f"rar_{name}", text, labels=labels)
        for name, (text, labels) in COUNTERS.items():
            self[name] = CounterMetricFamily(f"rar_{name}", text, labels=labels)

    def put(self, name: str, value: float | None, *labels: str) -> None:
        """Add a sample, where its value is known."""
        if value is not None:
            self[name].add_metric(labels, value)


@dataclass
class _Read:
    """What the routers over one memory say."""

    memory: Memory | None
    prices: Prices
    stats: list[RouterStats] = field(default_factory=list)
    spending: Sequence[Spend] = ()


class Snapshot:
    """A collector of prometheus_client: reads every router that is watched. Any thread may call it.

    Args:
        label: Gives the label of a namespace.
    """

    def __init__(self, routers: Watched, label: Callable[[str], str]) -> None:
        self._routers, self._label = routers, label

    def describe(self) -> Iterable[Any]:
        return Families().values()

    def collect(self) -> Iterator[Any]:
        families = Families()
        for where, routers in _by_memory(self._routers.alive()).items():
            self._add(families, where, routers)
        yield from families.values()

    def _add(self, families: Families, where: str, routers: Sequence[Router]) -> None:
        began, read, up = time.perf_counter(), _Read(routers[0].memory, routers[0].ledger.prices), True
        for router in routers:
            try:
                one = router.stats()
                # All that share a memory see the same, but for what the others have not stored yet.
                read.spending = merge(read.spending, router.ledger.pending() if where and read.stats else one.spending)
                read.stats.append(one)
            except ClosedError:
                continue
            except Exception as error:
                logger.warning("A router could not be read for its metrics. %s", cause(error))
                up = False
        if read.stats:
            up = self._fill(families, where, read) and up
        if read.stats or not up:
            families.put("snapshot_up", float(up), where)
            families.put("snapshot_seconds", time.perf_counter() - began, where)

    def _fill(self, families: Families, where: str, read: _Read) -> bool:
        self._money(families, where, read)
        self._policies(families, where, read.stats[0])
        _ceilings(families, where, read.stats, self._label)
        _process(families, where, read.stats)
        if read.memory is None:
            return True
        _size(families, where, read.stats[0])
        try:
            self._guides(families, where, read.memory)
        except Exception as error:
            logger.warning("Guides could not be read for their metrics. %s", cause(error))
            return False
        return True

    def _money(self, families: Families, where: str, read: _Read) -> None:
        spent: dict[str, list[Spend]] = {}
        for spend in read.spending:
            spent.setdefault(self._label(spend.namespace), []).append(spend)
        for name, spending in spent.items():
            known = savings(spending, read.prices)
            families.put("net_saving_usd", known.net_usd, where, name)
            families.put("always_strong_usd", known.always_strong_usd, where, name)
            families.put("spent_usd", known.spent_usd, where, name)
            families.put("learning_usd", known.learning_usd, where, name)
            families.put("lost_cache_usd", known.cache_usd, where, name)
            families.put("unpriced_calls", sum(spend.unpriced for spend in spending), where, name)
            _purposes(families, (where, name), spending)

    def _policies(self, families: Families, where: str, stats: RouterStats) -> None:
        for name, one in stats.namespaces.items():
            if self._label(name) == OTHER:
                continue  # they cannot be added up
            _policy(families, where, name, one)
            for kind, held in stats.quality.get(name, {}).items():
                families.put("quality_ratio", held.quality, where, name, kind)
                families.put("quality_low_ratio", held.low, where, name, kind)
                families.put("quality_high_ratio", held.high, where, name, kind)
                families.put("quality_audits", held.audits, where, name, kind)

    def _guides(self, families: Families, where: str, memory: Memory) -> None:
        states: Counter[tuple[str, str]] = Counter()
        trials: Counter[tuple[str, str]] = Counter()
        for guide in memory.guides():
            label = self._label(guide.namespace)
            states[label, guide.state] += 1
            trials[label, "helped"] += guide.helpful
            trials[label, "harmed"] += guide.harmful
        for (label, state), count in states.items():
            families.put("guides", count, where, label, state)
        for (label, outcome), count in trials.items():
            families.put("guide_trials", count, where, label, outcome)


def _by_memory(routers: Iterable[Router]) -> dict[str, list[Router]]:
    """Routers by what their memory is called. Those in RAM are numbered, for all have one name."""
    groups: dict[str, list[Router]] = {}
    in_ram: dict[int, str] = {}
    for router in routers:
        where = "" if router.memory is None else router.memory.where
        if where == _IN_RAM:
            where = in_ram.setdefault(id(router.memory), f"{_IN_RAM}{len(in_ram) + 1}" if in_ram else _IN_RAM)
        groups.setdefault(where, []).append(router)
    return groups


def _purposes(families: Families, place: tuple[str, str], spending: Sequence[Spend]) -> None:
    """Calls, USD and tokens by purpose and role; models of one role are added up."""
    by_purpose: dict[tuple[str, str], list[Spend]] = {}
    for spend in spending:
        by_purpose.setdefault((spend.purpose, spend.role), []).append(spend)
    for labels, some in by_purpose.items():
        families.put("spend_calls", sum(spend.calls for spend in some), *place, *labels)
        families.put("spend_usd", sum(spend.usd for spend in some), *place, *labels)
        families.put("spend_tokens", sum(spend.input_tokens for spend in some), *place, *labels, "input")
        families.put("spend_tokens", sum(spend.output_tokens for spend in some), *place, *labels, "output")


def _policy(families: Families, where: str, name: str, one: NamespaceStats) -> None:
    families.put("quality_floor_ratio", one.floor, where, name)
    families.put("threshold", one.threshold, where, name)
    for budget, left in one.budget_left.items():
        families.put("budget_left_ratio", left, where, name, budget)
    for id, model in one.models.items():
        families.put("drift_ratio", model.drift, where, name, id)
        families.put("model_changed_timestamp_seconds", model.changed, where, name, id)


def _ceilings(families: Families, where: str, stats: Sequence[RouterStats], label: Callable[[str], str]) -> None:
    left: dict[tuple[str, str], float] = {}
    for one in stats:
        for ceiling, by_name in one.ceilings.items():
            for name, usd in by_name.items():
                place = (label(name) if name else "", ceiling)
                left[place] = min(left.get(place, usd), usd)
    for place, usd in left.items():
        families.put("ceiling_left_usd", usd, where, *place)


def _process(families: Families, where: str, stats: Sequence[RouterStats]) -> None:
    """What this process has still to do."""
    families.put("lessons_waiting", sum(one.waiting for one in stats), where)
    families.put("lesson_wait_seconds", max(one.waited for one in stats), where)
    families.put("lessons_dropped", sum(one.dropped for one in stats), where)
    families.put("unstored_batches", sum(one.unstored for one in stats), where)
    families.put("lost_batches", sum(one.lost for one in stats), where)
    families.put("memory_lag_seconds", max(one.behind for one in stats), where)


def _size(families: Families, where: str, stats: RouterStats) -> None:
    held = stats.memory
    if held is None:
        return
    families.put("memory_writable", float(not stats.learning.startswith("paused")), where)
    for kind in ("experiences", "trials", "decisions"):
        families.put("memory_records", getattr(held, kind), where, kind)
    families.put("memory_records", sum(held.guides.values()), where, "guides")
    families.put("memory_evicted", held.evicted, where)
    for code, count in held.not_learned.items():
        families.put("not_learned", count, where, code)
    families.put("memory_bytes", _bytes(where), where)


def _bytes(where: str) -> float | None:
    """The size of a file and of what is not merged into it yet; None of a memory that is no file here."""
    sizes = []
    for path in (Path(where), Path(f"{where}-wal")):
        try:
            sizes.append(path.stat().st_size)
        except OSError:
            continue
    return float(sum(sizes)) if sizes else None
