"""How long a decision takes on a full memory, beside the raw FAISS search that it contains.

The embedding is apart (see benchmarks/embedding.py): questions are looked up in a table of unit vectors that cluster
like sentences do. Router and raw index are asked the same questions in turn, in one process.

    python benchmarks/decision_latency.py [--records 10000 100000] [--calls 2000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from rar import FunctionModel, Router, SQLiteMemory
from rar.memory import Batch, experience_id, keyed_digest
from rar.sameness import signature
from rar.values import Experience, Trial, Vector, question

DIM, CLUSTERS, LIMIT = 384, 500, 16
MODELS = {"weak": FunctionModel(lambda _: "", "small"), "strong": FunctionModel(lambda _: "", "big")}


class Table:
    """An embedder that knows its texts already."""

    id, dim = "table", DIM

    def __init__(self, vectors: dict[str, Vector]) -> None:
        self.vectors = vectors

    def embed(self, texts: Sequence[str]) -> Vector:
        return np.stack([self.vectors[text] for text in texts])


def clustered(chance: np.random.Generator, centres: Vector, n: int) -> Vector:
    vectors = centres[chance.integers(len(centres), size=n)] + chance.normal(size=(n, DIM)).astype(np.float32) * 0.05
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def filled(path: Path, texts: list[str], vectors: Vector, **options: Any) -> SQLiteMemory:
    memory = SQLiteMemory(path, **options)
    memory.bind("table", DIM)
    for start in range(0, len(texts), 5_000):
        batch = []
        trials = []
        for text, vector in zip(texts[start : start + 5_000], vectors[start : start + 5_000], strict=True):
            id = experience_id(memory.secret, "default", "answer", text)
            mark = keyed_digest(memory.secret, signature(text))
            batch.append(Experience(id, "default", "answer", text, mark, vector, created_at=1.0, updated_at=1.0))
            trials.append(Trial(id, None, "small", "big", len(trials) % 3 > 0, 1.0))
        memory.write(Batch(experiences=tuple(batch), trials=tuple(trials)))
    return memory


def raw_index(vectors: Vector, *, flat: bool) -> faiss.Index:
    if flat:
        index = faiss.IndexFlatIP(DIM)
    else:
        index = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = 64
    index.add(vectors)
    return index


def timed(function: Callable[..., object], *args: object) -> float:
    start = time.perf_counter()
    function(*args)
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--calls", type=int, default=2_000)
    args = parser.parse_args()
    print(f"{args.calls} new questions each, {LIMIT} neighbours, milliseconds (median / p95); ratios of medians")
    print("records   decide            raw FAISS HNSW    raw FAISS flat    decide/HNSW  decide/flat")
    for records in args.records:
        report(records, args.calls)


def report(records: int, calls: int) -> None:
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    texts = [f"Stored question number {n} about topic {n % CLUSTERS}?" for n in range(records)]
    asked = [f"New question number {n} about topic {n % CLUSTERS}?" for n in range(calls)]
    stored, new = clustered(chance, centres, records), clustered(chance, centres, calls)
    table = Table(dict(zip(asked, new, strict=True)))
    hnsw, flat = raw_index(stored, flat=False), raw_index(stored, flat=True)
    times: npt.NDArray[np.float64] = np.zeros((calls, 3))
    with tempfile.TemporaryDirectory() as folder:
        memory = filled(Path(folder) / "rar.db", texts, stored)
        with Router(memory=memory, embedder=table, learning="off") as router:
            requests = [question(text) for text in asked]
            router.embedder.embed(asked)  # type: ignore[union-attr]
            router.decide(requests[0], MODELS)  # loads the index, whose graph is then built in the background
            memory.settle()
            for n, request in enumerate(requests):
                vector = new[n : n + 1]
                times[n] = (
                    timed(router.decide, request, MODELS),
                    timed(hnsw.search, vector, LIMIT),
                    timed(flat.search, vector, LIMIT),
                )
        memory.close()
    median, p95 = np.median(times, axis=0), np.percentile(times, 95, axis=0)
    cells = "  ".join(f"{median[k]:6.3f} / {p95[k]:6.3f}" for k in range(3))
    print(f"{records:>7}   {cells}  {median[0] / median[1]:>10.2f}  {median[0] / median[2]:>11.2f}")


if __name__ == "__main__":
    main()
