"""Exporting the SQLite memory: all of its records, in the order in which they are written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rar.memory.columns import (
    A_GUIDE,
    DECISION,
    JUDGED,
    LABEL,
    POLICY,
    SPEND,
    WHOLE,
    to_experience,
    to_guide,
)
from rar.memory.exchange import DaySpend, KeptGuide, KeptPolicy, to_record
from rar.memory.sqlite_rows import Connection, header_of, scope, tallies_of


def records_of(connection: Connection, namespace: str | None) -> Iterator[dict[str, Any]]:
    """The records of one namespace or of all, a header first."""
    where, values = scope(namespace)
    yield to_record(header_of(connection))
    cursor = connection.run(f"SELECT {WHOLE} FROM experiences {where} ORDER BY seq", values)
    while rows := cursor.fetchmany(500):
        tallies = tallies_of(connection, [row[0] for row in rows])
        yield from (to_record(to_experience(row, tallies.get(row[0], ()))) for row in rows)
    for guide in map(to_guide, connection.run(f"SELECT {A_GUIDE} FROM guides {where} ORDER BY seq", values)):
        yield to_record(KeptGuide(guide, guide.pinned))
    states = f"SELECT namespace, model, {POLICY.columns} FROM policy {where}"
    for name, model, *state in connection.run(states, values):
        yield to_record(KeptPolicy(name, POLICY.value(state), model))
    for day, *spend in connection.run(f"SELECT day, {SPEND.columns} FROM spending {where}", values):
        yield to_record(DaySpend(day, SPEND.value(spend)))
    for row in connection.run(f"SELECT {DECISION.columns} FROM decisions {where} ORDER BY n", values):
        yield to_record(DECISION.value(row))
    for row in connection.run(f"SELECT {LABEL.columns} FROM labels {where} ORDER BY n", values):
        yield to_record(LABEL.value(row))
    for row in connection.run(f"SELECT {JUDGED.columns} FROM judged {where} ORDER BY n", values):
        yield to_record(JUDGED.value(row))
