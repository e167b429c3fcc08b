"""The worker: learning off the caller's path, on a thread of its own, in a context of its own."""

from __future__ import annotations

import atexit
import contextvars
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from rar.errors import UnknownNameError

logger = logging.getLogger("rar")

T = TypeVar("T")
Mode: TypeAlias = Literal["background", "inline", "off"]
MODES = ("background", "inline", "off")


class Worker(Generic[T]):
    """Hands items to `handle`, one after the other, in the order they came.

    `"background"`: on a daemon thread that starts with the first item, ends when there was nothing to do for a while,
    and starts anew in a forked child (which inherits none of the parent's items). `"inline"`: at once, in the caller's
    thread. `"off"`: never. Always in an empty context, so that nothing the handler calls is seen by the caller's
    tracing, streams or usage counters.

    Args:
        handle: Called with each item; what it raises is logged and costs that item alone.
        idle: Called when the queue has been empty for `interval` seconds after an item or a `touch`, and by `flush`.
        limit: Items that may wait; one more drops the oldest, which `dropped` counts.
        exit_timeout: Seconds that the end of the process waits for the queue.
    """

    def __init__(
        self,
        handle: Callable[[T], None],
        idle: Callable[[], None],
        *,
        mode: Mode = "background",
        limit: int = 1_000,
        interval: float = 1.0,
        exit_timeout: float = 5.0,
    ) -> None:
        if mode not in MODES:
            raise UnknownNameError("learning", mode, MODES)
        self.mode, self.dropped = mode, 0
        self._handle, self._idle, self._limit, self._interval = handle, idle, limit, interval
        self._exit_timeout = exit_timeout
        self.reset()
        _workers.add(self)
        # Registered anew for each worker: exit hooks run last first, so a worker is heard before its older memory goes.
        atexit.register(_exit, weakref.ref(self))

    def reset(self) -> None:
        """Forget all items and the thread; for a forked child, in which no other thread lives on."""
        self._wake = threading.Condition()
        self._items: deque[T] = deque()
        self._busy = self._dirty = self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        return len(self._items) + self._busy

    def put(self, item: T) -> None:
        """Hand over `item`; never waits in the background, never raises."""
        if self.mode == "off" or self._closed:
            return
        if self.mode == "inline":
            contextvars.Context().run(self._quietly, self._handle, item)
            return
        with self._wake:
            if len(self._items) >= self._limit:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._start()

    def touch(self) -> None:
        """Have `idle` called before long. Cheap when it already will be."""
        if self.mode == "background" and not self._dirty and not self._closed:
            with self._wake:
                self._start()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until every item is handled; False if `timeout` seconds did not suffice."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._wake:
            while self._items or self._busy:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0.0:
                    return False
                self._wake.wait(left)
        self._quietly(self._idle)
        return True

    def close(self, timeout: float | None = None) -> bool:
        """Flush, then take no more items."""
        done = self.flush(timeout)
        with self._wake:
            self._closed = True
            self._items.clear()
            self._wake.notify_all()
        return done

    def exit(self) -> None:
        """What the end of the process does."""
        if not self._closed:
            self.flush(self._exit_timeout)

    def _start(self) -> None:
        self._dirty = True
        if self._thread is None and not self._closed:
            run = contextvars.Context().run  # empty also where threads inherit their parent's (free-threaded Python)
            self._thread = threading.Thread(target=run, args=(self._loop,), name="rar-learning", daemon=True)
            self._thread.start()
        self._wake.notify_all()

    def _loop(self) -> None:
        while True:
            with self._wake:
                if not self._items and not self._closed:
                    self._wake.wait(self._interval)
                if self._closed or (not self._items and not self._dirty):
                    self._thread = None
                    return
                self._busy = True
                item = self._items.popleft() if self._items else None
                self._dirty = item is not None
            try:
                if item is None:
                    self._quietly(self._idle)
                else:
                    self._quietly(self._handle, item)
            finally:
                with self._wake:
                    self._busy = False
                    self._wake.notify_all()

    def _quietly(self, function: Callable[..., None], *args: object) -> None:
        try:
            function(*args)
        except Exception:
            logger.exception("Learning failed for one item; serving goes on.")


_workers: weakref.WeakSet[Worker[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for worker in list(_workers):
        worker.reset()


def _exit(reference: weakref.ref[Worker[Any]]) -> None:
    worker = reference()
    if worker is not None:
        worker.exit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
