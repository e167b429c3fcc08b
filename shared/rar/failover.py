"""Fail-over: which model answers where the one that was chosen does not."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from rar.health import Health
from rar.ledger import Ledger
from rar.values import STRONG, WEAK, Answer, CallRecord, Decision, Failure, Reply, Route

logger = logging.getLogger("rar")


@dataclass(frozen=True)
class Failover:
    """Goes to the next dearer healthy model, and to the strong one at last. Any thread may call it.

    Args:
        degrade: A cheaper model answers where the strong one fails.
    """

    ledger: Ledger
    health: Health
    degrade: bool = False

    def is_possible(self, decision: Decision) -> bool:
        """Whether another model may answer if the decision's own fails."""
        other = self.next(decision)
        return other is not None and (decision.meter is None or decision.meter.allows(Route(other)))

    def next(self, decision: Decision) -> str | None:
        """The model that answers next if the decision's own fails: the next dearer one, the strong one at last.

        If the strong one fails, those follow that cost less, the dearest first, where that is allowed.
        """
        if decision.request.force is not None:
            return None
        evidence = decision.request.evidence
        names = [WEAK] if evidence is None else [standing.model for standing in evidence.standings]
        tried = {decision.model, *(failure.model for failure in decision.failed)}
        at = names.index(decision.model) + 1 if decision.model in names else len(names)
        later = [name for name in (*names[at:], STRONG) if name not in tried]
        if later:
            return self.health.first(later)
        # A strong answer that only checks a guess about another model costs nobody an answer.
        preferred = decision.choice.instead_of if isinstance(decision.choice, Route) else None
        if preferred is not None and preferred.model not in tried:
            return preferred.model
        return self.health.first([name for name in reversed(names) if name not in tried]) if self.degrade else None

    def after(self, decision: Decision, error: Exception, refused: Reply | None = None) -> Decision | None:
        """The decision to try next; None where no other model may answer.

        Args:
            refused: What the model said, where that holds no answer; it was paid for all the same.
        """
        self.health.failed(decision.model)
        if refused is not None and decision.meter is not None:
            decision.meter.paid(decision.call, refused)
        other = self.next(decision)
        if other is None or (decision.meter is not None and not decision.meter.stands_in(Route(other))):
            return None
        logger.warning("The %s model failed (%s); the %s one answers.", decision.model, type(error).__name__, other)
        failed = (*decision.failed, Failure(decision.model, error, decision.seconds))
        # What a strategy had sent instead of the request is sent on: its drafts were paid for.
        choice = Route(other, reason=f"{decision.model}_failed", messages=getattr(decision.choice, "messages", None))
        calls = (*decision.calls, *self._lost(decision, failed[-1], refused))
        return replace(decision, choice=choice, failed=failed, seconds=None, calls=calls)

    def _lost(self, decision: Decision, failure: Failure, refused: Reply | None) -> list[CallRecord]:
        """The record of a call that serves nobody; none of a draft, which is on record since it was made."""
        if isinstance(decision.choice, Answer):
            return []
        if refused is None:
            return [self.ledger.record(decision.call, failure)]
        record = self.ledger.record(replace(decision.call, purpose="draft"), refused)
        return [replace(record, seconds=decision.seconds, failed=True)]
