"""A static router as RAR's prior: what its score stands for, and that it is neither asked nor trusted too much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rar.embedding import HashingEmbedder
from rar.learning.gap import fit
from rar.learning.prior import Prior
from rar.learning.scores import doubt
from rar.router import Router
from rar.routers import HybridRouter, KNNRouter, LengthRouter, Outcomes
from rar.values import Vector

from .world import easy, pair, serve

SHORT = tuple(f"easy {n}" for n in range(60))
LONG = tuple(f"a hard question that is much longer than an easy one, number {n}" for n in range(60))
SEEN = Outcomes((*SHORT, *LONG), np.array([[1.0, 1.0]] * 60 + [[0.0, 1.0]] * 60), ("small", "big"))


class Counting(HashingEmbedder):
    """Counts the texts that it embeds."""

    embedded = 0

    def embed(self, texts: list[str]) -> Vector:  # type: ignore[override]
        self.embedded += len(texts)
        return super().embed(texts)


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "rar.db"


def test_a_fitted_score_stands_for_the_gap_and_any_other_for_the_chance_that_strong_is_needed() -> None:
    class Half:
        def score(self, texts: list[str]) -> np.ndarray:
            return np.full(len(texts), 0.5)

    fitted = Prior(LengthRouter().fit(SEEN))

    assert list(fitted.gaps(np.array([0.5, 1.0, 0.0]))) == [0.0, 1.0, -1.0]
    assert list(Prior(Half()).gaps(np.array([0.5, 1.0]))) == [0.5, 1.0]  # type: ignore[arg-type]
    assert (fitted.rows, Prior(Half()).rows) == (120, 0)  # type: ignore[arg-type]


def test_a_score_that_gives_ties_to_the_weak_model_never_stands_for_too_small_a_gap() -> None:
    static = HybridRouter(embedder="hashing").fit(SEEN)  # half of it ties, the strong model is better in the other
    gaps = Prior(static).gaps(static.score(SEEN.texts))

    assert gaps.min() >= 0.0
    assert gaps.mean() == pytest.approx(SEEN.gap.mean(), abs=0.05)


def test_a_router_that_knows_nothing_yet_expects_what_the_fitted_one_does(memory: Path) -> None:
    static, models = LengthRouter().fit(SEEN), pair()
    with Router(models["weak"], models["strong"], memory=memory, embedder="hashing", static_router=static) as router:
        evidence = router.decide(easy(1)).request.evidence

    assert evidence is not None
    gap = 2.0 * static.score([easy(1).key or ""])[0] - 1.0
    assert evidence.standings[0].prior_gap == pytest.approx(gap)
    assert evidence.standings[0].learned == pytest.approx(gap + doubt(100))


def test_a_router_with_the_same_embedder_has_nothing_embedded_twice(memory: Path) -> None:
    embedder, models = Counting(), pair()
    static = KNNRouter(embedder=embedder).fit(SEEN)
    embedder.embedded = 0
    with Router(models["weak"], models["strong"], memory=memory, embedder=embedder, static_router=static) as router:
        serve(router, models, easy(1))

    assert embedder.embedded == 1


def test_a_static_router_that_fails_costs_nothing_but_its_word(memory: Path) -> None:
    models = pair()

    def broken(text: str) -> float:
        raise RuntimeError("no weights")

    with Router(models["weak"], models["strong"], memory=memory, embedder="hashing", static_router=broken) as router:
        decision, reply = serve(router, models, easy(1))

    assert decision.model == "strong"
    assert not reply.empty


@pytest.mark.parametrize("honest", [True, False])
def test_a_prior_is_where_learning_starts_and_loses_its_word_where_it_proves_wrong(honest: bool) -> None:
    chance = np.random.default_rng(0)
    gaps = (chance.random(400) < 0.5).astype(np.float64)
    priors = gaps if honest else 1.0 - gaps
    texts, nowhere = ["the same words every time"] * 400, np.zeros((400, 8), np.float32)

    few = fit(texts[:8], nowhere[:8], gaps[:8], np.ones(8), priors[:8], trust=1.0)
    many = fit(texts, nowhere, gaps, np.ones(400), priors, trust=1.0)
    at_first, later = (
        model.expect(texts[0], nowhere[0], 1.0).gap - model.expect(texts[0], nowhere[0], 0.0).gap
        for model in (few, many)
    )

    assert later == pytest.approx(1.0 if honest else -1.0, abs=0.05)
    if honest:
        assert at_first == pytest.approx(1.0, abs=0.05)
    else:  # eight outcomes have taken back some of its word, not all
        assert later + 0.3 < at_first < 0.7
