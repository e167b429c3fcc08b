"""What a memory promises that processes share: a backend's test class brings the fixture `address`.

`python -m tests.contract.shared_memory ADDRESS NAME` is one of the processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from rar import open_memory
from rar.memory import Memory
from rar.memory.base import Batch, PolicyStep
from tests.contract.memory import DIM, experience, found, guide, spend, trial

ROOT = Path(__file__).parents[2]
PROCESSES, THREADS, BATCHES, EACH = 4, 4, 4, 3
KILLS = 5


class SharedMemoryContract:
    def test_processes_with_threads_lose_nothing_and_find_each_others_lessons_within_a_second(
        self, address: str
    ) -> None:
        names = [f"p{n}" for n in range(PROCESSES)]
        processes = [_start(address, name) for name in names]  # they also make the memory together
        assert [process.stdout.readline() for process in processes] == ["done\n"] * PROCESSES
        with ThreadPoolExecutor(PROCESSES) as pool:
            said = pool.map(lambda process: process.communicate(" ".join(names) + "\n", timeout=60)[0], processes)
            assert list(said) == ["found all\n"] * PROCESSES

        with closing(open_memory(address)) as memory:
            batches = PROCESSES * THREADS * BATCHES
            stats = memory.stats()
            assert (stats.experiences, stats.trials) == (EACH * batches, EACH * batches)
            assert sum(one.usd for one in memory.spending()) == batches
            assert memory.policy_state("default").audits == batches
            assert memory.policy_state("default").threshold == pytest.approx(0.5 + 1e-6 * batches)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL")
    def test_what_was_committed_survives_kills_in_mid_write(self, address: str) -> None:
        committed: set[str] = set()
        with closing(open_memory(address)) as memory:
            memory.bind("test-1", DIM)
        for kill in range(KILLS):
            process = _start(address, f"k{kill}", "--for-ever")
            said = [process.stdout.readline() for _ in range(kill % 3 + 1)]
            process.send_signal(signal.SIGKILL)
            said += process.communicate()[0].splitlines(keepends=True)
            committed |= {f"k{kill}-0-{n.strip()}" for n in said if n.endswith("\n")}

        with closing(open_memory(address)) as memory:
            batches: dict[str, int] = {}
            for item in memory.experiences(namespace="default", task="answer"):
                name = item.id.rpartition("-")[0]
                batches[name] = batches.get(name, 0) + 1
                assert [tally.ok for tally in item.tallies] == [1]
            assert len(committed) >= KILLS
            assert committed <= batches.keys()
            assert set(batches.values()) == {EACH}
            assert {one.id for one in memory.guides()} == batches.keys()
            assert sum(one.calls for one in memory.spending()) == len(batches)
            assert memory.policy_state("default").audits == len(batches)


def _start(address: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.contract.shared_memory", address, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# --- the processes --------------------------------------------------------------------------------------------------


def _batch(name: str, thread: int, n: int) -> Batch:
    """`EACH` experiences, each with a trial; a guide, a step and a dollar: all of it is there, or none."""
    ids = [f"{name}-{thread}-{n}-{i}" for i in range(EACH)]
    rng = np.random.default_rng([n, thread, *name.encode()])
    return Batch(
        tuple(experience(id, rng.normal(size=DIM).astype(np.float32), text=f"{id} " * 50) for id in ids),
        (guide(f"{name}-{thread}-{n}"),),
        tuple(trial(id) for id in ids),
        (PolicyStep("default", 1e-6, audit=True),),
        (spend(1.0),),
    )


def _find(memory: Memory, batch: Batch, seconds: float) -> None:
    """End the process with an error if something of `batch` is not found in time."""
    for one in batch.experiences:
        until = time.monotonic() + seconds
        while one.id not in found(memory, one.embedding, limit=3):
            if time.monotonic() > until:
                os.write(1, f"{one.id} was not found\n".encode())
                os._exit(1)
            time.sleep(0.02)


def _work(memory: Memory, name: str, thread: int) -> None:
    for n in range(BATCHES):
        mine = _batch(name, thread, n)
        memory.write(mine)
        _find(memory, mine, 0.0)


def _main(address: str, name: str, *, for_ever: bool) -> None:
    hours = int(name[1:])  # by which the clocks of the processes differ
    with closing(open_memory(address, clock=lambda: time.time() + 3_600.0 * hours)) as memory:
        n = 0
        while for_ever:
            memory.write(_batch(name, 0, n))
            print(n, flush=True)
            n += 1
        threads = [threading.Thread(target=_work, args=(memory, name, thread)) for thread in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("done", flush=True)
        for other in sys.stdin.readline().split():
            for thread_of in range(THREADS):
                for batch in range(BATCHES):
                    _find(memory, _batch(other, thread_of, batch), 1.0)
        print("found all", flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:3], for_ever=len(sys.argv) > 3)
