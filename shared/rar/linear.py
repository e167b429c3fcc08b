"""Linear models on the words of a text and a few dense features: hashed TF-IDF, and ridge regression on it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from zlib import crc32

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

BUCKETS = 2**18
_WORD = re.compile(r"\w+")


@lru_cache(maxsize=2**14)
def terms(text: str) -> tuple[Places, Array]:
    """The buckets of a text's words and word pairs, and their damped counts."""
    words = _WORD.findall(text[:20_000].lower())
    found = Counter(
        crc32(term.encode("utf-8", "surrogatepass")) % BUCKETS for term in [*words, *map(" ".join, pairwise(words))]
    )
    places = np.fromiter(found, np.int64, len(found))
    return places, 1.0 + np.log(np.fromiter(found.values(), np.float64, len(found)))


_NO_TERMS: tuple[Places, Array] = (np.zeros(0, np.int64), np.zeros(0))


@dataclass(frozen=True, eq=False)
class Design:
    """The features of `n` texts: TF-IDF rows of unit norm in `BUCKETS` columns, then the dense columns."""

    idf: Array = field(repr=False)
    dense: Array = field(repr=False)  # (n, d)
    _rows: Places = field(repr=False)
    _places: Places = field(repr=False)
    _values: Array = field(repr=False)

    @classmethod
    def of(cls, texts: Sequence[str | None], dense: Array, idf: npt.NDArray[np.floating] | None = None) -> Design:
        """Of `texts` (None: a text that is not known) and `dense`, shape `(n, d)`.

        Args:
            idf: That of the design a model was fitted to; None: of these texts.
        """
        n = len(texts)
        found = [terms(text) if text is not None else _NO_TERMS for text in texts]
        rows = np.repeat(np.arange(n), [len(places) for places, _ in found])
        places = np.concatenate([_NO_TERMS[0], *(places for places, _ in found)])
        counts = np.concatenate([_NO_TERMS[1], *(counts for _, counts in found)])
        if idf is None:  # smoothed as in scikit-learn
            idf = np.log((1.0 + n) / (1.0 + np.bincount(places, minlength=BUCKETS))) + 1.0
        values = counts * idf[places]
        norms = np.sqrt(np.bincount(rows, values * values, n))
        return cls(np.asarray(idf, np.float64), dense, rows, places, values / np.where(norms > 0.0, norms, 1.0)[rows])

    @property
    def columns(self) -> int:
        return BUCKETS + int(self.dense.shape[1])

    def times(self, weights: Array) -> Array:
        """`X @ weights`, shape `(n,)`."""
        words = np.bincount(self._rows, self._values * weights[:BUCKETS][self._places], len(self.dense))
        return np.asarray(words + self.dense @ weights[BUCKETS:], np.float64)

    def transposed_times(self, values: Array) -> Array:
        """`X.T @ values`, shape `(columns,)`."""
        words = np.bincount(self._places, self._values * values[self._rows], BUCKETS)
        return np.concatenate([words, self.dense.T @ values])


def ridge(design: Design, target: Array, weights: Array, penalty: float, start: Array | None = None) -> Array:
    """The `x` that minimises `sum(weights * (X x - target)²) + penalty |x|²`, by conjugate gradients from `start`."""

    def normal(x: Array) -> Array:
        return design.transposed_times(weights * design.times(x)) + penalty * x

    right = design.transposed_times(weights * target)
    return conjugate_gradients(normal, right, np.zeros(design.columns) if start is None else start)


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
