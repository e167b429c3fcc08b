"""What of a PostgreSQL memory is read from the server each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from rar.memory.base import Changes, DecisionRecord, JudgedAnswers, Label, MemoryStats, Spend
from rar.memory.columns import A_GUIDE, DECISION, JUDGED, LABEL, SPEND, WHOLE, to_experience, to_guide
from rar.memory.postgres_connections import Connection, PostgresServer
from rar.memory.postgres_rows import changes, meta, records_of, scope, some_of, stats_of, tallies_of
from rar.memory.postgres_tenants import Tenant
from rar.memory.transitions import DAY, summed
from rar.values import Experience, Guide, GuideState

_Found = TypeVar("_Found")
# The newest of each, which an index tells.
_PULSE = (
    "SELECT (SELECT max(n) FROM @decisions), (SELECT max(touched) FROM @experiences), "
    "(SELECT max(touched) FROM @guides), (SELECT max(touched) FROM @policy), (SELECT max(xid) FROM @deletions)"
)


class PostgresReads(PostgresServer):
    """A memory as it is read, but for what decisions ask of it."""

    tenant: Tenant | None = None  # as whom; None: all is seen

    def experiences(self, *, namespace: str, task: str, limit: int = 20_000) -> list[Experience]:
        def read(connection: Connection) -> list[Experience]:
            rows = connection.run(
                f"SELECT {WHOLE} FROM @experiences WHERE namespace = ? AND task = ? "
                "ORDER BY touched DESC, touched_n DESC LIMIT ?",
                [namespace, task, limit],
                binary=True,
            ).fetchall()
            tallies = tallies_of(connection, [row[0] for row in rows])
            return [to_experience(row, tallies.get(row[0], ())) for row in rows]

        return self.snapshot(read)

    def guide(self, id: str) -> Guide | None:
        row = self.one(f"SELECT {A_GUIDE} FROM @guides WHERE id = ?", [id])
        return row and to_guide(row)

    def guides(self, *, namespace: str | None = None, states: Sequence[GuideState] | None = None) -> list[Guide]:
        where, values = scope(namespace)
        rows = self.all(f"SELECT {A_GUIDE} FROM @guides {where} ORDER BY created_at, id", values)
        return [guide for guide in map(to_guide, rows) if states is None or guide.state in states]

    def changes(self, since: int = 0, limit: int = 5_000, *, began: int = 0) -> Changes:
        return self.ask(lambda connection: changes(connection, since, limit, began))

    def spending(self, namespace: str | None = None, *, since: float = 0.0) -> list[Spend]:
        where, values = scope(namespace, day=int(since // DAY))
        return summed(map(SPEND.value, self.all(f"SELECT {SPEND.columns} FROM @spending {where}", values)))

    def decision(self, id: str) -> DecisionRecord | None:
        row = self.one(f"SELECT {DECISION.columns} FROM @decisions WHERE id = ?", [id])
        return row and DECISION.value(row)

    def decisions(
        self, *, namespace: str | None = None, since: float = 0.0, until: float | None = None, limit: int = 1_000
    ) -> list[DecisionRecord]:
        where, values = scope(namespace, at=since)
        if until is not None:
            where, values = f"{where} AND at <= ?", [*values, until]
        newest = f"SELECT {DECISION.columns} FROM @decisions {where} ORDER BY at DESC, n DESC LIMIT ?"
        return [DECISION.value(row) for row in self.all(newest, [*values, limit])]

    def pulse(self) -> object:
        """Another one whenever a decision, a trial, a guide or a deletion was stored; cheap, whatever is held."""
        return tuple(self.one(_PULSE, []))

    def labels(self, namespace: str | None = None) -> list[Label]:
        where, values = scope(namespace)
        rows = self.all(f"SELECT {LABEL.columns} FROM @labels {where} ORDER BY at, n", values)
        return [LABEL.value(row) for row in rows]

    def judged_answers(self, namespace: str | None = None) -> Iterator[JudgedAnswers]:
        where, values = scope(namespace)
        with self.reading() as connection:
            for rows in some_of(connection, f"SELECT {JUDGED.columns} FROM @judged {where} ORDER BY n DESC", values):
                yield from map(JUDGED.value, rows)

    def stats(self, namespace: str | None = None) -> MemoryStats:
        return self.snapshot(lambda connection: stats_of(connection, namespace))

    def export(self, namespace: str | None = None) -> Iterator[dict[str, Any]]:
        """As the protocol says: the memory as it was when the first record was taken."""
        with self.reading() as connection:
            yield from records_of(connection, namespace)

    def newest_epoch(self) -> int:
        return int(self.ask(lambda connection: meta(connection, "epoch"))["epoch"])

    def snapshot(self, body: Callable[[Connection], _Found]) -> _Found:
        def at_one_moment(connection: Connection) -> _Found:
            with connection.snapshot():
                return body(connection)

        return self.ask(at_one_moment)

    def one(self, sql: str, values: Sequence[Any]) -> Any:
        return self.ask(lambda connection: connection.run(sql, values).fetchone())

    def all(self, sql: str, values: Sequence[Any]) -> list[Any]:
        return self.ask(lambda connection: connection.run(sql, values).fetchall())
