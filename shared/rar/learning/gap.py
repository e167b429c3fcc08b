"""The learned score: how much better the strong model's answer is expected to be, from the text and its embedding.

Its label is the *gap*, strong less weak quality: strong better 1, tie 0, weak better -1 (or any score between). On
recorded outcomes a label "the weak answer is wrong" ranks requests far worse, since the strong model may be wrong there
too.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from zlib import crc32

import numpy as np
import numpy.typing as npt

from rar.values import Vector

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

BUCKETS = 2**18
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, eq=False)
class GapModel:
    """Ridge regression of the gap on hashed TF-IDF of words and word pairs, embedding, length, and a given score.

    Immutable: any thread may ask it. `examples` is how many requests it was fitted to.
    """

    examples: int
    mean: float
    idf: npt.NDArray[np.float32] = field(repr=False)
    words: npt.NDArray[np.float32] = field(repr=False)  # weight of each bucket
    dense: Array = field(repr=False)  # weights of embedding, length and given score

    def expect(self, text: str | None, embedding: Vector, score: float | None = None) -> float:
        """The expected gap of one request; texts that are not stored count by their embedding alone."""
        value = self.mean + float(_dense(text, embedding, score) @ self.dense)
        if text is not None:
            places, counts = _terms(text)
            values = counts * self.idf[places]
            norm = math.sqrt(float(values @ values))
            if norm:
                value += float(values @ self.words[places]) / norm
        return value


def fit(
    texts: Sequence[str | None],
    embeddings: Vector,
    gaps: Array,
    weights: Array,
    scores: Sequence[float | None] | None = None,
    *,
    penalty: float = 5.0,
    previous: GapModel | None = None,
) -> GapModel:
    """Fit by conjugate gradients on the weighted normal equations.

    Args:
        embeddings: Shape `(n, dim)`.
        gaps, weights: Shape `(n,)`; a request that stands for several has a weight above 1.
        scores: A static router's chance that the strong model is needed, where there is one: how far it is trusted is
            learned with the rest.
        previous: A model of most of the same requests, from which the solver starts.
    """
    n = len(texts)
    found = [_terms(text) if text is not None else _NO_TERMS for text in texts]
    rows = np.repeat(np.arange(n), [len(places) for places, _ in found])
    places = np.concatenate([places for places, _ in found]) if n else _NO_TERMS[0]
    counts = np.concatenate([counts for _, counts in found]) if n else _NO_TERMS[1]
    seen = np.bincount(places, minlength=BUCKETS)
    idf = np.log((1.0 + n) / (1.0 + seen)) + 1.0  # smoothed as in scikit-learn
    values = counts * idf[places]
    norms = np.sqrt(np.bincount(rows, values * values, n))
    values = values / np.where(norms > 0.0, norms, 1.0)[rows]
    given = scores if scores is not None else [None] * n
    dense = np.stack([_dense(*facts) for facts in zip(texts, embeddings, given, strict=True)])
    mean = float(np.average(gaps, weights=weights))

    def forward(x: Array) -> Array:
        return np.asarray(np.bincount(rows, values * x[:BUCKETS][places], n) + dense @ x[BUCKETS:], np.float64)

    def backward(y: Array) -> Array:
        return np.concatenate([np.bincount(places, values * y[rows], BUCKETS), dense.T @ y])

    def normal(x: Array) -> Array:
        return backward(weights * forward(x)) + penalty * x

    start = np.zeros(BUCKETS + dense.shape[1])
    if previous is not None and len(previous.dense) == dense.shape[1]:
        start = np.concatenate([previous.words.astype(np.float64), previous.dense])
    solved = conjugate_gradients(normal, backward(weights * (gaps - mean)), start)
    return GapModel(n, mean, idf.astype(np.float32), solved[:BUCKETS].astype(np.float32), solved[BUCKETS:])


_NO_TERMS: tuple[Places, Array] = (np.zeros(0, np.int64), np.zeros(0))


def _dense(text: str | None, embedding: Vector, score: float | None) -> Array:
    # The scales say how far a part is trusted against the words: an embedding, which speaks of topics more than of
    # difficulty, by 0.1; a length e times another's by 0.25.
    length = 0.25 * (math.log(len(text) + 1.0) - 5.0) if text is not None else 0.0
    return np.concatenate([0.1 * embedding, [length, 0.0 if score is None else 2.0 * (score - 0.5)]])


@lru_cache(maxsize=2**14)
def _terms(text: str) -> tuple[Places, Array]:
    """The hashed words and word pairs of a text, and their damped counts."""
    words = _WORD.findall(text[:20_000].lower())
    terms = Counter(
        crc32(term.encode("utf-8", "surrogatepass")) % BUCKETS for term in [*words, *map(" ".join, pairwise(words))]
    )
    places = np.fromiter(terms, np.int64, len(terms))
    return places, 1.0 + np.log(np.fromiter(terms.values(), np.float64, len(terms)))


def conjugate_gradients(
    matrix: Callable[[Array], Array], target: Array, x: Array, *, steps: int = 30, tolerance: float = 1e-3
) -> Array:
    """Solve `matrix(x) = target` for a positive definite matrix, starting at `x` (Hestenes & Stiefel 1952)."""
    residual = target - matrix(x)
    direction, square = residual, float(residual @ residual)
    enough = tolerance**2 * float(target @ target)
    for _ in range(steps):
        if square <= enough:
            break
        image = matrix(direction)
        size = square / float(direction @ image)
        x = x + size * direction
        residual = residual - size * image
        before, square = square, float(residual @ residual)
        direction = residual + square / before * direction
    return x
