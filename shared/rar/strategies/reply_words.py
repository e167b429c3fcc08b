"""What the words of a question and an answer tell of whether the answer is good. Pure; the base of `LearnedScorer`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rar.linear import Array, Design, ridge
from rar.routers.simple import pack_words, unpack_words
from rar.texts import clipped

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WORD = re.compile(r"\w+")
# One operation and its result: what stands in longer sums is not looked at.
_SUM = re.compile(
    r"(?<![\d.])(?<![-+*/x×÷])(?<![-+*/x×÷]\s)(\d+(?:\.\d+)?)\s?([-+*/x×÷])\s?(\d+(?:\.\d+)?)(?![\d.]|\s?[-+*/x×÷(])\s?=\s?(\d+(?:\.\d+)?)"
)
_WITHIN = 0.01  # of a sum's result: answers round


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
    rows = [_of_one(clipped(q), clipped(a)) for q, a in zip(asked, answers, strict=True)]
    return np.array(rows).reshape(len(rows), -1)


def _of_one(asked: str, answer: str) -> list[float]:
    """Lengths, shared words and numbers, and sums that are right and wrong; scaled against words, then a constant."""
    numbers, given = set(_NUMBER.findall(answer)), set(_NUMBER.findall(asked))
    words, told = set(_WORD.findall(answer.lower())), set(_WORD.findall(asked.lower()))
    shared = len(words & told)
    right, wrong = sums(answer)
    return [
        0.25 * (math.log1p(len(answer)) - 5.0),
        0.25 * (math.log1p(len(answer)) - 5.0) ** 2,
        0.25 * (math.log1p(len(asked)) - 5.0),
        0.1 * math.log1p(len(numbers)),
        0.3 * (len(numbers & given) / len(given) if given else 0.5),
        0.3 * shared / max(len(words), 1),
        0.3 * shared / max(len(told), 1),
        0.1 * math.log1p(right),
        0.5 * min(wrong, 2),
        0.1 * answer.rstrip().endswith((".", "!", "?", ")")),
        0.1 * math.log1p(answer.count("\n")),
        1.0,
    ]


def sums(text: str) -> tuple[int, int]:
    """How many sums of two numbers a text does right, and how many wrong."""
    right = wrong = 0
    for one, sign, other, result in _SUM.findall(text.replace(",", "").replace("$", "")):
        found = _computed(float(one), sign, float(other))
        if found is None or abs(found - float(result)) > _WITHIN * max(1.0, abs(found)):
            wrong += 1
        else:
            right += 1
    return right, wrong


def _computed(one: float, sign: str, other: float) -> float | None:
    if sign in "/÷":
        return one / other if other else None
    return {"+": one + other, "-": one - other}.get(sign, one * other)
