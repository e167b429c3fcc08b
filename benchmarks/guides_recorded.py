"""Guides on real outcomes: one model that was recorded without and with written guidance, on 18 tasks.

The weak model answers each question with its recorded outcome: alone, or, with a guide of the question's own task, as
recorded with guidance. With another task's guide it is wrong. The strong model is always right, and writes a guide of
its question's task when asked. Everything else is the real router with `learning="inline"`. Every question comes once,
in random order, and every strong call counts: serving, audits, guides.

Beside it: the router without guides, and the best fixed action for each task in hindsight.

    RAR_DATA=... python benchmarks/guides_recorded.py [--quality 0.85 0.9 0.95] [--shuffles 5] [--questions N] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import count

import numpy as np
from _data import rows

from rar import Reply, Router, Usage
from rar.embedding import as_embedder
from rar.evaluation.embeddings import DiskCachedEmbedder
from rar.values import STRONG, WEAK, Call, Decision, Guide, question

SAVED = {0.85: 0.65, 0.90: 0.53, 0.95: 0.37}  # the marks: net shares of strong calls saved
BELOW, HALF_BELOW = 0.005, 0.015  # that quality may lie below the floor on the mean, and in a second half
WRITTEN, WITHIN, OTHERS = 8, 60, 0.002  # guides a task, requests of a kind, share of answers


@dataclass(frozen=True)
class Question:
    text: str
    task: str
    alone: bool
    guided: bool


@dataclass
class World:
    """What the two models do. `asked` is the question that is being served and learned from."""

    chance: random.Random
    asked: Question = Question("", "", False, False)
    written: dict[str, str] = field(default_factory=dict)  # task of each guide's text
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)

    def answer(self, call: Call) -> str:
        self.calls[call.model, call.purpose] += 1
        if call.model == STRONG:
            return self.guide() if call.purpose == "guide" else "solution"
        return "solution" if self.solved(call.guide) else "no idea"

    def solved(self, guide: Guide | None) -> bool:
        if guide is None:
            return self.asked.alone
        return self.asked.guided and self.task_of(guide) == self.asked.task

    def task_of(self, guide: Guide) -> str:
        return self.written[guide.text]

    def guide(self) -> str:
        edition = " ".join("".join(self.chance.choices("bcdfghjklmnpqrstvwxz", k=6)) for _ in range(6))
        text = f"Use when: such a question is asked.\n1. Recall {edition}.\n2. Apply it.\nAvoid: haste."
        self.written[text] = self.asked.task
        return text


@dataclass(frozen=True)
class Recorded:
    """A model of the world."""

    id: str
    world: World

    def call(self, call: Call) -> Reply:
        return Reply(call.model, self.world.answer(call), usage=Usage(100, 100), model_id=self.id)

    async def acall(self, call: Call) -> Reply:
        return self.call(call)


@dataclass(frozen=True)
class Outcome:
    """One run; shares are of all questions."""

    saved: float  # net of all strong calls
    quality: float  # right answers
    second_half: float
    guided: float  # answered with a guide
    alone: float
    by_other_tasks: float  # answered with another task's guide
    written: dict[str, int]  # guides asked for, by task
    lives: list[int]  # of each guide of a harmed task: questions of the task until it was retired, or all that came
    calls: dict[str, int]
    course: list[float]  # quality of each tenth


def questions() -> list[Question]:
    found = rows("bbh_guided.csv.gz")
    return [
        Question(one["question"], one["task"], one["weak_correct"] == "1", one["weak_guided_correct"] == "1")
        for one in found
    ]


def harmed(asked: Sequence[Question]) -> set[str]:
    """The tasks on which the weak model is right less often with guidance."""
    gained: Counter[str] = Counter()
    for one in asked:
        gained[one.task] += one.guided - one.alone
    return {task for task, gain in gained.items() if gain < 0}


def replayed(
    asked: Sequence[Question], quality: float, embedder: DiskCachedEmbedder, seed: int, guides: bool
) -> Outcome:
    world = World(random.Random(seed))
    models = {WEAK: Recorded("small", world), STRONG: Recorded("big", world)}
    ticks, bad, lives = count(0.0, 0.1), harmed(asked), Lives()
    right: list[bool] = []
    served: Counter[str] = Counter()
    written: Counter[str] = Counter()
    with Router(
        models[WEAK], models[STRONG], memory=":memory:", embedder=embedder, judge="exact", quality=quality,
        learning="inline", learning_budget=None, seed=seed, guides=guides, clock=lambda: next(ticks),
    ) as router:  # fmt: skip
        for world.asked in asked:
            before = world.calls[STRONG, "guide"]
            decision = router.decide(question(world.asked.text))
            reply = models[decision.model].call(decision.call)
            router.learn(decision, reply)
            right.append(reply.text == "solution")
            served[used(decision, world)] += 1
            written[world.asked.task] += world.calls[STRONG, "guide"] - before
            if world.asked.task in bad and guides:
                lives.follow(router, world)
    n = len(asked)
    strong = sum(calls for (model, _), calls in world.calls.items() if model == STRONG)
    return Outcome(
        1.0 - strong / n,
        statistics.mean(right),
        statistics.mean(right[n // 2 :]),
        (served["guided"] + served["other"]) / n,
        served["alone"] / n,
        served["other"] / n,
        dict(written),
        lives.ended + list(lives.running.values()),
        {f"{model} {purpose}": calls for (model, purpose), calls in sorted(world.calls.items())},
        [float(np.mean(part)) for part in np.array_split(right, 10)],
    )


def used(decision: Decision, world: World) -> str:
    """What answered: the strong model, the weak one alone, or with a guide of this or an other task."""
    if decision.guide is not None:
        return "guided" if world.task_of(decision.guide) == world.asked.task else "other"
    return "alone" if decision.model == WEAK else "strong"


@dataclass
class Lives:
    """How long guides of harmed tasks are in use or on trial, in questions of their task."""

    running: dict[str, int] = field(default_factory=dict)  # guide id -> questions since it was written
    ended: list[int] = field(default_factory=list)

    def follow(self, router: Router, world: World) -> None:
        """After a question of a harmed task."""
        assert router.memory is not None
        for guide in router.memory.guides():
            if world.task_of(guide) != world.asked.task:
                continue
            if guide.state in ("candidate", "active"):
                self.running[guide.id] = self.running.get(guide.id, -1) + 1
            elif guide.id in self.running:
                self.ended.append(self.running.pop(guide.id) + 1)


def hindsight(asked: Sequence[Question], quality: float, guides: bool) -> float:
    """The share that one fixed action for each task saves at most: those that lose least, up to what may be lost."""
    by_task: dict[str, list[Question]] = defaultdict(list)
    for one in asked:
        by_task[one.task].append(one)
    kinds = []
    for members in by_task.values():
        right = [sum(one.alone for one in members)] + [sum(one.guided for one in members)] * guides
        kinds.append((1.0 - max(right) / len(members), len(members)))
    left, saved = (1.0 - quality) * len(asked), 0.0
    for loss, size in sorted(kinds):
        share = 1.0 if loss * size <= left else left / (loss * size)
        saved, left = saved + share * size, left - share * loss * size
        if share < 1.0:
            break
    return saved / len(asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", type=float, nargs="+", default=list(SAVED))
    parser.add_argument("--shuffles", type=int, default=5, help="seeds")
    parser.add_argument("--questions", type=int, help="of each shuffle, at most")
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--only", choices=("with", "without"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    embedder = DiskCachedEmbedder(as_embedder(args.embedder))
    asked = questions()
    embedder.embed([one.text for one in asked])
    orders = [np.random.default_rng(seed).permutation(len(asked))[: args.questions] for seed in range(args.shuffles)]
    streams = [[asked[row] for row in order] for order in orders]
    found: dict[float, dict[str, list[Outcome]]] = {}
    if not args.json:
        print(f"{len(streams[0])} questions of {len({one.task for one in asked})} tasks, {len(streams)} shuffles")
    for quality in args.quality:
        found[quality] = {
            name: [replayed(stream, quality, embedder, seed, name == "with") for seed, stream in enumerate(streams)]
            for name in ("with", "without")
            if args.only in (None, name)
        }
        if not args.json:
            show(quality, found[quality], streams[0])
    if args.json:
        kept = {quality: {name: list(map(asdict, runs)) for name, runs in of.items()} for quality, of in found.items()}
        json.dump(kept, sys.stdout)


def show(quality: float, found: dict[str, list[Outcome]], asked: Sequence[Question]) -> None:
    print(f"\nfloor {quality:g}")
    for name, runs in found.items():
        best = hindsight(asked, quality, name == "with")
        saved, kept = [one.saved for one in runs], [one.quality for one in runs]
        halves = [one.second_half for one in runs]
        print(f"{name} guides")
        mark = f">= {SAVED[quality]:.0%}" if name == "with" and quality in SAVED else ""
        line("net saved", saved, min, f"{mark}   best fixed action a task: {best:.1%}")
        line("quality", kept, min, f">= {quality - BELOW:.1%}")
        line("second half", halves, min, f"worst >= {quality - HALF_BELOW:.1%}")
        line("served with a guide", [one.guided for one in runs], min, "")
        line("served by the weak model alone", [one.alone for one in runs], min, "")
        if name == "with":
            line("by another task's guide", [one.by_other_tasks for one in runs], max, f"< {OTHERS:.1%}")
            show_guides(runs)
        totals: Counter[str] = Counter()
        for one in runs:
            totals.update(one.calls)
        print("  calls a run: " + ", ".join(f"{what} {n / len(runs):.0f}" for what, n in sorted(totals.items())))
        course = np.mean([one.course for one in runs], 0)
        print("  quality of each tenth: " + " ".join(f"{part:.1%}" for part in course), flush=True)


def show_guides(runs: Sequence[Outcome]) -> None:
    written = [sum(one.written.values()) for one in runs]
    most = max(max(one.written.values()) for one in runs)
    print(f"  guides asked for: {statistics.mean(written):.0f} a run, {most} of one task at most   <= {WRITTEN}")
    lives = [life for one in runs for life in one.lives]
    if lives:
        late = sum(life > WITHIN for life in lives)
        print(
            f"  guides of harmed tasks: {len(lives)}, retired after {statistics.mean(lives):.0f} of its questions "
            f"({max(lives)}); later than {WITHIN}: {late}"
        )


def line(name: str, values: Sequence[float], worst: object, mark: str) -> None:
    assert callable(worst)
    print(f"  {name:<34} {statistics.mean(values):>6.1%} ({worst(values):.1%})".ljust(54) + mark)


if __name__ == "__main__":
    main()
