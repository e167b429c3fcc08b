"""Memories are opened by a path or an address, whatever keeps them."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

import rar
from rar import Router, open_memory
from rar.errors import AddressError, MissingDependencyError, MissingMemoryError, ReadOnlyMemoryError
from rar.memory import Memory, opening
from rar.memory.base import Batch
from tests.contract.memory import experience


def ids(memory: Memory) -> set[str]:
    return {one.id for one in memory.experiences(namespace="default", task="answer")}


@pytest.mark.parametrize("address", ["rar.db", "sqlite:///rar.db", "SQLite:///rar.db"])
def test_a_path_and_the_address_of_a_file_open_the_same(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(open_memory("rar.db")) as first:
        first.write(Batch((experience("a"),)))

    for given in (address, f"sqlite:///{tmp_path / 'rar.db'}"):
        with closing(open_memory(given, create=False)) as again:
            assert ids(again) == {"a"}
    assert [file.name for file in tmp_path.iterdir()] == ["rar.db"]


def test_a_router_opens_what_it_is_told(tmp_path: Path) -> None:
    with Router(memory=f"sqlite:///{tmp_path / 'rar.db'}", embedder="hashing") as router:
        assert router.memory is not None
        assert router.memory.where == str(tmp_path / "rar.db")


def test_a_private_memory_is_opened_by_its_name() -> None:
    for name in (":memory:", "sqlite:///:memory:"):
        with closing(open_memory(name, create=False)) as memory:
            assert memory.where == ":memory:"


def test_options_reach_the_backend(tmp_path: Path) -> None:
    with closing(open_memory(tmp_path / "rar.db", cap=1)) as memory:
        memory.write(Batch((experience("a", updated_at=1.0), experience("b", updated_at=2.0))))
        assert ids(memory) == {"b"}


def test_none_is_made_where_one_must_exist(tmp_path: Path) -> None:
    with pytest.raises(MissingMemoryError):
        open_memory(tmp_path / "rar.db", create=False)

    assert list(tmp_path.iterdir()) == []


def test_an_older_file_is_read_as_an_upgraded_copy(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "rar.db")) as old:
        old.executescript((Path(__file__).parent / "memory_schema_3.sql").read_text("utf-8"))
    before = (tmp_path / "rar.db").read_bytes()

    with closing(open_memory(tmp_path / "rar.db", read_only=True)) as memory:
        assert memory.where == str(tmp_path / "rar.db")
        assert ids(memory) == {"a"}
        with pytest.raises(ReadOnlyMemoryError):
            memory.write(Batch((experience("b"),)))

    assert (tmp_path / "rar.db").read_bytes() == before


def test_the_schemes_that_exist_are_named_for_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AddressError, match="sqlite://"):
        open_memory("redis://:hunter2@host")

    opened: list[object] = []
    monkeypatch.setitem(opening.BACKENDS, "redis", lambda where, **options: opened.append((where, options)))
    open_memory("redis://host/1", create=False)
    assert opened == [("redis://host/1", {"create": False, "read_only": False})]
    with pytest.raises(AddressError, match=r"sqlite://, .*redis://"):
        open_memory("mysql://host")


def test_the_extra_of_a_server_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(MissingDependencyError, match=r"rar-llm\[postgres\]"):
        open_memory("postgresql://me:hunter2@host/db")


def test_the_command_line_knows_no_backend() -> None:
    sources = (Path(rar.__file__).parent / "cli").glob("*.py")

    assert [source.name for source in sources if "sqlite" in source.read_text("utf-8").lower()] == []
