"""What the learned routers are worth, how fast they are and how large: fitted to one part, asked about another.

APGR is the exact area under the share of the gap that is recovered, over the share of strong calls; a random score has
0.5. Halves are random (seeds 0, 1, ...), left-out subjects are five parts, each scored by a router that saw the others
and ranked within itself. Seconds to fit are those to a half. Scores in a second are those of 2,000 texts at once, their
vectors given, words counted anew; a router that keeps what it saw has by then seen all.

    RAR_DATA=... python benchmarks/routers.py [--routers stacked elo ...] [--data mmlu gsm8k] [--splits 3]
        [--questions N] [--left-out | --no-left-out]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from _data import gsm8k, mmlu

from rar.errors import MissingDependencyError
from rar.evaluation import Table, embedded
from rar.evaluation.metrics import apgr
from rar.linear import Array, terms
from rar.routers import ROUTERS, LearnedRouter
from rar.routers.neighbours import NeighbourRouter

Rows: TypeAlias = npt.NDArray[np.intp]
TABLES = {"mmlu": mmlu, "gsm8k": gsm8k}
PARTS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routers", nargs="+", choices=ROUTERS, default=list(ROUTERS), metavar="NAME")
    parser.add_argument("--data", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--splits", type=int, default=3, help="random halvings")
    parser.add_argument("--questions", type=int, help="of each data set, at most")
    parser.add_argument("--left-out", action=argparse.BooleanOptionalAction, default=True, help="also whole subjects")
    args = parser.parse_args()
    for data in args.data:
        table = embedded(TABLES[data](args.questions))
        print(f"\n{data}, {len(table)} questions")
        print("router     halves  each split            left out  fit s  scores/s      MiB", flush=True)
        for name in args.routers:
            try:
                measured = measure(name, table, args.splits, left_out=args.left_out)
            except MissingDependencyError as error:
                measured = f"skipped: {error}"
            print(f"{name:<10} {measured}", flush=True)


def measure(name: str, table: Table, splits: int, *, left_out: bool) -> str:
    halves, seconds = [], []
    for seen, asked in halvings(len(table), splits):
        began = time.perf_counter()
        router = ROUTERS[name]().fit(table.take(seen))
        seconds.append(time.perf_counter() - began)
        halves.append(float(apgr(scores(router, table.take(asked)), table.weak[asked], table.strong[asked])))
    each = " ".join(f"{half:.4f}" for half in halves)
    outside = f"{of_new_subjects(name, table):.4f}" if left_out and table.groups is not None else "-"
    size = megabytes(router)
    if isinstance(router, NeighbourRouter):
        router.update(table.take(asked))
    return (
        f"{np.mean(halves):.4f}  {each:<20}  {outside:>8} {np.mean(seconds):>6.1f} {speed(router, table):>9,.0f} "
        f"{size:>8.2f}"
    )


def halvings(n: int, splits: int) -> Iterator[tuple[Rows, Rows]]:
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(n)
        yield order[: n // 2], order[n // 2 :]


def scores(router: LearnedRouter, table: Table) -> Array:
    return router.score(table.texts, table.vectors)


def of_new_subjects(name: str, table: Table) -> float:
    """APGR on subjects that were not seen, scores being ranked within each part, as their levels may differ."""
    assert table.groups is not None
    groups = np.unique(table.groups)
    part = dict(zip(groups, np.random.default_rng(0).permutation(len(groups)) % PARTS, strict=True))
    parts = np.array([part[group] for group in table.groups])
    ranks = np.zeros(len(table))
    for number in range(PARTS):
        asked = np.flatnonzero(parts == number)
        router = ROUTERS[name]().fit(table.take(np.flatnonzero(parts != number)))
        found = scores(router, table.take(asked))
        ranks[asked] = np.searchsorted(np.sort(found), found) / len(found)
    return float(apgr(ranks, table.weak, table.strong))


def speed(router: LearnedRouter, table: Table, texts: int = 2_000) -> float:
    """Scores in a second, of texts that come at once with their vectors; the best of three."""
    some = table.take(range(min(texts, len(table))))
    taken = []
    for _ in range(3):
        terms.cache_clear()
        began = time.perf_counter()
        scores(router, some)
        taken.append(time.perf_counter() - began)
    return len(some) / min(taken)


def megabytes(router: LearnedRouter) -> float:
    with tempfile.TemporaryDirectory() as folder:
        router.save(folder)
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 2**20


if __name__ == "__main__":
    main()
