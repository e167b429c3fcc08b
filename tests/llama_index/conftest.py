"""Fixtures of the LlamaIndex plugin's tests: routers over two models of the fake server, and what they were told."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms.llm import LLM
from llama_index.llms.openai_like import OpenAILike

from llama_index_rar import RouterLLM
from rar.values import Choice, Request, Route
from tests.contract.llama_index_llm import recorded
from tests.fake_openai import FakeOpenAI

__all__ = ["recorded"]  # a fixture of the contract

SECRET = "sk-not-for-any-eyes"


class Observer:
    """A strategy that takes turns in `routes`, and keeps what it was asked."""

    def __init__(self, routes: Sequence[Choice | str] = ("weak",)) -> None:
        self.routes = list(routes)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Choice:
        self.requests.append(request)
        route = self.routes[(len(self.requests) - 1) % len(self.routes)]
        return Route(route, reason="told") if isinstance(route, str) else route

    @property
    def last(self) -> Request:
        return self.requests[-1]

    @property
    def keys(self) -> list[str | None]:
        return [request.key for request in self.requests]


def words(text: str) -> list[str]:
    return text.split()


@pytest.fixture(autouse=True)
def offline_settings() -> Iterator[None]:
    """Global settings that reach for no network, and are put back."""
    Settings._llm = None
    Settings.tokenizer = words
    Settings.embed_model = MockEmbedding(embed_dim=8)
    yield
    Settings._llm = Settings._embed_model = Settings._callback_manager = Settings._tokenizer = None
    Settings._node_parser = Settings._prompt_helper = Settings._transformations = None


@pytest.fixture(autouse=True)
def loop_of_sync_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """A loop for the framework's sync methods that run async ones: it would open one and leave it open."""
    if inspect.iscoroutinefunction(request.function):
        yield
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def openai(fake_openai: FakeOpenAI) -> Callable[..., OpenAILike]:
    """Makes a LlamaIndex LLM of a model of the fake server."""

    def make(model: str, **options: Any) -> OpenAILike:
        given = {"is_chat_model": True, "is_function_calling_model": True, "max_retries": 0, **options}
        return OpenAILike(model=model, api_base=fake_openai.url, api_key=SECRET, context_window=8000, **given)

    return make


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def router(openai: Callable[..., LLM], observer: Observer) -> RouterLLM:
    """Routes between `small` and `large` as `observer` is told; without a memory."""
    return RouterLLM(openai("small"), openai("large"), memory=None, strategy=observer)
