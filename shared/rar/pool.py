"""Threads for calls that are made at the same time: a bounded number, shared by the whole process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from rar.forking import Lock, in_forked_child

T = TypeVar("T")

THREADS = 32


class Pool:
    """Runs jobs at the same time. The caller's own thread takes part: jobs that run jobs never wait for a thread.

    Args:
        threads: At most so many beside the callers' own. They are made when they are needed, and anew after a fork.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._most, self._lock = threads, Lock()
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        self._threads: ThreadPoolExecutor | None = None

    def run(self, jobs: Sequence[Callable[[], T]], at_once: int) -> list[T]:
        """What each job returns, in their order. All are run, also where one raises.

        Raises:
            Exception: What the first of those that raised did.
        """
        left = deque(enumerate(jobs))
        returned: dict[int, T] = {}
        raised: dict[int, Exception] = {}

        def work() -> None:
            with suppress(IndexError):
                while True:
                    at, job = left.popleft()
                    try:
                        returned[at] = job()
                    except Exception as error:
                        raised[at] = error

        helpers = self._submitted(work, min(at_once, len(jobs), self._most + 1) - 1)
        try:
            work()
        finally:
            left.clear()
            for helper in helpers:
                helper.cancel()
        for helper in helpers:
            if not helper.cancelled():
                helper.result()
        if raised:
            raise raised[min(raised)]
        return [returned[at] for at in range(len(jobs))]

    def _submitted(self, work: Callable[[], None], count: int) -> list[Future[None]]:
        if count <= 0:
            return []
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._most, "rar-batch")
            return [self._threads.submit(work) for _ in range(count)]
