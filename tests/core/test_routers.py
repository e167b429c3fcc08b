"""Learned routers: each passes the contract, and is what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from rar.errors import ConfigurationError, RouterFileError, UnknownNameError
from rar.routers import (
    ROUTERS,
    KNNRouter,
    LengthRouter,
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


def test_routers_are_known_by_name() -> None:
    assert router_class("tfidf") is TfidfRouter
    assert all(router.name == name for name, router in ROUTERS.items())
    with pytest.raises(UnknownNameError, match="cake"):
        router_class("cake")


def test_a_folder_that_is_not_there_is_no_router(tmp_path) -> None:
    with pytest.raises(RouterFileError, match=r"router\.json"):
        load(tmp_path / "nowhere")
