"""A fitted router as the prior: what it saves while a cold start still learns, and whether the floor is kept.

The stacked router is fitted to one half of the questions; the other half arrives one by one at a router that knows
nothing, once with it as `static_router` and once without, in the same order. All calls count.

    RAR_DATA=... python benchmarks/router_prior.py [--data mmlu gsm8k] [--quality 0.95] [--shuffles 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
from _data import gsm8k, mmlu

from rar.evaluation import Run, Table, embedded, stream
from rar.evaluation.embeddings import KnownVectors
from rar.routers import StackedRouter

TABLES = {"mmlu": mmlu, "gsm8k": gsm8k}
FIRST, MARK = 1_000, 0.05


def facts(run: Run) -> dict[str, float]:
    half = len(run.table) // 2
    return {
        "saved_first": run.saved(slice(0, FIRST)),
        "saved": run.saved(),
        "realised_first": run.realised(slice(0, FIRST)),
        "realised": run.realised(),
        "second_half": run.realised(slice(half, None)),
    }


def runs(table: Table, quality: float, seed: int) -> tuple[Run, Run]:
    order = np.random.default_rng(seed).permutation(len(table))
    seen, asked = table.take(order[: len(table) // 2]), table.take(order[len(table) // 2 :])
    router = StackedRouter(embedder=KnownVectors(seen, asked)).fit(seen)
    return stream(asked, quality=quality, seed=seed), stream(asked, quality=quality, seed=seed, static_router=router)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--quality", type=float, nargs="+", default=[0.905, 0.95])
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--questions", type=int)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = []
    for data in args.data:
        table = embedded(TABLES[data](args.questions))
        for quality in args.quality:
            pairs = [runs(table, quality, seed) for seed in range(args.shuffles)]
            cold, warm = ([facts(pair[which]) for pair in pairs] for which in (0, 1))
            found.append({"data": data, "quality": quality, "cold": cold, "with_prior": warm})
            if not args.json:
                show(data, quality, cold, warm)
    if args.json:
        json.dump(found, sys.stdout)


def show(data: str, quality: float, cold: list[dict[str, float]], warm: list[dict[str, float]]) -> None:
    print(f"\n{data}, floor {quality}: half of the questions, {len(cold)} shuffles")
    print(f"start        saved in first {FIRST:,}   saved in all   realised first, all   second half, worst")
    for name, rows in (("cold", cold), ("with prior", warm)):
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        worst = min(row["second_half"] for row in rows)
        print(
            f"{name:<11} {mean['saved_first']:>18.1%} {mean['saved']:>15.1%} "
            f"{mean['realised_first']:>14.1%}, {mean['realised']:.1%} {worst:>17.1%}"
        )
    more = np.array([one["saved_first"] - other["saved_first"] for one, other in zip(warm, cold, strict=True)])
    verdict = "met" if more.mean() >= MARK else "MISSED"
    print(f"more saved in the first {FIRST:,}: {more.mean():.1%} ({more.min():.1%} to {more.max():.1%})", end="")
    print(f", mark >= {MARK:.0%}: {verdict}", flush=True)


if __name__ == "__main__":
    main()
