"""The codes in plain words: complete, with numbers that agree, and without a word of anybody's text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rar
from rar.facts import read_facts
from rar.values import STRONG, WEAK, Decision, Route, question
from rar.words import NOT_LEARNED, REASONS, bar, cost, in_words, lesson, why

SOURCES = sorted(Path(rar.__file__).parent.rglob("*.py"))


def test_every_reason_that_the_engine_gives_has_words() -> None:
    text = "\n".join(file.read_text("utf-8") for file in SOURCES)
    given = set(re.findall(r'reason="(\w+)"', text))
    given |= set(re.findall(r'(?:Route|Answer)\([^()\n]*?"((?!weak|strong)\w+)"', text))

    assert {"no_evidence", "likely_weak", "below_threshold", "draft_accepted", "sticky"} <= given
    assert given - set(REASONS) == set()


@pytest.mark.parametrize("model", [WEAK, STRONG, "coder"])
@pytest.mark.parametrize("reason", [*REASONS, "weak_failed", "coder_failed", "told", ""])
def test_every_reason_is_one_sentence_with_and_without_numbers(reason: str, model: str) -> None:
    for numbers in ({}, {"confidence": -0.2, "needed": 1.3, "similarity": 0.5}, {"confidence": 0.9}):
        sentence = why(reason, model, **numbers)

        assert re.fullmatch(r"[A-Z][^{}]*[^.]\.", sentence), sentence
        assert "None" not in sentence
        assert "-" not in re.sub(r"\w-\w", "", sentence)  # nobody expects less than nothing


def test_a_guess_tells_what_was_expected_and_what_was_asked_for() -> None:
    assert why("likely_weak", WEAK, confidence=0.96, needed=0.95) == (
        "Similar questions went well with the weak model: at least 96 % of the strong model's quality is expected, "
        "and 95 % is needed."
    )
    assert "84.6 % of" in why("below_threshold", STRONG, confidence=0.8462, needed=0.8514)
    assert "85.1 % is needed" in why("below_threshold", STRONG, confidence=0.8462, needed=0.8514)


def test_a_check_and_another_wording_are_said() -> None:
    assert why("memory_weak", WEAK, similarity=1.0, audited=True).endswith("checked against the strong model.")
    assert "similarity 0.97" in why("memory_weak", WEAK, similarity=0.97)


def test_what_people_graded_is_said_where_it_corrects_a_guess() -> None:
    stored = {"reason": "likely_weak", "model": "weak", "learned_gap": 0.12, "corrected_gap": 0.07, "labels": 200}

    said = in_words(read_facts(stored))
    assert (
        "By the judge's word 12 % of the quality would be lost; by 200 answers that people graded, that is 7 %." in said
    )
    assert not any("graded" in one for one in in_words(read_facts({**stored, "reason": "memory_weak"})))
    assert not any("graded" in one for one in in_words(read_facts({**stored, "corrected_gap": None})))


def test_a_decision_says_why() -> None:
    route = Route(WEAK, reason="likely_weak", confidence=0.9, needed=0.85)

    assert Decision("d", question("How tall is Ada?"), route, 0.0).as_dict()["why"] == why(
        "likely_weak", WEAK, confidence=0.9, needed=0.85
    )


def test_confidence_threshold_and_floor_are_related() -> None:
    sentence = bar(0.91, 0.85, 0.95)

    for number in ("0.910", "0.850", "95 %"):
        assert number in sentence
    assert bar(None, None, 0.95) == ""


def test_the_cost_is_told_with_what_the_strong_model_would_have_cost() -> None:
    stored = {
        "model": WEAK, "usd": 0.001, "strong_usd": 0.02, "input_tokens": 1_200, "output_tokens": 30, "estimated": True,
    }  # fmt: skip

    assert cost(read_facts(stored)) == (
        "It cost 0.001000 USD; the strong model would have cost 0.020000 USD "
        "(1,200 tokens in, 30 out, estimated from the text)."
    )
    assert "would" not in cost(read_facts({**stored, "model": STRONG}))
    assert "unknown" in cost(read_facts({**stored, "usd": None}))
    assert "reported by the provider" in cost(read_facts({**stored, "estimated": False}))
    assert cost(read_facts({})) == ""


def test_every_code_is_told() -> None:
    for code, words in NOT_LEARNED.items():
        assert lesson(read_facts({"not_learned": code})) == f"Nothing was learned from it: {words}."
    assert lesson(read_facts({})) == ""
    assert "of_a_newer_version" in lesson(read_facts({"not_learned": "of_a_newer_version"}))


def test_decisions_of_an_older_version_can_be_told_too() -> None:
    stored = {"reason": "below_threshold", "model": STRONG, "confidence": 0.6, "similarity": 0.7, "threshold": 0.8}

    assert in_words(read_facts(stored)) == [
        why("below_threshold", STRONG, confidence=0.6, needed=0.8),
        bar(0.6, 0.8, None),
    ]
