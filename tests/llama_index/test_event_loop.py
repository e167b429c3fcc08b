"""Nothing of ours blocks an event loop: memory and learning on, as in a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from llama_index.core.agent.workflow import FunctionAgent, ReActAgent
from llama_index.core.llms.llm import LLM
from llama_index.core.memory import ChatMemoryBuffer

from llama_index_rar import RouterLLM
from tests.contract.llama_index_llm import CITY, CITY_PROMPT, City, user
from tests.fake_openai import FakeOpenAI, Reply

QUESTIONS = ["Which colour has the lamp?", "Who wrote the letter?", "Which colour has the lamp?", "When does it leave?"]


def look() -> str:
    """Look."""
    return "red"


@pytest.fixture(params=["background", "inline"])
def learning(request: Any, openai: Callable[..., LLM], tmp_path: Path) -> Iterator[RouterLLM]:
    options: dict[str, Any] = {"memory": tmp_path / "rar.db", "embedder": "hashing", "learning_budget": None}
    llm = RouterLLM(openai("small"), openai("large"), learning=request.param, **options)
    yield llm
    llm.router.close()


@pytest.fixture
def watched() -> Iterator[BlockBuster]:
    """Raises on a blocking call in the thread of an event loop that comes through our code."""
    with blockbuster_ctx(["rar", "llama_index_rar"]) as buster:
        yield buster


async def chats(llm: RouterLLM, question: str) -> None:
    assert (await llm.achat([user(question)])).message.content


async def streams(llm: RouterLLM, question: str) -> None:
    assert [chunk async for chunk in await llm.astream_chat([user(question)])]


async def completes(llm: RouterLLM, question: str) -> None:
    assert [chunk async for chunk in await llm.astream_complete(question)]


async def predicts(llm: RouterLLM, question: str) -> None:
    assert await llm.astructured_predict(City, CITY_PROMPT, **{**CITY, "city": question})


async def calls_tools(llm: RouterLLM, question: str) -> None:
    assert str(await FunctionAgent(tools=[look], llm=llm, initial_state={"visits": 0}).run(question))


async def calls_tools_whole(llm: RouterLLM, question: str) -> None:
    memory = ChatMemoryBuffer.from_defaults()
    assert str(await FunctionAgent(tools=[look], llm=llm, streaming=False).run(question, memory=memory))


async def reasons(llm: RouterLLM, question: str) -> None:
    assert str(await ReActAgent(tools=[look], llm=llm).run(question))


@pytest.mark.parametrize("use", [chats, streams, completes, predicts, calls_tools, calls_tools_whole, reasons])
async def test_no_call_blocks(
    use: Callable[[RouterLLM, str], Any],
    learning: RouterLLM,
    fake_openai: FakeOpenAI,
    watched: BlockBuster,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if use is reasons:
        for model in ("small", "large"):
            fake_openai.script(model, "Thought: I can answer.\nAnswer: red")
    if use in (calls_tools, calls_tools_whole):
        loop = [Reply(tool_calls=[("look", {})]), "It is red."] * len(QUESTIONS)
        for model in ("small", "large"):
            fake_openai.script(model, *loop)
    for question in QUESTIONS:
        await use(learning, question)
        await learning.router.aflush()

    stats = await asyncio.to_thread(learning.router.stats)
    assert stats.memory is not None and stats.memory.experiences
    assert "BlockingError" not in caplog.text  # which would only have made the router degrade
