"""Zooter's router over nine models: quality and price beside the best single model, with clean and with noisy labels.

Five random holdouts of 1,108 questions, each by one fit to the rest (`rar.routers.RewardDistilledRouter`, groups by
k-means). The best single model is the best one on the rows that were learned from. A call costs its model's USD per
million tokens; "by input" weighs it with the question's length, as all models read the same question. What they
answered was not recorded, so that the length of answers counts nowhere.

    RAR_DATA=... python benchmarks/zooter.py [--holdouts 5]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from _data import folder, rows

from rar.embedding import as_embedder
from rar.evaluation.embeddings import DiskCachedEmbedder
from rar.linear import Array
from rar.routers import Outcomes, RewardDistilledRouter

ASKED = 1_108
WEIGHTS = (0.0, 0.05, 0.1, 0.2)  # of costs
FLIPPED = 0.3


def nine_models() -> tuple[Outcomes, dict[str, float]]:
    """What nine models scored on 5,608 questions, and their USD per million tokens."""
    prices = json.loads((folder() / "nine_models_prices.json").read_text("utf-8"))
    prices = {model: float(price["input_usd_per_mtok"]) for model, price in prices.items()}
    table = rows("nine_models.csv.gz")
    texts = tuple(row["question"] for row in table)
    scores = np.array([[float(row[model]) for model in prices] for row in table])
    embedder = DiskCachedEmbedder(as_embedder("minilm"))
    vectors = embedder.embed(texts)
    data = Outcomes(texts, scores, tuple(prices), vectors=vectors, embedder_id=embedder.id, name="nine models")
    return data, prices


def holdout(data: Outcomes, seed: int) -> tuple[Outcomes, Outcomes]:
    """What is learned from, and what is asked."""
    order = np.random.default_rng(seed).permutation(len(data))
    return data.take(order[ASKED:]), data.take(order[:ASKED])


def noisy(data: Outcomes, seed: int) -> Outcomes:
    """The outcomes with a random part of the scores turned over."""
    flip = np.random.default_rng(seed + 100).random(data.scores.shape) < FLIPPED
    return replace(data, scores=np.where(flip, 1.0 - data.scores, data.scores))


def served(router: RewardDistilledRouter, asked: Outcomes, cost_weight: float = 0.0) -> np.ndarray:
    """The column of the model that is chosen for each text."""
    return np.array(
        [router.models.index(m) for m in router.choose(asked.texts, asked.vectors, cost_weight=cost_weight)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--holdouts", type=int, default=5)
    args = parser.parse_args()
    data, prices = nine_models()
    rows_of: dict[str, list[list[float]]] = {}
    gains: list[Array] = []
    places: list[np.ndarray] = []
    for seed in range(args.holdouts):
        found, gain = measured(data, prices, seed)
        gains.append(gain)
        places.append(np.random.default_rng(seed).permutation(len(data))[:ASKED])
        for name, facts in found.items():
            rows_of.setdefault(name, []).append(facts)
    show({name: np.mean(facts, 0) for name, facts in rows_of.items()}, args.holdouts)
    show_kinds(data, np.concatenate(gains), np.concatenate(places))


def measured(data: Outcomes, prices: Mapping[str, float], seed: int) -> tuple[dict[str, list[float]], Array]:
    """Quality, price for a call and price by input of each router, prices as shares of the best single model's.

    Also what the router without costs is ahead of that model on each question.
    """
    seen, asked = holdout(data, seed)
    usd = np.array([prices[model] for model in data.models])
    size = np.array([float(len(text)) for text in asked.texts])
    best = int(seen.scores.mean(0).argmax())
    every = np.arange(len(asked))

    def facts(chosen: np.ndarray) -> list[float]:
        paid, quality = usd[chosen], asked.scores[every, chosen].mean()
        return [float(x) for x in (quality, paid.mean() / usd[best], (paid * size).sum() / (usd[best] * size).sum())]

    router, spoiled = RewardDistilledRouter(prices=prices).fit(seen), noisy(seen, seed)
    found = {"best single model": facts(np.full(len(asked), best))}
    found |= {f"cost_weight={weight:g}": facts(served(router, asked, weight)) for weight in WEIGHTS}
    found["without groups"] = facts(served(RewardDistilledRouter(beta=1.0).fit(seen), asked))
    found["noisy, with groups"] = facts(served(RewardDistilledRouter().fit(spoiled), asked))
    found["noisy, without groups"] = facts(served(RewardDistilledRouter(beta=1.0).fit(spoiled), asked))
    found["oracle"] = facts(asked.scores.argmax(1))
    return found, asked.scores[every, served(router, asked)] - asked.scores[:, best]


def show(found: Mapping[str, Array], holdouts: int) -> None:
    best = found["best single model"][0]
    print(f"nine models, mean of {holdouts} holdouts of {ASKED} questions")
    print(f"{'router':<22} {'quality':>7} {'of best':>8} {'price':>6} {'by input':>9}")
    for name, (quality, price, by_input) in found.items():
        print(f"{name:<22} {quality:>7.3f} {quality / best:>8.1%} {price:>6.0%} {by_input:>9.0%}")
    clean, spoiled = found["without groups"][0], found["noisy, without groups"][0]
    back = (found["noisy, with groups"][0] - spoiled) / (clean - spoiled)
    print(f"{FLIPPED:.0%} of the scores turned over cost {clean - spoiled:.3f}, of which groups recover {back:.0%}")


def show_kinds(data: Outcomes, gains: Array, places: np.ndarray, kinds: int = 12) -> None:
    """Where the best single model is ahead of the router, and where it is not."""
    import faiss  # noqa: PLC0415 - for this table alone

    assert data.vectors is not None
    means = faiss.Kmeans(data.vectors.shape[1], kinds, seed=1)
    means.train(data.vectors)
    near, kind = means.assign(data.vectors)
    print("\nrouter less best single model by kind of question (k-means), and the most typical question of each kind")
    table = [(float(gains[kind[places] == one].mean()), one) for one in range(kinds)]
    for mean, one in sorted(table):
        typical = data.texts[int(np.where(kind == one, near, np.inf).argmin())]
        print(f"{mean:>+7.3f} {(kind[places] == one).sum():>5}  {' '.join(typical.split())[:80]}")


if __name__ == "__main__":
    main()
