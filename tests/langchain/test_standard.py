"""LangChain's official suites, with every call sent to the weak model, to the strong one, and to both in turn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_rar import RouterChatModel
from rar.values import Request
from tests.fake_openai import FakeOpenAI

# None is about the router: the suite's own v3 tests, and how OpenAI's integration handles parsed responses.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
]


def in_turn() -> Any:
    calls = count()

    def strategy(request: Request) -> str:
        return "weak" if next(calls) % 2 else "strong"

    return strategy


STRATEGIES = {"weak": lambda _: "weak", "strong": lambda _: "strong", "mixed": in_turn()}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


class _Routed:
    strategy = "weak"
    url = "http://127.0.0.1:9/v1"

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return RouterChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        child = {"base_url": self.url, "api_key": "none", "stream_usage": True, "max_retries": 0}
        return {
            "weak": ChatOpenAI(model="small", **child),
            "strong": ChatOpenAI(model="large", **child),
            "memory": None,
            "strategy": STRATEGIES[self.strategy],
        }

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 100, "stop": []}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "other"


@pytest.mark.disable_socket
class TestUnit(_Routed, ChatModelUnitTests):
    pass


class _Integration(_Routed, ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _served(self, server: FakeOpenAI) -> None:
        self.url = server.url


@pytest.mark.allow_hosts(["127.0.0.1"])
class TestWeakRouted(_Integration):
    strategy = "weak"


@pytest.mark.allow_hosts(["127.0.0.1"])
class TestStrongRouted(_Integration):
    strategy = "strong"


@pytest.mark.allow_hosts(["127.0.0.1"])
class TestMixed(_Integration):
    strategy = "mixed"
