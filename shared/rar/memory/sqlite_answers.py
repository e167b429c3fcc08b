"""The answers that the SQLite memory keeps, word for word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rar.memory.columns import CACHED, JUDGED, sane
from rar.memory.kept import CachedAnswer, JudgedAnswers
from rar.memory.sqlite_connections import SQLiteFile
from rar.memory.sqlite_file import SCRUB
from rar.memory.sqlite_rows import Connection, by_id, meta, scope, snapshot


class SQLiteAnswers(SQLiteFile):
    """A file that holds judged and cached answers."""

    def pulse(self) -> object:
        """Another one whenever a decision, a trial, a guide or a deletion was stored; cheap, whatever is held."""
        with self._connection() as connection:
            return meta(connection, "seq"), connection.run("SELECT max(n) FROM decisions").fetchone()[0]

    def judged_answers(self, namespace: str | None = None) -> Iterator[JudgedAnswers]:
        where, values = scope(namespace)
        newest = f"SELECT {JUDGED.columns} FROM judged {where} ORDER BY n DESC"
        with self._connection() as connection, snapshot(connection):
            yield from map(JUDGED.value, connection.run(newest, values))

    def cached_answer(self, namespace: str, key: str) -> CachedAnswer | None:
        select = f"SELECT {CACHED.columns} FROM cached WHERE namespace = ? AND key = ?"
        with self._connection() as connection:
            self._catch_up(connection)  # what was deleted elsewhere is told to those who hold it
            row = connection.run(select, [namespace, key]).fetchone()
        return row and CACHED.value(row)

    def cached_near(self, namespace: str, kind: str, experience_ids: Sequence[str]) -> list[CachedAnswer]:
        with self._connection() as connection:
            self._catch_up(connection)
            rows = by_id(
                connection, f"SELECT {CACHED.columns} FROM cached WHERE experience_id", list(map(sane, experience_ids))
            )
        found = map(CACHED.value, rows)
        return [one for one in found if (one.namespace, one.kind) == (sane(namespace), kind)]

    def drop_answers(self, namespace: str | None = None) -> int:
        with self._transaction() as writer:
            gone = writer.drop_answers(None if namespace is None else sane(namespace))
        self._scrub(SCRUB)
        with self._connection() as connection:
            self._catch_up(connection)
        return gone

    def _catch_up(self, connection: Connection) -> None:
        """Follow the log, where there is an index that does."""
