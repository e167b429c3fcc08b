"""One turn: how every loop of every plugin serves a call. Try, fail over, hold back what is empty, end.

    turn = Turn(router, router.decide(request, models))
    for attempt in turn:
        with attempt:
            output = ...                     # call `attempt.decision.model`
            attempt.refuse(flaw_of(output))  # may go on to the next model
    ...                                      # `turn.decision` answered

A stream passes on what `admit` gives it, and at its end what `rest` does::

    for attempt in turn:
        with attempt:
            for chunk in ...:
                for ready in attempt.admit(chunk, solid(chunk)):
                    yield ready
            for ready in attempt.rest(EmptyReplyError(attempt.decision.model)):
                yield ready

The same body serves sync and async, since nothing here waits.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any

from rar.router import Router
from rar.values import Decision, Reply


class Turn:
    """The attempts at one call, one after the other, until one is kept. Belongs to one caller.

    Args:
        decision: The first; afterwards the one whose model answered, with the time that this took.
        passes: Tells exceptions that are no failure of a model; the caller gets them. None: `is_control_flow`.
    """

    def __init__(self, router: Router, decision: Decision, passes: Callable[[Exception], bool] | None = None) -> None:
        self.router, self.decision = router, decision
        self.passes = passes or is_control_flow
        self.ended = False

    def __iter__(self) -> Iterator[Attempt]:
        while not self.ended:
            yield Attempt(self)


class Attempt:
    """One model's try, as a context: what goes wrong before anything was passed on leads to the next attempt."""

    def __init__(self, turn: Turn) -> None:
        self._turn, self.decision = turn, turn.decision
        self._held: list[Any] = []
        # What nobody could take over is passed on as it comes.
        self._open = not turn.router.may_fail_over(turn.decision)
        self._begun = time.monotonic()

    @property
    def timed(self) -> Decision:
        """The decision with the time that the attempt has taken so far."""
        return replace(self.decision, seconds=time.monotonic() - self._begun)

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, _Refused):
            return True
        if error is None:
            self._turn.ended, self._turn.decision = True, self.timed
        elif isinstance(error, Exception) and not self._turn.passes(error):
            self._turn.router.failed(self.timed, error)
            return not self._open and self._give_up(error)
        return False

    def refuse(self, flaw: Exception | None, reply: Callable[[], Reply | None] | None = None) -> None:
        """End this attempt because of a `flaw` in a whole answer, if there is one and another model may answer.

        Otherwise what there is goes to the user, as it would without us.

        Args:
            reply: Makes the engine's view of what is refused, which was paid for all the same.
        """
        if flaw is not None and not self._open and self._give_up(flaw, reply):
            raise _Refused

    def admit(self, chunk: Any, solid: bool) -> list[Any]:
        """The chunks of a stream to pass on now: none until one is `solid`, for until then another model may answer."""
        self._held.append(chunk)
        self._open = self._open or solid
        return self._released() if self._open else []

    def rest(self, flaw: Exception, reply: Callable[[list[Any]], Reply | None] | None = None) -> list[Any]:
        """What is still held back when a stream has ended without anything solid, unless another model may answer.

        Args:
            reply: As in `refuse`, of the chunks held back, of which there is at least one.
        """
        held = list(self._held)
        self.refuse(flaw, None if reply is None or not held else lambda: reply(held))
        return self._released()

    def _released(self) -> list[Any]:
        held, self._held = self._held, []
        return held

    def _give_up(self, error: Exception, reply: Callable[[], Reply | None] | None = None) -> bool:
        """Whether another model is tried next."""
        refused = None if reply is None else reply()
        after = self._turn.router.stand_in(self.timed, error, refused)
        if after is not None:
            self._turn.decision = after
        return after is not None


# By which frameworks pause or leave what a model runs in, by the module that defines it. None is imported for this.
_CONTROL_FLOW = (
    ("langgraph.errors", "GraphBubbleUp"),
    ("workflows.errors", "WorkflowCancelledByUser"),
    ("workflows.errors", "WorkflowDone"),
    ("workflows.runtime.types.results", "WaitingForEvent"),
)


def is_control_flow(error: Exception) -> bool:
    """Whether an exception is a framework's way of pausing or leaving what it runs, which is no failure of a model."""
    kinds = (getattr(sys.modules.get(module), name, None) for module, name in _CONTROL_FLOW)
    return any(isinstance(error, kind) for kind in kinds if kind is not None)


class _Refused(Exception):  # noqa: N818 - no error: it leaves an attempt
    pass
