"""Sameness: what tells a repeated request from one that merely looks like it.

Embeddings put "5 apples" beside "6 apples" and "which is true" beside "which is not true", and MiniLM's hear no case at
all. Two requests count as the same one only if their signatures are equal too. The rule errs on the safe side: a
signature keeps every word in its order with its case and its marks. It forgives only what cannot change what is asked:
spacing, the capital of a common first word, the mark at the end, the spelling of numbers and contractions, politeness.
A paraphrase is then merely *similar*, which costs a model call and never a wrong answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from rar.texts import LOOKED_AT, normalized

VERSION = "2"  # part of what is hashed: signatures that older rules made are equal to none of today's


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})
_QUOTED = re.compile(r"""(?<!\S)(?:'([^'\n]{1,200})'|"{1,2}([^"\n]{1,200})"{1,2})(?=[\s.,;:?!]|$)""")
_MARKS = ".,;:?!…。，、；：？！"
_ENDS = ".?!…。？！"
_WIDE = str.maketrans("。，；：？！", ".,;:?!")
_BEHIND = re.compile(r"[.,;:?!]+(?=\s|$)")
_THOUSANDS = re.compile(r"(?<![\d.,(\[{])\d{1,3}(?:,\d{3})+(?![\d,])")
# Who asks about writing itself asks about every letter and mark.
ABOUT_WRITING = re.compile(
    r"\b(?:capitali[sz]|capital letter|upper ?case|lower ?case|title case|punctuat|commas?\b|full stops?\b"
    r"|apostrophe|colons?\b|semicolon|hyphen|quotation|quote|spell|grammar|proofread|typos?\b|misprint|sentence|translat|pronounce|rhyme"
    r"|regex|regular expression|wildcard|glob\b|character|string|password|encode|decode|base64|hash)",
    re.IGNORECASE,
)
_POLITE_FIRST = re.compile(
    r"(?:(?:please|kindly)\b[,:!.]?|(?:hi|hello|hey)(?: there)?[,:!.])\s{1,9}(?=\S)", re.IGNORECASE
)
_POLITE_INSIDE = re.compile(r"\b((?:can|could|would|will) you) (?:please|kindly) ", re.IGNORECASE)
_POLITE_LAST = re.compile(r"(?<=[,.?!])\s{0,9}(?:please|thanks|thank you|many thanks)[.!]{0,3}$", re.IGNORECASE)
_NOT = re.compile(r"(\w+)n't", re.IGNORECASE)
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
_ASKING = _set(
    "what which who whom whose where when why how is are was were am do does did can could should would will shall has "
    "have had must isn't aren't wasn't weren't don't doesn't didn't can't couldn't shouldn't wouldn't won't hasn't "
    "haven't what's who's where's how's"
)
# First words whose capital says nothing but that a sentence begins. No word that is a name as well ("May", "Mark").
COMMON = _ASKING | _set(
    "the a an this that these those there here it its he she they we you i my your his her our their in on at by for "
    "from of to with without about after before during under over between among against if while because since until "
    "although though as and or but so not no yes some any each every all both many much more most few several one "
    "explain describe write give tell name list find solve calculate compute convert choose select show say state "
    "define discuss compare make create suggest recommend summarize summarise identify determine evaluate simplify "
    "consider suppose assume let provide help need want according given imagine please"
)
# Words of other meaning in capitals.
_ACRONYMS = _set("it us who am pm aids or and not in as an at be me no so to all can may")
_SHORT = 3  # letters up to which a word in capitals may be a unit or a short name
_NAME = 6  # words of a name that are looked at
_ARTICLES = frozenset({"the", "a", "an"})
_SHOUTED = 4  # words in capitals from which a text shouts, and its capitals say nothing
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
    whole = f"{VERSION}\x1e{content}"
    return hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _collapsed(text: str) -> str:
    """Of a text that nobody retypes, and on which word-by-word work would cost more than it finds."""
    return " ".join((text.lower() if text.isupper() else text).split())


def _content(text: str) -> list[str]:
    """The tokens that make the request; code is one token, verbatim."""
    text = normalized(text)
    if ABOUT_WRITING.search(text):
        return text.split()
    text = _without_politeness(text.translate(_QUOTES))
    tokens: list[str] = []
    parts = _CODE.split(text)
    for index, part in enumerate(parts):
        if index % 2:
            tokens.append(part)
        else:
            tokens += _spelled_numbers(_without_contractions(_tokens(part, last=index == len(parts) - 1)))
    return tokens


def _without_politeness(text: str) -> str:
    text = text.strip()
    for _ in range(3):
        text = _POLITE_FIRST.sub("", text, count=1) if _POLITE_FIRST.match(text) else text
    return _POLITE_LAST.sub("", _POLITE_INSIDE.sub(r"\1 ", text)).rstrip()


class _Word(NamedTuple):
    """A word, and the marks behind it. What is quoted is one word, verbatim."""

    text: str
    marks: str = ""
    quoted: bool = False

    @property
    def ends(self) -> bool:
        return self.marks[-1:] in _ENDS and bool(self.marks)


def _tokens(text: str, *, last: bool) -> list[str]:
    """The words, each followed by those of its marks that may matter. `last`: the text ends with it."""
    words = _words(text)
    shouts = text.upper() == text and sum(word.text[:1].isalpha() for word in words) >= _SHOUTED
    tokens: list[str] = []
    first, asks = True, False
    for at, word in enumerate(words):
        bare = _without_case(word, first=first, shouts=shouts) or _of_name(words, at, first=first)
        asks = asks or bare.lower() in _ASKING
        tokens += [bare, *_marks(word, final=last and at == len(words) - 1, asks=asks)]
        first = word.ends or word.marks.endswith(":")
        asks = asks and not first
    return [token for token in tokens if token]


def _words(text: str) -> list[_Word]:
    words: list[_Word] = []
    end = 0
    for quoted in _QUOTED.finditer(text):
        words += map(_word, text[end : quoted.start()].split())
        words.append(_Word(" ".join((quoted[1] or quoted[2]).split()), quoted=True))
        end = quoted.end()
        marks = _BEHIND.match(text, end)
        if marks is not None:
            words[-1] = words[-1]._replace(marks=marks[0])
            end = marks.end()
    words += map(_word, text[end:].split())
    return _with_lone_marks(words)


def _word(chunk: str) -> _Word:
    chunk = chunk.translate(_WIDE)
    bare = chunk.rstrip(_MARKS)
    if not bare:
        return _Word("", chunk)
    if chunk[len(bare) : len(bare) + 1] == "!" and (bare[-1].isdigit() or bare[-1] == ")" or len(bare) == 1):
        bare += "!"  # a factorial
    number = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), bare)
    return _Word(number, chunk[len(bare) :])


def _with_lone_marks(words: Sequence[_Word]) -> list[_Word]:
    """A mark behind a space belongs to the word before; of others somebody asks ("What does ... mean")."""
    joined: list[_Word] = []
    for word in words:
        if word.text:
            joined.append(word)
        elif joined and not joined[-1].marks and word.marks in {".", "?", "!", ",", "??"}:
            joined[-1] = joined[-1]._replace(marks=word.marks)
        else:
            joined.append(_Word(word.marks))
    return joined


def _marks(word: _Word, *, final: bool, asks: bool) -> list[str]:
    """Of the marks behind a word those that may change what is asked.

    At the end of the text only a question mark may, and there only if no other word says that this is a question.
    """
    if not word.marks:
        return []
    asked = "?" in word.marks
    if final:
        return ["?"] if asked and not asks else []
    if word.ends:
        return ["?" if asked else "."]
    return [word.marks]


def _without_case(word: _Word, *, first: bool, shouts: bool) -> str | None:
    """A word without its case, if that says nothing; None if it may."""
    text, lower = word.text, word.text.lower()
    if word.quoted or text == lower:
        return text
    if shouts and lower not in _ACRONYMS and (len(text) > _SHORT or lower in COMMON) and text.isalpha() | ("'" in text):
        return lower
    return lower if first and lower in COMMON and text == lower.capitalize() else None


def _of_name(words: Sequence[_Word], at: int, *, first: bool) -> str:
    """The word at `at`, without its case in a name of two words or more ("Anna Smith", "New York").

    Behind an article they may be another thing than in small letters: "the White House".
    """
    start = at
    while start > at - _NAME and start and _is_capitalised(words[start - 1]) and not words[start - 1].marks:
        start -= 1
    end = at
    while end < at + _NAME and end + 1 < len(words) and not words[end].marks and _is_capitalised(words[end + 1]):
        end += 1
    word = words[at]
    named = end > start and start > 0 and words[start - 1].text.lower() not in _ARTICLES and _is_capitalised(word)
    return word.text.lower() if named and not first else word.text


def _is_capitalised(word: _Word) -> bool:
    text = word.text.removesuffix("'s")
    return not word.quoted and len(text) > 2 and text.isalpha() and text[0].isupper() and text[1:].islower()


def _without_contractions(words: Sequence[str]) -> list[str]:
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
