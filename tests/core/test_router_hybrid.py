"""Hybrid-LLM: its labels are exact, and what they are worth is what the paper says."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar.errors import ConfigurationError, TrainingDataError
from rar.evaluation import embedded, read_table
from rar.evaluation.metrics import apgr
from rar.linear import Array, Design, softmax, softmax_regression
from rar.routers import Outcomes
from rar.routers.hybrid import HybridRouter, Mode, match_probability, transformation
from rar.values import Vector
from tests.contract.learned_router import SEEN, LearnedRouterContract

DIM = 12
_SCORES = st.integers(0, 8).map(lambda eighths: eighths / 8)


@st.composite
def _samples(draw: st.DrawFn) -> tuple[Array, Array]:
    n, k, m = (draw(st.integers(1, 5)) for _ in range(3))
    weak = draw(st.lists(_SCORES, min_size=n * k, max_size=n * k))
    strong = draw(st.lists(_SCORES, min_size=n * m, max_size=n * m))
    return np.reshape(weak, (n, k)), np.reshape(strong, (n, m))


class Points:
    """Embeds the text "3" as the third of given points."""

    id, dim = "points", DIM

    def __init__(self, points: Vector) -> None:
        self.points = points

    def embed(self, texts: Sequence[str]) -> Vector:
        return self.points[[int(text) for text in texts]]


def world(gap: float, n: int = 600, k: int = 10) -> tuple[Outcomes, Points, Array]:
    """Texts on which the weak model's samples are worse by `gap` on average, and by how much on each."""
    chance = np.random.default_rng(3)
    points = chance.normal(size=(n, DIM))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    worse = gap + 3.0 * points[:, 0]
    noise = 0.4 * chance.normal(size=(n, 2, k))
    samples = np.stack([-worse, np.zeros(n)], 1)[:, :, None] + noise
    texts = tuple(map(str, range(n)))
    data = Outcomes(texts, samples.mean(2), ("small", "big"), samples=samples)
    return data, Points(points.astype(np.float32)), worse


def auc(score: Array, positive: np.ndarray) -> float:
    above = score[positive][:, None] - score[~positive]
    return float((above > 0.0).mean() + 0.5 * (above == 0.0).mean())


def ranking(gap: float, mode: Mode) -> float:
    """How well texts are told apart whose chance of a match is above and below the median; half are learned from."""
    data, points, worse = world(gap)
    half = len(data) // 2
    router = HybridRouter(mode=mode, embedder=points).fit(data.take(range(half)))
    return auc(router.score(data.texts[half:]), worse[half:] > np.median(worse))


class TestHybridRouter(LearnedRouterContract):
    def make(self) -> HybridRouter:
        return HybridRouter(embedder="hashing")


@given(_samples(), st.integers(0, 8).map(lambda eighths: eighths / 8))
def test_the_chance_of_a_match_is_what_enumeration_gives(samples: tuple[Array, Array], t: float) -> None:
    weak, strong = samples
    for row, found in enumerate(match_probability(weak, strong, t)):
        pairs = list(itertools.product(weak[row], strong[row]))
        assert found == pytest.approx(sum(w - s >= -t for w, s in pairs) / len(pairs))


def test_a_weak_model_that_is_always_worse_is_still_better_on_some_texts_than_on_others() -> None:
    data, points, worse = world(gap=6.0, k=1)
    assert data.gap.min() > 0.0
    router = HybridRouter(mode="trans", single_sample=True, embedder=points).fit(data)

    assert auc(router.score(data.texts), worse > np.median(worse)) > 0.9


@given(_samples())
def test_no_step_of_a_grid_spreads_labels_more_than_t_star(samples: tuple[Array, Array]) -> None:
    def spread(t: float) -> float:
        labels = match_probability(*samples, t)
        return float(np.abs(labels[:, None] - labels).mean())

    grid = np.arange(17) / 16
    found = transformation(*samples)

    assert found in grid  # scores are eighths
    assert spread(found) == pytest.approx(max(map(spread, grid)))


def test_the_fit_is_a_minimum() -> None:
    chance = np.random.default_rng(0)
    design = Design.of(SEEN.texts, chance.normal(size=(len(SEEN), 3)))
    targets = chance.dirichlet(np.full(4, 0.1), len(SEEN))
    base = np.array([2.0, -2.0, 0.0, 0.0])

    weights = softmax_regression(design, targets, base, penalty=0.1)

    slope = design.transposed_times(targets - softmax(base + design.times(weights))) - 0.1 * weights
    start = design.transposed_times(targets - softmax(np.tile(base, (len(SEEN), 1))))
    assert np.linalg.norm(slope) < 0.01 * np.linalg.norm(start)


def test_t_star_is_the_least_of_equals() -> None:
    assert transformation(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]])) == 0.0
    assert transformation(np.array([[0.0], [0.5]]), np.array([[1.0], [1.0]])) == 0.5


def test_with_a_large_gap_the_transformation_spreads_the_labels() -> None:
    data, points, _ = world(gap=2.0)
    labels = {mode: HybridRouter(mode=mode, embedder=points).labels(data) for mode in ("prob", "trans")}

    assert labels["trans"].var() > labels["prob"].var() > 0.0


def test_with_a_large_gap_the_transformation_ranks_better_than_hard_labels() -> None:
    assert ranking(2.0, "trans") >= ranking(2.0, "det") + 0.03


def test_with_a_small_gap_all_labels_rank_alike() -> None:
    assert ranking(0.0, "trans") == pytest.approx(ranking(0.0, "det"), abs=0.02)
    assert ranking(0.0, "prob") == pytest.approx(ranking(0.0, "det"), abs=0.02)


def test_t_star_is_shown_and_saved(tmp_path: Path) -> None:
    data, points, _ = world(gap=2.0)
    router = HybridRouter(mode="trans", embedder=points).fit(data)
    again = HybridRouter.load(router.save(tmp_path / "router"), embedder=points)

    assert router.t_star_ == transformation(data.samples[:, 0], data.samples[:, 1]) > 1.0  # type: ignore[index]
    assert (again.t_star_, again.mode) == (router.t_star_, "trans")


def test_the_score_is_the_chance_that_the_weak_model_is_not_good_enough() -> None:
    data, points, worse = world(gap=1.0)
    router = HybridRouter(mode="prob", penalty=0.01, embedder=points).fit(data)
    scores = router.score(data.texts)

    assert scores.mean() == pytest.approx(1.0 - router.labels(data).mean(), abs=0.01)
    assert scores[worse > 3.0].min() > 0.9
    assert scores[worse < -1.0].max() < 0.1


@pytest.mark.parametrize("mode", ["prob", "trans"])
def test_chances_are_not_made_of_one_sample_unless_told(mode: Mode) -> None:
    with pytest.raises(TrainingDataError, match=f"mode='{mode}'.*single_sample=True"):
        HybridRouter(mode=mode, embedder="hashing").fit(SEEN)

    told = HybridRouter(mode=mode, single_sample=True, embedder="hashing").fit(SEEN)
    hard = HybridRouter(embedder="hashing").fit(SEEN)
    np.testing.assert_array_equal(told.score(SEEN.texts), hard.score(SEEN.texts))


def test_det_looks_at_one_sample_of_each_model() -> None:
    data, points, _ = world(gap=0.5)
    assert data.samples is not None
    labels = HybridRouter(embedder=points).labels(data)

    np.testing.assert_array_equal(labels, data.samples[:, 0, 0] >= data.samples[:, 1, 0])


def test_a_weak_model_that_is_never_worse_leaves_nothing_to_learn() -> None:
    scores = np.array([[1.0, 1.0], [1.0, 0.0]] * 10)
    with pytest.raises(TrainingDataError, match="good enough with chance 1 on every row"):
        HybridRouter(embedder="hashing").fit(Outcomes(tuple(map(str, range(20))), scores, ("small", "big")))


def test_a_missing_sample_is_refused() -> None:
    data, points, _ = world(gap=0.5, n=20)
    assert data.samples is not None
    data.samples[4, 0, 2] = np.nan
    with pytest.raises(TrainingDataError, match="row 4"):
        HybridRouter(mode="prob", embedder=points).fit(data)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="mode='soft'"):
        HybridRouter(mode="soft", embedder="hashing")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="penalty"):
        HybridRouter(penalty=0.0, embedder="hashing")


def test_the_threshold_for_a_drop_is_the_calibrated_one() -> None:
    router = HybridRouter(embedder="hashing").fit(SEEN)

    assert router.threshold_for(SEEN, 0.05) == router.calibrate(SEEN, max_drop=0.05)


# --- recorded outcomes ----------------------------------------------------------------------------------------------

recorded = pytest.mark.skipif("RAR_DATA" not in os.environ, reason="set RAR_DATA to the folder of recorded outcomes")


def halves(file: str, text: str | None = None) -> list[tuple[Outcomes, Outcomes]]:
    table = read_table(
        Path(os.environ["RAR_DATA"]) / file, weak="mixtral_8x7b_correct", strong="gpt4_1106_correct", text=text
    )
    data = embedded(table)
    orders = [np.random.default_rng(seed).permutation(len(data)) for seed in range(3)]
    return [(data.take(order[: len(data) // 2]), data.take(order[len(data) // 2 :])) for order in orders]


@recorded
@pytest.mark.slow
def test_gsm8k_keeps_more_than_random_mixing() -> None:
    above: dict[float, list[float]] = {0.2: [], 0.4: []}
    for seen, asked in halves("gsm8k_mixtral_gpt4.csv.gz"):
        order = HybridRouter().fit(seen).score(asked.texts, asked.vectors).argsort(kind="stable")
        weak, strong = asked.scores[order].T
        for share, found in above.items():
            served = np.where(np.arange(len(order)) < round(share * len(order)), weak, strong).mean()
            found.append(served - ((1.0 - share) * strong.mean() + share * weak.mean()))

    assert {share: np.mean(found) >= 0.02 for share, found in above.items()} == {0.2: True, 0.4: True}, above


@recorded
@pytest.mark.slow
def test_mmlu_is_ranked_better_than_by_length() -> None:
    found = [
        float(apgr(HybridRouter().fit(seen).score(asked.texts, asked.vectors), *asked.scores.T))
        for seen, asked in halves("mmlu_mixtral_gpt4.csv.gz", "question,A,B,C,D")
    ]

    # The rows of one subject, whose recorded scores were wrong, are no longer among these: it was 0.658 with them.
    assert np.mean(found) >= 0.63, found
