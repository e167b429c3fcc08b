"""Reading the PostgreSQL memory's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

from rar.memory.base import Changes, MemoryStats, PolicyState
from rar.memory.columns import (
    A_GUIDE,
    DECISION,
    EXPERIENCE,
    JUDGED,
    LABEL,
    POLICY,
    SPEND,
    TALLY,
    WHOLE,
    to_experience,
    to_guide,
)
from rar.memory.exchange import DaySpend, Header, KeptGuide, KeptPolicy, to_record
from rar.memory.postgres_connections import Connection
from rar.values import Experience, Guide, Tally

KEPT_INDEXES = 30 * 86_400.0  # seconds for which a machine that does not come back is remembered
_SHIFT = 32  # a cursor is a transaction and a place in it: as one number, the place in the lower bits


def lock_number(*parts: str) -> int:
    """The number of an advisory lock, which all of a database share."""
    digest = blake2b("\0".join(("rar-memory", *parts)).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def cursor_of(xid: int, n: int) -> int:
    return xid << _SHIFT | n


def place_of(cursor: int) -> tuple[int, int]:
    return cursor >> _SHIFT, cursor & (1 << _SHIFT) - 1


def meta(connection: Connection, *keys: str) -> dict[str, str]:
    return dict(connection.run("SELECT key, value FROM @meta WHERE key = ANY(?)", [list(keys)]).fetchall())


def header_of(connection: Connection) -> Header:
    found = meta(connection, "embedder_id", "dim")
    return Header(found["embedder_id"], int(found["dim"]))


def scope(namespace: str | None, **least: float) -> tuple[str, list[Any]]:
    """A WHERE clause, and its values, for one namespace or all, and for columns that are at least so much."""
    terms: dict[str, Any] = {} if namespace is None else {"namespace = ?": namespace}
    terms |= {f"{column} >= ?": value for column, value in least.items()}
    return f"WHERE {' AND '.join(terms)}" if terms else "", list(terms.values())


def tallies_of(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[Tally, ...]]:
    return by_owner(ask_tallies(connection, ids)) if ids else {}


def ask_tallies(connection: Connection, ids: Sequence[str]) -> Any:
    return connection.run(
        f"SELECT experience_id, {TALLY.columns} FROM @tallies WHERE experience_id = ANY(?) "
        "ORDER BY experience_id, guide_id, weak_id, strong_id",
        [list(ids)],
    )


def by_owner(rows: Iterable[Any]) -> dict[str, tuple[Tally, ...]]:
    tallies: dict[str, tuple[Tally, ...]] = {}
    for owner, *row in rows:
        tallies[owner] = (*tallies.get(owner, ()), TALLY.value(row))
    return tallies


class Reads:
    """What the cache does not hold, asked of the server.

    Args:
        ask: A server's.
    """

    def __init__(self, ask: Callable[[Callable[[Connection], Any]], Any]) -> None:
        self._ask = ask

    def experiences(self, ids: list[str]) -> list[Experience]:
        def read(connection: Connection) -> list[Experience]:
            with connection.snapshot():
                rows = connection.run(f"SELECT {EXPERIENCE.columns} FROM @experiences WHERE id = ANY(?)", [ids])
                asked = ask_tallies(connection, ids)
            tallies = by_owner(asked)
            return [to_experience((*row, None), tallies.get(row[0], ())) for row in rows]

        found: list[Experience] = self._ask(read)
        return found

    def experience(self, id: str) -> Experience | None:
        def read(connection: Connection) -> Experience | None:
            row = connection.run(f"SELECT {WHOLE} FROM @experiences WHERE id = ?", [id], binary=True).fetchone()
            return None if row is None else to_experience(row, tallies_of(connection, [id]).get(row[0], ()))

        found: Experience | None = self._ask(read)
        return found

    def guides(self, ids: list[str]) -> list[Guide]:
        def read(connection: Connection) -> list[Guide]:
            rows = connection.run(f"SELECT {A_GUIDE} FROM @guides WHERE id = ANY(?)", [ids], binary=True)
            return [to_guide(row) for row in rows]

        found: list[Guide] = self._ask(read)
        return found

    def policy(self, namespace: str, model: str) -> PolicyState:
        values = f"SELECT {POLICY.columns} FROM @policy WHERE namespace = ? AND model = ?"
        row = self._ask(lambda connection: connection.run(values, [namespace, model]).fetchone())
        return PolicyState() if row is None else POLICY.value(row)


def stats_of(connection: Connection, namespace: str | None) -> MemoryStats:
    where, values = scope(namespace)

    def value(sql: str) -> int:
        row = connection.run(f"{sql} {where}", values).fetchone()
        return int(row[0] or 0) if row else 0

    def counts(sql: str, more: str) -> dict[str, int]:
        return dict(connection.run(f"{sql} {where} {more}", values).fetchall())

    names = (
        "SELECT namespace FROM @counters WHERE experiences > 0 UNION SELECT namespace FROM @guides UNION SELECT "
        "namespace FROM @policy UNION SELECT namespace FROM @spending UNION SELECT namespace FROM @decisions UNION "
        "SELECT namespace FROM @labels UNION SELECT namespace FROM @judged UNION SELECT namespace FROM @cached "
        "ORDER BY namespace"
    )
    header = header_of(connection)
    learned = "AND not_learned IS NOT NULL" if where else "WHERE not_learned IS NOT NULL"
    return MemoryStats(
        experiences=value("SELECT sum(experiences) FROM @counters"),
        guides=counts("SELECT state, count(*) FROM @guides", "GROUP BY state"),
        trials=value("SELECT sum(trials) FROM @experiences"),
        decisions=value("SELECT count(*) FROM @decisions"),
        evicted=value("SELECT sum(evicted) FROM @counters"),
        namespaces=tuple(name for (name,) in connection.run(names) if namespace in (None, name)),
        embedder_id=header.embedder_id,
        dim=header.dim,
        not_learned=counts("SELECT not_learned, count(*) FROM @decisions", f"{learned} GROUP BY not_learned"),
    )


def mark_index(connection: Connection, place: str, token: str, epoch: int, at: float) -> bool:
    """Mark the files of an index, unless something was deleted since `epoch`; whether that was done."""
    connection.run("SELECT pg_advisory_xact_lock_shared(?::bigint)", [lock_number(connection.schema)])  # as writers do
    row = connection.run("SELECT value FROM @meta WHERE key = 'epoch'").fetchone()
    if row is None or int(row[0]) != epoch:
        return False
    connection.run("DELETE FROM @indexes WHERE at < ?", [at - KEPT_INDEXES])
    connection.run(
        "INSERT INTO @indexes VALUES (?, ?, ?) ON CONFLICT (place) DO UPDATE SET token = excluded.token, "
        "at = excluded.at",
        [place, token, at],
    )
    return True


_NOW = (
    "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, "
    "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
)
_TOUCHED = (
    "SELECT 'now', pg_snapshot_xmin(pg_current_snapshot())::text, value FROM @meta WHERE key = 'epoch' UNION ALL "
    "SELECT 'line', greatest(timeline_id, min_recovery_end_timeline)::text, '' "
    "FROM pg_control_checkpoint(), pg_control_recovery() UNION ALL "
    "(SELECT CASE WHEN xid >= ? THEN 'log' ELSE '' END, id, '' FROM @experiences WHERE touched >= ? LIMIT ?) UNION ALL "
    "(SELECT CASE WHEN xid >= ? THEN 'log' ELSE '' END, id, '' FROM @guides WHERE touched >= ? LIMIT ?) UNION ALL "
    "(SELECT 'log', id, '' FROM @deletions WHERE xid >= ? LIMIT ?) UNION ALL "
    "(SELECT 'policy', '', '' FROM @policy WHERE touched >= ? LIMIT 1)"
)


def touched(connection: Connection, low: int, most: int) -> list[Any]:
    """What became of records and policies since transaction `low`: what it is, its id, and the newest deletion.

    Also up to where that is all of it, and the server's timeline, which changes when a replica takes over.
    """
    rows: list[Any] = connection.run(_TOUCHED, [low, low, most, low, low, most, low, most, low]).fetchall()
    return rows


_ALL = 2**62
_LOG = (
    (f"{WHOLE}, xid, n", "experiences"),
    (f"{A_GUIDE}, xid, n", "guides"),
    ("id, xid, n", "deletions"),
)


def changes(connection: Connection, since: int, limit: int, began: int) -> Changes:
    """As the protocol says, of one snapshot.

    A transaction that is still running may yet add to the log before others that are committed. So the cursor stays
    before the oldest that runs, and what is committed beyond it is told again next time.
    """
    after = place_of(since)
    with connection.snapshot():  # all is asked before the first of it is waited for
        now = connection.run(_NOW)
        marks = connection.run("SELECT key, value FROM @meta WHERE key IN ('pruned', 'birth')")
        asked = [
            connection.run(
                f"SELECT {columns} FROM @{table} WHERE (xid, n) > (?, ?) ORDER BY xid, n LIMIT ?",
                [*after, limit + 1],
                binary=True,
            )
            for columns, table in _LOG
        ]
    low, high = now.fetchone() or (0, 0)
    known = dict(marks.fetchall())
    end = cursor_of(low, 0)
    if since and (not int(known["birth"]) <= after[0] < high or max(since, began) < int(known["pruned"])):
        return Changes(0, more=True, reset=True, end=end)
    found = [rows.fetchall() for rows in asked]
    places = sorted((row[-2], row[-1]) for rows in found for row in rows)
    settled = sum(xid < low for xid, _ in places[:limit])
    more = len(places) > limit and settled == limit
    if not more and max(map(len, found)) > limit:  # so much that a running transaction keeps from being settled
        return changes(connection, since, _ALL, began)
    cursor = cursor_of(*places[settled - 1]) if settled else since
    last = place_of(cursor) if more else max(places, default=(0, 0))
    experiences, guides, deleted = ([row[:-2] for row in rows if (row[-2], row[-1]) <= last] for rows in found)
    return Changes(
        cursor,
        tuple(map(to_experience, experiences)),
        tuple(map(to_guide, guides)),
        tuple(id for (id,) in deleted) if since else (),
        more=more,
        end=end,
    )


def records_of(connection: Connection, namespace: str | None) -> Iterator[dict[str, Any]]:
    """The records of one namespace or of all, a header first. Read in one transaction, some at a time."""
    where, values = scope(namespace)
    yield to_record(header_of(connection))
    for rows in some_of(connection, f"SELECT {WHOLE} FROM @experiences {where} ORDER BY xid, n", values):
        tallies = tallies_of(connection, [row[0] for row in rows])
        yield from (to_record(to_experience(row, tallies.get(row[0], ()))) for row in rows)
    for rows in some_of(connection, f"SELECT {A_GUIDE} FROM @guides {where} ORDER BY xid, n", values):
        yield from (to_record(KeptGuide(guide, guide.pinned)) for guide in map(to_guide, rows))
    states = f"SELECT namespace, model, {POLICY.columns} FROM @policy {where} ORDER BY namespace, model"
    for name, model, *state in connection.run(states, values):
        yield to_record(KeptPolicy(name, POLICY.value(state), model))
    spending = f"SELECT day, {SPEND.columns} FROM @spending {where} ORDER BY day, namespace, purpose, role, model_id"
    for day, *spend in connection.run(spending, values):
        yield to_record(DaySpend(day, SPEND.value(spend)))
    for rows in some_of(connection, f"SELECT {DECISION.columns} FROM @decisions {where} ORDER BY n", values):
        yield from (to_record(DECISION.value(row)) for row in rows)
    for rows in some_of(connection, f"SELECT {LABEL.columns} FROM @labels {where} ORDER BY n", values):
        yield from (to_record(LABEL.value(row)) for row in rows)
    for rows in some_of(connection, f"SELECT {JUDGED.columns} FROM @judged {where} ORDER BY n", values):
        yield from (to_record(JUDGED.value(row)) for row in rows)


def some_of(connection: Connection, sql: str, values: Sequence[Any]) -> Iterator[list[Any]]:
    """The rows of a statement, 500 at a time, by a cursor of the server's."""
    connection.run(f"DECLARE rows_of_rar NO SCROLL CURSOR FOR {sql}", values)
    while rows := connection.run("FETCH 500 FROM rows_of_rar", binary=True).fetchall():
        yield rows
    connection.run("CLOSE rows_of_rar")
