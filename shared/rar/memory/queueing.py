"""The protocol of a queue of lessons, which a memory offers as `queue` where workers can share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from rar.errors import ConfigurationError
from rar.memory.base import Memory
from rar.memory.lessons import PackedLesson
from rar.naming import shown


class RetryLater(Protocol):
    """Says after how many seconds a lesson that failed with an error is tried again; None: it is given up.

    `attempts` were made before, this one not counted.
    """

    def __call__(self, error: BaseException, attempts: int) -> float | None: ...


@dataclass(frozen=True, slots=True)
class DeadLesson:
    """A lesson that was given up.

    Args:
        age: Seconds since it was deferred.
        error: What went wrong last; no text of a prompt.
    """

    id: str
    decision_id: str
    attempts: int
    age: float
    error: str


@dataclass(frozen=True, slots=True)
class QueueState:
    """What a queue holds.

    Args:
        waiting: Lessons that are due, or put off.
        later: Those of them that are put off after a failure.
        running: Lessons that a worker has taken.
        age: Seconds since the oldest of those that wait was deferred.
    """

    waiting: int = 0
    later: int = 0
    running: int = 0
    dead: int = 0
    age: float = 0.0
    workers: int = 0


class LessonQueue(Protocol):
    """Lessons that wait for workers. They enter it as `Batch.deferred`, in the transaction of their decision."""

    def prepare(self) -> None:
        """Make the queue where there is none, or bring it up to date."""
        ...

    def state(self) -> QueueState: ...

    def dead(self, limit: int = 100) -> list[DeadLesson]:
        """Lessons that were given up, newest first."""
        ...

    def retry(self, ids: Sequence[str] = ()) -> int:
        """Have dead lessons tried again, all where none are named; how many there were."""
        ...

    def drop(self, ids: Sequence[str] = ()) -> int:
        """Forget dead lessons, all where none are named; how many there were."""
        ...

    def work(
        self,
        study: Callable[[PackedLesson], None],
        retry: RetryLater,
        *,
        sources: Sequence[str],
        lanes: int,
        wait: bool,
        grace: float,
        stalled: float,
    ) -> None:
        """Take lessons and study them, until SIGTERM or SIGINT; those under way are finished.

        A lesson is studied at least once: one whose worker stopped to give signs of life is taken by another.

        Args:
            study: It raises where a lesson could not be learned.
            sources: Frameworks whose lessons are taken, beside those of none.
            lanes: Lessons that are studied at once.
            wait: Whether to wait for more when there are none.
            grace: Seconds that lessons under way have at the end; those that take longer are left to others.
            stalled: Seconds without a sign of life after which a worker counts as dead.
        """
        ...


def queue_of(memory: Memory) -> LessonQueue:
    """The queue of a memory.

    Raises:
        ConfigurationError: It has none.
    """
    queue = getattr(memory, "queue", None)
    if queue is None:
        raise ConfigurationError(
            f"The memory {shown(memory.where)} has no queue of lessons. Workers need one in PostgreSQL: "
            "memory='postgresql://…'. With a file, learn by learning='background'."
        )
    return cast("LessonQueue", queue)
