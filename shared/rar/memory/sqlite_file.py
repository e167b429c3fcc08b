"""The file under an SQLite memory: finding it, opening it, and leaving nothing in it that was deleted."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from pathlib import Path
from typing import NoReturn

from rar.errors import (
    CorruptMemoryError,
    MemoryFullError,
    MemoryStoreError,
    NotAMemoryError,
    ReadOnlyMemoryError,
    RecordError,
)
from rar.memory.sqlite_rows import Connection
from rar.memory.sqlite_schema import APPLICATION_ID

BUSY = 5.0  # seconds that a transaction waits for another process's; the router keeps what was not written, and retries
SCRUB = 1.0  # seconds that a deletion waits for readers to leave the log in which the deleted text still is
_MAGIC = b"SQLite format 3\0"

CONNECTION = (
    f"PRAGMA busy_timeout = {BUSY * 1_000:.0f}",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # what was deleted must not be left in the file
)
_OF_A_RECORD = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.NotSupportedError,
)
_NAMED: tuple[tuple[tuple[str, ...], type[MemoryStoreError]], ...] = (
    (("malformed", "not a database", "no such table", "no such column"), CorruptMemoryError),
    (("readonly",), ReadOnlyMemoryError),
    (("is full",), MemoryFullError),
    (("too big", "integer overflow"), RecordError),
)


def find(path: Path, where: str, *, read_only: bool) -> bool:
    """Make the file where there is none, readable by its owner alone; whether an existing one can be read only.

    Raises:
        NotAMemoryError, MemoryStoreError: It is something else.
        ReadOnlyMemoryError: It is not there and cannot be made, or cannot be read.
    """
    try:
        if not path.exists():
            if read_only:
                raise ReadOnlyMemoryError(where, "there is no such file")
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK):
                raise ReadOnlyMemoryError(where, "there is no such file, and its folder cannot be written")
            # SQLite gives the files that it makes beside it the same rights.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            return False
        if path.is_dir():
            raise NotAMemoryError(where, "it is a folder")
        with path.open("rb") as file:
            head = file.read(100)
    except PermissionError as error:
        raise ReadOnlyMemoryError(where, str(error)) from error
    except OSError as error:
        raise MemoryStoreError(where, str(error)) from error
    if head[:16] != _MAGIC if head else read_only:
        raise NotAMemoryError(where, "it is no SQLite file" if head else "it is empty")
    if head and int.from_bytes(head[68:72], "big") != APPLICATION_ID:
        raise NotAMemoryError(where, "it is the SQLite file of another program")
    return not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def identity(path: str) -> tuple[int, int] | None:
    """What tells this file from one that took its place; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - asked before every use: a Path costs as much again
    except OSError:
        return None
    return found.st_dev, found.st_ino


def connect(uri: str) -> Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=Connection)
    try:
        for pragma in CONNECTION:
            connection.execute(pragma)
        connection.execute("PRAGMA schema_version").fetchone()  # opens the file, which the above need not
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_to_read(path: str) -> Connection:
    uri = Path(path).as_uri()
    try:
        return connect(f"{uri}?mode=ro")
    except sqlite3.OperationalError:
        # In WAL mode even reading writes beside the file. Where it cannot, a file without a log is read as it is.
        wal = Path(f"{path}-wal")
        if wal.exists() and wal.stat().st_size:
            raise
        return connect(f"{uri}?immutable=1")


def use_wal(connection: Connection) -> None:
    """Switch to WAL, for which SQLite does not wait as it does for other locks."""
    for _ in range(1_000):
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.01)
        else:
            return


def scrub(connection: Connection, seconds: float) -> bool:
    """Empty the log, in which deleted text still is; whether nobody was reading it all that time."""
    try:
        connection.execute(f"PRAGMA busy_timeout = {seconds * 1_000:.0f}")
        return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError:
        return False
    finally:
        connection.execute(CONNECTION[0])


def close_all(idle: deque[Connection]) -> None:
    while idle:
        try:
            idle.pop().close()
        except IndexError:  # another thread took the last one
            return


def fail(where: str, error: sqlite3.Error) -> NoReturn:
    """Raise what SQLite said as an error of ours."""
    said = str(error)
    for words, kind in _NAMED:
        if any(word in said for word in words):
            raise kind(where, said) from error
    raise (RecordError if isinstance(error, _OF_A_RECORD) else MemoryStoreError)(where, said) from error
