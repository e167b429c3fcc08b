"""`rar worker` and `rar queue` as a user runs them: processes of their own, on a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed")
pytest.importorskip("procrastinate", reason="procrastinate is not installed")

from rar import FunctionModel, Router
from rar.values import question
from tests.core.world import serve
from tests.postgres_server import PostgresServer
from tests.waiting import within

pytestmark = [pytest.mark.usefixtures("own_cache"), pytest.mark.slow]

PATIENCE = 120.0  # seconds: processes import much on a busy machine
APP = """
import os, time
from pathlib import Path

from rar import FunctionModel, Router

here = Path(__file__).parent


class RateLimitError(Exception):
    status_code = 429


def small(messages):
    text = messages[-1].text
    with (here / "calls").open("a") as file:
        file.write(text + "\\n")
    if "slow" in text:
        time.sleep(2.0)
    if "limited" in text and not (here / "asked").exists():
        (here / "asked").touch()
        raise RateLimitError("later")
    if "poison" in text:
        raise ValueError("no answer to " + text)
    return "red"


def router(memory):
    return Router(
        FunctionModel(small, "small"), FunctionModel(lambda messages: "red", "large"), memory=memory, learning="queue",
        embedder="hashing", policy="paper", judge="exact", learning_budget=None,
        prices={"small": (0.1, 0.1), "large": (1.0, 1.0)},
    )


def broken(memory):
    raise OSError("the key file is not there")


nothing = 3
"""


@pytest.fixture
def address(postgres: PostgresServer) -> str:
    return postgres.fresh()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def ask(address: str) -> Iterator[Callable[[str], str]]:
    """Asks a process that serves, and leaves its lesson; the model that answers."""
    models: Any = {
        name: FunctionModel(lambda messages: "red", id) for name, id in (("weak", "small"), ("strong", "large"))
    }
    options: Any = {"embedder": "hashing", "policy": "paper", "judge": "exact", "learning_budget": None}
    with Router(memory=address, learning="queue", **options) as router:

        def asked(text: str) -> str:
            decision, _ = serve(router, models, question(text))
            assert router.flush(10.0)
            return decision.model

        yield asked


def started(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rar.cli", *arguments], cwd=folder, env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ran(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    process = started(folder, *arguments, **environment)
    out, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, out, errors


def calls(folder: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return (folder / "calls").read_text().splitlines()
    return []


def stopped(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str, str]:
    process.send_signal(number)
    out, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, out, errors


class TestWorking:
    def test_a_lesson_is_taken_and_learned_and_the_queue_is_shown(
        self, folder: Path, address: str, ask: Callable[[str], str]
    ) -> None:
        assert ask("What colour has a tomato?") == "strong"
        time.sleep(0.2)
        status, out, _ = ran(folder, "queue", address, "--json")
        before = json.loads(out)
        assert (status, before["waiting"], before["running"], before["dead"]) == (0, 1, 0, 0)
        assert before["age"] >= 0.2

        worker = started(folder, "worker", address, "--models", "app:router")
        assert within(PATIENCE, lambda: ask("What colour has a tomato?") == "weak")
        assert json.loads(ran(folder, "queue", address, "--json")[1])["workers"] == 1

        status, out, errors = stopped(worker)
        assert (status, errors) == (0, "")
        assert out.startswith(f"learns from {address.replace('postgres@', '')}, 4 at once\n")
        assert out.endswith("stopped; no lesson is under way here\n")
        assert calls(folder) == ["What colour has a tomato?"]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_lets_the_lesson_under_way_end_and_leaves_the_others(
        self, folder: Path, address: str, ask: Callable[[str], str], number: int
    ) -> None:
        asked = [f"Which slow colour has thing {n}?" for n in range(3)]
        for text in asked:
            ask(text)
        worker = started(folder, "worker", address, "--models", "app:router", "--lanes", "1")
        assert within(PATIENCE, lambda: len(calls(folder)) == 1)

        assert stopped(worker, number)[0] == 0
        assert len(calls(folder)) == 1
        assert json.loads(ran(folder, "queue", address, "--json")[1])["waiting"] == 2
        assert within(2.0, lambda: [ask(text) for text in asked].count("weak") == 1)

    def test_over_its_grace_it_ends_without_the_lesson_which_another_worker_takes(
        self, folder: Path, address: str, ask: Callable[[str], str]
    ) -> None:
        ask("Which slow colour has this?")
        options = "worker", address, "--models", "app:router", "--stalled", "1"
        worker = started(folder, *options, "--grace", "0.2")
        assert within(PATIENCE, lambda: len(calls(folder)) == 1)
        assert stopped(worker)[0] == 1

        other = started(folder, *options)
        assert within(PATIENCE, lambda: len(calls(folder)) == 2)
        assert stopped(other)[0] == 0
        assert within(2.0, lambda: ask("Which slow colour has this?") == "weak")

    def test_what_was_given_up_is_shown_tried_again_and_dropped(
        self, folder: Path, address: str, ask: Callable[[str], str]
    ) -> None:
        ask("Is this poison?")
        worker = started(folder, "worker", address, "--models", "app:router")
        assert within(PATIENCE, lambda: json.loads(ran(folder, "queue", address, "--json")[1])["dead"] == 1)
        assert stopped(worker)[0] == 0

        status, out, _ = ran(folder, "queue", address, COLUMNS="200")
        assert status == 0
        assert "Given up" in out and "ValueError" in out and "poison" not in out
        (dead,) = json.loads(ran(folder, "queue", address, "--json")[1])["given_up"]
        assert json.loads(ran(folder, "queue", address, "--retry", dead["id"], "--json")[1])["tried_again"] == 1
        assert json.loads(ran(folder, "queue", address, "--drop-all", "--json")[1])["dropped"] == 0
        assert ran(folder, "worker", address, "--models", "app:router", "--once")[0] == 0
        assert len(calls(folder)) > 1

    def test_it_goes_on_when_the_server_was_restarted(
        self, folder: Path, postgres: PostgresServer, address: str, ask: Callable[[str], str]
    ) -> None:
        ask("What was first?")
        worker = started(folder, "worker", address, "--models", "app:router", "--stalled", "3")
        assert within(PATIENCE, lambda: calls(folder) == ["What was first?"])
        postgres.stop()
        time.sleep(3.0)
        postgres.start()

        def learned() -> bool:
            with suppress(AssertionError):  # what was decided is stored when the server is found again
                return ask("What came then?") == "weak"
            return False

        assert within(PATIENCE, learned)
        assert worker.poll() is None
        status, _, errors = stopped(worker)
        assert (status, "Traceback" in errors) == (0, False), errors

    def test_a_worker_whose_clock_is_an_hour_ahead_puts_off_by_the_servers(
        self, folder: Path, address: str, ask: Callable[[str], str]
    ) -> None:
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        if not libraries:
            pytest.skip("libfaketime is not installed")
        ask("What is limited?")
        shifted = {"LD_PRELOAD": str(libraries[0]), "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        worker = started(folder, "worker", address, "--models", "app:router", **shifted)
        assert within(PATIENCE, lambda: ask("What is limited?") == "weak")
        assert stopped(worker)[0] == 0
        assert len(calls(folder)) == 2


class TestTrouble:
    @pytest.mark.parametrize(
        ("models", "said"),
        [
            ("app", "names no factory. Write module:function"),
            ("nowhere:router", "No module named 'nowhere'"),
            ("app:rooter", "has no attribute 'rooter'"),
            ("app:nothing", "A worker cannot use 3"),
            ("app:broken", "--models app:broken failed. OSError: the key file is not there"),
        ],
    )
    def test_a_factory_that_is_missing_or_fails_is_one_line(
        self, folder: Path, address: str, ask: Callable[[str], str], models: str, said: str
    ) -> None:
        status, out, errors = ran(folder, "worker", address, "--models", models)

        assert (status, out, errors.count("\n")) == (1, "", 1)
        assert errors.startswith("rar: ") and said in errors

    @pytest.mark.parametrize(
        ("wrong", "command"),
        [
            ("port", "queue"), ("database", "queue"), ("role", "queue"), ("password", "queue"), ("url", "queue"),
            ("file", "queue"), ("password", "worker"), ("file", "worker"),
        ],
    )  # fmt: skip
    def test_an_address_that_is_wrong_is_one_line_without_its_password(
        self, folder: Path, postgres: PostgresServer, wrong: str, command: str
    ) -> None:
        if wrong == "password":
            postgres.run("DROP ROLE IF EXISTS locked", "CREATE ROLE locked LOGIN PASSWORD 'right'")
        address = {
            "port": "postgresql://me:hunter2@127.0.0.1:1/postgres",
            "database": postgres.url("nowhere", "postgres:hunter2"),
            "role": postgres.url(user="nobody:hunter2"),
            "password": postgres.url(user="locked:hunter2"),
            "url": "postgresql://me:hun%ter2@127.0.0.1/postgres",
            "file": str(folder / "rar.db"),
        }[wrong]
        more = ("--models", "app:router") if command == "worker" else ()
        status, out, errors = ran(folder, command, address, *more)

        assert (status, out, errors.count("\n")) == (1, "", 1), errors
        assert errors.startswith("rar: ")
        assert "hunter2" not in errors and "hun%ter2" not in errors
