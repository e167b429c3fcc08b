"""Three models online from a cold start: which share of the dearest model's cost buys which share of its quality?

Recorded answers of Llama-3.1-8B (`weak`), Mistral-Large-2512 (`mid`) and Gemini-2.5-Pro (`strong`) to questions of 31
benchmarks, each with a judge's score and what the call really cost. Every question comes once, in random order. All
calls are charged at their recorded cost: serving, shadow, audits. The judge tells scores only of models that were
called. The router is told each model's mean price.

Two changes follow after 600 questions. In one the model in the middle joins: a new router has it and the old one's
memory, as after a restart. In the other it cost more than the dearest one, and the running router is told that it
became cheap. What counts is how many questions later it serves most of those that it answers well enough and that the
weak model is not trusted with.

    RAR_DATA=... python benchmarks/three_models.py [--seeds 3] [--floors 0.95 0.99] [--questions N] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from itertools import count

import numpy as np
from _data import rows

from rar import SQLiteMemory
from rar.evaluation import Run, embedded, replay_online, shuffle, stream
from rar.evaluation.prices import engine_prices
from rar.outcomes import Outcomes

WEAK, MID, STRONG = MODELS = ("llama-3.1-8b-instruct", "mistral-large-2512", "gemini-2.5-pro")
MARKS = {0.95: 0.08, 0.99: 0.25}  # of the dearest model's cost
CHANGE, WITHIN, WINDOW = 600, 150, 50  # questions
PART = 255  # questions of each part of the course
DEAR = 40.0  # times its price is what the model in the middle costs before that falls: more than the dearest one


@dataclass(frozen=True)
class Floor:
    """Means over the seeds, and each one's own figures. Qualities and costs are shares of the dearest model's."""

    floor: float
    quality: tuple[float, ...]
    cost: tuple[float, ...]
    served: dict[str, float]
    calls: dict[str, float]
    course: list[tuple[float, float]]  # quality and cost of each part of the stream

    @property
    def met(self) -> bool:
        mark = MARKS.get(self.floor)
        return mark is not None and np.mean(self.quality) >= self.floor and np.mean(self.cost) <= mark


@dataclass(frozen=True)
class Change:
    """How soon the model in the middle came into use after a change, by seed; None: it did not."""

    what: str
    floor: float
    first: list[int | None]  # questions after which it served one
    most: list[int | None]  # questions after which it served most of what it should

    @property
    def met(self) -> bool:
        return all(after is not None and after <= WITHIN for after in self.most)


def three_models(questions: int | None) -> Outcomes:
    """The recorded outcomes, with embeddings."""
    found = rows("three_models_judged_cost.csv.gz")[:questions]

    def column(kind: str) -> np.ndarray:
        return np.array([[float(row[f"{kind}:{model}"]) for model in MODELS] for row in found])

    texts, sources = tuple(row["prompt"] for row in found), tuple(row["source"] for row in found)
    return embedded(Outcomes(texts, column("reward"), MODELS, groups=sources, costs=column("usd"), name="three models"))


def floor(outcomes: Outcomes, quality: float, seeds: int) -> Floor:
    runs = replay_online(outcomes, quality=quality, shuffles=seeds).runs
    parts = [slice(start, start + PART) for start in range(0, len(outcomes), PART)]
    return Floor(
        quality,
        tuple(run.realised() for run in runs),
        tuple(run.cost_ratio() for run in runs),
        {role: float(np.mean([run.shares()[role] for run in runs])) for role in outcomes.roles},
        {role: float(np.mean([run.call_shares()[role] for run in runs])) for role in outcomes.roles},
        [tuple(np.mean([(run.realised(part), run.cost_ratio(part)) for run in runs], 0).tolist()) for part in parts],
    )


def joined(outcomes: Outcomes, quality: float, seed: int) -> Run:
    """What became of the questions from the one on at which the model in the middle joined."""
    order, ticks = shuffle(outcomes, seed), count(0.0, 0.1)
    with SQLiteMemory(":memory:") as memory:
        options = {"quality": quality, "seed": seed, "memory": memory, "clock": lambda: next(ticks)}
        stream(outcomes.of_models(WEAK, STRONG).take(order[:CHANGE]), **options)
        return stream(outcomes.take(order[CHANGE:]), **options)


def fallen(outcomes: Outcomes, quality: float, seed: int) -> Run:
    """What became of the questions from the one on at which the model in the middle was cheap."""
    asked = outcomes.take(shuffle(outcomes, seed))
    dear = np.where(np.arange(len(asked))[:, None] < CHANGE, (1.0, DEAR, 1.0), 1.0)
    before, now = engine_prices(replace(asked, costs=asked.call_costs * (1.0, DEAR, 1.0))), engine_prices(asked)
    run = stream(
        replace(asked, costs=asked.call_costs * dear),
        quality=quality,
        seed=seed,
        prices=before,
        changes={CHANGE: lambda router: router.set_prices(now)},
    )
    return run.part(slice(CHANGE, None))


def first_use(run: Run) -> int | None:
    used = np.flatnonzero(run.served == MID)
    return int(used[0]) + 1 if len(used) else None


def most_use(run: Run) -> int | None:
    """Questions until it serves most of its own of the last `WINDOW`: it is good enough, weak is not used."""
    _, mid, strong = run.table.scores.T
    its = (mid >= strong) & (run.served != "weak")
    for end in range(WINDOW, len(its) + 1):
        part = slice(end - WINDOW, end)
        if its[part].any() and (run.served[part] == MID)[its[part]].mean() > 0.5:
            return end
    return None


def change(what: str, outcomes: Outcomes, quality: float, seeds: int) -> Change:
    make = {"joins": joined, "falls": fallen}[what]
    runs = [make(outcomes, quality, seed) for seed in range(seeds)]
    return Change(what, quality, [first_use(run) for run in runs], [most_use(run) for run in runs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--floors", type=float, nargs="+", default=list(MARKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--questions", type=int)
    parser.add_argument("--only", choices=("floors", "changes"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    outcomes, found = three_models(args.questions), []
    if not args.json:
        show_alone(outcomes, args.seeds)
    for quality in args.floors if args.only != "changes" else ():
        found.append(floor(outcomes, quality, args.seeds))
        if not args.json:
            show_floor(found[-1])
    for what in ("joins", "falls") if args.only != "floors" else ():
        for quality in args.floors:
            found.append(change(what, outcomes, quality, args.seeds))
            if not args.json:
                show_change(found[-1])
    if args.json:
        json.dump([{**asdict(one), "met": one.met} for one in found], sys.stdout)


def show_alone(outcomes: Outcomes, seeds: int) -> None:
    print(f"{len(outcomes)} questions, {seeds} seeds, {outcomes.embedder_id}; shares of {STRONG}'s quality and cost")
    print(f"{'':<34} quality     cost")
    for model, scores, costs in zip(MODELS, outcomes.scores.T, outcomes.call_costs.T, strict=True):
        quality, cost = scores.mean() / outcomes.strong.mean(), costs.sum() / outcomes.call_costs[:, -1].sum()
        print(f"{model + ' alone':<34} {quality:>7.1%} {cost:>8.2%}")


def show_floor(one: Floor) -> None:
    mark = MARKS.get(one.floor)
    marked = "" if mark is None else f"   mark {one.floor:.0%} at <= {mark:.0%}: {'met' if one.met else 'MISSED'}"
    print(f"{f'floor {one.floor}':<34} {np.mean(one.quality):>7.1%} {np.mean(one.cost):>8.2%}{marked}")
    each = ", ".join(f"{quality:.1%} at {cost:.2%}" for quality, cost in zip(one.quality, one.cost, strict=True))
    print(f"  each seed: {each}")
    for what, shares in (("served by", one.served), ("calls a question", one.calls)):
        print(f"  {what}: " + ", ".join(f"{role} {share:.1%}" for role, share in shares.items()))
    course = ", ".join(f"{quality:.1%} at {cost:.1%}" for quality, cost in one.course)
    print(f"  every {PART} questions: {course}", flush=True)


def show_change(one: Change) -> None:
    what = {"joins": f"{MID} joins", "falls": f"{MID} becomes cheap"}[one.what]
    print(f"{what} after {CHANGE} questions, floor {one.floor}")
    for name, after in (("serves one", one.first), ("serves most of its own", one.most)):
        print(f"  {name} after: " + ", ".join("never" if n is None else f"{n}" for n in after))
    print(f"  mark: within {WITHIN}: {'met' if one.met else 'MISSED'}", flush=True)


if __name__ == "__main__":
    main()
