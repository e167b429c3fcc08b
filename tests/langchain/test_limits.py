"""Limits and ceilings in LangChain: in every mode, by constructor, by call and by conversation."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache

from langchain_rar import RARMiddleware
from rar import Ceiling, Limits
from rar.errors import BudgetExceededError, OverrideError
from tests.fake_openai import FakeOpenAI
from tests.langchain.conftest import MakeModel, MakeRouter
from tests.langchain.test_runs import Mode, every_mode

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")

PRICES = {"weak": (0.0, 0.0), "strong": (0.0, 1_000.0)}  # an answer of seven tokens costs 0.007 USD
LITTLE = Limits(usd=0.001)


def asked(fake: FakeOpenAI) -> list[str]:
    return [sent.model for sent in fake.calls()]


@every_mode
async def test_a_cheaper_model_answers_what_would_go_over_a_limit(
    mode: Mode, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    message = await mode(routed("strong", prices=PRICES, limits=LITTLE), {})

    assert (message.response_metadata["rar"]["model"], asked(fake_openai)) == ("weak", ["small"])
    assert message.response_metadata["rar"]["reason"] == "over_limit"


@every_mode
async def test_the_user_gets_the_error_where_that_was_chosen(
    mode: Mode, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    with pytest.raises(BudgetExceededError):
        await mode(routed("strong", prices=PRICES, limits=LITTLE, over_limit="error"), {})

    assert asked(fake_openai) == []


@every_mode
async def test_a_config_brings_limits_of_its_own(mode: Mode, routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    model = routed("strong", prices=PRICES)

    await mode(model, {"configurable": {"rar_limits": LITTLE}} if "gener" not in mode.__name__ else {})

    assert asked(fake_openai) == (["small"] if "gener" not in mode.__name__ else ["large"])


def test_a_call_brings_limits_of_its_own(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    routed("strong", prices=PRICES).invoke("Hello", rar_limits=LITTLE)

    assert asked(fake_openai) == ["small"]
    with pytest.raises(OverrideError, match=r"not a rar\.Limits"):
        routed().invoke("Hello", rar_limits=0.001)


def test_a_conversation_is_known_by_langgraphs_id_or_by_ours(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    model = routed("strong", prices=PRICES, spend=Ceiling(0.5, per="thread"))
    for _ in range(200):
        model.router.ledger.add("elsewhere", "serve", "strong", "large", model_usage(7))

    for _ in range(100):
        model.invoke("Hello", {"configurable": {"thread_id": "a"}})
    model.invoke("Hello", {"configurable": {"thread_id": "b"}})
    model.invoke("Hello", rar_thread="a")
    model.invoke("Hello")

    names = asked(fake_openai)
    assert 65 <= names.count("large") - 2 <= 71  # as many as fit into half a dollar, and the two of others
    assert (names[-3:], names[99]) == (["large", "small", "large"], "small")


def model_usage(tokens: int) -> Any:
    from rar import Usage

    return Usage(11, tokens)


def test_answers_of_a_cache_use_up_no_ceiling(chat: MakeModel, routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    large = chat("large", cache=InMemoryCache())
    model = routed("strong", strong=large, prices=PRICES, spend=Ceiling(0.9))

    models = [model.invoke("Hello").response_metadata["rar"]["model"] for _ in range(20)]

    assert (models, asked(fake_openai)) == (["strong"] * 20, ["large"])


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_agent_keeps_to_its_limits(asynchronous: bool, chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    middleware = RARMiddleware(
        chat("small"), chat("large"), memory=None, strategy=lambda _: "strong", prices=PRICES, limits=LITTLE
    )
    agent: Any = create_agent(chat("large"), [], middleware=[middleware])

    state = {"messages": "Hello"}
    answer = (await agent.ainvoke(state) if asynchronous else agent.invoke(state))["messages"][-1]

    assert (answer.response_metadata["rar"]["reason"], asked(fake_openai)) == ("over_limit", ["small"])


def test_an_agents_thread_has_a_ceiling(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    middleware = RARMiddleware(
        chat("small"), chat("large"), memory=None, strategy=lambda _: "strong", prices=PRICES,
        spend=Ceiling(0.41, per="thread"),
    )  # fmt: skip
    agent: Any = create_agent(chat("large"), [], middleware=[middleware])

    for thread in ("a", "a", "b"):
        agent.invoke({"messages": "Hello"}, {"configurable": {"thread_id": thread}})

    assert asked(fake_openai) == ["large", "large", "large"]
    assert len({account[1] for account in middleware.router._ceilings._spent}) == 2  # type: ignore[union-attr]
