"""Limits and ceilings in LlamaIndex: in every mode, by constructor, by call and by conversation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms.llm import LLM

from llama_index_rar import RouterLLM
from rar import Ceiling, Limits, Usage
from rar.errors import BudgetExceededError, OverrideError
from tests.fake_openai import FakeOpenAI
from tests.llama_index.test_trouble import Mode, asked_of, every_mode, every_text

PRICES = {"weak": (0.0, 0.0), "strong": (0.0, 1_000.0)}  # an answer of seven tokens costs 0.007 USD
LITTLE = Limits(usd=0.001)
MakeLLM = Callable[..., LLM]


def routed(openai: MakeLLM, **options: Any) -> RouterLLM:
    usual: dict[str, Any] = {"memory": None, "strategy": lambda _: "strong", "prices": PRICES}
    return RouterLLM(openai("small"), openai("large"), **{**usual, **options})


@every_text
async def test_a_cheaper_model_answers_what_would_go_over_a_limit(
    mode: Mode, openai: MakeLLM, fake_openai: FakeOpenAI
) -> None:
    answer = await mode(routed(openai, limits=LITTLE))

    assert answer.additional_kwargs["rar"]["reason"] == "over_limit"
    assert asked_of(fake_openai) == ["small"]


@every_mode
async def test_the_user_gets_the_error_where_that_was_chosen(
    mode: Mode, openai: MakeLLM, fake_openai: FakeOpenAI
) -> None:
    with pytest.raises(BudgetExceededError):
        await mode(routed(openai, limits=LITTLE, over_limit="error"))

    assert asked_of(fake_openai) == []


def test_a_call_brings_limits_of_its_own(openai: MakeLLM, fake_openai: FakeOpenAI) -> None:
    routed(openai).complete("Hello", rar_limits=LITTLE)

    assert asked_of(fake_openai) == ["small"]
    assert "rar_" not in str(fake_openai.calls()[-1].body)
    with pytest.raises(OverrideError, match=r"not a rar\.Limits"):
        routed(openai).complete("Hello", rar_limits=0.001)


def test_a_conversation_has_a_ceiling(openai: MakeLLM, fake_openai: FakeOpenAI) -> None:
    llm = routed(openai, spend=Ceiling(0.02, per="thread"))
    for _ in range(200):
        llm.router.ledger.add("elsewhere", "serve", "strong", "large", Usage(11, 7))

    for thread in ("a", "a", "a", "b"):
        llm.complete("Hello", rar_thread=thread)
    llm.complete("Hello")

    assert asked_of(fake_openai) == ["large", "large", "small", "large", "large"]
