"""Samplings: what may be asked for, what models are known to refuse, and how long a call may take."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from rar import Call, FunctionModel, Reply, Sampling, ask_all
from rar.drive import adrive, drive
from rar.errors import ConfigurationError, ModelTimeoutError
from rar.sampling import accepted
from rar.strategy import Outcome, Steps, ask
from rar.values import Failure, question

QUESTION = question("Heads or tails?")


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1}, {"temperature": 2.1}, {"temperature": "0.7"}, {"temperature": float("nan")},
        {"max_tokens": 0}, {"max_tokens": 1.5}, {"seed": 0.5}, {"logprobs": 1}, {"timeout": 0}, {"temprature": 1.0},
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_settings_are_what_was_asked_for() -> None:
    assert Sampling().settings == {}
    assert Sampling(temperature=0.0, seed=0, logprobs=True).settings == {
        "temperature": 0.0,
        "seed": 0,
        "logprobs": True,
    }


@pytest.mark.parametrize(
    "model", ["o1", "o3-mini", "gpt-5", "openai/gpt-5.1-mini", "claude-fable-5", "gemini-3.6-flash"]
)
def test_a_model_that_samples_in_its_own_way_is_asked_for_no_temperature(model: str) -> None:
    asked = Sampling(temperature=0.7, max_tokens=5, seed=1, logprobs=True, timeout=9.0)

    assert accepted(asked, model) == Sampling(max_tokens=5, seed=1, timeout=9.0)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-5-chat-latest", "claude-sonnet-4-5", "gemini-3.5-flash", "qwen2.5", ""]
)
def test_others_are_asked_for_all(model: str) -> None:
    assert accepted(Sampling(temperature=0.7, logprobs=True), model) == Sampling(temperature=0.7, logprobs=True)


def test_a_model_that_thinks_takes_no_temperature_and_needs_room_for_its_thoughts() -> None:
    asked, thinking = Sampling(temperature=0.7, max_tokens=500), {"type": "enabled", "budget_tokens": 400}

    assert accepted(asked, "claude-sonnet-4-5", thinking) == Sampling(max_tokens=500)
    assert accepted(asked, "claude-sonnet-4-5", {**thinking, "budget_tokens": 2_000}) == Sampling()
    assert accepted(asked, "claude-sonnet-4-5", {"type": "disabled"}) == asked


def test_a_call_is_told_of_its_sampling() -> None:
    steps = ask("weak", QUESTION, sampling=Sampling(temperature=1.0))

    assert next(steps) == [Call("weak", QUESTION, purpose="draft", sampling=Sampling(temperature=1.0))]


def hurried() -> Steps[list[Outcome]]:
    return (yield from ask_all([Call("weak", QUESTION, sampling=Sampling(timeout=0.05)), Call("weak", QUESTION)]))


class Slow:
    id = "slow"

    def call(self, call: Call) -> Reply:
        time.sleep(0.2)
        return Reply("weak", "heads")

    async def acall(self, call: Call) -> Reply:
        await asyncio.sleep(0.2)
        return Reply("weak", "heads")


def test_a_call_that_takes_longer_than_it_may_has_failed() -> None:
    late, patient = drive(hurried(), {"weak": Slow()})

    assert isinstance(late, Failure)
    assert isinstance(late.error, ModelTimeoutError)
    assert isinstance(patient, Reply)


async def test_so_has_an_async_one() -> None:
    late, patient = await adrive(hurried(), {"weak": Slow()})

    assert isinstance(late, Failure)
    assert isinstance(late.error, ModelTimeoutError)
    assert isinstance(patient, Reply)


def test_functions_of_messages_have_no_settings() -> None:
    model = FunctionModel(lambda messages: "heads", "coin")

    assert model.call(Call("weak", QUESTION, sampling=Sampling(temperature=1.0))).text == "heads"
