"""Drift: in mid-stream another, worse model answers under the weak model's id. Is the floor regained, and how soon?

Nine open models on mixed tasks. The router is told nothing: it has a memory full of what the first model could do.
Realised quality is taken over windows of 500 questions; so few of them scatter by themselves. How much is shown beside
it by random mixing that knows both models and meets the floor exactly, before the swap and after.

    RAR_DATA=... python benchmarks/drift.py [--quality 0.95] [--shuffles 5] [--questions N] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace

import numpy as np
from _data import folder

from rar.evaluation import Run, Table, embedded, read_table, shuffle, stream
from rar.linear import Array

WINDOW, BELOW, REGAINED_WITHIN = 500, 0.05, 1_500


@dataclass(frozen=True)
class Drift:
    """One shuffle. Qualities are shares of the strong model's."""

    windows: tuple[float, ...]  # one after the other
    lowest: float  # of any window
    mixing_lowest: float  # the same of random mixing
    regained_after: int | None  # questions after the swap until the last 500, all since the swap, meet the floor
    rest: float  # from `REGAINED_WITHIN` questions after the swap to the end
    strong_calls: tuple[float, float]  # before and after the swap
    audits: tuple[float, float]


def swapped(questions: int | None, weak: str, worse: str, strong: str, seed: int) -> Table:
    first, second = (read_table(folder() / "nine_models.csv.gz", weak=name, strong=strong) for name in (weak, worse))
    order = shuffle(first, seed)[:questions]
    first, second = first.take(order), second.take(order)
    half = len(first) // 2
    return replace(first, scores=np.concatenate([first.scores[:half], second.scores[half:]]), name=f"{weak} -> {worse}")


def rolling(scores: Array, strong: Array, window: int = WINDOW) -> Array:
    """Quality of the `window` questions that end at each from the `window`-th on."""
    sums = [np.cumsum(np.r_[0.0, values]) for values in (scores, strong)]
    parts = [total[window:] - total[:-window] for total in sums]
    quality: Array = parts[0] / parts[1]
    return quality


def mixing(table: Table, quality: float, seed: int) -> Array:
    """Scores of random mixing with just enough strong answers on either side of the swap."""
    chance, half, n = np.random.default_rng(seed), len(table) // 2, len(table)
    scores = table.weak.copy()
    for part in (slice(0, half), slice(half, n)):
        weak, strong = table.weak[part], table.strong[part]
        share = max((quality * strong.mean() - weak.mean()) / (strong.mean() - weak.mean()), 0.0)
        scores[part] = np.where(chance.random(len(weak)) < share, strong, weak)
    return scores


def regained(run: Run, quality: float) -> int | None:
    """How many questions after the swap the last 500 meet the floor again; None if that never happens."""
    half = len(run.table) // 2
    found = np.flatnonzero(rolling(run.scores[half:], run.table.strong[half:]) >= quality)
    return int(found[0]) + WINDOW if len(found) else None


def drift(run: Run, quality: float, seed: int) -> Drift:
    half, n = len(run.table) // 2, len(run.table)
    before, after = slice(0, half), slice(half, n)
    starts = range(0, n - WINDOW + 1, WINDOW)
    mixed, audits = mixing(run.table, quality, seed), run.audited
    return Drift(
        tuple(run.realised(slice(start, start + WINDOW)) for start in starts),
        float(rolling(run.scores, run.table.strong).min()),
        float(rolling(mixed, run.table.strong).min()),
        regained(run, quality),
        run.realised(slice(half + REGAINED_WITHIN, n)),
        (1.0 - run.saved(before), 1.0 - run.saved(after)),
        (float(audits[before].mean()), float(audits[after].mean())),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", type=float, nargs="+", default=[0.90, 0.95])
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--questions", type=int)
    parser.add_argument("--weak", default="gemma-2-9b-it")
    parser.add_argument("--worse", default="mistral-7b-instruct-v0.3")
    parser.add_argument("--strong", default="llama-3.1-nemotron-51b-instruct")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    tables = [
        embedded(swapped(args.questions, args.weak, args.worse, args.strong, seed)) for seed in range(args.shuffles)
    ]
    found = {}
    for quality in args.quality:
        runs = [stream(table, quality=quality, seed=seed) for seed, table in enumerate(tables)]
        found[quality] = [drift(run, quality, seed) for seed, run in enumerate(runs)]
        if not args.json:
            show(tables[0], quality, found[quality])
    if args.json:
        json.dump({quality: [asdict(one) for one in runs] for quality, runs in found.items()}, sys.stdout)


def show(table: Table, quality: float, found: list[Drift]) -> None:
    half = len(table) // 2
    print(f"\n{table.name} after {half} of {len(table)} questions, strong {table.strong_id}, floor {quality}")
    means = [part.mean() / table.strong.mean() for part in (table.weak[:half], table.weak[half:])]
    print(f"weak alone {means[0]:.1%}, then {means[1]:.1%} of the strong model's quality")
    print("shuffle  lowest 500 (random mixing)  regained after   later on   strong calls   audits")
    for shuffled, one in enumerate(found, 1):
        calls, audits = (f"{pair[0]:.1%} -> {pair[1]:.1%}" for pair in (one.strong_calls, one.audits))
        when = f"{one.regained_after:,}" if one.regained_after is not None else "never"
        print(f"{shuffled:>7}  {one.lowest:>10.1%} {one.mixing_lowest:>15.1%} {when:>15} {one.rest:>10.1%}", end="")
        print(f"   {calls}  {audits}")
    windows = np.array([one.windows for one in found])
    print(f"windows of {WINDOW}, mean:  " + " ".join(f"{value:.3f}" for value in windows.mean(0)))
    print("               worst: " + " ".join(f"{value:.3f}" for value in windows.min(0)))
    lowest = min(one.lowest for one in found)
    late = [one.regained_after is None or one.regained_after > REGAINED_WITHIN for one in found]
    print(f"mark: never below {quality - BELOW:.3f}: {'met' if lowest >= quality - BELOW else 'MISSED'} ({lowest:.3f})")
    print(f"mark: regained within {REGAINED_WITHIN:,}: {'MISSED' if any(late) else 'met'}", flush=True)


if __name__ == "__main__":
    main()
