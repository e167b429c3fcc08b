"""Linear models on the words of a text and a few dense features: hashed TF-IDF, and ridge regression on it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from rar.values import Vector

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

BUCKETS = 2**18
_WORD = re.compile(r"\w+")


@lru_cache(maxsize=2**15)  # more than any fit looks at: one that went round would find nothing
def terms(text: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The buckets of a text's words and word pairs, and their damped counts."""
    words = _WORD.findall(text[:20_000].lower())
    found = Counter(
        crc32(term.encode("utf-8", "surrogatepass")) % BUCKETS for term in [*words, *map(" ".join, pairwise(words))]
    )
    places = np.fromiter(found, np.int32, len(found))
    return places, (1.0 + np.log(np.fromiter(found.values(), np.float64, len(found)))).astype(np.float32)


_NO_TERMS = np.zeros(0, np.int32), np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class Design:
    """The features of `n` texts: TF-IDF rows of unit norm in `BUCKETS` columns, then the dense columns."""

    idf: Array = field(repr=False)
    dense: npt.NDArray[np.floating] = field(repr=False)  # (n, d)
    _rows: Places = field(repr=False)
    _places: Places = field(repr=False)
    _values: Array = field(repr=False)

    @classmethod
    def of(
        cls, texts: Sequence[str | None], dense: npt.NDArray[np.floating], idf: npt.NDArray[np.floating] | None = None
    ) -> Design:
        """Of `texts` (None: a text that is not known) and `dense`, shape `(n, d)`.

        Args:
            idf: That of the design a model was fitted to; None: of these texts.
        """
        n = len(texts)
        found = [terms(text) if text is not None else _NO_TERMS for text in texts]
        rows = np.repeat(np.arange(n), [len(places) for places, _ in found])
        places = np.concatenate([_NO_TERMS[0], *(places for places, _ in found)], dtype=np.int64)
        counts = np.concatenate([_NO_TERMS[1], *(counts for _, counts in found)], dtype=np.float64)
        if idf is None:  # smoothed as in scikit-learn
            idf = np.log((1.0 + n) / (1.0 + np.bincount(places, minlength=BUCKETS))) + 1.0
        values = counts * idf[places]
        norms = np.sqrt(np.bincount(rows, values * values, n))
        return cls(np.asarray(idf, np.float64), dense, rows, places, values / np.where(norms > 0.0, norms, 1.0)[rows])

    @property
    def columns(self) -> int:
        return len(self.idf) + int(self.dense.shape[1])

    def times(self, weights: npt.NDArray[np.floating]) -> Array:
        """`X @ weights`, shape `(n,)`, or `(n, k)` for weights of `k` columns."""
        if weights.ndim == 2:
            return np.stack([self.times(column) for column in weights.T], 1)
        buckets = len(self.idf)
        words = np.bincount(self._rows, self._values * weights[:buckets][self._places], len(self.dense))
        return np.asarray(words + self.dense @ weights[buckets:].astype(self.dense.dtype), np.float64)

    def parts(self, weights: Array, starts: Sequence[int]) -> Array:
        """The summands of `times(weights)`: of the words, and of the dense columns from each of `starts` to the next.

        Shape `(n, 1 + len(starts))`.
        """
        buckets, ends = len(self.idf), [*starts[1:], self.dense.shape[1]]
        words = np.bincount(self._rows, self._values * weights[:buckets][self._places], len(self.dense))
        own = weights[buckets:].astype(self.dense.dtype)
        others = [self.dense[:, a:b] @ own[a:b] for a, b in zip(starts, ends, strict=True)]
        return np.stack([words, *others], 1)

    def transposed_times(self, values: Array) -> Array:
        """`X.T @ values`, shape `(columns,)`, or `(columns, k)` for values of `k` columns."""
        if values.ndim == 2:
            return np.stack([self.transposed_times(column) for column in values.T], 1)
        words = np.bincount(self._places, self._values * values[self._rows], len(self.idf))
        return np.concatenate([words, self.dense.T @ values.astype(self.dense.dtype)])

    def compact(self) -> tuple[Places, Design]:
        """The buckets that occur, and the design of these alone: under a penalty the others' weights are 0."""
        used, places = np.unique(self._places, return_inverse=True)
        return used, replace(self, idf=self.idf[used], _places=places)


def ridge(
    design: Design,
    target: Array,
    weights: Array,
    penalty: float,
    start: Array | None = None,
    *,
    tolerance: float = 1e-3,
) -> Array:
    """The `x` that minimises `sum(weights * (X x - target)²) + penalty |x|²`, by conjugate gradients from `start`."""

    def normal(x: Array) -> Array:
        return design.transposed_times(weights * design.times(x)) + penalty * x

    right = design.transposed_times(weights * target)
    start = np.zeros(design.columns) if start is None else start
    return conjugate_gradients(normal, right, start, tolerance=tolerance)


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


def logistic(columns: Array, target: Array, penalty: float = 1.0, *, steps: int = 25) -> Array:
    """The weights of a logistic regression on few columns, of which the first is a constant, by Newton's method.

    Args:
        columns: Shape `(n, k)`.
        target: Chances, shape `(n,)`, in [0, 1].
        penalty: Of half the squared weights but the constant's.
    """
    weights, cost = np.zeros(columns.shape[1]), np.full(columns.shape[1], penalty)
    cost[0] = 1e-6
    for _ in range(steps):
        chance = sigmoid(columns @ weights)
        downhill = columns.T @ (target - chance) - cost * weights
        curved = (columns * (chance * (1.0 - chance))[:, None]).T @ columns + np.diag(cost)
        step = np.linalg.solve(curved, downhill)
        weights = weights + step / max(1.0, float(np.abs(step).max()) / 4.0)  # a long step may lead uphill
        if float(np.abs(step).max()) < 1e-6:
            break
    return weights


def sigmoid(logits: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0))), np.float64)


@dataclass(frozen=True, eq=False)
class SoftmaxModel:
    """Multinomial logistic regression on words, embedding and length, fitted to distributions over `k` classes."""

    idf: npt.NDArray[np.float32] = field(repr=False)
    base: Array  # (k,): logits of the mean distribution
    weights: npt.NDArray[np.float32] = field(repr=False)  # (BUCKETS + dim + 2, k)

    @classmethod
    def fit(cls, texts: Sequence[str], vectors: Vector, targets: Array, penalty: float) -> SoftmaxModel:
        """Minimise the Kullback-Leibler divergence from `targets`, shape `(n, k)`, rows summing to 1.

        Args:
            vectors: Embeddings of the texts, shape `(n, dim)`.
            penalty: Of half the squared weights.
        """
        design = Design.of(texts, _dense(texts, vectors))
        used, small = design.compact()
        base = np.log(np.maximum(targets.mean(0), 1e-12))
        found = softmax_regression(small, targets, base, penalty)
        weights = np.zeros((design.columns, len(base)), np.float32)
        weights[used], weights[BUCKETS:] = found[: len(used)], found[len(used) :]
        return cls(design.idf.astype(np.float32), base, weights)

    def logits(self, texts: Sequence[str], vectors: Vector) -> Array:
        """Shape `(n, k)`."""
        return self.base + Design.of(texts, _dense(texts, vectors), self.idf).times(self.weights)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What makes it up, for a file: of the words only those that it knows."""
        words, dense = self.weights[:BUCKETS], self.weights[BUCKETS:]
        used = np.flatnonzero((self.idf < self.idf.max()) | words.any(1))
        return {
            "base": self.base, "places": used, "words": words[used], "dense": dense,
            "idf": self.idf[used], "unseen": self.idf.max(keepdims=True),
        }  # fmt: skip

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> SoftmaxModel:
        idf = np.full(BUCKETS, arrays["unseen"][0], np.float32)
        idf[arrays["places"]] = arrays["idf"]
        words = np.zeros((BUCKETS, len(arrays["base"])), np.float32)
        words[arrays["places"]] = arrays["words"]
        return cls(idf, arrays["base"], np.concatenate([words, arrays["dense"]]))


def softmax(logits: Array) -> Array:
    """Along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), np.float64)


def softmax_regression(design: Design, targets: Array, base: Array, penalty: float, *, steps: int = 20) -> Array:
    """The `W` that minimises `sum(KL(targets || softmax(base + X W))) + penalty / 2 * |W|²`, by Newton's method.

    Each step is found by conjugate gradients and halved until it does not lead uphill; the problem is convex.

    Args:
        targets: Shape `(n, k)`, rows summing to 1.
    """

    def loss(w: Array, logits: Array) -> float:
        cross_entropy = np.logaddexp.reduce(logits, axis=1) - (targets * logits).sum(1)
        return float(cross_entropy.sum() + 0.5 * penalty * (w * w).sum())

    weights = np.zeros((design.columns, targets.shape[1]))
    logits = np.broadcast_to(base, targets.shape)
    least = loss(weights, logits)
    for _ in range(steps):
        chances = softmax(logits)

        def curved(flat: Array, chances: Array = chances) -> Array:
            step = flat.reshape(design.columns, -1)
            moved = chances * design.times(step)
            moved -= chances * moved.sum(1, keepdims=True)
            return np.ravel(design.transposed_times(moved) + penalty * step)

        downhill = design.transposed_times(targets - chances) - penalty * weights
        step = conjugate_gradients(curved, downhill.ravel(), np.zeros(downhill.size), tolerance=0.01)
        step = step.reshape(weights.shape)
        gain = float((downhill * step).sum())
        moved = design.times(step)
        while (now := loss(weights + step, logits + moved)) > least and gain > 1e-9 * least:
            step, moved, gain = step / 2.0, moved / 2.0, gain / 2.0
        if now > least:
            break
        weights, logits, before, least = weights + step, logits + moved, least, now
        if before - least <= 1e-5 * least:
            break
    return weights


def _dense(texts: Sequence[str], vectors: Vector) -> Array:
    """The columns beside the words: embedding and length, scaled against them, and a constant."""
    lengths = 0.25 * (np.log1p([float(len(text)) for text in texts]) - 5.0)
    return np.column_stack([0.2 * vectors.astype(np.float64), lengths, np.ones(len(texts))])
