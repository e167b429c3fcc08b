"""What the plugin's tests share: two models on the fake server, routers over them, and a handler that takes notes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult
from langchain_openai import ChatOpenAI

from langchain_rar import RouterChatModel
from rar.values import Guide
from tests.fake_openai import FakeOpenAI

MakeModel = Callable[..., ChatOpenAI]
MakeRouter = Callable[..., RouterChatModel]


@pytest.fixture
def chat(fake_openai: FakeOpenAI) -> MakeModel:
    """Makes a chat model of the given name on the fake server."""

    def make(name: str, **fields: Any) -> ChatOpenAI:
        usual = {"base_url": fake_openai.url, "api_key": "sk-secret", "stream_usage": True, "max_retries": 0}
        return ChatOpenAI(model=name, **{**usual, **fields})

    return make


@pytest.fixture
def routed(chat: MakeModel) -> MakeRouter:
    """Makes a router over `small` and `large`, which sends everything to one of them: `routed("weak")`."""

    def make(to: Any = "weak", **options: Any) -> RouterChatModel:
        strategy = to if callable(to) else lambda _: to
        usual = {"weak": chat("small"), "strong": chat("large"), "memory": None, "strategy": strategy}
        return RouterChatModel(**{**usual, **options})

    return make


@pytest.fixture
def notes() -> Notes:
    return Notes()


class Notes(BaseCallbackHandler):
    """Writes down which runs started under which, what they were, and the tokens that they streamed."""

    run_inline = True

    def __init__(self) -> None:
        self.starts: list[dict[str, Any]] = []
        self.ends: list[UUID] = []
        self.errors: list[tuple[UUID, BaseException]] = []
        self.tokens: list[str] = []
        self.results: list[LLMResult] = []

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self.starts.append({"kind": "chain", **kwargs})

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.starts.append({"kind": "llm", "messages": messages, **kwargs})

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        self.ends.append(run_id)
        self.results.append(response)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.ends.append(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self.errors.append((run_id, error))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self.errors.append((run_id, error))

    @property
    def llms(self) -> list[dict[str, Any]]:
        return [start for start in self.starts if start["kind"] == "llm"]

    @property
    def chains(self) -> list[dict[str, Any]]:
        return [start for start in self.starts if start["kind"] == "chain"]


def a_guide(text: str = "Count on your fingers.") -> Guide:
    import numpy as np

    return Guide("g1", "default", "answer", text, np.ones(2, np.float32), "large", "e1", "active")
