"""The default memory: one SQLite file, shared by threads and processes.

The file is in WAL mode, so that readers never wait. A connection is used by one thread at a time and never crosses a
fork. Searching goes through this process's FAISS index and its cache of records without embeddings; both follow the
sequence number `seq` that every change is stamped with. A record's `seq` moves when it is upserted, its `touched` also
when only its counts moved.
"""

from __future__ import annotations

import json
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
from rar.forking import in_forked_child
from rar.learning.guides import next_state
from rar.memory.base import Batch, Changes, DecisionRecord, MemoryStats, PolicyState, PolicyStep, Spend
from rar.memory.exchange import DaySpend, Header, Item, KeptGuide, KeptPolicy, to_header, to_item, to_record
from rar.memory.identity import experience_id, keyed_digest
from rar.memory.index import FaissIndex, nearest
from rar.sameness import signature
from rar.values import Experience, Guide, GuideMatch, GuideState, Match, Tally, Trial, Vector

_LOG = logging.getLogger("rar")

_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID = 0x5241524D  # "RARM", at byte 68 of the file
_DAY = 86_400.0
_KEPT_DECISIONS = 50_000
_KEPT_DELETIONS = 1_000_000  # sequence numbers over which deletions are remembered for followers
_CACHED, _CACHED_TEXT = 32_768, 4_096  # records in the cache, and characters of text up to which one is cached
_CHECKED_UP_TO = 32 * 2**20  # bytes of a file that is checked as a whole when it is opened

_CONNECTION = ("PRAGMA busy_timeout = 30000", "PRAGMA synchronous = NORMAL", "PRAGMA foreign_keys = ON")

# Migration n brings a file from schema n to n + 1. What was released is never edited. Embeddings come last in their
# rows, so that reading the rest of a row does not read them.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
        "CREATE TABLE experiences (id TEXT PRIMARY KEY, namespace TEXT NOT NULL, task TEXT NOT NULL, text TEXT, "
        "signature TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL, source TEXT NOT NULL, "
        "trials INTEGER NOT NULL DEFAULT 0, keep_until REAL NOT NULL, seq INTEGER NOT NULL, touched INTEGER NOT NULL, "
        "embedding BLOB NOT NULL)",
        "CREATE INDEX experiences_by_seq ON experiences (seq)",
        "CREATE INDEX experiences_by_touched ON experiences (touched)",
        "CREATE INDEX experiences_by_use ON experiences (namespace, keep_until, id)",
        "CREATE TABLE tallies (experience_id TEXT NOT NULL REFERENCES experiences ON DELETE CASCADE, "
        "guide_id TEXT NOT NULL, weak_id TEXT NOT NULL, strong_id TEXT NOT NULL, ok INTEGER NOT NULL, "
        "bad INTEGER NOT NULL, last_ok INTEGER NOT NULL, at REAL NOT NULL, "
        "PRIMARY KEY (experience_id, guide_id, weak_id, strong_id)) WITHOUT ROWID",
        "CREATE TABLE guides (id TEXT PRIMARY KEY, namespace TEXT NOT NULL, task TEXT NOT NULL, text TEXT NOT NULL, "
        "author TEXT NOT NULL, origin TEXT NOT NULL, state TEXT NOT NULL, helpful INTEGER NOT NULL, "
        "harmful INTEGER NOT NULL, created_at REAL NOT NULL, pinned INTEGER NOT NULL DEFAULT 0, "
        "seq INTEGER NOT NULL, touched INTEGER NOT NULL, embedding BLOB NOT NULL)",
        "CREATE INDEX guides_by_seq ON guides (seq)",
        "CREATE INDEX guides_by_touched ON guides (touched)",
        "CREATE TABLE deletions (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE)",
        "CREATE TABLE policy (namespace TEXT PRIMARY KEY, threshold REAL, audits INTEGER NOT NULL, "
        "errors INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE spending (day INTEGER NOT NULL, namespace TEXT NOT NULL, purpose TEXT NOT NULL, "
        "role TEXT NOT NULL, model_id TEXT NOT NULL, calls INTEGER NOT NULL, input_tokens INTEGER NOT NULL, "
        "output_tokens INTEGER NOT NULL, usd REAL NOT NULL, unpriced INTEGER NOT NULL, "
        "PRIMARY KEY (day, namespace, purpose, role, model_id)) WITHOUT ROWID",
        "CREATE TABLE decisions (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL, "
        "at REAL NOT NULL, experience_id TEXT NOT NULL, guide_id TEXT, model TEXT NOT NULL, facts TEXT NOT NULL)",
        "CREATE INDEX decisions_by_time ON decisions (at)",
        "CREATE TABLE counters (namespace TEXT PRIMARY KEY, experiences INTEGER NOT NULL DEFAULT 0, "
        "evicted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID",
        "CREATE TRIGGER experience_added AFTER INSERT ON experiences BEGIN "
        "INSERT OR IGNORE INTO counters (namespace) VALUES (new.namespace); "
        "UPDATE counters SET experiences = experiences + 1 WHERE namespace = new.namespace; END",
        "CREATE TRIGGER experience_gone AFTER DELETE ON experiences BEGIN "
        "UPDATE counters SET experiences = experiences - 1 WHERE namespace = old.namespace; END",
    ),
)

_EXPERIENCE = "id, namespace, task, text, signature, created_at, updated_at, source"
_GUIDE = "id, namespace, task, text, author, origin, state, helpful, harmful, created_at, embedding"
_TALLY = "guide_id, weak_id, strong_id, ok, bad, last_ok, at"
_SPEND = "namespace, purpose, role, model_id, sum(calls), sum(input_tokens), sum(output_tokens), sum(usd), sum(unpriced)"
_DECISION = "id, namespace, at, experience_id, guide_id, model, facts"

_NO_VECTOR: Vector = np.empty(0, np.float32)
_NO_VECTOR.flags.writeable = False


class _Connection(sqlite3.Connection):
    """A connection that knows which state of the file this process's index and cache had caught up with."""

    caught_up: tuple[int, int] | None = None

    def run(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """`execute`, with lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD."""
        try:
            return self.execute(sql, values)
        except UnicodeEncodeError:
            return self.execute(sql, [_sane(value) if isinstance(value, str) else value for value in values])


class SQLiteMemory:
    """A memory in one file, which any number of threads and processes may use at once.

    One writes at a time and the others wait; readers never wait. A file or folder that cannot be written is opened for
    reading only. Over `cap` the experiences that were used longest ago go first; one that was verified counts as used 30
    days later than it was, one that was verified more than once 60 days.

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
        if cap < 1:
            raise ValueError(f"cap={cap} keeps nothing. Pass at least 1.")
        self.where = os.fspath(path)
        self.cap = cap
        self.read_only = read_only
        self._clock = clock
        self._closed = False
        self._remove = _nothing
        if self.where == ":memory:":
            folder = tempfile.mkdtemp(prefix="rar-")
            self._remove = weakref.finalize(self, _remove_folder, folder, os.getpid())
            self._path = os.path.join(folder, "memory.db")
        else:
            self._path = os.path.abspath(self.where)
        self._start()
        in_forked_child(self._after_fork)
        self._find_file()
        with self._connection() as connection:
            self._upgrade(connection)
            self.secret: bytes = _meta(connection, "secret")
            self._dim: int = _meta(connection, "dim")

    def __repr__(self) -> str:
        return f"SQLiteMemory({self.where!r}{', read_only=True' if self.read_only else ''})"

    def __enter__(self) -> SQLiteMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── writing ──

    def bind(self, embedder_id: str, dim: int) -> None:
        with self._connection() as connection:
            bound = _header(connection)
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
                writer.spend(int(self._clock() // _DAY), spend)
            for decision in batch.decisions:
                writer.decision(decision)
            writer.tidy(self.cap)

    def set_guide_state(self, id: str, state: GuideState) -> None:
        with self._transaction() as writer:
            if not writer.pin(id, state):
                raise LookupError(f"No guide {id!r} is known.")

    def delete(self, *, ids: Sequence[str] = (), namespace: str | None = None) -> int:
        with self._transaction() as writer:
            gone = writer.forget(ids)
            if namespace is not None:
                gone += writer.forget_namespace(namespace)
            return gone

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        """As the protocol says. The secret of the exporting memory is not known here, so that ids and signatures are made
        anew from the texts; a record without text keeps its old id, and is found as similar but no more as the same."""
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
                except (ValueError, TypeError, AttributeError) as error:
                    if isinstance(error, MemoryStoreError):
                        raise
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
            found = self._index.search(query, (_sane(namespace), _sane(task), ""), limit)
            known = self._cache.experiences(connection, [id for _, id in found])
        return [Match(known[id], similarity) for similarity, id in found if id in known]

    def search_guides(
        self, embedding: Vector, *, namespace: str, task: str, limit: int = 3, states: Sequence[GuideState] = ("active",)
    ) -> list[GuideMatch]:
        namespace, task = _sane(namespace), _sane(task)
        with self._connection() as connection:
            query = self._query(connection, embedding)
            found = [hit for state in set(states) for hit in self._index.search(query, (namespace, task, state), limit)]
            if not found:
                return []
            found = nearest(found, limit)
            known = self._cache.guides(connection, [id for _, id in found])
        return [GuideMatch(known[id], similarity) for similarity, id in found if id in known]

    def experience(self, id: str) -> Experience | None:
        with self._connection() as connection:
            row = connection.run(f"SELECT {_EXPERIENCE}, embedding FROM experiences WHERE id = ?", [id]).fetchone()
            return row and _experience(row, _tallies(connection, [row[0]]).get(row[0], ()))

    def guide(self, id: str) -> Guide | None:
        with self._connection() as connection:
            row = connection.run(f"SELECT {_GUIDE} FROM guides WHERE id = ?", [id]).fetchone()
        return row and _guide(row)

    def guides(self, *, namespace: str | None = None, states: Sequence[GuideState] | None = None) -> list[Guide]:
        where, values = _scope(namespace)
        with self._connection() as connection:
            rows = connection.run(f"SELECT {_GUIDE} FROM guides {where} ORDER BY created_at, id", values).fetchall()
        return [guide for guide in map(_guide, rows) if states is None or guide.state in states]

    def changes(self, since: int = 0, limit: int = 5_000) -> Changes:
        with self._connection() as connection, _snapshot(connection):
            last: int = _meta(connection, "seq")
            if since > last or 0 < since < last - _KEPT_DELETIONS:
                return Changes(0, more=True, reset=True)
            after = connection.run(
                "SELECT seq FROM (SELECT seq FROM experiences WHERE seq > ?1 UNION ALL SELECT seq FROM guides "
                "WHERE seq > ?1 UNION ALL SELECT seq FROM deletions WHERE seq > ?1) ORDER BY seq LIMIT 1 OFFSET ?2",
                [since, limit - 1],
            ).fetchone()
            cursor = after[0] if after else last
            span = "WHERE seq > ? AND seq <= ? ORDER BY seq", [since, cursor]
            experiences = connection.run(f"SELECT {_EXPERIENCE}, embedding FROM experiences {span[0]}", span[1])
            guides = connection.run(f"SELECT {_GUIDE} FROM guides {span[0]}", span[1])
            deleted = connection.run(f"SELECT id FROM deletions {span[0]}", span[1]) if since else ()
            return Changes(
                cursor,
                tuple(_experience(row) for row in experiences),
                tuple(_guide(row) for row in guides),
                tuple(id for (id,) in deleted),
                more=cursor < last,
            )

    def policy_state(self, namespace: str) -> PolicyState:
        with self._connection() as connection:
            self._catch_up(connection)
            return self._cache.policy(connection, namespace)

    def spending(self, namespace: str | None = None, *, since: float = 0.0) -> list[Spend]:
        where, values = _scope(namespace, "day >= ?", int(since // _DAY))
        grouped = f"{where} GROUP BY namespace, purpose, role, model_id ORDER BY namespace, purpose, role, model_id"
        with self._connection() as connection:
            return [Spend(*row) for row in connection.run(f"SELECT {_SPEND} FROM spending {grouped}", values)]

    def decision(self, id: str) -> DecisionRecord | None:
        with self._connection() as connection:
            row = connection.run(f"SELECT {_DECISION} FROM decisions WHERE id = ?", [id]).fetchone()
        return row and _decision(row)

    def decisions(self, *, namespace: str | None = None, since: float = 0.0, limit: int = 1_000) -> list[DecisionRecord]:
        where, values = _scope(namespace, "at >= ?", since)
        newest = f"SELECT {_DECISION} FROM decisions {where} ORDER BY at DESC, n DESC LIMIT ?"
        with self._connection() as connection:
            return [_decision(row) for row in connection.run(newest, [*values, limit])]

    def stats(self, namespace: str | None = None) -> MemoryStats:
        where, values = _scope(namespace)
        with self._connection() as connection, _snapshot(connection):

            def value(sql: str) -> int:
                return int(connection.run(f"{sql} {where}", values).fetchone()[0] or 0)

            header = _header(connection)
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
            )

    def export(self, namespace: str | None = None) -> Iterator[dict[str, Any]]:
        """As the protocol says: the memory as it was when the first record was taken."""
        where, values = _scope(namespace)
        with self._connection() as connection, _snapshot(connection):
            yield to_record(_header(connection))
            cursor = connection.run(f"SELECT {_EXPERIENCE}, embedding FROM experiences {where} ORDER BY seq", values)
            while rows := cursor.fetchmany(500):
                tallies = _tallies(connection, [row[0] for row in rows])
                yield from (to_record(_experience(row, tallies.get(row[0], ()))) for row in rows)
            for *row, pinned in connection.run(f"SELECT {_GUIDE}, pinned FROM guides {where} ORDER BY seq", values):
                yield to_record(KeptGuide(_guide(row), bool(pinned)))
            for name, *state in connection.run(f"SELECT namespace, threshold, audits, errors FROM policy {where}", values):
                yield to_record(KeptPolicy(name, PolicyState(*state)))
            summed = f"{where} GROUP BY day, namespace, purpose, role, model_id"
            for day, *spend in connection.run(f"SELECT day, {_SPEND} FROM spending {summed}", values):
                yield to_record(DaySpend(day, Spend(*spend)))
            for row in connection.run(f"SELECT {_DECISION} FROM decisions {where} ORDER BY n", values):
                yield to_record(_decision(row))

    def close(self) -> None:
        """Close the file. Calls in other threads end first; closing again does nothing."""
        self._closed = True
        self._index.close()
        self._close_idle()
        self._remove()

    # ── the index and the cache ──

    def _query(self, connection: _Connection, embedding: Vector) -> Vector:
        query = np.asarray(embedding, np.float32)
        self._dim = self._dim or _meta(connection, "dim")
        if query.shape != (self._dim,) and (self._dim or query.ndim != 1):
            raise DimensionError(self.where, f"they have {self._dim} numbers, the one to search for has {query.shape}")
        self._catch_up(connection)
        return query

    def _catch_up(self, connection: _Connection) -> None:
        """Follow the log if anything was written since `connection` last looked: by another connection, or by us."""
        now = connection.execute("PRAGMA data_version").fetchone()[0], self._writes
        if connection.caught_up != now:
            self._index.follow()
            self._cache.follow(connection)
            connection.caught_up = now

    # ── the file ──

    def _start(self) -> None:
        self._idle: deque[_Connection] = deque()
        self._writing = threading.Lock()
        self._writes = 0
        self._index = FaissIndex(self.changes)
        self._cache = _Cache()

    def _after_fork(self) -> None:
        # Locks of the parent's threads may be held for ever here, and its connections' file locks are not ours.
        self._close_idle()
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
        if head and int.from_bytes(head[68:72], "big") != _APPLICATION_ID:
            raise NotAMemoryError(self.where, "it is the SQLite file of another program")
        if not self.read_only and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            self.read_only = True
            _LOG.warning("%s", ReadOnlyMemoryError(self.where, "it is opened for reading only"))

    def _upgrade(self, connection: _Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(_MIGRATIONS):
            raise NewerMemoryError(self.where, f"its schema is {version}, this package knows {len(_MIGRATIONS)}")
        if version and os.path.getsize(self._path) <= _CHECKED_UP_TO:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise CorruptMemoryError(self.where, found)
        if version < len(_MIGRATIONS):
            if self.read_only:
                raise ReadOnlyMemoryError(self.where, f"its schema {version} must be upgraded to {len(_MIGRATIONS)}")
            self._migrate(connection)
        if not self.read_only:
            _use_wal(connection)

    def _migrate(self, connection: _Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again: another process may have been first.
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            for migration in _MIGRATIONS[version:]:
                for statement in migration:
                    connection.execute(statement)
            if version == 0:
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                first = {"secret": secrets.token_bytes(32), "seq": 0, "embedder_id": "", "dim": 0}
                connection.executemany("INSERT INTO meta VALUES (?, ?)", first.items())
            connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _open(self) -> _Connection:
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
    def _connection(self) -> Iterator[_Connection]:
        """A connection that no other thread uses meanwhile."""
        if self._closed:
            raise ClosedError("memory")
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
                    self._close_idle()

    @contextmanager
    def _transaction(self) -> Iterator[_Writer]:
        """A write transaction: all that is done in it is committed at its end, or nothing."""
        if self.read_only:
            if self._closed:
                raise ClosedError("memory")
            raise ReadOnlyMemoryError(self.where)
        # Threads of one process take turns here, which is fairer than SQLite's waiting.
        with self._writing, self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                writer = _Writer(connection, self.where)
                yield writer
                writer.finish()
                connection.execute("COMMIT")
                self._writes += 1
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _close_idle(self) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return

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
            raise EmbedderMismatchError(self.where, f"one of {bound.dim} dimensions, not {given.embedder_id!r} of {given.dim}")

    def _rekeyed(self, experience: Experience) -> Experience:
        if experience.text is None:
            return experience
        id = experience_id(self.secret, experience.namespace, experience.task, experience.text)
        return replace(experience, id=id, signature=keyed_digest(self.secret, signature(experience.text)))


class _Writer:
    """One write transaction."""

    def __init__(self, connection: _Connection, where: str) -> None:
        self._run = connection.run
        self._where = where
        self._seq: int = _meta(connection, "seq")
        self._bound = _header(connection)
        self._grown: set[str] = set()

    def finish(self) -> None:
        self._run("UPDATE meta SET value = ? WHERE key = 'seq'", [self._seq])

    def bind(self, header: Header) -> Header:
        """Bind an unbound memory to `header`; return what it is bound to."""
        if not self._bound.embedder_id and self._bound.dim in (0, header.dim):
            self._run("UPDATE meta SET value = ? WHERE key = 'embedder_id'", [header.embedder_id])
            self._set_dim(header.dim)
            self._bound = header
        return self._bound

    def experience(self, experience: Experience) -> None:
        """Insert or update; one that is new brings its tallies."""
        blob, seq = self._blob(experience.embedding), self._next(experience.id)
        known = self._run("SELECT namespace FROM experiences WHERE id = ?", [experience.id]).fetchone()
        if known is None:
            trials = sum(tally.ok + tally.bad for tally in experience.tallies)
            self._run(
                f"INSERT INTO experiences ({_EXPERIENCE}, trials, keep_until, seq, touched, embedding) "
                "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?7 + min(?9, 2) * 2592000.0, ?10, ?10, ?11)",
                [experience.id, experience.namespace, experience.task, experience.text, experience.signature,
                 experience.created_at, experience.updated_at, experience.source, trials, seq, blob],
            )  # fmt: skip
            for tally in experience.tallies:
                self._tally(experience.id, tally)
            self._grown.add(experience.namespace)
        else:
            self._run(
                "UPDATE experiences SET text = ?2, signature = ?3, updated_at = ?4, source = ?5, "
                "keep_until = max(keep_until, ?4 + min(trials, 2) * 2592000.0), seq = ?6, touched = ?6, embedding = ?7 "
                "WHERE id = ?1",
                [experience.id, experience.text, experience.signature, experience.updated_at, experience.source, seq, blob],
            )

    def guide(self, guide: Guide, *, pinned: bool = False) -> None:
        """Insert or update; one that is new brings its counts."""
        blob, seq = self._blob(guide.embedding), self._next(guide.id)
        self._run(
            f"INSERT INTO guides ({_GUIDE}, pinned, seq, touched) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET text = excluded.text, author = excluded.author, origin = excluded.origin, "
            "state = CASE WHEN pinned THEN state ELSE excluded.state END, embedding = excluded.embedding, "
            "seq = excluded.seq, touched = excluded.touched",
            [guide.id, guide.namespace, guide.task, guide.text, guide.author, guide.origin, guide.state, guide.helpful,
             guide.harmful, guide.created_at, blob, pinned, seq, seq],
        )  # fmt: skip

    def trial(self, trial: Trial) -> None:
        guide = None
        if trial.guide_id is not None:
            counts = "SELECT state, helpful, harmful, pinned FROM guides WHERE id = ?"
            guide = self._run(counts, [trial.guide_id]).fetchone()
            if guide is None:
                return
        self._seq += 1
        known = self._run(
            "UPDATE experiences SET trials = trials + 1, touched = ?3, "
            "keep_until = max(updated_at, ?2) + min(trials + 1, 2) * 2592000.0 WHERE id = ?1",
            [trial.experience_id, trial.at, self._seq],
        ).rowcount
        if not known:
            return
        ok = int(trial.ok)
        tally = Tally(trial.guide_id, trial.weak_id, trial.strong_id, ok, 1 - ok, trial.ok, trial.at)
        self._tally(trial.experience_id, tally)
        if guide is not None:
            state, helpful, harmful, pinned = guide[0], guide[1] + ok, guide[2] + 1 - ok, guide[3]
            after = state if pinned else next_state(state, helpful, harmful)
            self._run(
                "UPDATE guides SET helpful = ?2, harmful = ?3, seq = CASE WHEN state = ?4 THEN seq ELSE ?5 END, "
                "state = ?4, touched = ?5 WHERE id = ?1",
                [trial.guide_id, helpful, harmful, after, self._seq],
            )

    def pin(self, id: str, state: GuideState) -> bool:
        self._seq += 1
        pinned = "UPDATE guides SET state = ?, pinned = 1, seq = ?, touched = ? WHERE id = ?"
        return self._run(pinned, [state, self._seq, self._seq, id]).rowcount > 0

    def step(self, step: PolicyStep) -> None:
        known = self._run("SELECT threshold, audits, errors FROM policy WHERE namespace = ?", [step.namespace]).fetchone()
        threshold, audits, errors = known or (None, 0, 0)
        moved = min(step.high, max(step.low, (step.start if threshold is None else threshold) + step.delta))
        self.policy(step.namespace, PolicyState(moved, audits + step.audit, errors + step.error))

    def policy(self, namespace: str, state: PolicyState) -> None:
        values = [namespace, state.threshold, state.audits, state.errors]
        self._run("INSERT OR REPLACE INTO policy (namespace, threshold, audits, errors) VALUES (?, ?, ?, ?)", values)

    def spend(self, day: int, spend: Spend, *, anew: bool = False) -> None:
        key = [day, spend.namespace, spend.purpose, spend.role, spend.model_id]
        if anew:
            self._run("DELETE FROM spending WHERE day=? AND namespace=? AND purpose=? AND role=? AND model_id=?", key)
        self._run(
            "INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "calls = calls + excluded.calls, input_tokens = input_tokens + excluded.input_tokens, "
            "output_tokens = output_tokens + excluded.output_tokens, usd = usd + excluded.usd, "
            "unpriced = unpriced + excluded.unpriced",
            [*key, spend.calls, spend.input_tokens, spend.output_tokens, spend.usd, spend.unpriced],
        )

    def decision(self, record: DecisionRecord) -> None:
        self._run(
            f"INSERT OR REPLACE INTO decisions ({_DECISION}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [record.id, record.namespace, record.at, record.experience_id, record.guide_id, record.model,
             json.dumps(dict(record.facts), default=str)],
        )  # fmt: skip

    def put(self, item: Item) -> None:
        """Replace what has the id of `item` with it, counts and all."""
        if isinstance(item, Experience):
            self._run("DELETE FROM experiences WHERE id = ?", [item.id])
            self.experience(item)
        elif isinstance(item, KeptGuide):
            self._run("DELETE FROM guides WHERE id = ?", [item.guide.id])
            self.guide(item.guide, pinned=item.pinned)
        elif isinstance(item, KeptPolicy):
            self.policy(item.namespace, item.state)
        elif isinstance(item, DaySpend):
            self.spend(item.day, item.spend, anew=True)
        else:
            self.decision(item)

    def forget(self, ids: Iterable[str]) -> int:
        """Delete experiences and guides; return how many there were."""
        gone = 0
        for id in ids:
            found = [self._run(f"DELETE FROM {table} WHERE id = ?", [id]).rowcount for table in ("experiences", "guides")]
            if any(found):
                gone += sum(found)
                self._run("INSERT INTO deletions VALUES (?, ?)", [self._next(id), id])
        return gone

    def forget_namespace(self, namespace: str) -> int:
        both = "SELECT id FROM experiences WHERE namespace = ?1 UNION ALL SELECT id FROM guides WHERE namespace = ?1"
        gone = self.forget([id for (id,) in self._run(both, [namespace]).fetchall()])
        for table in ("policy", "spending", "decisions", "counters"):
            self._run(f"DELETE FROM {table} WHERE namespace = ?", [namespace])
        return gone

    def tidy(self, cap: int) -> None:
        """Evict what is over the bounds, some more than needed so that it is not due at every write."""
        for namespace in self._grown:
            count = self._run("SELECT experiences FROM counters WHERE namespace = ?", [namespace]).fetchone()[0]
            if count > cap:
                least = "SELECT id FROM experiences WHERE namespace = ? ORDER BY keep_until, id LIMIT ?"
                ids = [id for (id,) in self._run(least, [namespace, count - cap + min(cap // 100, 256)]).fetchall()]
                self.forget(ids)
                self._run("UPDATE counters SET evicted = evicted + ? WHERE namespace = ?", [len(ids), namespace])
        self._run("DELETE FROM deletions WHERE seq < ?", [self._seq - _KEPT_DELETIONS])
        self._run("DELETE FROM decisions WHERE n <= (SELECT max(n) FROM decisions) - ?", [_KEPT_DECISIONS])

    def _next(self, id: str) -> int:
        """The next sequence number, for a change of `id`, which is no more deleted by it."""
        self._seq += 1
        self._run("DELETE FROM deletions WHERE id = ?", [id])
        return self._seq

    def _tally(self, experience_id: str, tally: Tally) -> None:
        self._run(
            "INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET ok = ok + excluded.ok, "
            "bad = bad + excluded.bad, last_ok = CASE WHEN excluded.at >= at THEN excluded.last_ok ELSE last_ok END, "
            "at = max(at, excluded.at)",
            [experience_id, tally.guide_id or "", tally.weak_id, tally.strong_id, tally.ok, tally.bad, tally.last_ok, tally.at],
        )

    def _blob(self, embedding: Vector) -> bytes:
        vector = np.asarray(embedding, "<f4")
        if not self._bound.dim and vector.ndim == 1 and len(vector):
            self._set_dim(len(vector))
            self._bound = Header(self._bound.embedder_id, len(vector))
        if vector.shape != (self._bound.dim,):
            raise DimensionError(self._where, f"they have {self._bound.dim} numbers, the one to store has {vector.shape}")
        return vector.tobytes()

    def _set_dim(self, dim: int) -> None:
        self._run("UPDATE meta SET value = ? WHERE key = 'dim'", [dim])


class _Cache:
    """Records as searches return them. An entry goes when its record is touched, by whatever process."""

    def __init__(self) -> None:
        self._experiences: dict[str, Experience] = {}
        self._guides: dict[str, Guide] = {}
        self._policies: dict[str, PolicyState] = {}
        self._seen = -1
        self._age = 0  # moves at each `follow`, so that what was read before is not stored after
        self._lock = threading.Lock()

    def follow(self, connection: _Connection) -> None:
        with self._lock:
            last: int = _meta(connection, "seq")
            touched = connection.run(
                "SELECT id FROM experiences WHERE touched > ?1 UNION ALL SELECT id FROM guides WHERE touched > ?1 "
                "UNION ALL SELECT id FROM deletions WHERE seq > ?1 LIMIT ?2",
                [self._seen, _CACHED],
            ).fetchall() if 0 <= self._seen <= last and last - self._seen < _CACHED else None  # fmt: skip
            for id in [id for (id,) in touched] if touched is not None else [*self._experiences, *self._guides]:
                self._experiences.pop(id, None)
                self._guides.pop(id, None)
            self._policies.clear()
            self._seen = last
            self._age += 1

    def experiences(self, connection: _Connection, ids: list[str]) -> dict[str, Experience]:
        known, age = self._experiences, self._age
        found = {id: experience for id in ids if (experience := known.get(id)) is not None}
        if len(found) == len(ids):
            return found
        missing = [id for id in ids if id not in found]
        tallies = _tallies(connection, missing)
        for row in _by_id(connection, f"SELECT {_EXPERIENCE} FROM experiences WHERE id", missing):
            experience = _experience((*row, None), tallies.get(row[0], ()))
            found[experience.id] = experience
            if experience.text is None or len(experience.text) <= _CACHED_TEXT:
                self._keep(known, experience.id, experience, age)
        return found

    def guides(self, connection: _Connection, ids: list[str]) -> dict[str, Guide]:
        known, age = self._guides, self._age
        found = {id: guide for id in ids if (guide := known.get(id)) is not None}
        missing = [id for id in ids if id not in found]
        for row in _by_id(connection, f"SELECT {_GUIDE} FROM guides WHERE id", missing):
            found[row[0]] = guide = _guide(row)
            self._keep(known, row[0], guide, age)
        return found

    def policy(self, connection: _Connection, namespace: str) -> PolicyState:
        state, age = self._policies.get(namespace), self._age
        if state is None:
            values = "SELECT threshold, audits, errors FROM policy WHERE namespace = ?"
            state = PolicyState(*(connection.run(values, [namespace]).fetchone() or ()))
            self._keep(self._policies, namespace, state, age)
        return state

    def _keep(self, records: dict[str, Any], key: str, record: object, age: int) -> None:
        with self._lock:
            if age == self._age:
                if len(records) >= _CACHED:
                    del records[next(iter(records))]
                records[key] = record


# ── rows and values ──


def _experience(row: Sequence[Any], tallies: tuple[Tally, ...] = ()) -> Experience:
    id, namespace, task, text, digest, created_at, updated_at, source, blob = row
    embedding = _NO_VECTOR if blob is None else np.frombuffer(blob, "<f4")
    return Experience(id, namespace, task, text, digest, embedding, tallies, created_at, updated_at, source)


def _guide(row: Sequence[Any]) -> Guide:
    id, namespace, task, text, author, origin, state, helpful, harmful, created_at, blob = row
    embedding = np.frombuffer(blob, "<f4")
    return Guide(id, namespace, task, text, embedding, author, origin, state, helpful, harmful, created_at)


def _decision(row: Sequence[Any]) -> DecisionRecord:
    id, namespace, at, origin, guide_id, model, facts = row
    return DecisionRecord(id, namespace, at, origin, guide_id, model, json.loads(facts))


def _tallies(connection: _Connection, ids: list[str]) -> dict[str, tuple[Tally, ...]]:
    tallies: dict[str, tuple[Tally, ...]] = {}
    rows = _by_id(connection, f"SELECT experience_id, {_TALLY} FROM tallies WHERE experience_id", ids)
    for owner, guide_id, weak_id, strong_id, ok, bad, last_ok, at in rows:
        tally = Tally(guide_id or None, weak_id, strong_id, ok, bad, bool(last_ok), at)
        tallies[owner] = (*tallies.get(owner, ()), tally)
    return tallies


def _by_id(connection: _Connection, select: str, ids: list[str]) -> list[Any]:
    rows: list[Any] = []
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        rows += connection.run(f"{select} IN ({', '.join('?' * len(some))})", some).fetchall()
    return rows


def _scope(namespace: str | None, *more: Any) -> tuple[str, list[Any]]:
    """A WHERE clause for a namespace, or for all, and a further condition with its value."""
    conditions = ["namespace = ?"] if namespace is not None else []
    values = [namespace] if namespace is not None else []
    if more:
        conditions.append(more[0])
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", [*values, *more[1:]]


def _renamed(item: KeptGuide | DecisionRecord, ids: Mapping[str, str]) -> KeptGuide | DecisionRecord:
    if isinstance(item, DecisionRecord):
        return replace(item, experience_id=ids.get(item.experience_id, item.experience_id))
    return replace(item, guide=replace(item.guide, origin=ids.get(item.guide.origin, item.guide.origin)))


def _sane(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# ── SQLite ──

_NAMED: tuple[tuple[tuple[str, ...], type[MemoryStoreError]], ...] = (
    (("malformed", "not a database", "no such table", "no such column"), CorruptMemoryError),
    (("readonly",), ReadOnlyMemoryError),
    (("is full",), MemoryFullError),
)


def _connect(uri: str) -> _Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=_Connection)
    try:
        for pragma in _CONNECTION:
            connection.execute(pragma)
        connection.execute("PRAGMA schema_version").fetchone()  # opens the file, which the above need not
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _use_wal(connection: _Connection) -> None:
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


@contextmanager
def _snapshot(connection: _Connection) -> Iterator[None]:
    """All reads in it see the memory at one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _meta(connection: _Connection, key: str) -> Any:
    return connection.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()[0]


def _header(connection: _Connection) -> Header:
    return Header(_meta(connection, "embedder_id"), _meta(connection, "dim"))


def _nothing() -> None:
    pass


def _remove_folder(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
