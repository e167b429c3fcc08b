"""What the processes of an SQLite memory spend together, in a write transaction of theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rar.memory.columns import SPEND
from rar.memory.tills import GRACE, HELD, KEPT, LEASE, Account, Ask, Granted, Settled, granted
from rar.memory.transitions import DAY

_OWN = (
    "INSERT INTO reserved VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, owner) DO UPDATE SET held = held + ?, "
    "held_until = excluded.held_until, free = excluded.free, free_until = excluded.free_until"
)
_SUM = (
    "INSERT INTO reserved VALUES (?, '', ?, ?, ?, 0.0, 0.0) ON CONFLICT (account, owner) DO UPDATE SET "
    "held = held + excluded.held, held_until = excluded.held_until"
)
# What was spent of a lease is taken off `held`, which may be less than nothing then.
_OTHERS = (
    "SELECT coalesce(sum(max(CASE WHEN held_until > ?1 THEN held ELSE 0.0 END + "
    "CASE WHEN free_until > ?1 THEN free ELSE 0.0 END, 0.0)), 0.0) FROM reserved WHERE account = ?2 AND owner <> ?3"
)


def reserve(run: Callable[..., Any], owner: str, asks: Sequence[Ask]) -> list[Granted]:
    """As `rar.memory.tills.Till` says.

    Args:
        run: Executes a statement in a write transaction.
    """
    now, found = time.time(), []
    for ask in asks:
        name = ask.account.name
        (others,) = run(_OTHERS, [now, name, owner]).fetchone()
        grant = granted(ask, [SPEND.value(row) for row in _stored(run, ask.account)], others)
        own = [ask.account.namespace, ask.held, now + HELD, grant.free, now + LEASE + GRACE, ask.more]
        run(_OWN, [name, owner, *own])
        found.append(grant)
    if not any(ask.needs for ask in asks):
        run("DELETE FROM reserved WHERE held_until < ?1 AND free_until < ?1", [now])
    return found


def _stored(run: Callable[..., Any], account: Account) -> Iterable[Any]:
    """The spending that counts; nothing of what is added up by itself."""
    if account.kept:
        return ()
    where, values = ("", []) if account.namespace is None else ("AND namespace = ?", [account.namespace])
    day = int(account.since // DAY)
    return run(f"SELECT {SPEND.columns} FROM spending WHERE day >= ? {where}", [day, *values])  # type: ignore[no-any-return]


def settle(run: Callable[..., Any], settled: Sequence[Settled]) -> None:
    """Reserve no more what is spent by now, in the transaction that adds it up."""
    for one in settled:
        run("UPDATE reserved SET held = held - ? WHERE account = ? AND owner = ?", [one.usd, one.account, one.owner])
        if one.kept:
            run(_SUM, [one.account, one.namespace, one.usd, time.time() + KEPT])
