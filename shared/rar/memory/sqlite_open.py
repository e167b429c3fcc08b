"""Opening an SQLite memory by its path: only where there is one, or to read it whatever its version."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from rar.errors import MissingMemoryError, ReadOnlyMemoryError
from rar.memory.paths import path_of
from rar.memory.sqlite import SQLiteMemory
from rar.memory.sqlite_schema import MIGRATIONS


def open_sqlite(
    path: str | os.PathLike[str], *, create: bool = True, read_only: bool = False, **options: Any
) -> SQLiteMemory:
    """As `open_memory` says, for a path."""
    file = path_of(path)
    if not create and file != ":memory:" and not Path(file).exists():
        raise MissingMemoryError(file)
    try:
        return SQLiteMemory(file, read_only=read_only, **options)
    except ReadOnlyMemoryError:
        if not read_only or not _is_older(file):
            raise
    return _upgraded_copy(file, options)


def _is_older(file: str) -> bool:
    with closing(_opened(file)) as opened:
        return 0 < int(opened.execute("PRAGMA user_version").fetchone()[0]) < len(MIGRATIONS)


def _upgraded_copy(file: str, options: dict[str, Any]) -> SQLiteMemory:
    """A copy of what is committed, whoever writes meanwhile; it goes when it is closed."""
    folder = tempfile.mkdtemp(prefix="rar-")
    copy = Path(folder, Path(file).name)
    with closing(_opened(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return SQLiteMemory.of_temporary_file(copy, where=file, **options)


def _opened(file: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{Path(file).absolute().as_uri()}?mode=ro", uri=True)
