"""Wording: how two texts differ that may ask the same thing in other words.

`rar.sameness` says whether two texts are one request for sure. Here is what a judged outcome may be carried over by
(`rar.learning.paraphrase`), and what forbids it: numbers, negations, names or relations that differ turn a question
into another one however near the two are in an embedding's space. Nothing here is learned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from rar.sameness import ABOUT_WRITING, COMMON
from rar.texts import normalized

LONGEST: Final = 1_000  # characters up to which a text is compared: in longer ones a detail is easily overlooked


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_TOKEN = re.compile(r"\d+(?:[.,:/]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*|[.?!:\"(]")
_BREAKS: Final = frozenset('.?!:"(')
_SMALL = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty"
)
_NUMBERS = {word: str(value) for value, word in enumerate(_SMALL.split(), 2)}
_OPENERS = _set("what which who whom whose where when why how")
_NEGATIONS = _set(
    "not no never none nobody nothing neither nor without cannot unable except avoid stop nicht kein keine keinen nie "
    "ohne non pas jamais sans nunca sin não nem nunca niente mai senza niet geen zonder bez не нет ни без"
)
# Words on which it depends who does what to whom, and when. They must be the same ones.
_RELATIONS = _set(
    "before after until since by than under over above below from versus he him his she her hers simultaneously both "
    "either only first last more less most least minimum maximum minimize maximize begin end increase decrease"
)
# Words that carry little of what is asked.
_LIGHT = (
    _OPENERS
    | _RELATIONS
    | _set(
        "a an the this that these those there here it its i me my mine you your yours we us our ours they them their "
        "one ones in on at for of to with about into as then and or but so if is are was were am be been being do does "
        "did done can could should would will shall may might must has have had having get got please some any very "
        "really just also good best way ways someone somebody anyone people person thing things s t re m ll ve d"
    )
)
# Code, and scripts that write no spaces: what is a word there is not known here.
_UNREAD = re.compile("[`\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
# Two options of a choice: which is right depends on every word and letter of them.
_OPTIONS = re.compile(r"^\s*\(?[A-Ha-h][.)]\s.*\n(?:.*\n)*?\s*\(?[A-Ha-h][.)]\s", re.MULTILINE)
_SYMBOLS = re.compile(r"[+*=<>^%$€£#@|~\\√∑∫≤≥≠±×÷{}\[\]_]|(?<![^\W\d_])[-−–/]|[-−–/](?![^\W\d_])")
_LEAST_STEM: Final = 3  # letters
_SUFFIXES: Final = ("ings", "ing", "edly", "ies", "ied", "ed", "es", "s", "ly")


class Words(NamedTuple):
    """A text as far as it is compared."""

    all: tuple[str, ...]
    heavy: frozenset[str]  # stems of the words that carry what is asked
    numbers: tuple[str, ...]
    relations: frozenset[str]
    names: tuple[str, ...]
    symbols: str
    negations: int
    opener: str


@dataclass(frozen=True, slots=True)
class Difference:
    """How two texts differ that may be the same question.

    Args:
        overlap: Share of the letters of their heavy words that both have.
        replaced: Heavy words that one has in the place of another's.
        added: Heavy words that only one has, beyond those.
        opener: They begin their question with other words ("how", "why").
        named: One has a name that the other lacks.
        shared: Heavy words that both have.
    """

    overlap: float
    replaced: int
    added: int
    opener: bool
    named: bool
    shared: int


def words_of(text: str) -> Words | None:
    """What of a text is compared; None of one that is too long, or about its very letters, or unfit to be compared."""
    unfit = (_UNREAD, ABOUT_WRITING, _OPTIONS)
    if len(text) > LONGEST or any(pattern.search(text) for pattern in unfit):
        return None
    tokens = _TOKEN.findall(normalized(text).replace("’", "'"))
    found: list[str] = []
    names: list[str] = []
    negations, begins = 0, True
    for token in tokens:
        if token in _BREAKS:
            begins = True
            continue
        word = token.lower()
        negations += word in _NEGATIONS or word.endswith("n't")
        bare = word.removesuffix("'s")
        if token[0].isupper() and len(token) > 1 and bare not in _LIGHT and not (begins and bare in COMMON):
            names.append(bare)
        begins = False
        found.append(_NUMBERS.get(bare, bare))
    heavy = frozenset(_stem(word) for word in found if word not in _LIGHT)
    numbers = tuple(sorted(word for word in found if word[0].isdigit()))
    opener = next((word for word in found if word in _OPENERS), "")
    relations = frozenset(found) & _RELATIONS
    symbols = "".join(_SYMBOLS.findall(text))
    return Words(tuple(found), heavy, numbers, relations, tuple(names), symbols, negations, opener)


def difference(one: Words | None, other: Words | None) -> Difference | None:
    """How two texts differ; None where they may not stand for each other however alike they are."""
    if one is None or other is None or not one.heavy or not other.heavy or _confusable(one, other):
        return None
    here, there = one.heavy - other.heavy, other.heavy - one.heavy
    lacking, missing = _unmatched(one, other), _unmatched(other, one)
    if lacking and missing:
        return None  # one name in the place of another
    both = one.heavy & other.heavy
    replaced = min(len(here), len(there))
    shared = sum(map(_weight, both))
    return Difference(
        overlap=shared / (shared + sum(map(_weight, here | there))),
        replaced=replaced,
        added=max(len(here), len(there)) - replaced,
        opener=one.opener != other.opener,
        named=bool(lacking or missing),
        shared=len(both),
    )


def _confusable(one: Words, other: Words) -> bool:
    """Whether something differs that makes another question of it."""
    if (one.numbers, one.symbols, one.negations) != (other.numbers, other.symbols, other.negations):
        return True
    if one.relations != other.relations:
        return True
    if one.all != other.all and sorted(one.all) == sorted(other.all):
        return True  # the same words in another order: "does A trust B"
    known = set(one.names) & set(other.names)
    return [name for name in one.names if name in known] != [name for name in other.names if name in known]


def _unmatched(one: Words, other: Words) -> list[str]:
    """The names that another text has in no form ("India", "Indian") that stands for it."""
    free = set(other.all) - set(one.all)
    lacking = [name for name in one.names if name not in other.all]
    return [name for name in lacking if not any(_akin(name, word) for word in free)]


def _akin(name: str, word: str) -> bool:
    both = min(len(name), len(word)) > _LEAST_STEM
    return both and name.startswith(word[: max(len(word) - 2, _LEAST_STEM + 1)])


def _weight(word: str) -> int:
    return min(len(word), 10)


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _LEAST_STEM:
            return word[: -len(suffix)]
    return word
