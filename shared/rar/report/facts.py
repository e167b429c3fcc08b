"""All that a report says, as data. Reads a memory; what is worked out of the records is pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rar.memory.base import ALARM, Memory, MemoryStats, PolicyState, Spend
from rar.namespaces import whole_state
from rar.prices import Prices
from rar.report.alarms import Alarm, alarms_of
from rar.report.course import DAY, Span, lately, over_time
from rar.report.guides import Guides, guides_of
from rar.report.kinds import Kind, kinds_of
from rar.report.money import Money, money_of, priced
from rar.report.quality import Quality, quality_of
from rar.report.served import Served, served_by
from rar.report.words import outcome_in_words
from rar.savings import Savings, savings
from rar.values import STRONG, Experience
from rar.words import why

_CLUSTERED = 4_000  # questions that are looked at for their kinds
_PLACES = 40  # pairs of namespace and task that these come from, the most used


@dataclass(frozen=True, slots=True)
class Count:
    """Calls of one model and code (a reason or an outcome), with its meaning in words."""

    model: str
    code: str
    words: str
    calls: int


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """One namespace: its calls in the time that is looked at, and what its policy has come to."""

    name: str
    calls: int
    strong: int
    audits: int
    errors: int
    threshold: float | None
    drift: float  # of the way to the alarm, 0 to 1
    savings: Savings


@dataclass(frozen=True)
class ReportFacts:
    """What a report says.

    Args:
        memory: Path or address.
        namespace: The one that is looked at; None for all.
        start, end: Of the calls, seconds since the epoch; None where there are none.
        models: Ids by role, as the last calls named them.
        calls: Served calls whose decision is kept. `reasons` add up to it, and so do `outcomes`.
        strong: How many of these the strong model answered.
        counted: Served calls by the ledger, which forgets nothing; more than `calls` where old decisions are gone.
        lately: Shares of the strong model in the first and in the last quarter of the calls.
        texts: Whether any question is stored, so that kinds could be named.
    """

    memory: str
    namespace: str | None
    made_at: float
    days: float | None
    start: float | None
    end: float | None
    models: Mapping[str, str]
    held: MemoryStats
    calls: int
    strong: int
    counted: int
    lately: tuple[float, float] | None
    course: tuple[Span, ...]
    reasons: tuple[Count, ...]
    outcomes: tuple[Count, ...]
    money: Money
    quality: Quality
    guides: Guides
    kinds: tuple[Kind, ...]
    texts: bool
    namespaces: tuple[NamespaceFacts, ...]
    alarms: tuple[Alarm, ...]

    @property
    def name(self) -> str:
        """The memory's file name, or its address."""
        return Path(self.memory).name or self.memory

    @property
    def strong_share(self) -> float | None:
        return self.strong / self.calls if self.calls else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        facts = asdict(self)
        facts["strong_share"] = self.strong_share
        facts["money"]["savings"]["net_share"] = self.money.savings.net_share
        facts["money"]["days"] = [
            {"start": day.start, "usd": [{"purpose": p, "role": r, "usd": usd} for (p, r), usd in day.usd.items()]}
            for day in self.money.days
        ]
        facts["quality"] |= {"audits": self.quality.audits, "floor_kept": self.quality.floor_kept}
        return facts


def gather(
    memory: Memory,
    *,
    now: float,
    namespace: str | None = None,
    days: float | None = None,
    prices: Prices | None = None,
    floor: float | None = None,
) -> ReportFacts:
    """Look at a memory.

    Args:
        now: Seconds since the epoch.
        namespace: Only this one.
        days: Only so many days, cut down to whole UTC days, today included; None: all that is kept.
        prices: For calls that had no price when they were made.
        floor: The `quality` that was asked for; None for the one that the memory recorded.
    """
    prices = prices or Prices()
    since = 0.0 if days is None else (now // DAY + 1 - max(days, 1)) // 1 * DAY
    calls, recorded = served_by(memory, prices, namespace=namespace, since=since)
    floor = recorded if floor is None else floor
    held = memory.stats(namespace)
    names = [namespace] if namespace is not None else list(held.namespaces)
    policies = {name: whole_state(memory, name) for name in names}
    money = money_of(memory, calls, prices, namespace=namespace, since=since, until=now)
    graded = any(state.reference != 1.0 for state in policies.values())
    quality = quality_of(calls, floor, graded=graded)
    looked_at = _experiences(memory, calls)
    return ReportFacts(
        memory=memory.where,
        namespace=namespace,
        made_at=now,
        days=days,
        start=calls[0].at if calls else None,
        end=calls[-1].at if calls else None,
        models=_models(calls),
        held=held,
        calls=len(calls),
        strong=sum(call.strong for call in calls),
        counted=money.savings.served,
        lately=lately(calls),
        course=over_time(calls),
        reasons=_counts(calls, "reason"),
        outcomes=_counts(calls, "outcome"),
        money=money,
        quality=quality,
        guides=guides_of(memory.guides(namespace=namespace), calls),
        kinds=kinds_of(looked_at, _pairs(calls), calls),
        texts=any(one.text for one in looked_at),
        namespaces=_namespaces(memory, calls, policies, prices, since),
        alarms=alarms_of(calls, quality, money, policies, since),
    )


def _models(calls: Sequence[Served]) -> dict[str, str]:
    pair = next((call.pair for call in reversed(calls) if call.pair), None)
    return {} if pair is None else {"weak": pair[0], "strong": pair[1]}


def _pairs(calls: Sequence[Served]) -> dict[str, tuple[str, str]]:
    """The pair of models that each namespace used last."""
    return {call.namespace: call.pair for call in calls if call.pair}


def _counts(calls: Sequence[Served], name: str) -> tuple[Count, ...]:
    counted = Counter((call.model, getattr(call, name)) for call in calls)
    return tuple(
        Count(model, code, why(code, model) if name == "reason" else outcome_in_words(code), n)
        for (model, code), n in sorted(counted.items(), key=lambda item: (item[0][0] != STRONG, -item[1], item[0]))
    )


def _experiences(memory: Memory, calls: Sequence[Served]) -> list[Experience]:
    """The questions that were last written or tried, of the namespaces and tasks that are used most."""
    places = Counter((call.namespace, call.task) for call in calls).most_common(_PLACES)
    total = sum(count for _, count in places)
    found: list[Experience] = []
    for (namespace, task), count in places:
        share = max(round(_CLUSTERED * count / total), 1)
        found += memory.experiences(namespace=namespace, task=task, limit=share)
    return found


def _namespaces(
    memory: Memory, calls: Sequence[Served], policies: Mapping[str, PolicyState], prices: Prices, since: float
) -> tuple[NamespaceFacts, ...]:
    total, strong = Counter(call.namespace for call in calls), Counter(call.namespace for call in calls if call.strong)
    spent: dict[str, list[Spend]] = {}
    for spend in memory.spending(since=since):
        spent.setdefault(spend.namespace, []).append(priced(spend, prices))
    return tuple(
        NamespaceFacts(
            name,
            total[name],
            strong[name],
            state.audits,
            state.errors,
            state.threshold,
            min(state.drift / ALARM, 1.0),
            savings(spent.get(name, []), prices),
        )
        for name, state in sorted(policies.items(), key=lambda item: (-total[item[0]], item[0]))
    )
