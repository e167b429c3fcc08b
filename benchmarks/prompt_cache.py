"""Prompt caching: what do switches of the model cost, and what is saved by charging them?

The requests of a real service (Mooncake's conversations) with their tokens, and how many blocks of each prompt had been
read before. The trace does not say by which request. It is taken to be the latest one with as many blocks. A model that
read it within five minutes has it cached; another reads all of it at full price. The caches keep no shorter beginning.

Which answers are good enough is not recorded: a share of them, drawn by chance, is what the policy would give to the
cheaper model. "blind" does so whatever is cached. "charged" asks `rar.prefixes.switching` whether that saves anything.

    RAR_DATA=... python benchmarks/prompt_cache.py [--json]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from _data import rows

from rar.prefixes import KEPT, LEAST, Offer, switching
from rar.prices import Prices, Rates

FILE = "mooncake_conversation.csv.gz"
BLOCK = 512
PAIRS = (
    ("claude-haiku-4-5", "claude-sonnet-4-5"),
    ("gpt-5-mini", "gpt-5"),
    ("gemini-2.5-flash", "gemini-2.5-pro"),
    ("gpt-4o-mini", "gpt-4o"),
)
SHARES = (0.2, 0.5, 0.8)
SEEDS = 5


@dataclass(frozen=True)
class Turn:
    """A request of the trace: its tokens, and which earlier one began like it (None: none did)."""

    at: float
    tokens: int
    out: int
    prefix: int = 0
    before: int | None = None


@dataclass
class Run:
    """What one way to decide came to."""

    usd: float = 0.0
    cheaper: int = 0
    switches: int = 0
    avoided: int = 0


def turns() -> list[Turn]:
    """The requests, each with the latest earlier one that it may go on from."""
    found: list[Turn] = []
    ends: dict[int, list[int]] = defaultdict(list)
    for row in rows(FILE):
        at, tokens = int(row["timestamp_ms"]) / 1e3, int(row["input_tokens"])
        blocks = int(row["prefix_blocks_seen_before"])
        prefix = min(blocks * BLOCK, tokens)
        before = ends[blocks].pop() if prefix >= LEAST and ends[blocks] else None
        ends[tokens // BLOCK].append(len(found))
        found.append(Turn(at, tokens, int(row["output_tokens"]), prefix if before is not None else 0, before))
    return found


def replay(trace: list[Turn], rates: dict[str, Rates], wanted: list[bool], *, charged: bool) -> Run:
    """Serve the trace; where `wanted`, the cheaper model is good enough."""
    run, served = Run(), list[dict[str, float]]()  # when each model read the prompt last, by turn
    for turn, good in zip(trace, wanted, strict=True):
        read = {} if turn.before is None else served[turn.before]
        warm = {name: turn.prefix if turn.at - read.get(name, -KEPT) < KEPT else 0 for name in rates}
        offers = {name: offer(rate, turn, warm[name]) for name, rate in rates.items()}
        model = "weak" if good else "strong"
        if good and charged and switching(offers, "strong").get("weak", 0.0) >= 1.0:
            model, run.avoided = "strong", run.avoided + 1
        run.usd += offers[model].usd - offers[model].kept_usd
        run.cheaper += model == "weak"
        run.switches += bool(warm["weak" if model == "strong" else "strong"]) and not warm[model]
        served.append({**read, model: turn.at})
    return run


def offer(rates: Rates, turn: Turn, warm: int) -> Offer:
    usd = (rates.into * turn.tokens + rates.out * turn.out) / 1e6
    return Offer(usd, warm * (rates.into - rates.cached) / 1e6)


def compared(trace: list[Turn], rates: dict[str, Rates], share: float) -> dict[str, float]:
    """Means over draws of which answers are good enough."""
    found = []
    strong = replay(trace, rates, [False] * len(trace), charged=False).usd
    for seed in range(SEEDS):
        wanted = list(np.random.default_rng(seed).random(len(trace)) < share)
        blind, charged = (replay(trace, rates, wanted, charged=one) for one in (False, True))
        found.append(
            (
                strong,
                blind.usd,
                charged.usd,
                blind.switches,
                charged.switches,
                charged.avoided,
                blind.cheaper,
                charged.cheaper,
            )
        )
    names = ("strong", "blind", "charged", "switches", "switches_charged", "avoided", "cheaper", "cheaper_charged")
    return dict(zip(names, map(float, np.mean(found, axis=0)), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    trace, prices, found = turns(), Prices(), []
    for weak, strong in PAIRS:
        rates = {name: prices.rates(name, id) for name, id in (("weak", weak), ("strong", strong))}
        known = {name: rate for name, rate in rates.items() if rate is not None}
        found += [
            {"weak": weak, "strong_model": strong, "good": good, **compared(trace, known, good)} for good in SHARES
        ]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    read, tokens = sum(turn.prefix for turn in trace), sum(turn.tokens for turn in trace)
    follow = sum(turn.before is not None for turn in trace)
    print(
        f"{len(trace):,} requests, {follow:,} go on from an earlier one; {read / tokens:.1%} of all tokens read before"
    )
    print("USD: always strong, switching blindly, switching where it saves; requests that switch, and do so no more")
    columns = "".join(f"{name:>9}" for name in ("strong", "blind", "charged", "less", "switch", "avoided"))
    print(f"{'cheaper and strong model':38}{'good':>6}{columns}")
    for row in found:
        names, usd = (
            f"{row['weak']}, {row['strong_model']}",
            [float(row[name]) for name in ("strong", "blind", "charged")],
        )
        print(
            f"{names:38}{row['good']:6.0%}{''.join(f'{one:9.2f}' for one in usd)}{1.0 - usd[2] / usd[1]:9.2%}"
            f"{row['switches']:9.0f}{row['avoided']:9.0f}"
        )


if __name__ == "__main__":
    main()
