"""Learned routers: each passes the contract, and is what its name says."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rar.embedding import HashingEmbedder
from rar.errors import ConfigurationError, RouterFileError, UnknownNameError
from rar.evaluation import read_outcomes
from rar.evaluation.metrics import apgr
from rar.linear import Array, Design
from rar.routers import (
    ROUTERS,
    EmbeddingRouter,
    KNNRouter,
    LearnedRouter,
    LengthRouter,
    Outcomes,
    SimilarityEloRouter,
    StackedRouter,
    TfidfRouter,
    load,
    router_class,
)
from tests.contract.learned_router import ASKED, SEEN, LearnedRouterContract


class TestLength(LearnedRouterContract):
    def make(self) -> LengthRouter:
        return LengthRouter()

    def test_it_sees_nothing_but_the_length(self) -> None:
        one, other, longer = self.fitted().score(["tax law", "tea cup", "tea cup " * 9])

        assert one == other
        assert longer > one

    def test_without_embeddings_it_cannot_be_updated(self) -> None:
        with pytest.raises(ConfigurationError, match="Fit it again"):
            self.make().fit(SEEN).update(ASKED)


class TestTfidf(LearnedRouterContract):
    def make(self) -> TfidfRouter:
        return TfidfRouter()

    def test_its_scores_are_chances_that_the_strong_model_wins(self) -> None:
        scores = TfidfRouter(penalty=1.0).fit(SEEN).score(SEEN.texts)

        assert scores.mean() == pytest.approx((1.0 + SEEN.gap.mean()) / 2.0, abs=0.02)

    def test_a_larger_penalty_draws_scores_together(self) -> None:
        near, far = (TfidfRouter(penalty=penalty).fit(SEEN).score(ASKED.texts) for penalty in (100.0, 1.0))

        assert np.ptp(near) < np.ptp(far) / 5.0


class TestKNN(LearnedRouterContract):
    def make(self) -> KNNRouter:
        return KNNRouter(embedder="hashing", k=10)


class TestElo(LearnedRouterContract):
    def make(self) -> SimilarityEloRouter:
        return SimilarityEloRouter(embedder="hashing")


class TestStacked(LearnedRouterContract):
    def make(self) -> StackedRouter:
        return StackedRouter(embedder="hashing", penalty=1.0)

    def test_with_a_landmark_for_each_text_it_is_kernel_ridge_regression(self) -> None:
        router, embedder = self.fitted(), HashingEmbedder()
        design = Design.of(SEEN.texts, np.zeros((80, 0)))
        asked = Design.of(ASKED.texts, np.zeros((200, 0)), design.idf)

        def kernel(one: Design, texts: tuple[str, ...]) -> Array:
            words = np.stack([one.times(row) for row in rows], 1)
            cosines = embedder.embed(texts) @ embedder.embed(SEEN.texts).T
            lengths = [np.log1p([len(text) for text in part]) - 5.0 for part in (texts, SEEN.texts)]
            return words + 0.01 * cosines + 0.0625 * np.outer(*lengths) + 0.5 * np.exp(5.0 * (cosines - 1.0))

        rows = [design.transposed_times(row) for row in np.eye(80)]
        dual = np.linalg.solve(kernel(design, SEEN.texts) + np.eye(80), SEEN.gap - SEEN.gap.mean())
        expected = (1.0 + SEEN.gap.mean() + kernel(asked, ASKED.texts) @ dual) / 2.0

        assert router.score(ASKED.texts) == pytest.approx(expected.clip(0.0, 1.0), abs=2e-3)

    def test_its_file_keeps_the_landmarks_only(self, tmp_path: Path) -> None:
        StackedRouter(embedder="hashing", landmarks=7).fit(SEEN).save(tmp_path)
        with np.load(tmp_path / "weights.npz") as arrays:
            assert arrays["landmarks"].shape == (7, 512)

    def test_options_that_cannot_work_are_refused(self) -> None:
        for options in ({"landmarks": 0}, {"penalty": 0.0}):
            with pytest.raises(ConfigurationError, match="landmarks"):
                StackedRouter(embedder="hashing", **options)


def test_routers_are_known_by_name() -> None:
    assert router_class("tfidf") is TfidfRouter
    assert all(router.name == name for name, router in ROUTERS.items())
    with pytest.raises(UnknownNameError, match="cake"):
        router_class("cake")


def test_a_folder_that_is_not_there_is_no_router(tmp_path: Path) -> None:
    with pytest.raises(RouterFileError, match=r"router\.json"):
        load(tmp_path / "nowhere")


@pytest.mark.slow
@pytest.mark.skipif("RAR_DATA" not in os.environ, reason="set RAR_DATA to the folder of the recorded outcomes")
@pytest.mark.parametrize("kind", [TfidfRouter, KNNRouter, SimilarityEloRouter, StackedRouter])
def test_on_recorded_outcomes_it_beats_the_length(mmlu: Outcomes, kind: type[LearnedRouter]) -> None:
    seen, asked = mmlu.take(range(0, len(mmlu), 2)), mmlu.take(range(1, len(mmlu), 2))
    router = kind(embedder="hashing") if issubclass(kind, EmbeddingRouter) else kind()
    learned, length = (
        apgr(one.fit(seen).score(asked.texts, one._known_vectors(asked)), *asked.scores.T)
        for one in (router, LengthRouter())
    )

    assert learned > length + 0.02


@pytest.fixture(scope="module")
def mmlu() -> Outcomes:
    path = Path(os.environ["RAR_DATA"]) / "mmlu_mixtral_gpt4.csv.gz"
    models = ["mixtral_8x7b_correct", "gpt4_1106_correct"]
    data = read_outcomes(path, models=models, text="question,A,B,C,D", limit=6_000)
    return replace(data, vectors=HashingEmbedder().embed(data.texts), embedder_id=HashingEmbedder().id)
