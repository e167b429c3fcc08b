"""A cache in front of an embedder: chats repeat their questions, and the hot path asks for one twice."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from rar.embedding.base import Embedder
from rar.embedding.unread import reads
from rar.errors import ConfigurationError
from rar.forking import Lock
from rar.naming import shown
from rar.values import Vector

_MOST_BYTES: Final = 32 * 2**20  # of vectors and texts
_LONG: Final = 1_024  # a longer text is known by its digest, so that the cache's size does not depend on it


class CachedEmbedder:
    """Keeps the vectors of the `size` most recently used texts, 32 MB at most. Safe between threads, if `embedder` is.

    `id` and `dim` are the embedder's.
    """

    def __init__(self, embedder: Embedder, size: int = 10_000) -> None:
        if size < 1:
            raise ConfigurationError(f"size must be at least 1, got {size}.")
        self.embedder = embedder
        self.size = size
        self._vectors: OrderedDict[str | bytes, Vector] = OrderedDict()
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"CachedEmbedder({shown(self.embedder)}, size={self.size})"

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def id(self) -> str:
        return self.embedder.id

    @property
    def dim(self) -> int:
        return self.embedder.dim

    def reads(self, text: str) -> bool:
        """Whether the embedder reads all of a text."""
        return reads(self.embedder, text)

    def clear(self) -> None:
        """Forget all texts."""
        with self._lock:
            self._vectors.clear()

    def cached(self, text: str) -> Vector | None:
        """The text's vector, shape `(dim,)`, read-only, if it is known; never embeds."""
        return self._get(_key(text))

    def embed(self, texts: Sequence[str]) -> Vector:
        """As the embedder's, which gets the unknown texts in one batch, each once. The array is the caller's own."""
        if not texts:
            return self.embedder.embed(texts)
        keys = [_key(text) for text in texts]
        known = {key: self._get(key) for key in keys}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if known[key] is None}
        if missing:
            for key, vector in zip(missing, self.embedder.embed(list(missing.values())), strict=True):
                known[key] = self._put(key, vector)
        return np.array([known[key] for key in keys], np.float32)

    def _get(self, key: str | bytes) -> Vector | None:
        with self._lock:
            vector = self._vectors.get(key)
            if vector is not None:
                self._vectors.move_to_end(key)
            return vector

    def _put(self, key: str | bytes, vector: Vector) -> Vector:
        own = np.array(vector, np.float32)  # a copy, so that it keeps no batch alive
        own.flags.writeable = False
        with self._lock:
            self._vectors[key] = own
            self._vectors.move_to_end(key)
            if len(self._vectors) > min(self.size, max(_MOST_BYTES // (own.nbytes + _LONG), 1)):
                self._vectors.popitem(last=False)
        return own


def _key(text: str) -> str | bytes:
    if len(text) <= _LONG:
        return text
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
