"""A process that forks while it serves and learns: every child serves and learns too, and the parent goes on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rar import FunctionModel, Router, SQLiteMemory, forking
from rar.errors import MemoryStoreError
from rar.forking import Lock
from rar.memory.base import Batch
from rar.values import question
from tests.contract.memory import experience
from tests.core.world import serve

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]
WAIT = 60.0
MODELS = {
    "weak": FunctionModel(lambda messages: "red", "small"),
    "strong": FunctionModel(lambda messages: "red", "large"),
}


def in_child(body: object, *args: object) -> int:
    """The exit status of a forked child that runs `body`: 0 if it returned true."""
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child
        status = 1
        try:
            status = 0 if body(*args) else 1  # type: ignore[operator]
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def learn_in(router: Router, text: str) -> bool:
    serve(router, MODELS, question(text))  # type: ignore[arg-type]
    return router.flush(WAIT)


def unlike(text: str) -> str:
    """A question that resembles no other, so that the strong model answers it and the weak one is tried on it."""
    return " ".join(hashlib.sha256(f"{text} {n}".encode()).hexdigest()[:8] for n in range(8))


@pytest.mark.parametrize("learning", ["background", "inline"])
def test_every_child_of_a_busy_parent_learns(learning: str, tmp_path: Path) -> None:
    options = {"embedder": "hashing", "learning_budget": None, "learning": learning, "policy": "paper"}
    router = Router(memory=tmp_path / "rar.db", **options)  # type: ignore[arg-type]
    stop, asked = threading.Event(), [0, 0]

    def load(thread: int) -> None:
        while not stop.is_set():
            learn_in(router, unlike(f"thread {thread} asks {asked[thread]}"))
            asked[thread] += 1
            stop.wait(0.02)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        statuses = [in_child(learn_in, router, unlike(f"child {n}")) for n in range(12)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(WAIT)

    assert statuses == [0] * 12
    assert router.flush(WAIT)
    assert router.memory is not None
    texts = {one.text for one in router.memory.experiences(namespace="default", task="answer")}
    assert {unlike(f"child {n}") for n in range(12)} <= texts
    assert len(texts) == 12 + sum(asked)
    router.close()


def test_a_fork_waits_for_a_transaction_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SQLiteMemory(tmp_path / "rar.db")
    inside, forking_now = threading.Event(), threading.Event()

    def write() -> None:
        with memory._transaction() as writer:
            writer.experience(experience("a"))
            inside.set()
            forking_now.wait(WAIT)

    wait = forking._passage.moved.wait

    def watched(seconds: float | None = None) -> bool:
        forking_now.set()  # the fork waits: now the transaction may end
        return wait(seconds)

    monkeypatch.setattr(forking._passage.moved, "wait", watched)
    thread = threading.Thread(target=write)
    thread.start()
    assert inside.wait(WAIT)

    assert in_child(lambda: memory.write(Batch((experience("b"),))) is None) == 0
    thread.join(WAIT)
    assert memory.stats().experiences == 2
    memory.close()


def test_a_child_that_was_forked_inside_a_transaction_says_so_and_hangs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forking, "FORK_WAITS", 0.05)
    memory = SQLiteMemory(tmp_path / "rar.db")
    inside, go = threading.Event(), threading.Event()

    def write() -> None:
        with memory._transaction() as writer:
            writer.experience(experience("a"))
            inside.set()
            go.wait(WAIT)

    def refused() -> bool:
        with pytest.raises(MemoryStoreError, match="forked while another thread was writing"):
            memory.write(Batch((experience("b"),)))
        return memory.stats().experiences == 0

    thread = threading.Thread(target=write)
    thread.start()
    assert inside.wait(WAIT)
    assert in_child(refused) == 0
    go.set()
    thread.join(WAIT)

    memory.write(Batch((experience("c"),)))
    assert memory.stats().experiences == 2
    memory.close()


def test_a_fork_in_the_middle_of_an_export_waits_for_nobody(tmp_path: Path) -> None:
    memory = SQLiteMemory(tmp_path / "rar.db")
    memory.write(Batch((experience("a"),)))
    records = memory.export()
    next(records)

    assert in_child(lambda: memory.write(Batch((experience("b"),))) is None) == 0
    assert len(list(records)) == 1
    memory.close()


def test_a_lock_that_another_thread_holds_is_free_in_the_child() -> None:
    lock, held, go = Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            go.wait(WAIT)

    def take() -> bool:
        with lock:
            return True

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(WAIT)

    assert in_child(take) == 0
    go.set()
    thread.join(WAIT)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_of_multiprocessing_learn(start: str, tmp_path: Path) -> None:
    code = f"""
import multiprocessing, sys
from rar import FunctionModel, Router
from tests.security.test_forks import learn_in

def work(path):
    options = dict(embedder="hashing", learning_budget=None)
    router = Router(memory=path, **options)
    sys.exit(0 if learn_in(router, "a process asks " + multiprocessing.current_process().name) else 1)

if __name__ == "__main__":
    context = multiprocessing.get_context({start!r})
    first = Router(memory=sys.argv[1], embedder="hashing", learning_budget=None)
    assert learn_in(first, "the parent asks")
    processes = [context.Process(target=work, args=(sys.argv[1],), name=f"p{{n}}") for n in range(3)]
    [process.start() for process in processes]
    [process.join() for process in processes]
    assert [process.exitcode for process in processes] == [0, 0, 0]
    print(first.memory.stats().experiences)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    paths = os.pathsep.join([str(Path.cwd()), str(Path.cwd() / "shared"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(tmp_path / "rar.db")],
        capture_output=True, text=True, timeout=WAIT * 2, env={**os.environ, "PYTHONPATH": paths}, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout.strip()) == (0, "4"), done.stderr
