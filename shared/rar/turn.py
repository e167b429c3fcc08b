"""One turn: how every plugin serves a call. Try, fail over, hold back what is empty, end.

A plugin says how one attempt's model is called (`Target`) and has the turn do it, whole or as a stream::

    turn = Turn(router, router.decide(request, models))
    output = turn.whole(target)              # or `await turn.awhole(target)`
    for chunk in turn.stream(target): ...    # or `async for chunk in turn.astream(target)`
    ...                                      # `turn.decision` answered, and `turn.target` was called

What else has to happen between calls is a loop of its own::

    for attempt in turn:
        with attempt:
            output = ...                     # call `attempt.decision.model`
            attempt.refuse(flaw_of(output))  # may go on to the next model

The same attempts serve sync and async, since nothing in them waits.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeAlias

from rar.errors import EmptyReplyError
from rar.router import Router
from rar.timeouts import astream_within, awithin, stream_within, within
from rar.values import Decision, Reply

OPENED: Any = object()  # what a stream yields first where it was asked to say that it is open


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
        self.target: Any = None  # the last that was called

    def __iter__(self) -> Iterator[Attempt]:
        while not self.ended:
            yield Attempt(self)

    def whole(self, make: Make) -> Any:
        """The output that is kept."""
        for attempt in self:
            with attempt:
                self.target = target = make(attempt)
                output = within(*attempt.limit, target.call)
                attempt.refuse_output(target, output)
        return output

    async def awhole(self, make: Make) -> Any:
        for attempt in self:
            with attempt:
                self.target = target = make(attempt)
                output = await awithin(*attempt.limit, target.acall())
                attempt.refuse_output(target, output)
        return output

    def stream(self, make: Make, *, opened: bool = False) -> Generator[Any, None, None]:
        """The chunks of the model that is kept. Nothing of another one is passed on.

        Args:
            opened: Yield `OPENED` as soon as a model's stream is open, before any chunk.
        """
        for attempt in self:
            with attempt:
                self.target = target = make(attempt)
                source = within(*attempt.limit, target.chunks)
                with closing(stream_within(*attempt.limit, lambda: source)) as chunks:  # noqa: B023 - read at once
                    if opened:
                        opened = False
                        yield OPENED
                    for chunk in chunks:
                        yield from attempt.admit(chunk, target.solid(chunk))
                yield from attempt.rest_of(target)

    async def astream(self, make: Make, *, opened: bool = False) -> AsyncGenerator[Any, None]:
        for attempt in self:
            with attempt:
                self.target = target = make(attempt)
                source = await awithin(*attempt.limit, target.achunks())
                async with aclosing(astream_within(*attempt.limit, source)) as chunks:
                    if opened:
                        opened = False
                        yield OPENED
                    async for chunk in chunks:
                        for ready in attempt.admit(chunk, target.solid(chunk)):
                            yield ready
                for ready in attempt.rest_of(target):
                    yield ready


class Attempt:
    """One model's try, as a context: what goes wrong before anything was passed on leads to the next attempt."""

    def __init__(self, turn: Turn) -> None:
        self._turn, self.decision = turn, turn.decision
        self._held: list[Any] = []
        # What nobody could take over is passed on as it comes.
        self._open = not turn.router.may_fail_over(turn.decision)
        self._begun = time.monotonic()

    @property
    def limit(self) -> tuple[float | None, str]:
        """How long the model may be silent, and its name."""
        return self._turn.router.timeout, self.decision.model

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

    def refuse_output(self, target: Target, output: Any) -> None:
        """`refuse` of a target's whole output."""
        self.refuse(target.flaw(output), lambda: target.reply(output))

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

    def rest_of(self, target: Target) -> list[Any]:
        """`rest` of a target's stream."""
        return self.rest(target.nothing(), lambda held: target.reply(target.whole(held)))

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


class Target:
    """What an attempt calls: one model, made ready. A plugin overrides what its framework does in another way."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt, self.decision = attempt, attempt.decision

    def call(self) -> Any:
        """The model's whole output."""
        raise NotImplementedError

    async def acall(self) -> Any:
        return await asyncio.to_thread(self.call)

    def chunks(self) -> Iterator[Any]:
        """Its output as a stream. Returns when that is open."""
        return iter([self.call()])

    async def achunks(self) -> AsyncIterator[Any]:
        return _given(await self.acall())

    def solid(self, chunk: Any) -> bool:
        """Whether a chunk is worth passing on: until one is, another model may still answer. Each is asked of once."""
        return bool(chunk)

    def flaw(self, output: Any) -> Exception | None:
        """What is wrong with a whole output that came without an error; None if it may be kept."""
        return None if self.solid(output) else self.nothing()

    def nothing(self) -> Exception:
        """What is wrong with an output that holds nothing solid."""
        return EmptyReplyError(self.decision.model)

    def whole(self, chunks: list[Any]) -> Any:
        """What chunks are together."""
        return chunks[-1]

    def reply(self, output: Any) -> Reply | None:
        """How the engine sees an output that is refused, which was paid for; None where it cannot be read."""
        return None


Make: TypeAlias = Callable[[Attempt], Target]  # makes ready what an attempt calls; may fail as the call may


async def _given(output: Any) -> AsyncGenerator[Any, None]:
    yield output


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
