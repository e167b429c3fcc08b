"""The good default: words, embedding, length and similar texts in one regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rar.linear import BUCKETS, Array, Design, ridge
from rar.options import COUNT, POSITIVE
from rar.outcomes import Outcomes
from rar.routers.base import Arrays, EmbeddingRouter, Progress
from rar.routers.neighbours import in_blocks
from rar.routers.saving import Saved
from rar.routers.simple import pack_words, unpack_words
from rar.values import Vector

_SHARPNESS = 5.0  # of the kernel: a text of cosine 0.86 counts half of the same text
_EMBEDDING, _LENGTH, _KERNEL = 0.1, 0.25, 0.5**0.5  # how far each part is trusted against the words
_LEAST_EIGENVALUE = 1e-4  # of the largest; directions below it carry rounding rather than similarity


class StackedRouter(EmbeddingRouter):
    """Ridge regression of the gap on TF-IDF, embedding, length, and similarity to `landmarks` of the texts.

    The last is kernel ridge regression with the kernel exp(5 (cosine - 1)) by the Nystroem method (Williams & Seeger
    2000): what became of similar texts, corrected by all that the other parts know. The file does not grow with the
    data. Scales and penalty were chosen by cross-validation on MMLU and GSM8K.

    Args:
        landmarks: How many texts, drawn at random, others are compared with.
        penalty: Of squared weights.
        seed: Of the draw.
    """

    name = "stacked"
    parameters = ("landmarks", "penalty", "seed")

    def __init__(
        self, *, embedder: Any = "minilm", landmarks: int = 1_000, penalty: float = 8.0, seed: int = 0
    ) -> None:
        super().__init__(embedder=embedder)
        COUNT("landmarks", landmarks)
        POSITIVE("penalty", penalty)
        self.landmarks, self.penalty, self.seed = landmarks, penalty, seed
        self._mean, self._idf, self._words, self._dense = 0.0, np.zeros(0), np.zeros(0), np.zeros(0)
        self._places: Vector = np.zeros((0, 0), np.float32)  # landmarks
        self._near = np.zeros(0)  # weight of the similarity to each of them

    def _fit(self, data: Outcomes, progress: Progress) -> None:
        vectors = self._vectors(data)
        draw = np.random.default_rng(self.seed).permutation(len(data))[: self.landmarks]
        places = vectors[draw].astype(np.float16).astype(np.float32)
        # Nystroem: features whose dot products are the kernel, as far as the landmarks tell.
        values, directions = np.linalg.eigh(_of_cosines(places @ places.T))
        kept = values > _LEAST_EIGENVALUE * values[-1]
        whiten = _KERNEL * directions[:, kept] / np.sqrt(values[kept])
        similar = in_blocks(vectors, places, lambda cosines: _of_cosines(cosines) @ whiten)
        dense = np.hstack([_plain(data.texts, vectors), similar])
        design = Design.of(data.texts, dense)
        mean = float(data.gap.mean())
        solved = ridge(design, data.gap - mean, np.ones(len(data)), self.penalty)
        plain = BUCKETS + vectors.shape[1] + 1
        self._mean, self._idf, self._words, self._dense = mean, design.idf, solved[:BUCKETS], solved[BUCKETS:plain]
        self._places, self._near = places, whiten @ solved[plain:]

    def _score(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        vectors = vectors if vectors is not None else self.embedder.embed(texts)
        design = Design.of(texts, _plain(texts, vectors), self._idf)
        said = design.times(np.concatenate([self._words, self._dense]))
        near = in_blocks(vectors, self._places, lambda cosines: _of_cosines(cosines) @ self._near)
        return (1.0 + self._mean + said + near) / 2.0

    def _arrays(self) -> Arrays:
        return {
            "mean": np.array(self._mean),
            "dense": self._dense,
            "landmarks": self._places.astype(np.float16),
            "near": self._near,
            **pack_words(self._words, self._idf),
        }

    def _restore(self, saved: Saved) -> None:
        arrays = saved.arrays
        self._mean, self._dense, self._near = float(arrays["mean"]), arrays["dense"], arrays["near"]
        self._places = arrays["landmarks"].astype(np.float32)
        self._words, self._idf = unpack_words(arrays)
        dim = self.embedder.dim
        if self._dense.shape != (dim + 1,) or self._places.shape != (len(self._near), dim):
            raise ValueError(f"dense {self._dense.shape}, landmarks {self._places.shape}, near {self._near.shape}")


def _plain(texts: Sequence[str], vectors: Vector) -> Array:
    """Embedding and length, shape `(n, dim + 1)`."""
    lengths = np.log1p([float(len(text)) for text in texts]) - 5.0
    return np.column_stack([_EMBEDDING * vectors, _LENGTH * lengths])


def _of_cosines(cosines: Vector) -> Array:
    return np.exp(_SHARPNESS * (cosines.astype(np.float64) - 1.0))
