"""The quality floor as it is kept: pairs of real models, orders of questions, judges, floors, from a cold start.

One row an order and floor. "Below" is the share of runs whose stream lies under the floor by more than two of its own
standard errors, "window" that of runs in which any 500 calls in a row lie more than five points under it. "First" is
the realised quality of questions that come for the first time. Quality is the share of the strong model's.

    RAR_DATA=... python benchmarks/floor_matrix.py [--pairs mmlu gsm8k …] [--orders shuffled …] [--floors 0.9 0.95]
        [--judges graded verdict] [--promise 0.95] [--seeds 5] [--each]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from itertools import product

import numpy as np
from _pairs import orders, pairs
from online_floor import VerdictOnly

from rar.evaluation import stream
from rar.evaluation.recorded import RecordedJudge
from rar.evaluation.runs import Run
from rar.outcomes import Outcomes

WINDOW, DEPTH = 500, 0.05


@dataclass(frozen=True)
class Found:
    """One run; qualities are shares of the strong model's."""

    floor: float
    saved: float
    realised: float
    halves: tuple[float, float]
    first: float
    below: bool
    window: float | None  # lowest of any `WINDOW` calls in a row; None of shorter streams
    audits: float

    @property
    def worst_half(self) -> float:
        return min(self.halves)


def found_of(run: Run, floor: float) -> Found:
    served, strong, n = run.scores, run.table.strong, len(run.table)
    lost = floor * strong - served
    error = float(lost.std(ddof=1)) / np.sqrt(n)
    first = np.unique(np.array(run.table.texts, object), return_index=True)[1]
    half = n // 2
    return Found(
        floor,
        run.saved(),
        run.realised(),
        (run.realised(slice(0, half)), run.realised(slice(half, n))),
        float(served[first].sum() / strong[first].sum()),
        float(lost.mean()) > 2.0 * error,
        _window(served, strong),
        float(run.audited.mean()),
    )


def _window(served: np.ndarray, strong: np.ndarray) -> float | None:
    if len(served) < 2 * WINDOW:
        return None
    sums = [np.concatenate([[0.0], np.cumsum(one)]) for one in (served, strong)]
    kept, of = (one[WINDOW:] - one[:-WINDOW] for one in sums)
    return float((kept / np.maximum(of, 1e-9)).min())


def replayed(table: Outcomes, floor: float, judge: str, seed: int, promise: float | None) -> Found:
    recorded = RecordedJudge(table)
    options = {} if promise is None else {"promise": promise}
    run = stream(
        table, quality=floor, seed=seed, judge=recorded if judge == "graded" else VerdictOnly(recorded), **options
    )
    return found_of(run, floor)


def main() -> None:
    known, ways = pairs(), orders()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", choices=known, default=list(known))
    parser.add_argument("--orders", nargs="+", choices=ways, default=list(ways))
    parser.add_argument("--judges", nargs="+", choices=("graded", "verdict"), default=["graded", "verdict"])
    parser.add_argument("--floors", type=float, nargs="+", default=[0.90, 0.95])
    parser.add_argument("--promise", type=float)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--each", action="store_true", help="a row for each pair, too")
    args = parser.parse_args()
    tables = {name: known[name]() for name in args.pairs}
    print(f"{len(tables)} pairs, {args.seeds} seeds, promise {args.promise}: " + ", ".join(tables))
    print(_HEAD)
    for judge, floor, order in product(args.judges, args.floors, args.orders):
        runs: list[Found] = []
        for name, table in tables.items():
            own = [replayed(ways[order](table, seed), floor, judge, seed, args.promise) for seed in range(args.seeds)]
            runs += own
            if args.each:
                show(judge, floor, f"  {order}: {name}", own)
        show(judge, floor, order, runs)


_HEAD = (
    f"{'judge':<8}{'floor':>5} {'order':<30}{'saved':>7}{'quality':>9}{'worst half':>11}{'first':>8}{'below':>8}"
    f"{'window':>8}{'audits':>8}"
)


def show(judge: str, floor: float, what: str, runs: list[Found]) -> None:
    windows = [one.window for one in runs if one.window is not None]
    deep = f"{np.mean([low < floor - DEPTH for low in windows]):>8.0%}" if windows else " " * 8
    print(
        f"{judge:<8}{floor:>5} {what:<30}{np.mean([one.saved for one in runs]):>7.1%}"
        f"{np.mean([one.realised for one in runs]):>9.2%}{min(one.worst_half for one in runs):>11.1%}"
        f"{np.mean([one.first for one in runs]):>8.1%}{np.mean([one.below for one in runs]):>8.0%}{deep}"
        f"{np.mean([one.audits for one in runs]):>8.1%}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
