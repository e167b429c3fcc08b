"""Matrix factorisation: what holds for every learned router, and what its equation promises."""

from __future__ import annotations

import builtins
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'rar-llm[transformers]'")

from rar.embedding import HashingEmbedder
from rar.errors import ConfigurationError, MissingDependencyError, TrainingDataError
from rar.evaluation.metrics import apgr
from rar.routers import LearnedRouter, LengthRouter, MatrixFactorizationRouter, Outcomes, load
from tests.contract.learned_router import ASKED, SEEN, LearnedRouterContract, turned, world


def small(**options: Any) -> MatrixFactorizationRouter:
    return MatrixFactorizationRouter(**{"embedder": HashingEmbedder(dim=64), "dim": 16, "rate": 0.03} | options)


class TestMatrixFactorizationRouter(LearnedRouterContract):
    load_options = {"embedder": HashingEmbedder(dim=64)}  # noqa: RUF012

    def make(self) -> LearnedRouter:
        return small()


def three(n: int, seed: int) -> Outcomes:
    """A weak model, one that is good at tax, and one that is good at tea; each row lacks one of them."""
    data, chance = world(n, seed), np.random.default_rng(seed)
    tax = np.array([len(text) > 90 for text in data.texts])
    right = np.stack([np.full(n, 0.4), np.where(tax, 0.95, 0.2), np.where(tax, 0.2, 0.95)], 1)
    scores = (chance.random((n, 3)) < right).astype(np.float64)
    scores[np.arange(n), chance.integers(3, size=n)] = np.nan
    return Outcomes(data.texts, scores, ("weak", "tax", "tea"), name="three")


def test_the_score_is_the_equation() -> None:
    router = small().fit(SEEN)
    v, w1, b, w2 = (router._learned[part] for part in ("models", "projection", "offset", "weights"))
    e = router.embedder.embed(ASKED.texts[:1])[0]
    weak, strong = (w2 @ (v[m] / np.linalg.norm(v[m]) * (w1 @ e + b)) for m in (0, 1))

    assert router.score(ASKED.texts[:1])[0] == pytest.approx(1.0 / (1.0 + np.exp(weak - strong)), abs=1e-5)


def test_it_learns_which_of_three_models_is_best_for_what() -> None:
    router, asked = small().fit(three(400, 0)), world(100, 5)
    best = router.scores(asked.texts).argmax(1)
    tax = np.array([len(text) > 90 for text in asked.texts])

    assert np.mean(best == np.where(tax, 1, 2)) > 0.9


def test_battles_of_models_that_never_met_are_compared_through_a_third() -> None:
    names = ("low", "middle", "high")
    data = world(200, 1)
    scores = np.full((200, 3), np.nan)
    scores[::2, :2], scores[1::2, 1:] = (0.0, 1.0), (0.0, 1.0)
    router = small().fit(Outcomes(data.texts, scores, names))

    assert router.score(data.texts).min() > 0.8


def test_rows_of_one_model_change_nothing() -> None:
    data, more = three(100, 0), three(300, 1)
    alone = np.where(np.arange(3) == 1, more.scores, np.nan)
    both = Outcomes((*more.texts, *data.texts), np.concatenate([alone, data.scores]), data.models)

    np.testing.assert_array_equal(small().fit(both).scores(ASKED.texts), small().fit(data).scores(ASKED.texts))
    with pytest.raises(TrainingDataError, match="0 rows have the scores of two models"):
        small().fit(replace(more, scores=alone))


def test_ties_alone_teach_nothing() -> None:
    data = three(50, 0)
    with pytest.raises(TrainingDataError, match="nothing to learn"):
        small().fit(replace(data, scores=np.ones_like(data.scores)))


def test_a_continuous_gap_is_a_soft_label() -> None:
    scores = np.tile([0.4, 0.6], (200, 1)) + 0.1 * np.random.default_rng(0).normal(size=(200, 2))
    router = small().fit(replace(world(200, 2), scores=scores))

    assert router.score(ASKED.texts).mean() == pytest.approx(0.6, abs=0.05)


def test_an_update_learns_more_and_forgets_little() -> None:
    asked, router = world(1000, 12), small().fit(world(60, 10))
    before = float(apgr(router.score(asked.texts), *asked.scores.T))
    router.update(world(400, 11))

    assert float(apgr(router.score(asked.texts), *asked.scores.T)) > before - 0.01
    assert router.facts["rows"] == 460


def test_an_update_follows_a_change() -> None:
    router = small().fit(SEEN)
    before = router.score(ASKED.texts)
    for _ in range(3):
        router.update(turned(world(300, 3)))

    assert np.corrcoef(router.score(ASKED.texts), before)[0, 1] < -0.5


def test_an_update_with_other_models_is_refused() -> None:
    router = small().fit(SEEN)
    expected = router.score(ASKED.texts)
    with pytest.raises(TrainingDataError, match="this router knows"):
        router.update(world(50, 1, ("small", "bigger")))

    np.testing.assert_array_equal(router.score(ASKED.texts), expected)


def test_an_updated_router_can_be_saved(tmp_path: Path) -> None:
    router = small().fit(SEEN).update(world(100, 4))
    again = load(router.save(tmp_path / "mf"), embedder=HashingEmbedder(dim=64))

    np.testing.assert_allclose(again.score(ASKED.texts), router.score(ASKED.texts), atol=1e-6)


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"noise": -1.0}, {"rate": 0.0}, {"watched": 1.0}, {"epochs": 0}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        small(**wrong)


def test_scoring_needs_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, expected = small().fit(SEEN).save(tmp_path / "mf"), small().fit(SEEN).score(ASKED.texts)
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "torch":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(builtins, "__import__", without)
    router = load(folder, embedder=HashingEmbedder(dim=64))

    np.testing.assert_allclose(router.score(ASKED.texts), expected, atol=1e-6)
    with pytest.raises(MissingDependencyError, match=r"rar-llm\[transformers\]"):
        router.fit(SEEN)


@pytest.mark.slow
@pytest.mark.skipif("RAR_DATA" not in os.environ, reason="set RAR_DATA to the folder of the recorded answers")
def test_it_beats_length_on_recorded_answers() -> None:
    from rar.evaluation import embedded, read_table

    data = Path(os.environ["RAR_DATA"]) / "mmlu_mixtral_gpt4.csv.gz"
    weak, strong = "mixtral_8x7b_correct", "gpt4_1106_correct"
    table = embedded(read_table(data, weak=weak, strong=strong, text="question,A,B,C,D"))
    found, length = [], []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(table.texts))
        seen, asked = (table.take(part) for part in np.array_split(order, 2))
        router = MatrixFactorizationRouter(seed=seed).fit(seen)
        found.append(apgr(router.score(asked.texts, asked.vectors), asked.weak, asked.strong))
        length.append(apgr(LengthRouter().fit(seen).score(asked.texts), asked.weak, asked.strong))

    assert np.mean(found) >= 0.635
    assert np.mean(found) >= np.mean(length) + 0.05
