"""The default memory: one SQLite file, shared by threads and processes.

The file is in WAL mode, so that readers never wait. A connection is used by one thread at a time and never crosses a
fork. Searching goes through this process's FAISS index and its cache of records without embeddings; both follow the
sequence number `seq` that every change is stamped with. A record's `seq` moves when it is upserted, its `touched` also
when only its counts moved.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from rar.errors import (
    ClosedError,
    ConfigurationError,
    CorruptMemoryError,
    DimensionError,
    EmbedderMismatchError,
    ImportFormatError,
    MemoryFullError,
    MemoryStoreError,
    NewerMemoryError,
    NotAMemoryError,
    ReadOnlyMemoryError,
)
from rar.forking import Gate, before_fork, in_forked_child
from rar.memory.base import Batch, Changes, DecisionRecord, MemoryStats, PolicyState, Spend
from rar.memory.exchange import DaySpend, Header, KeptGuide, KeptPolicy, to_header, to_item, to_record
from rar.memory.identity import experience_id, keyed_digest
from rar.memory.index import FaissIndex, nearest
from rar.memory.paths import path_of
from rar.memory.sqlite_cache import Cache
from rar.memory.sqlite_rows import (
    DECISION,
    EXPERIENCE,
    GUIDE,
    POLICY,
    SPEND,
    Connection,
    header_of,
    meta,
    sane,
    scope,
    snapshot,
    tallies_of,
    to_decision,
    to_experience,
    to_guide,
)
from rar.memory.sqlite_schema import APPLICATION_ID, MIGRATIONS
from rar.memory.sqlite_writer import DAY, KEPT_DELETIONS, Writer
from rar.naming import shown
from rar.options import named_arguments
from rar.sameness import signature
from rar.values import Experience, Guide, GuideMatch, GuideState, Match, Vector

_LOG = logging.getLogger("rar")

_MAGIC = b"SQLite format 3\0"
_CHECKED_UP_TO = 32 * 2**20  # bytes of a file that is checked as a whole when it is opened

_CONNECTION = (
    "PRAGMA busy_timeout = 30000",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # what was deleted must not be left in the file
)


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
        clock: Seconds since the epoch; dates the spending.

    Raises:
        NotAMemoryError, CorruptMemoryError, NewerMemoryError: The file cannot be used; it was not changed.
        ReadOnlyMemoryError: There is no such file, or it needs an upgrade, and it may not be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        cap: int = 100_000,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(cap, bool) or not isinstance(cap, int) or cap < 1:
            raise ConfigurationError(f"cap={shown(cap)} keeps nothing. Pass a whole number of at least 1.")
        self.where = path_of(path)
        self.cap = cap
        self.read_only = read_only
        self._clock = clock
        self._closed = False
        self._remove = _nothing
        if self.where == ":memory:":
            folder = tempfile.mkdtemp(prefix="rar-")
            self._remove = weakref.finalize(self, _remove_folder, folder, os.getpid())
            self._path = str(Path(folder, "memory.db"))
        else:
            self._path = str(Path(self.where).absolute())
        self._gate = Gate()
        self._start()
        before_fork(self._before_fork)
        in_forked_child(self._after_fork)
        self._find_file()
        with self._connection() as connection:
            self._upgrade(connection)
            self.secret: bytes = meta(connection, "secret")
            self._dim: int = meta(connection, "dim")

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

    def write(self, batch: Batch) -> None:
        with self._transaction() as writer:
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
            writer.tidy(self.cap)

    def set_guide_state(self, id: str, state: GuideState, *, anyway: bool = False) -> None:
        with self._transaction() as writer:
            if not writer.pin(id, state, anyway=anyway):
                raise LookupError(f"No guide {id!r} is known.")

    def delete(self, *, ids: Sequence[str] = (), namespace: str | None = None) -> int:
        with self._transaction() as writer:
            gone = writer.forget(ids)
            if namespace is not None:
                gone += writer.forget_namespace(namespace)
            return gone

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        """As the protocol says; other writers wait meanwhile.

        The exporting memory's secret is not known here, so that ids and signatures are made anew from the texts; a
        record without text keeps its old id, and is found as similar but no more as the same.
        """
        new_ids: dict[str, str] = {}
        waiting: list[KeptGuide | DecisionRecord] = []  # they name experiences, which may come later
        place = 0
        with self._transaction() as writer:
            header = Header("", 0)
            for place, record in enumerate(records, 1):
                try:
                    if place == 1:
                        header = to_header(record)
                        if header.embedder_id:
                            self._check_embedder(writer.bind(header), header)
                        continue
                    item = to_item(record, header.dim)
                except ValueError as error:
                    raise ImportFormatError(self.where, f"record {place}: {error}") from None
                if isinstance(item, KeptGuide | DecisionRecord):
                    waiting.append(item)
                    continue
                if isinstance(item, Experience):
                    old_id, item = item.id, self._rekeyed(item)
                    new_ids[old_id] = item.id
                writer.put(item)
            if place == 0:
                raise ImportFormatError(self.where, "record 1: the header is missing")
            for late in waiting:
                writer.put(_renamed(late, new_ids))
            writer.tidy(self.cap)
        return place - 1

    # ── reading ──

    def search(self, embedding: Vector, *, namespace: str, task: str, limit: int = 16) -> list[Match]:
        with self._connection() as connection:
            query = self._query(connection, embedding)
            found = self._index.search(query, (sane(namespace), sane(task), ""), limit)
            known = self._cache.experiences(connection, [id for _, id in found])
        return [Match(known[id], similarity) for similarity, id in found if id in known]

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
            found = [hit for state in set(states) for hit in self._index.search(query, (namespace, task, state), limit)]
            if not found:
                return []
            found = nearest(found, limit)
            known = self._cache.guides(connection, [id for _, id in found])
        return [GuideMatch(known[id], similarity) for similarity, id in found if id in known]

    def settle(self) -> None:
        """Wait until no graph is being built in the background; searches are exact, and slower, till then."""
        self._index.wait()

    def experience(self, id: str) -> Experience | None:
        with self._connection() as connection:
            row = connection.run(f"SELECT {EXPERIENCE}, embedding FROM experiences WHERE id = ?", [id]).fetchone()
            return row and to_experience(row, tallies_of(connection, [row[0]]).get(row[0], ()))

    def experiences(self, *, namespace: str, task: str, limit: int = 20_000) -> list[Experience]:
        with self._connection() as connection, snapshot(connection):
            rows = connection.run(
                f"SELECT {EXPERIENCE}, embedding FROM experiences WHERE namespace = ? AND task = ? "
                "ORDER BY touched DESC LIMIT ?",
                [namespace, task, limit],
            ).fetchall()
            tallies = tallies_of(connection, [row[0] for row in rows])
        return [to_experience(row, tallies.get(row[0], ())) for row in rows]

    def guide(self, id: str) -> Guide | None:
        with self._connection() as connection:
            row = connection.run(f"SELECT {GUIDE} FROM guides WHERE id = ?", [id]).fetchone()
        return row and to_guide(row)

    def guides(self, *, namespace: str | None = None, states: Sequence[GuideState] | None = None) -> list[Guide]:
        where, values = scope(namespace)
        with self._connection() as connection:
            rows = connection.run(f"SELECT {GUIDE} FROM guides {where} ORDER BY created_at, id", values).fetchall()
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
            experiences = connection.run(f"SELECT {EXPERIENCE}, embedding FROM experiences {span[0]}", span[1])
            guides = connection.run(f"SELECT {GUIDE} FROM guides {span[0]}", span[1])
            deleted = connection.run(f"SELECT id FROM deletions {span[0]}", span[1]) if since else ()
            return Changes(
                cursor,
                tuple(to_experience(row) for row in experiences),
                tuple(to_guide(row) for row in guides),
                tuple(id for (id,) in deleted),
                more=cursor < last,
                end=last,
            )

    def policy_state(self, namespace: str) -> PolicyState:
        with self._connection() as connection:
            self._catch_up(connection)
            return self._cache.policy(connection, namespace)

    def spending(self, namespace: str | None = None, *, since: float = 0.0) -> list[Spend]:
        where, values = scope(namespace, day=int(since // DAY))
        grouped = f"{where} GROUP BY namespace, purpose, role, model_id ORDER BY namespace, purpose, role, model_id"
        with self._connection() as connection:
            return [Spend(*row) for row in connection.run(f"SELECT {SPEND} FROM spending {grouped}", values)]

    def decision(self, id: str) -> DecisionRecord | None:
        with self._connection() as connection:
            row = connection.run(f"SELECT {DECISION} FROM decisions WHERE id = ?", [id]).fetchone()
        return row and to_decision(row)

    def decisions(
        self, *, namespace: str | None = None, since: float = 0.0, until: float | None = None, limit: int = 1_000
    ) -> list[DecisionRecord]:
        where, values = scope(namespace, at=since)
        if until is not None:
            where, values = f"{where} AND at <= ?", [*values, until]
        newest = f"SELECT {DECISION} FROM decisions {where} ORDER BY at DESC, n DESC LIMIT ?"
        with self._connection() as connection:
            return [to_decision(row) for row in connection.run(newest, [*values, limit])]

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
            cursor = connection.run(f"SELECT {EXPERIENCE}, embedding FROM experiences {where} ORDER BY seq", values)
            while rows := cursor.fetchmany(500):
                tallies = tallies_of(connection, [row[0] for row in rows])
                yield from (to_record(to_experience(row, tallies.get(row[0], ()))) for row in rows)
            for guide in map(to_guide, connection.run(f"SELECT {GUIDE} FROM guides {where} ORDER BY seq", values)):
                yield to_record(KeptGuide(guide, guide.pinned))
            for name, *state in connection.run(f"SELECT namespace, {POLICY} FROM policy {where}", values):
                yield to_record(KeptPolicy(name, PolicyState(*state)))
            summed = f"{where} GROUP BY day, namespace, purpose, role, model_id"
            for day, *spend in connection.run(f"SELECT day, {SPEND} FROM spending {summed}", values):
                yield to_record(DaySpend(day, Spend(*spend)))
            for row in connection.run(f"SELECT {DECISION} FROM decisions {where} ORDER BY n", values):
                yield to_record(to_decision(row))

    def close(self) -> None:
        """Close the file. Calls in other threads end first; closing again does nothing."""
        self._closed = True
        self._index.close()
        _close_all(self._idle)
        self._remove()

    # ── the index and the cache ──

    def _query(self, connection: Connection, embedding: Vector) -> Vector:
        query = np.asarray(embedding, np.float32)
        self._dim = self._dim or meta(connection, "dim")
        if query.shape != (self._dim,) and (self._dim or query.ndim != 1):
            raise DimensionError(self.where, f"they have {self._dim} numbers, the one to search for has {query.shape}")
        self._catch_up(connection)
        return query

    def _catch_up(self, connection: Connection) -> None:
        """Follow the log if anything was written since `connection` last looked: by another connection, or by us."""
        now = connection.execute("PRAGMA data_version").fetchone()[0], self._writes
        if connection.caught_up != now:
            self._index.follow()
            self._cache.follow(connection)
            connection.caught_up = now

    # ── the file ──

    def _start(self) -> None:
        self._idle: deque[Connection] = deque()
        self._forsaken = weakref.finalize(self, _close_all, self._idle)  # when nobody called `close`
        self._writing = threading.Lock()
        self._writes = 0
        self._index = FaissIndex(self.changes)
        self._cache = Cache()

    def _before_fork(self) -> None:
        # SQLite keeps its file locks by process: a connection that the child inherits would be held there for ever.
        _close_all(self._idle)

    def _after_fork(self) -> None:
        # Locks of the parent's threads may be held for ever here.
        self._forsaken.detach()
        self._start()

    def _find_file(self) -> None:
        path = Path(self._path)
        try:
            if not path.exists():
                if self.read_only:
                    raise ReadOnlyMemoryError(self.where, "there is no such file")
                path.parent.mkdir(parents=True, exist_ok=True)
                if not os.access(path.parent, os.W_OK):
                    raise ReadOnlyMemoryError(self.where, "there is no such file, and its folder cannot be written")
                return
            if path.is_dir():
                raise NotAMemoryError(self.where, "it is a folder")
            with path.open("rb") as file:
                head = file.read(100)
        except PermissionError as error:
            raise ReadOnlyMemoryError(self.where, str(error)) from error
        except OSError as error:
            raise MemoryStoreError(self.where, str(error)) from error
        if head[:16] != _MAGIC if head else self.read_only:
            raise NotAMemoryError(self.where, "it is no SQLite file" if head else "it is empty")
        if head and int.from_bytes(head[68:72], "big") != APPLICATION_ID:
            raise NotAMemoryError(self.where, "it is the SQLite file of another program")
        if not self.read_only and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            self.read_only = True
            _LOG.warning("%s", ReadOnlyMemoryError(self.where, "it is opened for reading only"))

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
            _use_wal(connection)

    def _migrate(self, connection: Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again: another process may have been first.
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            for migration in MIGRATIONS[version:]:
                for statement in migration:
                    connection.execute(statement)
            if version == 0:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                first = {"secret": secrets.token_bytes(32), "seq": 0, "embedder_id": "", "dim": 0}
                connection.executemany("INSERT INTO meta VALUES (?, ?)", first.items())
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _open(self) -> Connection:
        uri = Path(self._path).as_uri()
        if not self.read_only:
            return _connect(uri)
        try:
            return _connect(f"{uri}?mode=ro")
        except sqlite3.OperationalError:
            # In WAL mode even reading writes beside the file. Where it cannot, a file without a log is read as it is.
            wal = Path(f"{self._path}-wal")
            if wal.exists() and wal.stat().st_size:
                raise
            return _connect(f"{uri}?immutable=1")

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection that no other thread uses meanwhile."""
        if self._closed:
            raise ClosedError("memory")
        with self._gate:
            idle, connection = self._idle, None
            try:
                try:
                    connection = idle.pop()
                except IndexError:
                    connection = self._open()
                yield connection
            except sqlite3.Error as error:
                self._fail(error)
            finally:
                if connection is not None:
                    idle.append(connection)
                    if self._closed:
                        _close_all(idle)

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
        # Threads of one process take turns here, which is fairer than SQLite's waiting.
        with self._writing, self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                writer = Writer(connection, self.where)
                yield writer
                writer.finish()
                connection.execute("COMMIT")
                self._writes += 1
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        said = str(error)
        for words, kind in _NAMED:
            if any(word in said for word in words):
                raise kind(self.where, said) from error
        raise MemoryStoreError(self.where, said) from error

    def _check_embedder(self, bound: Header, given: Header) -> None:
        if bound.embedder_id and bound != given:
            found = f"{bound.embedder_id!r} of {bound.dim} dimensions, not {given.embedder_id!r} of {given.dim}"
            raise EmbedderMismatchError(self.where, found)
        if bound.dim not in (0, given.dim):
            raise EmbedderMismatchError(
                self.where, f"one of {bound.dim} dimensions, not {given.embedder_id!r} of {given.dim}"
            )

    def _rekeyed(self, experience: Experience) -> Experience:
        if experience.text is None:
            return experience
        id = experience_id(self.secret, experience.namespace, experience.task, experience.text)
        return replace(experience, id=id, signature=keyed_digest(self.secret, signature(experience.text)))


def _renamed(item: KeptGuide | DecisionRecord, ids: Mapping[str, str]) -> KeptGuide | DecisionRecord:
    if isinstance(item, DecisionRecord):
        return replace(item, experience_id=ids.get(item.experience_id, item.experience_id))
    return replace(item, guide=replace(item.guide, origin=ids.get(item.guide.origin, item.guide.origin)))


# ── SQLite ──

_NAMED: tuple[tuple[tuple[str, ...], type[MemoryStoreError]], ...] = (
    (("malformed", "not a database", "no such table", "no such column"), CorruptMemoryError),
    (("readonly",), ReadOnlyMemoryError),
    (("is full",), MemoryFullError),
)


def _connect(uri: str) -> Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=Connection)
    try:
        for pragma in _CONNECTION:
            connection.execute(pragma)
        connection.execute("PRAGMA schema_version").fetchone()  # opens the file, which the above need not
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _use_wal(connection: Connection) -> None:
    """Switch to WAL, for which SQLite does not wait as it does for other locks."""
    for _ in range(1_000):
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.01)
        else:
            return


def _close_all(idle: deque[Connection]) -> None:
    while idle:
        try:
            idle.pop().close()
        except IndexError:  # another thread took the last one
            return


def _nothing() -> None:
    pass


def _remove_folder(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
