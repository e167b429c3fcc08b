"""The neighbourhood of a text: its nearest outcomes, and Elo ratings from battles on similar texts."""

from __future__ import annotations

import csv
import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rar.errors import ConfigurationError, NotFittedError, RouterFileError, TrainingDataError
from rar.evaluation import read_outcomes
from rar.linear import Array
from rar.routers import KNNRouter, Outcomes, SimilarityEloRouter
from rar.routers.elo import bradley_terry, wins
from rar.routers.neighbours import in_blocks
from rar.values import Vector
from tests.contract.learned_router import ASKED, SEEN

NAN = np.nan


class Compass:
    """The embedder of texts that are angles in degrees."""

    id, dim = "compass-1", 2

    def embed(self, texts: Any) -> Vector:
        angles = np.radians([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def outcomes(angles: Any, scores: Any, models: tuple[str, ...] = ("weak", "strong")) -> Outcomes:
    return Outcomes(tuple(f"{angle:.3f}" for angle in angles), np.array(scores, np.float64), models)


def zermelo(counts: Array) -> Array:
    """The likeliest strengths of one problem, slowly: Zermelo's iteration (1929), thousands of times."""
    strengths = np.ones(len(counts))
    battles = counts + counts.T
    for _ in range(20_000):
        strengths = counts.sum(1) / (battles / (strengths[:, None] + strengths)).sum(1)
        strengths /= np.exp(np.log(strengths).mean())
    return np.log(strengths)


def table(m: int, seed: int, q: int = 1) -> Array:
    counts = np.random.default_rng(seed).gamma(0.5, 4.0, (q, m, m)) + 0.05
    counts[:, range(m), range(m)] = 0.0
    return counts


# ── the Bradley-Terry model ──


@pytest.mark.parametrize("m", [3, 5])
def test_strengths_are_those_of_a_slow_reference(m: int) -> None:
    counts = table(m, seed=m, q=3)

    assert bradley_terry(counts) == pytest.approx(np.stack([zermelo(one) for one in counts]), abs=1e-5)


def test_of_two_models_the_general_solver_gives_the_share_of_wins() -> None:
    counts = table(2, seed=0, q=20)
    # A third model that ties with both of them changes nothing between the two: it is no evidence.
    three = np.zeros((20, 3, 3))
    three[:, :2, :2] = counts
    three[:, 2, :2] = three[:, :2, 2] = 1e-9
    pair, general = bradley_terry(counts), bradley_terry(three)
    share = counts[:, 1, 0] / (counts[:, 1, 0] + counts[:, 0, 1])

    assert 1.0 / (1.0 + np.exp(pair[:, 0] - pair[:, 1])) == pytest.approx(share)
    assert general[:, 1] - general[:, 0] == pytest.approx(pair[:, 1] - pair[:, 0], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 9), st.integers(0, 10_000), st.floats(-3.0, 6.0))
def test_however_lopsided_the_wins_expected_and_counted_wins_agree(m: int, seed: int, scale: float) -> None:
    counts = table(m, seed) * 10.0**scale + 0.5
    counts[:, 0] *= 1_000.0
    counts[:, range(m), range(m)] = 0.0
    strengths = bradley_terry(counts)[0]
    chances = 1.0 / (1.0 + np.exp(strengths[None, :] - strengths[:, None]))
    expected = ((counts[0] + counts[0].T) * chances).sum(1)

    assert expected == pytest.approx(counts[0].sum(1), rel=1e-5)
    assert strengths.mean() == pytest.approx(0.0, abs=1e-9)


def test_a_battle_is_a_win_a_tie_or_none() -> None:
    won = wins(np.array([[0.2, 0.9, NAN], [0.5, 0.5, 0.4]]))

    assert won[0].tolist() == [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert won[1].tolist() == [[0.0, 0.5, 1.0], [0.5, 0.0, 1.0], [0.0, 0.0, 0.0]]


# ── ratings of a request ──


def test_the_score_is_the_weighted_share_of_wins() -> None:
    angles = np.linspace(0.0, 80.0, 12)
    points = np.array([[0, 1], [1, 0], [1, 1]] * 4)
    router = SimilarityEloRouter(embedder=Compass(), gamma=10.0, prior=1e-6).fit(outcomes(angles, points))
    query = 17.0
    cosines = np.cos(np.radians(angles - query))
    weights = 10.0 * 10.0 ** (cosines / cosines.max())  # RouteLLM's own
    share = weights @ ((1.0 + points[:, 1] - points[:, 0]) / 2.0) / weights.sum()

    assert float(router.score([str(query)])[0]) == pytest.approx(share, abs=1e-3)
    assert router.scores([str(query)])[0].tolist() == pytest.approx([1.0 - share, share], abs=1e-3)


def test_the_general_solver_sees_the_battles_of_similar_texts() -> None:
    chance = np.random.default_rng(0)
    scores = chance.integers(0, 3, (30, 4)).astype(float)
    scores[chance.random((30, 4)) < 0.3] = NAN
    angles = chance.uniform(0.0, 90.0, 30)
    names = ("a", "b", "c", "d")
    router = SimilarityEloRouter(embedder=Compass(), gamma=50.0, prior=2.0, weak="b", strong="c")
    router.fit(outcomes(angles, scores, names))
    cosines = np.cos(np.radians(angles - 40.0))
    weights = 50.0 ** (cosines / cosines.max() - 1.0)
    counts = np.full((4, 4), 1.0)
    for weight, row in zip(weights, scores, strict=True):
        for a in range(4):
            for b in range(4):
                if a != b and not np.isnan(row[[a, b]]).any():
                    counts[a, b] += weight * (0.5 if row[a] == row[b] else float(row[a] > row[b]))
    np.fill_diagonal(counts, 0.0)
    strengths = zermelo(counts)

    assert router.scores(["40"])[0] == pytest.approx(np.exp(strengths) / np.exp(strengths).sum(), abs=2e-3)
    assert router.score(["40"])[0] == pytest.approx(1.0 / (1.0 + np.exp(strengths[1] - strengths[2])), abs=2e-3)


def test_a_larger_gamma_trusts_the_nearest_more() -> None:
    angles = np.linspace(0.0, 90.0, 20)
    data = outcomes(angles, [(1, 0) if angle > 45 else (0, 1) for angle in angles])
    flat, sharp = (SimilarityEloRouter(embedder=Compass(), gamma=gamma).fit(data) for gamma in (10.0, 1e6))

    assert 0.5 < flat.score(["0"])[0] < sharp.score(["0"])[0]
    assert sharp.score(["90"])[0] < flat.score(["90"])[0] < 0.5


def test_a_text_like_no_other_gets_what_is_so_overall() -> None:
    data = outcomes([0.0] * 20, [(0, 1)] * 15 + [(1, 0)] * 5)
    router = SimilarityEloRouter(embedder=Compass(), prior=1e-6).fit(data)

    assert router.score(["0", "90", "180"]) == pytest.approx(0.75, abs=1e-3)


def test_ratings_are_elo_points_with_mean_1000() -> None:
    data = outcomes([0.0] * 110, [(0, 1)] * 100 + [(1, 0)] * 10)
    ratings = SimilarityEloRouter(embedder=Compass(), prior=1e-9).fit(data).ratings()

    assert ratings == pytest.approx({"weak": 800.0, "strong": 1200.0}, abs=0.1)


def test_battles_of_three_models_rank_them_all() -> None:
    battles = Outcomes.of_battles(
        [str(n) for n in range(12)], ["a", "b", "a"] * 4, ["b", "c", "c"] * 4, ["model_b", "model_b", "tie"] * 4
    )
    router = SimilarityEloRouter(embedder=Compass()).fit(battles)
    ratings = router.ratings()

    assert ratings["a"] < ratings["b"] < ratings["c"]
    assert router.scores(["3"]).argmax() == 2


def test_each_battle_of_many_counts() -> None:
    scores = np.random.default_rng(0).integers(0, 3, (3_000, 3)).astype(float)
    router = SimilarityEloRouter(embedder=Compass()).fit(outcomes(range(3_000), scores, ("a", "b", "c")))
    strengths = bradley_terry(wins(scores).sum(0)[None] + 0.5)[0]

    assert list(router.ratings().values()) == pytest.approx(1_000.0 + 400.0 / np.log(10.0) * strengths)


def test_what_is_made_of_many_texts_at_once_is_bounded() -> None:
    rows: list[int] = []

    def told(cosines: Vector) -> Array:
        rows.append(len(cosines))
        return cosines[:, 0].astype(np.float64)

    texts, kept = np.arange(50, dtype=np.float32)[:, None], np.ones((3, 1), np.float32)

    assert in_blocks(texts, kept, told, width=2**20).tolist() == list(range(50))
    assert max(rows) * 2**20 <= 2**22


def test_a_saved_ranking_of_three_models_is_the_same(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).integers(0, 3, (40, 3)).astype(float)
    data = replace(ASKED.take(range(40)), scores=scores, models=("a", "b", "c"))
    router = SimilarityEloRouter(embedder="hashing", weak="c", strong="a").fit(data)
    again = SimilarityEloRouter.load(router.save(tmp_path))

    assert again.scores(SEEN.texts) == pytest.approx(router.scores(SEEN.texts), abs=1e-6)
    assert again.score(SEEN.texts) == pytest.approx(router.score(SEEN.texts), abs=1e-6)
    assert again.ratings() == router.ratings()


def test_a_file_whose_battles_are_of_other_models_is_refused(tmp_path: Path) -> None:
    SimilarityEloRouter(embedder="hashing").fit(SEEN).save(tmp_path)
    about = json.loads((tmp_path / "router.json").read_text("utf-8"))
    (tmp_path / "router.json").write_text(json.dumps({**about, "models": ["a", "b", "c"]}), "utf-8")

    with pytest.raises(RouterFileError, match="do not fit together"):
        SimilarityEloRouter.load(tmp_path)


def test_options_that_cannot_work_are_refused() -> None:
    for name, value in (("gamma", 0.5), ("gamma", NAN), ("prior", 0.0)):
        with pytest.raises(ConfigurationError, match=f"{name}={value} is not a finite number"):
            SimilarityEloRouter(embedder=Compass(), **{name: value})
    with pytest.raises(TrainingDataError, match="cake"):
        SimilarityEloRouter(embedder=Compass(), strong="cake").fit(outcomes(range(12), [(0, 1), (1, 0)] * 6))
    with pytest.raises(TrainingDataError, match="no battle"):
        SimilarityEloRouter(embedder=Compass()).fit(outcomes(range(12), [(0, NAN, NAN)] * 12, ("a", "b", "c")))
    with pytest.raises(NotFittedError):
        SimilarityEloRouter(embedder=Compass()).ratings()


@pytest.mark.slow
@pytest.mark.skipif("RAR_DATA" not in os.environ, reason="set RAR_DATA to the folder of the recorded outcomes")
def test_ratings_of_nine_models_are_ordered_as_their_accuracies() -> None:
    path = Path(os.environ["RAR_DATA"]) / "nine_models.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        models = next(csv.reader(file))[1:]
    data = read_outcomes(path, models=models)
    # The models meet each other on parts of the texts only, as in an arena.
    asked = np.random.default_rng(0).random(data.scores.shape) < 0.5
    arena = replace(data, scores=np.where(asked, data.scores, NAN))
    ratings = SimilarityEloRouter(embedder="hashing").fit(arena).ratings()
    places = [np.argsort(np.argsort(values)) for values in (list(ratings.values()), data.scores.mean(0))]

    assert list(ratings) == models
    assert np.corrcoef(*places)[0, 1] >= 0.95


# ── nearest neighbours ──


def test_the_nearest_outcomes_are_averaged() -> None:
    data = outcomes(range(0, 100, 5), [(0, 1)] * 10 + [(1, 0)] * 10)
    router = KNNRouter(embedder=Compass(), k=4).fit(data)

    assert router.score(["1", "94", "46.9"]).tolist() == [1.0, 0.0, 0.5]


def test_equally_near_texts_count_a_share_each() -> None:
    data = outcomes([0.0] * 6 + [50.0] * 14, [(0, 1)] * 3 + [(1, 1)] * 3 + [(1, 0)] * 14)

    assert KNNRouter(embedder=Compass(), k=2).fit(data).score(["0"])[0] == pytest.approx(0.75)
    assert KNNRouter(embedder=Compass(), k=13).fit(data).score(["0"])[0] == pytest.approx(0.5 + 0.5 * (3 - 7) / 13)


def test_with_fewer_texts_than_neighbours_all_are_averaged() -> None:
    data = outcomes(range(10), [(0, 1)] * 4 + [(1, 1)] * 6)

    assert KNNRouter(embedder=Compass(), k=500).fit(data).score(["3"])[0] == pytest.approx(0.7)


def test_no_neighbour_is_no_router() -> None:
    with pytest.raises(ConfigurationError, match="k=0 is not a whole number of at least 1"):
        KNNRouter(embedder=Compass(), k=0)


@pytest.mark.parametrize("kind", [KNNRouter, SimilarityEloRouter])
class TestUpdate:
    def test_what_is_added_counts_as_if_it_had_been_there(self, kind: Any) -> None:
        parts = kind(embedder="hashing").fit(SEEN.take(range(50))).update(SEEN.take(range(50, 80)))

        assert parts.score(ASKED.texts) == pytest.approx(
            kind(embedder="hashing").fit(SEEN).score(ASKED.texts), abs=1e-5
        )
        assert parts.facts["rows"] == 80

    def test_a_single_text_can_be_added(self, kind: Any) -> None:
        router = kind(embedder="hashing").fit(SEEN)
        before = router.score([ASKED.texts[0]])[0]
        one = replace(ASKED.take([0]), scores=np.array([[0.0, 1.0]]))
        router.update(one)

        assert router.score([ASKED.texts[0]])[0] > before

    def test_other_models_are_refused(self, kind: Any) -> None:
        router = kind(embedder="hashing").fit(SEEN)
        with pytest.raises(TrainingDataError, match="other"):
            router.update(replace(ASKED, models=("small", "other")))
        with pytest.raises(NotFittedError):
            kind(embedder="hashing").update(SEEN)


def test_missing_scores_cannot_be_averaged() -> None:
    router = KNNRouter(embedder="hashing").fit(SEEN)
    with pytest.raises(TrainingDataError, match="row 0"):
        router.update(replace(ASKED.take([0]), scores=np.array([[NAN, 1.0]])))
