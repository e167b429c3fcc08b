"""Self-consistency on recorded samples: how many drafts a vote takes that ends early, and what accuracy that costs.

Each question's recorded samples are drawn in random order, `--shuffles` times over. `rar.strategies.SelfConsistency` is
played with them as it is served. A second table has the vote of a cheap model decide which questions a dear one
answers. A third holds the vote against a single sample by how hard questions are.

    RAR_DATA=... python benchmarks/voting.py [--shuffles 20]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from _data import records, versions

from rar.replies import Reply
from rar.strategies import SelfConsistency
from rar.values import Answer, Choice, Request, question

RULES = ("exact", "beta", "window")
# Marks: accuracy of one sample, then accuracy and samples of each vote, to be kept within POINT and SAMPLE.
MARKS = {
    "date, chain of thought": (62.8, [(65.8, 40.0), (65.8, 25.0), (65.6, 10.0), (65.7, 14.2)]),
    "date, program": (78.0, [(82.7, 20.0), (82.7, 12.2), (82.7, 6.1), (82.7, 7.8)]),
    "last letters": (80.6, [(83.3, 40.0), (83.3, 22.8), (83.2, 6.5), (83.2, 8.9)]),
    "GSM8K, Llama-13B": (27.0, [(36.1, 24.0), (36.1, 20.2), (36.1, 17.8), (36.0, 20.4)]),
}
POINT, SAMPLE = 0.3, 0.5


@dataclass(frozen=True)
class Case:
    """A question's gold answer and its samples; None is one without an answer."""

    gold: Hashable
    samples: tuple[Hashable, ...]
    dear: Hashable = None  # what the dear model says


def cases() -> dict[str, list[Case]]:
    dates, sums = records("strategies/date_samples.jsonl.gz"), records("strategies/gsm8k_samples.jsonl.gz")
    letters = records("strategies/last_letters_samples.jsonl.gz")
    return {
        "date, chain of thought": [
            Case(row["answer"], tuple(row["gpt35_cot1_40"]["answers"]), row["gpt4_cot1"]["answers"][0]) for row in dates
        ],
        "date, program": [Case(row["answer"], _filled(row["gpt35_pot1"]["answers"], 20)) for row in dates],
        "last letters": [Case(row["answer"], tuple(row["answers"])) for row in letters],
        "GSM8K, Llama-13B": [
            Case(float(row["answer"]), _filled(row["llama13b_pot1"]["answers"], row["llama13b_pot1"]["samples"]))
            for row in sums
        ],
    }


def _filled(answers: Sequence[Hashable], drawn: int) -> tuple[Hashable, ...]:
    """Programs that failed left no answer, but they were drawn."""
    return (*answers, *[None] * (drawn - len(answers)))


def extracted(_: Request, reply: Reply) -> Hashable:
    return reply.native  # what the recording says that the sample's answer is


def played(strategy: SelfConsistency, samples: Sequence[Hashable]) -> tuple[Choice, int]:
    """What is decided on these samples in this order, and how many were drawn."""
    steps, drawn = strategy.steps(question("")), 0
    batch = next(steps)
    while True:
        said = samples[drawn : drawn + len(batch)]
        drawn += len(batch)
        try:
            batch = steps.send([Reply("weak", "…", native=one) for one in said])
        except StopIteration as stop:
            return stop.value, drawn


def said(choice: Choice) -> Hashable:
    return choice.reply.native if isinstance(choice, Answer) else None


def vote(stop: Any, samples: int, **options: Any) -> SelfConsistency:
    return SelfConsistency(samples=samples, stop=stop, extractor=extracted, **options)


def over_shuffles(rows: Sequence[Case], shuffles: int, score: Callable[[Case, Sequence[Hashable]], Any]) -> list[Any]:
    chance = random.Random(0)
    return [score(case, chance.sample(case.samples, len(case.samples))) for _ in range(shuffles) for case in rows]


def early(data: dict[str, list[Case]], shuffles: int) -> None:
    print(f"{'accuracy (samples)':<24} {'one':>6} {'all':>12} {'exact':>12} {'beta .95':>12} {'window 5':>12}  as all")
    missed = []
    for name, rows in data.items():
        size = len(rows[0].samples)

        def scored(case: Case, samples: Sequence[Hashable], size: int = size) -> dict[str, tuple[Hashable, bool, int]]:
            each = {rule: played(vote(rule, size), samples) for rule in RULES} | {
                "all": played(vote(None, size), samples)
            }
            return {rule: (said(choice), said(choice) == case.gold, drawn) for rule, (choice, drawn) in each.items()}

        found = over_shuffles(rows, shuffles, scored)
        one = 100 * fmean(sample == case.gold for case in rows for sample in case.samples)
        figures = {
            rule: (100 * fmean(row[rule][1] for row in found), fmean(row[rule][2] for row in found))
            for rule in ("all", *RULES)
        }
        same = fmean(row["exact"][0] == row["all"][0] for row in found)
        cells = " ".join(f"{f'{points:.1f} ({drawn:.1f})':>12}" for points, drawn in figures.values())
        print(f"{name:<24} {one:>6.1f} {cells}  {same:.1%}")
        for (rule, (points, drawn)), (wanted, samples) in zip(figures.items(), MARKS[name][1], strict=True):
            if points < wanted - POINT or drawn > samples + SAMPLE:
                missed.append(f"{name}, {rule}: {points:.1f} ({drawn:.1f}), mark {wanted} ({samples})")
        if same < 1.0:
            missed.append(f"{name}: exact is the full vote's answer in {same:.2%}")
    print(f"marks: {POINT} point and {SAMPLE} sample of the accuracy and samples set; exact as all in 100 %")
    print("\n".join(f"missed: {line}" for line in missed) or "none missed")


def escalated(rows: Sequence[Case], shuffles: int) -> None:
    dear = 100 * fmean(case.dear == case.gold for case in rows)
    print(f"\ndate, chain of thought: GPT-3.5 votes, and GPT-4 answers what is split (GPT-4 alone {dear:.1f})")
    print(f"{'escalate_below':<16} {'accuracy':>9} {'to GPT-4':>9} {'samples':>8}")
    for share in (None, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):

        def scored(case: Case, samples: Sequence[Hashable], share: float | None = share) -> tuple[bool, bool, int]:
            choice, drawn = played(vote("beta", 20, escalate_below=share), samples)
            kept = isinstance(choice, Answer)
            return (said(choice) if kept else case.dear) == case.gold, not kept, drawn

        right, up, drawn = (fmean(column) for column in zip(*over_shuffles(rows, shuffles, scored), strict=True))
        print(f"{share or 'never':<16} {100 * right:>9.1f} {up:>9.1%} {drawn:>8.1f}")


def by_hardness(data: dict[str, list[Case]], shuffles: int) -> None:
    print("\nquestions by the share of their samples that are right: one sample beside the vote of all")
    print(f"{'':<24} " + " ".join(f"{label:>22}" for label in ("below .25", ".25 to .5", ".5 and more")))
    for name, rows in data.items():
        cells = []
        for low, high in ((0.0, 0.25), (0.25, 0.5), (0.5, 1.01)):
            some = [case for case in rows if low <= fmean(one == case.gold for one in case.samples) < high]
            one = 100 * fmean(sample == case.gold for case in some for sample in case.samples)
            votes = over_shuffles(
                some, shuffles, lambda case, samples: said(played(vote(None, len(samples)), samples)[0]) == case.gold
            )
            cells.append(f"{f'{one:.0f} → {100 * fmean(votes):.0f} ({len(some)})':>22}")
        print(f"{name:<24} " + " ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shuffles", type=int, default=20)
    shuffles = parser.parse_args().shuffles
    print(versions())
    data = cases()
    early(data, shuffles)
    escalated(data["date, chain of thought"], shuffles)
    by_hardness(data, shuffles)


if __name__ == "__main__":
    main()
