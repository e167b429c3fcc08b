"""The calls that a strategy makes before it decides: counted once it is known which of them is served."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from rar.ledger import Ledger
from rar.metering import Meter
from rar.observers import Observers
from rar.strategy import Outcome
from rar.tokens import counted
from rar.values import WEAK, Answer, Call, CallRecord, Choice, Purpose, Reply, Request, Usage


class Drafts:
    """The calls that a strategy makes before it decides. A request is served once, by the accepted draft if any.

    Args:
        meter: Holds the request to its limits; None: it has none.
    """

    def __init__(
        self, decision_id: str, ledger: Ledger, observers: Observers, clock: Callable[[], float], meter: Meter | None
    ) -> None:
        self._made: list[tuple[Call, Outcome]] = []
        self.records: tuple[CallRecord, ...] = ()
        self._ledger, self._observers, self._clock = ledger, observers, clock
        self._began, self._recalled = time.perf_counter(), 0.0
        self.decision_id, self.meter = decision_id, meter

    @property
    def count(self) -> int:
        return len(self._made)

    def recalled(self) -> None:
        """Note that all is looked up; the strategy begins."""
        self._recalled = time.perf_counter()

    def seconds(self) -> tuple[float, float]:
        """What recall and the strategy took."""
        return (self._recalled - self._began, time.perf_counter() - self._recalled) if self._recalled else (0.0, 0.0)

    def observe(self, call: Call, outcome: Outcome) -> None:
        self._made.append((call, outcome))
        if self.meter is not None:
            self.meter.made(call, outcome)

    def counted(self, choice: Choice, request: Request) -> Callable[[], None] | None:
        """Count what was made, now that it is known whether one of it is served.

        Returns:
            What is to be called, where one may wait, before `settle`; None: nothing is.
        """
        accepted = (choice.draft or choice.reply) if isinstance(choice, Answer) else None
        for made, outcome in self._made:
            served = accepted is not None and outcome is accepted
            purpose: Purpose = "serve" if served else "draft" if made.purpose == "serve" else made.purpose
            call, at = replace(made, purpose=purpose), self._clock()
            self._observers.tell(self._ledger.event_of(call, outcome, request, at=at, decision_id=self.decision_id))
            self.records += (self._ledger.record(call, outcome),)
            accepted = None if served else accepted
        if accepted is not None:
            self._count_unasked(accepted, choice.reason, request)
        return None if self.meter is None else self.meter.ahead_of(choice)

    def settle(self, choice: Choice) -> Choice:
        """What may be served.

        Raises:
            BudgetExceededError: A limit forbids that any model answers.
        """
        return choice if self.meter is None else self.meter.settle(choice)

    def _count_unasked(self, reply: Reply, reason: str, request: Request) -> None:
        """Count an answer that no one call gave."""
        now = self._clock()
        if self._made:  # made of several: its parts are paid for
            self._ledger.add(request.namespace, "serve", reply.model, reply.model_id, Usage(), now=now)
            return
        # No model was asked, whoever is named: what the strong one would have cost is saved.
        spared = counted(Call(reply.model, request), replace(reply, cached=False))
        self._ledger.add(request.namespace, "serve", WEAK, reason or reply.model_id, spared, now=now, usd=0.0)
