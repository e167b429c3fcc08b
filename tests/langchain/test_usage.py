"""The calls behind an answer: on its metadata always, in its `usage_metadata` and in traces where that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel

from langchain_rar import RARMiddleware, RouterChatModel
from rar import Answer, Call, Reply, Request, Route, Sampling, Steps, ask_all
from rar.errors import UnknownNameError
from rar.values import Choice
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted
from tests.langchain.conftest import MakeModel, Notes

Mode = Callable[[RouterChatModel, Any], Awaitable[AIMessage]]
SMALL, LARGE = Scripted("a small one", usage=(10, 1)), Scripted("a large one", usage=(100, 3))


class Drafts:
    """Asks the weak model twice, and routes on or accepts the second draft."""

    def __init__(self, accepts: bool = False) -> None:
        self.accepts = accepts

    def steps(self, request: Request) -> Steps[Choice]:
        sample = Call("weak", request, sampling=Sampling(temperature=1.0))
        _, draft = yield from ask_all([sample, Call("weak", request)])
        assert isinstance(draft, Reply)
        return Answer(draft, "accepted") if self.accepts else Route("strong", reason="rejected")


async def invoke(model: RouterChatModel, config: Any) -> AIMessage:
    return model.invoke("Hello", config)


async def ainvoke(model: RouterChatModel, config: Any) -> AIMessage:
    return await model.ainvoke("Hello", config)


async def stream(model: RouterChatModel, config: Any) -> AIMessage:
    first, *rest = model.stream("Hello", config)
    return first + rest


async def astream(model: RouterChatModel, config: Any) -> AIMessage:
    first, *rest = [chunk async for chunk in model.astream("Hello", config)]
    return first + rest


async def events(model: RouterChatModel, config: Any) -> AIMessage:
    message: AIMessage = model.stream_events("Hello", config, version="v3").output
    return message


async def aevents(model: RouterChatModel, config: Any) -> AIMessage:
    message: AIMessage = await (await model.astream_events("Hello", config, version="v3"))
    return message


every_mode = pytest.mark.parametrize("mode", [invoke, ainvoke, stream, astream, events, aevents])


@pytest.fixture
def make(chat: MakeModel, fake_openai: FakeOpenAI) -> Callable[..., RouterChatModel]:
    fake_openai.script("small", SMALL)
    fake_openai.script("large", LARGE)

    def made(accepts: bool = False, **options: Any) -> RouterChatModel:
        usual: dict[str, Any] = {"memory": None, "strategy": Drafts(accepts)}
        return RouterChatModel(chat("small"), chat("large"), **{**usual, **options})

    return made


def calls(message: Any) -> list[tuple[str, str, int]]:
    return [
        (call["model"], call["purpose"], call["input_tokens"]) for call in message.response_metadata["rar"]["calls"]
    ]


def used(message: Any) -> tuple[int, int, int]:
    usage = message.usage_metadata
    return usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]


@every_mode
async def test_an_answer_lists_the_calls_behind_it(mode: Mode, make: Callable[..., RouterChatModel]) -> None:
    routed, accepted = await mode(make(), {}), await mode(make(accepts=True), {})

    assert calls(routed) == [("weak", "draft", 10), ("weak", "draft", 10), ("strong", "serve", 100)]
    assert all(call["seconds"] > 0.0 for call in routed.response_metadata["rar"]["calls"])
    assert calls(accepted) == [("weak", "draft", 10), ("weak", "serve", 10)]


@every_mode
async def test_usually_only_the_served_call_is_counted_and_seen(
    mode: Mode, make: Callable[..., RouterChatModel], notes: Notes
) -> None:
    with get_usage_metadata_callback() as counted:
        assert used(await mode(make(), {"callbacks": [notes]})) == (100, 3, 103)
        assert used(await mode(make(accepts=True), {"callbacks": [notes]})) == (10, 1, 11)

    assert len(notes.llms) == 2
    assert sum(usage["total_tokens"] for usage in counted.usage_metadata.values()) == 103 + 11


@every_mode
async def test_all_are_counted_once_and_seen_as_runs_where_that_is_asked_for(
    mode: Mode, make: Callable[..., RouterChatModel], notes: Notes
) -> None:
    with get_usage_metadata_callback() as counted:
        message = await mode(make(usage="all"), {"callbacks": [notes]})

    assert used(message) == (120, 5, 125)
    assert sum(usage["total_tokens"] for usage in counted.usage_metadata.values()) == 125
    (router,) = notes.chains
    assert [start["parent_run_id"] for start in notes.llms] == [router["run_id"]] * 3
    assert sorted("rar:draft" in start["tags"] for start in notes.llms) == [False, True, True]
    assert "small" not in "".join(notes.tokens)
    assert not notes.errors


@every_mode
async def test_an_accepted_draft_is_counted_once(
    mode: Mode, make: Callable[..., RouterChatModel], notes: Notes
) -> None:
    with get_usage_metadata_callback() as counted:
        message = await mode(make(accepts=True, usage="all"), {"callbacks": [notes]})

    assert used(message) == (20, 2, 22)
    assert sum(usage["total_tokens"] for usage in counted.usage_metadata.values()) == 22
    assert message.text == "a small one"


async def test_what_the_ledger_counts_is_the_same(make: Callable[..., RouterChatModel]) -> None:
    sums = []
    for usage in ("served", "all"):
        for mode in (invoke, ainvoke, stream, astream, events, aevents):
            model = make(usage=usage)
            await mode(model, {})
            sums.append({(s.purpose, s.role): (s.calls, s.input_tokens) for s in model.router.stats().spending})

    assert sums == [{("draft", "weak"): (2, 20), ("serve", "strong"): (1, 100)}] * 12


def test_no_stream_shows_a_draft(make: Callable[..., RouterChatModel]) -> None:
    model = make(usage="all")
    graph = StateGraph(MessagesState)
    graph.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)

    streamed = [chunk.text for chunk, _ in graph.compile().stream({"messages": "Hello"}, stream_mode="messages")]

    assert "".join(streamed) == "a large one"


async def test_nor_do_events_of_the_older_kind(make: Callable[..., RouterChatModel]) -> None:
    seen = [event async for event in make(usage="all").astream_events("Hello", version="v2")]

    texts = [event["data"]["chunk"].text for event in seen if event["event"] == "on_chat_model_stream"]
    assert "".join(texts) == "a large one"


async def test_structured_answers_count_all_on_their_raw_message(
    make: Callable[..., RouterChatModel], fake_openai: FakeOpenAI
) -> None:
    class City(BaseModel):
        name: str

    model = make(usage="all")
    fake_openai.script("small", Scripted('{"name": "Rome"}', usage=(10, 1)))
    fake_openai.script("large", Scripted('{"name": "Rome"}', usage=(100, 3)))
    whole: Any = model.with_structured_output(City, include_raw=True).invoke("Hello")

    assert used(whole["raw"])[0] == 120


async def test_an_agents_answer_counts_all_and_its_drafts_are_seen(
    chat: MakeModel, fake_openai: FakeOpenAI, notes: Notes
) -> None:
    fake_openai.script("small", SMALL)
    fake_openai.script("large", LARGE)
    middleware = RARMiddleware(chat("small"), chat("large"), memory=None, strategy=Drafts(), usage="all")
    agent = create_agent(chat("own"), [], middleware=[middleware])
    asked: Any = {"messages": [HumanMessage("Hello")]}

    for state in (agent.invoke(asked, {"callbacks": [notes]}), await agent.ainvoke(asked, {"callbacks": [notes]})):
        assert used(state["messages"][-1]) == (120, 5, 125)
        assert calls(state["messages"][-1])[-1] == ("strong", "serve", 100)
    seen = 2 if sys.version_info >= (3, 11) else 1  # LangGraph's config reaches async code from Python 3.11 on
    assert ["rar:draft" in start["tags"] for start in notes.llms].count(True) == 2 * seen
    assert len(notes.llms) == 3 * seen


def test_a_misspelt_choice_is_refused(make: Callable[..., RouterChatModel]) -> None:
    with pytest.raises(UnknownNameError, match="usage"):
        make(usage="every")
