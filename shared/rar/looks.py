"""What an answer looks like: how long it is, what it shares with the question, whether its sums are right. Pure.

Scorers of replies read it, those that are fitted to a log and those that learn from traffic. It asks no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WORD = re.compile(r"\w+")
# One operation and its result: what stands in longer sums is not looked at.
_SUM = re.compile(
    r"(?<![\d.])(?<![-+*/x×÷])(?<![-+*/x×÷]\s)(\d+(?:\.\d+)?)\s?([-+*/x×÷])\s?(\d+(?:\.\d+)?)(?![\d.]|\s?[-+*/x×÷(])\s?=\s?(\d+(?:\.\d+)?)"
)
_WITHIN = 0.01  # of a sum's result: answers round


def looks(asked: str, answer: str) -> list[float]:
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


def same(one: Hashable, other: Hashable) -> float:
    """Whether two replies say the same. Free text in other words may: of that it cannot be told."""
    if one is None or other is None:
        return 0.0
    return 1.0 if one == other else 0.0 if is_free(one) and is_free(other) else -1.0


def is_free(said: Hashable) -> bool:
    """Whether what an extractor of `rar.answers` found is words alone."""
    return isinstance(said, tuple) and said[0] == "text"
