"""Hybrid-LLM's router on recorded outcomes: what is kept when 10, 20 and 40 % of the calls go to the weak model.

As in the paper (arXiv 2404.14618, section 4) quality is told over the cost advantage, the share of calls that the weak
model answers, and beside it that of random mixing. Random halves; the threshold is the score's own quantile. There is
one recorded answer of each model, scored 0 or 1, so that t* is 0 and the three kinds of labels are the same; what
several samples are worth is promised by `tests/core/test_router_hybrid.py`.

    RAR_DATA=... python benchmarks/hybrid_llm.py [--data gsm8k mmlu] [--shuffles 3] [--questions N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import get_args

import numpy as np
from _data import gsm8k, mmlu

from rar.evaluation import Table, embedded, static
from rar.evaluation.compare import summarise_static
from rar.evaluation.metrics import apgr
from rar.linear import Array
from rar.routers import HybridRouter, LearnedRouter, LengthRouter, Outcomes
from rar.routers.hybrid import Mode

TABLES = {"gsm8k": gsm8k, "mmlu": mmlu}
SHARES = (0.1, 0.2, 0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--shuffles", type=int, default=3, help="random halvings")
    parser.add_argument("--questions", type=int)
    args = parser.parse_args()
    for data in args.data:
        table = embedded(TABLES[data](args.questions))
        print(f"\n{data}, {len(table)} questions, mean of {args.shuffles} random halves")
        print(f"{'labels':<8} {'t*':>4} {'APGR':>6} " + " ".join(f"{share:>6.0%} to weak" for share in SHARES))
        found = {mode: halves(table, mode, args.shuffles) for mode in get_args(Mode)}
        for mode, rows in found.items():
            t, area, *kept = np.mean(rows, 0)[:-3]
            print(f"{mode:<8} {t:>4.1f} {area:>6.3f} " + " ".join(f"{quality:>14.3f}" for quality in kept))
        random = np.mean(found["det"], 0)[-3:]
        print(f"{'random':<8} {'':>4} {0.5:>6.3f} " + " ".join(f"{quality:>14.3f}" for quality in random))
        if table.groups is not None:
            scorers = {"hybrid": scorer(HybridRouter()), "length": scorer(LengthRouter())}
            parts = summarise_static(static(table, splits=1, scorers=scorers)).left_out
            print("left-out subjects, APGR: " + ", ".join(f"{one.name} {one.apgr.value:.3f}" for one in parts))


def halves(data: Outcomes, mode: Mode, shuffles: int) -> list[list[float]]:
    """For each halving: t*, APGR, the quality kept at each share, and that of random mixing."""
    rows = []
    for seed in range(shuffles):
        order = np.random.default_rng(seed).permutation(len(data))
        seen, asked = data.take(order[: len(data) // 2]), data.take(order[len(data) // 2 :])
        router = HybridRouter(mode=mode, single_sample=True).fit(seen)
        score = router.score(asked.texts, asked.vectors)
        weak, strong = asked.scores.T
        kept = [mixed(score.argsort(kind="stable"), weak, strong, share) for share in SHARES]
        random = [share * weak.mean() + (1.0 - share) * strong.mean() for share in SHARES]
        rows.append([router.t_star_, float(apgr(score, weak, strong)), *kept, *random])
    return rows


def mixed(order: np.ndarray, weak: Array, strong: Array, share: float) -> float:
    """The quality where the weak model answers the first `share` of `order`."""
    first = np.arange(len(order)) < round(share * len(order))
    return float(np.where(first, weak[order], strong[order]).mean())


def scorer(router: LearnedRouter) -> Callable[[Table, Table], Array]:
    """Fits the router to what was seen, and scores what is asked."""

    def scored(seen: Table, asked: Table) -> Array:
        return router.fit(seen).score(asked.texts, asked.vectors)

    return scored


if __name__ == "__main__":
    main()
