"""Signs by which a draft is known to be good or not, as numbers that quote nothing. Pure.

They are kept with each judged attempt, so that what one router judges is there for every other of the same memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rar.answers import auto, shown
from rar.linear import Array
from rar.looks import is_free, looks, same
from rar.texts import clipped
from rar.values import Reply, Request, as_text

Signs: TypeAlias = tuple[float, ...]

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d{1,12}(?:,\d{3})*(?:\.\d{1,12})?")
_DOUBTS = frozenset({
    "about", "approximately", "assume", "assuming", "but", "cannot", "closest", "could", "however", "likely", "may",
    "might", "none", "perhaps", "probably", "seems", "sorry", "unable", "unclear",
})  # fmt: skip
_FAR = 3.0  # standard deviations beyond which a draft is no stranger
_TRUST = 0.3  # of a sign against the words of the question, at first


def signs_of(request: Request, reply: Reply, earlier: Sequence[Reply] = ()) -> Signs:
    """What a reply looks like, how sure its model was, and whether `earlier` drafts of other models say the same."""
    asked, answer = clipped(request.key or as_text(request.messages)), clipped(shown(reply))
    words = _WORD.findall(answer.lower())
    numbers = _numbers(answer)
    last = numbers[-1] if numbers else 0.5  # which is like no whole number
    said = auto(request, reply)
    alike = [same(said, auto(request, other)) for other in earlier if not other.empty]
    found = [
        *looks(asked, answer)[:-1],
        float(said is None),
        float(is_free(said)),
        len(set(words)) / max(len(words), 1),
        len(set(pairwise(words))) / max(len(words) - 1, 1),
        math.log1p(sum(word in _DOUBTS for word in words)),
        float(last == int(last)),
        float(last in numbers[:-1]),
        float(last in _numbers(asked)),
        math.log1p(len(_last_line(answer))),
        float(reply.finish == "length"),
        float(np.mean([chance for _, chance in reply.logprobs])) if reply.logprobs else 0.0,
        float(len(reply.tool_calls)),
        sum(alike),
        float(len(alike)),
    ]
    return tuple(round(sign, 4) for sign in found)


def _numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in _NUMBER.findall(text)]


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2].strip()


SIZE = len(signs_of(Request(()), Reply("", "")))


@dataclass(frozen=True, eq=False)
class Scale:
    """Signs as columns of a fit: in standard deviations from the mean of those that it was fitted to."""

    mean: Array = field(repr=False)
    spread: Array = field(repr=False)

    @classmethod
    def of(cls, signs: Array) -> Scale:
        """Of the signs of `n` drafts, shape `(n, SIZE)`."""
        return cls(signs.mean(0), np.maximum(signs.std(0), 1e-6))

    def __call__(self, signs: Array) -> npt.NDArray[np.float32]:
        """Shape `(n, SIZE)`."""
        scaled = np.clip((signs - self.mean) / self.spread, -_FAR, _FAR)
        return np.asarray(_TRUST * scaled, np.float32)
