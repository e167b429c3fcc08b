"""The two drivers: the only code that advances a strategy, a ladder or a judge."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from rar.errors import UnknownModelError
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


def drive(steps: Steps[T], models: Models, observe: Observe | None = None) -> T:
    """Run `steps` to its end; several calls of one batch run in threads that share the caller's context.

    Args:
        observe: Told of every call and its outcome, in the order of the batch.

    Raises:
        UnknownModelError: The steps asked a model that is not in `models`.
    """
    try:
        batch = next(steps)
        while True:
            batch = steps.send(_observed(batch, _make_all(batch, models), observe))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        steps.close()


async def adrive(steps: Steps[T], models: Models, observe: Observe | None = None) -> T:
    """`drive` for callers with an event loop: the calls of a batch run as tasks."""
    try:
        batch = next(steps)
        while True:
            outcomes = await asyncio.gather(*(_amake(call, models) for call in batch))
            batch = steps.send(_observed(batch, list(outcomes), observe))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        steps.close()


def _observed(batch: list[Call], outcomes: list[Outcome], observe: Observe | None) -> list[Outcome]:
    if observe is not None:
        for call, outcome in zip(batch, outcomes, strict=True):
            observe(call, outcome)
    return outcomes


def _make_all(batch: list[Call], models: Models) -> list[Outcome]:
    if len(batch) < 2:
        return [_make(call, models) for call in batch]
    with ThreadPoolExecutor(len(batch)) as pool:
        # A context can be entered by one thread at a time, so each call gets its own copy.
        jobs = [pool.submit(contextvars.copy_context().run, _make, call, models) for call in batch]
        return [job.result() for job in jobs]


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
