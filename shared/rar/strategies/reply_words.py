"""What the words of a question and an answer tell of whether the answer is good. Pure; the base of `LearnedScorer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rar.linear import Array, Design, ridge
from rar.looks import looks
from rar.routers.simple import pack_words, unpack_words
from rar.texts import clipped


@dataclass(frozen=True, eq=False)
class ReplyWords:
    """Ridge regression of an answer's score on the words of question and answer and a few features of both."""

    mean: float
    idf: Array = field(repr=False)
    weights: Array = field(repr=False)  # (BUCKETS + features,)

    @classmethod
    def fit(cls, asked: Sequence[str], answers: Sequence[str], target: Array, penalty: float) -> ReplyWords:
        """Learn `target`, shape `(n,)`."""
        design = Design.of(_joined(asked, answers), _features(asked, answers))
        used, small = design.compact()
        mean = float(target.mean())
        found = ridge(small, target - mean, np.ones(len(target)), penalty)
        weights = np.zeros(design.columns)
        weights[used], weights[len(design.idf) :] = found[: len(used)], found[len(used) :]
        return cls(mean, design.idf, weights)

    def score(self, asked: Sequence[str], answers: Sequence[str]) -> Array:
        """The expected score of each answer, shape `(n,)`; not held within any bounds."""
        design = Design.of(_joined(asked, answers), _features(asked, answers), self.idf)
        return self.mean + design.times(self.weights)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What makes it up, for a file."""
        words = len(self.idf)
        return {
            "mean": np.array(self.mean),
            "features": self.weights[words:],
            **pack_words(self.weights[:words], self.idf),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ReplyWords:
        words, idf = unpack_words(arrays)
        return cls(float(arrays["mean"]), idf, np.concatenate([words, arrays["features"]]))


def _joined(asked: Sequence[str], answers: Sequence[str]) -> list[str]:
    return [f"{clipped(question)}\n{clipped(answer)}" for question, answer in zip(asked, answers, strict=True)]


def _features(asked: Sequence[str], answers: Sequence[str]) -> Array:
    rows = [looks(clipped(q), clipped(a)) for q, a in zip(asked, answers, strict=True)]
    return np.array(rows).reshape(len(rows), -1)
