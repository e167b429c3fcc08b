"""However a process ends, what it decided is stored; and a pre-fork server's workers all learn."""

from __future__ import annotations

import importlib.util
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and forks are those of POSIX")
WAIT = 60.0

BEGIN = """
import multiprocessing, os, signal, sys, time
from rar import FunctionModel, Router
from rar.values import question

def slow(messages):
    time.sleep(0.05)
    return "red"

def serve(router, text):
    decision = router.decide(question(text))
    router.learn(decision, router._models[decision.model].call(decision.call))

def made(**options):
    return Router(FunctionModel(slow, "small"), FunctionModel(lambda messages: "red", "large"), memory=sys.argv[1],
                  embedder="hashing", learning_budget=None, **options)
"""

ENDS = {
    "the end of the program": "router = made()\nfor n in range(5): serve(router, f'q{n}')",
    "an error": "router = made()\nfor n in range(5): serve(router, f'q{n}')\nraise SystemExit(3)",
    "SIGTERM": """
        router = made()
        for n in range(5): serve(router, f'q{n}')
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    """,
    "SIGTERM in a lock": """
        router = made()
        for n in range(5): serve(router, f'q{n}')
        with router._learning.writer._queue:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
    """,
}


def run(program: str, file: Path) -> subprocess.CompletedProcess[str]:
    code = BEGIN + textwrap.dedent(program)
    command = [sys.executable, "-W", "ignore", "-c", code, str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)


def stored(file: Path) -> list[str]:
    """The pieces of questions that decisions were stored about."""
    connection = sqlite3.connect(file)
    try:
        return [row[0] for row in connection.execute("SELECT json_extract(facts, '$.question') FROM decisions")]
    finally:
        connection.close()


@pytest.mark.parametrize("how", list(ENDS))
def test_what_was_decided_is_stored_at(how: str, tmp_path: Path) -> None:
    done = run(ENDS[how], tmp_path / "rar.db")
    if how == "SIGTERM in a lock":  # it cannot be stored, and ends all the same
        assert done.returncode == -signal.SIGTERM
        return
    assert sorted(stored(tmp_path / "rar.db")) == [f"q{n}" for n in range(5)], done.stderr
    assert done.returncode == {"an error": 3, "SIGTERM": -signal.SIGTERM}.get(how, 0)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("inherited", [True, False], ids=["a parent's router", "its own router"])
def test_children_of_multiprocessing_store_what_they_decided(method: str, inherited: bool, tmp_path: Path) -> None:
    if inherited and method != "fork":
        pytest.skip("only a fork inherits a router")
    (tmp_path / "work.py").write_text(
        BEGIN + "router = None\ndef work(name):\n    serve(router or made(), name)\n", encoding="utf-8"
    )
    program = f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import work
        if __name__ == "__main__":
            if {inherited}:
                work.router = work.made()
                serve(work.router, "parent")
            context = multiprocessing.get_context({method!r})
            children = [context.Process(target=work.work, args=(f"child {{n}}",)) for n in range(3)]
            for child in children: child.start()
            for child in children: child.join()
            print([child.exitcode for child in children])
    """
    file = tmp_path / "program.py"
    file.write_text(BEGIN + textwrap.dedent(program), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(file), str(tmp_path / "rar.db")],
        capture_output=True, text=True, timeout=WAIT, check=False,
    )  # fmt: skip
    assert "[0, 0, 0]" in done.stdout, done.stderr
    parents = ["parent"] if inherited else []
    assert sorted(stored(tmp_path / "rar.db")) == [*(f"child {n}" for n in range(3)), *parents]


def test_a_terminated_child_stores_too(tmp_path: Path) -> None:
    program = """
        def work(ready):
            router = made()
            for n in range(5): serve(router, f"q{n}")
            ready.set()
            time.sleep(60)
        context = multiprocessing.get_context("fork")
        ready = context.Event()
        child = context.Process(target=work, args=(ready,))
        child.start()
        ready.wait()
        child.terminate()
        child.join()
        print(child.exitcode)
    """
    done = run(program, tmp_path / "rar.db")
    assert done.stdout.strip() == str(-signal.SIGTERM), done.stderr
    assert len(stored(tmp_path / "rar.db")) == 5


def test_a_programs_own_handler_stays(tmp_path: Path) -> None:
    program = """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        router = made()
        serve(router, "q")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    """
    assert run(program, tmp_path / "rar.db").returncode == 7
    assert stored(tmp_path / "rar.db") == ["q"]


# ── a pre-fork server ──

APP = (
    BEGIN
    + """
sys.argv = ["", os.environ["RAR_TEST_FILE"]]
router = made()
serve(router, "preloaded")

def application(environ, start_response):
    serve(router, f"{os.getpid()} {environ['PATH_INFO']}")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    time.sleep(0.02)
    return [str(os.getpid()).encode()]
"""
)


@pytest.mark.skipif(importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed")
def test_every_worker_of_a_pre_fork_server_learns(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    place = tmp_path / "sock"
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "gunicorn", "--preload", "-w", "3", "-b", "127.0.0.1:0",
         "--worker-tmp-dir", str(tmp_path), "--log-file", str(place), "app:application"],
        cwd=tmp_path, env={**os.environ, "RAR_TEST_FILE": str(tmp_path / "rar.db")},
    )  # fmt: skip
    try:
        address = _address(place, server)
        pids: dict[str, int] = {}
        end = time.monotonic() + WAIT
        n = 0
        while (len(pids) < 3 or min(pids.values()) < 3) and time.monotonic() < end:
            with urllib.request.urlopen(f"{address}/{n}", timeout=WAIT) as reply:
                pid = reply.read().decode()
            pids[pid], n = pids.get(pid, 0) + 1, n + 1
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(WAIT)
    texts = stored(tmp_path / "rar.db")
    assert len(pids) == 3
    assert {pid: sum(text.startswith(f"{pid} ") for text in texts) for pid in pids} == pids
    assert "preloaded" in texts


def _address(log: Path, server: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + WAIT
    while time.monotonic() < end and server.poll() is None:
        for line in log.read_text().splitlines() if log.exists() else ():
            if "Listening at: " in line:
                return line.split("Listening at: ")[1].split()[0]
        time.sleep(0.05)
    raise AssertionError(log.read_text() if log.exists() else "the server did not start")
