"""What every learned router promises: a router's test class inherits `LearnedRouterContract` and brings `make`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar import Router
from rar.errors import ConfigurationError, NotFittedError, RouterFileError, TrainingDataError
from rar.evaluation.metrics import apgr
from rar.linear import Array
from rar.routers import EmbeddingRouter, LearnedRouter, Outcomes, RankingRouter, StaticRouter, load
from rar.routers.saving import SKETCH
from rar.strategies import Threshold
from rar.values import STRONG, WEAK, Request, Route, question
from tests.core.world import pair

ODD_TEXTS = ("", " ", "x", "word " * 20_000, "\ud800 lone", "\x00", "🙂🙃" * 50, "税法 と 条約", "1" * 5_000)
_HARD = "tax treaty withholding arbitrage covenant depreciation liability statute escrow amortised tribunal lien"
_EASY = "tea garden kitten picnic sunny bread river smile apple summer"
_COMMON = "what is the usual way to describe a case of this when people ask about it"
_FITTED: dict[type, LearnedRouter] = {}


def world(n: int, seed: int, models: tuple[str, str] = ("small", "big")) -> Outcomes:
    """Long questions on tax, which the weak model often gets wrong, and short ones on tea, which it does not."""
    chance = np.random.default_rng(seed)
    texts, scores = [], []
    for hard in chance.random(n) < 0.5:
        topic, length = (_HARD, 14 + chance.integers(8)) if hard else (_EASY, 5 + chance.integers(5))
        words = [str(chance.choice((topic if chance.random() < 0.5 else _COMMON).split())) for _ in range(length)]
        texts.append(" ".join(words).capitalize() + "?")
        scores.append(chance.random(2) < ((0.2, 0.9) if hard else (0.9, 0.9)))
    return Outcomes(tuple(texts), np.array(scores, np.float64), models, name="world")


def turned(data: Outcomes) -> Outcomes:
    """The same questions with the models' scores exchanged."""
    return replace(data, scores=data.scores[:, ::-1])


SEEN, ASKED = world(80, 0), world(200, 1)


class LearnedRouterContract:
    """Tests use `fitted()`, which is fitted once for a class, unless they need a fit of their own."""

    load_options: dict[str, Any] = {}  # noqa: RUF012 - what `load` needs besides the folder, such as embedder=
    tolerance = 1e-5  # between two ways to the same score
    least_apgr = 0.6  # on held-out questions, where chance has 0.5 and to know the topic 0.75

    def make(self) -> LearnedRouter:
        """A router that is not fitted, small enough to be fitted to 80 texts in a fast test."""
        raise NotImplementedError

    def fitted(self) -> LearnedRouter:
        if type(self) not in _FITTED:
            _FITTED[type(self)] = self.make().fit(SEEN)
        return _FITTED[type(self)]

    def saved(self, folder: Path) -> Path:
        return self.fitted().save(folder / "router")

    def loaded(self, folder: Path) -> LearnedRouter:
        return type(self.fitted()).load(folder, **self.load_options)

    def same(self, one: Array, other: Array) -> None:
        np.testing.assert_allclose(one, other, rtol=0.0, atol=self.tolerance)

    # ── scores ──

    def test_scores_are_chances_one_for_each_text(self) -> None:
        scores = self.fitted().score(ASKED.texts)

        assert scores.shape == (len(ASKED),)
        assert scores.dtype == np.float64
        assert scores.min() >= 0.0 and scores.max() <= 1.0
        assert len(np.unique(scores)) > 2

    def test_no_text_has_no_score(self) -> None:
        assert self.fitted().score([]).shape == (0,)

    def test_a_text_scores_alone_as_among_others(self) -> None:
        texts = [*ASKED.texts[:5], *ODD_TEXTS]
        together = self.fitted().score(texts)

        self.same(np.array([float(self.fitted().score([text])[0]) for text in texts]), together)

    def test_strange_texts_have_a_score(self) -> None:
        scores = self.fitted().score(ODD_TEXTS)

        assert np.isfinite(scores).all()
        assert scores.min() >= 0.0 and scores.max() <= 1.0

    def test_it_ranks_questions_that_it_never_saw(self) -> None:
        weak, strong = ASKED.scores.T

        assert apgr(self.fitted().score(ASKED.texts), weak, strong) > self.least_apgr

    def test_known_vectors_give_the_same_scores(self) -> None:
        router = self.fitted()
        if not isinstance(router, EmbeddingRouter):
            pytest.skip("it looks at no embeddings")

        self.same(router.score(ASKED.texts, router.embedder.embed(ASKED.texts)), router.score(ASKED.texts))

    def test_eight_threads_get_the_scores_that_one_gets(self) -> None:
        router, expected = self.fitted(), self.fitted().score(ASKED.texts[:40])
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: router.score(ASKED.texts[:40]), range(16)))

        for scores in found:
            self.same(scores, expected)

    def test_a_ranking_adds_up_to_one_and_agrees_with_the_score(self) -> None:
        router = self.fitted()
        if not isinstance(router, RankingRouter):
            pytest.skip("it ranks no models")
        ranks = router.scores(ASKED.texts)

        assert ranks.shape == (len(ASKED), len(router.models))
        assert ranks.min() >= 0.0
        np.testing.assert_allclose(ranks.sum(1), 1.0, atol=1e-6)
        assert router.scores([]).shape == (0, len(router.models))
        assert np.corrcoef(ranks[:, -1], router.score(ASKED.texts))[0, 1] > 0.95

    # ── fitting ──

    def test_the_same_seed_gives_the_same_scores(self) -> None:
        self.same(self.make().fit(SEEN).score(ASKED.texts), self.fitted().score(ASKED.texts))

    def test_a_refitted_router_forgets(self) -> None:
        router = self.make().fit(SEEN)
        router.fit(turned(SEEN))

        self.same(router.score(ASKED.texts), self.make().fit(turned(SEEN)).score(ASKED.texts))

    def test_it_tells_what_it_was_fitted_to(self) -> None:
        assert self.fitted().models == ("small", "big")
        assert (self.fitted().facts["rows"], self.fitted().facts["data"]) == (80, "world")
        assert "small" in repr(self.fitted())
        assert "not fitted" in repr(self.make())

    def test_progress_never_goes_back(self) -> None:
        told: list[tuple[str, int, int]] = []
        self.make().fit(world(40, 3), progress=lambda *step: told.append(step))

        steps: dict[str, int] = {}
        for what, done, total in told:
            assert steps.get(what, 0) <= done <= total
            steps[what] = done

    def test_what_was_not_fitted_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(NotFittedError, match="fit"):
            self.make().score(["a"])
        with pytest.raises(NotFittedError, match="fit"):
            self.make().save(tmp_path / "router")
        assert not (tmp_path / "router").exists()

    def test_too_few_rows_are_refused(self) -> None:
        with pytest.raises(TrainingDataError, match="9 rows"):
            self.make().fit(SEEN.take(range(9)))

    def test_outcomes_that_are_all_alike_are_refused(self) -> None:
        if not self.make().pair:
            pytest.skip("it knows more than two models")
        with pytest.raises(TrainingDataError, match="nothing to learn"):
            self.make().fit(replace(SEEN, scores=np.tile([0.0, 1.0], (80, 1))))

    def test_a_missing_score_is_refused(self) -> None:
        if not self.make().pair:
            pytest.skip("it learns from battles, in which some models do not take part")
        scores = SEEN.scores.copy()
        scores[7, 1] = np.nan
        with pytest.raises(TrainingDataError, match="row 7"):
            self.make().fit(replace(SEEN, scores=scores))

    def test_three_models_are_refused_by_a_router_for_two(self) -> None:
        three = replace(SEEN, scores=np.c_[SEEN.scores, SEEN.scores[:, :1]], models=("small", "big", "third"))
        if self.make().pair:
            with pytest.raises(TrainingDataError, match="third"):
                self.make().fit(three)
        else:
            assert self.make().fit(three).models == three.models

    def test_a_fit_that_failed_leaves_what_was_learned(self) -> None:
        expected = self.fitted().score(ASKED.texts[:10])
        with pytest.raises(TrainingDataError):
            self.fitted().fit(SEEN.take(range(3)))

        self.same(self.fitted().score(ASKED.texts[:10]), expected)

    # ── files ──

    def test_a_saved_router_scores_the_same(self, tmp_path: Path) -> None:
        folder, texts = self.saved(tmp_path), [*ASKED.texts, *ODD_TEXTS]
        again = self.loaded(folder)

        self.same(again.score(texts), self.fitted().score(texts))
        assert repr(again) == repr(self.fitted())
        assert dict(again.facts) == dict(self.fitted().facts)
        any_router = load(folder, **self.load_options)
        assert type(any_router) is type(again)

    def test_a_loaded_router_can_be_saved_again(self, tmp_path: Path) -> None:
        folder = self.loaded(self.saved(tmp_path)).save(tmp_path / "copy")

        self.same(self.loaded(folder).score(ASKED.texts), self.fitted().score(ASKED.texts))

    def test_a_router_replaces_an_older_one_in_its_folder(self, tmp_path: Path) -> None:
        older = self.make().fit(turned(SEEN))
        folder = older.save(tmp_path / "router")
        self.saved(tmp_path)

        self.same(self.loaded(folder).score(ASKED.texts), self.fitted().score(ASKED.texts))

    def test_nothing_in_a_file_is_pickled(self, tmp_path: Path) -> None:
        folder = self.saved(tmp_path)
        with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
            assert all(arrays[name].dtype.kind in "fiubU" for name in arrays.files)
        assert {file.suffix for file in folder.rglob("*") if file.is_file()}.isdisjoint({".pkl", ".pt", ".bin", ".pth"})

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
    def test_truncated_weights_are_refused(self, tmp_path: Path, share: float) -> None:
        folder = self.saved(tmp_path)
        content = (folder / "weights.npz").read_bytes()
        (folder / "weights.npz").write_bytes(content[: int(share * len(content))])

        with pytest.raises(RouterFileError, match="damaged"):
            self.loaded(folder)

    def test_weights_of_another_shape_or_name_are_refused(self, tmp_path: Path) -> None:
        folder = self.saved(tmp_path)
        np.savez(folder / "weights.npz", something=np.zeros(3))

        with pytest.raises(RouterFileError):
            self.loaded(folder)

    def test_an_option_that_it_does_not_have_is_not_the_files_fault(self, tmp_path: Path) -> None:
        folder = self.saved(tmp_path)

        with pytest.raises(ConfigurationError, match="has no colour="):
            load(folder, **self.load_options, colour="red")

    def test_a_folder_without_its_description_is_refused(self, tmp_path: Path) -> None:
        folder = self.saved(tmp_path)
        (folder / "router.json").unlink()

        with pytest.raises(RouterFileError, match="router.json"):
            self.loaded(folder)

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [("schema", 99, "upgrade"), ("format", "cake", "not that of a router"), ("router", "cake", "cake")],
    )
    def test_a_description_of_something_else_is_refused(
        self, tmp_path: Path, key: str, value: object, words: str
    ) -> None:
        folder = self.saved(tmp_path)
        facts = json.loads((folder / "router.json").read_text("utf-8"))
        (folder / "router.json").write_text(json.dumps({**facts, key: value}), "utf-8")

        with pytest.raises(RouterFileError, match=words):
            self.loaded(folder)
        with pytest.raises(RouterFileError, match=words):
            load(folder, **self.load_options)

    def test_another_embedder_is_refused(self, tmp_path: Path) -> None:
        router, folder = self.fitted(), self.saved(tmp_path)
        if not isinstance(router, EmbeddingRouter):
            pytest.skip("it looks at no embeddings")

        class Other:
            id, dim = "other-1", router.embedder.dim

            def embed(self, texts: Any) -> Any:
                return router.embedder.embed(texts)

        with pytest.raises(RouterFileError, match="other-1"):
            type(router).load(folder, **{**self.load_options, "embedder": Other()})

    # ── what it was fitted to ──

    def test_it_tells_its_own_texts_from_others_before_and_after_saving(self, tmp_path: Path) -> None:
        for router in (self.fitted(), self.loaded(self.saved(tmp_path))):
            assert router.saw(SEEN.texts) == 1.0
            assert router.saw([*SEEN.texts[:10], *(f"unseen {n}" for n in range(30))]) == 0.25
            assert router.saw([]) is None
        assert self.make().saw(SEEN.texts) is None

    def test_a_file_without_hashes_knows_nothing_of_its_texts(self, tmp_path: Path) -> None:
        folder = self.saved(tmp_path)
        with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
            older = {name: arrays[name] for name in arrays.files if name != SKETCH}
        np.savez(folder / "weights.npz", **older)

        assert self.loaded(folder).saw(SEEN.texts) is None
        self.same(self.loaded(folder).score(ASKED.texts[:5]), self.fitted().score(ASKED.texts[:5]))

    def test_a_threshold_is_saved_and_taken_up(self, tmp_path: Path) -> None:
        router = self.loaded(self.saved(tmp_path))
        threshold = router.calibrate(ASKED, strong_share=0.3)
        router.save(tmp_path / "calibrated")

        again = load(tmp_path / "calibrated", **self.load_options)

        assert again.threshold == router.threshold == threshold
        assert again.calibration == router.calibration
        assert Threshold(again).threshold == threshold
        assert Threshold(again, 0.9).threshold == 0.9
        assert (again.calibration.rows, again.calibration.asked) == (len(ASKED), {"strong_share": 0.3})

    # ── use ──

    @pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
    def test_a_threshold_hits_the_share_of_strong_calls(self, share: float) -> None:
        scores = self.fitted().score(ASKED.texts)
        threshold = self.fitted().calibrate(ASKED.texts, strong_share=share)
        ties = max(np.unique(scores, return_counts=True)[1]) / len(scores)

        assert 0.0 <= threshold <= 1.0
        assert share - ties - 1e-9 <= (scores >= threshold).mean() <= share + 1e-9 or (
            share == 0.0 and threshold == 1.0
        )

    @pytest.mark.parametrize("drop", [0.0, 0.03, 0.2])
    def test_a_threshold_keeps_the_quality_with_fewest_strong_calls(self, drop: float) -> None:
        scores = self.fitted().score(ASKED.texts)
        weak, strong = ASKED.scores.T
        threshold = self.fitted().calibrate(ASKED, max_drop=drop)
        floor = (1.0 - drop) * strong.mean()

        assert np.where(scores >= threshold, strong, weak).mean() >= floor - 1e-9
        for other in (*np.unique(scores), 1.0):
            if np.sum(scores >= other) < np.sum(scores >= threshold):
                assert np.where(scores >= other, strong, weak).mean() < floor

    @pytest.mark.parametrize("asked", [{"strong_share": 0.3}, {"max_drop": 0.05}])
    def test_a_threshold_lies_as_far_from_the_scores_above_as_below(self, asked: dict[str, float]) -> None:
        scores = self.fitted().score(ASKED.texts)
        threshold = self.fitted().calibrate(ASKED, **asked)
        above, below = scores[scores >= threshold].min(), scores[scores < threshold].max()

        assert threshold - below == pytest.approx(above - threshold, abs=1e-12)

    def test_a_threshold_can_be_found_where_there_is_nothing_to_learn(self) -> None:
        alike = replace(ASKED.take(range(8)), scores=np.tile([0.9, 1.0], (8, 1)))

        assert (self.fitted().score(alike.texts) < self.fitted().calibrate(alike, max_drop=0.1)).all()

    def test_a_share_is_kept_of_scores_above_0_only(self) -> None:
        with pytest.raises(TrainingDataError, match=r"mean score is -2\.\d+.*add a constant"):
            self.fitted().calibrate(replace(ASKED, scores=ASKED.scores - 3.0), max_drop=0.1)

    def test_texts_may_come_in_an_array_but_not_alone(self) -> None:
        texts = ASKED.texts[:20]
        expected = self.fitted().calibrate(texts, strong_share=0.5)

        assert self.fitted().calibrate(np.array(texts), strong_share=0.5) == expected  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="list of texts"):
            self.fitted().score(texts[0])
        with pytest.raises(ConfigurationError, match="list of texts"):
            self.fitted().calibrate(texts[0], strong_share=0.5)

    def test_a_threshold_needs_one_thing_to_be_kept(self) -> None:
        with pytest.raises(ConfigurationError, match="either"):
            self.fitted().calibrate(ASKED)
        with pytest.raises(ConfigurationError, match="outcomes"):
            self.fitted().calibrate(ASKED.texts, max_drop=0.1)
        with pytest.raises(ConfigurationError, match="between 0 and 1"):
            self.fitted().calibrate(ASKED.texts, strong_share=1.5)

    def test_a_threshold_strategy_routes_by_it(self) -> None:
        router = self.fitted()
        assert isinstance(router, StaticRouter)
        texts = ASKED.texts[:10]
        scores = router.score(texts)
        threshold = float(np.median(scores))
        with Router(memory=None, strategy=Threshold(router, threshold)) as engine:
            chosen = [engine.decide(question(text), pair()).model for text in texts]

        clear = np.abs(scores - threshold) > self.tolerance
        assert [model for model, c in zip(chosen, clear, strict=True) if c] == [
            STRONG if score >= threshold else WEAK for score in scores[clear]
        ]

    def test_its_score_is_the_prior_of_a_decision(self) -> None:
        router, priors = self.fitted(), []

        def look(request: Request) -> Route:
            assert request.evidence is not None
            priors.append(request.evidence.standings[0].prior)
            return Route(WEAK)

        with Router(memory=None, strategy=look, static_router=router) as engine:
            for text in ASKED.texts[:5]:
                engine.decide(question(text), pair())

        self.same(np.array(priors), 1.0 - router.score(ASKED.texts[:5]))
