"""`RARMiddleware`: the router inside `create_agent`, beside whatever model the agent was made with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import cycle
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from langchain_rar import RARMiddleware
from rar.errors import ConfigurationError
from rar.strategies import Cascade
from rar.values import Route
from tests.fake_openai import FakeOpenAI, Reply
from tests.langchain.conftest import MakeModel, Notes, a_guide

QUESTION = {"messages": [HumanMessage("What is the weather in 'Rome'?")]}


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


MakeMiddleware = Callable[..., RARMiddleware]


@pytest.fixture
def middleware(chat: MakeModel) -> MakeMiddleware:
    def make(to: Any = "weak", **options: Any) -> RARMiddleware:
        usual = {"memory": None, "strategy": to if callable(to) or not isinstance(to, str) else lambda _: to}
        return RARMiddleware(chat("small"), chat("large"), **{**usual, **options})

    return make


@pytest.mark.parametrize(("to", "name"), [("weak", "small"), ("strong", "large")])
async def test_the_chosen_model_answers_in_place_of_the_agents_own(
    to: str, name: str, middleware: MakeMiddleware, chat: MakeModel, fake_openai: FakeOpenAI, notes: Notes
) -> None:
    agent = create_agent(chat("own"), [get_weather], middleware=[middleware(to)])

    for state in (agent.invoke(QUESTION, {"callbacks": [notes]}), await agent.ainvoke(QUESTION)):
        assert state["messages"][-1].text == "The tool said: It is sunny in Rome."
        first, last = state["messages"][1], state["messages"][-1]
        assert first.response_metadata["rar"]["model"] == last.response_metadata["rar"]["model"] == to
        assert last.response_metadata["rar"]["reason"] == "sticky"
    assert {sent.model for sent in fake_openai.calls()} == {name}
    assert len(notes.llms) == 2


def test_a_tool_loop_keeps_its_model(middleware: MakeMiddleware, chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    turns = cycle(["weak", "strong"])
    agent = create_agent(chat("own"), [get_weather], middleware=[middleware(lambda _: next(turns))])

    state = agent.invoke(QUESTION)
    agent.invoke({"messages": [*state["messages"], HumanMessage("Thanks")]})

    assert [sent.model for sent in fake_openai.calls()] == ["small", "small", "large"]


def test_a_guide_is_appended_to_the_users_message_below_the_agents_system_prompt(
    middleware: MakeMiddleware, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    guided = middleware(lambda _: Route("weak", a_guide("Look outside.")))

    create_agent(chat("own"), [], system_prompt="Be brief.", middleware=[guided]).invoke(QUESTION)
    create_agent(chat("own"), [], middleware=[guided]).invoke(QUESTION)

    for sent, roles in zip(fake_openai.calls(), (["system", "user"], ["user"]), strict=True):
        assert [message["role"] for message in sent.messages] == roles
        assert "Look outside." in sent.messages[-1]["content"]
    assert fake_openai.calls()[0].messages[0]["content"] == "Be brief."


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_strong_model_answers_when_the_weak_one_fails(
    asynchronous: bool, middleware: MakeMiddleware, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    agent = create_agent(chat("own"), [], middleware=[middleware()])

    for trouble in (Reply("out of order", status=500), ""):
        fake_openai.script("small", trouble)
        state = await agent.ainvoke(QUESTION) if asynchronous else agent.invoke(QUESTION)
        assert state["messages"][-1].response_metadata["rar"]["failed_over"] == ["weak"]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_fallback_around_it_reaches_its_backup_when_both_models_fail(
    asynchronous: bool, middleware: MakeMiddleware, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    around = ModelFallbackMiddleware(chat("backup"))
    agent = create_agent(chat("own"), [get_weather], middleware=[around, middleware()])
    for name in ("small", "large"):
        fake_openai.script(name, Reply("out of order", status=500))

    state = await agent.ainvoke(QUESTION) if asynchronous else agent.invoke(QUESTION)

    assert state["messages"][-1].text == "The tool said: It is sunny in Rome."
    # Each call of the loop is routed anew, so that the backup answers only while both are out of order.
    assert [sent.model for sent in fake_openai.calls()] == ["small", "large", "backup"] * 2


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("timeout", [None, 30.0])
async def test_an_interrupt_inside_pauses_the_agent_and_the_same_model_goes_on(
    asynchronous: bool, timeout: float | None, middleware: MakeMiddleware, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    if asynchronous and sys.version_info < (3, 11):
        pytest.skip("LangGraph's interrupt() needs Python 3.11 in async code")
    asked: list[str] = []

    class Approve(AgentMiddleware[Any, Any, Any]):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            asked.append(request.model.model_name)
            return handler(request) if interrupt("may I?") == "yes" else None

        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            asked.append(request.model.model_name)
            return await handler(request) if interrupt("may I?") == "yes" else None

    routing = middleware(timeout=timeout)
    agent = create_agent(chat("own"), [], middleware=[routing, Approve()], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}

    async def call(given: Any) -> Any:
        return await agent.ainvoke(given, config) if asynchronous else agent.invoke(given, config)

    paused = await call(QUESTION)
    assert (asked, fake_openai.calls()) == (["small"], [])
    assert paused["__interrupt__"][0].value == "may I?"

    state = await call(Command(resume="yes"))

    assert asked == ["small", "small"]
    assert state["messages"][-1].response_metadata["rar"]["model"] == "weak"


def test_an_accepted_draft_is_given_without_a_second_call(
    middleware: MakeMiddleware, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    cascade = middleware(Cascade(lambda request, draft: bool(draft.tool_calls or "sunny" in draft.text)))
    agent = create_agent(chat("own"), [get_weather], middleware=[cascade])

    with get_usage_metadata_callback() as usage:
        state = agent.invoke(QUESTION)

    assert state["messages"][-1].text == "The tool said: It is sunny in Rome."
    assert [sent.model for sent in fake_openai.calls()] == ["small", "small"]
    assert {name: counted["total_tokens"] for name, counted in usage.usage_metadata.items()} == {"small": 36}


class City(BaseModel):
    """A city."""

    name: str


@pytest.mark.parametrize("form", [ToolStrategy(City), ProviderStrategy(City)], ids=["tool", "provider"])
def test_structured_answers_work(form: Any, middleware: MakeMiddleware, chat: MakeModel) -> None:
    agent = create_agent(chat("own"), [], response_format=form, middleware=[middleware()])

    state = agent.invoke({"messages": [HumanMessage("Name 'Rome'")]})

    assert state["structured_response"] == City(name="Rome")


def test_it_learns_from_what_it_served(middleware: MakeMiddleware, chat: MakeModel) -> None:
    learning = middleware(
        strategy=None, memory=":memory:", embedder="hashing", learning="inline", policy="paper", judge="exact",
        learning_budget=None,
    )  # fmt: skip
    agent = create_agent(chat("own"), [], middleware=[learning])

    decided = [agent.invoke(QUESTION)["messages"][-1].response_metadata["rar"]["model"] for _ in range(2)]

    assert decided == ["strong", "weak"]
    learning.router.close()


def test_a_call_can_be_steered_by_the_agents_config(middleware: MakeMiddleware, chat: MakeModel) -> None:
    agent = create_agent(chat("own"), [], middleware=[middleware()])

    state = agent.invoke(QUESTION, {"configurable": {"rar_force": "strong"}})

    assert state["messages"][-1].response_metadata["rar"]["model"] == "strong"


def test_a_model_that_no_agent_can_use_is_refused(chat: MakeModel) -> None:
    with pytest.raises(ConfigurationError, match="weak=RunnableLambda is no chat model"):
        RARMiddleware(RunnableLambda(lambda messages: messages), chat("large"), memory=None)
