"""The file of an SQLite memory in one process: its connections and transactions, forks, and a file that is replaced."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rar.errors import (
    ClosedError,
    CorruptMemoryError,
    MemoryStoreError,
    NewerMemoryError,
    ReadOnlyMemoryError,
    SecretError,
)
from rar.forking import Gate, before_fork, in_forked_child
from rar.memory.paths import path_of
from rar.memory.secrets import LOCK, Lock, given, lock, unlock
from rar.memory.sqlite_file import SCRUB, close_all, connect, connect_to_read, fail, find, identity, scrub, use_wal
from rar.memory.sqlite_rows import Connection, exclusive, meta
from rar.memory.sqlite_schema import APPLICATION_ID, MIGRATIONS
from rar.memory.sqlite_writer import Writer

_LOG = logging.getLogger("rar")

_LOOKS = 0.25  # seconds between two looks, by those who only read, whether the file is still there
_CHECKED_UP_TO = 32 * 2**20  # bytes of a file that is checked as a whole when it is opened


class SQLiteFile:
    """What `SQLiteMemory` stands on, with the same arguments and errors. A subclass extends `_start`."""

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool, secret: str | bytes | None) -> None:
        self.where = path_of(path)
        self.read_only = read_only
        self._secret = given(secret)
        self._closed = False
        self._remove = _nothing
        if self.where == ":memory:":
            folder = Path(tempfile.mkdtemp(prefix="rar-"))
            self._remove_with(folder)
            self._path = str(folder / "memory.db")
        else:
            self._path = str(Path(self.where).absolute())
        self._gate = Gate()
        self._dim = self._epoch = 0
        self._start()
        before_fork(self._before_fork)
        in_forked_child(self._after_fork)
        self._find_file()

    def _remove_with(self, folder: Path) -> None:
        """Remove this folder when the memory is closed."""
        self._remove = weakref.finalize(self, _remove_folder, str(folder), os.getpid())

    def _end(self) -> None:
        close_all(self._idle)
        self._remove()

    def _start(self) -> None:
        self._idle: deque[Connection] = deque()
        self._forsaken = weakref.finalize(self, close_all, self._idle)  # when nobody called `close`
        self._writing, self._replacing = threading.Lock(), threading.Lock()
        self._writes, self._looked = 0, -_LOOKS
        self._unscrubbed = False
        self._log: tuple[int, int] | None = None

    def _before_fork(self) -> None:
        # SQLite keeps its file locks by process: a connection that the child inherits would be held there for ever.
        close_all(self._idle)

    def _after_fork(self) -> None:
        # Locks of the parent's threads may be held for ever here.
        self._forsaken.detach()
        self._start()

    def _scrub(self, seconds: float) -> None:
        with self._connection() as connection:
            self._unscrubbed = not scrub(connection, seconds)

    def _find_file(self) -> None:
        cannot_write = find(Path(self._path), self.where, read_only=self.read_only)
        if cannot_write and not self.read_only:
            self.read_only = True
            _LOG.warning("%s", ReadOnlyMemoryError(self.where, "it is opened for reading only"))
        connection = self._open()
        try:
            self._upgrade(connection)
            self.secret: bytes = self._key(connection)
            self._dim = meta(connection, "dim")
            self._epoch = meta(connection, "epoch")
            self._file = identity(self._path)
        except sqlite3.Error as error:
            fail(self.where, error)
        finally:
            connection.close()

    def _replaced(self) -> None:
        """Go on with a new file where ours was deleted, and with another memory that took its place."""
        with self._replacing:
            if identity(self._path) == self._file:
                return
            self._forsaken.detach()
            self._leave()
            close_all(self._idle)
            if self._log is not None and identity(f"{self._path}-wal") == self._log:
                # SQLite would play the old file's log into the new one.
                for beside in ("-wal", "-shm"):
                    Path(f"{self._path}{beside}").unlink(missing_ok=True)
            self._start()
            self._find_file()
            _LOG.warning(
                "Memory %r was deleted or replaced while it was in use. Learning goes on with the file that is there "
                "now; what the old one held is not known any more.",
                self.where,
            )
        self._go_on()

    def _leave(self) -> None:
        """Let go of what belongs to a file that is gone."""

    def _go_on(self) -> None:
        """Make the new file what the old one was."""

    def _upgrade(self, connection: Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise NewerMemoryError(self.where, f"its schema is {version}, this package knows {len(MIGRATIONS)}")
        if version and Path(self._path).stat().st_size <= _CHECKED_UP_TO:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise CorruptMemoryError(self.where, found)
        if version < len(MIGRATIONS):
            if self.read_only:
                raise ReadOnlyMemoryError(self.where, f"its schema {version} must be upgraded to {len(MIGRATIONS)}")
            self._migrate(connection)
        if not self.read_only:
            use_wal(connection)

    def _migrate(self, connection: Connection) -> None:
        with exclusive(connection):
            # Read again: another process may have been first.
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            for migration in MIGRATIONS[version:]:
                for statement in migration:
                    connection.execute(statement)
            if version == 0:
                first = {"secret": os.urandom(32), "seq": 0, "embedder_id": "", "dim": 0}
                connection.executemany("INSERT INTO meta VALUES (?, ?)", first.items())
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _key(self, connection: Connection) -> bytes:
        """The key of the file's hashes, which is locked first if it lies open and is to be kept elsewhere."""
        if self._secret is not None and not self.read_only and _held(connection) is None:
            with exclusive(connection):
                if _held(connection) is None:  # another process may have been first
                    held = lock(meta(connection, "secret"), self._secret).named()
                    connection.executemany("INSERT INTO meta VALUES (?, ?)", held.items())
                    connection.execute("UPDATE meta SET value = x'' WHERE key = 'secret'")
            self._unscrubbed = not scrub(connection, SCRUB)
        held_now = _held(connection)
        if held_now is None:
            return bytes(meta(connection, "secret"))
        if self._secret is None:
            raise SecretError(self.where, "the key of its hashes is kept outside the file")
        key = unlock(held_now, self._secret)
        if key is None:
            raise SecretError(self.where, "this is not the secret that it was made with")
        return key

    def _open(self) -> Connection:
        try:
            if self.read_only:
                return connect_to_read(self._path)
            connection = connect(f"{Path(self._path).as_uri()}?mode=rw")
        except sqlite3.Error as error:
            fail(self.where, error)
        self._log = identity(f"{self._path}-wal")
        return connection

    def _check_file(self, after: float) -> None:
        """Notice that the file was deleted or replaced, unless it was looked at less than `after` seconds ago."""
        now = time.monotonic()
        if now - self._looked >= after:
            if identity(self._path) != self._file:
                self._replaced()
            self._looked = now

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection that no other thread uses meanwhile."""
        if self._closed:
            raise ClosedError("memory")
        self._check_file(_LOOKS)
        with self._gate:
            idle, connection = self._idle, None
            try:
                try:
                    connection = idle.pop()
                except IndexError:
                    self._check_file(0.0)  # SQLite would play the old file's log into one that took its place
                    idle = self._idle
                    connection = self._open()
                yield connection
            except sqlite3.Error as error:
                fail(self.where, error)
            finally:
                if connection is not None:
                    idle.append(connection)
                    if self._closed or idle is not self._idle:
                        close_all(idle)

    @contextmanager
    def _transaction(self) -> Iterator[Writer]:
        """A write transaction: all that is done in it is committed at its end, or nothing."""
        if self.read_only:
            if self._closed:
                raise ClosedError("memory")
            raise ReadOnlyMemoryError(self.where)
        if self._gate.torn:
            raise MemoryStoreError(
                self.where,
                "this process was forked while another thread was writing, and cannot write any more. Fork before the "
                "router is used, or start processes by `spawn`",
            )
        self._check_file(0.0)  # nothing may be written into a file that is gone
        # Threads of one process take turns here, which is fairer than SQLite's waiting.
        with self._writing, self._connection() as connection:
            with exclusive(connection):
                writer = Writer(connection, self.where, self.secret)
                yield writer
                writer.finish()
            self._writes += 1


def _held(connection: Connection) -> Lock | None:
    """The file's key as a secret locks it; None where it lies open."""
    found = connection.execute(f"SELECT key, value FROM meta WHERE key IN {LOCK}").fetchall()
    return Lock(*(dict(found)[name] for name in LOCK)) if found else None


def _nothing() -> None:
    pass


def _remove_folder(folder: str, owner: int) -> None:
    if os.getpid() != owner:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        shutil.rmtree(folder, ignore_errors=True)
    else:  # the garbage collector came by amid an event loop, which must not wait for files
        threading.Thread(target=shutil.rmtree, args=(folder, True), name="rar-remove").start()
