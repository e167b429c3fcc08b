"""What was decided and learned is stored, or kept until it can be; what cannot be stored is not paid for again."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar import SQLiteMemory
from rar.errors import MemoryFullError, MemoryStoreError, ReadOnlyMemoryError, RecordError
from rar.learning.writer import Writer
from rar.ledger import Ledger
from rar.memory.base import Batch, DecisionRecord, Spend
from rar.notices import Notices
from rar.prices import Prices
from rar.values import Message, Usage
from tests.contract.memory import experience, guide, trial
from tests.security.common import WAIT, ask, models, router


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rar.db"


def record(id: str, **facts: Any) -> DecisionRecord:
    return DecisionRecord(id, "default", 1.0, "a", None, "strong", facts)


class Refusing:
    """A memory that refuses as long as `error` is set."""

    def __init__(self, memory: SQLiteMemory, error: MemoryStoreError | None = None) -> None:
        self._memory, self.error = memory, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def write(self, batch: Batch) -> None:
        if self.error is not None:
            raise self.error
        self._memory.write(batch)


def counting() -> tuple[dict[str, Any], list[str]]:
    calls: list[str] = []

    def model(name: str) -> Callable[[Sequence[Message]], str]:
        return lambda messages: calls.append(name) or name  # type: ignore[func-returns-value]

    return models(model("weak"), model("strong")), calls


def test_decisions_and_spending_are_stored_while_a_lesson_hangs(file: Path) -> None:
    go = threading.Event()
    given = models(lambda messages: go.wait() and "red")
    with router(file, learning="background") as asked:
        for n in range(50):
            ask(asked, f"question {n}", given)
        asked.flush(0.1)
        assert asked.memory is not None
        assert asked.memory.stats().decisions == 50
        assert sum(spend.calls for spend in asked.memory.spending()) == 50
        assert asked.memory.stats().not_learned == {"waiting": 50}
        go.set()
        assert asked.flush(WAIT)
        assert asked.memory.stats().decisions == 50
        assert asked.memory.stats().not_learned == {}


def test_a_base_exception_of_a_lesson_is_told_in_the_decision(file: Path) -> None:
    class Panic(BaseException):
        pass

    def panics(messages: Sequence[Message]) -> str:
        raise Panic("quotes the prompt")

    with router(file) as asked:
        ask(asked, "question", models(panics))
        assert asked.flush(WAIT)
        (facts,) = asked.decisions()
        assert facts["not_learned"] == "call_failed"
        assert "quotes" not in str(facts)


@pytest.mark.parametrize("learning", ["background", "inline"])
@pytest.mark.parametrize("kind", [MemoryFullError, ReadOnlyMemoryError, MemoryStoreError])
def test_learning_pauses_while_nothing_can_be_stored_and_goes_on(
    learning: str, kind: type[MemoryStoreError], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory, (given, calls) = Refusing(SQLiteMemory(file)), counting()
    asked = router(memory, learning=learning, guides=False)
    memory.error = kind("rar.db")
    ask(asked, "the same question", given)
    assert not asked.flush(WAIT)
    assert asked.stats().learning.startswith("paused: ")
    before = calls.count("weak")
    for _ in range(20):
        ask(asked, "the same question", given)
        assert not asked.flush(WAIT)
    assert calls.count("weak") == before <= 1
    assert asked.stats().unstored > 20
    assert caplog.text.count("Learning pauses") == 1

    memory.error = None
    assert asked.flush(WAIT)
    stats = asked.stats()
    assert (stats.learning, stats.unstored, stats.lost) == (learning, 0, 0)
    assert stats.memory is not None
    assert stats.memory.decisions == 21
    assert stats.memory.not_learned["unstored"] >= 20
    assert sum(spend.calls for spend in memory.spending()) == len(calls)
    ask(asked, "another question", given)
    assert asked.flush(WAIT)
    assert calls.count("weak") == before + 1
    asked.close()


def test_a_memory_that_is_read_only_costs_no_call_of_learning(file: Path) -> None:
    router(file).close()
    given, calls = counting()
    asked = router(SQLiteMemory(file, read_only=True))
    for _ in range(5):
        ask(asked, "the same question", given)
    assert asked.flush(WAIT)
    assert calls == ["strong"] * 5
    assert asked.stats().learning == "off"
    asked.memory.close()  # type: ignore[union-attr]


def test_a_locked_file_keeps_what_is_decided_till_it_is_free(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rar.memory.sqlite_file.CONNECTION", ("PRAGMA busy_timeout = 20",))
    with router(file) as asked:
        locking = sqlite3.connect(file, isolation_level=None)
        locking.execute("BEGIN IMMEDIATE")
        ask(asked, "question")
        assert not asked.flush(WAIT)
        assert "locked" in asked.stats().learning
        locking.execute("ROLLBACK")
        locking.close()
        assert asked.flush(WAIT)
        assert asked.stats().memory.decisions == 1  # type: ignore[union-attr]


CULPRITS = {
    "tokens beyond 64 bits": Batch(spending=(Spend("default", "serve", "strong", "m", calls=2**70),)),
    "a time that is no number": Batch(decisions=(replace(record("bad"), at=float("nan")),)),
    "an integer beyond 64 bits": Batch(decisions=(replace(record("bad"), at=2**70),)),
    "an embedding of another length": Batch(experiences=(experience("bad", np.ones(3, np.float32)),)),
    "an object": Batch(decisions=(replace(record("bad"), model=object()),)),  # type: ignore[arg-type]
    "facts that are no JSON": Batch(decisions=(record("bad", a={(1, 2): 3}),)),
}


@pytest.mark.parametrize("culprit", CULPRITS.values(), ids=CULPRITS)
def test_a_record_that_cannot_be_stored_keeps_no_other_from_it(
    culprit: Batch, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SQLiteMemory(file) as memory:
        memory.bind("test", 4)
        writer = Writer(memory, Ledger(Prices()), Notices())
        for n in range(20):
            writer.remember(Batch(decisions=(record(f"before {n}"),)))
        lesson = Batch((experience("a"),), (guide("g"),), (trial("a"),), decisions=(record("with"),))
        writer.remember(replace(lesson, **{part: getattr(culprit, part) + getattr(lesson, part) for part in PARTS}))
        writer.remember(Batch(decisions=(record("after"),)))
        writer.flush()

        kept = {one.id for one in memory.decisions()} - {"bad"}
        assert kept == {*(f"before {n}" for n in range(20)), "with", "after"}
        assert memory.stats().experiences == 1
        assert memory.stats().trials == 1
        assert writer.waiting == 0
        if writer.lost:
            assert not writer.settled()
            assert "is given up" in caplog.text
        assert writer.settled()


PARTS = ("experiences", "spending", "decisions")


def test_lone_surrogates_and_huge_facts_are_stored(file: Path) -> None:
    with SQLiteMemory(file) as memory:
        writer = Writer(memory, Ledger(Prices()), Notices())
        writer.write(Batch(decisions=(record("a", question="\ud800"), record("b", question="x" * 5_000_000))))
        assert writer.settled()
        assert {one.id for one in memory.decisions()} == {"a", "b"}


def test_what_is_kept_is_bounded_and_what_is_lost_counted(file: Path) -> None:
    with SQLiteMemory(file) as memory:
        refusing = Refusing(memory, MemoryFullError("rar.db"))
        writer = Writer(refusing, Ledger(Prices()), Notices(), limit=10)  # type: ignore[arg-type]
        for n in range(25):
            writer.write(Batch(decisions=(record(str(n)),)))
        assert (writer.waiting, writer.lost) == (10, 15)

        big = Writer(refusing, Ledger(Prices()), Notices(), limit_bytes=1_000_000)  # type: ignore[arg-type]
        for n in range(25):
            big.write(Batch(experiences=(experience(str(n), text="x" * 100_000),)))
        assert (big.waiting, big.lost) == (9, 16)

        refusing.error = None
        writer.flush()
        assert not writer.settled()
        assert writer.settled()
        assert [one.id for one in memory.decisions()] == [str(n) for n in range(24, 14, -1)]


@pytest.mark.parametrize("absurd", [10**20, -5, float("nan"), True, None, "many"])
def test_absurd_token_counts_of_a_provider_are_estimated(absurd: Any, file: Path) -> None:
    from rar.tokens import counted
    from rar.values import Call, Reply, question

    usage = counted(Call("strong", question("how many?")), Reply("strong", "few", usage=Usage(absurd, 5)))
    if absurd is True:
        return
    assert usage.estimated
    assert 0 < usage.input_tokens < 100


def test_a_days_sums_stay_within_what_can_be_added_up(file: Path) -> None:
    with SQLiteMemory(file) as memory:
        for _ in range(3):
            memory.write(Batch(spending=(Spend("default", "serve", "strong", "m", 1, 2**62, 2**62),)))
        assert memory.spending()[0].calls == 3
        assert memory.spending()[0].input_tokens == 2**48


def test_sqlites_errors_about_a_record_are_told_apart(file: Path) -> None:
    with SQLiteMemory(file) as memory, pytest.raises(RecordError):
        memory.write(Batch(decisions=(replace(record("bad"), at=float("nan")),)))


@pytest.mark.parametrize("change", ["deleted", "replaced", "replaced by something else"])
def test_a_file_that_goes_under_a_server_is_noticed_once(
    change: str, file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other.db"
    with router(other) as elsewhere:
        ask(elsewhere, "known elsewhere")
        assert elsewhere.flush(WAIT)
    with router(file) as asked, caplog.at_level(logging.WARNING, "rar"):
        ask(asked, "known here")
        assert asked.flush(WAIT)
        file.unlink()
        if change == "replaced":
            other.rename(file)
        elif change != "deleted":
            file.write_text("no memory at all")
        for n in range(3):
            assert ask(asked, f"question {n}").model == "strong"
        if change == "replaced by something else":
            assert not asked.flush(WAIT)
            assert file.read_text() == "no memory at all"
            assert asked._learning.writer is not None
            assert "is not a RAR memory" in (asked._learning.writer.paused or "")
            file.unlink()
            ask(asked, "question 3")
        assert asked.flush(WAIT)
        assert caplog.text.count("deleted or replaced") == 1
        assert asked.memory is not None
        texts = {one.text for one in asked.memory.experiences(namespace="default", task="answer")}
        assert ("known elsewhere" in texts) == (change == "replaced")
        assert "known here" not in texts
        assert file.exists()
