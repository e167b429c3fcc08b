"""Sameness: what tells a repeated request from one that merely looks like it.

Embeddings put "5 apples" beside "6 apples" and "which is true" beside "which is not true". Two requests count as the same
one only if their signatures are equal too. The rule errs on the safe side: a signature keeps every word in its order and
forgives only what cannot change what is asked (case, spacing, clause punctuation, spelling of numbers and contractions,
politeness). A paraphrase gets another signature and is then merely *similar*, which costs a look-up and never an answer.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator

_LONG = 20_000  # characters; above, nobody retypes a text, and word-by-word work would cost more than it finds

_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})
_CLAUSE_MARKS = ".,;:?!…。，、；：？！"
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_POLITE = frozenset({"please", "kindly", "hi", "hello", "hey", "thanks"})
_NOT = re.compile(r"(\w+)n't")
_CONTRACTIONS = {
    "can't": ("can", "not"),
    "cannot": ("can", "not"),
    "won't": ("will", "not"),
    "shan't": ("shall", "not"),
    "what's": ("what", "is"),
    "where's": ("where", "is"),
    "who's": ("who", "is"),
    "how's": ("how", "is"),
}
_UNITS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen".split()
    )
}
_TENS = {
    word: 10 * value for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}


def signature(text: str) -> str:
    """Return 32 hex digits, equal for two texts exactly if they may be taken for one request. Never raises."""
    content = _collapsed(text) if len(text) > _LONG else "\x1f".join(_content(text))
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _collapsed(text: str) -> str:
    return " ".join(text.lower().split())


def _content(text: str) -> list[str]:
    """The tokens that make the request; code is one token, verbatim."""
    tokens: list[str] = []
    for index, part in enumerate(_CODE.split(unicodedata.normalize("NFC", text))):
        tokens += [part] if index % 2 else _spelled_numbers(list(_words(part)))
    return tokens


def _words(text: str) -> Iterator[str]:
    for chunk in text.translate(_QUOTES).split():
        word = _without_clause_marks(chunk)
        if word.lower() in _POLITE:
            continue
        word = _without_clause_marks(word.strip("\"'"))
        if not word:
            continue
        lower = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), word.lower())
        if lower in _CONTRACTIONS:
            yield from _CONTRACTIONS[lower]
        elif negated := _NOT.fullmatch(lower):
            yield from (negated[1], "not")
        else:
            yield lower


def _without_clause_marks(chunk: str) -> str:
    bare = chunk.rstrip(_CLAUSE_MARKS)
    # "5!" and "n!" are factorials, and a chunk of marks alone ("..", "?") is no clause's end but content.
    if chunk[len(bare) :].startswith("!") and (bare[-1:].isdigit() or bare[-1:] == ")" or len(bare) == 1):
        return bare + "!"
    return bare


def _spelled_numbers(words: list[str]) -> list[str]:
    """Write "twenty-one", "one thousand" or "5 million" as digits; "one two" stays two numbers."""
    tokens: list[str] = []
    at = 0
    while at < len(words):
        value, after = _number(words, at)
        tokens.append(words[at] if value is None else str(value))
        at = after
    return tokens


def _number(words: list[str], at: int) -> tuple[int | None, int]:
    """The number that begins at `at` and the place after it; None and the next place where none does."""
    total, limit, start = 0, 10**12, at
    while True:
        part, after = _below_thousand(words, at)
        if part is None:
            break
        scale = _SCALES.get(words[after]) if after < len(words) else None
        if scale is None or scale >= limit:
            if at == start or part < limit:
                total, at = total + part, after
            break
        total, at, limit = total + part * scale, after + 1, scale
    return (total, at) if at > start else (None, start + 1)


def _below_thousand(words: list[str], at: int) -> tuple[int | None, int]:
    value, after = _below_hundred(words, at)
    if value is None or words[after : after + 1] != ["hundred"]:
        return value, after
    rest, end = _below_hundred(words, after + 2 if words[after + 1 : after + 2] == ["and"] else after + 1)
    return (value * 100, after + 1) if rest is None else (value * 100 + rest, end)


def _below_hundred(words: list[str], at: int) -> tuple[int | None, int]:
    if at >= len(words):
        return None, at
    tens, _, unit = words[at].partition("-")
    if tens in _TENS and _UNITS.get(unit or "zero", 10) < 10:
        follows = 0 if unit else _UNITS.get(words[at + 1], 0) if at + 1 < len(words) else 0
        return (_TENS[tens] + follows, at + 2) if 0 < follows < 10 else (_TENS[tens] + _UNITS.get(unit, 0), at + 1)
    if words[at] in _UNITS:
        return _UNITS[words[at]], at + 1
    return None, at
