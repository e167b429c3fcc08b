"""What was committed stays, whole, whatever happens to the processes around it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from rar.memory.base import Batch
from rar.memory.sqlite import SQLiteMemory
from tests.contract.memory import DIM, EAST, NORTH, experience, found, trial
from tests.core.memory_child import BATCH, SHARED, write_until_killed

ROOT = Path(__file__).parents[2]
KILLS = 24

needs_posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
ignores_fork_warning = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def forked_writer(path: Path, name: str) -> tuple[int, IO[str]]:
    """A child that writes batches for ever, and the pipe by which it tells the number of each that is committed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            write_until_killed(str(path), name, writing)
        finally:
            os._exit(1)
    os.close(writing)
    return pid, os.fdopen(reading, encoding="ascii")


def child(path: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.core.memory_child", str(path), name]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], said: str | None = None) -> str:
    """Send `said`, and return the rest of what the process says before it ends."""
    return process.communicate(said, timeout=120)[0]


@needs_posix
@ignores_fork_warning
def test_what_was_committed_survives_kills_in_mid_write(tmp_path: Path) -> None:
    path = tmp_path / "rar.db"
    with SQLiteMemory(path) as memory:
        memory.bind("test-1", DIM)
    committed: set[str] = set()

    for kill in range(KILLS):
        name = f"k{kill}"
        pid, pipe = forked_writer(path, name)
        with pipe:
            said = [pipe.readline() for _ in range(kill % 4 + 1)]
            os.kill(pid, signal.SIGKILL)  # somewhere in the batch after the last one that was reported
            assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
            said += pipe.readlines()
        committed |= {f"{name}-{n.strip()}" for n in said if n.endswith("\n")}

    with SQLiteMemory(path) as memory:
        batches: dict[str, int] = {}
        for item in memory.changes(0, 1_000_000).experiences:
            name = item.id.rsplit("-", 1)[0]
            batches[name] = batches.get(name, 0) + 1
            assert item.text == f"{item.id} " * 200
            assert [tally.ok for tally in memory.experience(item.id).tallies] == [1]
        assert len(committed) >= KILLS
        assert committed <= batches.keys()
        assert set(batches.values()) == {BATCH}
        assert {guide.id for guide in memory.guides()} == batches.keys()
        assert memory.spending()[0].calls == len(batches)
        assert memory.stats().experiences == BATCH * len(batches)
        assert memory.policy_state("default").threshold == pytest.approx(0.5 + 1e-6 * len(batches))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_four_processes_share_one_file_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rar.db"
    names = ["ann", "bob", "cleo", "dan"]
    processes = [child(path, name) for name in names]  # they also make the file together

    assert [process.stdout.readline() for process in processes] == ["done\n"] * 4
    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(lambda process: finish(process, " ".join(names) + "\n"), processes))

    assert ends == ["found all\n"] * 4
    with SQLiteMemory(path) as memory:
        stats = memory.stats()
        assert (stats.experiences, stats.trials) == (4 * SHARED * BATCH, 4 * SHARED * BATCH)
        assert memory.spending()[0].usd == 4 * SHARED
        assert memory.policy_state("default").threshold == pytest.approx(0.5 + 1e-6 * 4 * SHARED)


@needs_posix
@ignores_fork_warning
def test_a_forked_process_and_its_parent_both_go_on(tmp_path: Path) -> None:
    with SQLiteMemory(tmp_path / "rar.db") as memory:
        memory.write(Batch((experience("before"),)))
        assert found(memory) == ["before"]

        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert "before" in found(memory)
                memory.write(Batch((experience("child", NORTH),), trials=(trial("before"),)))
                code = 0 if {"before", "child"} <= set(found(memory)) else 2
            finally:
                os._exit(code)
        memory.write(Batch((experience("parent", -EAST),)))

        assert os.waitpid(pid, 0)[1] == 0
        assert found(memory) == ["before", "child", "parent"]
        assert [tally.ok for tally in memory.experience("before").tallies] == [1]


@needs_posix
@ignores_fork_warning
def test_a_forked_process_does_not_remove_its_parents_private_memory() -> None:
    with SQLiteMemory(":memory:") as memory:
        memory.write(Batch((experience("a"),)))
        pid = os.fork()
        if pid == 0:
            memory.close()
            os._exit(0)

        os.waitpid(pid, 0)
        assert found(memory) == ["a"]
