"""The fine-tuned language model: what holds for every learned router, interrupted fits, and real SmolLM2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'rar-llm[transformers]'")
pytest.importorskip("transformers", reason="transformers is not installed: pip install 'rar-llm[transformers]'")

from rar.errors import ConfigurationError, RouterFileError, WeightsError
from rar.evaluation.metrics import apgr
from rar.routers import CausalLMRouter, LearnedRouter, Outcomes, load
from tests.contract.learned_router import ASKED, SEEN, LearnedRouterContract, world
from tests.core.tiny_models import Stop, tiny_causal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("causal"))


def small(folder: Path, **options: Any) -> CausalLMRouter:
    settings: dict[str, Any] = {"max_tokens": 32, "rate": 1e-2, "head_rate": 3e-2, "device": "cpu", "epochs": 6}
    return CausalLMRouter(model=folder, **settings | options)


class TestCausalLMRouter(LearnedRouterContract):
    tolerance = 1e-4

    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> LearnedRouter:
        return small(self.folder)


@pytest.fixture(scope="module")
def fitted(folder: Path) -> CausalLMRouter:
    return small(folder, epochs=3, patience=3).fit(SEEN)


def test_an_interrupted_fit_goes_on_to_the_same_weights(folder: Path, fitted: CausalLMRouter, tmp_path: Path) -> None:
    router = small(folder, epochs=3, patience=3, checkpoint=tmp_path / "fit")
    with pytest.raises(KeyboardInterrupt):
        router.fit(SEEN, progress=Stop(12))
    steps: list[int] = []
    router.fit(SEEN, progress=lambda what, done, total: steps.append(done) if what == "training" else None)

    assert steps[0] == 11
    np.testing.assert_allclose(router.score(ASKED.texts), fitted.score(ASKED.texts), atol=1e-6)
    assert not (tmp_path / "fit").exists()


def test_an_interrupted_fit_leaves_what_was_learned(fitted: CausalLMRouter) -> None:
    expected = fitted.score(ASKED.texts)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(world(80, 9), progress=Stop(2))

    np.testing.assert_array_equal(fitted.score(ASKED.texts), expected)


@pytest.mark.parametrize(("scores", "expected"), [((0.0, 1.0), 1.0), ((1.0, 1.0), 0.5), ((1.0, 0.0), 0.0)])
def test_the_score_of_what_always_happens_is_its_worth(
    folder: Path, scores: tuple[float, float], expected: float
) -> None:
    told = np.tile(scores, (200, 1))
    told[:2] = (0.0, 1.0), (1.0, 0.0)  # or there were nothing to learn
    texts = tuple(f"tax treaty {'tea ' * at}" for at in range(200))
    router = small(folder, epochs=8, patience=8).fit(Outcomes(texts, told, ("small", "big")))

    assert router.score(texts[100:]).mean() == pytest.approx(expected, abs=0.05)


def test_only_what_was_trained_is_saved(fitted: CausalLMRouter, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(fitted.save(tmp_path / "router") / "tuned.safetensors")

    assert tensors["head"].shape == (5, 32)
    assert {name.partition(".")[0] for name in tensors} == {"head", "0"}


def test_another_base_model_is_refused(fitted: CausalLMRouter, tmp_path: Path) -> None:
    saved = fitted.save(tmp_path / "router")
    other = tiny_causal(tmp_path / "other", seed=1)

    with pytest.raises(RouterFileError, match="pass that model as model="):
        load(saved, model=other)


def test_the_base_model_may_lie_elsewhere(fitted: CausalLMRouter, tmp_path: Path) -> None:
    again = load(fitted.save(tmp_path / "router"), model=tiny_causal(tmp_path / "same"))

    np.testing.assert_allclose(again.score(ASKED.texts), fitted.score(ASKED.texts), atol=1e-6)


def test_a_damaged_or_missing_file_is_refused(fitted: CausalLMRouter, tmp_path: Path) -> None:
    file = fitted.save(tmp_path / "router") / "tuned.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RouterFileError, match="damaged"):
        load(file.parent)
    file.unlink()
    with pytest.raises(RouterFileError, match="cannot be read"):
        load(file.parent)


def test_a_missing_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="cannot be loaded"):
        small(tmp_path / "empty").fit(SEEN)


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"watched": 0.0}, {"epochs": 0}])
def test_settings_that_cannot_work_are_refused(folder: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        small(folder, **wrong)


@pytest.mark.models
def test_a_gguf_file_is_fitted_saved_and_loaded(tmp_path: Path) -> None:
    router = CausalLMRouter(max_tokens=16, epochs=1).fit(SEEN.take(range(20)))
    again = load(router.save(tmp_path / "router"))

    np.testing.assert_allclose(again.score(ASKED.texts[:8]), router.score(ASKED.texts[:8]), atol=1e-4)


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.skipif("RAR_DATA" not in os.environ, reason="set RAR_DATA to the folder of the recorded answers")
def test_smollm2_ranks_recorded_answers() -> None:
    from rar.evaluation import read_table, shuffle

    data = Path(os.environ["RAR_DATA"]) / "mmlu_mixtral_gpt4.csv.gz"
    weak, strong = "mixtral_8x7b_correct", "gpt4_1106_correct"
    table = read_table(data, weak=weak, strong=strong, text="question,A,B,C,D")
    order = shuffle(table, 0)
    seen, asked = table.take(order[:1000]), table.take(order[1000:2000])
    router = CausalLMRouter().fit(seen)

    # 0.527 on this thousand, since the rows of one subject are no longer among these: little more than chance.
    assert float(apgr(router.score(asked.texts), asked.weak, asked.strong)) >= 0.51
