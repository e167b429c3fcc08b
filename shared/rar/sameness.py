"""Sameness: what tells a repeated request from one that merely looks like it.

Embeddings put "5 apples" beside "6 apples" and "which is true" beside "which is not true". Two requests count as the
same one only if their signatures are equal too. The rule errs on the safe side: a signature keeps every word in its
order and forgives only what cannot change what is asked (case, spacing, clause punctuation, the spelling of numbers and
contractions, politeness). A paraphrase is then merely *similar*, which costs a model call and never a wrong answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from rar.texts import LOOKED_AT, normalized

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
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_ROUND = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {word: value for value, word in enumerate(_SMALL.split())}
_TENS = {word: 10 * value for value, word in enumerate(_ROUND.split(), 2)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}


def signature(text: str) -> str:
    """Return 32 hex digits, equal for two texts exactly if they may be taken for one request. Never raises."""
    content = _collapsed(text) if len(text) > LOOKED_AT else "\x1f".join(_content(text))
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _collapsed(text: str) -> str:
    """Of a text that nobody retypes, and on which word-by-word work would cost more than it finds."""
    return " ".join(text.lower().split())


def _content(text: str) -> list[str]:
    """The tokens that make the request; code is one token, verbatim."""
    tokens: list[str] = []
    for index, part in enumerate(_CODE.split(normalized(text))):
        tokens += [part] if index % 2 else _spelled_numbers(_without_contractions(_folded(_words(part))))
    return tokens


def _words(text: str) -> Iterator[str]:
    for chunk in text.translate(_QUOTES).split():
        word = _without_clause_marks(chunk)
        if word.lower() in _POLITE:
            continue
        word = _without_clause_marks(_without_quotes(word))
        if word:
            yield _THOUSANDS.sub(lambda number: number[0].replace(",", ""), word)


def _without_clause_marks(chunk: str) -> str:
    bare = chunk.rstrip(_CLAUSE_MARKS)
    factorial = chunk[len(bare) : len(bare) + 1] == "!" and (bare[-1:].isdigit() or bare[-1:] == ")" or len(bare) == 1)
    return bare + "!" if factorial else bare


def _without_quotes(word: str) -> str:
    word = word.lstrip("\"'")
    bare = word.rstrip("\"'")
    return word if bare[-1:].isdigit() else bare  # 6' and 6" are measures


def _folded(words: Iterable[str]) -> list[str]:
    """The words without case, except those that the text itself tells apart by nothing else (BB, Bb, bb)."""
    words = list(words)
    cases: dict[str, set[str]] = {}
    for word in words:
        cases.setdefault(word.lower(), set()).add(word)
    return [word if _case_matters(lower, cases[lower]) else lower for word in words if (lower := word.lower())]


def _case_matters(lower: str, seen: set[str]) -> bool:
    sentence_case = {lower, lower.capitalize()}
    return len(seen) > 1 and (not seen <= sentence_case or (len(lower) == 1 and lower != "a"))


def _without_contractions(words: list[str]) -> list[str]:
    tokens: list[str] = []
    for word in words:
        negated = _NOT.fullmatch(word)
        tokens += _CONTRACTIONS.get(word) or ((negated[1], "not") if negated else (word,))
    return tokens


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
