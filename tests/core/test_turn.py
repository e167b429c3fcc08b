"""One turn: which attempt is kept, what a stream holds back, and what is no failure. Sync and async share the body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rar import Router
from rar.errors import EmptyReplyError
from rar.turn import Turn
from rar.values import question
from tests.core.world import pair


class Pause(Exception):  # noqa: N818 - no error
    pass


def turn_to(model: str, **options: Any) -> Turn:
    router = Router(memory=None, strategy=lambda _: model, **options)
    return Turn(router, router.decide(question("Which colour?"), pair()), passes=lambda error: isinstance(error, Pause))


def whole(turn: Turn, answers: dict[str, Any]) -> Any:
    for attempt in turn:
        with attempt:
            answer = answers[attempt.decision.model]
            if isinstance(answer, Exception):
                raise answer
            attempt.refuse(None if answer else EmptyReplyError(attempt.decision.model))
    return answer


def streamed(turn: Turn, answers: dict[str, list[Any]]) -> Iterator[Any]:
    for attempt in turn:
        with attempt:
            for chunk in answers[attempt.decision.model]:
                if isinstance(chunk, Exception):
                    raise chunk
                yield from attempt.admit(chunk, bool(chunk))
            yield from attempt.rest(EmptyReplyError(attempt.decision.model))


@pytest.mark.parametrize("trouble", ["", ConnectionError("down")])
def test_the_next_model_answers_for_one_that_failed_or_said_nothing(trouble: Any) -> None:
    turn = turn_to("weak")

    assert whole(turn, {"weak": trouble, "strong": "red"}) == "red"
    assert (turn.decision.model, [failure.model for failure in turn.decision.failed]) == ("strong", ["weak"])


def test_the_first_answer_that_will_do_ends_the_turn() -> None:
    turn = turn_to("weak")

    assert whole(turn, {"weak": "red", "strong": AssertionError("was asked")}) == "red"
    assert turn.decision.model == "weak"


def test_what_nobody_can_better_is_kept() -> None:
    assert whole(turn_to("strong"), {"strong": ""}) == ""
    assert whole(turn_to("weak"), {"weak": "", "strong": ""}) == ""


def test_the_last_error_is_the_callers() -> None:
    with pytest.raises(TimeoutError, match="slow"):
        whole(turn_to("weak"), {"weak": ConnectionError("down"), "strong": TimeoutError("slow")})


@pytest.mark.parametrize("error", [Pause("wait"), KeyboardInterrupt(), GeneratorExit()])
def test_what_is_no_failure_goes_to_the_caller_at_once(error: BaseException) -> None:
    attempt = next(iter(turn_to("weak")))

    with pytest.raises(type(error)), attempt:
        raise error


def test_a_stream_is_held_back_until_it_says_something() -> None:
    turn = turn_to("weak")
    passed = []
    for attempt in turn:
        with attempt:
            passed = [attempt.admit(chunk, bool(chunk)) for chunk in ("", "", "red", "", "dish")]

    assert passed == [[], [], ["", "", "red"], [""], ["dish"]]


@pytest.mark.parametrize("weak", [["", ""], [], ["", ConnectionError("down")], [ConnectionError("down")]])
def test_a_stream_without_content_is_replaced_and_nothing_of_it_was_passed_on(weak: list[Any]) -> None:
    assert list(streamed(turn_to("weak"), {"weak": weak, "strong": ["", "red"]})) == ["", "red"]


def test_a_stream_that_breaks_after_its_first_content_is_not_replaced() -> None:
    stream = streamed(turn_to("weak"), {"weak": ["re", ConnectionError("down")], "strong": ["red"]})

    assert next(stream) == "re"
    with pytest.raises(ConnectionError, match="down"):
        next(stream)


def test_what_nobody_could_take_over_is_passed_on_as_it_comes() -> None:
    turn = turn_to("strong")
    attempt = next(iter(turn))

    with attempt:
        assert attempt.admit("", solid=False) == [""]


def test_the_weak_model_stands_in_for_the_strong_one_only_where_that_was_asked_for() -> None:
    answers = {"weak": "red", "strong": ConnectionError("down")}

    assert whole(turn_to("strong", degrade=True), answers) == "red"
    with pytest.raises(ConnectionError, match="down"):
        whole(turn_to("strong"), answers)
