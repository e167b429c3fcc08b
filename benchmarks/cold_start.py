"""How soon a process decides on a full memory, how long its decisions take then, and what it occupies.

Each figure is of a fresh process that opens a memory which another one filled: with the read model's files beside it,
and without them, as after a restore. Questions are looked up in a table, so that no embedding is in the figures.

    python benchmarks/cold_start.py [--records 100000 1000000] [--calls 1000] [--without]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
from decision_latency import CLUSTERS, DIM, LIMIT, MODELS, Table, clustered, filled, raw_index, timed

from rar import Router, SQLiteMemory
from rar.memory import Batch, index
from rar.values import Experience, Vector, question


def centres() -> Vector:
    found = np.random.default_rng(0).normal(size=(CLUSTERS, DIM)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def asked(calls: int) -> tuple[list[str], Vector]:
    texts = [f"New question number {n} about topic {n % CLUSTERS}?" for n in range(calls)]
    return texts, clustered(np.random.default_rng(2), centres(), calls)


def fill(path: Path, records: int) -> tuple[float, float]:
    """Seconds that writing the records took, and that building the graph took."""
    began = time.perf_counter()
    texts = [f"Stored question number {n} about topic {n % CLUSTERS}?" for n in range(records)]
    memory = filled(path, texts, clustered(np.random.default_rng(1), centres(), records), cap=2 * records)
    written = time.perf_counter()
    memory.search(centres()[0], namespace="default", task="answer")
    memory.settle()
    memory.close()
    return written - began, time.perf_counter() - written


def occupied() -> int:
    """Megabytes of this process that are in memory, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096 // 2**20


def measure(path: Path, calls: int) -> dict[str, float]:
    """What a fresh process sees."""
    texts, vectors = asked(calls + 1)
    empty = occupied()
    began = time.perf_counter()
    memory = SQLiteMemory(path)
    opened = time.perf_counter()
    with Router(memory=memory, embedder=Table(dict(zip(texts, vectors, strict=True)))) as router:
        requests = [question(text) for text in texts]
        router.embedder.embed(texts)  # type: ignore[union-attr]
        first = timed(router.decide, requests[0], MODELS)
        times = np.array([timed(router.decide, request, MODELS) for request in requests[1:]])
        rss = occupied()
        again = np.array([timed(router.decide, request, MODELS) for request in requests[1:]])
    memory.close()
    return {
        "open_ms": (opened - began) * 1e3, "first_ms": first, "median_ms": float(np.median(times)),
        "p95_ms": float(np.percentile(times, 95)), "warm_ms": float(np.median(again)),
        "warm_p95_ms": float(np.percentile(again, 95)), "rss_mb": rss, "added_mb": rss - empty,
    }  # fmt: skip


def measure_rebuild(path: Path, calls: int) -> dict[str, float]:
    """The same decisions before a graph is built anew, as if many of its rows were dead, and while it is."""
    texts, vectors = asked(calls)
    with SQLiteMemory(path, cap=10_000_000) as memory:
        with Router(memory=memory, embedder=Table(dict(zip(texts, vectors, strict=True)))) as router:
            requests = [question(text) for text in texts]
            for request in requests:
                router.decide(request, MODELS)
            router.flush()
            memory.settle()
            before = [timed(router.decide, request, MODELS) for request in requests]
            index.SWEEP_AT = -1.0
            late = Experience("late", "default", "answer", "late", "", vectors[0])
            memory.write(Batch((late,)))
            router.decide(requests[0], MODELS)
            shard = memory._index._shards["default", "answer", ""]
            index.SWEEP_AT = 0.25
            during: list[float] = []
            while shard.building and len(during) < 20 * calls:
                during.append(timed(router.decide, requests[len(during) % calls], MODELS))
        memory.delete(ids=["late"])
    return {
        "before_ms": float(np.median(before)), "before_p95_ms": float(np.percentile(before, 95)),
        "during_ms": float(np.median(during)), "during_p95_ms": float(np.percentile(during, 95)), "n": len(during),
    }  # fmt: skip


def in_a_fresh_process(path: Path, calls: int, what: str = "--measure") -> dict[str, float]:
    command = [sys.executable, __file__, what, str(path), "--calls", str(calls)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - this script itself
    found: dict[str, float] = json.loads(done.stdout)
    return found


def raw_search(records: int, calls: int) -> float:
    """The median of a search in a graph of the same vectors, alone."""
    faiss.omp_set_num_threads(1)
    index = raw_index(clustered(np.random.default_rng(1), centres(), records), flat=False)
    return float(np.median([timed(index.search, vector[np.newaxis], LIMIT) for vector in asked(calls)[1]]))


def report(records: int, calls: int, *, without: bool, raw: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rar.db"
        written, built = fill(path, records)
        size = sum(file.stat().st_size for file in Path(folder).iterdir() if "-index" in file.name) / 2**20
        print(f"{records:,} records written in {written:.0f} s, graph built in {built:.0f} s, {size:,.0f} MB of files")
        print(_line("with files", in_a_fresh_process(path, calls)), flush=True)
        found = in_a_fresh_process(path, calls, "--rebuild")
        print(
            f"  again {found['before_ms']:.2f} / {found['before_p95_ms']:.2f} ms, while a graph is built anew "
            f"{found['during_ms']:.2f} / {found['during_p95_ms']:.2f} ms ({found['n']:.0f} decisions)", flush=True
        )  # fmt: skip
        if without:
            for file in Path(folder).iterdir():
                if "-index" in file.name:
                    file.unlink()
            print(_line("without files", in_a_fresh_process(path, calls)), flush=True)
    if raw:
        print(f"  raw graph search, median: {raw_search(records, calls):.3f} ms", flush=True)


def _line(name: str, found: dict[str, float]) -> str:
    return (
        f"  {name:<14} open {found['open_ms']:7.1f} ms  first {found['first_ms']:8.1f} ms  "
        f"then {found['median_ms']:.2f} / {found['p95_ms']:.2f} ms  again {found['warm_ms']:.2f} / "
        f"{found['warm_p95_ms']:.2f} ms  RSS {found['rss_mb']:.0f} MB ({found['added_mb']:.0f} MB added)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[100_000])
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--without", action="store_true", help="also start without the files")
    parser.add_argument("--raw", action="store_true", help="also search in a bare graph")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rebuild", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure is not None:
        print(json.dumps(measure(args.measure, args.calls)))
        return
    if args.rebuild is not None:
        print(json.dumps(measure_rebuild(args.rebuild, args.calls)))
        return
    print(f"{args.calls} new questions; milliseconds as median / p95")
    for records in args.records:
        report(records, args.calls, without=args.without, raw=args.raw)


if __name__ == "__main__":
    main()
