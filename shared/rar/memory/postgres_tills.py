"""What the processes of a PostgreSQL memory spend together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rar.memory.base import Spend
from rar.memory.columns import SPEND, sane
from rar.memory.postgres_connections import NOW, Connection
from rar.memory.postgres_reads import PostgresReads
from rar.memory.tills import GRACE, HELD, KEPT, LEASE, Account, Ask, Granted, Settled, granted
from rar.memory.transitions import DAY, SPENT_ON

_SUMMED = ", ".join(
    f"sum({name})" + ("" if name == "usd" else "::bigint") for name in SPEND.names if name not in SPENT_ON
)
_LOCKS = (
    "SELECT count(pg_advisory_xact_lock(key)), pg_current_xact_id()::text FROM (SELECT "
    "hashtextextended('rar-account ' || ? || ' ' || name, 0) AS key FROM unnest(?::text[]) AS name ORDER BY 1) AS keys"
)
# What was spent of a lease is taken off `held`, which may be less than nothing then.
_OTHERS = (
    f"SELECT coalesce(sum(greatest(CASE WHEN held_until > {NOW} THEN held ELSE 0.0 END + "
    f"CASE WHEN free_until > {NOW} THEN free ELSE 0.0 END, 0.0)), 0.0) FROM @reserved WHERE account = ? AND owner <> ?"
)
_OWN = (
    f"INSERT INTO @reserved (account, owner, namespace, held, held_until, free, free_until) "
    f"VALUES (?, ?, ?, ?, {NOW} + {HELD}, ?, {NOW} + {LEASE + GRACE}) ON CONFLICT (account, owner) DO UPDATE SET "
    "held = reserved.held + ?, held_until = excluded.held_until, free = excluded.free, free_until = excluded.free_until"
)
_SUM = (
    f"INSERT INTO @reserved (account, owner, namespace, held, held_until, free, free_until) "
    f"VALUES (?, '', ?, ?, {NOW} + {KEPT}, 0.0, 0.0) ON CONFLICT (account, owner) DO UPDATE SET "
    "held = reserved.held + excluded.held, held_until = excluded.held_until"
)
_OVER = (
    "DELETE FROM @reserved WHERE (account, owner) IN (SELECT account, owner FROM @reserved "
    f"WHERE held_until < {NOW} AND free_until < {NOW} FOR UPDATE SKIP LOCKED)"
)


class PostgresTills(PostgresReads):
    """The part of a memory that keeps count of what is reserved."""

    def reserve(self, owner: str, asks: Sequence[Ask]) -> list[Granted]:
        names = sorted({sane(ask.account.name) for ask in asks})
        return self.transact(lambda connection: _reserved(connection, sane(owner), asks, names))


def _reserved(connection: Connection, owner: str, asks: Sequence[Ask], names: list[str]) -> list[Granted]:
    # One process at a time, from here on. What is read after that is of a snapshot of its own.
    _, connection.transaction = connection.run(_LOCKS, [connection.schema, names]).fetchone()
    # What is reserved first: what is spent between these two looks is counted twice then, and not missed.
    read = [
        (ask, connection.run(_OTHERS, [sane(ask.account.name), owner]), _stored(connection, ask.account))
        for ask in asks
    ]  # fmt: skip
    found = []
    for ask, others, stored in read:
        (reserved,) = others.fetchone()
        grant = granted(ask, [Spend("", *row) for row in stored], reserved)
        name, namespace = sane(ask.account.name), _of(ask.account.namespace)
        connection.run(_OWN, [name, owner, namespace, ask.held, grant.free, ask.more])
        found.append(grant)
    if not any(ask.needs for ask in asks):
        connection.run(_OVER)
    return found


def _stored(connection: Connection, account: Account) -> Iterable[Any]:
    """The spending that counts, by purpose and model; nothing of what is added up by itself."""
    if account.kept:
        return ()
    where, values = ("", []) if account.namespace is None else ("AND namespace = ?", [sane(account.namespace)])
    rows: Iterable[Any] = connection.run(
        f"SELECT purpose, role, model_id, {_SUMMED} FROM @spending "
        f"WHERE day >= ? {where} GROUP BY purpose, role, model_id",
        [int(account.since // DAY), *values],
    )
    return rows


def settle(connection: Connection, settled: Sequence[Settled]) -> None:
    """Reserve no more what is spent by now, in the transaction that adds it up."""
    some = sorted(settled, key=lambda one: (one.account, one.owner))
    connection.many(
        "UPDATE @reserved SET held = held - ? WHERE account = ? AND owner = ?",
        [(one.usd, sane(one.account), sane(one.owner)) for one in some],
    )
    connection.many(_SUM, [(sane(one.account), _of(one.namespace), one.usd) for one in some if one.kept])


def _of(namespace: str | None) -> str | None:
    return None if namespace is None else sane(namespace)
