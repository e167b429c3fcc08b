"""How replies end and how sure their models were, in the words and shapes of many providers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rar.drive import adrive, drive
from rar.endings import finish_of, logprobs_of
from rar.models import FunctionModel
from rar.strategy import Outcome, Steps, ask_all
from rar.tokens import counted, reported
from rar.values import Call, Failure, Reply, Usage, question

QUESTION = question("Heads or tails?")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"finish_reason": "stop"}, "stop"),  # OpenAI
        ({"finish_reason": "length"}, "length"),
        ({"finish_reason": "tool_calls"}, "tool_calls"),
        ({"finish_reason": "content_filter"}, "content_filter"),
        ({"status": "incomplete"}, "length"),  # OpenAI's responses
        ({"stop_reason": "end_turn"}, "stop"),  # Anthropic
        ({"stop_reason": "tool_use"}, "tool_calls"),
        ({"stop_reason": "max_tokens"}, "length"),
        ({"stop_reason": "refusal"}, "content_filter"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),  # Google
        ({"finish_reason": SimpleNamespace(name="SAFETY")}, "content_filter"),
        ({"finish_reason": "FinishReason.STOP"}, "stop"),
        ({"done_reason": "stop"}, "stop"),  # Ollama
        ({"finish_reason": "what nobody knows"}, ""),
        ({}, ""),
        (None, ""),
        (SimpleNamespace(finish_reason=None, stop_reason="stop_sequence"), "stop"),
    ],
)
def test_ends_are_told_in_one_word(said: Any, meant: str) -> None:
    assert finish_of((None, said)) == meant


def test_a_stop_with_a_tool_call_is_a_tool_call() -> None:
    assert finish_of([{"finish_reason": "STOP"}], called=True) == "tool_calls"
    assert finish_of([{"finish_reason": "length"}], called=True) == "length"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"content": [{"token": "Hi", "logprob": -0.1, "top_logprobs": []}]}, (("Hi", -0.1),)),  # OpenAI
        (SimpleNamespace(content=[SimpleNamespace(token="Hi", logprob=-1)]), (("Hi", -1.0),)),
        ([{"token": "Hi", "logprob": -0.1}], (("Hi", -0.1),)),  # Ollama
        ({"tokens": ["Hi", "!"], "token_logprobs": [None, -0.5]}, (("!", -0.5),)),  # completions
        ({"content": None}, None),
        ({"content": []}, None),
        (None, None),
        ("nonsense", None),
    ],
)
def test_log_probabilities_are_pairs(said: Any, expected: Any) -> None:
    assert logprobs_of(said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {
                "prompt_tokens": 100, "completion_tokens": 50, "prompt_tokens_details": {"cached_tokens": 60},
                "completion_tokens_details": {"reasoning_tokens": 40},
            },
            Usage(100, 50, cached_tokens=60, reasoning_tokens=40),
        ),
        (
            SimpleNamespace(
                input_tokens=100, output_tokens=50, input_tokens_details=SimpleNamespace(cached_tokens=60),
                output_tokens_details=SimpleNamespace(reasoning_tokens=40),
            ),
            Usage(100, 50, cached_tokens=60, reasoning_tokens=40),
        ),
        (
            {
                "input_tokens": 100, "output_tokens": 50, "output_token_details": {"reasoning": 40},
                "input_token_details": {"cache_read": 60, "cache_creation": 9},
            },
            Usage(100, 50, cached_tokens=60, reasoning_tokens=40),
        ),
        (  # Anthropic counts what its cache holds beside the rest
            {
                "input_tokens": 30, "output_tokens": 50,
                "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10,
            },
            Usage(100, 50, cached_tokens=60),
        ),
        (  # and Google what its model thinks
            {
                "prompt_token_count": 100, "candidates_token_count": 10, "thoughts_token_count": 40,
                "cached_content_token_count": 60,
            },
            Usage(100, 50, cached_tokens=60, reasoning_tokens=40),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 6}, Usage(9, 5, cached_tokens=6)),
        (
            {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 60}},
            Usage(5, 5, cached_tokens=5),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": None}, Usage(5, 5)),
    ],
)  # fmt: skip
def test_cached_and_reasoning_tokens_are_counted_apart_and_within(said: Any, expected: Usage) -> None:
    assert reported([said]) == expected


def test_they_add_up_and_outlive_an_estimate() -> None:
    one = Usage(10, 0, cached_tokens=4, reasoning_tokens=0)

    assert one + Usage(1, 5, cached_tokens=1, reasoning_tokens=3) == Usage(11, 5, False, 5, 3)
    assert counted(Call("weak", QUESTION), Reply("weak", "tails", usage=one)) == Usage(10, 2, True, 4)


def both() -> Steps[list[Outcome]]:
    return (yield from ask_all([Call("weak", QUESTION), Call("down", QUESTION)]))


MODELS = {
    "weak": FunctionModel(lambda messages: "heads", "coin"),
    "down": FunctionModel(lambda messages: (_ for _ in ()).throw(ConnectionError("down")), "down"),
}


async def test_drivers_measure_each_call() -> None:
    for reply, failure in (drive(both(), MODELS), await adrive(both(), MODELS)):
        assert isinstance(reply, Reply)
        assert isinstance(failure, Failure)
        assert 0.0 <= (reply.seconds or -1.0) < 60.0
        assert 0.0 <= (failure.seconds or -1.0) < 60.0


def test_what_a_recording_says_it_took_stays() -> None:
    recorded = FunctionModel(lambda messages: Reply("weak", "heads", seconds=12.5), "coin")

    reply, _ = drive(both(), {**MODELS, "weak": recorded})

    assert reply.seconds == 12.5
