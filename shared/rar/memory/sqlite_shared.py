"""What the processes of an SQLite memory do once, and spend together."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rar.memory.columns import sane
from rar.memory.sqlite_answers import SQLiteAnswers
from rar.memory.tills import Ask, Granted


class SQLiteShared(SQLiteAnswers):
    """A file that its processes share."""

    def reserve(self, owner: str, asks: Sequence[Ask]) -> list[Granted]:
        with self._transaction() as writer:
            return writer.reserve(owner, asks)

    def claim(self, key: str, owner: str, seconds: float) -> bool:
        now = time.time()
        with self._transaction() as writer:
            return writer.claim(sane(key), sane(owner), now, now + seconds)

    def release(self, key: str, owner: str) -> None:
        with self._transaction() as writer:
            writer.release(sane(key), sane(owner))

    def applied(self, effect: str) -> bool:
        with self._connection() as connection:
            return connection.run("SELECT 1 FROM effects WHERE key = ?", [sane(effect)]).fetchone() is not None
