"""The worker: order, bounds, isolation, and life after a fork."""

from __future__ import annotations

import contextvars
import logging
import os
import sys
import threading

import pytest

from rar.errors import UnknownNameError
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
    assert "bad lesson" in caplog.text
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


def test_the_thread_ends_when_there_is_nothing_to_do_and_starts_again() -> None:
    seen: list[int] = []
    worker = Worker[int](seen.append, lambda: None, interval=0.01)
    worker.put(1)
    thread = worker._thread
    assert thread is not None
    thread.join(WAIT)
    assert not thread.is_alive()

    worker.put(2)

    assert worker.flush(WAIT)
    assert seen == [1, 2]
    worker.close()


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

    worker = Worker[int](handle, lambda: None)
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
