"""Texts of users and models, in bounds. One message must not keep a process from answering everybody else's."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from typing import Literal

LOOKED_AT = 20_000  # characters of a text that patterns see: what decides an answer stands at its start or its end
_HEAD = 0.5

# The Stream-Safe Text Format (Unicode Standard Annex 15): sorting longer runs of marks takes time that grows with
# their square. A joiner after each 30 ends the run, and no two texts become one.
_MARKS, _JOINER = 30, "\u034f"
_MARKS_FROM = 0x300  # the first combining mark


def clipped(text: str, limit: int = LOOKED_AT) -> str:
    """`text`, or its start and its end where it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    head = int(limit * _HEAD)
    return f"{text[:head]}\n{text[len(text) - (limit - head) :]}"


def normalized(text: str, form: Literal["NFC", "NFKC"] = "NFC") -> str:
    """The Unicode normal form; a text of more than `LOOKED_AT` characters, which nobody types twice, as it is."""
    if text.isascii() or len(text) > LOOKED_AT:
        return text
    return unicodedata.normalize(form, _long_runs().sub(rf"\g<0>{_JOINER}", text))


@cache
def _long_runs() -> re.Pattern[str]:
    marks = [code for code in range(_MARKS_FROM, sys.maxunicode + 1) if unicodedata.combining(chr(code))]
    spans: list[list[int]] = []
    for code in marks:
        if spans and code == spans[-1][1] + 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    inside = "".join(f"{chr(first)}-{chr(last)}" for first, last in spans)
    return re.compile(f"[{inside}]{{{_MARKS}}}(?=[{inside}])")
