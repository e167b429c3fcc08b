"""The FAISS read model: one process's index of a memory, which follows the memory's log.

The memory is the truth; the index holds ids and vectors only, and can be thrown away at any time. What is new is
searched one by one, what is old in graphs that never change (`segments`), so that searches wait for nothing. Graphs are
built in the background, and kept in files beside the memory (`index_files`) where it has a place for them.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rar.memory.base import Changes
from rar.memory.following import Follower
from rar.memory.index_files import IndexFiles, Key, Picture, Shot
from rar.memory.rows import CHUNK, SWEEP_AT, Rows, nearest, unit, unit_query
from rar.memory.segments import Segment, build, fits
from rar.naming import cause
from rar.values import Vector

__all__ = ["FaissIndex", "Key", "nearest", "unit"]

_LOG = logging.getLogger("rar")

FLAT_UP_TO = 4_096  # vectors that are compared one by one

# Changes after which the files are written anew: to read so many of the log again takes less than a tenth of a second.
SAVE_AFTER, SAVE_SHARE = 1_000, 0.04
CHECK_AFTER = 2.0  # seconds that the first decisions have the processor to themselves


class FaissIndex:
    """Finds ids by cosine, per namespace, task and kind. Any thread may call it.

    Args:
        changes: The memory's `changes`.
        files: Where graphs are kept, if anywhere.
        epoch: The memory's newest deletion.
    """

    def __init__(
        self,
        changes: Callable[..., Changes],
        files: IndexFiles | None = None,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        self._changes, self._files, self._epoch = changes, files, epoch
        self._log = Follower(changes)
        self._shards: dict[Key, _Shard] = {}
        self._homes: dict[str, Key] = {}  # of the ids that are in no segment
        self._changed: set[Key] = set()
        self._lock = threading.RLock()
        self._known = 0
        self._applied = self._saved = 0  # changes that were followed, and that are in the files
        self._unread = files is not None
        self._saving = False
        self._builds = _Builds()
        # Also at exit: the interpreter must not end under a thread that is inside FAISS.
        self._stop = weakref.finalize(self, self._builds.stop)

    @property
    def cursor(self) -> int:
        """How far the log was followed, and can be searched."""
        return self._known

    def __len__(self) -> int:
        return sum(map(len, list(self._shards.values())))

    def follow(self) -> None:
        """Catch up with the log: what was committed before the call is found after it."""
        with self._lock:
            if self._unread:
                self._unread = False
                self._open()
            self._catch_up()
            for key in self._changed:
                if key in self._shards:
                    self._shards[key].tidy()
            self._changed.clear()
            if self._files is not None and self._due() and not self._saving:
                self._saving = True
                self._builds.start(self._save)

    def search(self, embedding: Vector, key: Key, limit: int) -> list[tuple[float, str]]:
        """The `limit` nearest as `(similarity, id)`, nearest first, ties by id."""
        shard = self._shards.get(key)
        return shard.search(unit_query(embedding), limit) if shard else []

    def holds(self, id: str, key: Key) -> bool:
        """Whether an id is among what is searched under `key`."""
        shard = self._shards.get(key)
        return shard is not None and shard.holds(id)

    def wait(self) -> None:
        """Wait until nothing is being built or written."""
        self._builds.join()

    def close(self) -> None:
        """Give up what is being built."""
        self._stop()

    def settled(self, ids: Iterable[str]) -> None:
        """These ids are in a segment now."""
        for id in ids:
            self._homes.pop(id, None)

    def keep(self) -> None:
        """Bring the files up to date, in the thread that has built something."""
        if self._files is not None and not self._saving:
            self._saving = True
            self._save()

    def forget(self) -> None:
        """Have nothing on the disk that is not in the memory any more, when this returns.

        Called when the log was followed over the deletion. Files that were not read before it are removed.
        """
        if self._files is None or not self._files.exist():
            return
        try:
            with self._lock:
                for shard in self._shards.values():
                    shard.soil()
            for _ in range(3):  # somebody else may delete meanwhile
                if self._write(seconds=10.0):
                    return
        except Exception as error:
            _LOG.info("The index files of a memory could not be written anew, so they are removed. %s", cause(error))
        self._files.remove()

    # ── the log ──

    def _catch_up(self) -> None:
        for news in self._log.news():
            if news.reset:
                self._shards, self._homes = {}, {}
            self._apply(news)
        self._known = self._log.cursor

    def _apply(self, news: Changes) -> None:
        self._applied += len(news.deleted) + len(news.experiences) + len(news.guides)
        self._bury(news.deleted, self._shards)
        for id in news.deleted:
            self._move(id, None)
        arrived: dict[Key, list[tuple[str, Vector]]] = {}
        for experience in news.experiences:
            key = (experience.namespace, experience.task, "")
            arrived.setdefault(key, []).append((experience.id, experience.embedding))
        for guide in news.guides:
            arrived.setdefault((guide.namespace, guide.task, guide.state), []).append((guide.id, guide.embedding))
        for key, items in arrived.items():
            self._arrive(key, [id for id, _ in items], unit(np.stack([vector for _, vector in items])))

    def _arrive(self, key: Key, ids: list[str], vectors: Vector) -> None:
        if key[2]:  # guides move from state to state, experiences stay where they are
            self._bury(ids, [home for home in self._shards if home != key and home[2]])
        shard = self._shards.setdefault(key, _Shard(self))
        new = shard.unlike(ids, vectors)
        if len(new) < len(ids):
            ids, vectors = [ids[place] for place in new], vectors[new]
        for id in ids:
            self._move(id, key)
        if ids:
            shard.put(ids, vectors)
        self._changed.add(key)

    def _move(self, id: str, key: Key | None) -> None:
        home = self._homes.get(id)
        if home is not None and home != key:
            self._shards[home].discard(id)
            self._changed.add(home)
        if key is None:
            self._homes.pop(id, None)
        else:
            self._homes[id] = key

    def _bury(self, ids: Sequence[str], keys: Iterable[Key]) -> None:
        for key in keys if ids else ():
            if self._shards[key].bury(ids):
                self._changed.add(key)

    # ── the files ──

    def _open(self) -> None:
        """Begin with what is in the files, if they are this memory's and whole."""
        assert self._files is not None
        picture = self._files.read()
        if picture is None:
            return
        self._shards, self._homes = {}, {}
        for key, shot in picture.shards.items():
            shard = self._shards[key] = _Shard(self)
            shard.segments = shot.segments
            if shot.ids:
                shard.put(shot.ids, shot.vectors)
                self._homes.update(dict.fromkeys(shot.ids, key))
            self._changed.add(key)
        self._log = Follower(self._changes, picture.cursor)
        self._saved = self._applied
        self._builds.start(self._check)

    def _check(self) -> None:
        """Read the files to their ends; where one is damaged, begin anew from the log."""
        assert self._files is not None
        self._builds.pause(CHECK_AFTER)
        if self._builds.stopped or self._files.are_whole():
            return
        _LOG.warning("An index file of a memory is damaged. The index is made anew.")
        with self._lock:
            self._files.remove()
            self._shards, self._homes, self._saved, self._known = {}, {}, self._applied, 0
            self._log = Follower(self._changes)
            with suppress(Exception):  # else whoever searches next tries again
                self.follow()

    def _due(self) -> bool:
        if any(shard.building for shard in self._shards.values()):
            return False  # it is done when that is
        moved = self._applied - self._saved
        return moved > SAVE_AFTER and moved > SAVE_SHARE * (whole := len(self)) and whole > FLAT_UP_TO

    def _save(self) -> None:
        try:
            with suppress(Exception):  # as good as not saved: the next start takes longer
                self._write()
        finally:
            self._saving = False

    def _write(self, seconds: float = 0.0) -> bool:
        """Bring the files up to date; whether that was done."""
        assert self._files is not None

        applied = 0

        def picture() -> Picture:
            nonlocal applied
            with self._lock:
                epoch = self._epoch()  # before the log is read, which may know of later ones
                self._catch_up()
                shots = {key: shot for key, shard in self._shards.items() if len(shot := shard.shot())}
                applied = self._applied
                return Picture(self.cursor, shots, epoch)

        done = self._files.write(picture, seconds=seconds)
        if done is None:
            return False
        with self._lock:
            self._saved = applied
            for shard in self._shards.values():
                shard.exchange(done.segments)
        return True


class _Builds:
    """The threads that build and write."""

    def __init__(self) -> None:
        self.stopped = False
        self._threads: list[threading.Thread] = []
        self._hurry = threading.Event()

    def pause(self, seconds: float) -> None:
        """Wait, unless somebody waits for this thread."""
        self._hurry.wait(seconds)

    def start(self, body: Callable[[], None]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=body, name="rar-index", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        self.stopped = True
        self.join()

    def join(self) -> None:
        self._hurry.set()
        while threads := [thread for thread in self._threads if thread is not threading.current_thread()]:
            for thread in threads:
                thread.join()
            self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._hurry.clear()


class _Shard:
    """Vectors of one kind: the newest as rows, the others in segments."""

    def __init__(self, index: FaissIndex) -> None:
        self._index = weakref.ref(index)
        self._builds = index._builds  # noqa: SLF001 - of this module
        self.segments: tuple[Segment, ...] = ()
        self.rows = Rows()
        self._lock = threading.Lock()  # FAISS may search in many threads, but not while it adds
        self.building = False
        self._odd = 0  # rows whose ids no segment can hold

    def __len__(self) -> int:
        return len(self.rows) + sum(segment.live for segment in self.segments)

    def unlike(self, ids: list[str], vectors: Vector) -> list[int]:
        """The places of what is not in a segment with this very vector; what has another one there is buried."""
        places = list(range(len(ids)))
        for segment in self.segments:
            held = segment.holds([ids[place] for place in places], vectors[places])
            places = [place for place, there in zip(places, held, strict=True) if not there]
            segment.bury([ids[place] for place in places])
        return places

    def holds(self, id: str) -> bool:
        with self._lock:
            return id in self.rows.row_of or any(segment.rows_of([id])[0] >= 0 for segment in self.segments)

    def put(self, ids: list[str], vectors: Vector) -> None:
        for start in range(0, len(ids), CHUNK):
            with self._lock:
                self.rows.put(ids[start : start + CHUNK], vectors[start : start + CHUNK])

    def discard(self, id: str) -> None:
        with self._lock:
            self.rows.discard(id)

    def bury(self, ids: Sequence[str]) -> bool:
        """Let no search find these in a segment any more; whether one was found till now."""
        return sum(segment.bury(ids) for segment in self.segments) > 0

    def soil(self) -> None:
        """Have no file of these segments hold dead rows."""
        for segment in self.segments:
            segment.dirty = segment.live < len(segment)

    def search(self, query: Vector, limit: int) -> list[tuple[float, str]]:
        with self._lock:
            segments, found = self.segments, self.rows.search(query, limit)
        if not segments:
            return found
        return nearest((*found, *(hit for segment in segments for hit in segment.search(query, limit))), limit)

    def shot(self) -> Shot:
        with self._lock:
            ids = list(self.rows.row_of)
            return Shot(self.segments, ids, self.rows.vectors(list(self.rows.row_of.values())))

    def exchange(self, written: dict[Segment, Segment]) -> None:
        """Go on with what was written of segments."""
        with self._lock:
            if self.building:  # it needs them as they are
                return
            for old in self.segments:
                if (new := written.get(old)) is not None:
                    new.alive &= old.alive  # some may have been buried meanwhile
                    new.live = int(new.alive.sum())
            self.segments = tuple(written.get(old, old) for old in self.segments)

    def tidy(self) -> None:
        """Start what is due in the background; searches go on with what there is."""
        with self._lock:
            chosen = self._chosen()
            due = chosen is not None and not self.building
            self.building = self.building or due
            if not due and self.rows.littered and not self.building:
                self.rows = self.rows.without()
        if due:
            self._builds.start(self._build)

    def _chosen(self) -> tuple[Segment, ...] | None:
        """The segments to be built anew with the rows: small ones, and those with many dead. None: nothing is due."""
        littered = [segment for segment in self.segments if segment.live < (1.0 - SWEEP_AT) * len(segment)]
        if len(self.rows) - self._odd <= FLAT_UP_TO and not littered:
            return None
        size, chosen = len(self.rows), list(littered)
        for segment in sorted(self.segments, key=len):
            if segment.live > 2 * size:
                break
            size += segment.live
            chosen += [] if segment in chosen else [segment]
        return tuple(chosen)

    def _build(self) -> None:
        """Make one segment of some, and of the rows."""
        with self._lock:
            chosen = self._chosen() or ()
            rows = {id: row for id, row in self.rows.row_of.items() if fits(id)}
            kept = [np.flatnonzero(segment.alive) for segment in chosen]
        ids = [segment.id_at(row) for segment, places in zip(chosen, kept, strict=True) for row in places.tolist()]
        ids += rows
        sources = [*(segment.vectors for segment in chosen), self._vectors]
        parts = list(zip(sources, [*kept, np.fromiter(rows.values(), np.int64, len(rows))], strict=True))
        fresh = build(ids, partial(_chunk, parts), lambda: self._builds.stopped) if ids else None
        index = self._index()
        if (ids and fresh is None) or index is None:
            return
        with index._lock, self._lock:  # noqa: SLF001 - of this module
            same = [self.rows.row_of.get(id) == row for id, row in rows.items()]
            if fresh is not None:
                alive = [segment.alive[places] for segment, places in zip(chosen, kept, strict=True)]
                fresh.alive = np.concatenate([*alive, np.array(same, np.bool_)])
                fresh.live = int(fresh.alive.sum())
            moved = [id for id, still in zip(rows, same, strict=True) if still]
            index.settled(moved)
            self.rows = self.rows.without(moved)
            left = tuple(segment for segment in self.segments if segment not in chosen)
            self.segments = left if fresh is None else (*left, fresh)
            self._odd, self.building = len(self.rows) - sum(map(fits, self.rows.row_of)), False
        index.keep()

    def _vectors(self, rows: npt.NDArray[np.int64]) -> Vector:
        with self._lock:
            return self.rows.vectors(rows.tolist())


_Source: TypeAlias = tuple[Callable[[npt.NDArray[np.int64]], Vector], npt.NDArray[np.int64]]


def _chunk(sources: Sequence[_Source], start: int, stop: int) -> Vector:
    """The vectors from one place to another in what the sources give one after the other."""
    found, first = [], 0
    for give, rows in sources:
        some = rows[max(start - first, 0) : max(stop - first, 0)]
        found += [give(some)] if len(some) else []
        first += len(rows)
    return np.concatenate(found)
