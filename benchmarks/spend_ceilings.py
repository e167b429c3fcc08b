"""Spending under a ceiling: by how much is it overshot, and who answers?

Three models with the recorded cost of each of their answers. Everything is meant for the dearest one. A day's ceiling
is a share of what that would cost. Where a call does not fit, the dearest cheaper model that fits answers, and nobody
where none does. What a call will cost is not known before: the router expects it from the calls before. Eight requests
are under way at a time: eight decisions come before what they cost is known.

    RAR_DATA=... python benchmarks/spend_ceilings.py [--shuffles 20] [--json]
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from dataclasses import dataclass

import numpy as np
from _data import rows

from rar import Ceiling, Router
from rar.errors import BudgetExceededError
from rar.values import Call, Decision, Reply, Usage, question

FILE = "three_models_judged_cost.csv.gz"
MODELS = {"weak": "llama-3.1-8b-instruct", "mid": "mistral-large-2512", "strong": "gemini-2.5-pro"}
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
UNDER_WAY, MARK = 8, 0.004
# USD per million output tokens. The recorded cost, input included, is taken as output, which is harder to foresee.
PRICES = {"weak": 0.05, "mid": 1.5, "strong": 10.0}
_PARTS = 1_000  # of a token, so that rounding is no cost


@dataclass(frozen=True)
class Recorded:
    """A model that answers what is recorded, at the cost that is recorded."""

    id: str
    usd: dict[str, float]
    price: float

    def call(self, call: Call) -> Reply:
        tokens = round(self.usd[call.request.messages[0].text] / self.price * 1e6 * _PARTS)
        return Reply(call.model, "recorded", usage=Usage(1, tokens), model_id=self.id)

    async def acall(self, call: Call) -> Reply:
        return self.call(call)


@dataclass(frozen=True)
class Run:
    """What one order of the requests came to."""

    spent: float
    quality: float
    answered: Counter[str]


def run(data: list[dict[str, str]], ceiling: float) -> Run:
    """One day, request by request."""
    texts = [f"{number}: {row['prompt']}" for number, row in enumerate(data)]
    models = {
        name: Recorded(id, {text: float(row[f"usd:{id}"]) for text, row in zip(texts, data, strict=True)}, PRICES[name])
        for name, id in MODELS.items()
    }
    prices = {name: (0.0, price / _PARTS) for name, price in PRICES.items()}
    router = Router(memory=None, strategy=lambda _: "strong", prices=prices, spend=Ceiling(ceiling), clock=lambda: 0.0)
    answered, quality, spent = Counter[str](), 0.0, 0.0
    for start in range(0, len(data), UNDER_WAY):
        decided: list[tuple[int, Decision]] = []
        for number in range(start, min(start + UNDER_WAY, len(data))):
            try:
                decided.append((number, router.decide(question(texts[number]), models)))
            except BudgetExceededError:
                answered["nobody"] += 1
        for number, decision in decided:
            reply = models[decision.model].call(decision.call)
            router.learn(decision, reply, models)
            answered[decision.model] += 1
            quality += float(data[number][f"reward:{MODELS[decision.model]}"])
            spent += float(data[number][f"usd:{MODELS[decision.model]}"])
    return Run(spent, quality / len(data), answered)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shuffles", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.getLogger("rar").setLevel(logging.ERROR)
    data = rows(FILE)
    always = sum(float(row[f"usd:{MODELS['strong']}"]) for row in data)
    best = sum(float(row[f"reward:{MODELS['strong']}"]) for row in data) / len(data)
    found = []
    for share in SHARES:
        ceiling = share * always
        runs = [run([data[i] for i in shuffle_of(len(data), seed)], ceiling) for seed in range(options.shuffles)]
        over = np.array([one.spent / ceiling - 1.0 for one in runs])
        answered = sum((one.answered for one in runs), Counter[str]())
        shares = {name: answered[name] / answered.total() for name in (*MODELS, "nobody")}
        quality = float(np.mean([one.quality for one in runs])) / best
        found.append(
            {
                "share": share, "ceiling_usd": ceiling, "overshoot": float(over.mean()), "worst": float(over.max()),
                "quality": quality, **shares,
            }
        )  # fmt: skip
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{len(data)} requests in {options.shuffles} orders, {UNDER_WAY} under way at a time")
    print(f"always {MODELS['strong']}: {always:.2f} USD; quality and ceilings are shares of that")
    names = (*MODELS, "nobody")
    print(f"{'ceiling':>14}{'over, mean':>12}{'worst':>9}{'quality':>9}{''.join(f'{name:>9}' for name in names)}")
    for row in found:
        ceiling = f"{row['share']:.0%} {row['ceiling_usd']:.2f} USD"
        answered = "".join(f"{row[name]:>9.1%}" for name in names)
        print(f"{ceiling:>14}{row['overshoot']:>12.3%}{row['worst']:>9.3%}{row['quality']:>9.1%}{answered}")
    most = max(row["overshoot"] for row in found)
    print(
        f"mark: mean overshoot at most {MARK:.1%} at each ceiling: {'met' if most <= MARK else 'missed'} ({most:+.3%})"
    )


def shuffle_of(count: int, seed: int) -> list[int]:
    """The order of a shuffle."""
    return [int(place) for place in np.random.default_rng(seed).permutation(count)]


if __name__ == "__main__":
    main()
