"""The fine-tuned encoder: what holds for every learned router, interrupted fits, and real MiniLM."""

from __future__ import annotations

import builtins
import copy
import logging
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'rar-llm[transformers]'")
pytest.importorskip("transformers", reason="transformers is not installed: pip install 'rar-llm[transformers]'")

from rar.errors import ConfigurationError, MissingDependencyError, RouterFileError, WeightsError
from rar.evaluation.metrics import apgr
from rar.routers import EncoderClassifierRouter, LearnedRouter, LengthRouter, load
from rar.routers._torch import Split
from tests.contract.learned_router import ASKED, SEEN, LearnedRouterContract, world
from tests.core.tiny_models import Stop, tiny_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


def small(folder: Path, **options: Any) -> EncoderClassifierRouter:
    settings: dict[str, Any] = {"max_tokens": 32, "rate": 3e-3, "head_rate": 3e-2, "batch": 16, "device": "cpu"}
    return EncoderClassifierRouter(encoder=folder, **settings | options)


class TestEncoderClassifierRouter(LearnedRouterContract):
    tolerance = 1e-4

    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> LearnedRouter:
        return small(self.folder)


@pytest.fixture(scope="module")
def fitted(folder: Path) -> EncoderClassifierRouter:
    return small(folder, epochs=3, patience=3).fit(SEEN)


def test_an_interrupted_fit_goes_on_to_the_same_weights(
    folder: Path, fitted: EncoderClassifierRouter, tmp_path: Path
) -> None:
    router = small(folder, epochs=3, patience=3, checkpoint=tmp_path / "fit")
    for step in (7, 12):
        with pytest.raises(KeyboardInterrupt):
            router.fit(SEEN, progress=Stop(step))
        assert (tmp_path / "fit").is_file()
    steps: list[int] = []
    router.fit(SEEN, progress=lambda what, done, total: steps.append(done) if what == "training" else None)

    assert steps[0] == 11
    assert router._scorer is not None and fitted._scorer is not None
    np.testing.assert_allclose(router._scorer.chances(ASKED.texts), fitted._scorer.chances(ASKED.texts), atol=1e-6)
    assert not (tmp_path / "fit").exists()


def test_a_checkpoint_of_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "fit"
    with pytest.raises(KeyboardInterrupt):
        small(folder, checkpoint=file).fit(SEEN, progress=Stop(7))
    for router, data in (
        (small(folder, checkpoint=file, seed=1), SEEN),
        (small(folder, checkpoint=file), world(80, 9)),
    ):
        with pytest.raises(ConfigurationError, match="other data or settings"):
            router.fit(data)
    file.write_text("cake")
    with pytest.raises(ConfigurationError, match="no checkpoint"):
        small(folder, checkpoint=file).fit(SEEN)


def test_an_interrupted_fit_leaves_what_was_learned(fitted: EncoderClassifierRouter) -> None:
    expected = fitted.score(ASKED.texts)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(world(80, 9), progress=Stop(2))

    np.testing.assert_array_equal(fitted.score(ASKED.texts), expected)


def test_the_frozen_layers_stay_as_they_were(folder: Path) -> None:
    import torch
    import transformers

    network = transformers.AutoModel.from_pretrained(folder)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    split = Split(network, 1)
    hidden, _ = split.above(split.below([[1, 2, 3], [4]], 2, lambda *_: None))
    hidden.sum().backward()
    with torch.no_grad():
        for weight in split.weights().values():
            weight.add_(1.0)

    changed = {name for name, weight in network.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed and all("layer.1." in name for name in changed)


@pytest.mark.parametrize("trained", [1, 2])
def test_the_two_halves_are_the_whole_network(folder: Path, trained: int) -> None:
    import torch
    import transformers

    network = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = [[5, 6, 7, 8], [9, 10]]
    with torch.no_grad():
        whole = network(
            input_ids=torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]]), attention_mask=torch.tensor([[1] * 4, [1, 1, 0, 0]])
        ).last_hidden_state
        split = Split(network, trained)
        halves, mask = split.above(split.below(tokens, 2, lambda *_: None))

    torch.testing.assert_close(halves[mask.bool()], whole[mask.bool()], atol=5e-3, rtol=0.0)


def test_more_layers_than_there_are_cannot_be_trained(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="of 2 layers"):
        small(folder, trainable_layers=3).fit(SEEN)


def test_a_missing_encoder_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="cannot be loaded"):
        small(tmp_path / "empty").fit(SEEN)


@pytest.mark.parametrize("wrong", [{"max_tokens": 3}, {"watched": 0.0}, {"epochs": 0}, {"threads": 0}])
def test_settings_that_cannot_work_are_refused(folder: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        small(folder, **wrong)


def test_a_device_that_is_not_here_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="'cpu'"):
        small(folder, device="abacus").fit(SEEN)


def test_the_log_says_where_it_is_trained(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rar"), pytest.raises(KeyboardInterrupt):
        small(folder).fit(SEEN, progress=Stop(1))

    assert "EncoderClassifierRouter runs on cpu" in caplog.messages


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json"])
def test_a_damaged_or_missing_file_is_refused(fitted: EncoderClassifierRouter, tmp_path: Path, file: str) -> None:
    saved = fitted.save(tmp_path / "router")
    content = (saved / file).read_bytes()
    (saved / file).write_bytes(content[:-1])
    with pytest.raises(RouterFileError, match=f"{file} is damaged"):
        load(saved)
    (saved / file).unlink()
    with pytest.raises(RouterFileError, match=f"{file} cannot be read"):
        load(saved)


def test_a_copy_scores_the_same(fitted: EncoderClassifierRouter) -> None:
    expected = fitted.score(ASKED.texts[:5])

    for copied in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_allclose(copied.score(ASKED.texts[:5]), expected, atol=1e-6)


def test_a_saved_router_needs_neither_torch_nor_the_encoder(
    fitted: EncoderClassifierRouter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, expected = fitted.save(tmp_path / "router"), fitted.score(ASKED.texts)
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in {"torch", "transformers"}:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(builtins, "__import__", without)
    again = load(saved)

    np.testing.assert_allclose(again.score(ASKED.texts), expected, atol=1e-6)
    with pytest.raises(MissingDependencyError, match=r"rar-llm\[transformers\]"):
        again.fit(SEEN)


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.skipif("RAR_DATA" not in os.environ, reason="set RAR_DATA to the folder of the recorded answers")
def test_minilm_beats_length_on_recorded_answers() -> None:
    from rar.evaluation import read_table

    data = Path(os.environ["RAR_DATA"]) / "mmlu_mixtral_gpt4.csv.gz"
    weak, strong = "mixtral_8x7b_correct", "gpt4_1106_correct"
    table = read_table(data, weak=weak, strong=strong, text="question,A,B,C,D")
    seen, asked = (
        table.take(part) for part in np.array_split(np.random.default_rng(0).permutation(len(table.texts)), 2)
    )
    found, length = (
        float(apgr(router.fit(seen).score(asked.texts), asked.weak, asked.strong))
        for router in (EncoderClassifierRouter(), LengthRouter())
    )

    # 0.629 since the rows of one subject, whose recorded scores were wrong, are no longer among these.
    assert found >= 0.62
    assert found >= length + 0.05
