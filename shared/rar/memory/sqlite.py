"""The default memory: one SQLite file, shared by threads and processes.

The file is in WAL mode, so that readers never wait. A connection is used by one thread at a time and never crosses a
fork. Searching goes through this process's FAISS index and its cache of records without embeddings; both follow the
sequence number `seq` that every change is stamped with. A record's `seq` moves when it is upserted, its `touched` also
when only its counts moved.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from rar.errors import (
    ClosedError,
    ConfigurationError,
    CorruptMemoryError,
    DimensionError,
    EmbedderMismatchError,
    MemoryStoreError,
    NewerMemoryError,
    ReadOnlyMemoryError,
    SecretError,
)
from rar.forking import Gate, before_fork, in_forked_child
from rar.memory.base import Batch, Changes, DecisionRecord, MemoryStats, PolicyState, Spend
from rar.memory.exchange import DaySpend, Header, KeptGuide, KeptPolicy, to_record
from rar.memory.forgetting import Forget, Gone
from rar.memory.index import FaissIndex, Key, nearest
from rar.memory.index_files import IndexFiles
from rar.memory.loading import items_of
from rar.memory.paths import path_of
from rar.memory.recalling import Query, Recalled, put_together
from rar.memory.secrets import Lock, given, lock, unlock
from rar.memory.sqlite_cache import Cache
from rar.memory.sqlite_file import SCRUB, close_all, connect, connect_to_read, fail, find, identity, scrub, use_wal
from rar.memory.sqlite_rows import (
    A_GUIDE,
    DECISION,
    POLICY,
    SPEND,
    WHOLE,
    Connection,
    exclusive,
    header_of,
    marks,
    meta,
    sane,
    scope,
    snapshot,
    tallies_of,
    to_experience,
    to_guide,
)
from rar.memory.sqlite_schema import APPLICATION_ID, MIGRATIONS
from rar.memory.sqlite_writer import KEPT_DELETIONS, Writer
from rar.memory.transitions import DAY, summed
from rar.naming import shown
from rar.options import named_arguments
from rar.values import Experience, Guide, GuideMatch, GuideState, Match, Vector

_LOG = logging.getLogger("rar")

_LOOKS = 0.25  # seconds between two looks, by those who only read, whether the file is still there
_CHECKED_UP_TO = 32 * 2**20  # bytes of a file that is checked as a whole when it is opened


@named_arguments
class SQLiteMemory:
    """A memory in one file, which any number of threads and processes may use at once.

    One writes at a time and the others wait; readers never wait. A file or folder that cannot be written is opened for
    reading only. Over `cap` the experiences that were used longest ago go first; one that was tried counts as used 30
    days later than it was, one that was tried more than once 60 days.

    Args:
        path: The file; it is made, with its folders, where there is none. `":memory:"` is a private temporary file.
        cap: Most experiences that a namespace keeps.
        read_only: Never write, not even an upgrade of the file.
        secret: Keeps the key of the file's hashes elsewhere than in the file, which is then opened with it only; None
            for the environment's RAR_SECRET, if any. A file that has its key inside is locked by it.
        clock: Seconds since the epoch; dates the spending.

    Raises:
        NotAMemoryError, CorruptMemoryError, NewerMemoryError: The file cannot be used; it was not changed.
        SecretError: The file's key is kept elsewhere, and `secret` is not it.
        ReadOnlyMemoryError: There is no such file, or it needs an upgrade, and it may not be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        cap: int = 100_000,
        read_only: bool = False,
        secret: str | bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(cap, bool) or not isinstance(cap, int) or cap < 1:
            raise ConfigurationError(f"cap={shown(cap)} keeps nothing. Pass a whole number of at least 1.")
        self.where = path_of(path)
        self.cap = cap
        self.read_only = read_only
        self._clock = clock
        self._secret = given(secret)
        self._closed = False
        self._remove = _nothing
        if self.where == ":memory:":
            folder = tempfile.mkdtemp(prefix="rar-")
            self._remove = weakref.finalize(self, _remove_folder, folder, os.getpid())
            self._path = str(Path(folder, "memory.db"))
        else:
            self._path = str(Path(self.where).absolute())
        self._gate = Gate()
        self._forgetting: list[weakref.WeakMethod[Forget]] = []
        self._bound = Header("", 0)
        self._dim = self._epoch = 0
        self._start()
        before_fork(self._before_fork)
        in_forked_child(self._after_fork)
        self._find_file()

    @classmethod
    def of_temporary_file(cls, path: Path, *, where: str, **options: Any) -> SQLiteMemory:
        """A memory under another name, to be read only, whose folder is removed when it is closed."""
        memory = cls(path, **options)
        memory.where, memory.read_only = where, True
        memory._remove = weakref.finalize(memory, _remove_folder, str(path.parent), os.getpid())
        return memory

    def __repr__(self) -> str:
        return f"SQLiteMemory({self.where!r}{', read_only=True' if self.read_only else ''})"

    def __enter__(self) -> SQLiteMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── writing ──

    def bind(self, embedder_id: str, dim: int) -> None:
        with self._connection() as connection:
            bound = header_of(connection)
        if not bound.embedder_id and not self.read_only:
            with self._transaction() as writer:
                bound = writer.bind(Header(embedder_id, dim))
        self._check_embedder(bound, Header(embedder_id, dim))
        self._bound = Header(embedder_id, dim)

    def write(self, batch: Batch) -> None:
        with self._transaction() as writer:
            batch = writer.left(batch)
            for experience in batch.experiences:
                writer.experience(experience)
            for guide in batch.guides:
                writer.guide(guide)
            for trial in batch.trials:
                writer.trial(trial)
            for step in batch.steps:
                writer.step(step)
            for spend in batch.spending:
                writer.spend(int(self._clock() // DAY), spend)
            for decision in batch.decisions:
                writer.decision(decision)
                writer.used(decision)
            writer.tidy(self.cap)
        if writer.epoch > self._epoch:
            with self._connection() as connection:
                self._catch_up(connection)
        if self._unscrubbed:
            self._scrub(0.0)

    def set_guide_state(self, id: str, state: GuideState, *, anyway: bool = False) -> None:
        with self._transaction() as writer:
            if not writer.pin(id, state, anyway=anyway):
                raise LookupError(f"No guide {id!r} is known.")

    def delete(self, *, ids: Sequence[str] = (), namespace: str | None = None) -> int:
        with self._connection() as connection:
            self._catch_up(connection)  # the index is to be read while its files still fit
        with self._transaction() as writer:
            gone = writer.erase(map(sane, ids), None if namespace is None else sane(namespace))
        self._scrub(SCRUB)
        with self._connection() as connection:
            self._catch_up(connection)  # and tells those who `watch`
        self._index.forget()
        return gone

    def watch(self, forget: Forget) -> None:
        """Have the bound method `forget` told what was deleted, by whatever process, when this one learns of it."""
        self._forgetting.append(weakref.WeakMethod(forget))

    @property
    def epoch(self) -> int:
        return self._epoch

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        """As the protocol says; other writers wait meanwhile."""
        count = 0
        with self._transaction() as writer:
            items = items_of(
                records, self.where, self.secret, lambda header: self._check_embedder(writer.bind(header), header)
            )
            for item in items:
                writer.put(item)
                count += 1
            writer.tidy(self.cap)
        return count

    # ── reading ──

    def search(self, embedding: Vector, *, namespace: str, task: str, limit: int = 16) -> list[Match]:
        with self._connection() as connection:
            query = self._query(connection, embedding)
            return self._matches(connection, query, (sane(namespace), sane(task), ""), limit)

    def search_guides(
        self,
        embedding: Vector,
        *,
        namespace: str,
        task: str,
        limit: int = 3,
        states: Sequence[GuideState] = ("active",),
    ) -> list[GuideMatch]:
        namespace, task = sane(namespace), sane(task)
        with self._connection() as connection:
            query = self._query(connection, embedding)
            return self._near_guides(connection, query, [(namespace, task, state) for state in set(states)], limit)

    def recall(self, query: Query) -> Recalled:
        """As the protocol says, on one connection that has caught up with the log once."""
        namespace, task = sane(query.namespace), sane(query.task)
        with self._connection() as connection:
            self._catch_up(connection)
            same = self._cache.experience(connection, sane(query.id)) if query.id else None
            matches: list[Match] = []
            near: list[GuideMatch] = []
            if query.embedding is not None:
                vector = self._checked(connection, query.embedding)
                matches = self._matches(connection, vector, (namespace, task, ""), query.limit)
                near = self._near_guides(connection, vector, [(namespace, task, "active")], query.guides)
            states = {model: self._cache.policy(connection, namespace, model) for model in ("", *query.models)}
            return put_together(
                query, same, matches, near, states=states,
                guides=lambda ids: self._cache.guides(connection, list(map(sane, ids))).values(),
            )  # fmt: skip

    async def arecall(self, query: Query) -> Recalled:
        return await asyncio.to_thread(self.recall, query)

    def settle(self) -> None:
        """Wait until no graph is being built in the background; searches are exact, and slower, till then."""
        self._index.wait()

    def experience(self, id: str) -> Experience | None:
        with self._connection() as connection:
            self._catch_up(connection)
            return self._cache.experience(connection, sane(id))

    def experiences(self, *, namespace: str, task: str, limit: int = 20_000) -> list[Experience]:
        with self._connection() as connection, snapshot(connection):
            rows = connection.run(
                f"SELECT {WHOLE} FROM experiences WHERE namespace = ? AND task = ? ORDER BY touched DESC LIMIT ?",
                [namespace, task, limit],
            ).fetchall()
            tallies = tallies_of(connection, [row[0] for row in rows])
        return [to_experience(row, tallies.get(row[0], ())) for row in rows]

    def guide(self, id: str) -> Guide | None:
        with self._connection() as connection:
            row = connection.run(f"SELECT {A_GUIDE} FROM guides WHERE id = ?", [id]).fetchone()
        return row and to_guide(row)

    def guides(self, *, namespace: str | None = None, states: Sequence[GuideState] | None = None) -> list[Guide]:
        where, values = scope(namespace)
        with self._connection() as connection:
            rows = connection.run(f"SELECT {A_GUIDE} FROM guides {where} ORDER BY created_at, id", values).fetchall()
        return [guide for guide in map(to_guide, rows) if states is None or guide.state in states]

    def changes(self, since: int = 0, limit: int = 5_000, *, began: int = 0) -> Changes:
        with self._connection() as connection, snapshot(connection):
            last: int = meta(connection, "seq")
            if since > last or 0 < max(since, began) < last - KEPT_DELETIONS:
                return Changes(0, more=True, reset=True, end=last)
            after = connection.run(
                "SELECT seq FROM (SELECT seq FROM experiences WHERE seq > ?1 UNION ALL SELECT seq FROM guides "
                "WHERE seq > ?1 UNION ALL SELECT seq FROM deletions WHERE seq > ?1) ORDER BY seq LIMIT 1 OFFSET ?2",
                [since, limit - 1],
            ).fetchone()
            cursor = after[0] if after else last
            span = "WHERE seq > ? AND seq <= ? ORDER BY seq", [since, cursor]
            experiences = connection.run(f"SELECT {WHOLE} FROM experiences {span[0]}", span[1])
            guides = connection.run(f"SELECT {A_GUIDE} FROM guides {span[0]}", span[1])
            deleted = connection.run(f"SELECT id FROM deletions {span[0]}", span[1]) if since else ()
            return Changes(
                cursor,
                tuple(to_experience(row) for row in experiences),
                tuple(to_guide(row) for row in guides),
                tuple(id for (id,) in deleted),
                more=cursor < last,
                end=last,
            )

    def policy_state(self, namespace: str, model: str = "") -> PolicyState:
        with self._connection() as connection:
            self._catch_up(connection)
            return self._cache.policy(connection, namespace, model)

    def spending(self, namespace: str | None = None, *, since: float = 0.0) -> list[Spend]:
        where, values = scope(namespace, day=int(since // DAY))
        with self._connection() as connection:
            rows = connection.run(f"SELECT {SPEND.columns} FROM spending {where}", values).fetchall()
        return summed(map(SPEND.value, rows))

    def decision(self, id: str) -> DecisionRecord | None:
        with self._connection() as connection:
            row = connection.run(f"SELECT {DECISION.columns} FROM decisions WHERE id = ?", [id]).fetchone()
        return row and DECISION.value(row)

    def decisions(
        self, *, namespace: str | None = None, since: float = 0.0, until: float | None = None, limit: int = 1_000
    ) -> list[DecisionRecord]:
        where, values = scope(namespace, at=since)
        if until is not None:
            where, values = f"{where} AND at <= ?", [*values, until]
        newest = f"SELECT {DECISION.columns} FROM decisions {where} ORDER BY at DESC, n DESC LIMIT ?"
        with self._connection() as connection:
            return [DECISION.value(row) for row in connection.run(newest, [*values, limit])]

    def stats(self, namespace: str | None = None) -> MemoryStats:
        where, values = scope(namespace)
        with self._connection() as connection, snapshot(connection):

            def value(sql: str) -> int:
                return int(connection.run(f"{sql} {where}", values).fetchone()[0] or 0)

            header = header_of(connection)
            return MemoryStats(
                experiences=value("SELECT sum(experiences) FROM counters"),
                guides=dict(connection.run(f"SELECT state, count(*) FROM guides {where} GROUP BY state", values)),
                trials=value("SELECT sum(trials) FROM experiences"),
                decisions=value("SELECT count(*) FROM decisions"),
                evicted=value("SELECT sum(evicted) FROM counters"),
                namespaces=tuple(
                    name
                    for (name,) in connection.run(
                        "SELECT namespace FROM counters WHERE experiences > 0 UNION SELECT namespace FROM guides "
                        "UNION SELECT namespace FROM policy UNION SELECT namespace FROM spending "
                        "UNION SELECT namespace FROM decisions ORDER BY namespace"
                    )
                    if namespace in (None, name)
                ),
                embedder_id=header.embedder_id,
                dim=header.dim,
                not_learned=dict(
                    connection.run(
                        f"SELECT not_learned, count(*) FROM decisions {where or 'WHERE true'} "
                        "AND not_learned IS NOT NULL GROUP BY not_learned",
                        values,
                    )
                ),
            )

    def export(self, namespace: str | None = None) -> Iterator[dict[str, Any]]:
        """As the protocol says: the memory as it was when the first record was taken."""
        where, values = scope(namespace)
        with self._connection() as connection, snapshot(connection):
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

    def close(self) -> None:
        """Close the file. Calls in other threads end first; closing again does nothing."""
        self._closed = True
        self._index.close()
        close_all(self._idle)
        self._remove()

    # ── the index and the cache ──

    def _matches(self, connection: Connection, query: Vector, key: Key, limit: int) -> list[Match]:
        found = self._index.search(query, key, limit)
        known = self._cache.experiences(connection, [id for _, id in found])
        return [Match(known[id], similarity) for similarity, id in found if id in known]

    def _near_guides(self, connection: Connection, query: Vector, keys: Sequence[Key], limit: int) -> list[GuideMatch]:
        found = nearest((hit for key in keys for hit in self._index.search(query, key, limit)), limit)
        known = self._cache.guides(connection, [id for _, id in found])
        return [GuideMatch(known[id], similarity) for similarity, id in found if id in known]

    def _query(self, connection: Connection, embedding: Vector) -> Vector:
        query = self._checked(connection, embedding)
        self._catch_up(connection)
        return query

    def _checked(self, connection: Connection, embedding: Vector) -> Vector:
        query = np.asarray(embedding, np.float32)
        self._dim = self._dim or meta(connection, "dim")
        if query.shape != (self._dim,) and (self._dim or query.ndim != 1):
            raise DimensionError(self.where, f"they have {self._dim} numbers, the one to search for has {query.shape}")
        return query

    def _catch_up(self, connection: Connection) -> None:
        """Follow the log if anything was written since `connection` last looked: by another connection, or by us."""
        now = connection.execute("PRAGMA data_version").fetchone()[0], self._writes
        if connection.caught_up != now:
            seq, epoch = marks(connection)
            if seq != self._index.cursor:  # most writes are decisions, which the index knows nothing of
                self._index.follow()
            self._cache.follow(connection, seq)
            connection.caught_up = now
            self._notice_deletions(connection, epoch)

    def _notice_deletions(self, connection: Connection, epoch: int) -> None:
        known, self._epoch = self._epoch, epoch
        if self._epoch <= known:
            return
        self._unscrubbed = not self.read_only  # whoever deleted may have met readers
        keys = connection.run("SELECT key FROM forgotten WHERE epoch > ?", [known]).fetchall()
        gone = Gone(self.secret, frozenset(key for (key,) in keys))
        for forget in [alive() for alive in list(self._forgetting)]:
            if forget is not None:
                forget(gone)

    def index_token(self) -> str | None:
        """What the files of the index must be marked with."""
        with self._connection() as connection:
            found = connection.execute("SELECT value FROM meta WHERE key = 'index'").fetchone()
        return None if found is None else str(found[0])

    def set_index_token(self, token: str, epoch: int) -> bool:
        """Mark the files of the index, unless something was deleted since `epoch`."""
        with self._transaction() as writer:
            return writer.mark_index(token, epoch)

    def _newest_epoch(self) -> int:
        with self._connection() as connection:
            epoch: int = meta(connection, "epoch")
        return epoch

    def _scrub(self, seconds: float) -> None:
        with self._connection() as connection:
            self._unscrubbed = not scrub(connection, seconds)

    # ── the file ──

    def _start(self) -> None:
        self._idle: deque[Connection] = deque()
        self._forsaken = weakref.finalize(self, close_all, self._idle)  # when nobody called `close`
        self._writing, self._replacing = threading.Lock(), threading.Lock()
        self._writes, self._looked = 0, -_LOOKS
        self._unscrubbed = False
        self._log: tuple[int, int] | None = None
        files = None if self.where == ":memory:" else IndexFiles(Path(self._path), self)
        self._index = FaissIndex(self.changes, files, self._newest_epoch)
        self._cache = Cache()

    def _before_fork(self) -> None:
        # SQLite keeps its file locks by process: a connection that the child inherits would be held there for ever.
        close_all(self._idle)

    def _after_fork(self) -> None:
        # Locks of the parent's threads may be held for ever here.
        self._forsaken.detach()
        self._start()

    def _find_file(self) -> None:
        cannot_write = find(Path(self._path), self.where, read_only=self.read_only)
        if cannot_write and not self.read_only:
            self.read_only = True
            _LOG.warning("%s", ReadOnlyMemoryError(self.where, "it is opened for reading only"))
        connection = self._open()
        try:
            self._upgrade(connection)
            self.secret: bytes = self._key(connection)
            self._dim = meta(connection, "dim")
            self._epoch = meta(connection, "epoch")
            self._file = identity(self._path)
        except sqlite3.Error as error:
            fail(self.where, error)
        finally:
            connection.close()

    def _replaced(self) -> None:
        """Go on with a new file where ours was deleted, and with another memory that took its place."""
        with self._replacing:
            if identity(self._path) == self._file:
                return
            self._forsaken.detach()
            self._index.close()
            close_all(self._idle)
            if self._log is not None and identity(f"{self._path}-wal") == self._log:
                # SQLite would play the old file's log into the new one.
                for beside in ("-wal", "-shm"):
                    Path(f"{self._path}{beside}").unlink(missing_ok=True)
            self._start()
            self._find_file()
            _LOG.warning(
                "Memory %r was deleted or replaced while it was in use. Learning goes on with the file that is there "
                "now; what the old one held is not known any more.",
                self.where,
            )
        if self._bound.embedder_id:
            self.bind(self._bound.embedder_id, self._bound.dim)

    def _upgrade(self, connection: Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise NewerMemoryError(self.where, f"its schema is {version}, this package knows {len(MIGRATIONS)}")
        if version and Path(self._path).stat().st_size <= _CHECKED_UP_TO:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise CorruptMemoryError(self.where, found)
        if version < len(MIGRATIONS):
            if self.read_only:
                raise ReadOnlyMemoryError(self.where, f"its schema {version} must be upgraded to {len(MIGRATIONS)}")
            self._migrate(connection)
        if not self.read_only:
            use_wal(connection)

    def _migrate(self, connection: Connection) -> None:
        with exclusive(connection):
            # Read again: another process may have been first.
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            for migration in MIGRATIONS[version:]:
                for statement in migration:
                    connection.execute(statement)
            if version == 0:
                first = {"secret": os.urandom(32), "seq": 0, "embedder_id": "", "dim": 0}
                connection.executemany("INSERT INTO meta VALUES (?, ?)", first.items())
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _key(self, connection: Connection) -> bytes:
        """The key of the file's hashes, which is locked first if it lies open and is to be kept elsewhere."""
        if self._secret is not None and not self.read_only and _held(connection) is None:
            with exclusive(connection):
                if _held(connection) is None:  # another process may have been first
                    held = astuple(lock(meta(connection, "secret"), self._secret))
                    connection.executemany("INSERT INTO meta VALUES (?, ?)", zip(_LOCK, held, strict=True))
                    connection.execute("UPDATE meta SET value = x'' WHERE key = 'secret'")
            self._unscrubbed = not scrub(connection, SCRUB)
        held_now = _held(connection)
        if held_now is None:
            return bytes(meta(connection, "secret"))
        if self._secret is None:
            raise SecretError(self.where, "the key of its hashes is kept outside the file")
        key = unlock(held_now, self._secret)
        if key is None:
            raise SecretError(self.where, "this is not the secret that it was made with")
        return key

    def _open(self) -> Connection:
        try:
            if self.read_only:
                return connect_to_read(self._path)
            connection = connect(f"{Path(self._path).as_uri()}?mode=rw")
        except sqlite3.Error as error:
            fail(self.where, error)
        self._log = identity(f"{self._path}-wal")
        return connection

    def _check_file(self, after: float) -> None:
        """Notice that the file was deleted or replaced, unless it was looked at less than `after` seconds ago."""
        now = time.monotonic()
        if now - self._looked >= after:
            if identity(self._path) != self._file:
                self._replaced()
            self._looked = now

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection that no other thread uses meanwhile."""
        if self._closed:
            raise ClosedError("memory")
        self._check_file(_LOOKS)
        with self._gate:
            idle, connection = self._idle, None
            try:
                try:
                    connection = idle.pop()
                except IndexError:
                    self._check_file(0.0)  # SQLite would play the old file's log into one that took its place
                    idle = self._idle
                    connection = self._open()
                yield connection
            except sqlite3.Error as error:
                fail(self.where, error)
            finally:
                if connection is not None:
                    idle.append(connection)
                    if self._closed or idle is not self._idle:
                        close_all(idle)

    @contextmanager
    def _transaction(self) -> Iterator[Writer]:
        """A write transaction: all that is done in it is committed at its end, or nothing."""
        if self.read_only:
            if self._closed:
                raise ClosedError("memory")
            raise ReadOnlyMemoryError(self.where)
        if self._gate.torn:
            raise MemoryStoreError(
                self.where,
                "this process was forked while another thread was writing, and cannot write any more. Fork before the "
                "router is used, or start processes by `spawn`",
            )
        self._check_file(0.0)  # nothing may be written into a file that is gone
        # Threads of one process take turns here, which is fairer than SQLite's waiting.
        with self._writing, self._connection() as connection:
            with exclusive(connection):
                writer = Writer(connection, self.where, self.secret)
                yield writer
                writer.finish()
            self._writes += 1

    def _check_embedder(self, bound: Header, given: Header) -> None:
        if bound.embedder_id and bound != given:
            found = f"{bound.embedder_id!r} of {bound.dim} dimensions, not {given.embedder_id!r} of {given.dim}"
            raise EmbedderMismatchError(self.where, found)
        if bound.dim not in (0, given.dim):
            raise EmbedderMismatchError(
                self.where, f"one of {bound.dim} dimensions, not {given.embedder_id!r} of {given.dim}"
            )


_LOCK = ("secret_salt", "secret_locked", "secret_check")  # of the table `meta`


def _held(connection: Connection) -> Lock | None:
    """The file's key as a secret locks it; None where it lies open."""
    found = connection.execute(f"SELECT key, value FROM meta WHERE key IN {_LOCK}").fetchall()
    return Lock(*(dict(found)[name] for name in _LOCK)) if found else None


def _nothing() -> None:
    pass


def _remove_folder(folder: str, owner: int) -> None:
    if os.getpid() != owner:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        shutil.rmtree(folder, ignore_errors=True)
    else:  # the garbage collector came by amid an event loop, which must not wait for files
        threading.Thread(target=shutil.rmtree, args=(folder, True), name="rar-remove").start()
