"""The drivers, and the strategies that need more than evidence."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rar import Router
from rar.drive import adrive, drive
from rar.embedding import HashingEmbedder
from rar.errors import ConfigurationError, NotFittedError, ScoreError, UnknownModelError
from rar.models import FunctionModel
from rar.routers import LengthRouter, StackedRouter
from rar.strategies import RAR, Cascade, Threshold
from rar.strategy import Outcome, Steps, as_strategy, ask, ask_all
from rar.values import Answer, Call, Failure, Reply, Request, Route, Vector, question
from tests.contract.learned_router import SEEN
from tests.core.world import pair

QUESTION = question("What is 2 + 3?")
MODELS = {
    "weak": FunctionModel(lambda messages: "four?", "small"),
    "strong": FunctionModel(lambda messages: "five", "big"),
    "down": FunctionModel(lambda messages: (_ for _ in ()).throw(ConnectionError("down")), "down"),
}


def both(request: Request) -> Steps[list[Outcome]]:
    return (yield from ask_all([Call("weak", request), Call("down", request), Call("strong", request)]))


def caught(request: Request) -> Steps[str]:
    try:
        yield from ask("down", request)
    except ConnectionError as error:
        return f"caught {error}"
    return "not raised"


async def test_both_drivers_give_the_outcomes_of_a_batch_in_order_with_failures_as_values() -> None:
    for outcomes in (drive(both(QUESTION), MODELS), await adrive(both(QUESTION), MODELS)):
        assert [type(outcome) for outcome in outcomes] == [Reply, Failure, Reply]
        assert [outcome.model for outcome in outcomes] == ["weak", "down", "strong"]


async def test_ask_raises_what_the_call_raised_where_the_steps_can_catch_it() -> None:
    assert drive(caught(QUESTION), MODELS) == "caught down"
    assert await adrive(caught(QUESTION), MODELS) == "caught down"


async def test_an_unknown_model_is_named_together_with_the_known_ones() -> None:
    with pytest.raises(UnknownModelError, match=r"'huge' was chosen, the router has \['down', 'strong', 'weak'\]"):
        drive(ask("huge", QUESTION), MODELS)
    with pytest.raises(UnknownModelError):
        await adrive(ask("huge", QUESTION), MODELS)


def test_a_batch_runs_at_once_and_sees_the_callers_context() -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")
    user.set("ada")
    barrier = threading.Barrier(2, timeout=10)

    def answer(messages: object) -> str:
        barrier.wait()  # both calls must be under way for either to go on
        return user.get()

    model = FunctionModel(answer, "m")
    outcomes = drive(ask_all([Call("a", QUESTION), Call("b", QUESTION)]), {"a": model, "b": model})

    assert [outcome.text for outcome in outcomes if isinstance(outcome, Reply)] == ["ada", "ada"]


async def test_an_async_batch_runs_at_once() -> None:
    inside = 0
    both_in = asyncio.Event()

    class Slow:
        id = "slow"

        def call(self, call: Call) -> Reply:
            raise AssertionError("the async driver must not call the sync port")

        async def acall(self, call: Call) -> Reply:
            nonlocal inside
            inside += 1
            if inside == 2:
                both_in.set()
            await asyncio.wait_for(both_in.wait(), 10)
            return Reply(call.model, "done")

    outcomes = await adrive(ask_all([Call("a", QUESTION), Call("b", QUESTION)]), {"a": Slow(), "b": Slow()})

    assert all(isinstance(outcome, Reply) for outcome in outcomes)


def test_steps_are_closed_when_the_driver_fails() -> None:
    closed = []

    def steps() -> Steps[None]:
        try:
            yield [Call("huge", QUESTION)]
        finally:
            closed.append(True)

    with pytest.raises(UnknownModelError):
        drive(steps(), MODELS)

    assert closed == [True]


def test_a_cascade_keeps_an_accepted_draft() -> None:
    choice = drive(Cascade(accept=lambda request, draft: True).steps(QUESTION), MODELS)

    assert isinstance(choice, Answer)
    assert choice.reply.text == "four?"


def test_a_cascade_routes_to_the_last_model_when_no_draft_is_accepted() -> None:
    steps = Cascade(accept=lambda request, draft: 0.2).steps(QUESTION)

    assert next(steps) == [Call("weak", QUESTION)]
    with pytest.raises(StopIteration) as stop:
        steps.send([Reply("weak", "5")])
    assert stop.value.value == Route("strong", reason="drafts_rejected")


def test_a_cascade_passes_over_drafters_that_fail_or_say_nothing() -> None:
    cascade = Cascade(accept=lambda request, draft: True, models=["down", "mute", "strong"])
    models = {**MODELS, "mute": FunctionModel(lambda messages: " ", "mute")}

    assert drive(cascade.steps(QUESTION), models) == Route("strong", reason="drafts_rejected")


def test_a_cascade_can_ask_a_model_whether_a_draft_is_good() -> None:
    def accept(request: Request, draft: Reply) -> Steps[float]:
        opinion = yield from ask("strong", request, purpose="judge")
        return opinion.text == "five"

    choice = drive(Cascade(accept=accept).steps(QUESTION), MODELS)

    assert isinstance(choice, Answer)


def test_a_cascade_of_one_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least two"):
        Cascade(accept=lambda request, draft: True, models=["weak"])


class Fixed:
    def __init__(self, score: float) -> None:
        self._score = score

    def score(self, texts: list[str]) -> npt.NDArray[np.float64]:
        return np.full(len(texts), self._score)


@pytest.mark.parametrize(("score", "model"), [(0.49, "weak"), (0.5, "strong"), (float("nan"), "strong")])
def test_a_threshold_sends_likely_hard_requests_to_the_strong_model(score: float, model: str) -> None:
    choice = drive(Threshold(Fixed(score)).steps(QUESTION), MODELS)  # type: ignore[arg-type]

    assert isinstance(choice, Route)
    assert choice.model == model


def test_a_threshold_outside_its_range_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="threshold"):
        Threshold(Fixed(0.5), 1.5)  # type: ignore[arg-type]


def test_a_threshold_takes_a_plain_function() -> None:
    strategy = Threshold(lambda text: 0.9 if "6" in text else 0.1)

    assert drive(strategy.steps(question("What is 6 x 7?")), MODELS).model == "strong"
    assert drive(strategy.steps(question("Good morning")), MODELS).model == "weak"


@pytest.mark.parametrize("nothing", [None, "length", 0.5, LengthRouter])
def test_a_threshold_refuses_what_has_no_score(nothing: Any) -> None:
    with pytest.raises(ConfigurationError, match="router="):
        Threshold(nothing)


def test_a_router_that_was_not_fitted_is_refused_before_it_is_asked() -> None:
    with pytest.raises(NotFittedError, match="LengthRouter"):
        Threshold(LengthRouter())
    with pytest.raises(NotFittedError, match="LengthRouter"):
        Router(memory=None, static_router=LengthRouter())


def test_a_score_that_is_no_number_leaves_the_strong_model_and_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(HashingEmbedder):
        def embed(self, texts: Sequence[str]) -> Vector:
            return np.full((len(texts), self.dim), np.nan, np.float32)

    fitted = StackedRouter(embedder="hashing", landmarks=5).fit(SEEN)
    fitted.embedder = Broken()
    with pytest.raises(ScoreError, match="StackedRouter.* scored text 0"):
        fitted.score(["tea"])
    for router in (fitted, lambda text: float("nan")):
        caplog.clear()
        with Router(memory=None, strategy=Threshold(router, 1.0)) as engine:
            assert engine.decide(question("tea"), pair()).model == "strong"
        assert "ScoreError" in caplog.text


def test_a_plain_function_is_lifted_to_a_strategy() -> None:
    assert drive(as_strategy(lambda request: "weak").steps(QUESTION), MODELS) == Route("weak", reason="function")
    assert drive(as_strategy(lambda request: Route("strong")).steps(QUESTION), MODELS) == Route("strong")


def test_rar_without_evidence_asks_nobody_and_routes_to_strong() -> None:
    assert drive(RAR().steps(QUESTION), {}) == Route("strong", reason="no_evidence")
