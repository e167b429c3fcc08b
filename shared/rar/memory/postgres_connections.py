"""The connections of one process to a PostgreSQL memory, and what becomes of PostgreSQL's errors.

Nothing is kept in a session, so that a pooler may stand in between: no settings, no locks that outlive a transaction,
and no prepared statements unless the address asks for them. A connection is used by one thread at a time, and never
crosses a fork.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg import errors as said
from psycopg.abc import AdaptContext
from psycopg.types.string import StrDumper, TextBinaryLoader, TextLoader

from rar.errors import (
    ClosedError,
    ConfigurationError,
    CorruptMemoryError,
    MemoryFullError,
    MemoryStoreError,
    ReadOnlyMemoryError,
    RecordError,
    UnreachableMemoryError,
)
from rar.forking import Gate, before_fork, in_forked_child
from rar.memory.columns import sane
from rar.memory.postgres_address import Address

NOW = "extract(epoch FROM clock_timestamp())::double precision"  # the server's: clocks of processes differ
AGAIN_AFTER = 1.0  # seconds for which nobody waits for a server that was just seen to be away
_TRIES = 4  # of a transaction that others got in the way of
_LOCK_WAITS = "10s"  # for other writers
_UNSURE = 10.0  # seconds for which it is asked whether a commit arrived

_Found = TypeVar("_Found")
_NAMED: tuple[tuple[tuple[type[psycopg.Error], ...], type[MemoryStoreError]], ...] = (
    ((said.ReadOnlySqlTransaction, said.InsufficientPrivilege), ReadOnlyMemoryError),
    ((said.DiskFull,), MemoryFullError),
    ((said.UndefinedTable, said.UndefinedColumn, said.InvalidSchemaName, said.DataCorrupted), CorruptMemoryError),
    ((psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError, said.ProgramLimitExceeded), RecordError),
    ((psycopg.OperationalError, psycopg.InterfaceError), UnreachableMemoryError),
)
_IN_THE_WAY = (said.DeadlockDetected, said.SerializationFailure)
_LOST = (psycopg.OperationalError, psycopg.InterfaceError)
_ESCAPE = "\x1a"  # PostgreSQL's texts cannot hold NUL: it is written as this and "0", and this itself as this and "1"


class _Text(StrDumper):  # type: ignore[misc]
    """Texts as PostgreSQL can hold them: lone surrogates are lost, NUL is not."""

    def dump(self, obj: str) -> Any:
        return super().dump(held(obj))


class _Told(TextLoader):  # type: ignore[misc]
    def load(self, data: Any) -> Any:
        return told(super().load(data))


class _ToldBinary(TextBinaryLoader):  # type: ignore[misc]
    def load(self, data: Any) -> Any:
        return told(super().load(data))


def held(text: str) -> str:
    text = sane(text)
    if "\0" in text or _ESCAPE in text:
        text = text.replace(_ESCAPE, f"{_ESCAPE}1").replace("\0", f"{_ESCAPE}0")
    return text


def told(text: Any) -> Any:
    if isinstance(text, str) and _ESCAPE in text:
        text = text.replace(f"{_ESCAPE}0", "\0").replace(f"{_ESCAPE}1", _ESCAPE)
    return text


def adapt(context: AdaptContext) -> None:
    """Have texts written and read as above."""
    assert context.adapters is not None
    context.adapters.register_dumper(str, _Text)
    context.adapters.register_loader("text", _Told)
    context.adapters.register_loader("text", _ToldBinary)


class Connection:
    """A connection to one memory. In its statements `?` is a value, and `@` stands before what is in its schema."""

    def __init__(self, raw: psycopg.Connection[Any], schema: str) -> None:
        self.raw, self.schema = raw, schema
        self.transaction: str | None = None  # its number, where it writes

    def run(self, sql: str, values: Sequence[Any] = (), *, binary: bool = False) -> psycopg.Cursor[Any]:
        """Execute one statement. `binary`: bytes come as they are, and not in hexadecimal digits."""
        return self.raw.execute(_statement(sql, self.schema), values, binary=binary)

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute one statement for many rows, without waiting for each."""
        if rows:
            with self.raw.cursor() as cursor:
                cursor.executemany(_statement(sql, self.schema), rows)

    @property
    def lost(self) -> bool:
        return bool(self.raw.closed or self.raw.broken)

    def leave(self) -> None:
        """End a transaction that was not committed."""
        if not self.lost and self.raw.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self.raw.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads in it see the memory at one moment. Statements are waited for when their rows are wanted."""
        with self.raw.pipeline():
            self.raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield
            self.raw.execute("COMMIT")


@lru_cache(maxsize=512)
def _statement(sql: str, schema: str) -> bytes:
    return sql.replace("?", "%s").replace("@", f'"{schema}".').encode("utf-8")


class PostgresServer:
    """What `PostgresMemory` stands on: connections that are opened when they are needed, and anew when they are lost.

    Args:
        most: Connections that are open at once, beside the one that listens.
    """

    def __init__(self, address: Address, most: int) -> None:
        self.address, self.where = address, address.where
        self._most = most
        self._closed = False
        self._gate = Gate()
        self._begin()
        before_fork(self._before_fork)
        in_forked_child(self._after_fork)

    def _begin(self) -> None:
        self._idle: deque[Connection] = deque()
        self._forsaken = weakref.finalize(self, _close_all, self._idle)  # when nobody called `close`
        self._slots = threading.BoundedSemaphore(self._most)
        self._away_until = 0.0
        self._away = ""  # why the last attempt to connect failed
        self._probing = threading.Lock()

    def _before_fork(self) -> None:
        _close_all(self._idle)

    def _after_fork(self) -> None:
        self._forsaken.detach()
        self._begin()

    def open(self) -> Connection:
        """A new connection. Where the last attempt failed, one thread tries again and the others are refused."""
        if not self._away:
            return self._connect()
        if time.monotonic() < self._away_until or not self._probing.acquire(blocking=False):
            raise UnreachableMemoryError(self.where, self._away)
        try:
            return self._connect()
        finally:
            self._probing.release()

    def _connect(self) -> Connection:
        try:
            raw: psycopg.Connection[Any] = psycopg.connect(
                **self.address.options, autocommit=True, prepare_threshold=2 if self.address.prepare else None
            )
        except psycopg.Error as error:
            self._away = self._words(error)
            self._away_until = time.monotonic() + AGAIN_AFTER
            raise UnreachableMemoryError(self.where, self._away) from None  # what libpq says may hold the user's name
        self._away = ""
        adapt(raw)
        connection = Connection(raw, self.address.schema)
        self._check_role(connection)
        return connection

    def _check_role(self, connection: Connection) -> None:
        """Refuse a connection that works as another role than the tenant's: a pooler may drop what it was told."""
        role = self.address.tenant_role
        if role is not None and connection.run("SELECT current_user").fetchone() != (role,):
            connection.raw.close()
            raise ConfigurationError(f"A connection to {self.where} does not work as the tenant that it is to be.")

    def ask(self, body: Callable[[Connection], _Found]) -> _Found:
        """What `body` finds by a connection: by a new one if that was lost. It may be called twice."""
        with self._gate:
            try:
                with self._connection() as connection:
                    return body(connection)
            except _LOST:
                pass  # as all connections are after a restart of the server
            except psycopg.Error as error:
                self.fail(error)
            _close_all(self._idle)
            try:
                with self._connection() as connection:
                    return body(connection)
            except psycopg.Error as error:
                self.fail(error)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for longer, on which one moment is seen."""
        self.ask(lambda connection: connection.run("SELECT 1"))
        try:
            with self._gate, self._connection() as connection, connection.snapshot():
                yield connection
        except psycopg.Error as error:
            self.fail(error)

    def transact(self, body: Callable[[Connection], _Found]) -> _Found:
        """Have all that `body` does committed, or nothing. It is called anew where others got in its way.

        When this returns, it is committed; when it raises, it is not. If the connection is lost at the very commit,
        the server is asked what became of it.
        """
        with self._gate:
            for attempt in range(_TRIES):
                last = attempt == _TRIES - 1
                try:
                    with self._connection() as connection:
                        return self._committed(connection, body)
                except _IN_THE_WAY as error:
                    if last:
                        raise MemoryStoreError(self.where, "other writers got in the way, again and again") from error
                    time.sleep(0.01 * 2**attempt)
                except said.LockNotAvailable as error:
                    raise MemoryStoreError(self.where, f"other writers were not done within {_LOCK_WAITS}") from error
                except _LOST as error:
                    if attempt or not _gone(error):
                        self.fail(error)
                    _close_all(self._idle)
                except psycopg.Error as error:
                    if isinstance(error, said.ReadOnlySqlTransaction):
                        _close_all(self._idle)  # the server became a replica: another one takes writes, perhaps
                    self.fail(error)
        raise AssertionError("unreachable")

    def _committed(self, connection: Connection, body: Callable[[Connection], _Found]) -> _Found:
        connection.transaction = None
        ending = False
        try:
            # Statements are waited for when their rows are wanted, the last ones with the commit: if one of them fails,
            # the server skips it.
            with connection.raw.pipeline():
                connection.run("BEGIN")
                connection.run("SELECT set_config('lock_timeout', ?, true)", [_LOCK_WAITS])
                found = body(connection)
                ending = True
                connection.run("COMMIT")
        except _LOST:
            if not ending or connection.transaction is None or not self._arrived(connection.transaction):
                raise
        return found

    def _arrived(self, transaction: str) -> bool:
        """Whether a transaction was committed whose connection was lost meanwhile."""
        until = time.monotonic() + _UNSURE
        while True:
            try:
                connection = self.open()
                try:
                    (status,) = connection.run("SELECT pg_xact_status(?::xid8)", [transaction]).fetchone() or ("",)
                finally:
                    connection.raw.close()
                if status != "in progress":
                    return bool(status == "committed")
            except (psycopg.Error, UnreachableMemoryError) as error:
                if time.monotonic() > until:
                    raise UnreachableMemoryError(
                        self.where, "the connection was lost during a commit, and nobody says whether it arrived"
                    ) from error
            time.sleep(0.1)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection that no other thread uses meanwhile."""
        if self._closed:
            raise ClosedError("memory")
        idle = self._idle
        with self._slots:
            try:
                connection = idle.pop()
            except IndexError:
                connection = self.open()
            try:
                yield connection
            finally:
                with suppress(psycopg.Error):
                    connection.leave()
                if connection.lost or self._closed or idle is not self._idle:
                    connection.raw.close()
                else:
                    idle.append(connection)

    def fail(self, error: psycopg.Error) -> NoReturn:
        """Raise what PostgreSQL said as an error of ours."""
        for kinds, ours in _NAMED:
            if isinstance(error, kinds):
                raise ours(self.where, self._words(error)) from error
        raise MemoryStoreError(self.where, self._words(error)) from error

    def _words(self, error: psycopg.Error) -> str:
        """What went wrong, without the values that a detail of the message may quote."""
        return self.address.without_secrets(error.diag.message_primary or _reasons(str(error)))

    def _end(self) -> None:
        self._closed = True
        _close_all(self._idle)


def _gone(error: psycopg.Error) -> bool:
    """Whether it was the connection that failed, and not a statement."""
    state = error.sqlstate
    return state is None or state.startswith(("08", "57P"))


def _reasons(message: str) -> str:
    """Why no connection was made, of several hosts each reason once: libpq's messages begin with what is known."""
    lines = message.strip().splitlines()
    tried = [line for line in lines if line.startswith("- host: ")] or lines[:1]
    reasons = (line.partition("FATAL: ")[2].strip() or line.rpartition(" failed: ")[2] for line in tried)
    return "; ".join(dict.fromkeys(reasons))


def _close_all(idle: deque[Connection]) -> None:
    while idle:
        with suppress(IndexError, psycopg.Error):  # another thread may take the last one
            idle.pop().raw.close()
