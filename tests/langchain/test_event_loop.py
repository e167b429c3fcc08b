"""No call blocks the event loop: what reads files, a memory or a network's weights does so in a thread."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster, BlockingError
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from langchain_rar import RARMiddleware, RouterChatModel
from rar.errors import RarError
from rar.memory import SQLiteMemory
from rar.stamps import seal, sealing_key
from rar.strategies import Cascade
from tests.fake_openai import FakeOpenAI
from tests.langchain.conftest import MakeModel

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")

QUESTION = "What is the weather in 'Rome'?"


@pytest.fixture
def strict() -> Iterator[None]:
    """Calls that block an event loop raise, as `langgraph dev` has them do."""
    guard = BlockBuster()
    guard.activate()
    yield
    guard.deactivate()


@tool
async def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


class City(BaseModel):
    """A city."""

    name: str


async def _ainvoke(model: RouterChatModel) -> AIMessage:
    return await model.ainvoke(QUESTION)


async def _astream(model: RouterChatModel) -> AIMessage:
    first, *rest = [chunk async for chunk in model.astream(QUESTION)]
    return first + rest


async def _abatch(model: RouterChatModel) -> AIMessage:
    return (await model.abatch([QUESTION]))[0]


async def _agenerate(model: RouterChatModel) -> AIMessage:
    return (await model.agenerate([[HumanMessage(QUESTION)]])).generations[0][0].message


async def _av3(model: RouterChatModel) -> AIMessage:
    return await (await model.astream_events(QUESTION, version="v3"))


async def _astructured(model: RouterChatModel) -> AIMessage:
    return (await model.with_structured_output(City, include_raw=True).ainvoke(QUESTION))["raw"]


async def _agent(model: RouterChatModel) -> AIMessage:
    agent = create_agent(model, [get_weather], checkpointer=InMemorySaver())
    state = await agent.ainvoke({"messages": [HumanMessage(QUESTION)]}, {"configurable": {"thread_id": "1"}})
    return state["messages"][1]


async def _agent_stream(model: RouterChatModel) -> AIMessage:
    parts = create_agent(model, [get_weather]).astream({"messages": [HumanMessage(QUESTION)]}, stream_mode="values")
    return [part async for part in parts][-1]["messages"][1]


async def _middleware(model: RouterChatModel) -> AIMessage:
    around = RARMiddleware(model.weak, model.strong, router=model.router)
    state = await create_agent(model.strong, [get_weather], middleware=[around]).ainvoke(
        {"messages": [HumanMessage(QUESTION)]}
    )
    return state["messages"][1]


Mode = Callable[[RouterChatModel], Awaitable[AIMessage]]
MODES = (_ainvoke, _astream, _abatch, _agenerate, _av3, _astructured, _agent, _agent_stream, _middleware)


@pytest.mark.parametrize("learning", ["background", "inline", "off"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.__name__.strip("_"))
async def test_no_call_blocks_the_loop(
    mode: Mode, learning: Any, chat: MakeModel, fake_openai: FakeOpenAI, tmp_path: Path, strict: None
) -> None:
    def made() -> RouterChatModel:
        return RouterChatModel(
            chat("small"), chat("large"), memory=tmp_path / "rar.db", embedder="hashing", learning=learning,
            policy="paper", judge="exact", learning_budget=None,
        )  # fmt: skip

    model = await asyncio.to_thread(made)
    reasons = []
    for _ in range(2):
        reasons.append((await mode(model)).response_metadata["rar"]["reason"])
        await model.router.aflush(30)

    assert reasons == ["no_evidence", "no_evidence" if learning == "off" else "memory_weak"]
    assert len(await asyncio.to_thread(model.router.decisions)) >= 2
    await asyncio.to_thread(model.router.close)


async def test_a_turns_guide_is_looked_up_in_a_thread(chat: MakeModel, strict: None) -> None:
    memory = await asyncio.to_thread(SQLiteMemory, ":memory:")
    model = await asyncio.to_thread(
        lambda: RouterChatModel(chat("small"), chat("large"), memory=memory, embedder="hashing", learning="off")
    )
    call = {"name": "get_weather", "args": {}, "id": "c1"}
    facts = {"model": "weak", "guide_id": "g1"}
    mark = {"rar": facts, "rar_seal": seal(sealing_key(memory), facts, "default")}
    thread = [
        HumanMessage(QUESTION),
        AIMessage("", tool_calls=[call], response_metadata=mark),
        ToolMessage("Sunny", tool_call_id="c1"),
    ]

    decision = (await model.ainvoke(thread)).response_metadata["rar"]

    assert (decision["model"], decision["reason"], decision["guide_id"]) == ("weak", "sticky", None)
    await asyncio.to_thread(memory.close)


async def test_drafts_do_not_block_it_either(chat: MakeModel, strict: None) -> None:
    model = RouterChatModel(chat("small"), chat("large"), memory=None, strategy=Cascade(lambda request, draft: True))

    assert (await model.ainvoke(QUESTION)).response_metadata["rar"]["reason"] == "draft_accepted"


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
async def test_a_forgotten_router_does_not_wait_for_its_files(
    chat: MakeModel, strict: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = await asyncio.to_thread(
        lambda: RouterChatModel(chat("small"), chat("large"), memory=":memory:", embedder="hashing", learning="off")
    )
    await model.ainvoke(QUESTION)
    assert await asyncio.to_thread(os.listdir, tmp_path)

    del model
    gc.collect()

    for _ in range(500):
        left = await asyncio.to_thread(os.listdir, tmp_path)
        if not left:
            break
        await asyncio.sleep(0.01)
    assert left == []


async def test_the_guard_would_have_told(tmp_path: Path, strict: None) -> None:
    with pytest.raises((BlockingError, RarError)):
        SQLiteMemory(tmp_path / "rar.db")
