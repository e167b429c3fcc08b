"""What searches of this process return again and again, without reading it again."""

from __future__ import annotations

import sys
import threading
from typing import Any

from rar.memory.base import PolicyState
from rar.memory.sqlite_rows import (
    A_GUIDE,
    EXPERIENCE,
    POLICY,
    WHOLE,
    Connection,
    by_id,
    tallies_of,
    to_experience,
    to_guide,
)
from rar.values import Experience, Guide

_CACHED, _CACHED_TEXT = 32_768, 4_096  # records in the cache, and bytes of text up to which one is cached
_CACHED_BYTES = 32 * 2**20  # of all of them
_RECORD = 500  # that a record takes beside its text


class Cache:
    """Records as searches return them. An entry goes when its record is touched, by whatever process."""

    def __init__(self) -> None:
        self._experiences: dict[str, Experience] = {}
        self._whole: dict[str, Experience] = {}  # with their embeddings
        self._guides: dict[str, Guide] = {}
        self._policies: dict[tuple[str, str], PolicyState] = {}
        self._seen = self._bytes = 0
        self._age = 0  # moves at each `follow`, so that what was read before is not stored after
        self._lock = threading.Lock()

    def follow(self, connection: Connection, last: int) -> None:
        """Drop what is not as it was, now that the log's newest change is `last`."""
        with self._lock:
            if 0 < last - self._seen < _CACHED:
                touched = connection.run(
                    "SELECT id FROM experiences WHERE touched > ?1 UNION ALL SELECT id FROM guides WHERE touched > ?1 "
                    "UNION ALL SELECT id FROM deletions WHERE seq > ?1",
                    [self._seen],
                )
                for (id,) in touched:
                    self._experiences.pop(id, None)
                    self._whole.pop(id, None)
                    self._guides.pop(id, None)
            elif last != self._seen:
                self._clear()
            self._policies.clear()
            self._seen = last
            self._age += 1

    def experiences(self, connection: Connection, ids: list[str]) -> dict[str, Experience]:
        known, age = self._experiences, self._age
        found = {id: experience for id in ids if (experience := known.get(id)) is not None}
        if len(found) == len(ids):
            return found
        missing = [id for id in ids if id not in found]
        tallies = tallies_of(connection, missing)
        for row in by_id(connection, f"SELECT {EXPERIENCE.columns} FROM experiences WHERE id", missing):
            experience = to_experience((*row, None), tallies.get(row[0], ()))
            found[experience.id] = experience
            size = sys.getsizeof(experience.text)
            if size <= _CACHED_TEXT:
                self._keep(known, experience.id, experience, age, size)
        return found

    def experience(self, connection: Connection, id: str) -> Experience | None:
        """One with its embedding, which searches leave out."""
        known, age = self._whole.get(id), self._age
        if known is not None:
            return known
        row = connection.run(f"SELECT {WHOLE} FROM experiences WHERE id = ?", [id]).fetchone()
        if row is None:
            return None
        found = to_experience(row, tallies_of(connection, [row[0]]).get(row[0], ()))
        size = sys.getsizeof(found.text)
        if size <= _CACHED_TEXT:
            self._keep(self._whole, found.id, found, age, size + found.embedding.nbytes)
        return found

    def guides(self, connection: Connection, ids: list[str]) -> dict[str, Guide]:
        known, age = self._guides, self._age
        found = {id: guide for id in ids if (guide := known.get(id)) is not None}
        missing = [id for id in ids if id not in found]
        for row in by_id(connection, f"SELECT {A_GUIDE} FROM guides WHERE id", missing):
            found[row[0]] = guide = to_guide(row)
            self._keep(known, row[0], guide, age, sys.getsizeof(guide.text) + guide.embedding.nbytes)
        return found

    def policy(self, connection: Connection, namespace: str, model: str) -> PolicyState:
        state, age = self._policies.get((namespace, model)), self._age
        if state is None:
            values = f"SELECT {POLICY.columns} FROM policy WHERE namespace = ? AND model = ?"
            row = connection.run(values, [namespace, model]).fetchone()
            state = PolicyState() if row is None else POLICY.value(row)
            self._keep(self._policies, (namespace, model), state, age)
        return state

    def _keep(self, records: dict[Any, Any], key: object, record: object, age: int, size: int = 0) -> None:
        with self._lock:
            if age != self._age:
                return
            if len(records) >= _CACHED:
                del records[next(iter(records))]
            self._bytes += size + _RECORD
            if self._bytes > _CACHED_BYTES:  # rare: what is used comes back at once
                self._clear()
            records[key] = record

    def _clear(self) -> None:
        for cached in (self._experiences, self._whole, self._guides, self._policies):
            cached.clear()
        self._bytes = 0
