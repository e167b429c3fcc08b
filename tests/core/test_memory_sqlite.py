"""The SQLite memory: the contract, and what belongs to its file."""

from __future__ import annotations

import itertools
import os
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rar.errors import (
    CorruptMemoryError,
    DimensionError,
    MemoryFullError,
    NewerMemoryError,
    NotAMemoryError,
    ReadOnlyMemoryError,
)
from rar.memory import sqlite, sqlite_connections, sqlite_file, sqlite_writer
from rar.memory.base import Batch, DecisionRecord, Memory, PolicyState, PolicyStep
from rar.memory.following import Follower
from rar.memory.sqlite import SQLiteMemory
from rar.memory.sqlite_schema import MIGRATIONS
from tests.contract.memory import DIM, EAST, NORTH, MemoryContract, decision, experience, found, guide, spend, trial

OLD_SCHEMAS = sorted(Path(__file__).parent.glob("memory_schema_*.sql"), key=lambda file: int(file.stem.split("_")[-1]))
DAY = 86_400.0


class TestSQLiteMemory(MemoryContract):
    @pytest.fixture
    def fresh(self, tmp_path: Path) -> Callable[[], Memory]:
        names = itertools.count()
        return lambda: SQLiteMemory(tmp_path / f"{next(names)}.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a closed memory that holds experience "a"."""
    path = tmp_path / "rar.db"
    with SQLiteMemory(path) as memory:
        memory.write(Batch((experience("a"),)))
    return path


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    SQLiteMemory(tmp_path / "a" / "b" / "rar.db").close()

    assert (tmp_path / "a" / "b" / "rar.db").stat().st_size > 0


def test_what_was_written_is_there_after_reopening(path: Path) -> None:
    with SQLiteMemory(path) as memory:
        assert found(memory) == ["a"]


def test_the_secret_stays_and_is_shown_nowhere(path: Path) -> None:
    with SQLiteMemory(path) as first, SQLiteMemory(path) as second, SQLiteMemory(":memory:") as other:
        assert first.secret == second.secret != other.secret
        assert len(first.secret) == 32
        assert str(first.secret) not in repr(first)
        assert first.secret.hex() not in str(list(first.export()))


def test_a_private_memory_leaves_no_file_behind() -> None:
    memory = SQLiteMemory(":memory:")
    folder = Path(memory._path).parent
    memory.write(Batch((experience("a"),)))
    assert found(memory) == ["a"]

    memory.close()

    assert memory.where == ":memory:"
    assert not folder.exists()


def test_two_memories_of_one_file_see_each_other_at_once(path: Path) -> None:
    with SQLiteMemory(path) as one, SQLiteMemory(path) as two:
        assert found(one) == found(two) == ["a"]
        one.write(Batch((experience("b"),), trials=(trial("a"),), steps=(PolicyStep("default", 0.1),)))
        (a, b) = two.search(EAST, namespace="default", task="answer")
        assert ([tally.ok for tally in a.experience.tallies], b.experience.id) == ([1], "b")
        assert two.policy_state("default").threshold == pytest.approx(0.6)
        two.delete(ids=["a"])
        assert found(one) == ["b"]


def test_an_unbound_memory_takes_the_length_of_the_first_embedding() -> None:
    with SQLiteMemory(":memory:") as memory:
        memory.write(Batch((experience("a"),)))
        with pytest.raises(DimensionError):
            memory.write(Batch((experience("b", np.ones(7, np.float32)),)))
        memory.bind("test-1", DIM)

        assert memory.stats().embedder_id == "test-1"


def test_spending_is_summed_by_utc_day() -> None:
    now = [10.5 * DAY]
    with SQLiteMemory(":memory:", clock=lambda: now[0]) as memory:
        memory.write(Batch(spending=(spend(1.0),)))
        now[0] = 11.1 * DAY
        memory.write(Batch(spending=(spend(2.0),)))

        assert [s.usd for s in memory.spending(since=10.9 * DAY)] == [3.0]
        assert [s.usd for s in memory.spending(since=11.9 * DAY)] == [2.0]
        assert memory.spending(since=12 * DAY) == []


def test_the_newest_decisions_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "KEPT_DECISIONS", 3)
    with SQLiteMemory(":memory:") as memory:
        for n in range(5):
            memory.write(Batch(decisions=(decision(str(n), at=n),)))

        assert [record.id for record in memory.decisions()] == ["4", "3", "2"]


def test_what_was_deleted_is_not_left_in_the_file(tmp_path: Path) -> None:
    with SQLiteMemory(tmp_path / "rar.db") as memory:
        memory.write(Batch((experience("a", text="my private question"), experience("b", text="public"))))
        memory.delete(ids=["a"])

    content = (tmp_path / "rar.db").read_bytes()
    assert b"public" in content
    assert b"my private question" not in content


def test_an_export_shows_one_moment(tmp_path: Path) -> None:
    with SQLiteMemory(tmp_path / "rar.db") as memory:
        memory.write(Batch((experience("a"),), (guide("g"),)))
        records = memory.export()
        next(records)
        memory.write(Batch((experience("b"),), (guide("h"),)))
        memory.delete(ids=["a"])

        assert [record["id"] for record in records] == ["a", "g"]


# ── growth ──


def test_over_the_cap_the_unverified_and_the_longest_unused_go_first() -> None:
    with SQLiteMemory(":memory:", cap=3) as memory:
        for n, id in enumerate("abc"):
            memory.write(Batch((experience(id, updated_at=float(n)),)))
        memory.write(Batch(trials=(trial("a", at=3.0),)))
        memory.write(Batch((experience("d", updated_at=4.0),)))
        assert found(memory) == ["a", "c", "d"]
        memory.write(Batch((experience("e", updated_at=5.0), experience("f", updated_at=6.0))))

        assert found(memory) == ["a", "e", "f"]
        assert (memory.stats().experiences, memory.stats().evicted) == (3, 3)


def test_what_was_verified_long_ago_gives_way_in_the_end() -> None:
    with SQLiteMemory(":memory:", cap=2) as memory:
        memory.write(Batch((experience("old"),), trials=(trial("old"), trial("old"))))
        memory.write(Batch(tuple(experience(id, updated_at=61 * DAY) for id in "ab")))

        assert found(memory) == ["a", "b"]


def test_the_cap_is_kept_for_each_namespace_by_itself() -> None:
    with SQLiteMemory(":memory:", cap=2) as memory:
        memory.write(Batch((*(experience(id) for id in "abc"), experience("x", namespace="other"))))

        assert (memory.stats("default").experiences, memory.stats("other").experiences) == (2, 1)
        assert (memory.stats("default").evicted, memory.stats("other").evicted) == (1, 0)


def test_a_follower_behind_the_remembered_deletions_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "KEPT_DELETIONS", 2)
    with SQLiteMemory(":memory:") as memory:
        memory.write(Batch((experience("a"), experience("b"))))
        cursor = memory.changes().cursor
        memory.delete(ids=["a"])
        memory.write(Batch(tuple(experience(id) for id in "cde")))

        assert memory.changes(cursor).reset
        assert found(memory) == ["b", "c", "d", "e"]


@pytest.mark.parametrize("log", [100, 200, 500])
def test_a_first_reading_ends_however_long_the_log_is(log: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "KEPT_DELETIONS", 50)
    monkeypatch.setattr(sqlite_writer, "KEPT_DELETIONS", 50)
    old, kept = [f"old{n:03}" for n in range(60)], 40
    with SQLiteMemory(":memory:", cap=kept) as memory, SQLiteMemory(memory._path, cap=kept) as other:
        memory.write(Batch(tuple(experience(id, namespace="quiet") for id in old[:kept])))
        for n in range(log):  # another tenant's, of which the cap evicts most
            memory.write(Batch((experience(f"new{n:03}", namespace="busy"),)))
        pages = Follower(lambda since, began: other.changes(since, 7, began=began))

        known: set[str] = set()
        for turned, page in enumerate(pages.news()):
            known = known - set(page.deleted) | {item.id for item in page.experiences}
            if turned == 2:  # written and deleted while it is read
                memory.delete(ids=old[:5])
                memory.write(Batch((experience("late", namespace="quiet"),)))
            assert turned < 100 and not page.reset

        assert known == {item.id for item in memory.changes(0, 10_000).experiences}
        assert known >= {"late", *old[5:kept]} and not known & set(old[:5])


def test_a_reader_overtaken_by_what_it_reads_starts_anew_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "KEPT_DELETIONS", 5)
    monkeypatch.setattr(sqlite_writer, "KEPT_DELETIONS", 5)
    with SQLiteMemory(":memory:") as memory:
        memory.write(Batch(tuple(experience(id) for id in "abcdef")))
        pages = Follower(lambda since, began: memory.changes(since, 2, began=began))
        resets, known = 0, set[str]()
        for turned, page in enumerate(pages.news()):
            resets += page.reset
            known = set() if page.reset else known - set(page.deleted) | {item.id for item in page.experiences}
            if turned == 0:
                memory.delete(ids=["a"])
                memory.write(Batch(tuple(experience(id) for id in "ghijklmn")))

        assert (resets, known) == (1, set("bcdefghijklmn"))


def test_a_cap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="cap=0"):
        SQLiteMemory(":memory:", cap=0)


# ── files that cannot be used ──


@pytest.mark.parametrize("content", [b"hello, I am a letter", b"x" * 5_000, b"SQLite format 3\0" + b"\0" * 200])
def test_a_file_that_is_not_ours_is_refused_and_untouched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(content)

    with pytest.raises(NotAMemoryError, match=r"letter\.txt"):
        SQLiteMemory(path)

    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["letter.txt"]


def test_the_database_of_another_program_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (x)")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(NotAMemoryError, match="another program"):
        SQLiteMemory(path)

    assert path.read_bytes() == before


def test_a_folder_is_no_memory(tmp_path: Path) -> None:
    with pytest.raises(NotAMemoryError, match="folder"):
        SQLiteMemory(tmp_path)


def test_an_empty_file_becomes_a_memory(tmp_path: Path) -> None:
    (tmp_path / "rar.db").touch()
    with SQLiteMemory(tmp_path / "rar.db") as memory:
        assert found(memory) == []


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2], lambda data: data[:4096] + b"\xa5" * (len(data) - 4096)],
    ids=["cut in half", "overwritten"],
)
def test_a_damaged_file_is_named(path: Path, damage: Callable[[bytes], bytes]) -> None:
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(CorruptMemoryError, match=r"rar\.db"):
        SQLiteMemory(path)


def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(NewerMemoryError, match="99"):
        SQLiteMemory(path)


def test_a_memory_opened_for_reading_only_refuses_to_write(path: Path) -> None:
    with SQLiteMemory(path, read_only=True) as memory:
        memory.bind("test-1", DIM)
        assert found(memory) == ["a"]
        for write in (
            lambda: memory.write(Batch((experience("b"),))),
            lambda: memory.delete(ids=["a"]),
            lambda: memory.set_guide_state("g", "active"),
            lambda: memory.load([]),
        ):
            with pytest.raises(ReadOnlyMemoryError):
                write()
        assert found(memory) == ["a"]


def test_reading_only_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(ReadOnlyMemoryError, match="no such file"):
        SQLiteMemory(tmp_path / "none.db", read_only=True)

    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX permissions")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_file_or_folder_without_write_permission_is_opened_for_reading_only(path: Path, what: str) -> None:
    def read_and_try_to_write() -> None:
        with SQLiteMemory(path) as memory:
            assert memory.read_only
            assert found(memory) == ["a"]
            with pytest.raises(ReadOnlyMemoryError, match="right to write"):
                memory.write(Batch((experience("b"),)))

    path.chmod(0o444 if what == "file" else 0o644)
    path.parent.chmod(0o555 if what == "folder" else 0o755)
    try:
        as_somebody_else(path.parent, read_and_try_to_write)
    finally:
        path.parent.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX permissions")
def test_a_new_memory_in_a_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    def make() -> None:
        with pytest.raises(ReadOnlyMemoryError, match="folder"):
            SQLiteMemory(tmp_path / "rar.db")

    tmp_path.chmod(0o555)
    try:
        as_somebody_else(tmp_path, make)
    finally:
        tmp_path.chmod(0o755)


def test_a_full_disk_stores_nothing_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = path.stat().st_size // 4096 + 2
    monkeypatch.setattr(sqlite_file, "CONNECTION", (*sqlite_file.CONNECTION, f"PRAGMA max_page_count = {pages}"))
    with SQLiteMemory(path) as memory:
        with pytest.raises(MemoryFullError, match="full"):
            memory.write(Batch((experience("b", NORTH), experience("c", text="x" * 100_000))))

        assert found(memory) == ["a"]
        assert memory.stats().experiences == 1
        memory.write(Batch(trials=(trial("a"),)))
        assert memory.stats().trials == 1


# ── schema ──


@pytest.mark.parametrize("schema", OLD_SCHEMAS, ids=lambda file: file.stem)
def test_a_file_of_an_older_schema_opens_and_is_written(tmp_path: Path, schema: Path) -> None:
    connection = sqlite3.connect(tmp_path / "rar.db")
    connection.executescript(schema.read_text("utf-8"))
    connection.close()

    with SQLiteMemory(tmp_path / "rar.db") as memory:
        assert found(memory) == ["a"]
        assert [tally.ok for tally in memory.experience("a").tallies] == [1]
        assert memory.guide("g").text == "steps of g"
        assert memory.spending()[0].usd == 1.0
        assert memory.decision("d") is not None
        assert memory.stats().not_learned == {}

        facts = {"reason": "no_evidence", "not_learned": "budget"}
        assert memory.spending()[0].prefix_tokens == 0
        estimated = replace(memory.spending()[0], calls=1, estimated=1, prefix_tokens=7)
        memory.write(
            Batch(spending=(estimated,), decisions=(DecisionRecord("e", "default", 2.0, "a", None, "strong", facts),))
        )
        assert (memory.spending()[0].calls, memory.spending()[0].estimated) == (2, 1)
        assert memory.spending()[0].prefix_tokens == 7
        assert memory.stats().not_learned == {"budget": 1}


def test_guides_of_an_older_file_that_helped_too_few_others_are_candidates_again(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "rar.db")
    connection.executescript((Path(__file__).parent / "memory_schema_3.sql").read_text("utf-8"))
    connection.close()

    with SQLiteMemory(tmp_path / "rar.db") as memory:
        states = {guide.id: guide.state for guide in memory.guides()}

    assert states == {"g": "candidate", "own": "candidate", "one": "candidate", "two": "active", "approved": "active"}


def test_the_policy_of_an_older_file_is_its_namespaces_and_that_of_the_model_tried_last(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "rar.db")
    connection.executescript((Path(__file__).parent / "memory_schema_6.sql").read_text("utf-8"))
    connection.execute("INSERT INTO policy (namespace, threshold, audits, errors) VALUES ('untried', 0.7, 2, 1)")
    connection.execute("INSERT INTO tallies SELECT 'a', '', 'weak-0', 'strong-1', 1, 0, 1, 0.5, NULL, 1.0, ''")
    connection.commit()
    connection.close()

    with SQLiteMemory(tmp_path / "rar.db") as memory:
        whole, newest, older = (memory.policy_state("default", model) for model in ("", "weak-1", "weak-0"))
        untried = memory.policy_state("untried")
        states = [record for record in memory.export() if record["kind"] == "policy"]

    assert (whole.threshold, whole.audits, whole.calls) == (0.6, 1, 1)
    assert newest == whole
    assert older == PolicyState()
    assert (untried.threshold, untried.audits, untried.errors) == (0.7, 2, 1)
    assert [(state["namespace"], state["model"]) for state in states] == [
        ("default", ""), ("default", "weak-1"), ("untried", ""),
    ]  # fmt: skip


def test_every_schema_but_the_newest_has_a_file_to_open() -> None:
    assert [file.stem for file in OLD_SCHEMAS] == [f"memory_schema_{n}" for n in range(1, len(MIGRATIONS))]


def test_an_older_schema_is_brought_up_to_date_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_connections, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE novelty (x)",)))
    with pytest.raises(ReadOnlyMemoryError, match="upgraded"):
        SQLiteMemory(path, read_only=True)
    for _ in range(2):
        with SQLiteMemory(path) as memory:
            assert found(memory) == ["a"]


def test_a_failed_upgrade_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ("CREATE TABLE novelty (x)", "CREATE TABLE novelty (x)")
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_connections, "MIGRATIONS", (*MIGRATIONS, broken))
        with pytest.raises(Exception, match="novelty"):
            SQLiteMemory(path)

    with SQLiteMemory(path) as memory:
        assert found(memory) == ["a"]


# ── properties ──

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
TIME = st.floats(0, 4e9)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.builds(
            experience,
            st.text(min_size=1, max_size=8),
            namespace=TEXT,
            task=TEXT,
            text=st.none() | TEXT,
            signature=TEXT,
            created_at=TIME,
            updated_at=TIME,
            source=TEXT,
        ),
        max_size=5,
        unique_by=lambda e: e.id,
    )
)
def test_whatever_is_written_is_read_again(written: list) -> None:
    with SQLiteMemory(":memory:") as memory:
        memory.write(Batch(tuple(written)))

        assert [memory.experience(e.id) for e in written] == written
        for e in written:
            assert e in [match.experience for match in memory.search(EAST, namespace=e.namespace, task=e.task)]


def as_somebody_else(folder: Path, check: Callable[[], None]) -> None:
    """Run `check` in a child process without the rights of root, to whom permissions mean nothing."""
    for parent in (folder, *folder.parents):
        if parent.owner() == "root" and parent != Path("/tmp") and "pytest" in str(parent):
            parent.chmod(parent.stat().st_mode | 0o055)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            check()
            code = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
