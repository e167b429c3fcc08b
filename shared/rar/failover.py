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
        meter = decision.meter
        return any(meter is None or meter.allows(Route(name)) for name in self._candidates(decision))

    def _candidates(self, decision: Decision) -> list[str]:
        """The models that may answer if the decision's own fails: the next dearer ones, the strong one at last.

        Then those that cost less, the dearest first, where that is allowed.
        """
        if decision.request.force is not None:
            return []
        evidence = decision.request.evidence
        names = [WEAK] if evidence is None else [standing.model for standing in evidence.standings]
        tried = {decision.model, *(failure.model for failure in decision.failed)}
        at = names.index(decision.model) + 1 if decision.model in names else len(names)
        named = [name for name in _then(decision) if name not in tried]
        usual = [name for name in (*names[at:], STRONG) if name not in {*tried, *named}]
        found = [*self.health.sorted(named), *self.health.sorted(usual)]
        # A strong answer that only checks a guess about another model costs nobody an answer.
        preferred = decision.choice.instead_of if isinstance(decision.choice, Route) else None
        if not found and preferred is not None and preferred.model not in tried:
            found = [preferred.model]
        cheaper = [name for name in reversed(names) if name not in {*tried, *found}]
        return [*found, *self.health.sorted(cheaper)] if self.degrade else found

    def after(self, decision: Decision, error: Exception, refused: Reply | None = None) -> Decision | None:
        """The decision to try next; None where no other model may answer.

        Args:
            refused: What the model said, where that holds no answer; it was paid for all the same.
        """
        self.health.failed(decision.model)
        if refused is not None and decision.meter is not None:
            decision.meter.paid(decision.call, refused)
        meter = decision.meter
        then, failed = _then(decision), f"{decision.model}_failed"
        routes = (Route(name, reason=failed, then=then) for name in self._candidates(decision))
        choice = next((route for route in routes if meter is None or meter.stands_in(route)), None)
        if choice is None:
            return None
        logger.warning(
            "The %s model failed (%s); the %s one answers.", decision.model, type(error).__name__, choice.model
        )
        failures = (*decision.failed, Failure(decision.model, error, decision.seconds))
        calls = (*decision.calls, *self._lost(decision, failures[-1], refused))
        return replace(decision, choice=choice, failed=failures, seconds=None, calls=calls)

    def _lost(self, decision: Decision, failure: Failure, refused: Reply | None) -> list[CallRecord]:
        """The record of a call that serves nobody; none of a draft, which is on record since it was made."""
        if isinstance(decision.choice, Answer):
            return []
        if refused is None:
            return [self.ledger.record(decision.call, failure)]
        record = self.ledger.record(replace(decision.call, purpose="draft"), refused)
        return [replace(record, seconds=decision.seconds, failed=True)]


def _then(decision: Decision) -> tuple[str, ...]:
    """The models that the strategy would have stand in."""
    return decision.choice.then if isinstance(decision.choice, Route) else ()
