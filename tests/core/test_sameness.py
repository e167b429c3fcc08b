"""Opposite near twins are never taken for one request; trivial rewordings are."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import random
import re
from pathlib import Path

import pytest

from rar.sameness import signature

QUESTION = "Which of the following isn't caused by the 1,200 bacteria that Anna Smith found?"

TWINS = [
    ("Tom has 5 apples and 6 pears", "Tom has 6 apples and 5 pears"),
    ("Tom pays 5% of it", "Tom pays 5 of it"),
    ("What is 1.5 times 3?", "What is 15 times 3?"),
    ("What is version 1.1?", "What is version 1.10?"),
    ("What is -5 + 3?", "What is 5 + 3?"),
    ("What is 5?", "What is 5!?"),
    ("one two three", "one two four"),
    ("twenty one", "twenty two"),
    ("Which is true?", "Which is not true?"),
    ("Which is true?", "Which isn't true?"),
    ("You can eat it", "You can't eat it"),
    ("Is it possible?", "Is it impossible?"),
    ("Does it increase?", "Does it decrease?"),
    ("the largest lake", "the smallest lake"),
    ("before lunch", "after lunch"),
    ("A is taller than B", "B is taller than A"),
    ("Did France invade Spain?", "Did Spain invade France?"),
    ("the cat saw a dog", "a cat saw the dog"),
    ("Solve x < 5", "Solve x > 5"),
    ("Is (A and B) or C true?", "Is A and (B or C) true?"),
    ("Pick:\nA) red\nB) blue", "Pick:\nA) blue\nB) red"),
    ("Cross:\nA) BB\nB) Bb\nC) bb", "Cross:\nA) Bb\nB) BB\nC) bb"),
    ("A board of 6'", 'A board of 6"'),
    ("What does `x = Foo()` do?", "What does `x = foo()` do?"),
    ("Run ```\nif a:\n  b\nc\n```", "Run ```\nif a:\n  b\n  c\n```"),
    ("Was kostet die Maße?", "Was kostet die Masse?"),
    ("法国的首都是什么?", "德国的首都是什么?"),
    ("How do you say 'please' in French?", "How do you say 'thanks' in French?"),
    # case that carries meaning
    *[
        ("What is Polish?", "What is polish?"),
        ("Tell me about US policy", "Tell me about us policy"),
        ("What does IT do?", "What does it do?"),
        ("Where is Turkey from?", "Where is turkey from?"),
        ("Where is the White House?", "Where is the white house?"),
        ("Convert 1 mW to W", "Convert 1 MW to W"),
        ("How much is 5 Mb?", "How much is 5 MB?"),
        ("dose of 5 mg/kg", "dose of 5 Mg/kg"),
        ("What is Co made of?", "What is CO made of?"),
        ("What is C?", "What is c?"),
        ("ls -r", "ls -R"),
        ("chmod +X file", "chmod +x file"),
        ("What does getName return?", "What does getname return?"),
        ("Decode the base64 aGVsbG8=", "Decode the base64 AGVsbG8="),
        ("SELECT Name FROM users", "SELECT name FROM users"),
        ("WHAT DOES IT DO TO THEM", "what does it do to them"),
    ],
    # marks that change the question
    *[
        ("Does 'No.' end it?", "Does 'No' end it?"),
        ("The No. of pages", "The No of pages"),
        ("Use e.g. apples", "Use eg apples"),
        ("What is A.B?", "What is AB?"),
        ("What is .5?", "What is 5?"),
        ("What is 1-5?", "What is 15?"),
        ("Is C# old?", "Is C old?"),
        ("Is C++ old?", "Is C old?"),
        ("Does the regex colou?r match", "Does the regex colour match"),
        ("Does the regex match a?", "Does the regex match a"),
        ("You like it?", "You like it."),
        ("Lets eat, grandma", "Lets eat grandma"),
        ("A: yes B: no", "A yes B no"),
        ("What is x'?", "What is x?"),
        ("What does ... mean", "What does mean"),
        ("Explain ;", "Explain"),
        ("print('a')", 'print("a")'),
        ("What is (1,000)?", "What is (1000)?"),
        ("Translate: «oui»", "Translate: oui"),
        ("Remove the comma in: a, b", "Remove the comma in: a b"),
        ("Capitalise correctly: new york", "Capitalise correctly: New York"),
        ("Say hi", "Say"),
        ("What does thanks mean?", "What does mean?"),
        ("How do you say please in French?", "How do you say in French?"),
    ],
]


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_near_twins_are_different_requests(one: str, other: str) -> None:
    assert signature(one) != signature(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (QUESTION, QUESTION.lower()),
        (QUESTION, QUESTION.upper()),
        (QUESTION, f"  {QUESTION.replace(' ', '   ')}\n"),
        (QUESTION, QUESTION.rstrip("?")),
        (QUESTION, QUESTION + "??"),
        (QUESTION, QUESTION.replace("Which", "which")),
        ("Set x = 3.", "Set x = 3"),
        ("Where is it ?", "Where is it?"),
        ("Could you please list the lakes?", "Could you list the lakes?"),
        ('What is "rude" speech?', "What is rude speech?"),
        (QUESTION, f"Please, {QUESTION}"),
        (QUESTION, f"Hello! {QUESTION} Thanks."),
        (QUESTION, QUESTION.replace("isn't", "is not")),
        (QUESTION, QUESTION.replace("'", "\u2019")),
        (QUESTION, QUESTION.replace("1,200", "1200")),
        ("What's two hundred and five plus twenty-one?", "What is 205 plus 21?"),
        ("one thousand apples", "1,000 apples"),
        ("five million", "5,000,000"),
        ("You cannot go", "You can't go"),
        ("Caf\u00e9", "Cafe\u0301"),
    ],
)
def test_trivial_rewordings_are_the_same_request(one: str, other: str) -> None:
    assert signature(one) == signature(other)


def test_no_signature_of_an_older_rule_is_one_of_todays() -> None:
    for text in ("us policy", "one two", ""):
        for tokens in (text.split(), [text]):
            old = hashlib.blake2b("\x1f".join(tokens).encode(), digest_size=16).hexdigest()
            assert signature(text) != old


def test_texts_that_differ_only_far_behind_are_different_requests() -> None:
    boilerplate = "word " * 100_000

    assert signature(boilerplate + "yes") != signature(boilerplate + "no")
    assert signature(boilerplate + "yes") == signature(boilerplate.upper() + " YES\n")


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "?", "\ud800", "a\ud800b", "\x00\x1f", "\u202eabc", "İẞﬁ", "🙂👩\u200d👩\u200d👧"),
        *("e\u0301" * 9_000, "```" * 5_000, "n't " * 4_000, "one " * 4_000, "1," * 9_000, "'" * 9_000, "." * 9_000),
        *("x" * 1_000_000, "\ud800 " * 500_000),
    ],
    ids=lambda text: f"{text[:4]!a}x{len(text)}",
)
def test_every_text_has_a_signature(text: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", signature(text))
    assert signature(text) == signature(text)


DATA = Path(os.environ.get("RAR_DATA", ""))


@pytest.mark.skipif("RAR_DATA" not in os.environ, reason="set RAR_DATA to the folder of the recorded questions")
def test_at_most_one_in_a_hundred_real_twins_is_taken_for_the_same() -> None:
    rng = random.Random(0)
    twins = [_other_number(text, rng) for text in rng.sample(_gsm8k(), 250)]
    twins += [
        twin(row, rng) for row in rng.sample(_mmlu(), 84) for twin in (_negated, _words_swapped, _options_swapped)
    ]
    differing = [(one, other) for one, other in twins if " ".join(one.split()) != " ".join(other.split())]

    confused = [pair for pair in differing if signature(pair[0]) == signature(pair[1])]

    assert len(differing) > 490
    assert len(confused) <= len(differing) // 100, confused


def _rows(name: str) -> list[dict[str, str]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _gsm8k() -> list[str]:
    return [row["question"] for row in _rows("gsm8k_mixtral_gpt4.csv.gz") if re.search(r"\d", row["question"])]


def _mmlu() -> list[dict[str, str]]:
    return [row for row in _rows("mmlu_mixtral_gpt4.csv.gz") if len(row["question"].split()) > 3]


def _multiple_choice(row: dict[str, str]) -> str:
    return f"{row['question']}\n" + "\n".join(f"{letter}. {row[letter]}" for letter in "ABCD")


def _other_number(text: str, rng: random.Random) -> tuple[str, str]:
    number = rng.choice(list(re.finditer(r"\d+", text)))
    return text, f"{text[: number.start()]}{int(number[0]) + rng.randint(1, 9)}{text[number.end() :]}"


def _negated(row: dict[str, str], rng: random.Random) -> tuple[str, str]:
    question = re.sub(r"\b(is|are|was|does|can|has)\b", r"\1 not", row["question"], count=1)
    negated = question if question != row["question"] else f"It is not so: {question}"
    return _multiple_choice(row), _multiple_choice(row | {"question": negated})


def _words_swapped(row: dict[str, str], rng: random.Random) -> tuple[str, str]:
    words = row["question"].split()
    first, second = rng.sample(range(len(words)), 2)
    words[first], words[second] = words[second], words[first]
    return _multiple_choice(row), _multiple_choice(row | {"question": " ".join(words)})


def _options_swapped(row: dict[str, str], rng: random.Random) -> tuple[str, str]:
    first, second = rng.sample("ABCD", 2)
    return _multiple_choice(row), _multiple_choice(row | {first: row[second], second: row[first]})
