"""What a text is like, whatever it is about: how long, how many numbers, options, lines of code, what it asks for.

Topics that were never seen have these, too.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_MOST = 20_000  # characters that are looked at
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_OPTION = re.compile(r"^[ \t]*\(?[A-Ja-j][.):]", re.MULTILINE)
_NEGATIONS = frozenset({"not", "except", "never", "false", "incorrect", "least"})
_AMOUNTS = frozenset({"if", "then", "each", "every", "all", "than", "more", "less", "total", "per"})
_ASKED = ("what", "which", "how", "why", "who", "when", "where")
_TOLD = frozenset(
    {"write", "create", "explain", "describe", "give", "generate", "make", "list", "find", "calculate", "what", "how"}
)
_LONG = 8  # letters that a long word has more than


@lru_cache(maxsize=2**15)
def surface(text: str) -> npt.NDArray[np.float32]:
    """Shape `(SIZE,)`; counts as logarithms, since one more matters less where there are many."""
    text = text[:_MOST]
    words = _WORD.findall(text.lower())
    found, size = set(words), max(len(words), 1)
    digits = _count(text, "0123456789")
    lines = text.split("\n")
    counts = [
        len(text), len(words), digits, len(_NUMBER.findall(text)), _count(text, "+*/=<>^%"), text.count("-"),
        _count(text, "{}[]\\_$;"), len(lines) - 1, len(_OPTION.findall(text)), text.count("__"),
        max(map(len, lines)), len(lines[-1]), sum(word in _AMOUNTS for word in words),
    ]  # fmt: skip
    shares = [
        len(text) / size, digits / max(len(text), 1), sum(map(str.isupper, text)) / max(len(text), 1),
        len(found) / size, sum(map(len, words)) / size, sum(len(word) > _LONG for word in words) / size,
    ]  # fmt: skip
    asked = [word in found for word in _ASKED]
    marks = [not text.isascii(), bool(found & _NEGATIONS), *asked, "".join(words[:1]) in _TOLD]
    return np.array([*map(math.log1p, counts), *shares, *map(float, marks)], np.float32)


def _count(text: str, signs: str) -> int:
    return sum(map(text.count, signs))


SIZE = len(surface(""))
