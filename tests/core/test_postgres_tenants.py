"""Tenants of a PostgreSQL memory: a role of its own sees its own namespaces, and nothing of the others by any way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

from typer.testing import CliRunner

from rar import Ceiling, Router, open_memory
from rar.cli.commands import app
from rar.errors import (
    ConfigurationError,
    MemoryStoreError,
    ReadOnlyMemoryError,
    SecretError,
    UnreachableMemoryError,
)
from rar.memory import postgres_schema
from rar.memory.base import Batch, PolicyStep
from rar.memory.postgres import PostgresMemory
from rar.memory.postgres_tenants import Tenant, add_tenant, remove_tenant, tenants_of
from rar.memory.recalling import Query
from rar.memory.tills import Ask, Settled
from rar.values import question
from tests.contract.memory import (
    DIM,
    EAST,
    MemoryContract,
    cached,
    decision,
    experience,
    found,
    guide,
    label,
    spend,
    trial,
)
from tests.core.test_memory_postgres import within
from tests.core.test_tills import account
from tests.core.world import pair, serve
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.usefixtures("own_cache")

NUMBERS = iter(range(1_000_000))
NAMES = ["default", "other", "nobody", "o", "a\ufffdb", "a", "b", "ab", "x"]
SECRET = "What is B's secret?"


class Shared:
    """A memory whose owner is no superuser, a role that may write to all of it, and tenants with passwords."""

    def __init__(self, server: PostgresServer, stack: ExitStack) -> None:
        self.server, self._stack, n = server, stack, next(NUMBERS)
        self.schema, owner, self.app = f"shared_{n}", f"owner_{n}", f"app_{n}"
        server.run(
            f"CREATE ROLE {owner} LOGIN", f"CREATE ROLE {self.app} LOGIN",
            f"CREATE SCHEMA {self.schema} AUTHORIZATION {owner}", f"GRANT USAGE ON SCHEMA {self.schema} TO {self.app}",
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {self.schema} "
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {self.app}",
        )  # fmt: skip
        self.url = self.as_(owner)
        self.owner = self.open()

    def as_(self, user: str) -> str:
        return self.server.url(user=user, options=f"?schema={self.schema}")

    def open(self, url: str | None = None, **options: Any) -> PostgresMemory:
        memory = self._stack.enter_context(PostgresMemory(url or self.url, **options))
        memory.bind("test-1", DIM)
        return memory

    def role(self) -> str:
        """A new role with a password."""
        name = f"locked_{next(NUMBERS)}"
        self.server.run(f"CREATE ROLE {name} LOGIN PASSWORD 'of-{name}'")
        return name

    def tenant(self, *namespaces: str) -> PostgresMemory:
        role = self.role()
        add_tenant(self.owner, role, namespaces, self.owner.secret)
        return self.open(self.as_(f"{role}:of-{role}"))


@pytest.fixture
def shared(postgres: PostgresServer) -> Iterator[Shared]:
    with ExitStack() as stack:
        yield Shared(postgres, stack)


class TestATenant(MemoryContract):
    """All that a memory promises holds for a tenant in its namespaces, beside others'."""

    @pytest.fixture
    def fresh(self, postgres: PostgresServer) -> Any:
        def make() -> PostgresMemory:
            url, role = postgres.fresh(), f"tenant_{next(NUMBERS)}"
            postgres.run(f"CREATE ROLE {role} LOGIN")
            with closing(PostgresMemory(url)) as owner:
                add_tenant(owner, role, NAMES, owner.secret)
            return PostgresMemory(url.replace("postgres@", f"{role}@"))

        return make


def of_b(shared: Shared) -> PostgresMemory:
    """A tenant whose memory holds something of everything."""
    b = shared.tenant("b")
    MemoryContract.fill(b, "b")
    b.write(Batch((experience("b-c", namespace="b", text=SECRET, source=SECRET),)))
    b.reserve("process of b", [Ask(account(1.0, "b's", namespace="b"), 0.5, 0.5, 0.5)])
    b.reserve("process of b", [Ask(account(1.0), 0.5, 0.5, 0.5)])
    b.write(Batch(settled=(Settled("talk of b", "b", "process of b", 0.5, kept=True),)))
    assert b.claim("claim of b", "b", 60.0)
    b.search(EAST, namespace="b", task="answer")
    b.settle()
    return b


class TestWhatATenantSees:
    def test_nothing_of_another_by_any_method_of_the_memory(self, shared: Shared) -> None:
        b = of_b(shared)
        a = shared.tenant("a")

        assert a.search(EAST, namespace="b", task="answer") == []
        assert a.search_guides(EAST, namespace="b", task="answer") == []
        recalled = a.recall(Query("b", "answer", "b-a", EAST, ("weak-1",)))
        assert (recalled.same, list(recalled.matches), list(recalled.guides)) == (None, [], [])
        assert a.experience("b-a") is None and a.guide("b-g") is None and a.decision("b-d") is None
        assert a.experiences(namespace="b", task="answer") == [] and a.guides() == [] and a.labels() == []
        assert a.policy_state("b") == a.policy_state("a")
        assert a.spending() == [] and a.decisions() == [] and list(a.judged_answers()) == []
        assert a.cached_answer("b", "k") is None and a.cached_near("b", "", ["b-a"]) == []
        changes = a.changes()
        assert (changes.experiences, changes.guides, changes.deleted) == ((), (), ())
        assert [record["kind"] for record in a.export()] == ["header"]
        for stats in (a.stats(), a.stats("b")):
            assert (stats.experiences, stats.trials, stats.decisions, stats.namespaces) == (0, 0, 0, ())
            assert (dict(stats.guides), dict(stats.not_learned), stats.evicted) == ({}, {}, 0)
        assert b.stats().experiences == 3

    def test_nor_by_what_it_writes_or_deletes(self, shared: Shared) -> None:
        b, a = of_b(shared), shared.tenant("a")
        before = list(b.export())

        for batch in (
            Batch((experience("new", namespace="b"),)), Batch(guides=(guide("new", namespace="b"),)),
            Batch(steps=(PolicyStep("b", 0.1),)), Batch(spending=(spend(1.0, namespace="b"),)),
            Batch(decisions=(decision("new", namespace="b"),)), Batch(labels=(label("new", namespace="b"),)),
            Batch(cached=(cached("k", namespace="b"),)),
        ):  # fmt: skip
            with pytest.raises(ReadOnlyMemoryError, match="row-level security"):
                a.write(batch)
        a.write(Batch(trials=(trial("b-a"), trial("b-a", guide_id="b-g"))))
        with pytest.raises(LookupError):
            a.set_guide_state("b-g", "retired")
        assert a.delete(ids=["b-a", "b-g"]) == 0
        with pytest.raises(MemoryStoreError):
            a.delete(namespace="b")
        assert a.drop_answers() == 0

        assert list(b.export()) == before
        assert b.cached_answer("b", "k") is not None

    def test_nor_by_an_error(self, shared: Shared) -> None:
        of_b(shared)
        a = shared.tenant("a")
        told = []
        for id in ("b-a", "no such id"):  # the one there is, and one that there is not
            for statement in (
                f"INSERT INTO @tallies SELECT '{id}', '', 'w', 's', 1, 0, true, 1.0, NULL, 1.0, ''",
                f"UPDATE @experiences SET text = '' WHERE id = '{id}'",
                f"SELECT * FROM @experiences WHERE id = '{id}' FOR UPDATE",
            ):
                try:
                    with closing(a.open().raw) as raw:
                        told.append(str(raw.execute(statement.replace("@", f"{shared.schema}.")).rowcount))
                except psycopg.Error as error:
                    told.append(f"{error}{error.diag.message_detail}".replace(id, "…"))

        assert told[:3] == told[3:]
        assert SECRET not in str(told)
        assert a.secret != shared.owner.secret  # by which it cannot tell what another's ids would be

    def test_nor_by_a_table_a_sequence_a_statistic_or_a_setting(self, shared: Shared) -> None:
        b, a = of_b(shared), shared.tenant("a")
        shared.server.run(f"ANALYZE {shared.schema}.experiences", f"ANALYZE {shared.schema}.decisions")
        tables = "SELECT oid::regclass::text, relkind FROM pg_class WHERE relnamespace = ?::regnamespace"
        kinds = shared.owner.all(f"{tables} AND relkind IN ('r', 'S', 'v')", [shared.schema])
        seen: dict[str, Any] = {}
        for setting in ("", "SET row_security = off", f"SET ROLE {shared.app}", "SET rar.tenant = 'b'"):
            with closing(a.open().raw) as raw:
                if setting:
                    try:
                        raw.execute(setting)
                    except psycopg.Error:
                        continue
                for name, _ in kinds:
                    try:
                        seen[f"{setting} {name}"] = raw.execute(f"SELECT * FROM {name}").fetchall()
                    except psycopg.Error as error:
                        seen[f"{setting} {name}"] = f"refused: {error}"
                stats = "SELECT * FROM pg_stats WHERE schemaname = %s"
                seen[f"{setting} pg_stats"] = [
                    row for row in raw.execute(stats, [shared.schema]).fetchall() if "experiences" in row
                ]
        text = str(seen)

        assert SECRET not in text and "process of b" not in text and "claim of b" not in text
        assert b.secret.hex() not in text and shared.owner.secret.hex() not in text
        open_ = {name.rpartition(".")[2] for name, rows in seen.items() if rows and not str(rows).startswith("refused")}
        assert open_ <= {"meta", "tenants"}
        assert all(str(seen[f" {name}"]).startswith("refused") for name, kind in kinds if kind == "S")

    def test_nor_by_what_is_notified(self, shared: Shared) -> None:
        b, a = shared.tenant("b"), shared.tenant("a")
        with closing(a.open().raw) as raw:
            raw.execute(f'LISTEN "{a.channel}"')
            b.write(Batch((experience("b-a", namespace="b", text=SECRET),)))
            heard = list(raw.notifies(timeout=2.0, stop_after=1))

        assert [one.payload for one in heard] == [""]

    def test_nor_by_the_files_of_an_index(self, shared: Shared, tmp_path: Path) -> None:
        of_b(shared)
        a = shared.tenant("a")
        a.write(Batch((experience("a-a", namespace="a"),)))
        role = a.one("SELECT current_user", [])[0]
        mine = shared.open(shared.as_(f"{role}:of-{role}"), folder=tmp_path)
        assert found(mine, namespace="a") == ["a-a"]
        mine.settle()
        mine.close()

        stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"b-a" not in stored and b"b-c" not in stored

    def test_lessons_and_the_queue_are_the_workers_alone(self, shared: Shared) -> None:
        pytest.importorskip("procrastinate", reason="procrastinate is not installed")
        shared.owner.queue.prepare()
        a = shared.tenant("a")

        with pytest.raises(ConfigurationError, match="queue"):
            a.queue.prepare()
        for table in ("lessons", "procrastinate_jobs", "procrastinate_events", "procrastinate_workers"):
            with pytest.raises(ReadOnlyMemoryError, match="permission denied"):
                a.all(f"SELECT * FROM @{table}", [])

    def test_by_pgvector_too(self, shared: Shared) -> None:
        shared.server.run("CREATE EXTENSION IF NOT EXISTS vector")
        b = of_b(shared)
        shared.open(index="pgvector")
        a = shared.tenant("a")
        a.write(Batch((experience("a-a", namespace="a"),)))
        role = a.one("SELECT current_user", [])[0]
        searched = shared.open(shared.as_(f"{role}:of-{role}") + "&index=pgvector")

        assert found(searched, namespace="a") == ["a-a"]
        assert found(searched, namespace="b") == []
        assert searched.all("SELECT id FROM @experience_vectors", []) == [("a-a",)]
        assert len(shared.owner.all("SELECT id FROM @experience_vectors", [])) == 1 + b.stats().experiences


class TestAnotherRole:
    def test_one_that_may_write_to_all_still_does(self, shared: Shared) -> None:
        b = of_b(shared)
        app_ = shared.open(shared.as_(shared.app))

        assert app_.stats().namespaces == ("b",)
        assert found(app_, namespace="b", limit=3) != []
        app_.write(Batch((experience("c-a", namespace="c"),)))
        assert app_.delete(namespace="b") == 4
        assert b.stats().experiences == 0

    def test_one_that_nobody_named_sees_nothing(self, shared: Shared) -> None:
        of_b(shared)
        guest = f"guest_{next(NUMBERS)}"
        shared.server.run(
            f"CREATE ROLE {guest} LOGIN", f"GRANT USAGE ON SCHEMA {shared.schema} TO {guest}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {shared.schema} TO {guest}",
        )  # fmt: skip

        assert (
            shared.server.run(f"SELECT * FROM {shared.schema}.experiences", url=shared.as_(guest).partition("?")[0])
            == []
        )

    @pytest.mark.parametrize("grant", ["ALTER ROLE {role} BYPASSRLS", "GRANT {app} TO {role}", ""])
    def test_one_that_could_see_all_is_no_tenant(self, shared: Shared, grant: str) -> None:
        role = shared.role() if grant else "no_such_role"
        if grant:
            shared.server.run(grant.format(role=role, app=shared.app))

        with pytest.raises(ConfigurationError, match="could see all" if grant else "no role"):
            add_tenant(shared.owner, role, ["a"], shared.owner.secret)
        assert shared.owner.ask(tenants_of) == []

    def test_only_the_owner_adds_tenants(self, shared: Shared) -> None:
        a = shared.tenant("a")
        role = a.tenant.role if a.tenant else ""

        for memory in (a, shared.open(shared.as_(shared.app))):
            with pytest.raises(ReadOnlyMemoryError):
                add_tenant(memory, role, ["a", "b"], memory.secret)
        assert shared.owner.ask(tenants_of) == [Tenant(role, ("a",), ())]

    def test_a_role_that_everybody_is_a_member_of_must_not_see_it(self, shared: Shared) -> None:
        shared.server.run(f"GRANT SELECT ON {shared.schema}.experiences TO PUBLIC")

        with pytest.raises(ConfigurationError, match="PUBLIC"):
            shared.tenant("a")


class TestTenants:
    def test_namespaces_are_given_and_taken(self, shared: Shared) -> None:
        b = of_b(shared)
        a = shared.tenant("a")
        role = a.tenant.role if a.tenant else ""
        add_tenant(shared.owner, role, ["a", "b"], shared.owner.secret)
        assert shared.open(shared.as_(f"{role}:of-{role}")).stats().experiences == b.stats().experiences

        add_tenant(shared.owner, role, ["a"], shared.owner.secret)
        again = shared.open(shared.as_(f"{role}:of-{role}"))
        assert (again.stats().experiences, found(again, namespace="b")) == (0, [])

        assert remove_tenant(shared.owner, role)
        assert not remove_tenant(shared.owner, role)
        with pytest.raises(MemoryStoreError, match="permission denied"):
            PostgresMemory(shared.as_(f"{role}:of-{role}"))
        shared.server.run(f"REVOKE USAGE ON SCHEMA {shared.schema} FROM {role}", f"DROP ROLE {role}")

    def test_a_tenants_deletion_is_heard_and_nothing_comes_back(self, shared: Shared) -> None:
        a = shared.tenant("a")
        role = a.tenant.role if a.tenant else ""
        other = shared.open(shared.as_(f"{role}:of-{role}"))
        a.write(Batch((experience("a-a", namespace="a"),)))
        epoch = a.epoch
        assert within(2.0, lambda: found(other, namespace="a") == ["a-a"])

        assert a.delete(namespace="a") == 1

        assert within(2.0, lambda: found(other, namespace="a") == [])
        other.write(replace(Batch((experience("a-b", namespace="a"),)), epoch=epoch))
        assert other.stats().experiences == 0

    def test_a_deletion_by_who_may_write_to_all_is_heard_by_the_tenant(self, shared: Shared) -> None:
        a = shared.tenant("a")
        a.write(Batch((experience("a-a", namespace="a"),)))
        epoch = a.epoch
        assert found(a, namespace="a") == ["a-a"]

        assert shared.owner.delete(namespace="a") == 1

        assert within(2.0, lambda: found(a, namespace="a") == [])
        a.write(replace(Batch((experience("a-b", namespace="a"),)), epoch=epoch))
        assert a.stats().experiences == 0

    def test_nothing_is_left_of_a_namespace_that_its_tenant_deletes(self, shared: Shared) -> None:
        b = of_b(shared)
        shared.owner.write(Batch((experience("c-a", namespace="c"),)))
        b.delete(namespace="b")

        columns = shared.owner.all(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = ? AND column_name = 'namespace'",
            [shared.schema],
        )
        for (table,) in columns:
            if table != "deletions":
                assert shared.owner.all(f"SELECT * FROM @{table} WHERE namespace = 'b'", []) == [], table
        assert shared.owner.all("SELECT * FROM @tallies", []) == []
        assert shared.owner.stats().namespaces == ("c",)

    def test_its_key_may_be_kept_elsewhere(self, shared: Shared) -> None:
        a = shared.tenant("a")
        role = a.tenant.role if a.tenant else ""
        url = shared.as_(f"{role}:of-{role}")
        locked = shared.open(url, secret="a's own")

        assert locked.secret == a.secret
        assert a.secret.hex() not in str(shared.owner.all("SELECT * FROM @tenants", []))
        with pytest.raises(SecretError):
            PostgresMemory(url)
        with pytest.raises(SecretError, match="its own"):
            locked.restore(iter(()), b"x" * 32)

    def test_ceilings_hold_for_the_processes_of_a_tenant_together(self, shared: Shared) -> None:
        a, b = shared.tenant("a"), shared.tenant("b")
        b.reserve("process of b", [Ask(account(1.0), 0.5, 0.5, 0.5)])
        (grant,) = a.reserve("one", [Ask(account(1.0), 0.0, 0.0, 0.0, (0.75,))])
        (other,) = a.reserve("other", [Ask(account(1.0), 0.0, 0.0, 0.0, (0.75,))])

        assert (grant.left, grant.free, other.left, other.free) == (1.0, 0.75, 0.25, 0.0)

    def test_a_router_learns_as_a_tenant(self, shared: Shared) -> None:
        role = shared.role()
        add_tenant(shared.owner, role, ["mine"], shared.owner.secret)
        with ExitStack() as stack:
            url = shared.server.fresh().partition("schema=")[0] + f"schema=tenants_{next(NUMBERS)}"
            owner = stack.enter_context(PostgresMemory(url))
            add_tenant(owner, role, ["mine"], owner.secret)
            router = stack.enter_context(
                Router(
                    memory=url.replace("postgres@", f"{role}:of-{role}@"), embedder="hashing", learning="inline",
                    namespace="mine", judge="exact", spend=Ceiling(10.0), learning_budget=None,
                )
            )  # fmt: skip
            serve(router, pair(), question("What is 7 plus 5?", namespace="mine"))

            assert owner.stats().namespaces == ("mine",)
            assert router.stats().unstored == 0

    def test_a_schema_of_before_gets_them(self, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
        for older in range(1, len(postgres_schema.MIGRATIONS)):
            url = postgres.fresh()
            role = f"tenant_{next(NUMBERS)}"
            postgres.run(f"CREATE ROLE {role} LOGIN")
            with monkeypatch.context() as patch:
                patch.setattr(postgres_schema, "MIGRATIONS", postgres_schema.MIGRATIONS[:older])
                server = postgres_schema.PostgresServer(_address(url), 2)
                postgres_schema.bring_up_to_date(server, create=True, may_write=True)
                server._end()
            with PostgresMemory(url) as memory:
                memory.bind("test-1", DIM)
                MemoryContract.fill(memory, "a")
                MemoryContract.fill(memory, "b")
                add_tenant(memory, role, ["a"], memory.secret)
                with PostgresMemory(url.replace("postgres@", f"{role}@")) as tenant:
                    assert tenant.stats().namespaces == ("a",)
                    assert tenant.delete(namespace="a") == 3
                assert memory.stats().namespaces == ("b",)


def _address(url: str) -> Any:
    from rar.memory.postgres_address import address_from

    return address_from(url)


class TestARoleToBecome:
    def test_a_connection_that_may_see_all_works_as_a_tenant(self, shared: Shared) -> None:
        of_b(shared)
        role = shared.role()
        add_tenant(shared.owner, role, ["a"], shared.owner.secret)
        shared.server.run(f"GRANT {role} TO {shared.app}")

        by_argument = shared.open(shared.as_(shared.app), tenant_role=role)
        by_address = shared.open(f"{shared.as_(shared.app)}&tenant_role={quote(role)}")

        for memory in (by_argument, by_address):
            assert memory.stats().namespaces == ()
            assert memory.tenant == Tenant(role, ("a",), ())

    def test_one_that_is_no_tenant_or_must_not_be_become_is_refused(self, shared: Shared) -> None:
        role = shared.role()
        with pytest.raises(UnreachableMemoryError, match="permission denied"):
            PostgresMemory(shared.as_(shared.app), tenant_role=role)
        shared.server.run(f"GRANT {role} TO {shared.app}", f"GRANT USAGE ON SCHEMA {shared.schema} TO {role}")
        shared.server.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA {shared.schema} TO {role}")
        with pytest.raises(ConfigurationError, match="no tenant"):
            PostgresMemory(shared.as_(shared.app), tenant_role=role)


class TestCommands:
    def test_tenants_are_added_listed_and_removed(self, shared: Shared) -> None:
        role = shared.role()

        def said(*arguments: str) -> str:
            done = CliRunner().invoke(app, ["memory", "tenants", *arguments])
            assert done.exit_code == 0, done.output
            assert "of-locked" not in done.output
            return done.output

        added = said("add", shared.url, role, "--namespace", "a", "--namespace", "x y")
        listed = said("list", shared.url)
        removed = said("remove", shared.url, role)

        assert role in added and role in listed and "x y" in listed and role in removed
        assert role not in said("list", shared.url)

    def test_a_file_has_none(self, tmp_path: Path) -> None:
        with closing(open_memory(tmp_path / "rar.db")):
            pass
        done = CliRunner().invoke(app, ["memory", "tenants", "list", str(tmp_path / "rar.db")])

        assert done.exit_code != 0
        assert "PostgreSQL" in done.output
