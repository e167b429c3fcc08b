"""Reading the SQLite memory's rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rar.memory.base import PolicyState
from rar.memory.columns import A_GUIDE, EXPERIENCE, POLICY, TALLY, WHOLE, sane, to_experience, to_guide
from rar.memory.exchange import Header
from rar.values import Experience, Guide, Tally


class Connection(sqlite3.Connection):
    """A connection that knows which state of the file this process's index and cache had caught up with."""

    caught_up: tuple[int, int] | None = None

    def run(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """`execute`, with lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD."""
        try:
            return self.execute(sql, values)
        except UnicodeEncodeError:
            return self.execute(sql, [sane(value) if isinstance(value, str) else value for value in values])


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """All reads in it see the memory at one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def exclusive(connection: Connection) -> Iterator[None]:
    """A write transaction: all that is done in it is committed at its end, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def meta(connection: Connection, key: str) -> Any:
    return connection.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()[0]


def marks(connection: Connection) -> tuple[int, int]:
    """The cursors of the newest change and of the newest deletion."""
    found = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('seq', 'epoch')").fetchall())
    return found["seq"], found["epoch"]


def header_of(connection: Connection) -> Header:
    return Header(meta(connection, "embedder_id"), meta(connection, "dim"))


def tallies_of(connection: Connection, ids: list[str]) -> dict[str, tuple[Tally, ...]]:
    tallies: dict[str, tuple[Tally, ...]] = {}
    rows = by_id(connection, f"SELECT experience_id, {TALLY.columns} FROM tallies WHERE experience_id", ids)
    for owner, *row in rows:
        tallies[owner] = (*tallies.get(owner, ()), TALLY.value(row))
    return tallies


def by_id(connection: Connection, select: str, ids: list[str]) -> list[Any]:
    rows: list[Any] = []
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        rows += connection.run(f"{select} IN ({', '.join('?' * len(some))})", some).fetchall()
    return rows


def scope(namespace: str | None, **least: float) -> tuple[str, list[Any]]:
    """A WHERE clause, and its values, for one namespace or all, and for columns that are at least so much."""
    terms: dict[str, Any] = {} if namespace is None else {"namespace = ?": namespace}
    terms |= {f"{column} >= ?": value for column, value in least.items()}
    return f"WHERE {' AND '.join(terms)}" if terms else "", list(terms.values())


class Reads:
    """What the cache does not hold, read by one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def touched(self, since: int) -> list[str]:
        rows = self._connection.run(
            "SELECT id FROM experiences WHERE touched > ?1 UNION ALL SELECT id FROM guides WHERE touched > ?1 "
            "UNION ALL SELECT id FROM deletions WHERE seq > ?1",
            [since],
        )
        return [id for (id,) in rows]

    def experiences(self, ids: list[str]) -> list[Experience]:
        tallies = tallies_of(self._connection, ids)
        rows = by_id(self._connection, f"SELECT {EXPERIENCE.columns} FROM experiences WHERE id", ids)
        return [to_experience((*row, None), tallies.get(row[0], ())) for row in rows]

    def experience(self, id: str) -> Experience | None:
        row = self._connection.run(f"SELECT {WHOLE} FROM experiences WHERE id = ?", [id]).fetchone()
        return None if row is None else to_experience(row, tallies_of(self._connection, [row[0]]).get(row[0], ()))

    def guides(self, ids: list[str]) -> list[Guide]:
        return [to_guide(row) for row in by_id(self._connection, f"SELECT {A_GUIDE} FROM guides WHERE id", ids)]

    def policy(self, namespace: str, model: str) -> PolicyState:
        values = f"SELECT {POLICY.columns} FROM policy WHERE namespace = ? AND model = ?"
        row = self._connection.run(values, [namespace, model]).fetchone()
        return PolicyState() if row is None else POLICY.value(row)
