"""The Compose file of the cookbook: its parts fit together, and what it starts works."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from rar.cli.commands import app
from rar.memory.postgres_address import address_from
from tests.docs.blocks import ROOT
from tests.fake_openai import FakeOpenAI
from tests.postgres_server import PostgresServer

FOLDER = ROOT / "cookbook" / "compose"
TEXT = (FOLDER / "compose.yaml").read_text("utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PATIENCE = 180.0  # seconds: processes import much on a busy machine
COMMANDS = [one["command"] for one in SERVICES.values() if "command" in one]
COMMANDS += [one["healthcheck"]["test"][1:] for one in SERVICES.values() if "rar" in str(one.get("healthcheck"))]


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What our command line understands of a command."""
    command: Any = typer.main.get_command(app)
    context = None
    while hasattr(command, "commands"):
        context = command.make_context("rar", arguments[:1], parent=context, resilient_parsing=True)
        command, arguments = command.commands[arguments[0]], arguments[1:]
    return dict(command.make_context("rar", arguments).params)


class TestFile:
    def test_every_command_of_ours_exists_with_its_options(self) -> None:
        ours = [parsed(command[1:]) for command in COMMANDS if command[0] == "rar"]

        assert len(ours) == 3
        addresses = {one["memory"] for one in ours} | {one["environment"]["DATABASE_URL"] for one in SERVICES.values()
                                                       if "DATABASE_URL" in one.get("environment", {})}  # fmt: skip
        assert len(addresses) == 1
        assert address_from(addresses.pop()).options["host"] == "db"

    def test_every_function_that_it_names_is_in_the_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql://rar@db/rar")
        spec = importlib.util.spec_from_file_location("services", FOLDER / "services.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        named = re.findall(r"services:(\w+)", TEXT)

        assert len(named) == 3
        assert all(callable(getattr(module, name)) for name in named)
        assert "memory" in inspect.signature(module.langchain_model).parameters

    def test_images_are_pinned(self) -> None:
        images = [
            SERVICES["db"]["image"],
            re.findall(r"^FROM (\S+)", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)[0],
        ]

        assert all(re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+-[\w-]+", image) for image in images)
        assert "pgvector" in images[0]

    def test_no_secret_is_in_it(self) -> None:
        secrets = re.findall(r"^.*(?:PASSWORD|KEY).*:.*$", re.sub(r"^#.*$", "", TEXT, flags=re.MULTILINE), re.MULTILINE)

        assert len(secrets) == 4
        assert all(re.search(r"\$\{\w+:\?\}", line) for line in secrets)
        assert not any(address_from(url).options.get("password") for url in re.findall(r"postgresql://[^\s\",]+", TEXT))

    def test_what_runs_on_is_checked_and_what_is_waited_for_is_there(self) -> None:
        for name, service in SERVICES.items():
            assert ("healthcheck" in service) != (name == "schema")
            for other, how in service.get("depends_on", {}).items():
                done = how["condition"] == "service_completed_successfully"
                assert done == ("healthcheck" not in SERVICES[other])

    def test_volumes_are_declared_and_used_by_one(self) -> None:
        used = [volume.partition(":")[0] for one in SERVICES.values() for volume in one.get("volumes", ())]

        assert sorted(used) == sorted(COMPOSE["volumes"])

    def test_what_is_set_is_read(self) -> None:
        read = (FOLDER / "services.py").read_text("utf-8")
        known = {"PGPASSWORD", "OPENAI_API_KEY", "RAR_CACHE"}  # libpq, the models' client, the index
        ours = {name for key in ("langchain", "llama-index", "worker") for name in SERVICES[key]["environment"]}

        assert {name for name in ours - known if f'"{name}"' not in read} == set()


@pytest.fixture
def started(postgres: PostgresServer, fake_openai: FakeOpenAI, tmp_path: Path) -> Iterator[Any]:
    """Starts what a service starts, here; where it listens."""
    url = postgres.fresh()
    shutil.copy(FOLDER / "services.py", tmp_path)
    with ExitStack() as stack:

        def start(name: str) -> tuple[subprocess.Popen[str], str]:
            service = SERVICES[name]
            command = [url if part.startswith("postgresql:") else part for part in service["command"]]
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = str(free.getsockname()[1])
            command = [port if part == "8000" else part for part in command]
            module = {"rar": "rar.cli", "uvicorn": "uvicorn"}[command[0]]
            environment = {
                **os.environ, "DATABASE_URL": url, "OPENAI_API_KEY": "none", "RAR_CACHE": str(tmp_path / name),
                "WEAK_MODEL": "gpt-4o-mini", "STRONG_MODEL": "gpt-4o",
                "OPENAI_API_BASE": fake_openai.url, "OPENAI_BASE_URL": fake_openai.url,
            }  # fmt: skip
            process = subprocess.Popen(
                [sys.executable, "-m", module, *command[1:]], cwd=tmp_path, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process, f"http://127.0.0.1:{port}"

        yield start


def asked(url: str, text: str) -> dict[str, Any]:
    body = json.dumps({"question": text}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/ask", body), timeout=PATIENCE) as answer:
        said: dict[str, Any] = json.load(answer)
    return said


def listens(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_what_it_starts_serves_and_learns_across_frameworks(started: Any, fake_openai: FakeOpenAI) -> None:
    for model in ("gpt-4o-mini", "gpt-4o"):
        fake_openai.script(model, lambda body: "100" if "boil" in json.dumps(body) else "0")
    schema, _ = started("schema")
    assert schema.wait(PATIENCE) == 0
    (_, langchain), (_, llama_index), (worker, _) = map(started, ("langchain", "llama-index", "worker"))
    until = time.monotonic() + PATIENCE
    while not (listens(langchain) and listens(llama_index)):
        assert time.monotonic() < until
        time.sleep(0.1)

    boil, freeze = (f"At how many degrees Celsius does water {what}?" for what in ("boil", "freeze"))
    assert [asked(langchain, boil)["rar"]["model"], asked(llama_index, freeze)["rar"]["model"]] == ["strong", "strong"]
    while not asked(llama_index, boil)["rar"]["model"] == asked(langchain, freeze)["rar"]["model"] == "weak":
        assert time.monotonic() < until
        time.sleep(0.5)
    assert asked(llama_index, boil)["answer"] == "100"
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
