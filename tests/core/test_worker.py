"""The worker: order, bounds, isolation, and life after a fork."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import os
import sys
import threading

import pytest

from rar import exits
from rar.errors import UnknownNameError
from rar.learning import worker as module
from rar.learning.worker import Worker

WAIT = 20.0  # seconds that a test waits for what should take none


def test_background_items_are_handled_in_order_off_the_callers_thread() -> None:
    seen: list[tuple[int, bool]] = []
    main = threading.current_thread()
    worker = Worker[int](lambda item: seen.append((item, threading.current_thread() is main)), lambda: None)

    for item in range(100):
        worker.put(item)

    assert worker.flush(WAIT)
    assert seen == [(item, False) for item in range(100)]
    worker.close()


def test_an_item_that_raises_costs_itself_alone_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def handle(item: int) -> None:
        if item == 1:
            raise ValueError("bad lesson")
        seen.append(item)

    worker = Worker[int](handle, lambda: None)
    with caplog.at_level(logging.ERROR, "rar"):
        for item in range(3):
            worker.put(item)
        assert worker.flush(WAIT)

    assert seen == [0, 2]
    assert "serving goes on. ValueError at test_worker.py:" in caplog.text
    worker.close()


def test_over_its_limit_the_oldest_are_dropped_and_counted() -> None:
    seen: list[int] = []
    begun, go = threading.Event(), threading.Event()

    def handle(item: int) -> None:
        begun.set()
        go.wait(WAIT)
        seen.append(item)

    worker = Worker[int](handle, lambda: None, limit=3)
    worker.put(0)
    assert begun.wait(WAIT)
    for item in range(1, 10_001):
        worker.put(item)
    go.set()

    assert worker.flush(WAIT)
    assert seen == [0, 9_998, 9_999, 10_000]
    assert worker.dropped == 9_997
    worker.close()


@pytest.mark.parametrize("mode", ["background", "inline"])
def test_handlers_see_nothing_of_the_callers_context(mode: str) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
    user.set("ada")
    seen: list[str] = []
    worker = Worker[int](lambda item: seen.append(user.get()), lambda: None, mode=mode)  # type: ignore[arg-type]

    worker.put(1)

    assert worker.flush(WAIT)
    assert seen == ["nobody"]
    worker.close()


def test_flush_says_when_its_time_was_not_enough() -> None:
    go = threading.Event()
    worker = Worker[int](lambda item: bool(go.wait(WAIT)) and None, lambda: None)
    worker.put(1)

    assert not worker.flush(0.01)
    go.set()
    assert worker.flush(WAIT)
    worker.close()


def test_off_and_closed_workers_take_nothing() -> None:
    seen: list[int] = []
    off, closed = Worker[int](seen.append, lambda: None, mode="off"), Worker[int](seen.append, lambda: None)
    closed.close()

    off.put(1)
    closed.put(2)

    assert off.flush(WAIT)
    assert closed.flush(WAIT)
    assert seen == []


def test_idle_work_is_done_after_a_touch_and_by_a_flush() -> None:
    idle = threading.Event()
    worker = Worker[int](lambda item: None, idle.set, interval=0.01)

    worker.touch()
    assert idle.wait(WAIT)

    idle.clear()
    worker.flush()
    assert idle.is_set()
    worker.close()


def test_the_threads_end_when_there_is_nothing_to_do_and_start_again() -> None:
    seen: list[threading.Thread] = []
    worker = Worker[int](lambda item: seen.append(threading.current_thread()), lambda: None, interval=0.01)
    worker.put(1)
    assert worker.flush(WAIT)
    seen[0].join(WAIT)
    assert not seen[0].is_alive()

    worker.put(2)

    assert worker.flush(WAIT)
    assert len(seen) == 2
    worker.close()


class Panic(BaseException):
    """What a Rust extension raises."""


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), Panic("a bug"), KeyboardInterrupt()])
def test_nothing_that_an_item_raises_ends_the_learning_of_the_others(error: BaseException) -> None:
    seen: list[int] = []

    def handle(item: int) -> None:
        if item == 0:
            raise error
        seen.append(item)

    worker = Worker[int](handle, lambda: None)
    worker.put(0)
    worker.flush(WAIT)
    worker.put(1)

    assert worker.flush(WAIT)
    assert seen == [1]
    worker.close()


def test_a_thread_that_could_not_be_started_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    worker = Worker[int](seen.append, lambda: None)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        worker.put(1)
        assert not worker.flush(0.01)

    assert worker.flush(WAIT)
    assert seen == [1]
    worker.close()


def test_an_item_that_hangs_holds_up_neither_the_others_nor_what_is_written(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    never, written = threading.Event(), threading.Event()

    def handle(item: int) -> None:
        if item == 0:
            never.wait()
        seen.append(item)
        if item == 9:
            done.set()

    done = threading.Event()
    worker = Worker[int](handle, written.set, interval=0.01, patience=0.05)
    for item in range(10):
        worker.put(item)

    assert done.wait(WAIT) and written.wait(WAIT)
    assert seen == list(range(1, 10))
    assert not worker.flush(0.01)
    assert "1 lessons are not learned yet: a call of learning takes long, or hangs" in caplog.text
    assert not worker.close(0.01)
    never.set()


def test_so_many_hanging_items_that_no_thread_is_left_are_given_up_at_the_end() -> None:
    never = threading.Event()
    worker = Worker[int](lambda item: bool(never.wait()) and None, lambda: None, interval=0.01, patience=0.01, lanes=2)
    for item in range(5):
        worker.put(item)

    assert not worker.close(0.1)
    assert (worker.waiting, worker.dropped) == (2, 3)
    never.set()


def test_the_ends_of_many_workers_share_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    workers = [Worker[int](lambda item: None, lambda: None) for _ in range(8)]
    monkeypatch.setattr(exits, "_deadlines", [])
    monkeypatch.setattr(exits, "_ends", [])
    monkeypatch.setattr(Worker, "exit", lambda self, seconds: given.append(seconds))

    for worker in workers:
        exits.at_end(module._End(worker))
    exits._run_all()

    assert len(given) == 8
    assert all(later <= earlier <= module.CLOSING for earlier, later in itertools.pairwise(given))


def test_an_unknown_mode_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="background"):
        Worker[int](lambda item: None, lambda: None, mode="later")  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_learns_on_a_thread_of_its_own() -> None:
    blocked, go = threading.Event(), threading.Event()
    seen: list[int] = []

    def handle(item: int) -> None:
        if item == 0:
            blocked.set()
            go.wait(WAIT)
        seen.append(item)

    worker = Worker[int](handle, lambda: None, patience=WAIT)
    worker.put(0)
    worker.put(1)
    assert blocked.wait(WAIT)
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child
        worker.put(2)
        fine = worker.flush(WAIT) and seen == [2]  # the parent's items stay the parent's
        sys.stdout.flush()
        os._exit(0 if fine else 1)
    go.set()

    assert os.waitpid(child, 0)[1] == 0
    assert worker.flush(WAIT)
    assert seen == [0, 1]
    worker.close()


def test_what_is_given_up_is_told_and_written() -> None:
    begun, go = threading.Event(), threading.Event()
    dropped: list[int] = []
    written: list[list[int]] = []

    def handle(item: int) -> None:
        begun.set()
        go.wait(WAIT)

    worker = Worker[int](handle, lambda: written.append(list(dropped)), drop=dropped.append, limit=2)
    worker.put(0)
    assert begun.wait(WAIT)
    for item in (1, 2, 3):
        worker.put(item)
    assert dropped == [1]

    worker.close(0.01)

    go.set()
    assert dropped == [1, 2, 3]
    assert worker.dropped == 3
    assert written[-1] == [1, 2, 3]


def test_the_end_of_the_process_tells_what_there_was_no_time_for() -> None:
    begun, go = threading.Event(), threading.Event()
    dropped: list[int] = []

    def handle(item: int) -> None:
        begun.set()
        go.wait(WAIT)

    worker = Worker[int](handle, lambda: None, drop=dropped.append)
    worker.put(0)
    assert begun.wait(WAIT)
    worker.put(1)
    worker.exit(0.01)
    go.set()

    assert dropped == [1]
