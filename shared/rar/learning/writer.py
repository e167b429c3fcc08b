"""The writer: brings what was decided and learned into the memory, and keeps what cannot be stored yet."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from typing import Any

from rar.errors import DimensionError, MemoryStoreError, RecordError
from rar.forking import Lock, in_forked_child
from rar.ledger import Ledger
from rar.memory.base import Batch, Memory, PolicyStep
from rar.memory.forgetting import Gone
from rar.naming import cause
from rar.notices import Notices
from rar.observers import Moved, Observers, Stored
from rar.values import Experience, Guide

logger = logging.getLogger("rar")

KEPT = 10_000  # batches that wait for a memory that cannot be written
KEPT_BYTES = 32 * 2**20  # of their texts and embeddings
_AT_ONCE = 500  # batches in one transaction
_SMALL = 3_000  # bytes that a record takes beside its texts and embeddings


class Writer:
    """Writes batches in their order. What the memory refuses for now is kept, within bounds, and tried again.

    A memory refuses for a reason of its own (a full disk, a lock, no right to write: a `MemoryStoreError`), or for a
    record that it cannot hold. In the first case learning is to pause, which `paused` says. In the second the record
    alone is given up, and named in the log by its type.

    Any thread may call it. Only `write` and `flush` wait for the memory.

    Args:
        limit, limit_bytes: Batches that are kept at most, and bytes of their texts and embeddings. One too many drops
            the oldest, which `lost` counts.
    """

    def __init__(
        self,
        memory: Memory,
        ledger: Ledger,
        notices: Notices,
        observers: Observers | None = None,
        *,
        limit: int = KEPT,
        limit_bytes: int = KEPT_BYTES,
    ) -> None:
        self._memory, self._ledger, self._notices = memory, ledger, notices
        self._observers = observers or Observers()
        self._limit, self._limit_bytes = limit, limit_bytes
        self._writing, self._queue = Lock(), Lock()
        self._reset()
        in_forked_child(self._reset)

    def _reset(self) -> None:
        # What the parent has not written yet is the parent's to write.
        self._waiting: deque[Batch] = deque()
        self._bytes = self.lost = self._lost_before = 0
        self.paused: str | None = None  # why nothing can be stored, in words
        self._since: float | None = None  # when the oldest that waits came
        # What observers are to hear when no lock is held.
        self._untold: deque[PolicyStep | Stored | MemoryStoreError] = deque()

    @property
    def waiting(self) -> int:
        """Batches that are not stored yet."""
        return len(self._waiting)

    @property
    def behind(self) -> float:
        """Seconds that what is not stored yet has waited."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def remember(self, batch: Batch) -> None:
        """Have `batch` written before long."""
        with self._queue:
            self._waiting.append(batch)
            self._bytes += _size(batch)
            self._since = time.monotonic() if self._since is None else self._since
            while len(self._waiting) > self._limit or (self._bytes > self._limit_bytes and len(self._waiting) > 1):
                self._bytes -= _size(self._waiting.popleft())
                self.lost += 1

    def write(self, batch: Batch) -> None:
        """Write all that waits, then `batch`. Never raises for trouble of the memory's."""
        self.remember(batch)
        self.flush()

    def settled(self) -> bool:
        """Whether what was flushed is stored, and nothing was lost since this was last asked."""
        lost, self._lost_before = self.lost != self._lost_before, self.lost
        return self.paused is None and not lost

    def flush(self) -> None:
        """Write all that waits."""
        with self._writing:
            stored = self._spending()
            while stored and (some := self._next()):
                left = self._store(some)
                self._put_back(left)
                stored = not left
            with self._queue:
                if not self._waiting:
                    self._since = None
            if stored and self.paused is not None:
                self.paused = None
                logger.info("The memory can be written again; what waited is stored, and learning goes on.")
        while self._untold:
            with suppress(IndexError):  # another thread's
                self._tell(self._untold.popleft())

    def _tell(self, what: PolicyStep | Stored | MemoryStoreError) -> None:
        if isinstance(what, Stored):
            self._observers.tell(what)
            return
        if isinstance(what, MemoryStoreError):
            self._observers.alarm("unwritable", about=type(what).__name__)
            return
        try:
            state = self._memory.policy_state(what.namespace, what.model)
        except Exception as error:
            logger.debug("A policy's state could not be read for its observers. %s", cause(error))
            return
        self._observers.tell(Moved(what.at, what.namespace, what, state))

    def forget(self, gone: Gone) -> None:
        """Drop what waits and was deleted meanwhile."""
        with self._queue:
            self._waiting = deque(left for batch in self._waiting if (left := gone.without(batch)))
            self._bytes = sum(map(_size, self._waiting))

    def _next(self) -> list[Batch]:
        """The oldest batches of one epoch, taken out of the queue."""
        some: list[Batch] = []
        with self._queue:
            while self._waiting and len(some) < _AT_ONCE and (not some or self._waiting[0].epoch == some[0].epoch):
                some.append(self._waiting.popleft())
                self._bytes -= _size(some[-1])
        return some

    def _put_back(self, batches: list[Batch]) -> None:
        with self._queue:
            self._waiting.extendleft(reversed(batches))
            self._bytes += sum(map(_size, batches))

    def _spending(self) -> bool:
        """Write the ledger's sums, which keeps what cannot be stored."""
        # What was reserved first: what is added up between these two looks stays reserved a little longer.
        purse = self._ledger.purse
        settled = () if purse is None else purse.drain()
        left = self._store(
            [
                *(Batch(spending=(spend,)) for spend in self._ledger.drain()),
                *([Batch(settled=settled)] if settled else ()),
            ]
        )
        self._ledger.restore(spend for batch in left for spend in batch.spending)
        if purse is not None:
            purse.stored(settled, done=not any(batch.settled for batch in left))
        return not left

    def _store(self, batches: list[Batch]) -> list[Batch]:
        """Write `batches`; return those that the memory cannot take now."""
        if not any(batches):
            return []
        whole, began = sum(batches[1:], batches[0]), time.perf_counter()
        try:
            self._memory.write(whole)
        except MemoryStoreError as error:
            if not isinstance(error, (RecordError, DimensionError)):
                self._pause(error)
                return batches
            return self._without_culprit(batches, error)
        except Exception as error:
            return self._without_culprit(batches, error)
        if self._observers.hear(Stored) and (whole.decisions or whole.experiences or whole.guides or whole.trials):
            self._untold.append(_stored(whole, self._observers.now(), time.perf_counter() - began))
        if whole.steps and self._observers.hear(Moved):
            self._untold.extend(whole.steps)
        return []

    def _without_culprit(self, batches: list[Batch], error: Exception) -> list[Batch]:
        """Write `batches` by halves, down to the one record that cannot be stored, which is given up."""
        if len(batches) == 1:
            batches = list(_records(batches[0]))
        if len(batches) == 1:
            self.lost += 1
            kind = next(type(record).__name__ for part in _parts(batches[0]) for record in part)
            logger.error("A record (%s) cannot be stored and is given up; the rest is kept. %s", kind, cause(error))
            return []
        half = len(batches) // 2
        left = self._store(batches[:half])
        return left + batches[half:] if left else self._store(batches[half:])

    def _pause(self, error: MemoryStoreError) -> None:
        if self.paused is None:
            self._untold.append(error)
        self.paused = str(error)
        self._notices(
            f"unstored:{type(error).__name__}",
            "Learning pauses, for nothing can be stored; serving goes on. What was decided is kept in memory (up to %s "
            "records) and stored as soon as that works again. %s",
            f"{self._limit:,}",
            error,
        )


def _stored(batch: Batch, at: float, seconds: float) -> Stored:
    ids = tuple(dict.fromkeys(record.id for record in batch.decisions))
    return Stored(at, ids, len(batch.experiences), len(batch.guides), len(batch.trials), seconds)


def _parts(batch: Batch) -> Iterator[tuple[object, ...]]:
    return (part for field in fields(batch) if isinstance(part := getattr(batch, field.name), tuple))


def _records(batch: Batch) -> Iterator[Batch]:
    """A batch for each record of `batch`, in the order in which they are written."""
    for field in fields(batch):
        part = getattr(batch, field.name)
        if isinstance(part, tuple):
            for record in part:
                one: dict[str, Any] = {field.name: (record,)}
                yield Batch(**one, epoch=batch.epoch)


def _size(batch: Batch) -> int:
    """About the bytes that `batch` takes."""
    held: tuple[Experience | Guide, ...] = (*batch.experiences, *batch.guides)
    texts, vectors = sum(len(one.text or "") for one in held), sum(one.embedding.nbytes for one in held)
    texts += sum(len(one.text) for one in batch.deferred)
    texts += sum(len(one.prompt) + len(one.weak) + len(one.strong) for one in batch.judged)
    texts += sum(len(one.question) + len(one.text) for one in batch.cached)
    return texts + vectors + _SMALL * sum(len(part) for part in _parts(batch))
