"""What was deleted is gone: from the files, from every process, and for good."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rar import Router, SQLiteMemory
from rar.errors import UnknownDecisionError
from tests.security.common import GUIDE, SECRET, WAIT, ask, models, on_disk, router


def teach(asked: Router, count: int = 40, namespace: str = "t1") -> list[str]:
    given = models(lambda messages: "blue", lambda messages: GUIDE if "short guides" in messages[0].text else "red")
    return [ask(asked, f"{SECRET} number {n} {'x' * n}", given, namespace=namespace).id for n in range(count)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rar.db"


def test_a_deleted_namespace_is_in_no_file_of_a_running_server(file: Path) -> None:
    with router(file) as asked:
        teach(asked)
        ask(asked, "another tenant's", namespace="t2")
        assert asked.flush(WAIT)
        assert on_disk(file)
        assert asked.memory is not None
        assert asked.memory.delete(namespace="t1") > 0
        assert on_disk(file) == []
        assert not any(SECRET in str(record) for record in asked.memory.export())
        assert not any(SECRET in (one.request.key or "") for one in asked._recent.values())
        assert asked.embedder is not None
        assert len(asked.embedder) == 0
        ask(asked, "another of another tenant", namespace="t2")
        assert asked.flush(WAIT)
        assert on_disk(file) == []
        assert asked.memory.stats("t1").namespaces == ()
        assert asked.memory.stats("t2").experiences == 2
    assert on_disk(file) == []


def test_the_command_deletes_beside_a_running_server(file: Path) -> None:
    with router(file) as asked:
        ids = teach(asked)
        assert asked.flush(WAIT)
        command = [sys.executable, "-c", "from rar.cli import main; main()", "delete", str(file), "-n", "t1", "-y"]
        subprocess.run(command, check=True, timeout=WAIT, capture_output=True)
        assert on_disk(file) == []
        ask(asked, "something else")  # the server notices
        assert not any(SECRET in (one.request.key or "") for one in asked._recent.values())
        with pytest.raises(UnknownDecisionError):
            asked.feedback(ids[0], False)
        assert asked.flush(WAIT)
        assert on_disk(file) == []


def test_a_reader_delays_the_scrubbing_only(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rar.memory.sqlite.SCRUB", 0.01)
    with router(file) as asked, SQLiteMemory(file) as reader:
        teach(asked)
        assert asked.flush(WAIT)
        reading = reader.export()
        next(reading)
        next(reading)
        assert asked.memory is not None
        asked.memory.delete(namespace="t1")
        assert on_disk(file)  # somebody still reads it
        reading.close()  # type: ignore[attr-defined]
        ask(asked, "something else")
        assert asked.flush(WAIT)
        assert on_disk(file) == []


def test_a_deleted_question_takes_its_decisions_along(file: Path) -> None:
    with router(file) as asked:
        teach(asked, 3)
        assert asked.flush(WAIT)
        memory = asked.memory
        assert memory is not None
        ids = [one.id for one in memory.experiences(namespace="t1", task="answer")]
        assert memory.delete(ids=ids) == 3
        assert memory.stats().decisions == 0
        assert not any(SECRET in str(record) for record in memory.export())
        assert on_disk(file) == []


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
def test_lessons_that_wait_do_not_bring_it_back(elsewhere: bool, file: Path) -> None:
    go, began = threading.Event(), threading.Event()

    def slow(messages: object) -> str:
        began.set()
        go.wait(WAIT)
        return "red"

    with router(file) as asked, SQLiteMemory(file) as other:
        ids = [ask(asked, f"{SECRET} pending {n}", models(slow), namespace="t1").id for n in range(5)]
        assert began.wait(WAIT)
        asked.flush(0.01)
        assert asked.memory is not None
        (other if elsewhere else asked.memory).delete(namespace="t1")
        go.set()
        assert asked.flush(WAIT)
        for id in ids:
            with pytest.raises(UnknownDecisionError):
                asked.feedback(id, False)
        assert asked.flush(WAIT)
        assert on_disk(file) == []
        assert other.stats("t1").experiences == other.stats("t1").decisions == 0

        ask(asked, "a new beginning", namespace="t1")  # the name itself is not banned
        assert asked.flush(WAIT)
        assert other.stats("t1").experiences == 1


def test_feedback_on_an_answer_does_not_bring_its_question_back(file: Path) -> None:
    with router(file) as asked, SQLiteMemory(file) as other:
        ask(asked, f"{SECRET} and so on", namespace="t1")
        assert asked.flush(WAIT)
        again = ask(asked, f"{SECRET} and so on", namespace="t1")
        assert again.model == "weak"
        assert asked.flush(WAIT)
        other.delete(namespace="t1")  # as another process does: nobody here knows yet
        with contextlib.suppress(UnknownDecisionError):
            asked.feedback(again.id, False)
        assert asked.flush(WAIT)
        assert on_disk(file) == []
        assert other.stats("t1").experiences == 0


def test_what_waits_for_a_full_disk_is_forgotten_too(file: Path) -> None:
    from rar.errors import MemoryFullError
    from tests.security.test_nothing_lost import Refusing

    memory = Refusing(SQLiteMemory(file))
    asked = router(memory)
    memory.error = MemoryFullError("rar.db")
    teach(asked, 3)
    asked.flush(WAIT)
    memory.delete(namespace="t1")
    memory.error = None
    assert asked.flush(WAIT)
    assert on_disk(file) == []
    assert memory.spending() == []
    asked.close()


def test_nothing_names_a_namespace_that_was_deleted(file: Path) -> None:
    with router(file) as asked:
        ask(asked, "question", namespace="jane@example.com")
        assert asked.flush(WAIT)
        assert on_disk(file, "jane@example.com")
        assert asked.memory is not None
        asked.memory.delete(namespace="jane@example.com")
        assert on_disk(file, "jane@example.com") == []


def test_other_processes_do_not_find_what_was_deleted(file: Path) -> None:
    with router(file) as asked, router(file) as other:
        ask(asked, "known to both")
        assert asked.flush(WAIT)
        assert ask(other, "known to both").model == "weak"
        assert asked.memory is not None
        asked.memory.delete(namespace="default")
        assert ask(other, "known to both").model == "strong"
