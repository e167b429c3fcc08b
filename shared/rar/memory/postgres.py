"""A memory in PostgreSQL, which the processes of many machines share.

Searching goes through this process's FAISS index and its cache of records, as for a file. Both follow the memory's log:
when this process writes, and when another one says that it did. So a decision asks the server for nothing but records
that are not in the cache.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np

from rar.errors import ClosedError, ConfigurationError, DimensionError, MemoryStoreError, ReadOnlyMemoryError
from rar.memory.base import Batch, CachedAnswer, Changes, PolicyState
from rar.memory.cache import Cache
from rar.memory.columns import CACHED, sane
from rar.memory.exchange import Header
from rar.memory.forgetting import Forget, Gone
from rar.memory.index import FaissIndex, Key, nearest
from rar.memory.loading import check_embedder, items_of
from rar.memory.postgres_address import address_from
from rar.memory.postgres_connections import Connection
from rar.memory.postgres_files import files_at, place_of
from rar.memory.postgres_lessons import PostgresLessons
from rar.memory.postgres_listening import POLL, Listener
from rar.memory.postgres_rows import Reads, header_of, mark_index, meta, touched
from rar.memory.postgres_schema import bring_up_to_date, hash_key
from rar.memory.postgres_search import Searched, vectors_of
from rar.memory.postgres_tenants import tenant_of
from rar.memory.postgres_writer import Writer
from rar.memory.recalling import Query, Recalled, put_together
from rar.memory.secrets import given
from rar.memory.transitions import DAY
from rar.memory.writing import write
from rar.naming import shown
from rar.options import named_arguments
from rar.values import Experience, GuideMatch, GuideState, Match, Vector

_LOG = logging.getLogger("rar")
_Found = TypeVar("_Found")

_LATE = 4 * POLL  # seconds after which a listener that did not look is not relied on
_READ_AT_ONCE = 500  # records that are read ahead
_AT_ONCE = 10_000  # touched records beyond which the cache is emptied


@named_arguments
class PostgresMemory(PostgresLessons):
    """A memory in a PostgreSQL database, version 14 or newer, which any number of processes and machines may share.

    Args:
        address: `postgresql://user:password@host/database`. All options of libpq pass through, as `?sslmode=`, and
            `?schema=` says in which schema the memory is, `rar` if it does not.
        cap: Most experiences that a namespace keeps.
        read_only: Never write, not even an upgrade of the schema. Also so on a replica.
        secret: Keeps the key of the memory's hashes elsewhere than in the database; None for RAR_SECRET, if any.
        create: Make the schema where there is none.
        upgrade: Bring an older schema up to date; else `rar memory upgrade` does it.
        connections: That are open at once, beside one that listens.
        read_ahead: Newest records of which this process keeps all but the embedding, so that decisions need not ask the
            server for them: about a kilobyte each, 128 MB at most.
        folder: Where this machine keeps its index of the memory; None for the user's cache folder.
        index: `"faiss"` searches in an index of this process, `"pgvector"` in the database. None: what the address
            says by `?index=`, `"faiss"` if nothing.
        tenant_role: Work as this tenant, which the address's role must be allowed to become. As `?tenant_role=`.
        clock: Seconds since the epoch; dates the spending.

    Raises:
        UnreadableAddressError, UnreachableMemoryError: There is no such server, or it does not let this role in.
        MissingMemoryError, NotAMemoryError, NewerMemoryError: There is no memory that can be used.
        ReadOnlyMemoryError: It needs an upgrade, which must not be made.
        MissingExtensionError: It is to be searched with pgvector, which the database does not have.
    """

    def __init__(
        self,
        address: str,
        *,
        cap: int = 100_000,
        read_only: bool = False,
        secret: str | bytes | None = None,
        create: bool = True,
        upgrade: bool = True,
        connections: int = 8,
        read_ahead: int = 100_000,
        folder: str | os.PathLike[str] | None = None,
        index: Literal["faiss", "pgvector"] | None = None,
        tenant_role: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name, value in (("cap", cap), ("connections", connections)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name}={shown(value)} is too few. Pass a whole number of at least 1.")
        self.cap, self._clock, self._read_ahead = cap, clock, read_ahead
        self._forgetting: list[weakref.WeakMethod[Forget]] = []
        self._given_folder, self._dim, self._epoch = folder, 0, 0
        self._options = {"create": create and not read_only, "may_write": upgrade and not read_only}
        self._secret = given(secret)
        super().__init__(address_from(address, tenant_role), connections)
        self._vectors = vectors_of(self, index)
        try:
            self._find(read_only)
        except BaseException:
            self._end()
            raise

    def _find(self, read_only: bool) -> None:
        self.read_only = bring_up_to_date(self, **self._options) or read_only
        if self.read_only and not read_only:
            _LOG.warning("%s", ReadOnlyMemoryError(self.where, "it is opened for reading only"))
        found = self.ask(lambda connection: meta(connection, "identity", "dim", "epoch"))
        self.channel = f"rar_{found['identity']}"
        self.tenant = tenant_of(self)
        self.secret = hash_key(self, self._secret, may_write=not self.read_only, tenant=self.tenant is not None)
        self._dim, self._epoch = int(found["dim"]), int(found["epoch"])
        path, self._place = place_of(found["identity"], self.address.user, self._given_folder)
        self._files = files_at(path, self) if self._vectors is None else None
        if self._vectors is not None:
            self._vectors.prepare(self._dim, may_make=self._options["may_write"] and not self.read_only)
        self._follow_anew()

    def _follow_anew(self) -> None:
        self._index = self._vectors or FaissIndex(self._news, self._files, self.newest_epoch)
        self._cache = Cache(4)
        self._ahead: deque[str] | None = None  # ids of what is yet to be read; None: nobody has looked
        self._low = 0
        self._line = ""  # the timeline of the server that was followed
        self._anew = self._outdated = False
        self._looked = float("-inf")
        self._stale = True  # whether this process wrote what it did not follow yet
        self._looking, self._starting = threading.Lock(), threading.Lock()
        self._listener: Listener | None = None

    def _after_fork(self) -> None:
        super()._after_fork()
        self._follow_anew()

    def __repr__(self) -> str:
        return f"PostgresMemory({self.where!r}{', read_only=True' if self.read_only else ''})"

    def __enter__(self) -> PostgresMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── writing ──

    def _write(self, body: Callable[[Writer], _Found]) -> _Found:
        """What `body` did in one transaction, which this process has followed when this returns."""
        if self._closed:
            raise ClosedError("memory")
        if self.read_only:
            raise ReadOnlyMemoryError(self.where)

        def transaction(connection: Connection) -> tuple[_Found, bool]:
            writer = Writer(connection, self.where, self.secret, self.tenant)
            found = body(writer)
            writer.finish()
            return found, writer.told

        found, told = self.transact(transaction)
        if told:
            self._stale = True
            with suppress(MemoryStoreError):  # what is committed is committed: whoever reads next looks
                self.look()
        return found

    def bind(self, embedder_id: str, dim: int) -> None:
        given = Header(embedder_id, dim)
        bound = self.ask(header_of)
        if not bound.embedder_id and not self.read_only:

            def binding(writer: Writer) -> Header:
                writer.lock(None)
                return writer.bind(given)

            bound = self._write(binding)
        check_embedder(self.where, bound, given)
        self._dim = dim
        if self._vectors is not None:
            self._vectors.prepare(dim)

    def write(self, batch: Batch) -> None:
        day = int(self._clock() // DAY)
        if batch or self._closed or self.read_only:
            self._write(lambda writer: self._written(writer, batch, day))

    def _written(self, writer: Writer, batch: Batch, day: int) -> None:
        left = writer.begin(batch, day)
        if batch.effect and not writer.effect(sane(batch.effect)):
            return
        if left.deferred:
            left = self.queue.defer(writer.connection, left)
        write(writer, left, day=day, cap=self.cap)

    def set_guide_state(self, id: str, state: GuideState, *, anyway: bool = False) -> None:
        known = self.guide(id)

        def pinning(writer: Writer) -> bool:
            writer.lock([known.namespace] if known else [])
            return writer.pin(sane(id), state, anyway=anyway)

        if not self._write(pinning):
            raise LookupError(f"No guide {id!r} is known.")

    def delete(self, *, ids: Sequence[str] = (), namespace: str | None = None) -> int:
        def erasing(writer: Writer) -> int:
            writer.lock(None)
            return writer.erase(map(sane, ids), None if namespace is None else sane(namespace))

        gone = self._write(erasing)
        self._index.forget()
        self._outdated = False
        return gone

    def drop_answers(self, namespace: str | None = None) -> int:
        def dropping(writer: Writer) -> int:
            writer.lock(None)
            return writer.drop_answers(None if namespace is None else sane(namespace))

        return self._write(dropping)

    def watch(self, forget: Forget) -> None:
        self._forgetting.append(weakref.WeakMethod(forget))

    @property
    def epoch(self) -> int:
        return self._epoch

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        """As the protocol says; other writers wait meanwhile, for ten seconds at most."""
        return self._write(partial(self._put, records=iter(records), key=None))

    def restore(self, records: Iterable[Mapping[str, Any]], key: bytes) -> int:
        """As that of `SQLiteMemory`."""
        count = self._write(partial(self._put, records=iter(records), key=key))
        self.secret = key
        return count

    def _put(self, writer: Writer, *, records: Iterator[Mapping[str, Any]], key: bytes | None) -> int:
        def bind(header: Header) -> None:
            check_embedder(self.where, writer.bind(header), header)

        writer.lock(None)
        if key not in (None, self.secret):
            writer.take_key(key, self._secret)
        count = 0
        items = items_of(records, self.where, self.secret if key is None else None, bind)
        for count, item in enumerate(items, 1):  # noqa: B007 - it is counted
            writer.put(item, as_it_is=key is not None)
        writer.tidy(self.cap)
        return count

    # ── reading ──

    def search(self, embedding: Vector, *, namespace: str, task: str, limit: int = 16) -> list[Match]:
        self._catch_up()
        return self._matches(self._index, self._checked(embedding), (sane(namespace), sane(task), ""), limit)

    def search_guides(
        self,
        embedding: Vector,
        *,
        namespace: str,
        task: str,
        limit: int = 3,
        states: Sequence[GuideState] = ("active",),
    ) -> list[GuideMatch]:
        keys = [(sane(namespace), sane(task), state) for state in set(states)]
        self._catch_up()
        return self._near_guides(self._index, self._checked(embedding), keys, limit)

    def recall(self, query: Query) -> Recalled:
        """As the protocol says. The server is asked for nothing that this process knows."""
        namespace, task = sane(query.namespace), sane(query.task)
        own, active = (namespace, task, ""), (namespace, task, "active")
        self._catch_up()
        index: Searched = self._index
        if self._vectors is not None:
            vector = None if query.embedding is None else self._checked(query.embedding)
            index = self._vectors.ahead(vector, {own: query.limit, active: query.guides}, sane(query.id), own)
        same = self._same(index, sane(query.id), own) if query.id else None
        matches: list[Match] = []
        near: list[GuideMatch] = []
        if query.embedding is not None:
            vector = self._checked(query.embedding)
            matches = self._matches(index, vector, own, query.limit)
            near = self._near_guides(index, vector, [active], query.guides)
        states = {model: self._cache.policy(self._reads, namespace, sane(model)) for model in ("", *query.models)}
        return put_together(
            query, same, matches, near, states=states,
            guides=lambda ids: self._cache.guides(self._reads, list(map(sane, ids))).values(),
        )  # fmt: skip

    async def arecall(self, query: Query) -> Recalled:
        return await asyncio.to_thread(self.recall, query)

    def settle(self) -> None:
        """Wait until no graph is being built and nothing read ahead; searches are slower till then."""
        self._index.wait()
        while self._listener is not None and self._listener.alive and (self._ahead is None or self._ahead):
            time.sleep(0.01)

    def experience(self, id: str) -> Experience | None:
        self._catch_up()
        return self._cache.experience(self._reads, sane(id))

    def policy_state(self, namespace: str, model: str = "") -> PolicyState:
        self._catch_up()
        return self._cache.policy(self._reads, sane(namespace), sane(model))

    def cached_answer(self, namespace: str, key: str) -> CachedAnswer | None:
        self._catch_up()  # what was deleted elsewhere is told to those who hold it
        row = self.one(f"SELECT {CACHED.columns} FROM @cached WHERE namespace = ? AND key = ?", [namespace, key])
        return row and CACHED.value(row)

    def cached_near(self, namespace: str, kind: str, experience_ids: Sequence[str]) -> list[CachedAnswer]:
        self._catch_up()
        near = f"SELECT {CACHED.columns} FROM @cached WHERE experience_id = ANY(?) AND namespace = ? AND kind = ?"
        return [CACHED.value(row) for row in self.all(near, [list(experience_ids), namespace, kind])]

    def close(self) -> None:
        """Close all connections. Calls in other threads end first; closing again does nothing."""
        self._closed = True
        if self._listener is not None:
            self._listener.stop()
        self._index.close()
        self._end()

    # ── the index and the cache ──

    @property
    def _reads(self) -> Reads:
        return Reads(self.ask)

    def _same(self, index: Searched, id: str, key: Key) -> Experience | None:
        """A request itself, of which the index knows whether it is remembered."""
        return self._cache.experience(self._reads, id) if index.holds(id, key) else None

    def _matches(self, index: Searched, query: Vector, key: Key, limit: int) -> list[Match]:
        found = index.search(query, key, limit)
        known = self._cache.experiences(self._reads, [id for _, id in found])
        return [Match(known[id], similarity) for similarity, id in found if id in known]

    def _near_guides(self, index: Searched, query: Vector, keys: Sequence[Key], limit: int) -> list[GuideMatch]:
        found = nearest((hit for key in keys for hit in index.search(query, key, limit)), limit)
        known = self._cache.guides(self._reads, [id for _, id in found])
        return [GuideMatch(known[id], similarity) for similarity, id in found if id in known]

    def _checked(self, embedding: Vector) -> Vector:
        query = np.asarray(embedding, np.float32)
        self._dim = self._dim or self.ask(header_of).dim
        if query.shape != (self._dim,) and (self._dim or query.ndim != 1):
            raise DimensionError(self.where, f"they have {self._dim} numbers, the one to search for has {query.shape}")
        return query

    def _news(self, since: int, *, began: int = 0) -> Changes:
        if self._anew:
            self._anew = False
            return Changes(0, more=True, reset=True)
        return self.changes(since, began=began)

    def _catch_up(self) -> None:
        """Have all been followed that this process wrote, and what others did until about now."""
        if self._closed:
            raise ClosedError("memory")
        if self._listener is None or not self._listener.alive:
            with self._starting:
                if (self._listener is None or not self._listener.alive) and not self._closed:
                    self._listener = Listener(self)
        if self._stale or time.monotonic() - self._looked > _LATE:
            self.look()

    def look(self, connection: Connection | None = None) -> None:
        """Follow the log, and drop from the cache what is not as it was."""
        with self._looking:
            self._stale = False
            try:
                asked = partial(touched, low=self._low, most=_AT_ONCE)
                self._follow(self.ask(asked) if connection is None else asked(connection))
            except BaseException:
                self._stale = True
                raise
            self._looked = time.monotonic()
        if connection is not None and self._outdated:
            self._outdated = False
            self._index.forget()

    def _follow(self, rows: list[Any]) -> None:
        ids = [id for kind, id, _ in rows if kind in ("", "log")]
        (line,) = [id for kind, id, _ in rows if kind == "line"]
        if self._line not in ("", line):  # another server took over, which may lack what the last one told
            self._low, self._anew, self._ahead = 0, True, None
        self._line = line
        ((now, epoch),) = [(int(id), int(value)) for kind, id, value in rows if kind == "now"]
        if not self._low or any(kind == "log" for kind, _, _ in rows):
            self._index.follow()
        if not self._low or len(rows) > 2:
            few = bool(self._low) and len(ids) < _AT_ONCE
            self._cache.drop(ids if few else None)
            if self._ahead is not None:
                self._ahead.extend(ids if few else ())
        self._low = now
        if epoch > self._epoch:
            self._notice_deletions(epoch)

    def read_ahead(self) -> bool:
        """Read some records that decisions may ask for; whether there are more."""
        ahead = self._ahead
        if ahead is None:
            newest = "SELECT id FROM @experiences ORDER BY touched DESC LIMIT ?"
            self._ahead = ahead = deque(id for (id,) in self.all(newest, [self._read_ahead]))
        some = [ahead.popleft() for _ in range(min(_READ_AT_ONCE, len(ahead)))]
        if some and self._read_ahead and not self._cache.full:
            self._cache.experiences(self._reads, some)
        return bool(ahead)

    def _notice_deletions(self, epoch: int) -> None:
        known, self._epoch = self._epoch, epoch
        self._outdated = True  # the files of this machine's index hold what was deleted
        keys = self.all("SELECT key FROM @forgotten WHERE epoch > ?", [known])
        gone = Gone(self.secret, frozenset(key for (key,) in keys))
        for forget in [alive() for alive in list(self._forgetting)]:
            if forget is not None:
                forget(gone)

    def index_token(self) -> str | None:
        """What the files of this machine's index must be marked with."""
        row = self.one("SELECT token FROM @indexes WHERE place = ?", [self._place])
        return None if row is None else str(row[0])

    def set_index_token(self, token: str, epoch: int) -> bool:
        """Mark the files of this machine's index, unless something was deleted since `epoch`."""
        return self.transact(lambda connection: mark_index(connection, self._place, token, epoch, self._clock()))
