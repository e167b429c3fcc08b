"""The worker: learning off the caller's path, on threads of its own, in contexts of their own."""

from __future__ import annotations

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
from rar.exits import SECONDS, at_end, forget
from rar.naming import cause

logger = logging.getLogger("rar")

T = TypeVar("T")
Mode: TypeAlias = Literal["background", "inline", "off", "queue"]
MODES = ("background", "inline", "off", "queue")
_OWN = ("background", "inline", "off")  # what becomes of a queue's lessons is for its workers to say

STANDSTILL = 120.0  # seconds without progress after which `flush` waits no longer
CLOSING = SECONDS  # that closing waits for what is unfinished; as long as the end of a process, for all workers


class Worker(Generic[T]):
    """Hands items to `handle`, in the order they came, and writes what has gathered meanwhile.

    `"background"`: on daemon threads, which start when there is something to do, and end when there was nothing for a
    while. They start anew in a forked child, which inherits none of the parent's items. There is one for the items, and
    one that writes, which no item holds up. An item that takes longer than `patience` does not hold up the next ones
    either: another thread goes on with them. `"inline"`: at once, in the caller's thread. `"off"`: never. Always in an
    empty context, so that nothing the handler calls is seen by the caller's tracing, streams or usage counters.

    Args:
        handle: Called with each item; what it raises is logged and costs that item alone.
        idle: Writes what has gathered: called within about `interval` seconds of an item or a `touch`, and by `flush`.
        drop: Told of each item that is given up: one too many was waiting, or there was no time for it at the end.
        weigh: About how many bytes an item takes.
        limit, limit_bytes: Items that may wait, and their bytes; one more drops the oldest, which `dropped` counts.
        patience: Seconds after which an item no longer holds up those behind it.
        lanes: Items that may be handled at once, all but one of them because they took too long.
    """

    def __init__(
        self,
        handle: Callable[[T], None],
        idle: Callable[[], None],
        *,
        mode: Mode = "background",
        drop: Callable[[T], None] | None = None,
        weigh: Callable[[T], int] | None = None,
        limit: int = 1_000,
        limit_bytes: int = 24 * 2**20,
        interval: float = 1.0,
        patience: float = 10.0,
        lanes: int = 4,
    ) -> None:
        if mode not in _OWN:
            raise UnknownNameError("learning", mode, _OWN)
        self.mode, self.dropped = mode, 0
        self._handle, self._idle, self._drop, self._limit, self._interval = handle, idle, drop, limit, interval
        self._patience, self._most_lanes = patience, lanes
        self._weigh, self._limit_bytes = weigh, limit_bytes
        self.reset()
        _workers.add(self)
        # Those who came last end first, so that a worker is heard before its older memory goes.
        at_end(_End(self))

    def reset(self) -> None:
        """Forget all items and the threads; for a forked child, in which no other thread lives on."""
        self._wake, self._closing = threading.Condition(), threading.Event()
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._lanes: dict[int, float | None] = {}  # when each began its item, by the lane's number; None: it waits
        self._numbers = self._handled = 0
        self._writing = self._dirty = self._closed = False

    @property
    def waiting(self) -> int:
        return len(self._items) + self._busy

    @property
    def oldest(self) -> T | None:
        """The item that has waited longest; None where none waits."""
        with self._wake:
            return self._items[0][0] if self._items else None

    @property
    def _busy(self) -> int:
        return sum(began is not None for began in self._lanes.values())

    def put(self, item: T) -> None:
        """Hand over `item`; never waits in the background, never raises."""
        if self.mode == "off" or self._closed:
            return
        if self.mode == "inline":
            contextvars.Context().run(self._quietly, self._handle, item)
            return
        size = self._weigh(item) if self._weigh is not None else 0
        with self._wake:
            while self._items and (len(self._items) >= self._limit or self._bytes + size > self._limit_bytes):
                self._forsake(self._take())
                self.dropped += 1
            self._items.append((item, size))
            self._bytes += size
            self._start()

    def forget(self, gone: Callable[[T], bool]) -> None:
        """Take back the items that wait and `gone` says this of, as if they had never come."""
        with self._wake:
            self._items = deque(entry for entry in self._items if not gone(entry[0]))
            self._bytes = sum(size for _, size in self._items)

    def touch(self) -> None:
        """Have `idle` called before long. Cheap when it already will be."""
        if self.mode == "background" and not self._dirty and not self._closed:
            with self._wake:
                self._start()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until every item is handled, then write; whether that was so.

        Args:
            timeout: Seconds to wait at most; the log says what was not waited for. None: as long as items go on being
                handled, that is until none was for two minutes.
        """
        done = self._drained(timeout)
        self._quietly(self._idle)
        return done

    def close(self, timeout: float | None = CLOSING) -> bool:
        """Flush, then take no more items; those that are left are dropped."""
        done = self.flush(timeout)
        self._give_up()
        return done

    def exit(self, seconds: float) -> None:
        """What the end of the process does."""
        if not self._closed and not self.flush(seconds):
            self._give_up()

    def _give_up(self) -> None:
        """Take no more items, and drop those that wait."""
        with self._wake:
            self._closed = True
            self._closing.set()
            given_up = [self._take() for _ in range(len(self._items))]
            self.dropped += len(given_up)
            self._wake.notify_all()
        for item in given_up:
            self._forsake(item)
        if given_up:
            self._quietly(self._idle)

    def _take(self) -> T:
        item, size = self._items.popleft()
        self._bytes -= size
        return item

    def _forsake(self, item: T) -> None:
        if self._drop is not None:
            self._quietly(self._drop, item)

    def _drained(self, timeout: float | None) -> bool:
        deadline = time.monotonic() + (STANDSTILL if timeout is None else timeout)
        with self._wake:
            handled = self._handled
            while self._items or self._busy:
                if timeout is None and handled != self._handled:
                    handled, deadline = self._handled, time.monotonic() + STANDSTILL
                left = deadline - time.monotonic()
                if left <= 0.0:
                    logger.warning("%d lessons are not learned yet: %s.", self.waiting, self._why_not())
                    return False
                self._start()  # where no thread could be started before
                self._wake.wait(min(left, self._interval))
        return True

    def _why_not(self) -> str:
        if not self._lanes:
            return "no thread could be started for them"
        return "a call of learning takes long, or hangs" if self._busy else "there was not enough time"

    # All below hold `self._wake` where they look at or change what is waiting.

    def _start(self) -> None:
        self._dirty = True
        if self._closed or self.mode != "background":
            return
        if not self._writing:
            self._writing = self._thread(self._write, "rar-writing")
        now = time.monotonic()
        held_up = all(began is not None and now - began >= self._patience for began in self._lanes.values())
        if self._items and held_up and len(self._lanes) < self._most_lanes:
            self._numbers += 1
            number = self._numbers
            self._lanes[number] = None
            if not self._thread(lambda: self._learn(number), "rar-learning"):
                del self._lanes[number]
        self._wake.notify_all()

    def _thread(self, target: Callable[[], None], name: str) -> bool:
        run = contextvars.Context().run  # empty also where threads inherit their parent's (free-threaded Python)
        try:
            threading.Thread(target=run, args=(target,), name=name, daemon=True).start()
        except RuntimeError as error:  # too many threads, or the interpreter is ending: tried again at the next call
            logger.warning("Learning waits: %s.", error)
            return False
        return True

    def _learn(self, number: int) -> None:
        while True:
            with self._wake:
                if not self._items and not self._closed:
                    self._wake.wait(self._interval)
                if self._closed or not self._items:
                    del self._lanes[number]
                    return
                item = self._take()
                self._lanes[number] = time.monotonic()
            try:
                self._quietly(self._handle, item)
            finally:
                with self._wake:
                    self._lanes[number] = None
                    self._handled += 1
                    self._wake.notify_all()

    def _write(self) -> None:
        while True:
            self._closing.wait(self._interval)
            with self._wake:
                if self._closed or not (self._dirty or self._items or self._busy):
                    self._writing = False
                    return
                dirty = self._dirty
                self._start()  # also goes on with items that are held up
                self._dirty = False
            if dirty:
                self._quietly(self._idle)

    def _quietly(self, function: Callable[..., None], *args: object) -> None:
        try:
            function(*args)
        except BaseException as error:  # a panic of a Rust extension, or a stray exit, must not end all learning
            if isinstance(error, KeyboardInterrupt) and self.mode == "inline":
                raise  # it is the caller's
            # Not the traceback, whose last line may quote a prompt.
            logger.error("Learning failed for one item; serving goes on. %s", cause(error))  # noqa: TRY400


_workers: weakref.WeakSet[Worker[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for worker in list(_workers):
        worker.reset()


class _End:
    """What the end of the process does with a worker, if that is still there."""

    def __init__(self, worker: Worker[Any]) -> None:
        self._worker = weakref.ref(worker, lambda _: forget(self))

    def __call__(self, seconds: float) -> None:
        worker = self._worker()
        if worker is not None:
            worker.exit(seconds)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
