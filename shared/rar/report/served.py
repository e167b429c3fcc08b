"""One served call, as its stored decision tells of it. Pure functions; records of older versions say less."""

from __future__ import annotations

from dataclasses import dataclass

from rar.facts import DecisionFacts, EvidenceFacts, LearnedFacts, read_facts
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
            floors = (read_facts(record.facts).quality for record in new)
            floor = next((one for one in floors if one is not None), None)
        if len(records) < limit:
            return list(found.values())[::-1], floor
        # More decisions of one moment than a part holds would come again and again.
        until, limit = records[-1].at, limit if new else 2 * limit


def served_of(record: DecisionRecord, prices: Prices) -> Served:
    """`record` in short, with what its calls cost at `prices` where they had no price when they were made."""
    facts = read_facts(record.facts)
    learned, evidence = facts.learned, facts.evidence
    return Served(
        id=record.id,
        at=record.at,
        namespace=record.namespace,
        task=facts.task,
        model=record.model,
        reason=facts.reason,
        outcome=outcome_of(record.model, facts),
        experience_id=record.experience_id,
        nearest=_nearest(evidence),
        guide_id=record.guide_id,
        pair=evidence.pair if evidence else None,
        audited=facts.audit,
        agreed=_agreed(record.model, learned) if facts.audit and learned else None,
        guide_written=bool(learned and learned.guide_written),
        guide_refused=learned.guide_refused if learned else None,
        usd=_usd(facts, "usd", record.model, prices),
        strong_usd=_usd(facts, "strong_usd", STRONG, prices),
        learning_usd=learned.usd if learned else 0.0,
    )


def outcome_of(model: str, facts: DecisionFacts) -> str:
    """What was learned from a call, or why nothing was, as one code.

    Decisions of older versions carry no such code: what else they say tells, as far as it does.
    """
    if facts.learned is not None and facts.learned.attempts:
        return LEARNED
    if facts.not_learned:
        return facts.not_learned
    stopped = facts.learned.stopped if facts.learned else None
    return _told_by_older(model, facts, stopped or "") or NOTHING_DUE


def _told_by_older(model: str, facts: DecisionFacts, stopped: str) -> str | None:
    if stopped:
        return (
            "budget"
            if stopped.startswith("BudgetError")
            else "undecided"
            if "cannot tell" in stopped
            else "call_failed"
        )
    if facts.why:
        return None  # this version says so where something was due
    if facts.reason == "forced":
        return "forced"
    if facts.reason == "sticky":
        return "continued_turn"
    if facts.failed_over:
        return "failed_over"
    if facts.key_source == "none":
        return "no_key"
    known = model != STRONG or facts.reason in ("memory_strong", "memory_weak", "memory_guided")
    return None if known else NOT_RECORDED


def _agreed(model: str, learned: LearnedFacts) -> bool | None:
    if model != STRONG:
        return learned.audit_agreed
    alone = [attempt for attempt in learned.attempts if attempt.guide_id is None]
    return alone[0].ok if alone else None


def _nearest(evidence: EvidenceFacts | None) -> str:
    nearest = evidence.neighbours[0] if evidence and evidence.neighbours else None
    return nearest.experience_id if nearest and nearest.similarity >= _NEAR else ""


def _usd(facts: DecisionFacts, name: str, role: str, prices: Prices) -> float | None:
    costs = facts.costs
    if costs is None:
        return None
    known: float | None = getattr(costs, name)
    if known is not None or costs.input_tokens is None or costs.output_tokens is None:
        return known
    evidence = facts.evidence or EvidenceFacts()
    ids = {**dict(zip((WEAK, STRONG), evidence.pair or (), strict=False)), **evidence.models}
    return prices.usd(role, ids.get(role, role), Usage(costs.input_tokens, costs.output_tokens))
