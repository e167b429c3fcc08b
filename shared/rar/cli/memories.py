"""The memory files that commands work on, and what is looked up in them."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from rar.errors import (
    ConfigurationError,
    MissingMemoryError,
    ReadOnlyMemoryError,
    UnknownDecisionError,
    UnknownGuideError,
    UnknownNameError,
)
from rar.memory import SQLiteMemory
from rar.memory.base import DecisionRecord
from rar.memory.paths import path_of
from rar.memory.sqlite_schema import MIGRATIONS
from rar.values import Guide

USUAL = Path("rar.db")  # where a router keeps its memory if it is told nothing else
_ALL = 50_000  # decisions; a memory keeps no more


@contextmanager
def reading(memory: Path) -> Iterator[SQLiteMemory]:
    """A memory that nothing is written to. One of an older version is read as an upgraded copy of it."""
    must_exist(memory)
    with tempfile.TemporaryDirectory(prefix="rar-") as folder:
        try:
            opened = SQLiteMemory(memory, read_only=True)
        except ReadOnlyMemoryError:
            if not _is_older(memory):
                raise
            opened = SQLiteMemory(_copy(memory, Path(folder)))
        with opened:
            yield opened


def _is_older(memory: Path) -> bool:
    with closing(_opened(memory)) as file:
        return 0 < int(file.execute("PRAGMA user_version").fetchone()[0]) < len(MIGRATIONS)


def _copy(memory: Path, folder: Path) -> Path:
    """A copy of what is committed, whoever writes meanwhile."""
    with closing(_opened(memory)) as file, closing(sqlite3.connect(folder / memory.name)) as copy:
        file.backup(copy)
    return folder / memory.name


def _opened(memory: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{memory.absolute().as_uri()}?mode=ro", uri=True)


def must_exist(memory: Path) -> None:
    path_of(memory)
    if not memory.exists():
        raise MissingMemoryError(str(memory))


def memory_and_id(which: Sequence[str]) -> tuple[Path, str]:
    """The memory file, rar.db where only an id was given, and the id."""
    if len(which) > 2:
        raise ConfigurationError(f"Give a memory file and one id, or an id alone; {len(which)} words were given.")
    return (Path(which[0]) if len(which) == 2 else USUAL), which[-1]


def check_namespace(memory: SQLiteMemory, namespace: str | None) -> None:
    if namespace is not None and namespace not in (known := memory.stats().namespaces):
        raise UnknownNameError("namespace", namespace, known)


def newest(memory: SQLiteMemory, namespace: str | None, since: float, until: float | None) -> Iterator[DecisionRecord]:
    """Decisions, newest first, read in growing parts, so that a few of the latest come at once."""
    told: set[str] = set()
    limit = 100
    while True:
        records = memory.decisions(namespace=namespace, since=since, until=until, limit=limit)
        yield from (record for record in records if record.id not in told)
        told |= {record.id for record in records}
        if len(records) < limit:
            return
        until, limit = records[-1].at, 2 * limit


def find_guide(memory: SQLiteMemory, id: str) -> Guide:
    found = memory.guide(id)
    if found is not None:
        return found
    named = [guide for guide in memory.guides() if guide.id.startswith(id)]
    if not named:
        raise UnknownGuideError(id)
    _check_one(id, [guide.id for guide in named])
    return named[0]


def find_decision(memory: SQLiteMemory, id: str) -> DecisionRecord:
    found = memory.decision(id)
    if found is not None:
        return found
    named = [record for record in memory.decisions(limit=_ALL) if record.id.startswith(id)]
    if not named:
        raise UnknownDecisionError(id)
    _check_one(id, [record.id for record in named])
    return named[0]


def _check_one(given: str, ids: list[str]) -> None:
    if len(ids) > 1:
        shown = ", ".join(ids[:3])
        raise ConfigurationError(f"Id {given!r} is ambiguous, {len(ids)} begin so: {shown}. Give more of it.")
