"""What a server's file may say, and what is wrong with one that cannot work."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from rar.cli.commands import app
from rar.errors import ConfigurationError
from rar.server import Key, read_config
from tests.docs.blocks import ROOT
from tests.fake_openai import FakeOpenAI, Reply

GOOD = """
[server]
port = 9000
floors = [0.9, 0.99]

[models.weak]
model = "small-1"
base_url = "http://127.0.0.1:1/v1"
price = [0.15, 0.6]

[models.strong]
model = "large-1"
base_url = "https://example.com/v1"
key_env = "STRONG_KEY"
headers = { X-Team = "search" }

[router]
memory = "rar.db"
quality = 0.95
limits = { seconds = 30 }
spend = [{ usd = 5, per = "day" }]

[[keys]]
env = "TEAM_KEY"
namespace = "team"
"""


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONG_KEY", "sk-strong-secret")
    monkeypatch.setenv("TEAM_KEY", "sk-team-secret")


def read(folder: Path, text: str) -> Any:
    file = folder / "rar.toml"
    file.write_text(text, encoding="utf-8")
    return read_config(file)


def test_a_file_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)

    assert (found.port, found.floors, found.keys) == (9000, (0.9, 0.99), (Key("TEAM_KEY", "team"),))
    assert found.models["weak"].price == (0.15, 0.6)
    assert found.models["strong"].authorization == {"Authorization": "Bearer sk-strong-secret"}
    assert found.router["quality"] == 0.95
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[models.weak]", "[models.week]", "models.weak"),
        ('model = "small-1"', "", "says no 'model'"),
        ('model = "small-1"', 'modle = "small-1"', "model"),
        ("http://127", "ftp://127", "http or https"),
        ("price = [0.15, 0.6]", "price = 0.15", "price"),
        ("STRONG_KEY", "NO_SUCH_KEY", "NO_SUCH_KEY"),
        ("TEAM_KEY", "NO_SUCH_KEY", "NO_SUCH_KEY"),
        ("port = 9000", "prt = 9000", "port"),
        ("port = 9000", "patience = 0", "patience"),
        ("floors = [0.9, 0.99]", "floors = [95]", "0.95"),
        ("floors = [0.9, 0.99]", "floors = 0.9", "list"),
        ("[router]", "[ruoter]", "router"),
        ('memory = "rar.db"', "judge = 5", "create_app"),
        ("[[keys]]", "[keys]", r"\[\[keys\]\]"),
        ("port = 9000", "port =", "TOML"),
    ],
)
def test_what_cannot_work_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert "secret" not in str(raised.value)


def test_the_file_of_the_page_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")

    found = read(tmp_path, page.partition("```toml\n")[2].partition("```")[0])

    assert found.floors == (0.9, 0.99)
    for name in ("largest", "patience", "most", "grace"):
        assert f"`{name}`" in page


def test_a_server_for_others_needs_keys(tmp_path: Path) -> None:
    open_to_all = GOOD.partition("[[keys]]")[0].replace("port = 9000", 'host = "0.0.0.0"')

    with pytest.raises(ConfigurationError, match="keys"):
        read(tmp_path, open_to_all)


def test_the_command_says_what_a_file_means(tmp_path: Path) -> None:
    file = tmp_path / "rar.toml"
    file.write_text(GOOD, encoding="utf-8")

    found = CliRunner().invoke(app, ["serve", str(file), "--check", "--port", "9001"])

    assert found.exit_code == 0, found.output
    assert "small-1" in found.output
    assert "127.0.0.1:9001" in found.output
    assert "secret" not in found.output


def test_a_process_that_is_told_to_stop_ends_what_it_began(tmp_path: Path, fake_openai: FakeOpenAI) -> None:
    gate = threading.Event()
    fake_openai.script("large-1", Reply("one two three", gate=gate))
    models = "".join(f'[models.{role}]\nmodel = "{name}"\nbase_url = "{fake_openai.url}"\n'
                     for role, name in (("weak", "small-1"), ("strong", "large-1")))  # fmt: skip
    file = tmp_path / "rar.toml"
    memory = tmp_path / "rar.db"
    file.write_text(f'{models}[router]\nmemory = "{memory}"\nembedder = "hashing"\n', encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "rar.cli", "serve", str(file), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)
    url = f"http://127.0.0.1:{port}"
    answers: list[httpx.Response] = []
    body = {"model": "rar", "messages": [{"role": "user", "content": "Count to three"}]}
    asking = threading.Thread(target=lambda: answers.append(httpx.post(f"{url}/v1/chat/completions", json=body)))
    try:
        for _ in range(300):
            try:
                httpx.get(f"{url}/healthz").raise_for_status()
                break
            except httpx.TransportError:
                assert process.poll() is None, process.stdout.read() if process.stdout else ""
                time.sleep(0.1)
        asking.start()
        while not fake_openai.calls():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        gate.set()
        asking.join()
        assert process.wait(30) in {0, -signal.SIGTERM}
    finally:
        process.kill()
        process.communicate()

    assert answers[0].json()["choices"][0]["message"]["content"] == "one two three"
    assert [sent.model for sent in fake_openai.calls()] == ["large-1", "small-1"]  # and it learned before it left
