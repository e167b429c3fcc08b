"""What a process keeps in mind is bounded by bytes; clocks that jump and floods do not cost what was learned."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from rar import SQLiteMemory
from rar.learning.learner import Lesson
from rar.learning.worker import Worker
from rar.memory.base import Batch, PolicyStep
from rar.recent import Recent, slim
from rar.sizes import size_of
from rar.values import Decision, Failure, Message, Reply, Request, Route, question
from tests.security.common import WAIT, ask, models, router

MB = 2**20


def decision(n: int, key: str = "question", image: str = "") -> Decision:
    native = {"content": [{"type": "image_url", "image_url": {"url": image}}]}
    request = Request((Message("user", key, native=native),), key, options={"big": image})
    return Decision(str(n), request, Route("strong"), float(n), failed=(Failure("weak", ValueError(image)),))


@pytest.mark.parametrize(("count", "key", "image"), [(1_500, 60_000, 0), (1_000, 10, MB), (3_000, 10, 10)])
def test_recent_decisions_are_slim_and_bounded(count: int, key: int, image: int) -> None:
    recent = Recent()
    gc.collect()
    tracemalloc.start()
    for n in range(count):
        recent.add(decision(n, f"{n} " + "k" * key, f"{n} " + "i" * image))
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 25 * MB
    assert len(recent) <= 1_000
    assert recent.get(str(count - 1)) is not None
    assert recent.get("0") is None or count <= 1_000


def test_the_one_that_is_too_big_is_kept_alone() -> None:
    recent = Recent(most_bytes=1_000)
    recent.add(decision(1))
    recent.add(decision(2, "k" * 10_000))
    assert [one.id for one in recent.values()] == ["2"]


def test_what_is_slim_still_says_what_is_needed() -> None:
    whole = decision(1, "the key", "i" * 1_000)
    kept = slim(whole)
    assert kept.as_dict() == whole.as_dict()
    assert kept.request.key == "the key"
    assert size_of(kept.request.messages, kept.request.options, kept.failed[0].error) < 1_000


@pytest.mark.parametrize("where", ["text", "native", "options", "reply"])
def test_waiting_lessons_are_weighed_with_all_that_they_hold(where: str) -> None:
    big = "x" * MB
    message = Message("user", big if where == "text" else "a", native={"content": [{"data": big.encode()}]}
                      if where == "native" else None)  # fmt: skip
    request = Request((message,), "key", options={"deep": [{"er": big}]} if where == "options" else {})
    lesson = Lesson(
        Decision("d", request, Route("strong"), 0.0), Reply("strong", big if where == "reply" else "b"), models()
    )
    assert MB <= lesson.size() < 1.2 * MB


def test_waiting_lessons_are_bounded_by_bytes() -> None:
    dropped: list[int] = []
    worker = Worker[int](
        lambda item: None, lambda: None, mode="background", drop=dropped.append, weigh=lambda item: MB,
        limit_bytes=10 * MB,
    )  # fmt: skip
    worker._start = lambda: None  # type: ignore[method-assign]  # nothing is handled meanwhile
    for item in range(25):
        worker.put(item)
    assert (worker.waiting, worker.dropped, dropped) == (10, 15, list(range(15)))
    worker.forget(lambda item: item > 20)
    assert worker.waiting == 6
    worker.put(30)
    assert worker.waiting == 7
    del worker._start
    worker.close(WAIT)


def test_sizes_end_where_objects_hold_each_other() -> None:
    ring: dict[str, Any] = {"text": "x" * 1_000}
    ring["self"] = [ring, ring]
    assert 1_000 < size_of(ring, ring) < 1_100
    assert size_of(len, int, None, 3.0) == 0


@pytest.mark.slow
def test_long_prompts_leave_little_behind(tmp_path: Path) -> None:
    with router(tmp_path / "rar.db") as asked:
        ask(asked, "warm up")
        assert asked.flush(WAIT)
        gc.collect()
        tracemalloc.start()
        for n in range(60):
            ask(asked, f"document {n}: " + f"{n:06d}" * 10_000)
        assert asked.flush(WAIT)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert held < 12 * MB


# ── clocks and floods ──


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_clock_that_was_ahead_does_not_outvote_a_user(tmp_path: Path) -> None:
    clock = Clock()
    with router(tmp_path / "rar.db", learning="inline", clock=clock) as asked:
        clock.now += 3_600
        ask(asked, "capital of Australia?")
        clock.now -= 3_600
        served = ask(asked, "capital of Australia?")
        assert served.choice.reason == "memory_weak"
        asked.feedback(served.id, False)
        assert ask(asked, "capital of Australia?").choice.reason == "memory_strong"


def test_an_alarm_dated_ahead_does_not_blind(tmp_path: Path) -> None:
    clock = Clock()
    with router(tmp_path / "rar.db", learning="inline", clock=clock, policy="floor", audit_rate=0.0) as asked:
        memory = asked.memory
        assert memory is not None
        ahead = clock.now + 365 * 86_400
        memory.write(
            Batch(steps=(PolicyStep("default", 0.0, at=ahead), PolicyStep("default", 0.0, surprise=9.0, at=ahead)))
        )
        assert memory.policy_state("default").since > clock.now
        ask(asked, "capital of Australia?")
        clock.now += 60
        assert ask(asked, "capital of Australia?").choice.reason == "memory_weak"
        assert memory.policy_state("default").since <= clock.now


def test_what_is_asked_again_outlives_what_was_asked_once(tmp_path: Path) -> None:
    clock = Clock()
    memory = SQLiteMemory(tmp_path / "rar.db", cap=50, clock=clock)
    given = models(lambda messages: "ok" if "password" in messages[-1].text else "no", lambda messages: "ok")
    asked = router(memory, learning="inline", clock=clock, guides=False)
    asked_daily = "How do I reset my password?"
    ask(asked, asked_daily, given)
    before = memory.stats().trials
    for _ in range(30):
        clock.now += 86_400
        assert ask(asked, asked_daily, given).model == "weak"
    assert memory.stats().trials == before  # it is not tried again for that
    for n in range(120):
        clock.now += 1
        ask(asked, f"{n} " + f"{n * 7919:x} " * 9, given)
    assert memory.stats().evicted > 0
    assert ask(asked, asked_daily, given).choice.reason == "memory_weak"
    asked.close()
    memory.close()


def test_serving_moves_no_sequence_numbers(tmp_path: Path) -> None:
    with router(tmp_path / "rar.db", learning="inline") as asked:
        ask(asked, "again and again")
        memory = asked.memory
        assert memory is not None
        end = memory.changes(0).end
        for _ in range(5):
            assert ask(asked, "again and again").model == "weak"
        assert memory.changes(0).end == end  # so no process reads its index or cache anew


def test_a_question_cut_in_the_record_is_not_taken_for_another(tmp_path: Path) -> None:
    long = "word " * 600
    with router(tmp_path / "rar.db") as first:
        ask(first, long)
        served = ask(first, long)
        assert first.flush(WAIT)
    with router(tmp_path / "rar.db") as second:
        second.feedback(served.id, False)
        assert second.memory is not None
        assert second.memory.stats().experiences == 1
    assert question(long).key == long


def test_caches_are_bounded_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rar.memory.cache._CACHED_BYTES", 50_000)
    monkeypatch.setattr("rar.embedding.cache._MOST_BYTES", 50_000)
    with router(tmp_path / "rar.db", learning="inline") as asked:
        for n in range(60):
            ask(asked, f"{n} " * 300)
        memory, embedder = asked.memory, asked.embedder
        assert isinstance(memory, SQLiteMemory)
        assert embedder is not None
        assert 0 < len(embedder) <= 50_000 // (4 * embedder.dim)
        assert size_of(*memory._cache._experiences.values()) <= 60_000
