"""Judges on recorded verdicts: how far they agree with people, with themselves in the other order, and with each other.

LLMBar's records hold what nine judges said of 590 pairs, each in both orders. PandaLM's hold three people's verdicts on
639 pairs, and GPT-3.5's. MT-Bench's hold 320 graded answers, of whose judgments the grade is read again. JudgeBench's
hold five reward models' scores of right and wrong answers to hard questions.

    RAR_DATA=... python benchmarks/judging.py
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from statistics import fmean
from typing import Any

from _data import records, versions

from rar.evaluation import Agreement, Labelled, agreement, agreement_of
from rar.learning.grading import Better, rating_in

SIDES: dict[str, Better] = {"1": "first", "2": "second", "0": "tie", "Tie": "tie"}
SETS: dict[str, Callable[[str], bool]] = {
    "MT-Bench": lambda name: name == "MT-Bench",
    "LLMBar natural": lambda name: name == "Natural",
    "LLMBar adversarial": lambda name: name.startswith("Adversarial"),
}
JUDGES = {"MT-Bench": ("GPT-4/Vanilla_NoRules", "ChatGPT/Vanilla_NoRules")}
# Consistency, accuracy, and accuracy where consistent, of all the records; those here are a part.
RECORDED = {
    ("MT-Bench", "GPT-4"): (0.870, 0.810, 0.856), ("MT-Bench", "ChatGPT"): (0.575, 0.713, 0.870),
    ("LLMBar natural", "GPT-4"): (0.950, 0.955, 0.979), ("LLMBar natural", "ChatGPT"): (0.710, 0.815, 0.944),
    ("LLMBar adversarial", "GPT-4"): (0.922, 0.810, 0.837), ("LLMBar adversarial", "ChatGPT"): (0.643, 0.270, 0.141),
}  # fmt: skip


def llmbar() -> None:
    rows = records("strategies/judge_pairs.jsonl.gz")
    columns = ("pairs", "consistent", "accuracy", "where cons.", "first", "longer", "kappa")
    widths = (5, 10, 9, 11, 6, 7, 6)
    head = " ".join(f"{name:>{width}}" for name, width in zip(columns, widths, strict=True))
    print(f"{'':<30} {head}  all the records")
    for name, belongs in SETS.items():
        mine = [row for row in rows if belongs(row["set"])]
        for judge in JUDGES.get(name, ("GPT-4/Vanilla", "ChatGPT/Vanilla")):
            labelled = [Labelled(r["input"], r["output_1"], r["output_2"], SIDES[str(r["label"])]) for r in mine]
            verdicts = [tuple(SIDES.get(str(said)) for said in r["verdicts"][judge]) for r in mine]
            found = agreement_of(verdicts, labelled)  # type: ignore[arg-type]  # two each
            known = RECORDED[name, judge.partition("/")[0]]
            _line(f"{name}, {judge.partition('/')[0]}", found, " / ".join(f"{value:.3f}" for value in known))


def _line(name: str, found: Agreement, known: str = "") -> None:
    print(
        f"{name:<30} {found.pairs:>5} {found.consistency.value:>10.3f} {found.accuracy.value:>9.3f}"
        f" {found.accuracy_where_consistent:>11.3f} {found.first_place:>6.2f} {found.longer:>+7.2f} {found.kappa:>6.2f}"
        f"  {known}"
    )


def pandalm() -> None:
    rows = records("strategies/pandalm_human.jsonl.gz")
    people = fmean(a == b for row in rows for a, b in combinations(row["annotators"], 2))
    majorities = [(row, Counter(row["annotators"]).most_common(1)[0]) for row in rows]
    decided = [(row, str(side)) for row, (side, votes) in majorities if votes > 1]
    gpt = fmean(SIDES.get(row["gpt35_verdict"]) == SIDES[side] for row, side in decided)
    longer = fmean(
        (len(row["response1"]) > len(row["response2"])) == (side == "1") for row, side in decided if side != "0"
    )
    print(f"\nPandaLM, {len(rows)} pairs: people with each other {people:.3f} (all the records .920), GPT-3.5 with the "
          f"majority {gpt:.3f} (.698), the longer answer {longer:.3f} (.672)")  # fmt: skip


def grades() -> None:
    rows = records("mt_bench_judgments.jsonl.gz")
    read = sum(rating_in(row["judgment"]) == row["score"] for row in rows)
    models = dict.fromkeys(row["model"] for row in rows)
    means = {name: fmean(rating_in(row["judgment"]) or 0.0 for row in rows if row["model"] == name) for name in models}
    print(f"\nMT-Bench: {read} of {len(rows)} grades read as recorded: {'met' if read == len(rows) else 'MISSED'}")
    for name, wanted in (("gpt-4", 9.228), ("Mixtral", 8.341)):
        mean = next(value for model, value in means.items() if name in model)
        print(f"  mean of {name}: {mean:.3f}, recorded {wanted}: {'met' if abs(mean - wanted) < 6e-4 else 'MISSED'}")


def always_first() -> None:
    labelled = [Labelled(f"Question {n}?", "one", "another", "first" if n % 3 else "second") for n in range(60)]
    found = agreement(lambda *_: "first", labelled)
    flagged = any("shown first" in warning for warning in found.warnings)
    print("\na judge that always says first")
    print(f"  consistent in {found.consistency.value:.0%}, and {found.first_place:.0%} of its verdicts name the first")
    print(f"  flagged, and nothing but ties: {'met' if flagged and found.consistency.value == 0.0 else 'MISSED'}")


def rewards() -> None:
    rows = records("strategies/judgebench_rewards.jsonl.gz")
    print(f"\nJudgeBench, {len(rows)} pairs: how often reward models prefer the right one of two answers")
    for name in rows[0]["reward"]:
        print(f"  {name:<46} {fmean(_prefers(row, name) for row in rows):.3f}")


def _prefers(row: dict[str, Any], name: str) -> float:
    one, other = row["reward"][name]
    return float((one > other) == (row["label"] == "A>B"))


def main() -> None:
    logging.disable(logging.WARNING)  # the tables tell
    print(versions())
    llmbar()
    pandalm()
    grades()
    always_first()
    rewards()


if __name__ == "__main__":
    main()
