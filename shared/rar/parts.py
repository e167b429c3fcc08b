"""One body for callers with and without an event loop: a generator that yields what takes time, and gets the result.

`run` makes each part at once. `arun` makes blocking ones in a thread and strategies' calls as tasks. What a part raises
is raised where it was yielded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from rar.drive import Models, Observe, adrive, drive
from rar.metering import Meter
from rar.strategy import Steps

T = TypeVar("T")


class Part(Protocol):
    """Something that takes time."""

    def make(self) -> Any: ...

    async def amake(self) -> Any: ...


Parts: TypeAlias = Generator[Part, Any, T]


@dataclass(frozen=True, slots=True)
class Blocking:
    """A function that reads files, embeds or predicts."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()

    def make(self) -> Any:
        return self.function(*self.args)

    async def amake(self) -> Any:
        return await asyncio.to_thread(self.function, *self.args)


class Ahead(Blocking):
    """A function that an event loop must not wait for later on; others call it where they need it."""

    def make(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Driven:
    """Steps that ask models."""

    steps: Steps[Any]
    models: Models
    observe: Observe
    meter: Meter | None

    def make(self) -> Any:
        return drive(self.steps, self.models, self.observe, self.meter)

    async def amake(self) -> Any:
        return await adrive(self.steps, self.models, self.observe, self.meter)


def run(parts: Parts[T]) -> T:
    try:
        part = next(parts)
        while True:
            try:
                made = part.make()
            except BaseException as error:
                part = parts.throw(error)
            else:
                part = parts.send(made)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def arun(parts: Parts[T]) -> T:
    try:
        part = next(parts)
        while True:
            try:
                made = await part.amake()
            except BaseException as error:
                part = parts.throw(error)
            else:
                part = parts.send(made)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
