"""What is kept of a decision: its record, before and after something was learned from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rar.facts import AttemptFact, LearnedFacts, facts_of
from rar.learning.shadow import Findings
from rar.memory.base import Batch, DecisionRecord
from rar.values import Decision, Guide


@dataclass(frozen=True, slots=True)
class Served:
    """A decision to be kept.

    Args:
        costs: `Router.costs` of its reply; empty where there is none yet.
        not_learned: Why nothing was learned from it, a code of `rar.words.NOT_LEARNED`.
    """

    decision: Decision
    costs: Mapping[str, Any] = field(default_factory=dict)
    not_learned: str | None = None

    def batch(self, *, store_text: bool) -> Batch:
        """What is to be written of it."""
        return Batch(decisions=(record_of(self, store_text=store_text),), epoch=self.decision.epoch)


def record_of(served: Served, *, store_text: bool, learned: LearnedFacts | None = None) -> DecisionRecord:
    """A decision with the facts that explain it."""
    decision = served.decision
    facts = facts_of(
        decision, costs=served.costs, not_learned=served.not_learned, learned=learned, store_text=store_text
    )
    evidence = decision.request.evidence
    return DecisionRecord(
        id=decision.id,
        namespace=facts.namespace,
        at=facts.at,
        experience_id=evidence.experience_id if evidence else "",
        guide_id=facts.guide_id,
        model=facts.model,
        facts=facts.as_dict(),
    )


def learned_facts(found: Findings, written: tuple[Guide, ...], *, store_text: bool) -> LearnedFacts:
    """What was found; a judge's reasons, and those to refuse a guide, may quote texts."""
    said = f": {found.said}" if found.said and store_text else ""
    return LearnedFacts(
        attempts=tuple(
            AttemptFact(
                attempt.model,
                attempt.guide.id if attempt.guide else None,
                attempt.ok,
                attempt.judge,
                attempt.gap,
                attempt.drawn,
                attempt.signs,
            )
            for attempt in found.attempts
        ),
        audit_agreed=found.served.agrees if found.served else None,
        guide_written=written[0].id if written and found.guide is not None else None,
        guide_refused=found.refused if store_text or found.refused is None else "refused",
        stopped=None if found.stopped is None else found.stopped + said,
        usd=found.usd,
    )
