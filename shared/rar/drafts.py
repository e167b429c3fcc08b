"""The calls that a strategy makes before it decides: counted once it is known which of them is served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rar.ledger import Ledger
from rar.strategy import Outcome
from rar.values import Answer, Call, CallRecord, Choice, Purpose, Usage


class Drafts:
    """The calls that a strategy makes before it decides. A request is served once, by the accepted draft if any."""

    def __init__(self, ledger: Ledger, namespace: str, clock: Callable[[], float]) -> None:
        self._made: list[tuple[Call, Outcome]] = []
        self.records: tuple[CallRecord, ...] = ()
        self._ledger, self._namespace, self._clock = ledger, namespace, clock

    @property
    def count(self) -> int:
        return len(self._made)

    def observe(self, call: Call, outcome: Outcome) -> None:
        self._made.append((call, outcome))

    def settle(self, choice: Choice) -> None:
        """Count what was made, now that it is known whether one of it is served."""
        accepted = choice.reply if isinstance(choice, Answer) else None
        for made, outcome in self._made:
            served = accepted is not None and outcome is accepted
            purpose: Purpose = "serve" if served else "draft" if made.purpose == "serve" else made.purpose
            call = replace(made, purpose=purpose)
            self._ledger.observe(self._namespace, call, outcome, now=self._clock())
            self.records += (self._ledger.record(call, outcome),)
            accepted = None if served else accepted
        if accepted is not None:  # an answer made of several: its parts are paid for
            self._ledger.add(self._namespace, "serve", accepted.model, accepted.model_id, Usage(), now=self._clock())
