"""The two drivers: the only code that advances a strategy, a ladder or a judge."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from rar.errors import UnknownModelError
from rar.pool import Pool
from rar.strategy import Outcome, Steps
from rar.timeouts import awithin, within
from rar.values import Call, Failure, Reply

T = TypeVar("T")


@runtime_checkable
class Model(Protocol):
    """A chat model as the engine calls it. Plugins wrap their framework's models in this; any thread may call it."""

    @property
    def id(self) -> str:
        """The provider's name of the model, the same through every framework."""
        ...

    def call(self, call: Call) -> Reply:
        """Make the call, seen by nobody but the engine: no callbacks, no streaming to the user."""
        ...

    async def acall(self, call: Call) -> Reply: ...


Models: TypeAlias = Mapping[str, Model]
Observe: TypeAlias = Callable[[Call, Outcome], None]

_pool = Pool()


class Gate(Protocol):
    """Says which calls may be made. Asked before each batch, in its order."""

    @property
    def parallel(self) -> int | None:
        """Calls that may be made at the same time; None: as many as there are threads for."""
        ...

    def ahead(self, batch: Sequence[Call]) -> Callable[[], None] | None:
        """What is to be called, where one may wait, before calls are admitted; None: nothing is."""
        ...

    def admit(self, call: Call) -> Exception | None:
        """None, or why this call may not be made, which is then its outcome."""
        ...


def drive(steps: Steps[T], models: Models, observe: Observe | None = None, gate: Gate | None = None) -> T:
    """Run `steps` to its end; several calls of one batch run in threads that share the caller's context.

    Args:
        observe: Told of every call that was made and its outcome, in the order of the batch.

    Raises:
        UnknownModelError: The steps asked a model that is not in `models`.
    """
    try:
        batch = next(steps)
        while True:
            if gate is not None and (ahead := gate.ahead(batch)) is not None:
                ahead()
            refused = _refused(_known(batch, models), gate)
            calls = [call for at, call in enumerate(batch) if at not in refused]
            outcomes = _make_all(calls, models, gate.parallel if gate is not None else None)
            batch = steps.send(_observed(batch, refused, outcomes, observe))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        steps.close()


async def adrive(steps: Steps[T], models: Models, observe: Observe | None = None, gate: Gate | None = None) -> T:
    """`drive` for callers with an event loop: the calls of a batch run as tasks."""
    try:
        batch = next(steps)
        while True:
            if gate is not None and (ahead := gate.ahead(batch)) is not None:
                await asyncio.to_thread(ahead)
            refused = _refused(_known(batch, models), gate)
            calls = [call for at, call in enumerate(batch) if at not in refused]
            outcomes = await _amake_all(calls, models, gate.parallel if gate is not None else None)
            batch = steps.send(_observed(batch, refused, outcomes, observe))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        steps.close()


def _refused(batch: list[Call], gate: Gate | None) -> dict[int, Outcome]:
    """The outcomes of the calls that may not be made, by their place."""
    if gate is None:
        return {}
    asked = ((at, call, gate.admit(call)) for at, call in enumerate(batch))
    return {at: Failure(call.model, error) for at, call, error in asked if error is not None}


def _observed(
    batch: list[Call], refused: Mapping[int, Outcome], made: list[Outcome], observe: Observe | None
) -> list[Outcome]:
    coming = iter(made)
    outcomes = [refused[at] if at in refused else next(coming) for at in range(len(batch))]
    if observe is not None:
        for at, call in enumerate(batch):
            if at not in refused:
                observe(call, outcomes[at])
    return outcomes


def _make_all(calls: list[Call], models: Models, parallel: int | None) -> list[Outcome]:
    if len(calls) < 2:
        return [_make(call, models) for call in calls]
    # A context can be entered by one thread at a time, so each call gets its own copy.
    jobs = [partial(contextvars.copy_context().run, _make, call, models) for call in calls]
    return _pool.run(jobs, len(jobs) if parallel is None else parallel)


async def _amake_all(calls: list[Call], models: Models, parallel: int | None) -> list[Outcome]:
    if parallel is None or len(calls) <= parallel:
        return list(await asyncio.gather(*(_amake(call, models) for call in calls)))
    room = asyncio.Semaphore(parallel)

    async def in_turn(call: Call) -> Outcome:
        async with room:
            return await _amake(call, models)

    return list(await asyncio.gather(*map(in_turn, calls)))


def _known(batch: list[Call], models: Models) -> list[Call]:
    """A batch all of whose models exist: none of its calls is made else.

    Raises:
        UnknownModelError: One does not.
    """
    for call in batch:
        _find(call, models)
    return batch


def _make(call: Call, models: Models) -> Outcome:
    model, begun = _find(call, models), time.monotonic()
    try:
        return _timed(within(_limit(call), call.model, lambda: model.call(call)), begun)
    except Exception as error:
        return _timed(Failure(call.model, error), begun)


async def _amake(call: Call, models: Models) -> Outcome:
    model, begun = _find(call, models), time.monotonic()
    try:
        return _timed(await awithin(_limit(call), call.model, model.acall(call)), begun)
    except Exception as error:
        return _timed(Failure(call.model, error), begun)


def _timed(outcome: Outcome, begun: float) -> Outcome:
    """`outcome` with the time that its call took; what a recording says stays."""
    return outcome if outcome.seconds is not None else replace(outcome, seconds=time.monotonic() - begun)


def _limit(call: Call) -> float | None:
    return None if call.sampling is None else call.sampling.timeout


def _find(call: Call, models: Models) -> Model:
    try:
        return models[call.model]
    except KeyError:
        raise UnknownModelError(call.model, models.keys()) from None
