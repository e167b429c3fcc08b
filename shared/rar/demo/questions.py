"""The stream of questions: seeded templates of a few kinds, asked again now and then, as users do."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from rar.demo.documents import FACTS

App: TypeAlias = Literal["langchain", "llama_index"]

_T = TypeVar("_T")

REPEATS = 0.35  # share of questions that were asked before


@dataclass(frozen=True, slots=True)
class Question:
    """What a user asks of one of the two applications. `answer` is right by construction, and no model is shown it."""

    text: str
    answer: str
    kind: str
    app: App


def stream(count: int, seed: int = 0) -> list[Question]:
    """`count` questions, the same for the same seed; a longer stream begins with the shorter one."""
    rng = random.Random(seed)  # noqa: S311 - draws questions, guards nothing
    makers = [maker(random.Random(rng.random())) for maker in _KINDS]  # noqa: S311 - likewise
    asked: list[Question] = []
    while len(asked) < count:
        if len(asked) > 3 and rng.random() < REPEATS:
            asked.append(rng.choice(list(dict.fromkeys(asked))))
        else:
            asked.append(next(rng.choice(makers)))
    return asked


_UNITS = (
    ("minutes", "hours", 60),
    ("days", "weeks", 7),
    ("months", "years", 12),
    ("seconds", "minutes", 60),
    ("centimetres", "metres", 100),
    ("grams", "kilograms", 1000),
)


def _conversions(rng: random.Random) -> Iterator[Question]:
    while True:
        small, large, factor = rng.choice(_UNITS)
        count = rng.randint(2, 12)
        text = f"{count} {large} are how many {small}?"
        yield Question(text, str(count * factor), "unit conversion", "langchain")


_PEOPLE = ("Maya", "Tom", "Aisha", "Leon", "Priya", "Oskar")
_GOODS = (("boxes", "pencils"), ("bags", "apples"), ("trays", "eggs"), ("packs", "stickers"))


def _sums(rng: random.Random) -> Iterator[Question]:
    while True:
        person, (holders, things) = rng.choice(_PEOPLE), rng.choice(_GOODS)
        count, each, given = rng.randint(3, 9), rng.randint(4, 12), rng.randint(2, 9)
        text = (
            f"{person} buys {count} {holders} with {each} {things} in each and gives {given} {things} away. "
            f"How many {things} are left?"
        )
        yield Question(text, str(count * each - given), "word problem", "langchain")


_CAPITALS = {
    "France": "Paris", "Japan": "Tokyo", "Italy": "Rome", "Egypt": "Cairo", "Spain": "Madrid", "Greece": "Athens",
    "Norway": "Oslo", "Peru": "Lima", "Kenya": "Nairobi", "Portugal": "Lisbon", "Poland": "Warsaw", "Austria": "Vienna",
    "Cuba": "Havana", "Hungary": "Budapest", "Ireland": "Dublin", "Finland": "Helsinki", "Chile": "Santiago",
    "Thailand": "Bangkok", "Canada": "Ottawa", "Australia": "Canberra", "Turkey": "Ankara", "Morocco": "Rabat",
}  # fmt: skip


def _capitals(rng: random.Random) -> Iterator[Question]:
    for country in _endless(list(_CAPITALS), rng):
        right = _CAPITALS[country]
        options = [right, *rng.sample([city for city in _CAPITALS.values() if city != right], 3)]
        rng.shuffle(options)
        listed = "\n".join(f"{letter}) {city}" for letter, city in zip("ABCD", options, strict=True))
        text = f"Which city is the capital of {country}?\n{listed}"
        yield Question(text, "ABCD"[options.index(right)], "multiple choice", "langchain")


def _facts(rng: random.Random) -> Iterator[Question]:
    for text, answer in _endless(list(FACTS), rng):
        yield Question(text, answer, "fact from documents", "llama_index")


def _endless(items: list[_T], rng: random.Random) -> Iterator[_T]:
    while True:
        yield from rng.sample(items, len(items))


# Documents twice, so that both applications get about as many new questions.
_KINDS: tuple[Callable[[random.Random], Iterator[Question]], ...] = (_conversions, _sums, _capitals, _facts, _facts)
