"""Any embedder that a user has, as ours. Neither framework is imported: their classes are known by their methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import numpy as np

from rar.embedding.base import Embedder
from rar.embedding.hashing import HashingEmbedder
from rar.embedding.minilm import MiniLMEmbedder
from rar.errors import ConfigurationError, EmbeddingError, UnknownNameError
from rar.naming import shown
from rar.values import Vector

_NAMED: dict[str, Callable[[], Embedder]] = {"minilm": MiniLMEmbedder, "hashing": HashingEmbedder}
_COMMON_LIMIT: Final = 512  # tokens that most sentence encoders read; those that do not say how many are taken for such
_OPENAI_LIMIT: Final = 8_191
_SPECIAL_TOKENS: Final = 2
_ASCII_PER_TOKEN: Final = 3  # fewer than English text has, so that tokens are rather overestimated
_LIMIT_FIELDS = ("max_seq_length", "max_length", "embedding_ctx_length")
_MODEL_FIELDS = ("model_name", "model", "model_id", "repo_id", "azure_deployment", "deployment_name")


def as_embedder(value: object) -> Embedder:
    """An `Embedder` of one, of `"minilm"`, `"hashing"`, a LangChain `Embeddings` or a LlamaIndex `BaseEmbedding`.

    Nothing is loaded or called yet: a framework's embedder is first asked when its `dim` or a vector is needed.

    Raises:
        UnknownNameError: No embedder has that name.
        ConfigurationError: `value` is none of these.
    """
    if isinstance(value, str):
        if value not in _NAMED:
            raise UnknownNameError("embedder", value, _NAMED)
        return _NAMED[value]()
    if isinstance(value, type):
        raise ConfigurationError(f"embedder={shown(value)} is a class. Pass an object: embedder={value.__name__}(...).")
    foreign: Any = value
    if _has(value, "embed_documents", "embed_query"):
        return FrameworkEmbedder(_id_of(value), foreign.embed_documents, _limit_of(value))
    if _has(value, "get_text_embedding_batch", "get_query_embedding"):
        return FrameworkEmbedder(_id_of(value), foreign.get_text_embedding_batch, _limit_of(value))
    if _has(value, "embed"):
        return cast("Embedder", value)
    raise ConfigurationError(
        f"embedder={shown(value)} is no embedder. Pass one of {sorted(_NAMED)}, a LangChain `Embeddings`, a LlamaIndex "
        "`BaseEmbedding`, or an object with `id`, `dim` and `embed`."
    )


class FrameworkEmbedder:
    """A framework's embedder; its vectors are checked and normalised.

    Questions are compared with questions, so that all texts go through the one method, that for documents.

    Args:
        max_tokens: What it is taken to read of a text.

    Raises:
        EmbeddingError: From `embed` and `dim`, when what came back cannot be used.
    """

    def __init__(self, id: str, embed_many: Callable[[list[str]], Any], max_tokens: int = _COMMON_LIMIT) -> None:
        self._id = id
        self._max_tokens = max_tokens
        self._embed_many = embed_many
        self._dim: int | None = None

    def __repr__(self) -> str:
        return f"FrameworkEmbedder({self._id!r})"

    @property
    def id(self) -> str:
        return self._id

    @property
    def dim(self) -> int:
        if self._dim is None:
            self._dim = self.embed(["dimension"]).shape[1]
        return self._dim

    def reads(self, text: str) -> bool:
        """Whether a text is surely short enough, tokens being counted from above."""
        if len(text) <= self._max_tokens - _SPECIAL_TOKENS:
            return True
        ascii_only = len(text.encode("ascii", "ignore"))
        return ascii_only / _ASCII_PER_TOKEN + (len(text) - ascii_only) <= self._max_tokens - _SPECIAL_TOKENS

    def embed(self, texts: Sequence[str]) -> Vector:
        """Unit vectors, shape `(len(texts), dim)`."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        vectors = _unit_vectors(self._id, self._embed_many(list(texts)), len(texts))
        if self._dim is None:
            self._dim = vectors.shape[1]
        if vectors.shape[1] != self._dim:
            raise EmbeddingError(self._id, f"vectors of length {vectors.shape[1]} after some of length {self._dim}")
        return vectors


def _unit_vectors(id: str, output: Any, count: int) -> Vector:
    try:
        vectors = np.array(output, np.float64)  # float64, in which the squares of float32 numbers cannot overflow
    except (TypeError, ValueError) as error:
        raise EmbeddingError(id, "vectors of different lengths, or no numbers") from error
    if vectors.ndim != 2 or vectors.shape[0] != count or vectors.shape[1] == 0:
        raise EmbeddingError(id, f"shape {vectors.shape} for {count} texts")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        raise EmbeddingError(id, "a vector with NaN or infinity")
    if not norms.all():
        raise EmbeddingError(id, "a vector of zeros")
    unit: Vector = (vectors / norms).astype(np.float32)
    return unit


def _limit_of(value: object) -> int:
    """How many tokens of a text it reads, as far as it says so."""
    for holder in (value, *(getattr(value, name, None) for name in ("_model", "_client", "client"))):
        for name in _LIMIT_FIELDS:
            limit = getattr(holder, name, None)
            if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
                return limit
    return _OPENAI_LIMIT if "OpenAI" in type(value).__name__ else _COMMON_LIMIT


def _id_of(value: object) -> str:
    """Class and model name, the same for one model in both frameworks: `OpenAI/text-embedding-3-small`."""
    kind = type(value).__name__.removesuffix("s").removesuffix("Embedding") or type(value).__name__
    names = (getattr(value, field, None) for field in _MODEL_FIELDS)
    model = next((name for name in names if isinstance(name, str) and name not in ("", "unknown")), None)
    return kind if model is None else f"{kind}/{model}"


def _has(value: object, *methods: str) -> bool:
    return all(callable(getattr(value, method, None)) for method in methods)
