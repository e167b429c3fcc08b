"""An embedder that needs no weights: hashed words and letter n-grams. It sees shared wording, not meaning."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt

from rar.errors import ConfigurationError
from rar.values import Vector

Features: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]  # hashes and weights, of one length

_MAX_CHARS: Final = 32_768
_KEPT = 64  # letters of a token whose hashes are kept: longer ones are no words, and would fill memory
_MINOR: Final = 0.25  # weight of words and signs that say little about what a text is about
_PAIR: Final = 0.5  # weight of two words in a row
_TOKEN = re.compile(r"\w+|[^\w\s]")
_STOP_WORDS = frozenset(
    _TOKEN.findall(
        "a about an and any are as at be but by can could did do does for from had has have how i if in is it its me "
        "my of on or our please should so some tell that the their them there these they this those to was we were "
        "what when where which who why will with would you your"
    )
)


class HashingEmbedder:
    """Signed feature hashing of words, word pairs and letter 3-grams, with sublinear counts; about 0.1 ms a question.

    The same in every process and on every machine. Of a text the first 32,768 characters count.

    Args:
        dim: Length of the vectors, at least 16.
    """

    def __init__(self, dim: int = 512) -> None:
        if dim < 16:
            raise ConfigurationError(f"dim must be at least 16, got {dim}.")
        self._dim = dim

    def __repr__(self) -> str:
        return f"HashingEmbedder(dim={self._dim})"

    @property
    def id(self) -> str:
        return f"hashing-v1-{self._dim}"

    @property
    def dim(self) -> int:
        return self._dim

    def reads(self, text: str) -> bool:
        return len(text) <= _MAX_CHARS

    def embed(self, texts: Sequence[str]) -> Vector:
        """Unit vectors, shape `(len(texts), dim)`."""
        vectors = np.empty((len(texts), self._dim), np.float32)
        for row, text in enumerate(texts):
            hashes, weights = _features(text)
            # A hash's lowest bit is the sign, so that features which share a place cancel out on average.
            signed = np.where(hashes & 1, weights, -weights)
            vector = np.bincount((hashes >> 1) % self._dim, signed, self._dim)
            norm = np.linalg.norm(vector)
            vectors[row] = vector / norm if norm else np.eye(1, self._dim)
        return vectors


def _features(text: str) -> Features:
    """Everything that `text` consists of."""
    tokens = _TOKEN.findall(text[:_MAX_CHARS].lower())
    pairs = Counter(map("{} {}".format, tokens, tokens[1:]))
    features = [(_hashes(pairs), _PAIR * _damped(pairs.values()))]
    for token, count in Counter(tokens).items():
        hashes, weights = _kept(token) if len(token) <= _KEPT else _of_token(token)
        features.append((hashes, weights * _damped([count])))
    return np.concatenate([hashes for hashes, _ in features]), np.concatenate([weights for _, weights in features])


@lru_cache(maxsize=16_384)
def _kept(token: str) -> Features:
    return _of_token(token)


def _of_token(token: str) -> Features:
    """The token as a whole, and its letter 3-grams, which together weigh as much."""
    marked = f"<{token}>"
    grams = [marked[i : i + 3] for i in range(len(token))] if len(token) > 1 else []
    weights = np.array([1.0] + [len(grams) ** -0.5 for _ in grams])
    minor = token in _STOP_WORDS or not (token[0].isalnum() or token[0] == "_")
    return _hashes([f" {token}", *grams]), weights * (_MINOR if minor else 1.0)


def _hashes(features: Iterable[str]) -> npt.NDArray[np.int64]:
    return np.array([crc32(feature.encode("utf-8", "surrogatepass")) for feature in features], np.int64)


def _damped(counts: Iterable[int]) -> npt.NDArray[np.float64]:
    return 1 + np.log(np.array(list(counts), np.float64))
