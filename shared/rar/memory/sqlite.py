"""The default memory: one SQLite file, shared by threads and processes.

The file is in WAL mode, so that readers never wait. A connection is used by one thread at a time and never crosses a
fork. Searching goes through this process's FAISS index and its cache of records without embeddings; both follow the
sequence number `seq` that every change is stamped with. A record's `seq` moves when it is upserted, its `touched` also
when only its counts moved.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rar.errors import (
    ConfigurationError,
    DimensionError,
)
from rar.memory.base import Batch, Changes, DecisionRecord, Label, MemoryStats, PolicyState, Spend
from rar.memory.cache import Cache
from rar.memory.columns import (
    A_GUIDE,
    DECISION,
    LABEL,
    SPEND,
    WHOLE,
    sane,
    to_experience,
    to_guide,
)
from rar.memory.exchange import Header
from rar.memory.forgetting import Forget, Gone
from rar.memory.index import FaissIndex, Key, nearest
from rar.memory.index_files import IndexFiles
from rar.memory.loading import check_embedder, items_of
from rar.memory.recalling import Query, Recalled, put_together
from rar.memory.sqlite_export import records_of
from rar.memory.sqlite_file import SCRUB
from rar.memory.sqlite_rows import Connection, Reads, header_of, marks, meta, scope, snapshot, tallies_of
from rar.memory.sqlite_shared import SQLiteShared
from rar.memory.sqlite_writer import KEPT_DELETIONS, Writer
from rar.memory.transitions import DAY, summed
from rar.memory.writing import write
from rar.naming import shown
from rar.options import named_arguments
from rar.values import Experience, Guide, GuideMatch, GuideState, Match, Vector


@named_arguments
class SQLiteMemory(SQLiteShared):
    """A memory in one file, which any number of threads and processes may use at once.

    One writes at a time and the others wait; readers never wait. A file or folder that cannot be written is opened for
    reading only. Over `cap` the experiences that were used longest ago go first. One that was tried counts as used 30
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
        self.cap = cap
        self._clock = clock
        self._forgetting: list[weakref.WeakMethod[Forget]] = []
        self._bound = Header("", 0)
        super().__init__(path, read_only=read_only, secret=secret)

    @classmethod
    def of_temporary_file(cls, path: Path, *, where: str, **options: Any) -> SQLiteMemory:
        """A memory under another name, to be read only, whose folder is removed when it is closed."""
        memory = cls(path, **options)
        memory.where, memory.read_only = where, True
        memory._remove_with(path.parent)
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
        check_embedder(self.where, bound, Header(embedder_id, dim))
        self._bound = Header(embedder_id, dim)

    def write(self, batch: Batch) -> None:
        with self._transaction() as writer:
            if not batch.effect or writer.effect(sane(batch.effect)):
                write(writer, writer.left(batch), day=int(self._clock() // DAY), cap=self.cap)
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
        with self._transaction() as writer:
            return self._put(writer, records, self.secret)

    def restore(self, records: Iterable[Mapping[str, Any]], key: bytes) -> int:
        """Add an export of the memory whose key is `key`, as it is: ids, guides and counts stay what they are there.

        An empty memory, which nobody else has opened, takes that key.

        Raises:
            SecretError: This memory is not empty, and has another key.
        """
        with self._transaction() as writer:
            if key != self.secret:
                writer.take_key(key, self._secret)
            self.secret = key
            return self._put(writer, records, None)

    def _put(self, writer: Writer, records: Iterable[Mapping[str, Any]], secret: bytes | None) -> int:
        count = 0

        def bind(header: Header) -> None:
            check_embedder(self.where, writer.bind(header), header)

        for count, item in enumerate(items_of(records, self.where, secret, bind), 1):  # noqa: B007 - it is counted
            writer.put(item, as_it_is=secret is None)
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
            same = self._cache.experience(Reads(connection), sane(query.id)) if query.id else None
            matches: list[Match] = []
            near: list[GuideMatch] = []
            if query.embedding is not None:
                vector = self._checked(connection, query.embedding)
                matches = self._matches(connection, vector, (namespace, task, ""), query.limit)
                near = self._near_guides(connection, vector, [(namespace, task, "active")], query.guides)
            states = {model: self._cache.policy(Reads(connection), namespace, model) for model in ("", *query.models)}
            return put_together(
                query, same, matches, near, states=states,
                guides=lambda ids: self._cache.guides(Reads(connection), list(map(sane, ids))).values(),
            )  # fmt: skip

    async def arecall(self, query: Query) -> Recalled:
        return await asyncio.to_thread(self.recall, query)

    def settle(self) -> None:
        """Wait until no graph is being built in the background; searches are exact, and slower, till then."""
        self._index.wait()

    def experience(self, id: str) -> Experience | None:
        with self._connection() as connection:
            self._catch_up(connection)
            return self._cache.experience(Reads(connection), sane(id))

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
            return self._cache.policy(Reads(connection), namespace, model)

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

    def labels(self, namespace: str | None = None) -> list[Label]:
        where, values = scope(namespace)
        with self._connection() as connection:
            rows = connection.run(f"SELECT {LABEL.columns} FROM labels {where} ORDER BY at, n", values).fetchall()
        return [LABEL.value(row) for row in rows]

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
                        "UNION SELECT namespace FROM decisions UNION SELECT namespace FROM labels "
                        "UNION SELECT namespace FROM judged UNION SELECT namespace FROM cached ORDER BY namespace"
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
        with self._connection() as connection, snapshot(connection):
            yield from records_of(connection, namespace)

    def close(self) -> None:
        """Close the file. Calls in other threads end first; closing again does nothing."""
        self._closed = True
        self._index.close()
        self._end()

    # ── the index and the cache ──

    def _matches(self, connection: Connection, query: Vector, key: Key, limit: int) -> list[Match]:
        found = self._index.search(query, key, limit)
        known = self._cache.experiences(Reads(connection), [id for _, id in found])
        return [Match(known[id], similarity) for similarity, id in found if id in known]

    def _near_guides(self, connection: Connection, query: Vector, keys: Sequence[Key], limit: int) -> list[GuideMatch]:
        found = nearest((hit for key in keys for hit in self._index.search(query, key, limit)), limit)
        known = self._cache.guides(Reads(connection), [id for _, id in found])
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
            self._cache.follow(Reads(connection).touched, seq)
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

    def _start(self) -> None:
        super()._start()
        files = None if self.where == ":memory:" else IndexFiles(Path(self._path), self)
        self._index = FaissIndex(self.changes, files, self._newest_epoch)
        self._cache = Cache()

    def _leave(self) -> None:
        self._index.close()

    def _go_on(self) -> None:
        if self._bound.embedder_id:
            self.bind(self._bound.embedder_id, self._bound.dim)
