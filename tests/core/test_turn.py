"""One turn: which attempt is kept, what a stream holds back, and what is no failure. The same, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from rar import Router
from rar.turn import OPENED, Attempt, Target, Turn
from rar.values import question
from tests.core.world import pair


class Pause(Exception):  # noqa: N818 - no error
    pass


def turn_to(model: str, **options: Any) -> Turn:
    router = Router(memory=None, strategy=lambda _: model, **options)
    return Turn(router, router.decide(question("Which colour?"), pair()), passes=lambda error: isinstance(error, Pause))


class Scripted(Target):
    """Gives what stands under its model's name; an exception is raised."""

    def __init__(self, answers: dict[str, Any], attempt: Attempt) -> None:
        super().__init__(attempt)
        self.answer = answers[attempt.decision.model]

    def call(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def chunks(self) -> Iterator[Any]:
        for chunk in self.answer:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def achunks(self) -> AsyncIterator[Any]:
        return self._aread()

    async def _aread(self) -> AsyncIterator[Any]:
        for chunk in self.chunks():
            yield chunk


@pytest.fixture(params=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return request.param == "async"


class TestTurn:
    @pytest.fixture(autouse=True)
    def _mode(self, is_async: bool) -> None:
        self.is_async = is_async

    def whole(self, turn: Turn, answers: dict[str, Any]) -> Any:
        make = partial(Scripted, answers)
        return asyncio.run(turn.awhole(make)) if self.is_async else turn.whole(make)

    def streamed(self, turn: Turn, answers: dict[str, Any], passed: list[Any] | None = None, **how: Any) -> list[Any]:
        passed = [] if passed is None else passed

        async def read() -> None:
            async for chunk in turn.astream(partial(Scripted, answers), **how):
                passed.append(chunk)

        if self.is_async:
            asyncio.run(read())
        else:
            for chunk in turn.stream(partial(Scripted, answers), **how):
                passed.append(chunk)
        return passed

    @pytest.mark.parametrize("trouble", ["", ConnectionError("down")])
    def test_the_next_model_answers_for_one_that_failed_or_said_nothing(self, trouble: Any) -> None:
        turn = turn_to("weak")

        assert self.whole(turn, {"weak": trouble, "strong": "red"}) == "red"
        assert (turn.decision.model, [failure.model for failure in turn.decision.failed]) == ("strong", ["weak"])
        assert turn.target.answer == "red"

    def test_the_first_answer_that_will_do_ends_the_turn(self) -> None:
        turn = turn_to("weak")

        assert self.whole(turn, {"weak": "red", "strong": AssertionError("was asked")}) == "red"
        assert turn.decision.model == "weak"

    def test_what_nobody_can_better_is_kept(self) -> None:
        assert self.whole(turn_to("strong"), {"strong": ""}) == ""
        assert self.whole(turn_to("weak"), {"weak": "", "strong": ""}) == ""

    def test_the_last_error_is_the_callers(self) -> None:
        with pytest.raises(TimeoutError, match="slow"):
            self.whole(turn_to("weak"), {"weak": ConnectionError("down"), "strong": TimeoutError("slow")})

    def test_a_model_that_cannot_be_made_ready_has_failed(self) -> None:
        assert self.whole(turn_to("weak", degrade=True), {"strong": "red"}) == "red"

    def test_what_is_no_failure_of_a_model_goes_to_the_caller(self) -> None:
        with pytest.raises(Pause):
            self.whole(turn_to("weak"), {"weak": Pause("wait"), "strong": "red"})

    def test_a_stream_is_held_back_until_it_says_something(self) -> None:
        chunks = ["", "", "red", "", "dish"]

        assert self.streamed(turn_to("weak"), {"weak": chunks}) == chunks

    @pytest.mark.parametrize("weak", [["", ""], [], ["", ConnectionError("down")], [ConnectionError("down")]])
    def test_a_stream_without_content_is_replaced_and_nothing_of_it_was_passed_on(self, weak: list[Any]) -> None:
        assert self.streamed(turn_to("weak"), {"weak": weak, "strong": ["", "red"]}) == ["", "red"]

    def test_a_stream_that_breaks_after_its_first_content_is_not_replaced(self) -> None:
        passed: list[Any] = []
        with pytest.raises(ConnectionError, match="down"):
            self.streamed(turn_to("weak"), {"weak": ["re", ConnectionError("down")], "strong": ["red"]}, passed)

        assert passed == ["re"]

    def test_a_stream_says_once_that_it_is_open(self) -> None:
        answers = {"weak": ["", ""], "strong": ["red"]}

        assert self.streamed(turn_to("weak"), answers, opened=True) == [OPENED, "red"]

    def test_the_weak_model_stands_in_for_the_strong_one_only_where_that_was_asked_for(self) -> None:
        answers = {"weak": "red", "strong": ConnectionError("down")}

        assert self.whole(turn_to("strong", degrade=True), answers) == "red"
        with pytest.raises(ConnectionError, match="down"):
            self.whole(turn_to("strong"), answers)


@pytest.mark.parametrize("error", [Pause("wait"), KeyboardInterrupt(), GeneratorExit()])
def test_what_is_no_failure_goes_to_the_caller_at_once(error: BaseException) -> None:
    attempt = next(iter(turn_to("weak")))

    with pytest.raises(type(error)), attempt:
        raise error


def test_chunks_are_passed_on_as_soon_as_one_says_something() -> None:
    passed = []
    for attempt in turn_to("weak"):
        with attempt:
            passed = [attempt.admit(chunk, bool(chunk)) for chunk in ("", "", "red", "", "dish")]

    assert passed == [[], [], ["", "", "red"], [""], ["dish"]]


def test_what_nobody_could_take_over_is_passed_on_as_it_comes() -> None:
    with next(iter(turn_to("strong"))) as attempt:
        assert attempt.admit("", solid=False) == [""]
