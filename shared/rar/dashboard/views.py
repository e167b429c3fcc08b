"""What the dashboard shows, as plain values made from a memory; nothing here draws or waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

import numpy as np

from rar.facts import DecisionFacts, read_facts
from rar.intervals import wilson
from rar.memory.base import DecisionRecord, Memory
from rar.prices import Prices
from rar.values import STRONG, WEAK, Guide

FLOORS: Final = (0.8, 0.9, 0.95, 0.98, 0.99)
LOOKED_AT: Final = 2_000  # of the latest decisions, for what another floor would have done


@dataclass(frozen=True, slots=True)
class Filter:
    """Which decisions are shown; empty: all.

    Args:
        text: Part of the question or of the id.
    """

    text: str = ""
    model: str = ""
    reason: str = ""
    namespace: str = ""

    def holds(self, record: DecisionRecord, facts: DecisionFacts) -> bool:
        asked = self.text.strip().lower()
        return (
            (not asked or asked in (facts.question or "").lower() or record.id.startswith(asked))
            and self.model in ("", record.model)
            and self.reason in ("", facts.reason)
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One decision in the list."""

    id: str
    at: str
    namespace: str
    model: str
    reason: str
    confidence: str
    learned: str
    question: str


def rows(memory: Memory, which: Filter, limit: int = 300) -> list[Row]:
    """The newest decisions that a filter lets through."""
    return [_row(record, facts) for record, facts in _newest(memory, which, limit)]


def _newest(memory: Memory, which: Filter, limit: int) -> list[tuple[DecisionRecord, DecisionFacts]]:
    found: list[tuple[DecisionRecord, DecisionFacts]] = []
    seen: set[str] = set()
    until, size = None, max(limit, 200)
    while len(found) < limit:
        records = memory.decisions(namespace=which.namespace or None, until=until, limit=size)
        read = [(record, read_facts(record.facts)) for record in records if record.id not in seen]
        found += [(record, facts) for record, facts in read if which.holds(record, facts)]
        seen |= {record.id for record in records}
        if len(records) < size:
            break
        until, size = records[-1].at, 2 * size
    return found[:limit]


def _row(record: DecisionRecord, facts: DecisionFacts) -> Row:
    learned = facts.learned
    tried = () if learned is None else learned.attempts
    said = "" if not tried else "weak works" if any(one.ok for one in tried) else "weak does not"
    return Row(
        record.id, when(record.at), record.namespace, record.model, facts.reason,
        "" if facts.confidence is None else f"{facts.confidence:.2f}", said or (facts.not_learned or ""),
        facts.question or "",
    )  # fmt: skip


# ── what would have been ──


@dataclass(frozen=True, slots=True)
class AtFloor:
    """What a floor would do, judged by what is expected of the decisions of late.

    Args:
        needed: The confidence that it would need; None: no cheaper model would answer.
        share: Share of these decisions that a cheaper model would answer.
        cheaper: Whether it would answer this one; None where nothing is expected of it.
    """

    floor: float
    needed: float | None
    share: float
    cheaper: bool | None


def at_floors(records: Iterable[DecisionRecord], of: DecisionFacts, floors: Sequence[float] = FLOORS) -> list[AtFloor]:
    """What other floors would have made of a decision.

    Decisions of late are put in the order of their confidence. The cheaper model answers from the top down, as long as
    the mean loss that is expected over all of them stays within what the floor allows. A router that had run with the
    floor from the start would have learned other things, so this is an estimate.
    """
    known = [_expected(read_facts(record.facts)) for record in records]
    found = sorted((one for one in known if one is not None), reverse=True)
    total = len(known)
    confidences = np.array([confidence for confidence, _ in found])
    losses = np.cumsum([loss for _, loss in found]) / max(total, 1)
    own = _expected(of)
    made = []
    for floor in floors:
        served = int(np.searchsorted(np.maximum.accumulate(losses), 1.0 - floor, side="right")) if total else 0
        needed = float(confidences[served - 1]) if served else None
        cheaper = None if own is None else needed is not None and own[0] >= needed
        made.append(AtFloor(floor, needed, served / total if total else 0.0, cheaper))
    return made


def _expected(facts: DecisionFacts) -> tuple[float, float] | None:
    """The confidence in a cheaper model's answer, and the loss that is expected of it."""
    evidence = facts.evidence
    if facts.confidence is None or evidence is None:
        return None
    gap = evidence.learned_gap if evidence.corrected_gap is None else evidence.corrected_gap
    loss = 1.0 - facts.confidence if gap is None else gap + (evidence.audit_bias or 0.0)
    return facts.confidence, min(max(loss, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class ByModel:
    """What a model would have cost for the tokens of a decision."""

    name: str
    model_id: str
    usd: float | None
    served: bool


def by_models(facts: DecisionFacts, prices: Prices) -> list[ByModel]:
    """What each model would have cost, in the order in which the decision names them."""
    models = {} if facts.evidence is None else facts.evidence.models
    costs = facts.costs
    into, out = (None, None) if costs is None else (costs.input_tokens, costs.output_tokens)
    found = []
    for name, id in models.items():
        price = prices.of(name, id)
        known = price is not None and into is not None and out is not None
        usd = (price[0] * into + price[1] * out) / 1e6 if known else None  # type: ignore[index,operator]
        if usd is None and costs is not None:
            usd = costs.usd if name == facts.model else costs.strong_usd if name == STRONG else None
        found.append(ByModel(name, id, usd, name == facts.model))
    return found


# ── what is learned, and what that costs ──


def not_learned(memory: Memory) -> list[tuple[str, int]]:
    """Why decisions taught nothing, by code, most frequent first."""
    return sorted(memory.stats().not_learned.items(), key=lambda pair: -pair[1])


def success(guide: Guide) -> str:
    """How often a guide helped, with its interval, in words."""
    share = wilson(guide.helpful, guide.helpful + guide.harmful)
    if share is None:
        return "not tried yet"
    return f"helped {guide.helpful} of {share.n} times ({share.low:.0%} to {share.high:.0%})"


def when(at: float) -> str:
    """Seconds since the epoch in UTC."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def roles(names: Iterable[str]) -> list[str]:
    """Models' names, the cheap one first and the strong one last."""
    order = {WEAK: -1, STRONG: 1}
    return sorted(set(names), key=lambda name: (order.get(name, 0), name))
