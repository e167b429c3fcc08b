"""Child processes of `test_memory_durability.py`: `python -m tests.core.memory_child PATH NAME`."""

from __future__ import annotations

import itertools
import os
import sys

import numpy as np

from rar.memory.base import Batch, PolicyStep
from rar.memory.sqlite import SQLiteMemory
from tests.contract.memory import DIM, experience, found, guide, spend, trial

BATCH = 5
SHARED = 12


def batch(name: str, n: int) -> Batch:
    """`BATCH` experiences, each with a trial; a guide, a step and a dollar: all of it is there, or none."""
    ids = [f"{name}-{n}-{i}" for i in range(BATCH)]
    rng = np.random.default_rng([n, *name.encode()])
    return Batch(
        tuple(experience(id, rng.normal(size=DIM).astype(np.float32), text=f"{id} " * 200) for id in ids),
        (guide(f"{name}-{n}"),),
        tuple(trial(id) for id in ids),
        (PolicyStep("default", 1e-6),),
        (spend(1.0),),
    )


def write_until_killed(path: str, name: str, pipe: int) -> None:
    """Say each batch's number on `pipe` once it is committed."""
    memory = SQLiteMemory(path)
    for n in itertools.count():
        memory.write(batch(name, n))
        os.write(pipe, f"{n}\n".encode("ascii"))


def write_and_search(path: str, name: str) -> None:
    """Write beside others, find each own batch at once, and in the end the others' batches too."""
    with SQLiteMemory(path) as memory:
        for n in range(SHARED):
            mine = batch(name, n)
            memory.write(mine)
            for one in mine.experiences:
                if one.id not in found(memory, one.embedding, limit=3):
                    sys.exit(f"{one.id} was not found after it was written")
        print("done", flush=True)
        everybody = sys.stdin.readline().split()
        for other, n in itertools.product(everybody, range(SHARED)):
            for one in batch(other, n).experiences:
                if one.id not in found(memory, one.embedding, limit=3):
                    sys.exit(f"{one.id} of {other} was not found")
        print("found all", flush=True)


if __name__ == "__main__":
    write_and_search(*sys.argv[1:])
