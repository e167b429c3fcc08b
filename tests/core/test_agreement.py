"""Agreement of different drafts: when it is accepted, and what happens when it is not."""

from __future__ import annotations

from typing import Any

import pytest

from rar import Answer, Call, Reply, Route
from rar.errors import ConfigurationError, UnknownNameError
from rar.strategies import AgreementCascade
from rar.strategy import Outcome
from rar.values import Choice, Failure, Message, Request, question

ASKED = question("How much is 2 plus 3?")
PAIR = AgreementCascade(["weak", "coder"])


def decided(strategy: AgreementCascade, *said: str | None) -> Choice:
    """What is decided when each drafter says this; None: it fails."""
    steps = strategy.steps(ASKED)
    calls = next(steps)
    outcomes: list[Outcome] = [
        Failure(call.model, OSError("down")) if text is None else Reply(call.model, text)
        for call, text in zip(calls, said, strict=True)
    ]
    with pytest.raises(StopIteration) as stop:
        steps.send(outcomes)
    choice: Choice = stop.value.value
    return choice


def test_all_drafts_are_asked_for_at_the_same_time() -> None:
    assert next(PAIR.steps(ASKED)) == [Call("weak", ASKED), Call("coder", ASKED)]


def test_the_first_of_two_that_agree_answers() -> None:
    assert decided(PAIR, "It is 5.", "2 + 3 = 5") == Answer(Reply("weak", "It is 5."), "drafts_agree")


def test_the_dearer_model_is_routed_to_where_they_differ() -> None:
    assert decided(PAIR, "It is 5.", "It is 6.") == Route("strong", reason="drafts_differ")
    assert decided(AgreementCascade(["a", "b"], "expert"), "4", "5") == Route("expert", reason="drafts_differ")


@pytest.mark.parametrize(("said", "reason"), [
    (("5", None), "drafts_differ"), (("", "5"), "drafts_differ"),
    (("", ""), "drafts_failed"), ((None, None), "drafts_failed"),
])  # fmt: skip
def test_a_draft_that_failed_or_is_empty_agrees_with_none(said: tuple[str | None, ...], reason: str) -> None:
    assert decided(PAIR, *said) == Route("strong", reason=reason)


def test_of_more_drafts_any_two_may_agree() -> None:
    found = decided(AgreementCascade(["weak", "coder", "third"]), "4", "5", "It is 5.")

    assert isinstance(found, Answer) and found.reply.model == "coder"


def test_a_judge_that_cannot_tell_is_asked_the_other_way_round() -> None:
    asked: list[tuple[str, str]] = []

    def judge(request: Request, reference: Reply, candidate: Reply) -> bool | None:
        asked.append((reference.model, candidate.model))
        return None if len(asked) == 1 else True

    assert isinstance(decided(AgreementCascade(["weak", "coder"], judge=judge), "one", "two"), Answer)
    assert asked == [("weak", "coder"), ("coder", "weak")]


def test_one_model_may_take_part_with_other_instructions() -> None:
    twice = AgreementCascade(["weak", ("weak", "Write a program.")])
    request = Request((Message("system", "Be brief."), Message("user", "2+3?"), Message("assistant", "Well")))
    plain, told = next(twice.steps(request))

    assert plain.messages is None
    assert told.messages is not None and [m.text + m.suffix for m in told.messages] == [
        "Be brief.", "2+3?\n\nWrite a program.", "Well",
    ]  # fmt: skip
    assert list(twice.models) == ["weak", "strong"]


@pytest.mark.parametrize("drafters", [["weak"], ["weak", "weak"], [], "weak", [("weak",), "coder"], [1, 2]])
def test_drafters_that_cannot_differ_are_refused(drafters: Any) -> None:
    with pytest.raises(ConfigurationError, match="drafters="):
        AgreementCascade(drafters)


def test_an_unknown_judge_is_refused_when_it_is_made() -> None:
    with pytest.raises(UnknownNameError, match="haiku"):
        AgreementCascade(["weak", "coder"], judge="haiku")
