"""What the learned score knows about questions that it never saw: APGR on random halves and on left-out subjects.

The score is `rar.learning.gap.fit` on the texts, embeddings and gaps of what was seen, as the router fits it to its own
memory. APGR is the exact area under the share of the gap that is recovered, over the share of strong calls; a random
score has 0.5. Of left-out groups (five parts), scores are ranked within each part.

    RAR_DATA=... python benchmarks/static_apgr.py [--data mmlu …] [--shuffles 3] [--questions N] [--engine] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from _data import alpaca_eval, bfcl, gsm8k, mmlu, nine_models, three_models

from rar.evaluation import OURS, Table, embedded, engine, static
from rar.evaluation.baselines import baselines
from rar.evaluation.compare import Scored, summarise_static
from rar.learning.gap import fit
from rar.linear import Array

TABLES: dict[str, Callable[[], Table]] = {
    "mmlu": mmlu,
    "gsm8k": gsm8k,
    "llama-gemini": three_models,
    "mistral-gemini": partial(three_models, "mistral-large-2512"),
    "nine-8b": partial(nine_models, "llama3-chatqa-1.5-8b"),
    "nine-7b": partial(nine_models, "qwen2.5-7b-instruct"),
    "alpaca-claude": partial(alpaca_eval, "claude-2"),
    "alpaca-gpt": partial(alpaca_eval, "gpt-3.5-turbo-1106"),
    "bfcl-xlam": partial(bfcl, "Salesforce_xLAM-1b-fc-r", "gpt-4-1106-preview"),
    "bfcl-gpt": partial(bfcl, "gpt-3.5-turbo-0125", "claude-3-5-sonnet-20240620"),
}
MARKS = {
    ("mmlu", "halves"): 0.653,
    ("gsm8k", "halves"): 0.655,
    ("mistral-gemini", "halves"): 0.79,
    ("mmlu", "left out"): 0.57,
}


def learned(seen: Table, asked: Table) -> Array:
    """The expected gap of what is asked, by the score that was learned from what was seen."""
    assert seen.vectors is not None and asked.vectors is not None
    model = fit(seen.texts, seen.vectors, seen.gap, np.ones(len(seen)))
    return np.array([model.expect(*pair).gap for pair in zip(asked.texts, asked.vectors, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--shuffles", type=int, default=3, help="random halvings")
    parser.add_argument("--questions", type=int)
    parser.add_argument("--engine", action="store_true", help="also the whole router, with its neighbours; slow")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = {}
    for data in args.data:
        table = embedded(TABLES[data]())
        table = table.take(range(len(table))[: args.questions])
        scorers = {OURS: learned, **{baseline.name: baseline.scorer for baseline in baselines(table)}}
        if args.engine:
            scorers["whole router"] = engine()
        summary = summarise_static(static(table, splits=args.shuffles, scorers=scorers))
        found[data] = summary.as_dict()
        if not args.json:
            show(data, f"halves, mean of {args.shuffles}", "halves", len(table), summary.halves)
            show(data, "left-out groups", "left out", len(table), summary.left_out)
    if args.json:
        json.dump(found, sys.stdout)


def show(data: str, title: str, split: str, questions: int, scored: Sequence[Scored]) -> None:
    if not scored:
        return
    print(f"\n{data}, {questions} questions, {title}")
    print("score                  APGR [95 % interval]     ours is ahead by           CPT50   CPT80")
    for one in scored:
        ahead = "" if one.ahead is None else f"{one.ahead.value:+.3f} [{one.ahead.low:+.3f}, {one.ahead.high:+.3f}]"
        name = "learned score" if one.name == OURS else one.name
        area = f"{one.apgr.value:.3f} [{one.apgr.low:.3f}, {one.apgr.high:.3f}]"
        print(f"{name:<22} {area:<24} {ahead:<25} {one.cpt50:>6.1%} {one.cpt80:>7.1%}")
    mark = MARKS.get((data, split))
    if mark is None:
        print(end="", flush=True)
        return
    ours = next(one.apgr.value for one in scored if one.name == OURS)
    print(f"mark >= {mark}: {'met' if ours >= mark else 'MISSED'} ({ours:.3f})")
    if split == "left out":
        length = next(one.apgr.value for one in scored if one.name == "prompt length")
        print(f"mark above prompt length ({length:.3f}): {'met' if ours > length else 'MISSED'}", flush=True)


if __name__ == "__main__":
    main()
