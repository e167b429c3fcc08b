"""One served call, as its stored decision tells of it. Pure functions; records of older versions say less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rar.memory.base import DecisionRecord, Memory
from rar.prices import Prices
from rar.report.words import LEARNED, NOT_RECORDED, NOTHING_DUE
from rar.values import STRONG, WEAK, Usage

_PART = 2_000  # decisions
_NEAR = 0.35  # cosine from which questions say anything about each other, as the floor policy has it


@dataclass(frozen=True, slots=True)
class Served:
    """What a report needs of one decision.

    Args:
        experience_id: The question as it is remembered, if it is.
        nearest: The remembered question that is nearest to it; empty where none is near.
        outcome: `"learned"`, `"nothing_due"`, `"not_recorded"`, or the code of why nothing was learned.
        audited: Chance chose to check the weak model here.
        agreed: Whether the weak answer, served or made beside the strong one, was found good enough; None if unchecked.
        usd: Of the serving call; None where its price or tokens are not known.
        strong_usd: What the strong model would have cost.
        learning_usd: What was spent to learn from it; None where that was not recorded.
    """

    id: str
    at: float
    namespace: str
    task: str
    model: str
    reason: str
    outcome: str
    experience_id: str = ""
    nearest: str = ""
    guide_id: str | None = None
    pair: tuple[str, str] | None = None
    audited: bool = False
    agreed: bool | None = None
    guide_written: bool = False
    guide_refused: str | None = None
    usd: float | None = None
    strong_usd: float | None = None
    learning_usd: float | None = None

    @property
    def strong(self) -> bool:
        return self.model == STRONG


def served_by(
    memory: Memory, prices: Prices, *, namespace: str | None, since: float
) -> tuple[list[Served], float | None]:
    """All calls whose decisions a memory keeps from `since` on, oldest first, and the floor that the last went by.

    Decisions are read a part at a time: what explains each is many times as large as what is made of it.
    """
    found: dict[str, Served] = {}
    floor: float | None = None
    until, limit = None, _PART
    while True:
        records = memory.decisions(namespace=namespace, since=since, until=until, limit=limit)
        new = [record for record in records if record.id not in found]
        found |= {record.id: served_of(record, prices) for record in new}
        if floor is None:
            floor = next((float(r.facts["quality"]) for r in new if r.facts.get("quality") is not None), None)
        if len(records) < limit:
            return list(found.values())[::-1], floor
        # More decisions of one moment than a part holds would come again and again.
        until, limit = records[-1].at, limit if new else 2 * limit


def served_of(record: DecisionRecord, prices: Prices) -> Served:
    """`record` in short, with what its calls cost at `prices` where they had no price when they were made."""
    facts = record.facts
    learned = _mapping(facts.get("learned"))
    pair = facts.get("pair")
    audited = bool(facts.get("audit"))
    return Served(
        id=record.id,
        at=record.at,
        namespace=record.namespace,
        task=str(facts.get("task") or "answer"),
        model=record.model,
        reason=str(facts.get("reason") or ""),
        outcome=outcome_of(record.model, facts),
        experience_id=record.experience_id,
        nearest=_nearest(facts.get("neighbours")),
        guide_id=record.guide_id,
        pair=(str(pair[0]), str(pair[1])) if isinstance(pair, list | tuple) and len(pair) == 2 else None,
        audited=audited,
        agreed=_agreed(record.model, learned) if audited else None,
        guide_written=bool(learned.get("guide_written")),
        guide_refused=learned.get("guide_refused"),
        usd=_usd(facts, "usd", record.model, prices),
        strong_usd=_usd(facts, "strong_usd", STRONG, prices),
        learning_usd=learned.get("usd", None if learned else 0.0),
    )


def outcome_of(model: str, facts: Mapping[str, Any]) -> str:
    """What was learned from a call, or why nothing was, as one code.

    Decisions of older versions carry no such code: what else they say tells, as far as it does.
    """
    learned = _mapping(facts.get("learned"))
    if learned.get("attempts"):
        return LEARNED
    code = facts.get("not_learned")
    if code:
        return str(code)
    return _told_by_older(model, facts, str(learned.get("stopped") or "")) or NOTHING_DUE


def _told_by_older(model: str, facts: Mapping[str, Any], stopped: str) -> str | None:
    if stopped:
        return (
            "budget"
            if stopped.startswith("BudgetError")
            else "undecided"
            if "cannot tell" in stopped
            else "call_failed"
        )
    if "not_learned" in facts or "why" in facts:
        return None  # this version says so where something was due
    reason = facts.get("reason")
    if reason == "forced":
        return "forced"
    if reason == "sticky":
        return "continued_turn"
    if facts.get("failed_over"):
        return "failed_over"
    if facts.get("key_source") == "none":
        return "no_key"
    known = model != STRONG or reason in ("memory_strong", "memory_weak", "memory_guided")
    return None if known else NOT_RECORDED


def _agreed(model: str, learned: Mapping[str, Any]) -> bool | None:
    if model != STRONG:
        return learned.get("audit_agreed")
    alone = [attempt for attempt in learned.get("attempts") or () if attempt.get("guide_id") is None]
    return bool(alone[0].get("ok")) if alone else None


def _nearest(neighbours: Any) -> str:
    found = neighbours[0] if neighbours else {}
    return str(found["experience_id"]) if found.get("similarity", 0.0) >= _NEAR else ""


def _usd(facts: Mapping[str, Any], name: str, role: str, prices: Prices) -> float | None:
    known = facts.get(name)
    if known is not None:
        return float(known)
    into, out = facts.get("input_tokens"), facts.get("output_tokens")
    if into is None or out is None:
        return None
    pair = facts.get("pair") or ("", "")
    ids = {WEAK: pair[0], STRONG: pair[1], **_mapping(facts.get("models"))}
    model_id = str(ids.get(role, role))
    return prices.usd(role, model_id, Usage(int(into), int(out)))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
