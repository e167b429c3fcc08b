"""What searches of this process return again and again, without reading it again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from rar.memory.base import PolicyState
from rar.values import Experience, Guide

_CACHED, _CACHED_TEXT = 32_768, 4_096  # records in the cache, and bytes of text up to which one is cached
_CACHED_BYTES = 32 * 2**20  # of all of them
_RECORD = 500  # that a record takes beside its text


class Reads(Protocol):
    """What a memory holds now."""

    def experiences(self, ids: list[str]) -> Iterable[Experience]:
        """Those that there are, with their tallies and without their embeddings."""
        ...

    def experience(self, id: str) -> Experience | None: ...

    def guides(self, ids: list[str]) -> Iterable[Guide]: ...

    def policy(self, namespace: str, model: str) -> PolicyState: ...


class Cache:
    """Records as searches return them. An entry goes when its record is touched, by whatever process.

    Args:
        times: How many times as much is kept as where reading a record again costs next to nothing.
    """

    def __init__(self, times: int = 1) -> None:
        self._times = times
        self._experiences: dict[str, Experience] = {}
        self._whole: dict[str, Experience] = {}  # with their embeddings
        self._guides: dict[str, Guide] = {}
        self._policies: dict[tuple[str, str], PolicyState] = {}
        self._seen = self._bytes = 0
        self._age = 0  # moves at each `follow`, so that what was read before is not stored after
        self._lock = threading.Lock()

    def follow(self, touched: Callable[[int], Iterable[str]], last: int) -> None:
        """Drop what is not as it was, now that the log's newest change is `last`.

        Args:
            touched: The ids of what was written, tried or deleted after a place in the log.
        """
        with self._lock:
            if 0 < last - self._seen < _CACHED:
                self._drop(touched(self._seen))
            elif last != self._seen:
                self._clear()
            self._policies.clear()
            self._seen = last
            self._age += 1

    def drop(self, ids: Iterable[str] | None) -> None:
        """Forget these records and all policy states; None: everything."""
        with self._lock:
            if ids is None:
                self._clear()
            else:
                self._drop(ids)
            self._policies.clear()
            self._age += 1

    @property
    def full(self) -> bool:
        """Whether there is hardly room for more."""
        many = len(self._experiences) > 0.9 * self._times * _CACHED
        return many or self._bytes > 0.9 * self._times * _CACHED_BYTES

    def experiences(self, reads: Reads, ids: list[str]) -> dict[str, Experience]:
        known, age = self._experiences, self._age
        found = {id: experience for id in ids if (experience := known.get(id)) is not None}
        if len(found) == len(ids):
            return found
        for experience in reads.experiences([id for id in ids if id not in found]):
            found[experience.id] = experience
            size = sys.getsizeof(experience.text)
            if size <= _CACHED_TEXT:
                self._keep(known, experience.id, experience, age, size)
        return found

    def experience(self, reads: Reads, id: str) -> Experience | None:
        """One with its embedding, which searches leave out."""
        known, age = self._whole.get(id), self._age
        if known is not None:
            return known
        found = reads.experience(id)
        if found is None:
            return None
        size = sys.getsizeof(found.text)
        if size <= _CACHED_TEXT:
            self._keep(self._whole, found.id, found, age, size + found.embedding.nbytes)
        return found

    def guides(self, reads: Reads, ids: list[str]) -> dict[str, Guide]:
        known, age = self._guides, self._age
        found = {id: guide for id in ids if (guide := known.get(id)) is not None}
        missing = [id for id in ids if id not in found]
        for guide in reads.guides(missing) if missing else ():
            found[guide.id] = guide
            self._keep(known, guide.id, guide, age, sys.getsizeof(guide.text) + guide.embedding.nbytes)
        return found

    def policy(self, reads: Reads, namespace: str, model: str) -> PolicyState:
        state, age = self._policies.get((namespace, model)), self._age
        if state is None:
            state = reads.policy(namespace, model)
            self._keep(self._policies, (namespace, model), state, age)
        return state

    def _drop(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._experiences.pop(id, None)
            self._whole.pop(id, None)
            self._guides.pop(id, None)

    def _keep(self, records: dict[Any, Any], key: object, record: object, age: int, size: int = 0) -> None:
        with self._lock:
            if age != self._age:
                return
            if len(records) >= self._times * _CACHED:
                del records[next(iter(records))]
            self._bytes += size + _RECORD
            if self._bytes > self._times * _CACHED_BYTES:  # rare: what is used comes back at once
                self._clear()
            records[key] = record

    def _clear(self) -> None:
        for cached in (self._experiences, self._whole, self._guides, self._policies):
            cached.clear()
        self._bytes = 0
