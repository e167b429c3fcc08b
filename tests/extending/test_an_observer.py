"""Somebody adds an observer of their own: latency and cost by model, in this one file, for both frameworks at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from langchain_rar import RARMiddleware, RouterChatModel
from llama_index_rar import RouterLLM
from rar.observers import Called, Decided
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted


class Latency:
    """Seconds and USD by model, and how often it failed."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.usd: dict[str, float] = defaultdict(float)
        self.failures: dict[str, int] = defaultdict(int)
        self.reasons: list[str] = []

    def decided(self, event: Decided) -> None:
        self.reasons.append(event.facts.reason)

    def called(self, event: Called) -> None:
        if event.seconds is not None:
            self.seconds[event.model].append(event.seconds)
        self.usd[event.model] += event.usd or 0.0
        self.failures[event.model] += event.error is not None


class Broken:
    def decided(self, event: Decided) -> None:
        raise RuntimeError("no metrics server")

    def called(self, event: Called) -> None:
        raise RuntimeError("no metrics server")


OPTIONS: dict[str, Any] = {
    "memory": None, "strategy": lambda _: "weak", "prices": {"weak": (1.0, 1.0), "strong": (10.0, 10.0)},
}  # fmt: skip
Ask = Callable[[Any], Awaitable[Any]]


def langchain(url: str, *observers: Any) -> RouterChatModel:
    from langchain_openai import ChatOpenAI

    small, large = (
        ChatOpenAI(model=name, base_url=url, api_key="sk-none", stream_usage=True, max_retries=0)  # type: ignore[arg-type]
        for name in ("small", "large")
    )
    return RouterChatModel(small, large, observers=observers, **OPTIONS)


def llama_index(url: str, *observers: Any) -> RouterLLM:
    from llama_index.llms.openai_like import OpenAILike

    small, large = (
        OpenAILike(model=name, api_base=url, api_key="sk-none", is_chat_model=True, max_retries=0)
        for name in ("small", "large")
    )
    return RouterLLM(small, large, observers=observers, **OPTIONS)


def agent(url: str, *observers: Any) -> Any:
    from langchain.agents import create_agent

    model = langchain(url)
    middleware = RARMiddleware(model.weak, model.strong, observers=observers, **OPTIONS)  # type: ignore[arg-type]
    return create_agent(model.strong, [], middleware=[middleware])  # type: ignore[arg-type]


async def invoke(model: Any) -> Any:
    return model.invoke("Hello")


async def ainvoke(model: Any) -> Any:
    return await model.ainvoke("Hello")


async def batch(model: Any) -> Any:
    return model.batch(["Hello"])


async def stream(model: Any) -> Any:
    return list(model.stream("Hello"))


async def astream(model: Any) -> Any:
    return [chunk async for chunk in model.astream("Hello")]


async def complete(llm: Any) -> Any:
    return llm.complete("Hello")


async def acomplete(llm: Any) -> Any:
    return await llm.acomplete("Hello")


async def stream_complete(llm: Any) -> Any:
    return list(llm.stream_complete("Hello"))


async def astream_complete(llm: Any) -> Any:
    return [chunk async for chunk in await llm.astream_complete("Hello")]


async def run(made: Any) -> Any:
    return made.invoke({"messages": "Hello"})


async def arun(made: Any) -> Any:
    return await made.ainvoke({"messages": "Hello"})


every_way = pytest.mark.parametrize(
    ("make", "ask"),
    [
        *((langchain, ask) for ask in (invoke, ainvoke, batch, stream, astream)),
        *((llama_index, ask) for ask in (complete, acomplete, stream_complete, astream_complete)),
        *((agent, ask) for ask in (run, arun)),
    ],
)


@every_way
async def test_it_is_told_of_each_call_in_every_mode(make: Any, ask: Ask, fake_openai: FakeOpenAI) -> None:
    latency = Latency()

    assert await ask(make(fake_openai.url, latency))

    assert latency.reasons == ["function"]
    assert {model: len(seconds) for model, seconds in latency.seconds.items()} == {"weak": 1}
    assert latency.seconds["weak"][0] > 0.0
    assert latency.usd["weak"] > 0.0


@every_way
async def test_it_is_told_of_a_model_that_failed_and_of_the_one_that_answered(
    make: Any, ask: Ask, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", Scripted("out of order", status=500))
    latency = Latency()

    await ask(make(fake_openai.url, latency))

    assert latency.failures == {"weak": 1, "strong": 0}
    assert {model: len(seconds) for model, seconds in latency.seconds.items()} == {"weak": 1, "strong": 1}


@every_way
async def test_one_that_fails_costs_nobody_an_answer(make: Any, ask: Ask, fake_openai: FakeOpenAI) -> None:
    latency = Latency()

    assert await ask(make(fake_openai.url, Broken(), latency))

    assert latency.reasons == ["function"]
