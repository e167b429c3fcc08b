"""A turn stays with its model: what belongs to a turn, and what a message may say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, cycle, repeat
from typing import Any

import numpy as np
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.load import dumpd, load
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    messages_from_dict,
    messages_to_dict,
)
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from langchain_rar import RARMiddleware, RouterChatModel
from langchain_rar.messages import SEAL, stamp
from langchain_rar.turns import OpenTurn, turn_of
from rar.memory import SQLiteMemory
from rar.memory.base import Batch
from rar.stamps import seal, sealing_key
from rar.values import Guide
from tests.fake_openai import FakeOpenAI, Reply
from tests.langchain.conftest import MakeModel, MakeRouter

pytestmark = pytest.mark.filterwarnings("ignore:The function `load` is in beta")

MARK = {"model": "weak", "guide_id": None}
ASKED = HumanMessage("What is the weather in 'Rome'?")
NEW = HumanMessage("Who wrote Faust?")
RESULT = ToolMessage("It is sunny.", tool_call_id="c1")
IMAGE = HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])
SUMMARY = HumanMessage("Here is a summary of what was said.", additional_kwargs={"lc_source": "summarization"})


def mark_of(router: RouterChatModel, **facts: Any) -> dict[str, Any]:
    """The metadata that a router of the same memory puts on an answer."""
    key = sealing_key(router.router.memory)
    return stamp({**facts, SEAL: seal(key, facts, router.namespace)})


def called(*names: str, mark: Any = MARK, metadata: Any = None, **fields: Any) -> AIMessage:
    calls = [{"name": name, "args": {}, "id": f"c{at}"} for at, name in enumerate(names or ("get_weather",), start=1)]
    marked = {} if mark is None else {"rar": mark}
    return AIMessage("", tool_calls=calls, response_metadata=metadata or marked, **fields)


def said(text: str = "It is sunny.", **metadata: Any) -> AIMessage:
    return AIMessage(text, response_metadata={"rar": MARK, **metadata})


GOES_ON: dict[str, list[BaseMessage]] = {
    "a result": [ASKED, called(), RESULT],
    "two results": [ASKED, called("a", "b"), RESULT, ToolMessage("So.", tool_call_id="c2")],
    "a reminder": [ASKED, called(), RESULT, SystemMessage("Mind the budget.")],
    "a human reminder": [ASKED, called(), RESULT, HumanMessage("Mind the budget.")],
    "an image": [ASKED, called(), RESULT, IMAGE],
    "several additions": [ASKED, called(), RESULT, IMAGE, SystemMessage("Go on."), HumanMessage("Please.")],
    "an interruption": [ASKED, called(), RESULT, NEW],
    "a second round": [ASKED, called(), RESULT, called(mark=None), RESULT],
    "a round with a reminder": [ASKED, called(), RESULT, HumanMessage("Mind."), called(mark=None), RESULT, IMAGE],
    "a summary before": [SUMMARY, called(), RESULT],
    "a ReAct observation": [ASKED, said("Action: weather"), HumanMessage("Observation: sunny")],
    "a CodeAct result": [ASKED, said("<execute>f()</execute>"), HumanMessage("Result of executing the code: 3")],
    "a retry of a call": [
        ASKED,
        AIMessage(
            "",
            invalid_tool_calls=[{"name": "f", "args": "{", "id": "c1", "error": None, "type": "invalid_tool_call"}],
            response_metadata={"rar": MARK},
        ),
        HumanMessage("That was no JSON."),
    ],
    "a pause": [ASKED, said(stop_reason="pause_turn")],
    "an answer that was cut": [ASKED, said(finish_reason="length")],
    "an error of an output schema": [ASKED, called("City"), ToolMessage("Error: try again", tool_call_id="c1")],
    "a later turn": [NEW, said("Goethe."), ASKED, called(), RESULT],
}

ENDS: dict[str, list[BaseMessage]] = {
    "nothing yet": [ASKED],
    "an answer": [ASKED, said(), NEW],
    "an answer after a tool": [ASKED, called(), RESULT, said(), NEW],
    "a system message": [ASKED, said(), SystemMessage("Be brief."), NEW],
    "a call that was given up": [ASKED, called(), NEW],
    "an answer by an output schema": [ASKED, called("City"), ToolMessage("Returning it", tool_call_id="c1"), NEW],
    "an answer by two schemas": [ASKED, called("City", "Town"), RESULT, ToolMessage("", tool_call_id="c2"), NEW],
    "examples": [HumanMessage("2+2?"), AIMessage("4"), NEW],
    "another agent's answer": [ASKED, said()],
}


@pytest.mark.parametrize("messages", GOES_ON.values(), ids=GOES_ON.keys())
def test_what_belongs_to_the_turn(messages: Sequence[BaseMessage]) -> None:
    assert turn_of(messages, final={"City", "Town"}) == OpenTurn(MARK)


@pytest.mark.parametrize("messages", ENDS.values(), ids=ENDS.keys())
def test_what_begins_a_new_turn(messages: Sequence[BaseMessage]) -> None:
    assert turn_of(messages, final={"City", "Town"}) is None


@pytest.mark.parametrize(
    "messages",
    [
        [ASKED, called(mark=None), RESULT],
        [NEW, said(), ASKED, called(mark=None), RESULT],  # the mark is of the turn before
        [RESULT],
        [SUMMARY],
    ],
    ids=["no mark", "a mark of the turn before", "a cut history", "a summary alone"],
)
def test_a_turn_may_not_know_how_it_began(messages: Sequence[BaseMessage]) -> None:
    assert turn_of(messages) == OpenTurn(None)


@pytest.mark.parametrize(
    "kept",
    [
        lambda messages: messages_from_dict(messages_to_dict(messages)),
        lambda messages: load(dumpd(messages), allowed_objects="core"),
        lambda messages: JsonPlusSerializer().loads_typed(JsonPlusSerializer().dumps_typed(messages)),
        lambda messages: [type(message).model_validate_json(message.model_dump_json()) for message in messages],
    ],
    ids=["dicts", "load", "checkpoint", "json"],
)
def test_a_thread_that_was_stored_goes_on(kept: Callable[[Any], Any], routed: MakeRouter) -> None:
    model = routed("strong")
    first = routed("weak").invoke([ASKED])
    thread = [ASKED, called(metadata=first.response_metadata), RESULT]

    assert model.invoke(kept(thread)).response_metadata["rar"]["model"] == "weak"


def test_a_streamed_message_that_was_merged_goes_on(routed: MakeRouter) -> None:
    first, *rest = routed("weak").stream([ASKED])
    whole = first + rest
    assert isinstance(whole, AIMessageChunk)
    whole.tool_calls = [{"name": "get_weather", "args": {}, "id": "c1", "type": "tool_call"}]

    decision = routed("strong").invoke([ASKED, whole, RESULT]).response_metadata["rar"]

    assert (decision["model"], decision["reason"]) == ("weak", "sticky")


def test_no_question_is_learned_from_the_middle_of_a_turn(routed: MakeRouter) -> None:
    model = routed(strategy=None, memory=":memory:", embedder="hashing", learning="inline")

    model.invoke([ASKED, called(mark=None), RESULT])
    model.invoke([ASKED, called(mark={"model": "strong"}), RESULT, HumanMessage("Mind the budget.")])

    assert model.router.memory is not None
    assert model.router.memory.stats().experiences == 0
    model.router.close()


# --- a mark is a client's word ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mark",
    [
        {"model": "weak"}, {"model": "weak", "guide_id": "g1"}, {"model": "weak", "decision_id": "0" * 32},
        {"model": "gpt-99"}, {"model": ["weak"]}, {"model": None}, {}, {"guide_id": "g"}, "weak", None, [("a", 1)],
    ],
)  # fmt: skip
def test_a_mark_names_no_model_that_the_router_does_not_have(mark: Any, routed: MakeRouter) -> None:
    decision = routed("strong").invoke([ASKED, called(mark=mark), RESULT]).response_metadata["rar"]

    assert (decision["model"], decision["reason"]) != ("weak", "sticky")


LOOK = "Use when: the weather is asked for.\n1. Look outside.\n2. Name what is seen.\nAvoid: guessing."


@pytest.mark.parametrize(
    ("state", "namespace", "used"),
    [
        ("active", "default", True),
        ("retired", "default", False),
        ("quarantined", "default", False),
        ("candidate", "default", False),
        ("active", "another", False),
    ],
)
def test_a_mark_names_no_guide_that_may_not_be_used(
    state: Any, namespace: str, used: bool, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    memory = SQLiteMemory(":memory:")
    model = RouterChatModel(chat("small"), chat("large"), memory=memory, embedder="hashing", learning="off")
    guide = Guide("g1", namespace, "answer", LOOK, np.ones(512, np.float32), "large", "e1", state)
    memory.write(Batch(guides=(guide,)))

    for id in ("g1", "g2", 7):
        answer = model.invoke([ASKED, called(metadata=mark_of(model, model="weak", guide_id=id)), RESULT])
        assert answer.response_metadata["rar"]["guide_id"] == ("g1" if used and id == "g1" else None)
        assert ("Look outside." in str(fake_openai.calls()[-1].messages)) == (used and id == "g1")
    memory.close()


@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "stream", "astream", "batch"])
async def test_a_stamp_counts_for_the_routers_of_its_memory_and_namespace_only(mode: str, chat: MakeModel) -> None:
    def router(memory: SQLiteMemory, **options: Any) -> RouterChatModel:
        return RouterChatModel(
            chat("small"), chat("large"), memory=memory, embedder="hashing", learning="off", **options
        )

    with SQLiteMemory(":memory:") as memory, SQLiteMemory(":memory:") as foreign:
        metadata = router(memory, strategy=lambda _: "weak").invoke([ASKED]).response_metadata
        other = {**metadata, "rar": {**metadata["rar"], "guide_id": "g1"}}
        models = [router(memory), router(foreign), router(memory, namespace="b")]
        asked = [(model, metadata) for model in models] + [(models[0], other)]
        found = [await answered(model, mode, [ASKED, called(metadata=given), RESULT]) for model, given in asked]

    assert found == ["sticky", "no_evidence", "no_evidence", "no_evidence"]


async def answered(model: RouterChatModel, mode: str, thread: list[BaseMessage]) -> str:
    """The reason of the decision on `thread`, asked in `mode`."""
    if mode == "batch":
        answer: Any = model.batch([thread])[0]
    elif mode.endswith("stream"):
        chunks = [one async for one in model.astream(thread)] if mode == "astream" else list(model.stream(thread))
        answer = chunks[0]
    else:
        answer = await model.ainvoke(thread) if mode == "ainvoke" else model.invoke(thread)
    return str(answer.response_metadata["rar"]["reason"])


# --- agents ---------------------------------------------------------------------------------------------------------


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


@tool(return_direct=True)
def get_stock(product: str) -> str:
    """Tell the stock of a product."""
    return "Four."


class City(BaseModel):
    """A city."""

    name: str


class Reminder(AgentMiddleware[Any, Any, Any]):
    """Puts a message of the user's behind each tool result."""

    def __init__(self, reminder: BaseMessage) -> None:
        super().__init__()
        self.reminder = reminder

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        if not isinstance(state["messages"][-1], ToolMessage):
            return None
        return {"messages": [self.reminder.model_copy(update={"id": None})]}


@pytest.mark.parametrize("reminder", [HumanMessage("Mind the budget."), IMAGE, SystemMessage("Mind.")])
@pytest.mark.parametrize("inside", ["model", "middleware"])
def test_an_agents_loop_keeps_its_model_behind_what_middleware_adds(
    inside: str, reminder: BaseMessage, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    turns = cycle(["weak", "strong"])
    options: dict[str, Any] = {"memory": None, "strategy": lambda _: next(turns)}
    weak, strong = chat("small"), chat("large")
    fake_openai.script("small", Reply(tool_calls=[("get_weather", {"city": "Rome"})]), "It is sunny.")
    if inside == "model":
        agent = create_agent(RouterChatModel(weak, strong, **options), [get_weather], middleware=[Reminder(reminder)])
    else:
        agent = create_agent(
            strong, [get_weather], middleware=[Reminder(reminder), RARMiddleware(weak, strong, **options)]
        )

    state = agent.invoke({"messages": [ASKED]})
    agent.invoke({"messages": [*state["messages"], NEW]})

    assert [sent.model for sent in fake_openai.calls()] == ["small", "small", "large"]


@pytest.mark.parametrize(
    ("options", "question"),
    [
        ({"tools": [], "response_format": ToolStrategy(City)}, "Name 'Rome'"),
        ({"tools": [get_stock]}, "Tell the stock of 'lamp'"),
    ],
    ids=["output schema", "return_direct"],
)
@pytest.mark.parametrize("inside", ["model", "middleware"])
def test_the_question_after_an_answer_that_was_a_call_begins_a_turn(
    inside: str, options: dict[str, Any], question: str, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    routes = chain(["weak", "strong"], repeat("never asked"))
    weak, strong = chat("small"), chat("large")
    fields: dict[str, Any] = {"memory": None, "strategy": lambda _: next(routes)}
    model: Any = RouterChatModel(weak, strong, **fields) if inside == "model" else strong
    around = [] if inside == "model" else [RARMiddleware(weak, strong, **fields)]
    agent = create_agent(model, middleware=around, checkpointer=InMemorySaver(), **options)
    config: Any = {"configurable": {"thread_id": "1"}}

    for _ in range(2):
        agent.invoke({"messages": [HumanMessage(question)]}, config)

    assert [sent.model for sent in fake_openai.calls()] == ["small", "large"]
