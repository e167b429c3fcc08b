"""Reading the SQLite memory's rows as values."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

import numpy as np

from rar.memory.base import DecisionRecord
from rar.memory.exchange import Header
from rar.values import Experience, Guide, Origin, Tally, Vector

EXPERIENCE = "id, namespace, task, text, signature, created_at, updated_at, source"
GUIDE = "id, namespace, task, text, author, origin, state, helpful, harmful, created_at, pinned, embedding"
POLICY = "threshold, audits, errors, bias, reference, calls, drift, quiet, since"
TALLY = "guide_id, weak_id, strong_id, ok, bad, last_ok, at, gap, weight, origins"
SPEND = (
    "namespace, purpose, role, model_id, sum(calls), sum(input_tokens), "
    "sum(output_tokens), sum(usd), sum(unpriced), sum(estimated)"
)
DECISION = "id, namespace, at, experience_id, guide_id, model, facts"

ANYWAY = 2  # in `pinned`, which is 1 where a person set a guide's state: they did so against the checks

_NO_VECTOR: Vector = np.empty(0, np.float32)
_NO_VECTOR.flags.writeable = False


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


def to_experience(row: Sequence[Any], tallies: tuple[Tally, ...] = ()) -> Experience:
    id, namespace, task, text, digest, created_at, updated_at, source, blob = row
    embedding = _NO_VECTOR if blob is None else np.frombuffer(blob, "<f4")
    return Experience(id, namespace, task, text, digest, embedding, tallies, created_at, updated_at, source)


def to_guide(row: Sequence[Any]) -> Guide:
    id, namespace, task, text, author, origin, state, helpful, harmful, created_at, pinned, blob = row
    embedding = np.frombuffer(blob, "<f4")
    return Guide(
        id, namespace, task, text, embedding, author, origin, state, helpful, harmful, created_at,
        pinned=pinned != 0, anyway=pinned == ANYWAY,
    )  # fmt: skip


def to_decision(row: Sequence[Any]) -> DecisionRecord:
    id, namespace, at, origin, guide_id, model, facts = row
    return DecisionRecord(id, namespace, at, origin, guide_id, model, json.loads(facts))


def to_tally(row: Sequence[Any]) -> Tally:
    guide_id, weak_id, strong_id, ok, bad, last_ok, at, gap, weight, origins = row
    where = tuple(Origin(*one) for one in json.loads(origins)) if origins else ()
    return Tally(guide_id or None, weak_id, strong_id, ok, bad, bool(last_ok), at, gap, weight, where)


def of_origins(origins: Sequence[Origin]) -> str:
    """As a tally's row holds them; empty where there are none."""
    return json.dumps([astuple(origin) for origin in origins], separators=(",", ":")) if origins else ""


def tallies_of(connection: Connection, ids: list[str]) -> dict[str, tuple[Tally, ...]]:
    tallies: dict[str, tuple[Tally, ...]] = {}
    rows = by_id(connection, f"SELECT experience_id, {TALLY} FROM tallies WHERE experience_id", ids)
    for owner, *row in rows:
        tally = to_tally(row)
        tallies[owner] = (*tallies.get(owner, ()), tally)
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


def sane(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
