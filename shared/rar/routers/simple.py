"""The routers that every other must beat: length and words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rar.linear import BUCKETS, Array, Design, ridge
from rar.options import POSITIVE
from rar.outcomes import Outcomes
from rar.routers.base import Arrays, LearnedRouter, Progress
from rar.routers.saving import Saved
from rar.values import Vector


class LengthRouter(LearnedRouter):
    """The expected gap by the text's length alone, a line in its logarithm.

    On MMLU it equals the best published router of RouteLLM: whatever does not beat it has learned nothing.
    """

    name = "length"

    def __init__(self) -> None:
        self._line = np.zeros(2)

    def _fit(self, data: Outcomes, progress: Progress) -> None:
        length, gap = _length(data.texts), data.gap
        centred = length - length.mean()
        slope = float(centred @ gap) / max(float(centred @ centred), 1e-9)  # 0 where all are equally long
        self._line = np.array([slope, gap.mean() - slope * length.mean()])

    def _score(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        slope, height = self._line
        return np.asarray(1.0 + slope * _length(texts) + height, np.float64) / 2.0

    def _arrays(self) -> Arrays:
        return {"line": self._line}

    def _restore(self, saved: Saved) -> None:
        self._line = saved.arrays["line"]


class TfidfRouter(LearnedRouter):
    """Ridge regression of the gap on TF-IDF of words and word pairs; needs no embedder and fits in seconds.

    Args:
        penalty: Of squared weights.
    """

    name = "tfidf"
    parameters = ("penalty",)

    def __init__(self, *, penalty: float = 3.0) -> None:
        POSITIVE("penalty", penalty)
        self.penalty = penalty
        self._mean, self._idf, self._weights = 0.0, np.zeros(0), np.zeros(0)

    def _fit(self, data: Outcomes, progress: Progress) -> None:
        design = Design.of(data.texts, np.zeros((len(data), 0)))
        self._mean, self._idf = float(data.gap.mean()), design.idf
        self._weights = ridge(design, data.gap - self._mean, np.ones(len(data)), self.penalty)

    def _score(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        design = Design.of(texts, np.zeros((len(texts), 0)), self._idf)
        return (1.0 + self._mean + design.times(self._weights)) / 2.0

    def _arrays(self) -> Arrays:
        return {"mean": np.array(self._mean), **pack_words(self._weights, self._idf)}

    def _restore(self, saved: Saved) -> None:
        self._mean = float(saved.arrays["mean"])
        self._weights, self._idf = unpack_words(saved.arrays)


def pack_words(weights: Array, idf: Array) -> Arrays:
    """What a file holds of the weight and the inverse document frequency of each bucket: of those that were seen."""
    unseen = idf.max()
    seen = np.flatnonzero((idf < unseen) | (weights != 0.0))  # of much data each bucket was, the rarest ones too
    return {
        "places": seen,
        "weights": weights[seen].astype(np.float32),
        "idf": idf[seen].astype(np.float32),
        "unseen": np.array(unseen),
    }


def unpack_words(arrays: Arrays) -> tuple[Array, Array]:
    """Weights and inverse document frequencies, each of shape `(BUCKETS,)`."""
    weights, idf = np.zeros(BUCKETS), np.full(BUCKETS, float(arrays["unseen"]))
    weights[arrays["places"]], idf[arrays["places"]] = arrays["weights"], arrays["idf"]
    return weights, idf


def _length(texts: Sequence[str]) -> Array:
    return np.log1p([float(len(text)) for text in texts])
