"""What the processes of a PostgreSQL memory learn once, and the queue of lessons for workers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from rar.memory.columns import sane
from rar.memory.postgres_connections import NOW
from rar.memory.postgres_tills import PostgresTills

if TYPE_CHECKING:
    from rar.memory.postgres_queue import PostgresQueue


class PostgresLessons(PostgresTills):
    """The part of a memory that keeps count of lessons."""

    @cached_property
    def queue(self) -> PostgresQueue:
        """The lessons that wait for workers."""
        from rar.memory.postgres_queue import PostgresQueue as Queue  # noqa: PLC0415 - only who queues needs its package

        return Queue(self)

    def applied(self, effect: str) -> bool:
        return self.one("SELECT 1 FROM @effects WHERE key = ?", [sane(effect)]) is not None

    def claim(self, key: str, owner: str, seconds: float) -> bool:
        return self.transact(
            lambda connection: (
                connection.run(
                    f"INSERT INTO @claims VALUES (?, ?, {NOW} + ?) ON CONFLICT (key) DO UPDATE "
                    f"SET owner = excluded.owner, until = excluded.until "
                    f"WHERE claims.owner = excluded.owner OR claims.until <= {NOW} RETURNING key",
                    [sane(key), sane(owner), seconds],
                ).fetchone()
                is not None
            )
        )

    def release(self, key: str, owner: str) -> None:
        self.transact(
            lambda connection: connection.run(
                f"DELETE FROM @claims WHERE (key = ? AND owner = ?) OR until < {NOW} - 86400", [sane(key), sane(owner)]
            )
        )
