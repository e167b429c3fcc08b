"""The PostgreSQL memory: the contract, and what belongs to a server."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

from rar import FunctionModel, Router, open_memory
from rar.cli.commands import app
from rar.errors import (
    ConfigurationError,
    EmbedderMismatchError,
    MemoryStoreError,
    MissingMemoryError,
    NewerMemoryError,
    NotAMemoryError,
    ReadOnlyMemoryError,
    SecretError,
    UnreachableMemoryError,
    UnreadableAddressError,
)
from rar.memory import Memory, SQLiteMemory, postgres_schema, postgres_store, postgres_writer
from rar.memory.base import Batch, PolicyStep
from rar.memory.following import Follower
from rar.memory.postgres import PostgresMemory
from rar.memory.postgres_address import address_from
from rar.memory.postgres_connections import Connection
from rar.memory.postgres_connections import PostgresServer as RawServer
from rar.values import question
from tests.contract.memory import (
    DIM,
    EAST,
    NORTH,
    MemoryContract,
    decision,
    experience,
    found,
    guide,
    judged,
    label,
    spend,
    trial,
)
from tests.core.world import serve
from tests.docs.blocks import ROOT, blocks
from tests.postgres_server import PostgresServer
from tests.waiting import within

pytestmark = pytest.mark.usefixtures("own_cache")


class TestPostgresMemory(MemoryContract):
    @pytest.fixture
    def fresh(self, postgres: PostgresServer) -> Callable[[], Memory]:
        return lambda: PostgresMemory(postgres.fresh())


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.fresh()


@pytest.fixture
def memory(url: str) -> Iterator[PostgresMemory]:
    with PostgresMemory(url) as memory:
        memory.bind("test-1", DIM)
        yield memory


def schema_of(url: str) -> str:
    return url.partition("schema=")[2]


class TestAddress:
    def test_it_is_opened_like_a_path(self, url: str) -> None:
        with closing(open_memory(url)) as memory, closing(open_memory(url, create=False, read_only=True)) as reader:
            memory.write(Batch((experience("a"),)))
            assert found(reader) == ["a"]
            with pytest.raises(ReadOnlyMemoryError):
                reader.write(Batch((experience("b"),)))

    def test_nothing_of_it_is_told_but_where_the_memory_is(self, postgres: PostgresServer) -> None:
        url = postgres.fresh().replace("postgres@", "postgres:hunter2@").replace("?", "?application_name=mine&")
        with PostgresMemory(url) as memory:
            assert memory.where == f"postgresql://127.0.0.1:{postgres.port}/postgres?schema={schema_of(url)}"
            for told in (repr(memory), str(memory.address), memory.where):
                assert "hunter2" not in told and "postgres:" not in told and "mine" not in told

    @pytest.mark.parametrize(
        "wrong",
        [
            "postgresql://me:hun%ter2@h/db",
            "postgresql://me:hunter2@h/db?nonsense=1",
            "postgresql://me:hunter2@h/db?schema=",
        ],
    )
    def test_one_that_cannot_be_read_is_not_quoted(self, wrong: str) -> None:
        with pytest.raises(UnreadableAddressError) as caught:
            open_memory(wrong)

        assert "hun" not in f"{caught.value}{caught.value!r}{caught.value.__cause__}"

    @pytest.mark.parametrize("options", [{"cap": 0}, {"connections": 0}, {"connections": True}])
    def test_options_that_keep_nothing_are_refused(self, url: str, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            PostgresMemory(url, **options)

    def test_a_server_that_is_not_there_is_named(self) -> None:
        with pytest.raises(UnreachableMemoryError, match=r"127\.0\.0\.1:1/db.*cannot be reached") as caught:
            PostgresMemory("postgresql://me:hunter2@127.0.0.1:1/db?connect_timeout=1")

        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        ("database", "user", "said"), [("nowhere", "postgres", "nowhere"), ("postgres", "nobody", "nobody")]
    )
    def test_a_wrong_database_or_role_is_named(
        self, postgres: PostgresServer, database: str, user: str, said: str
    ) -> None:
        with pytest.raises(UnreachableMemoryError, match=said):
            PostgresMemory(postgres.url(database, user))

    def test_a_wrong_password_is_named_and_not_told(self, postgres: PostgresServer) -> None:
        postgres.run("CREATE ROLE locked LOGIN PASSWORD 'right'")
        with pytest.raises(UnreachableMemoryError, match="password authentication failed") as caught:
            PostgresMemory(postgres.url(user="locked:hunter2"))

        assert "hunter2" not in str(caught.value)


@contextmanager
def closing_server(url: str) -> Iterator[RawServer]:
    """A connection to a memory that is not opened."""
    server = RawServer(address_from(url), 2)
    try:
        yield server
    finally:
        server._end()


class TestSchema:
    def test_tables_of_another_program_are_left_alone(self, postgres: PostgresServer, url: str) -> None:
        schema = schema_of(url)
        for made in ("meta (key text, value text)", "something (id int)"):
            postgres.run(f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.{made}")
            with pytest.raises(NotAMemoryError, match=schema):
                PostgresMemory(url)
            postgres.run(f"DROP SCHEMA {schema} CASCADE")

    def test_none_is_made_where_one_must_exist(self, postgres: PostgresServer, url: str) -> None:
        for options in ({"create": False}, {"read_only": True}):
            with pytest.raises(MissingMemoryError):
                open_memory(url, **options)

        assert postgres.run(f"SELECT to_regnamespace('{schema_of(url)}')") == [(None,)]

    def test_many_that_open_an_empty_database_make_one_memory(self, url: str) -> None:
        with ExitStack() as stack, ThreadPoolExecutor(6) as pool:
            made = list(pool.map(lambda _: stack.enter_context(PostgresMemory(url)), range(6)))
            assert len({memory.secret for memory in made}) == 1

    def test_a_newer_one_is_refused_unless_it_says_that_older_packages_can_use_it(
        self, postgres: PostgresServer, memory: PostgresMemory, url: str
    ) -> None:
        meta = f"{schema_of(url)}.meta"
        postgres.run(f"UPDATE {meta} SET value = '99' WHERE key = 'schema'")
        with PostgresMemory(url) as other:
            other.write(Batch((experience("a"),)))

        postgres.run(f"UPDATE {meta} SET value = '99' WHERE key = 'oldest'")
        with pytest.raises(NewerMemoryError, match="99"):
            PostgresMemory(url)

    def test_an_older_one_is_not_touched_by_who_must_not(
        self, postgres: PostgresServer, memory: PostgresMemory, url: str
    ) -> None:
        postgres.run(f"UPDATE {schema_of(url)}.meta SET value = '0' WHERE key = 'schema'")

        for options in ({"upgrade": False}, {"read_only": True}):
            with pytest.raises(ReadOnlyMemoryError, match="rar memory upgrade"):
                PostgresMemory(url, **options)

    def test_one_of_the_second_schema_is_brought_up_to_date(
        self, postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(postgres_schema, "MIGRATIONS", postgres_schema.MIGRATIONS[:2])
            with closing_server(url) as server:
                postgres_schema.bring_up_to_date(server, create=True, may_write=True)
        postgres.run(
            f"INSERT INTO {schema_of(url)}.spending "
            "VALUES (1, 'default', 'serve', 'weak', 'small', 2, 9, 3, 1.0, 0, 0, 4)"
        )

        with PostgresMemory(url) as memory:
            memory.bind("test-1", DIM)
            (before,) = memory.spending()
            memory.write(Batch(spending=(replace(before, prefix_tokens=5),)))
            assert (before.calls, before.cached_tokens, before.prefix_tokens) == (2, 4, 0)
            assert [one.prefix_tokens for one in memory.spending()] == [5]

    def test_another_embedder_is_refused(self, memory: PostgresMemory, url: str) -> None:
        with PostgresMemory(url) as other, pytest.raises(EmbedderMismatchError, match=r"test-1.*test-2"):
            other.bind("test-2", DIM)

    def test_its_key_may_be_kept_elsewhere(self, postgres: PostgresServer, url: str) -> None:
        with PostgresMemory(url) as memory:
            key = memory.secret
        with PostgresMemory(url, secret="far away") as memory:
            assert memory.secret == key
        with PostgresMemory(url, secret="far away") as memory:
            assert memory.secret == key

        assert postgres.run(f"SELECT value FROM {schema_of(url)}.meta WHERE key = 'secret'") == [("",)]
        for secret in (None, "wrong"):
            with pytest.raises(SecretError):
                PostgresMemory(url, secret=secret)

    def test_one_that_comes_from_another_server_begins_its_log_anew(
        self, postgres: PostgresServer, memory: PostgresMemory, url: str
    ) -> None:
        memory.write(Batch((experience("a"), experience("b", NORTH)), (guide("g", state="active"),)))
        memory.delete(ids=["b"])
        schema = schema_of(url)
        postgres.run(
            *(
                f"UPDATE {schema}.{table} SET xid = xid + 1000000000"
                for table in ("experiences", "guides", "deletions")
            ),
            f"UPDATE {schema}.meta SET value = 'another' WHERE key = 'server'",
        )
        with pytest.raises(ReadOnlyMemoryError, match="restored"):
            PostgresMemory(url, read_only=True)

        with PostgresMemory(url) as restored:
            assert found(restored) == ["a"]
            restored.write(Batch((experience("c", NORTH),)))
            assert found(restored) == ["a", "c"]
            assert memory.changes(memory.changes().cursor).deleted == ()


def block(language: str) -> str:
    """What docs/postgres.md says in that language."""
    (found_,) = [one.code for one in blocks(ROOT / "docs" / "postgres.md") if one.language == language]
    return found_


class TestRoles:
    def test_the_roles_of_the_page_are_enough(self, postgres: PostgresServer, tmp_path: Any) -> None:
        postgres.run("CREATE DATABASE page")
        postgres.run(*filter(str.strip, block("sql").split(";")), url=postgres.url("page"))
        owner, app_ = (postgres.url("page", user) for user in ("rar_owner", "rar_app"))
        with pytest.raises(ReadOnlyMemoryError):
            PostgresMemory(app_)

        done = CliRunner().invoke(app, ["memory", "upgrade", owner, "--create"])

        assert (done.exit_code, done.output) == (0, f"postgresql://127.0.0.1:{postgres.port}/page is up to date.\n")
        with PostgresMemory(app_) as memory:
            TestPostgresMemory.fill(memory, "default")
            assert found(memory) == ["default-a", "default-b"]
            assert memory.delete(namespace="default") == 3
            with pytest.raises(ReadOnlyMemoryError, match="must be owner"):
                memory.ask(lambda connection: connection.raw.execute("DROP TABLE rar.meta"))

    def test_a_role_that_may_only_read_reads(self, postgres: PostgresServer, memory: PostgresMemory, url: str) -> None:
        schema = schema_of(url)
        memory.write(Batch((experience("a"),)))
        postgres.run(
            "CREATE ROLE reader LOGIN",
            f"GRANT USAGE ON SCHEMA {schema} TO reader",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader",
        )
        with PostgresMemory(url.replace("postgres@", "reader@")) as reader:
            assert found(reader) == ["a"]
            with pytest.raises(ReadOnlyMemoryError):
                reader.write(Batch((experience("b"),)))

    def test_a_role_that_may_make_nothing_is_told_so(self, postgres: PostgresServer, url: str) -> None:
        postgres.run("CREATE ROLE guest LOGIN")
        with pytest.raises(ReadOnlyMemoryError, match="permission denied"):
            PostgresMemory(url.replace("postgres@", "guest@"))

    def test_a_database_that_takes_no_writes_is_read(
        self, postgres: PostgresServer, memory: PostgresMemory, url: str
    ) -> None:
        memory.write(Batch((experience("a"),)))
        with PostgresMemory(f"{url}&options=-cdefault_transaction_read_only%3Don") as replica:
            assert (replica.read_only, found(replica)) == (True, ["a"])
            with pytest.raises(ReadOnlyMemoryError):
                replica.write(Batch((experience("b"),)))


class TestSharing:
    @pytest.mark.parametrize("notified", [True, False], ids=["notified", "polling"])
    def test_what_one_process_writes_another_finds_within_a_second(
        self, memory: PostgresMemory, url: str, notified: bool
    ) -> None:
        with PostgresMemory(url) as other:
            if not notified:
                other.channel = "nothing"  # as behind a pooler that swallows notifications
            assert found(other) == []
            memory.write(Batch((experience("a"),), steps=(PolicyStep("default", 0.1),)))
            assert within(1.0, lambda: found(other) == ["a"])
            assert other.policy_state("default").threshold == pytest.approx(0.6)
            memory.write(Batch(trials=(trial("a"),)))
            assert within(1.0, lambda: bool(other.experience("a").tallies))
            memory.delete(ids=["a"])
            assert within(1.0, lambda: found(other) == [])

    def test_what_is_committed_late_is_not_skipped(self, memory: PostgresMemory, url: str) -> None:
        written, go_on = threading.Event(), threading.Event()

        def slow(connection: Connection) -> None:
            writer = postgres_writer.Writer(connection, "", b"")
            batch = writer.begin(Batch((experience("late", namespace="slow"),)), 0)
            writer.experience(batch.experiences[0])
            writer.finish()
            written.set()
            assert go_on.wait(10.0)

        with PostgresMemory(url) as other, ThreadPoolExecutor(1) as pool:
            log, told = Follower(memory.changes), []
            waiting = pool.submit(other.transact, slow)
            assert written.wait(10.0)
            memory.write(Batch((experience("early"),)))  # began later, and is committed first
            told += [one.id for page in log.news() for one in page.experiences]
            assert told == ["early"]
            assert found(memory) == ["early"]
            go_on.set()
            waiting.result()
            told += [one.id for page in log.news() for one in page.experiences]
            assert "late" in told
            assert within(1.0, lambda: found(memory, namespace="slow") == ["late"])

    def test_one_namespace_does_not_wait_for_another(self, memory: PostgresMemory, url: str) -> None:
        with PostgresMemory(url) as other:

            def holding(connection: Connection) -> None:
                postgres_writer.Writer(connection, "", b"").lock(["one"])
                other.write(Batch((experience("a", namespace="two"),)))

            memory.transact(holding)
            assert other.stats().experiences == 1

    def test_policy_spending_and_counts_are_exact_whoever_writes_at_once(
        self, memory: PostgresMemory, url: str
    ) -> None:
        memory.write(Batch((experience("a"),), (guide("g", origin="none"),)))

        def work(_: int) -> None:
            with PostgresMemory(url, connections=1) as own:
                for _ in range(5):
                    own.write(
                        Batch(
                            trials=(trial("a"), trial("a", guide_id="g")),
                            steps=(PolicyStep("default", 0.001, audit=True),),
                            spending=(spend(0.25),),
                        )
                    )

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))

        assert memory.policy_state("default").audits == memory.policy_state("default").calls == 40
        assert [(one.calls, one.usd) for one in memory.spending()] == [(40, 10.0)]
        assert (memory.stats().trials, memory.guide("g").helpful) == (80, 40)

    def test_batches_that_get_in_each_others_way_are_all_written(self, memory: PostgresMemory, url: str) -> None:
        ids = [f"{n}" for n in range(6)]

        def work(turned: bool) -> None:
            with PostgresMemory(url) as own:
                for _ in range(10):
                    order = ids[::-1] if turned else ids
                    own.write(Batch(tuple(experience(id, namespace=f"n{id}") for id in order)))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, (True, False, True, False)))

        assert memory.stats().experiences == 6

    def test_a_forked_child_has_connections_of_its_own(self, memory: PostgresMemory) -> None:
        memory.write(Batch((experience("a"),)))
        assert found(memory) == ["a"]
        child = os.fork()
        if not child:
            memory.write(Batch((experience("b"),)))
            os._exit(0 if found(memory) == ["a", "b"] else 1)

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert within(1.0, lambda: found(memory) == ["a", "b"])


class TestTrouble:
    def end_all(self, postgres: PostgresServer) -> None:
        postgres.run("SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE application_name = 'rar'")

    def test_connections_that_are_ended_are_made_anew(self, postgres: PostgresServer, memory: PostgresMemory) -> None:
        memory.write(Batch((experience("a"),)))
        assert found(memory) == ["a"]
        self.end_all(postgres)
        memory.write(Batch((experience("b"),)))
        self.end_all(postgres)
        assert memory.stats().experiences == 2
        assert within(2.0, lambda: found(memory) == ["a", "b"])

    def test_a_server_that_is_restarted_is_found_again(self, postgres: PostgresServer, memory: PostgresMemory) -> None:
        memory.write(Batch((experience("a"),)))
        assert found(memory) == ["a"]
        postgres.stop()
        try:
            began = time.monotonic()
            for _ in range(5):
                with pytest.raises(UnreachableMemoryError):
                    memory.write(Batch((experience("b"),)))
            assert time.monotonic() - began < 2.0
        finally:
            postgres.start()

        assert within(3.0, lambda: self.writes(memory))
        assert found(memory) == ["a", "b"]

    def writes(self, memory: PostgresMemory) -> bool:
        try:
            memory.write(Batch((experience("b"),)))
        except MemoryStoreError:
            return False
        return True

    def test_a_routers_answers_go_on_while_the_server_is_away(
        self, postgres: PostgresServer, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        models: Any = {name: FunctionModel(lambda messages: "red", name) for name in ("weak", "strong")}
        address = url.replace("postgres@", "postgres:hunter2@")
        with Router(
            memory=address, embedder="hashing", policy="paper", learning="inline", learning_budget=None
        ) as router:
            serve(router, models, question("What colour has a ripe tomato?"))
            known, _ = serve(router, models, question("What colour has a ripe tomato?"))
            postgres.stop()
            try:
                away, reply = serve(router, models, question("What colour has the sky?"))
            finally:
                postgres.start()
            assert within(5.0, lambda: self.is_back(router))
            again, _ = serve(router, models, question("What colour has a ripe tomato?"))

        assert (known.model, away.model, reply.text, again.model) == ("weak", "strong", "red", "weak")
        assert "hunter2" not in caplog.text

    def is_back(self, router: Router) -> bool:
        try:
            return router.memory.stats().experiences > 0  # type: ignore[union-attr]
        except MemoryStoreError:
            return False

    @pytest.mark.parametrize("arrives", [True, False])
    def test_what_became_of_a_commit_is_asked_when_its_connection_is_lost(
        self, memory: PostgresMemory, monkeypatch: pytest.MonkeyPatch, arrives: bool
    ) -> None:
        run, lost = Connection.run, []

        def losing(self: Connection, sql: str, *args: Any, **options: Any) -> Any:
            if sql == "COMMIT" and not lost:
                lost.append(True)
                if arrives:
                    run(self, sql)
                self.raw.close()
                raise psycopg.OperationalError("the connection is lost")
            return run(self, sql, *args, **options)

        monkeypatch.setattr(Connection, "run", losing)
        memory.write(Batch(spending=(spend(1.0),)))

        assert lost
        assert [one.usd for one in memory.spending()] == [1.0]

    def test_what_cannot_be_held_is_named_and_nothing_is_logged_of_it(
        self, memory: PostgresMemory, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with pytest.raises(MemoryStoreError) as caught:
            memory.write(Batch(decisions=(replace(decision("d"), at="yesterday"),)))  # type: ignore[arg-type]

        assert "yesterday" not in caplog.text
        assert type(caught.value).__name__ == "RecordError"


class TestKeeping:
    def test_nothing_is_left_of_a_namespace(self, postgres: PostgresServer, memory: PostgresMemory, url: str) -> None:
        TestPostgresMemory.fill(memory, "Ms Smith")
        assert memory.delete(namespace="Ms Smith") == 3

        tables = postgres.run(
            f"SELECT relname FROM pg_class WHERE relnamespace = '{schema_of(url)}'::regnamespace AND relkind = 'r'"
        )
        assert len(tables) > 10
        for (table,) in tables:
            held = postgres.run(f"SELECT t::text FROM {schema_of(url)}.{table} AS t WHERE t::text LIKE '%Smith%'")
            # Of what was deleted, followers must hear: by its id, which is a hash where a router made it.
            assert len(held) == (3 if table == "deletions" else 0)

    def test_over_its_cap_a_namespace_loses_what_was_used_least(self, url: str) -> None:
        with PostgresMemory(url, cap=2) as memory:
            memory.write(Batch((experience("a"), experience("b", updated_at=1.0)), trials=(trial("a"),)))
            memory.write(Batch((experience("c", updated_at=2.0), experience("x", namespace="other"))))

            assert sorted(found(memory)) == ["a", "c"]
            assert (memory.stats().evicted, memory.stats().experiences) == (1, 3)

    def test_the_newest_decisions_and_labels_are_kept(
        self, memory: PostgresMemory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_writer, "KEPT_DECISIONS", 3)
        for n in range(5):
            for _ in range(2):  # written again, as a lesson does
                memory.write(Batch(decisions=(decision(f"{n}", float(n)),)))

        assert [record.id for record in memory.decisions()] == ["4", "3", "2"]

    def test_a_reader_that_is_behind_forgotten_deletions_begins_anew(
        self, memory: PostgresMemory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_store, "KEPT_DELETIONS", 2)
        monkeypatch.setattr(postgres_store, "PRUNED_EACH", 1)
        memory.write(Batch(tuple(experience(id) for id in "abcdef")))
        cursor = memory.changes().cursor
        for id in "abcd":
            memory.delete(ids=[id])

        assert memory.changes(cursor).reset
        assert [one.id for one in memory.changes().experiences] == ["e", "f"]

    def test_what_a_writer_of_before_decided_is_not_written_after_a_deletion(
        self, memory: PostgresMemory, url: str
    ) -> None:
        memory.write(Batch((experience("a"),)))
        with PostgresMemory(url) as other:
            epoch = other.epoch
            memory.delete(namespace="default")
            other.write(Batch((experience("a"),), steps=(PolicyStep("default", 0.1),), epoch=epoch))
            assert found(other) == []
            assert other.epoch == epoch + 1

    def test_an_index_is_read_from_this_machines_files_at_the_next_start(
        self, url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rar.memory.index.FLAT_UP_TO", 50)
        batch = Batch(tuple(experience(f"{n:03}", EAST * (n + 1) + NORTH * (n % 7)) for n in range(200)))
        with PostgresMemory(url, folder=tmp_path) as memory:
            memory.write(batch)
            before = found(memory, limit=5)
            memory.settle()
        assert list(tmp_path.iterdir())

        with PostgresMemory(url, folder=tmp_path) as memory:
            read: list[int] = []
            changes = memory.changes
            monkeypatch.setattr(memory, "changes", lambda since, **more: read.append(since) or changes(since, **more))
            assert found(memory, limit=5) == before
            assert read[0] > 0
            memory.settle()
            memory.delete(ids=before)
            assert not set(before) & set(found(memory, limit=5))


@pytest.mark.parametrize("seed", range(2))
def test_it_comes_to_what_a_file_comes_to(url: str, tmp_path: Any, seed: int) -> None:
    """The same batches, drawn by chance, are written to both."""
    chance = random.Random(seed)
    ids, guides = [f"e{n}" for n in range(12)], [f"g{n}" for n in range(4)]
    states: list[Any] = ["candidate", "active", "retired", "quarantined"]

    def drawn() -> Batch:
        def some(many: int) -> range:
            return range(chance.randrange(many))

        def a_trial(n: int) -> Any:
            one = trial(
                chance.choice(ids), ok=chance.random() < 0.6, guide_id=chance.choice([None, *guides]), at=float(n)
            )
            gap = chance.choice([None, 0.25])
            return replace(one, gap=gap, context=chance.choice(["", "c"]), user=chance.choice(["", "u"]))

        return Batch(
            tuple(experience(chance.choice(ids), EAST, updated_at=chance.random()) for _ in some(4)),
            tuple(guide(chance.choice(guides), origin=chance.choice(ids), text=f"{n}") for n in some(2)),
            tuple(map(a_trial, some(8))),
            tuple(
                PolicyStep("default", chance.random() - 0.5, audit=True, surprise=chance.random() * 4 - 1, at=float(n))
                for n in some(4)
            ),
            tuple(spend(0.5, model_id=chance.choice("ab")) for _ in some(4)),
            tuple(decision(chance.choice("pqrs"), at=float(n), facts={"n": n}) for n in some(4)),
            tuple(label(chance.choice("pqrs"), at=float(n)) for n in some(3)),
            tuple(judged(chance.choice("pq"), at=float(n)) for n in some(3)),
        )

    with PostgresMemory(url, cap=9, clock=lambda: 5.0) as mine, SQLiteMemory(tmp_path / "rar.db", cap=9) as file:
        file._clock = mine._clock
        for turn in range(20):
            batch = drawn()
            for memory in (mine, file):
                memory.write(batch)
            if turn % 9 == 8:
                doomed, pinned, state = chance.choice(ids), chance.choice(guides), chance.choice(states)
                for memory in (mine, file):
                    memory.delete(ids=[doomed])
                    if memory.guide(pinned) is not None:
                        memory.set_guide_state(pinned, state)

        assert sorted(map(str, mine.export())) == sorted(map(str, file.export()))
        assert mine.stats() == file.stats()
        near = [one.search(EAST, namespace="default", task="answer", limit=20) for one in (mine, file)]
        assert near[0] == near[1]
