"""The PostgreSQL memory that is searched in the database: the contract, and what belongs to pgvector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

from rar import open_memory
from rar.cli.commands import app
from rar.errors import ConfigurationError, MissingExtensionError, ReadOnlyMemoryError, UnreadableAddressError
from rar.memory import Memory, SQLiteMemory, postgres_search
from rar.memory.base import Batch
from rar.memory.postgres import PostgresMemory
from rar.memory.recalling import Query
from tests.contract.memory import (
    DIM,
    EAST,
    NORTH,
    MemoryContract,
    between,
    experience,
    found,
    found_guides,
    guide,
)
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> PostgresServer:
    postgres.run("CREATE EXTENSION IF NOT EXISTS vector")
    return postgres


class TestPostgresMemorySearchedInTheDatabase(MemoryContract):
    @pytest.fixture
    def fresh(self, server: PostgresServer) -> Callable[[], Memory]:
        return lambda: PostgresMemory(server.fresh(), index="pgvector")


class TestThroughTheGraph(MemoryContract):
    """The same where nothing is compared one by one."""

    @pytest.fixture
    def fresh(self, server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Memory]:
        monkeypatch.setattr(postgres_search, "EXACT_UP_TO", -1)
        return lambda: PostgresMemory(f"{server.fresh()}&index=pgvector")


@pytest.fixture
def url(server: PostgresServer) -> str:
    return f"{server.fresh()}&index=pgvector"


@pytest.fixture
def memory(url: str) -> Iterator[PostgresMemory]:
    with PostgresMemory(url) as memory:
        memory.bind("test-1", DIM)
        yield memory


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_search, "EXACT_UP_TO", -1)


def without(url: str) -> str:
    """The same memory, searched in a process."""
    return url.replace("&index=pgvector", "")


def around(many: int, **fields: Any) -> tuple[Any, ...]:
    chance = np.random.default_rng(0)
    vectors = EAST + 0.5 * chance.normal(size=(many, DIM)).astype(np.float32)
    return tuple(experience(f"{n:04}", vector, **fields) for n, vector in enumerate(vectors))


class TestSearching:
    def test_no_log_is_followed_and_what_others_write_is_found_at_once(
        self, memory: PostgresMemory, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(PostgresMemory, "changes", None)
        with PostgresMemory(url) as other:
            other.write(Batch((experience("a"),), (guide("g", state="active"),)))
            assert (found(memory), found_guides(memory)) == (["a"], ["g"])
            other.delete(ids=["a", "g"])
            assert (found(memory), found_guides(memory)) == ([], [])

    def test_a_decision_asks_once(self, memory: PostgresMemory, monkeypatch: pytest.MonkeyPatch) -> None:
        memory.write(Batch((experience("a"), experience("b", NORTH)), (guide("g", state="active"),)))
        query = Query("default", "answer", "a", EAST, models=("weak-1",))
        first = memory.recall(query)
        asked: list[Any] = []
        ask = memory.ask
        monkeypatch.setattr(memory, "ask", lambda body: asked.append(body) or ask(body))

        assert memory.recall(query) == first
        assert len(asked) == 1
        assert first.same is not None and first.same.id == "a"
        assert [match.experience.id for match in first.matches] == ["b"]
        assert [match.guide.id for match in first.guides] == ["g"]

    @pytest.mark.parametrize("exact", [True, False], ids=["one by one", "graph"])
    def test_it_finds_what_a_file_finds(
        self, memory: PostgresMemory, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, exact: bool
    ) -> None:
        if not exact:
            monkeypatch.setattr(memory._vectors, "_exact_up_to", -1)
        with SQLiteMemory(tmp_path / "rar.db") as file:
            for one in (memory, file):
                one.write(Batch(around(300)))
            for angle in (0.0, 0.3, 0.9):
                mine, its = (
                    one.search(between(EAST, NORTH, angle), namespace="default", task="answer")
                    for one in (memory, file)
                )
                assert [match.experience.id for match in mine] == [match.experience.id for match in its]
                assert [match.similarity for match in mine] == pytest.approx([match.similarity for match in its])

    def test_too_few_from_the_graph_are_mended(self, url: str, graph: None) -> None:
        with PostgresMemory(f"{url}&options=-chnsw.max_scan_tuples%3D1%20-chnsw.scan_mem_multiplier%3D1") as memory:
            memory.bind("test-1", DIM)
            memory.write(Batch(around(300, namespace="crowd")))
            memory.write(Batch((experience("a", -EAST), experience("b", NORTH))))

            assert found(memory) == ["b", "a"]
            assert memory._vectors is not None and memory._vectors.mended == 1

    def test_ties_are_followed_beyond_what_was_asked_for(self, graph: None, memory: PostgresMemory) -> None:
        memory.write(Batch(tuple(experience(f"{n:03}") for n in range(99, -1, -1))))

        assert found(memory, limit=3) == ["000", "001", "002"]

    def test_a_kind_that_grew_is_no_longer_compared_one_by_one(
        self, memory: PostgresMemory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_search, "EXACT_UP_TO", 10)
        vectors = memory._vectors
        assert vectors is not None
        vectors.prepare(DIM)
        key = ("default", "answer", "")
        for many, large in ((5, False), (50, True)):
            memory.write(Batch(around(many)))
            assert len(found(memory)) == min(many, 16)
            assert vectors._large[key] is large

    def test_nothing_is_left_of_a_namespace_that_was_deleted(
        self, server: PostgresServer, memory: PostgresMemory, url: str
    ) -> None:
        memory.write(Batch((experience("a"),), (guide("g"),)))
        memory.write(Batch((experience("b", namespace="other"),)))
        memory.delete(namespace="default")

        schema = memory.address.schema
        assert server.run(
            f"SELECT id FROM {schema}.experience_vectors UNION SELECT id FROM {schema}.guide_vectors"
        ) == [("b",)]

    @pytest.mark.parametrize("index", ["faiss", "pgvector"])
    def test_statements_may_stay_prepared(self, url: str, index: str) -> None:
        with PostgresMemory(f"{url}&prepare=1", index=index, connections=1) as memory:
            memory.bind("test-1", DIM)
            for n in range(8):
                memory.write(Batch((experience(f"{n}"),)))
                assert len(found(memory)) == n + 1
            (count,) = memory.one("SELECT count(*) FROM pg_prepared_statements", [])
            assert count > 0


class TestMaking:
    def test_what_was_there_before_is_found_and_every_process_writes_on(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_search, "_FILLED_EACH", 7)
        with PostgresMemory(without(url)) as old:
            old.bind("test-1", DIM)
            old.write(Batch((*around(20), experience("near")), (guide("g", state="active"),)))
            with PostgresMemory(url) as memory:
                assert found(memory, limit=1) == ["near"]
                assert found_guides(memory) == ["g"]
                old.write(Batch((experience("new", -EAST), experience("near", NORTH))))
                assert found(memory, -EAST, limit=1) == ["new"]
                assert found(memory, NORTH, limit=1) == ["near"]
                old.set_guide_state("g", "retired")
                assert found_guides(memory) == []

    def test_a_graph_that_was_not_finished_is_made_anew(
        self, server: PostgresServer, memory: PostgresMemory, url: str
    ) -> None:
        name = f"'{memory.address.schema}.experience_vectors_near'::regclass"
        server.run(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = {name}")

        with PostgresMemory(url) as other:
            assert other._vectors is not None and other._vectors._graphs
        assert server.run(f"SELECT indisvalid FROM pg_index WHERE indexrelid = {name}") == [(True,)]

    def test_without_the_extension_it_is_said_what_to_do(self, server: PostgresServer) -> None:
        server.run("CREATE DATABASE bare")
        with pytest.raises(MissingExtensionError, match="CREATE EXTENSION vector"):
            open_memory(f"{server.url('bare')}?index=pgvector")
        with closing(open_memory(server.url("bare"))) as memory:
            memory.write(Batch((experience("a"),)))

    def test_a_role_that_may_only_use_it_waits_for_its_owner(self, server: PostgresServer) -> None:
        server.run(
            "CREATE DATABASE shared",
            "CREATE ROLE keeper LOGIN",
            "CREATE ROLE user_ LOGIN",
        )
        owner, user = (f"{server.url('shared', name)}?index=pgvector" for name in ("keeper", "user_"))
        server.run(
            "CREATE EXTENSION vector SCHEMA public",
            "CREATE SCHEMA rar AUTHORIZATION keeper",
            "GRANT USAGE ON SCHEMA rar TO user_",
            "ALTER DEFAULT PRIVILEGES FOR ROLE keeper IN SCHEMA rar "
            "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO user_",
            url=server.url("shared"),
        )
        upgrade = ["memory", "upgrade", owner.partition("?")[0], "--create"]
        assert CliRunner().invoke(app, upgrade).exit_code == 0
        for options in ({}, {"upgrade": False}, {"read_only": True}):
            with pytest.raises(ReadOnlyMemoryError, match="rar memory upgrade MEMORY --index pgvector"):
                PostgresMemory(user, **options)

        assert CliRunner().invoke(app, [*upgrade, "--index", "pgvector"]).exit_code == 0
        with PostgresMemory(user) as memory:
            memory.bind("test-1", DIM)
            memory.write(Batch((experience("a"),)))
            assert found(memory) == ["a"]

        assert CliRunner().invoke(app, [*upgrade, "--index", "faiss"]).exit_code == 0
        with PostgresMemory(user.partition("?")[0]) as memory:
            memory.write(Batch((experience("b"),)))
            assert found(memory) == ["a", "b"]
        with pytest.raises(ReadOnlyMemoryError):
            PostgresMemory(user)

    def test_what_cannot_be_is_refused(self, server: PostgresServer, url: str, tmp_path: Any) -> None:
        with pytest.raises(UnreadableAddressError, match="`index` must be one of"):
            open_memory(url.replace("pgvector", "annoy"))
        with pytest.raises(UnreadableAddressError, match="`prepare` must be"):
            open_memory(f"{url}&prepare=maybe")
        with pytest.raises(ConfigurationError, match="annoy"):
            PostgresMemory(url, index="annoy")  # type: ignore[arg-type]
        with PostgresMemory(url) as memory, pytest.raises(ConfigurationError, match="4000 numbers"):
            memory.bind("large", 5_000)
        done = CliRunner().invoke(app, ["memory", "upgrade", str(tmp_path / "rar.db"), "--index", "pgvector"])
        assert done.exit_code != 0 and "PostgreSQL" in done.output
