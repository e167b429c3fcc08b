"""A judge that errs: what becomes of the floor and of the savings, without labels and with 200 of them.

The recorded judge of `online_floor.py`, which only compares, is flipped on purpose. `5 %` and `10 %` flip both ways.
`passes` lets a fifth of the worse answers pass, `refuses` refuses a fifth of the good ones. A question that is judged
again gets the same verdict. `auto` is no flip, but the router's own judge on recorded answers, where there are any. It
only sees that two wrong answers differ, and that a better weak one does. With labels, a person grades pairs as they
come (`router.to_label`, `router.label`) until there are 200. The recorded scores are the truth.

Marks: with labels, the realised quality of the second half is within one point of the floor. Half of the savings are
restored that the errors cost, of the difference to the judge that does not err.

    RAR_DATA=... python benchmarks/judge_error.py [--data mmlu gsm8k mmlu_pro] [--shuffles 5] [--questions N] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
from _data import gsm8k, mmlu, mmlu_pro, versions

from rar import Reply, Router
from rar.evaluation import Run, Table, embedded, shuffle, stream
from rar.evaluation.comparing import comparing_judge, has_answers
from rar.evaluation.recorded import RecordedJudge, row_of
from rar.learning.judges import Judge, Verdict
from rar.strategy import Steps
from rar.values import Request

TABLES = {"mmlu": mmlu, "gsm8k": gsm8k, "mmlu_pro": mmlu_pro}
AUTO = "auto"
LABELS, AT_ONCE, BETWEEN = 200, 10, 50  # labels in all, at a time, and questions between two times
WITHIN, RESTORED = 0.01, 0.5


@dataclass(frozen=True)
class Flips:
    """How often a judge passes a worse answer, and refuses one that is as good."""

    passes: float
    refuses: float


FLIPS = {
    "none": Flips(0.0, 0.0),
    "5 %": Flips(0.05, 0.05),
    "10 %": Flips(0.1, 0.1),
    "passes 20 %": Flips(0.2, 0.0),
    "refuses 20 %": Flips(0.0, 0.2),
}


@dataclass(frozen=True)
class Flipped:
    """A judge that only compares, and errs by chance."""

    judge: RecordedJudge
    flips: Flips
    seed: int
    name: str = "flipped"

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        verdict = yield from self.judge.steps(request, reference, candidate)
        chance = self.flips.refuses if verdict.agrees else self.flips.passes
        drawn = np.random.default_rng((self.seed, row_of(self.judge.outcomes, request))).random()
        return Verdict(verdict.agrees != (drawn < chance), self.name)


@dataclass(frozen=True)
class Shown:
    """One kind of errors at one floor: means over the shuffles. Qualities are shares of the strong model's."""

    data: str
    errors: str
    floor: float
    labels: int
    saved: float
    saved_second_half: float
    realised: float
    second_half: float
    by_shuffle: tuple[float, ...]  # realised quality of each second half


def person(table: Table, places: dict[str, int]) -> Callable[[Router], None]:
    """Somebody who grades some of what is at hand, up to `LABELS`."""
    given: list[str] = []

    def grade(router: Router) -> None:
        for pair in router.to_label(min(AT_ONCE, LABELS - len(given))):
            row = places[pair.question]
            router.label(pair.decision_id, weak=table.weak[row], strong=table.strong[row], weight=pair.weight)
            given.append(pair.decision_id)

    return grade


def judge_of(errs: str, asked: Table, seed: int) -> Judge:
    return comparing_judge("minilm") if errs == AUTO else Flipped(RecordedJudge(asked), FLIPS[errs], seed)


def replayed(table: Table, floor: float, errs: str, labels: int, seed: int) -> Run:
    order = shuffle(table, seed)
    asked = table.take(order)
    grade = person(asked, {text: row for row, text in enumerate(asked.texts)})
    times = range(BETWEEN, len(asked), BETWEEN) if labels else ()
    judge = judge_of(errs, asked, seed)
    run = stream(asked, quality=floor, seed=seed, judge=judge, changes=dict.fromkeys(times, grade))
    return replace(run, rows=order)


def shown(data: str, errs: str, floor: float, labels: int, runs: list[Run]) -> Shown:
    half = slice(len(runs[0].table) // 2, None)
    second = tuple(run.realised(half) for run in runs)
    return Shown(
        data, errs, floor, labels,
        float(np.mean([run.saved() for run in runs])),
        float(np.mean([run.saved(half) for run in runs])),
        float(np.mean([run.realised() for run in runs])),
        float(np.mean(second)),
        second,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--errors", nargs="+", choices=(*FLIPS, AUTO), default=[*FLIPS, AUTO])
    parser.add_argument("--quality", type=float, nargs="+", default=[0.9, 0.95])
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--questions", type=int)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found: list[Shown] = []
    if not args.json:
        print(versions())
    for data in args.data:
        table = embedded(TABLES[data](args.questions))
        kinds = [errs for errs in args.errors if errs != AUTO or has_answers(table)]
        if not args.json:
            print(f"\n{data}: {len(table)} questions, {args.shuffles} shuffles")
            print("errors        floor  labels   saved   second half: saved  quality  worst")
        for floor in args.quality:
            for errs in kinds:
                for labels in (0, LABELS):
                    runs = [replayed(table, floor, errs, labels, seed) for seed in range(args.shuffles)]
                    found.append(shown(data, errs, floor, labels, runs))
                    if not args.json:
                        show(found[-1])
    if args.json:
        json.dump([asdict(one) for one in found], sys.stdout)
    else:
        marks(found)


def show(one: Shown) -> None:
    print(
        f"{one.errors:<13} {one.floor:<5} {one.labels:>7} {one.saved:>7.1%} {one.saved_second_half:>20.1%} "
        f"{one.second_half:>8.1%} {min(one.by_shuffle):>6.1%}",
        flush=True,
    )


def marks(found: list[Shown]) -> None:
    """What was asked for, beside what came of it."""
    print("\nmarks     errors        floor  within a point         savings lost, restored")
    of = {(one.data, one.errors, one.floor, one.labels): one for one in found}
    for one in found:
        if one.errors == "none" or not one.labels:
            continue
        true, bare = of.get((one.data, "none", one.floor, 0)), of[one.data, one.errors, one.floor, 0]
        off = one.second_half - one.floor
        kept = f"{off:+.1%} {'met' if abs(off) <= WITHIN else 'MISSED'}"
        lost = "" if true is None else restored(true, bare, one)
        print(f"{one.data:<9} {one.errors:<13} {one.floor:<6} {kept:<22} {lost}")


def restored(true: Shown, bare: Shown, labelled: Shown) -> str:
    lost = true.saved_second_half - bare.saved_second_half
    if lost <= 0.0:
        return "none was lost"
    share = (labelled.saved_second_half - bare.saved_second_half) / lost
    return f"{lost:.1%}, {share:.0%} {'met' if share >= RESTORED else 'MISSED'}"


if __name__ == "__main__":
    main()
