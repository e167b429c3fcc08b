"""Online from a cold start: which share of the strong calls the default policy saves, and whether the floor is kept.

Every question comes once. All strong calls count: serving, shadow, audits (guides are off: nobody recorded what they
would have done). The judge sees the recorded scores of a question only when both models were called for it.

- `graded`: it tells the two scores, so that learning knows a weak answer that is better, and how good the strong model
  itself is. This assumes a judge that grades against the truth.
- `verdict`: it tells only whether the weak score is at least the strong one. The allowance is then taken of a strong
  model held to be perfect, and a weak answer that is better counts as a tie.

- `comparing`: the router's own `auto` judge reads the recorded answers, where there are any. That is what a router in
  production has. Of two wrong answers it only sees that they differ, and of a weak one that is better, too.

Beside it, at the same realised quality: random mixing, and k-nearest neighbours (k=40) that see the outcomes of all
earlier questions free of charge and whose threshold is the best one in hindsight.

    RAR_DATA=... python benchmarks/online_floor.py [--data mmlu gsm8k mmlu_pro] [--shuffles 5] [--questions N] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace

import numpy as np
from _data import gsm8k, mmlu, mmlu_pro

from rar import Reply
from rar.evaluation import Online, Table, embedded, shuffle, stream
from rar.evaluation.baselines import Baseline, nearest_neighbours
from rar.evaluation.comparing import comparing_judge, has_answers, verdicts
from rar.evaluation.metrics import Curve, Interval, bootstrap, calls_for, curve, ratio
from rar.evaluation.points import KEPT_WITHIN
from rar.evaluation.recorded import RecordedJudge
from rar.learning.judges import Judge, Verdict
from rar.strategy import Steps
from rar.values import Request

TABLES = {"mmlu": mmlu, "gsm8k": gsm8k, "mmlu_pro": mmlu_pro}
FLOORS = {"mmlu": (0.90, 0.905, 0.95, 0.98), "gsm8k": (0.90, 0.95, 0.98), "mmlu_pro": (0.90, 0.95)}
JUDGES = ("graded", "verdict", "comparing")
MARKS = {("mmlu", 0.905): 0.72, ("mmlu", 0.95): 0.45, ("mmlu", 0.98): 0.20, ("gsm8k", 0.95): 0.25}


@dataclass(frozen=True)
class VerdictOnly:
    """The recorded judge without its grades."""

    judge: RecordedJudge
    name: str = "verdict"

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        verdict = yield from self.judge.steps(request, reference, candidate)
        return Verdict(verdict.agrees, self.name)


@dataclass(frozen=True)
class Row:
    """One floor. Qualities are shares of the strong model's, calls are shares of the questions."""

    data: str
    judge: str
    floor: float
    saved: Interval
    mark: float | None
    realised: Interval
    second_half: tuple[float, ...]  # realised quality of each shuffle's
    audits: float
    random_mixing: float  # strong calls saved at the same realised quality
    nearest_neighbours: float

    @property
    def kept(self) -> bool:
        return min(self.second_half) >= self.floor - KEPT_WITHIN


def judge_of(name: str, asked: Table) -> Judge:
    recorded = RecordedJudge(asked)
    if name == "comparing":
        return comparing_judge("minilm")
    return recorded if name == "graded" else VerdictOnly(recorded)


def replayed(table: Table, quality: float, judge: str, shuffles: int) -> Online:
    runs = []
    for seed in range(shuffles):
        order = shuffle(table, seed)
        asked = table.take(order)
        run = stream(asked, quality=quality, seed=seed, judge=judge_of(judge, asked))
        runs.append(replace(run, rows=order))
    return Online(table, quality, tuple(runs))


def row(data: str, judge: str, result: Online, neighbours: list[np.ndarray]) -> Row:
    table, n = result.table, len(result.table)
    mixed = Curve(np.array([0.0, 1.0]), np.array([table.weak.mean(), table.strong.mean()]))
    needed = [
        calls_for(curve(score, run.table.weak, run.table.strong), min(run.scores.mean(), table.strong.mean()))
        for score, run in zip(neighbours, result.runs, strict=True)
    ]
    return Row(
        data,
        judge,
        result.quality,
        bootstrap(ratio(1.0 - result.strong_calls, np.ones(n)), n),
        MARKS.get((data, result.quality)),
        bootstrap(ratio(result.scores, table.strong), n),
        tuple(result.second_half.tolist()),
        float(np.mean([run.audited.mean() for run in result.runs])),
        1.0 - calls_for(mixed, min(result.scores.mean(), table.strong.mean())),
        1.0 - float(np.mean(needed)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--judges", nargs="+", choices=JUDGES, default=list(JUDGES))
    parser.add_argument("--quality", type=float, nargs="+", help="floors other than those of the marks")
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--questions", type=int)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = []
    for data in args.data:
        table = embedded(TABLES[data](args.questions))
        knn = Baseline("k-nearest neighbours", nearest_neighbours, growth=1.05)
        neighbours = [knn.prequential(table.take(shuffle(table, seed))) for seed in range(args.shuffles)]
        if not args.json:
            print(f"\n{data}: {len(table)} questions, {args.shuffles} shuffles, {table.embedder_id}")
            print(
                "judge     floor   strong calls saved       mark   realised quality        second half, worst", end=""
            )
            print("      audits   same quality: random  kNN")
        judges = [judge for judge in args.judges if judge != "comparing" or has_answers(table)]
        if not args.json and has_answers(table):
            said, n = verdicts(table, comparing_judge("minilm")), len(table)
            print(f"comparing: agrees on {said[True] / n:.1%}, cannot tell on {said[None] / n:.1%}; ", end="")
            print(f"weak is good enough on {(table.weak >= table.strong).mean():.1%}")
        for judge in judges:
            for quality in args.quality or FLOORS[data]:
                made = row(data, judge, replayed(table, quality, judge, args.shuffles), neighbours)
                found.append({**asdict(made), "floor_kept": made.kept})
                if not args.json:
                    show(made)
    if args.json:
        json.dump(found, sys.stdout)


def show(row: Row) -> None:
    mark = "" if row.mark is None else f">= {row.mark:.0%}"
    print(
        f"{row.judge:<9} {row.floor:<5}  {interval(row.saved):<22} {mark:>7}   {interval(row.realised):<22}  "
        f"{min(row.second_half):>6.1%} {'(kept)' if row.kept else '(NOT kept)':<11} {row.audits:>12.1%} "
        f"{row.random_mixing:>21.1%} {row.nearest_neighbours:>5.1%}",
        flush=True,
    )


def interval(found: Interval) -> str:
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


if __name__ == "__main__":
    main()
