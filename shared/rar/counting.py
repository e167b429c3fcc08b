"""What serving calls cost: counted in the ledger, told to observers, and shown with the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rar.drive import Models
from rar.ledger import Ledger
from rar.naming import cause
from rar.observers import Observers
from rar.strategy import Outcome
from rar.values import STRONG, Answer, Call, Decision, Reply

logger = logging.getLogger("rar")


@dataclass(frozen=True)
class Counting:
    """Counts a router's serving calls. Any thread may use it. An accepted draft was counted when it was made."""

    ledger: Ledger
    observers: Observers
    clock: Callable[[], float]

    def called(self, decision: Decision, call: Call, outcome: Outcome) -> None:
        if outcome.seconds is None:
            outcome = replace(outcome, seconds=decision.seconds)
        event = self.ledger.event_of(call, outcome, decision.request, at=self.clock(), decision_id=decision.id)
        self.observers.tell(event)

    def refused(self, decision: Decision, reply: Reply) -> None:
        """Count a reply that was paid for and is not served. Never raises."""
        if isinstance(decision.choice, Answer):
            return
        try:
            self.called(decision, replace(decision.call, purpose="draft"), reply)
        except Exception as error:
            logger.error("What a refused reply cost could not be counted; serving goes on. %s", cause(error))  # noqa: TRY400

    def joined(self, decision: Decision, share: Reply, count: int, *, answered: bool) -> Decision:
        """Count a request's share of a call that `count` requests were joined into, and return its decision with it."""
        call = replace(decision.call, purpose="serve" if answered else "draft")
        self.called(decision, call, share)
        record = self.ledger.record(call, share)
        if not answered:
            return replace(decision, calls=(*decision.calls, replace(record, failed=True)))
        choice = Answer(share, decision.choice.reason, decision.choice.confidence)
        request = replace(decision.request, learn=False)
        return replace(decision, request=request, choice=choice, calls=(*decision.calls, record), joined=count)

    def costs(self, decision: Decision, reply: Reply, models: Models) -> dict[str, Any]:
        """The cost of a served reply as far as it is known. Never raises."""
        try:
            evidence, strong = decision.request.evidence, models.get(STRONG)
            served = models.get(decision.model)
            if served is not None and not reply.model_id:
                reply = replace(reply, model_id=served.id)
            ids = [*([strong.id] if strong else []), *([evidence.reference_id] if evidence else [])]
            costs = self.ledger.costs(decision.call, reply, ids)
            # An accepted draft is among those that were made before.
            last = [] if isinstance(decision.choice, Answer) else costs["calls"]
            return {**costs, "calls": [*(call.as_dict() for call in decision.calls), *last]}
        except Exception as error:
            logger.error("What a reply cost could not be told; serving goes on. %s", cause(error))  # noqa: TRY400
            return {}
