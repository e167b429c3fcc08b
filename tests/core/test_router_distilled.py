"""Zooter: what tags do to labels, how costs are weighed, and what both are worth on nine real models."""

from __future__ import annotations

import csv
import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rar.embedding import as_embedder
from rar.errors import ConfigurationError, NotFittedError, TrainingDataError
from rar.evaluation.embeddings import DiskCachedEmbedder
from rar.linear import Array
from rar.routers import Outcomes
from rar.routers.distilled import RewardDistilledRouter, enhanced
from tests.contract.learned_router import LearnedRouterContract

TOPICS = {"poems": "a poem with rhyme and verse", "sums": "the sum of numbers", "code": "a function in a program"}


def world(n: int, seed: int = 0, *, noise: float = 0.0) -> Outcomes:
    """Each of three models knows one topic; `noise` of the scores are turned over."""
    chance = np.random.default_rng(seed)
    topic = chance.integers(3, size=n)
    texts = tuple(f"Write {list(TOPICS.values())[t]}, number {i}" for i, t in enumerate(topic))
    scores = np.where(np.arange(3) == topic[:, None], 0.9, 0.3)
    scores = np.where(chance.random((n, 3)) < noise, 1.0 - scores, scores)
    return Outcomes(texts, scores, ("poet", "counter", "coder"), groups=tuple(np.array(list(TOPICS))[topic]))


def router(**options: object) -> RewardDistilledRouter:
    return RewardDistilledRouter(**{"embedder": "hashing", "clusters": 5, **options})  # type: ignore[arg-type]


ASKED = ["A poem about verse", "What is the sum of these numbers?", "A function for my program"]


class TestRewardDistilledRouter(LearnedRouterContract):
    def make(self) -> RewardDistilledRouter:
        return router()


def test_each_question_goes_to_the_model_that_knows_its_topic() -> None:
    fitted = router().fit(world(200))

    assert fitted.choose(ASKED) == ["poet", "counter", "coder"]
    assert (fitted.scores(ASKED).argmax(1) == [0, 1, 2]).all()


def test_the_distribution_is_the_softmax_of_the_rewards() -> None:
    data = world(300)
    fitted = router(temperature=0.5, penalty=0.001, beta=1.0).fit(data)
    rewards = data.scores - data.scores.mean(1, keepdims=True)
    found = 0.5 * np.log(fitted.scores(data.texts))

    np.testing.assert_allclose(found - found.mean(1, keepdims=True), rewards, atol=0.05)


def test_a_label_moves_to_the_mean_of_its_tag() -> None:
    rewards = np.array([[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]])

    np.testing.assert_allclose(enhanced(rewards, np.array([0, 0, 1]), 1.0), rewards)
    np.testing.assert_allclose(enhanced(rewards, np.array([0, 0, 1]), 0.0), [[0.5, 0.0], [0.5, 0.0], [0.5, 1.0]])
    np.testing.assert_allclose(enhanced(rewards, np.array([0, 0, 1]), 0.3)[0], [0.3 * 1.0 + 0.7 * 0.5, 0.0])


def test_a_missing_reward_is_that_of_its_tag_or_else_of_the_model() -> None:
    nan = np.nan
    rewards = np.array([[1.0, 0.2], [nan, 0.4], [nan, 0.6], [0.0, nan]])

    found = enhanced(rewards, np.array([0, 0, 1, 1]), 1.0)
    np.testing.assert_allclose(found, [[1.0, 0.2], [1.0, 0.4], [0.0, 0.6], [0.0, 0.6]])
    found = enhanced(rewards, np.array([0, 0, 1, 2]), 1.0)
    np.testing.assert_allclose(found, [[1.0, 0.2], [1.0, 0.4], [0.5, 0.6], [0.0, 0.4]])


def test_it_learns_from_battles() -> None:
    data = world(200)
    chance = np.random.default_rng(1)
    scores = data.scores.copy()
    scores[np.arange(200), chance.integers(3, size=200)] = np.nan  # each text was answered by two of three

    assert router().fit(replace(data, scores=scores)).choose(ASKED) == ["poet", "counter", "coder"]


@pytest.mark.parametrize("given", ["groups", "clusters"])
def test_groups_make_up_for_noise(given: str) -> None:
    data, asked = world(400, noise=0.4), world(300, 9)
    data = data if given == "groups" else replace(data, groups=None)

    def quality(beta: float) -> float:
        fitted = router(beta=beta, penalty=0.05, embedder="hashing").fit(data)
        rows = fitted.scores(asked.texts).argmax(1)
        return float(asked.scores[np.arange(300), rows].mean())

    assert quality(0.1) > quality(1.0)


def test_a_dear_model_is_chosen_only_where_it_is_worth_it() -> None:
    prices = {"poet": 10.0, "counter": 1.0, "coder": 1.0}
    fitted = router(prices=prices, cost_weight=0.1, beta=1.0, penalty=0.01).fit(world(200))

    assert fitted.choose(ASKED) == ["poet", "counter", "coder"]
    dear = fitted.choose(ASKED, cost_weight=0.8)  # a poem is worth 0.6 more by the poet, who costs 0.72 more
    assert dear[0] != "poet" and dear[1:] == ["counter", "coder"]
    assert set(fitted.choose(ASKED, cost_weight=1e6)) <= {"counter", "coder"}


def test_costs_are_those_of_the_outcomes_unless_prices_are_given(tmp_path: Path) -> None:
    data = world(100)
    costs = np.tile([5.0, 0.0, 5.0], (100, 1))
    costs[::2] = np.nan
    fitted = router(cost_weight=10.0).fit(replace(data, costs=costs))

    assert set(fitted.choose(ASKED)) == {"counter"}
    again = RewardDistilledRouter.load(fitted.save(tmp_path / "router"))
    assert again.choose(ASKED) == fitted.choose(ASKED)
    priced = router(cost_weight=10.0, prices={"poet": 0.0, "counter": 5.0, "coder": 5.0})
    assert set(priced.fit(replace(data, costs=costs)).choose(ASKED)) == {"poet"}


def test_the_score_compares_the_two_models_that_were_named() -> None:
    data = world(200)
    usual = router().fit(data).score(data.texts)  # the last against the first
    turned = router(weak="coder", strong="poet").fit(data).score(data.texts)

    assert data.groups is not None
    topic = np.array(data.groups)
    assert usual[topic == "poems"].max() < 0.4 < 0.6 < usual[topic == "code"].min()
    np.testing.assert_allclose(turned, 1.0 - usual, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.0}, "temperature=0.0 is not a finite number above 0"),
        ({"beta": 1.1}, "beta=1.1 is not a number from 0 to 1"),
        ({"cost_weight": -0.1}, "cost_weight"),
        ({"prices": {"poet": -1.0}}, "prices"),
        ({"clusters": 0}, "clusters"),
        ({"penalty": 0.0}, "penalty"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        router(**options)


def test_costs_that_nobody_knows_are_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="Give prices="):
        router(cost_weight=0.1).fit(world(20))
    with pytest.raises(ConfigurationError, match="Give prices="):
        router().fit(world(20)).choose(ASKED, cost_weight=0.1)
    with pytest.raises(ConfigurationError, match="lacks .*'coder'"):
        router(prices={"poet": 1.0, "counter": 1.0}).fit(world(20))
    unknown = np.ones((20, 3))
    unknown[:, 1] = np.nan
    with pytest.raises(TrainingDataError, match="'counter' has no cost"):
        router().fit(replace(world(20), costs=unknown))


def test_models_of_which_nothing_is_known_are_refused() -> None:
    with pytest.raises(TrainingDataError, match="no model 'painter'"):
        router(strong="painter").fit(world(20))
    scores = world(20).scores.copy()
    scores[:, 2] = np.nan
    with pytest.raises(TrainingDataError, match="'coder' has no score"):
        router().fit(replace(world(20), scores=scores))
    with pytest.raises(NotFittedError):
        router().choose(ASKED)


# --- recorded outcomes ----------------------------------------------------------------------------------------------

recorded = pytest.mark.skipif("RAR_DATA" not in os.environ, reason="set RAR_DATA to the folder of recorded outcomes")


def nine_models() -> tuple[Outcomes, dict[str, float]]:
    folder = Path(os.environ["RAR_DATA"])
    facts = json.loads((folder / "nine_models_prices.json").read_text("utf-8"))
    prices = {model: float(fact["input_usd_per_mtok"]) for model, fact in facts.items()}
    with gzip.open(folder / "nine_models.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = tuple(row["question"] for row in rows)
    scores = np.array([[float(row[model]) for model in prices] for row in rows])
    embedder = DiskCachedEmbedder(as_embedder("minilm"))
    return Outcomes(texts, scores, tuple(prices), vectors=embedder.embed(texts), embedder_id=embedder.id), prices


def holdout(data: Outcomes, seed: int) -> tuple[Outcomes, Outcomes]:
    order = np.random.default_rng(seed).permutation(len(data))
    return data.take(order[1_108:]), data.take(order[:1_108])


def chosen(fitted: RewardDistilledRouter, asked: Outcomes, cost_weight: float = 0.0) -> Array:
    """The column of the model chosen for each text."""
    names = fitted.choose(asked.texts, asked.vectors, cost_weight=cost_weight)
    return np.array([fitted.models.index(name) for name in names])


@recorded
@pytest.mark.slow
def test_it_matches_the_best_single_model_for_less() -> None:
    data, prices = nine_models()
    usd = np.array([prices[model] for model in data.models])
    found: dict[float, list[tuple[float, float, float]]] = {0.05: [], 0.1: []}
    for seed in range(5):
        seen, asked = holdout(data, seed)
        best = int(seen.scores.mean(0).argmax())
        fitted = RewardDistilledRouter(prices=prices).fit(seen)
        for weight, rows in found.items():
            picks = chosen(fitted, asked, weight)
            quality = asked.scores[np.arange(len(asked)), picks].mean()
            rows.append((quality, asked.scores[:, best].mean(), usd[picks].mean() / usd[best]))

    quality, of_best, price = np.mean(found[0.05], 0)
    assert (quality >= of_best - 0.005, price <= 0.75) == (True, True), (quality, of_best, price)
    quality, of_best, price = np.mean(found[0.1], 0)
    assert (quality >= 0.97 * of_best, price <= 0.5) == (True, True), (quality, of_best, price)


@recorded
@pytest.mark.slow
def test_tags_recover_half_of_what_noise_costs() -> None:
    data, _ = nine_models()
    found = []
    for seed in range(2):
        seen, asked = holdout(data, seed)
        flip = np.random.default_rng(seed + 100).random(seen.scores.shape) < 0.3
        noisy = replace(seen, scores=np.where(flip, 1.0 - seen.scores, seen.scores))
        fitted = [
            RewardDistilledRouter(beta=beta).fit(rows) for beta, rows in ((1.0, seen), (1.0, noisy), (0.3, noisy))
        ]
        found.append([asked.scores[np.arange(len(asked)), chosen(one, asked)].mean() for one in fitted])

    clean, without, tagged = np.mean(found, 0)
    assert clean - without > 0.02
    assert tagged - without >= 0.5 * (clean - without), found
