"""Time limits for calls that may hang, sync and async, whole and streamed.

A sync call that hangs cannot be stopped from outside. With a limit it therefore runs on a thread of its own, which is
left behind when the time is over; without one nothing changes and no thread is made.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from rar.errors import ModelTimeoutError

T = TypeVar("T")

_AHEAD = 8  # chunks that a stream's thread reads ahead of its reader
_LOOK = 0.25  # seconds after which a thread that waits for its reader looks whether there still is one
_END = object()


def within(seconds: float | None, model: str, call: Callable[[], T]) -> T:
    """`call()`, in the caller's context.

    Args:
        seconds: None: no limit.
        model: Its name, for the error.

    Raises:
        ModelTimeoutError: It took longer.
    """
    if seconds is None:
        return call()
    outcome: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(1)
    _thread(lambda: outcome.put(_outcome(call)))
    result: T = _next(outcome, seconds, model)
    return result


def stream_within(seconds: float | None, model: str, open: Callable[[], Iterator[T]]) -> Generator[T, None, None]:
    """The items of `open()`, none of which may keep the reader waiting for longer than `seconds`.

    Closing this closes them too, where they can be closed.

    Raises:
        ModelTimeoutError: One did.
    """
    if seconds is None:
        yield from _closing(open())
        return
    items: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(_AHEAD)
    left = threading.Event()
    _thread(lambda: _pump(open, items, left))
    try:
        while (item := _next(items, seconds, model)) is not _END:
            yield item
    finally:
        left.set()


async def awithin(seconds: float | None, model: str, call: Awaitable[T]) -> T:
    """`within` for callers with an event loop: what hangs is cancelled."""
    if seconds is None:
        return await call
    async with _limited(seconds, model):
        return await call


async def astream_within(seconds: float | None, model: str, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """`stream_within` for callers with an event loop."""
    try:
        while True:
            item: Any = await awithin(seconds, model, anext(items, _END))
            if item is _END:
                return
            yield item
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()


def _closing(items: Iterator[T]) -> Generator[T, None, None]:
    try:
        yield from items
    finally:
        if isinstance(items, Generator):
            items.close()


def _thread(target: Callable[[], None]) -> None:
    # A daemon: what hangs must not keep the process from ending.
    context = contextvars.copy_context()
    threading.Thread(target=lambda: context.run(target), name="rar-call", daemon=True).start()


def _outcome(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return call(), None
    except BaseException as error:
        return None, error


def _pump(open: Callable[[], Iterator[Any]], items: queue.Queue[Any], left: threading.Event) -> None:
    source = _closing(_opened(open))
    try:
        while not left.is_set():
            outcome = _outcome(lambda: next(source, _END))
            if not _put(items, outcome, left) or outcome[0] is _END or outcome[1] is not None:
                return
    finally:
        source.close()


def _opened(open: Callable[[], Iterator[T]]) -> Iterator[T]:
    yield from _closing(open())  # opened when first read, so that an error of opening is the first item's


def _put(items: queue.Queue[Any], outcome: Any, left: threading.Event) -> bool:
    while not left.is_set():
        try:
            items.put(outcome, timeout=_LOOK)
            return True
        except queue.Full:
            continue
    return False


def _next(outcomes: queue.Queue[tuple[Any, BaseException | None]], seconds: float, model: str) -> Any:
    try:
        value, error = outcomes.get(timeout=seconds)
    except queue.Empty:
        raise ModelTimeoutError(model, seconds) from None
    if error is not None:
        raise error
    return value


@asynccontextmanager
async def _limited(seconds: float, model: str) -> AsyncGenerator[None, None]:
    """Cancels what it surrounds after `seconds`, in the task that runs it, whose context variables it keeps."""
    if sys.version_info >= (3, 11):
        try:
            async with asyncio.timeout(seconds) as limit:
                yield
        except TimeoutError:
            if limit.expired():
                raise ModelTimeoutError(model, seconds) from None
            raise
        return
    task, over = asyncio.current_task(), []
    assert task is not None

    def cancel() -> None:
        over.append(True)
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, cancel)
    try:
        yield
    except asyncio.CancelledError:
        if over:
            raise ModelTimeoutError(model, seconds) from None
        raise
    finally:
        timer.cancel()
