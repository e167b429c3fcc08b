"""What a question, the answers of several experts and their agreement tell of which answer is right. Pure."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from rar.linear import Array
from rar.texts import clipped

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_DIGITS = re.compile(r"\d+")
_NUMBER = re.compile(r"[\d., $€£%]+")
_MARKS = str.maketrans("", "", string.punctuation)
_ASKING = [
    "who",
    "what",
    "when",
    "where",
    "which",
    "why",
    "how",
    "is",
    "are",
    "do",
    "does",
    "did",
    "can",
    "was",
    "were",
]
_LONG = 5  # words, from which an answer is no name or number


def normalised(answer: str) -> str:
    """Words without case, articles and punctuation, as answers of question sets are compared."""
    return " ".join(_ARTICLE.sub(" ", clipped(answer, 2_000).lower()).translate(_MARKS).split())


def overlap(one: str, other: str) -> float:
    """The F1 of two normalised answers' words."""
    mine, theirs = one.split(), other.split()
    shared = (Counter(mine) & Counter(theirs)).total() if mine and theirs else 0
    return 2.0 * shared / (len(mine) + len(theirs)) if shared else float(mine == theirs)


def features(question: str, answers: Sequence[str | None]) -> Array:
    """A row for each expert's answer, the first column a constant, shape `(m, columns)`; None is one that failed.

    They are: how many gave the same answer, and how near the others' words are; what form the answer has; how the
    question begins and how many numbers are in it; who the expert is, alone and together with all that.
    """
    words = [normalised(answer) if answer is not None else None for answer in answers]
    asked = _asked(question)
    told = set(normalised(question).split())
    return np.array([_row(at, words, answers[at] or "", asked, told) for at in range(len(answers))])


def _row(at: int, words: Sequence[str | None], answer: str, asked: Array, told: set[str]) -> Array:
    mine = words[at] or ""
    near = [0.0 if other is None or words[at] is None else overlap(mine, other) for other in words]
    others = [one for place, one in enumerate(near) if place != at]
    same = sum(other == words[at] for other in words if other is not None)
    own = mine.split()
    form = np.array([
        same / len(words), same >= 2, same >= 3, same == len(words), sum(others), max(others, default=0.0),
        np.log1p(len(own)), len(own) > _LONG, bool(_NUMBER.fullmatch(answer.strip())), own[:1] in (["yes"], ["no"]),
        len(set(own) & told) / max(len(own), 1), np.log1p(len(_DIGITS.findall(mine))), not own,
    ], np.float64)  # fmt: skip
    who = np.zeros(len(words))
    who[at] = 1.0
    mixed = np.concatenate([form[[0, 8]], asked])
    apart = [one if place != at else -1.0 for place, one in enumerate(near)]
    return np.concatenate([[1.0], form, asked, who, np.outer(who, mixed).ravel(), apart])


def _asked(question: str) -> Array:
    text = clipped(question).lower()
    words = text.split()
    begins = next((word for word in words if word in _ASKING), "")
    numbers = len(_DIGITS.findall(text))
    about = [np.log1p(len(words)), np.log1p(numbers), numbers >= 2, "how many" in text, "choice" in text]
    return np.array([*about, *(begins == word for word in _ASKING)], np.float64)


def risk_coverage(confidence: Array, right: Array) -> Array:
    """The share of wrong answers among the surest 1, 2, … n, shape `(n,)`."""
    order = np.argsort(-confidence, kind="stable")
    return np.asarray(1.0 - np.cumsum(right[order]) / np.arange(1, len(right) + 1), np.float64)
