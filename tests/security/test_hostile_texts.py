"""No text of a user or a model keeps the process busy: whatever looks at one takes time that grows with its length.

What is measured is the processor time of the thread, which other load on the machine does not lengthen.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import pytest

from rar import answers, sameness, texts
from rar.guide_form import MAX_CHARS, flaw_of_form, tidied
from rar.guide_scan import flaw_of_text
from rar.injection import render
from rar.keys import last_question, question_in_template
from rar.learning.guides import check_guide, parse_guide
from rar.learning.judges import AutoJudge, ExactJudge, JsonJudge, LetterJudge, NumberJudge
from rar.memory.identity import experience_id
from rar.values import Guide, Message, Reply, Request, question
from tests.contract.memory import EAST

SIZE = 100_000
LIMIT = 0.05 * SIZE / 10_000  # seconds: 50 ms for each 10 KB

UNITS = [
    "\n", " ", "\t", "\r\n", "\x0b", "\u2028", "\u3000", "?\n", ".", ". ", ".\n ", ": ", ":\n", "A. ", "A) ", "(A) ",
    "A.\n", " A.", "answer ", "answer: ", "answer is ", "answer =", "the answer is (", "option ", "choose ",
    "A** is ", "\\boxed{", "####", "#### \n", "```", "```json\n", "` ", "{", "[", '[["', '{"a":', "1,", "1,111",
    "1/", "1e9 ", "1 x 10^", "1 x ", "- ", "\u22121 ", "$ ", "\\frac{1}{", "1+1=", "9", "<think>", "</think>",
    "<thinking ", "<", "< ", "</ ", "<reference_notes ", "is ", "\nis ", "yes ", "no\n", "true or false ", "*", "_ ",
    "**\n", "\u0315\u0300", "\u0300", "e\u0301", "n't ", "can't", "one ", "twenty-", "hundred and ", "thousand ", "'",
    '"', "\u201c", "Question: ", "Context: ", "Question:\nContext:\n", "question:", "<context>", "</context>",
    "{question} ", "aB", "\\", "&#x41;", "ignore all ", "you are now ", "step 1, ", "http", "a@", "\u202e", "\x00",
    "\U0001f600", "\u4e2d", "\ufb01", "\ud800", "here is: ", "sure\n", "Observation: ", "Thought:", "yes, ",
]  # fmt: skip
SHAPES: dict[str, Callable[[str], str]] = {
    "bare": lambda text: text,
    "framed": lambda text: f"Is this it? A. yes 1{text}B. no answer: x",
    "just below the cap": lambda text: text[: texts.LOOKED_AT - 100],
}


def hostile(unit: str) -> str:
    return (unit * (SIZE // len(unit) + 1))[:SIZE]


def asked(text: str) -> Request:
    return Request((Message("user", text), Message("assistant", text), Message("user", text)), key=text)


ASKED = question("What is 6 x 7? A. 42 B. 43")
JUDGES = (AutoJudge(), ExactJudge(), JsonJudge(), LetterJudge(), NumberJudge())


def judged(request: Request, reference: str, candidate: str) -> None:
    for judge in JUDGES:
        with pytest.raises(StopIteration):
            next(judge.steps(request, Reply("strong", reference), Reply("weak", candidate)))


def guided(text: str) -> None:
    check_guide(parse_guide(text), ASKED, Reply("strong", "42"))
    check_guide("1. Multiply the first by the second.", asked(text), Reply("strong", text))


def scanned(text: str) -> None:
    tidied(text)
    flaw_of_form(text[:MAX_CHARS])
    flaw_of_text(text[:MAX_CHARS])


def shown(text: str) -> None:
    render(Guide("g", "default", "answer", text, EAST, "large", "e"))


LOOKS: dict[str, Callable[[str], Any]] = {
    "options": answers.find_options,
    "letter": lambda text: answers.find_letter(text, {"A": "yes", "B": "no"}),
    "number": answers.find_number,
    "json": answers.find_json,
    "thinking": answers.without_thinking,
    "twins": lambda text: answers.are_twins(text, f"{text} not"),
    "judged answer": lambda text: judged(ASKED, "42", text),
    "judged reference": lambda text: judged(ASKED, text, "42"),
    "judged polar question": lambda text: judged(asked(text), "Yes, it certainly is, for many good reasons.", "No."),
    "signature": sameness.signature,
    "identity": lambda text: experience_id(b"secret", "default", "answer", text),
    "normal form": texts.normalized,
    "guide": guided,
    "guide that is as long as one may be": scanned,
    "shown guide": shown,
    "key": lambda text: last_question(asked(text).messages),
    "template": question_in_template,
}


def taken(look: Callable[[str], Any], text: str) -> float:
    """Seconds of this thread's processor time, without those of the garbage of other tests."""
    gc.disable()
    try:
        began = time.thread_time()
        look(text)
        return time.thread_time() - began
    finally:
        gc.enable()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_time_grows_with_the_length_of_a_text_and_no_faster(
    look: Callable[[str], Any], shape: Callable[[str], str]
) -> None:
    look("Is water wet?")  # what is loaded or compiled once
    slow = {}
    for unit in UNITS:
        text = shape(hostile(unit))
        limit = max(LIMIT * len(text) / SIZE, 0.05)
        if (seconds := taken(look, text)) > limit and (seconds := taken(look, text)) > limit:  # twice is no accident
            slow[unit] = round(seconds, 2)

    assert slow == {}


def test_there_are_enough_families() -> None:
    assert len(set(UNITS)) >= 60


def test_a_clipped_text_keeps_its_start_and_its_end() -> None:
    text = "start " + "x" * 50_000 + " end"

    assert texts.clipped(text, 1_000).startswith("start xxx") and texts.clipped(text, 1_000).endswith("xxx end")
    assert len(texts.clipped(text, 1_000)) == 1_001
    assert texts.clipped("short", 1_000) == "short"


def test_the_normal_form_is_unicodes_own_for_what_people_write() -> None:
    import unicodedata

    for text in ("cafe\u0301", "\u1e9b\u0323", "\ud55c\uae00", "a" + "\u0301" * 30, "\ufb01"):
        assert texts.normalized(text) == unicodedata.normalize("NFC", text)
        assert texts.normalized(text, "NFKC") == unicodedata.normalize("NFKC", text)


def test_texts_that_differ_in_the_last_of_many_marks_stay_apart() -> None:
    one, other = "a" + "\u0301" * 200, "a" + "\u0301" * 199 + "\u0300"

    assert texts.normalized(one) != texts.normalized(other)
