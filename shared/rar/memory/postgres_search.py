"""Searching in the database: a read model that no process holds.

A kind of which there are few records is compared one by one, a larger one goes through pgvector's graph. What the graph
gives is put in order by the embeddings themselves, so that similarities are those of the other read model.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any, Final, Protocol

import numpy as np

from rar.errors import ConfigurationError, MissingExtensionError, ReadOnlyMemoryError
from rar.memory.index_files import Key
from rar.memory.postgres_address import INDEXES
from rar.memory.postgres_connections import Connection, PostgresServer
from rar.memory.postgres_rows import meta
from rar.memory.postgres_store import Store
from rar.memory.postgres_tenants import grant_all
from rar.memory.postgres_vectors import MARK, READY, in_extension, texts_of
from rar.memory.rows import nearest, unit, unit_query
from rar.naming import shown
from rar.values import Vector

_LOG = logging.getLogger("rar")

_OLDEST = (0, 8)  # of pgvector: the first that goes on searching until it has found enough
MOST_NUMBERS: Final = 4_000  # of an embedding, in a graph of pgvector's
LINKS, BUILD, SEARCH = 16, 64, 80
# Measured with 384 dimensions: to compare 1,000 takes 1 ms. The graph takes 3 ms for a kind that is all there is, 9 ms
# for one in 10 and 70 ms for one in 100, since it walks past the others. So a part of the whole is compared up to here.
EXACT_UP_TO, BALANCE = 2_000, 500
_MORE = 8  # that are asked for beside those wanted, for half precision orders them almost
_TIES = 64  # a tie is followed over this many times the limit
_FILLED_EACH = 1_000  # records in a transaction
_MOST = 1_000  # that the graph is asked for
_KNOWN = 10_000  # kinds of which it is remembered whether they are large
_MAKING = 600.0  # seconds for which another process's building is waited for
_LOOK_AGAIN = 60.0  # seconds after which it is looked whether somebody has made a graph

_EXPERIENCES: Final = (
    "CREATE TABLE IF NOT EXISTS @experience_vectors (id ctext PRIMARY KEY REFERENCES @experiences ON DELETE CASCADE, "
    "namespace ctext NOT NULL, task ctext NOT NULL, vector {halfvec} NOT NULL)"
)
_GUIDES: Final = (
    "CREATE TABLE IF NOT EXISTS @guide_vectors (id ctext PRIMARY KEY REFERENCES @guides ON DELETE CASCADE, "
    "namespace ctext NOT NULL, task ctext NOT NULL, state text NOT NULL, vector {halfvec} NOT NULL)"
)
_BY_KIND: Final = "CREATE INDEX IF NOT EXISTS {kind}_vectors_by_kind ON @{kind}_vectors ({columns})"
_KINDS: Final = (("experience", "namespace, task"), ("guide", "namespace, task, state"))
_FILL = (
    "INSERT INTO @{kind}_vectors (id, {columns}, vector) SELECT one.id, {columns}, given.vector::{halfvec} "
    "FROM unnest(?::text[], ?::text[]) AS given (id, vector) JOIN @{kind}s AS one ON one.id = given.id "
    "FOR KEY SHARE OF one ON CONFLICT DO NOTHING"
)
_GRAPH = (
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS {kind}_vectors_near ON @{kind}_vectors USING hnsw "
    "((vector::{halfvec}({dim})) {schema}.halfvec_ip_ops) WITH (m = {links}, ef_construction = {build})"
)
_IS_THERE = (
    "SELECT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = there), false), there IS NOT NULL, "
    "EXISTS (SELECT FROM pg_stat_progress_create_index WHERE index_relid = there) "
    "FROM (SELECT to_regclass(quote_ident(?) || '.' || ?) AS there) AS found"
)
_ROWS = (
    "SELECT coalesce(max(reltuples), 0) FROM pg_class WHERE oid = to_regclass(quote_ident(?) || '.experience_vectors')"
)
_NEAR = (
    "SELECT id, embedding, 0 FROM (SELECT id FROM @{kind}_vectors WHERE {where} "
    "ORDER BY vector::{halfvec}({dim}) OPERATOR({schema}.<#>) ?::{halfvec}({dim}) LIMIT ?) AS near "
    "JOIN @{kind}s USING (id)"
)
_ALL = (
    "WITH part AS MATERIALIZED (SELECT id, vector OPERATOR({schema}.<#>) ?::{halfvec} AS far "
    "FROM @{kind}_vectors WHERE {where}) "
    "SELECT id, embedding, (SELECT count(*) FROM part) FROM (SELECT id FROM part ORDER BY far, id LIMIT ?) AS near "
    "JOIN @{kind}s USING (id)"
)
_SETTINGS = (
    "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', ?, true), "
    "set_config('enable_sort', 'off', true)"  # the graph, whatever old statistics say
)

Hits = list[tuple[float, str]]


class Searched(Protocol):
    """What finds neighbours."""

    def search(self, embedding: Vector, key: Key, limit: int) -> Hits:
        """The `limit` nearest as `(similarity, id)`, nearest first, ties by id."""
        ...

    def holds(self, id: str, key: Key) -> bool:
        """Whether an id is among what is searched under `key`."""
        ...


class VectorIndex:
    """Finds ids by cosine in the database, as `FaissIndex` does in this process. It is never behind."""

    def __init__(self, server: PostgresServer) -> None:
        self._server, self._may_make = server, False
        self._schema, self._dim = "", 0
        self._graphs = False
        self._looked = 0.0
        self._exact_up_to = EXACT_UP_TO
        self._large: dict[Key, bool] = {}
        self.mended = 0  # searches of which the graph gave too little

    # --- making it --------------------------------------------------------------------------------------------------

    def prepare(self, dim: int, *, may_make: bool | None = None) -> None:
        """Have everything there that searches need.

        Args:
            dim: Of the embeddings; 0: nobody knows yet.
            may_make: Whether tables and graphs that are missing may be made; None: as was said before.

        Raises:
            MissingExtensionError: The database has no pgvector that is new enough.
            ReadOnlyMemoryError: Something is missing, and must not be made.
        """
        if dim > MOST_NUMBERS:
            raise ConfigurationError(
                f'index="pgvector" takes embeddings of up to {MOST_NUMBERS} numbers, these have {dim}. Leave it out.'
            )
        self._dim = dim
        self._may_make = self._may_make if may_make is None else may_make
        if not self._schema:
            self._schema = self._server.ask(self._found)
            known = self._server.ask(lambda connection: meta(connection, MARK, READY))
            if known != {MARK: self._schema, READY: "1"}:
                self._make()
        (rows,) = self._server.ask(lambda connection: connection.run(_ROWS, [connection.schema]).fetchone() or (0,))
        self._exact_up_to = EXACT_UP_TO + isqrt(BALANCE * max(int(rows), 0))
        if dim and not self._graphs:
            self._graphs = all(self._has_graph(kind) for kind, _ in _KINDS)
            self._looked = time.monotonic()

    def _found(self, connection: Connection) -> str:
        row = connection.run(
            "SELECT nspname, extversion FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace "
            "WHERE extname = 'vector'"
        ).fetchone()
        where = self._server.where
        if row is None:
            raise MissingExtensionError(where, "the extension `vector` is not in this database")
        schema, version = row
        if tuple(map(int, version.split(".")[:2])) < _OLDEST:
            raise MissingExtensionError(where, f"its pgvector is {version}, and 0.8 is needed")
        if set(schema) & set('"%?@{}'):
            raise MissingExtensionError(where, f"pgvector is in a schema of a strange name, {schema!r}")
        return str(schema)

    def _make(self) -> None:
        server = self._server
        if not self._may_make:
            raise self._refused()
        try:
            server.transact(self._begin)
        except ReadOnlyMemoryError:
            raise self._refused() from None
        rows = sum(self._fill(kind, columns) for kind, columns in _KINDS)
        if rows:
            _LOG.info("%s: %d embeddings were written for pgvector.", server.where, rows)
        if self._dim:
            self._graphs = all(self._has_graph(kind) for kind, _ in _KINDS)
        server.transact(
            lambda connection: connection.run(
                "INSERT INTO @meta VALUES (?, '1') ON CONFLICT (key) DO UPDATE SET value = '1'", [READY]
            )
        )

    def _refused(self) -> ReadOnlyMemoryError:
        return ReadOnlyMemoryError(
            self._server.where,
            "it has no index of pgvector's yet, and this process may not make one: whoever owns the schema must run "
            "`rar memory upgrade MEMORY --index pgvector`",
        )

    def _begin(self, connection: Connection) -> None:
        """Make the tables, from whose commit on every writer fills them."""
        Store(connection, self._server.where, b"").lock(None)  # whoever began before does not know of them
        by_kind = [_BY_KIND.format(kind=kind, columns=columns) for kind, columns in _KINDS]
        for statement in (*(in_extension(table, self._schema) for table in (_EXPERIENCES, _GUIDES)), *by_kind):
            connection.run(statement.replace("ctext", 'text COLLATE "C"'))
        connection.run(
            "INSERT INTO @meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [MARK, self._schema],
        )
        grant_all(connection)

    def _fill(self, kind: str, columns: str) -> int:
        """Store the embeddings of records that were there before; how many."""
        last, count = "", 0
        while True:

            def some(connection: Connection, after: str = last) -> list[str]:
                rows = connection.run(
                    f"SELECT id, embedding FROM @{kind}s WHERE id > ? ORDER BY id LIMIT ?", [after, _FILLED_EACH],
                    binary=True,
                ).fetchall()  # fmt: skip
                ids = [id for id, _ in rows]
                if ids:
                    texts = texts_of([np.frombuffer(blob, "<f4") for _, blob in rows])
                    connection.run(in_extension(_FILL, self._schema, kind=kind, columns=columns), [ids, texts])
                return ids

            ids = self._server.transact(some)
            if not ids:
                return count
            last, count = ids[-1], count + len(ids)

    def _has_graph(self, kind: str) -> bool:
        """Whether there is a graph, which is made if it may be."""
        name, until = f"{kind}_vectors_near", time.monotonic() + _MAKING
        while True:
            valid, there, making = self._server.ask(
                lambda connection: connection.run(_IS_THERE, [connection.schema, name]).fetchone() or (False,) * 3
            )
            if valid:
                return True
            if not self._may_make or time.monotonic() > until:
                break
            if making:
                time.sleep(0.2)
            else:
                self._build(kind, name, anew=there)
        _LOG.warning(
            "%s has no graph of its embeddings, so that searches take long. Whoever owns the schema should run "
            "`rar memory upgrade MEMORY --index pgvector`.",
            self._server.where,
        )
        return False

    def _build(self, kind: str, name: str, *, anew: bool) -> None:
        def build(connection: Connection) -> None:
            if anew:  # somebody was stopped while making it
                connection.run(f'DROP INDEX CONCURRENTLY IF EXISTS @"{name}"')
            connection.run(in_extension(_GRAPH, self._schema, kind=kind, dim=self._dim, links=LINKS, build=BUILD))

        try:
            self._server.ask(build)
        except ReadOnlyMemoryError:
            self._may_make = False

    # --- searching --------------------------------------------------------------------------------------------------

    def search(self, embedding: Vector, key: Key, limit: int) -> Hits:
        return self.ahead(embedding, {key: limit}).search(embedding, key, limit)

    def holds(self, id: str, key: Key) -> bool:
        return self.ahead(None, {}, id, key).holds(id, key)

    def ahead(
        self, embedding: Vector | None, limits: Mapping[Key, int], id: str = "", home: Key = ("", "", "")
    ) -> Ahead:
        """All that a decision asks, in one round trip: the nearest of some kinds, and whether `home` holds `id`."""
        limits = {key: limit for key, limit in limits.items() if limit > 0} if embedding is not None else {}
        query = unit_query(np.asarray(embedding, np.float32))[0] if embedding is not None else np.empty(0, np.float32)
        text = texts_of([query])[0] if limits else ""
        self._learn_sizes(limits)
        wants = {key: (limit + _MORE, self._is_near(key, limit)) for key, limit in limits.items()}

        def ask(connection: Connection) -> tuple[dict[Key, list[Any]], bool]:
            with connection.snapshot():
                if any(near for _, near in wants.values()):
                    connection.run(_SETTINGS, [str(SEARCH)])
                asked = {key: self._ask(connection, text, key, *want) for key, want in wants.items()}
                held = connection.run(
                    "SELECT FROM @experiences WHERE id = ? AND namespace = ? AND task = ?", [id, *home[:2]]
                ) if id else None  # fmt: skip
            return {key: rows.fetchall() for key, rows in asked.items()}, held is not None and bool(held.fetchall())

        found, held = self._server.ask(ask) if wants or id else ({}, False)
        hits = {key: self._hits(query, text, key, limits[key], wants[key], rows) for key, rows in found.items()}
        return Ahead(hits, held)

    def _ask(self, connection: Connection, text: str, key: Key, take: int, near: bool) -> Any:
        kind, where, values = _which(key)
        sql = in_extension(_NEAR if near else _ALL, self._schema, kind=kind, where=where, dim=self._dim)
        return connection.run(sql, [*values, text, take] if near else [text, *values, take], binary=True)

    def _hits(self, query: Vector, text: str, key: Key, limit: int, want: tuple[int, bool], rows: list[Any]) -> Hits:
        """The nearest of what the database gave; it is asked again where that cannot be all."""
        take, near = want
        while True:
            hits = _in_order(query, rows)
            if not near:
                self._remember(key, rows[0][2] if rows else 0)
                return hits[:limit]
            if len(hits) < limit:  # the graph gave up among records of other kinds
                self.mended += 1
                if self.mended == 1:
                    _LOG.info("%s: pgvector's graph found too little, so all was compared.", self._server.where)
                near = False
            elif len(rows) < take or hits[limit - 1][0] > hits[-1][0] or take >= _TIES * limit:
                return hits[:limit]
            take = 4 * take if near else limit + _MORE
            rows = self._once_more(text, key, take, near)

    def _once_more(self, text: str, key: Key, take: int, near: bool) -> list[Any]:
        def ask(connection: Connection) -> list[Any]:
            with connection.snapshot():
                if near:
                    connection.run(_SETTINGS, [str(SEARCH)])
                asked = self._ask(connection, text, key, take, near)
            rows: list[Any] = asked.fetchall()
            return rows

        return self._server.ask(ask)

    def _is_near(self, key: Key, limit: int) -> bool:
        return self._graphs and self._large.get(key, False) and limit <= _MOST

    def _learn_sizes(self, keys: Mapping[Key, int]) -> None:
        """Which kinds are too large to be compared one by one: asked once of each, then told by searches."""
        if not self._graphs and any(map(self._large.get, keys)) and time.monotonic() > self._looked + _LOOK_AGAIN:
            self.prepare(self._dim)
        unknown = [key for key in keys if key not in self._large]

        def ask(connection: Connection) -> list[int]:
            with connection.snapshot():
                asked = [
                    connection.run(
                        f"SELECT count(*) FROM (SELECT FROM @{kind}_vectors WHERE {where} LIMIT ?) AS part",
                        [*values, self._exact_up_to + 1],
                    )
                    for kind, where, values in map(_which, unknown)
                ]
            return [int((rows.fetchone() or (0,))[0]) for rows in asked]

        for key, many in zip(unknown, self._server.ask(ask) if unknown else (), strict=True):
            self._remember(key, many)

    def _remember(self, key: Key, many: int) -> None:
        if len(self._large) >= _KNOWN:
            self._large.clear()
        self._large[key] = many > self._exact_up_to

    # --- what only an index of this process has to do ---------------------------------------------------------------

    def follow(self) -> None:
        """Nothing: the database is searched as it is."""

    def wait(self) -> None:
        """Nothing is built in the background."""

    def close(self) -> None:
        """Nothing is held."""

    def forget(self) -> None:
        """What was deleted is not found any more, and no file holds it."""


class Ahead:
    """What the database said of a request."""

    def __init__(self, hits: Mapping[Key, Hits], held: bool) -> None:
        self._hits, self._held = hits, held

    def search(self, embedding: Vector, key: Key, limit: int) -> Hits:
        return self._hits.get(key, [])[:limit]

    def holds(self, id: str, key: Key) -> bool:
        return self._held


def vectors_of(server: PostgresServer, index: str | None) -> VectorIndex | None:
    """What searches in the database, if `index` or else the address says so."""
    if index not in (None, *INDEXES):
        raise ConfigurationError(f"index={shown(index)} is none. Pass one of {', '.join(INDEXES)}.")
    return VectorIndex(server) if (index or server.address.index) == "pgvector" else None


def remove(server: PostgresServer) -> None:
    """Drop the tables. Nobody writes to them from then on; whoever searches in them must be started anew."""

    def dropping(connection: Connection) -> None:
        Store(connection, server.where, b"").lock(None)
        connection.run("DELETE FROM @meta WHERE key IN (?, ?)", [MARK, READY])
        for kind, _ in _KINDS:
            connection.run(f"DROP TABLE IF EXISTS @{kind}_vectors")

    server.transact(dropping)


def _which(key: Key) -> tuple[str, str, list[str]]:
    """The kind of records, and how those of `key` are selected."""
    namespace, task, state = key
    if state:
        return "guide", "namespace = ? AND task = ? AND state = ?", [namespace, task, state]
    return "experience", "namespace = ? AND task = ?", [namespace, task]


def _in_order(query: Vector, rows: Sequence[Any]) -> Hits:
    if not rows:
        return []
    vectors = unit(np.stack([np.frombuffer(blob, "<f4") for _, blob, _ in rows]))
    # float32 can tell no more digits apart, and may reach beyond a cosine's bounds.
    cosines = (vectors @ query).astype(np.float64).round(6).clip(-1.0, 1.0).tolist()
    return nearest(zip(cosines, (row[0] for row in rows), strict=True), len(rows))
