"""The conformance suite on an LLM that we did not write, which proves the suite, and on ours, however it routes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from llama_index.core.llms.llm import LLM

from llama_index_rar import RouterLLM
from tests.contract.llama_index_llm import LlamaIndexLLMContract
from tests.llama_index.conftest import SECRET, Observer


class TestOpenAILike(LlamaIndexLLMContract):
    secret = SECRET
    keeps_callers_history = False

    @pytest.fixture
    def llm(self, openai: Callable[..., LLM]) -> LLM:
        return openai("small")


class TestWeakRouted(LlamaIndexLLMContract):
    secret = SECRET
    routes: tuple[str, ...] = ("weak",)

    @pytest.fixture
    def llm(self, openai: Callable[..., LLM]) -> LLM:
        return RouterLLM(openai("small"), openai("large"), memory=None, strategy=Observer(self.routes))


class TestStrongRouted(TestWeakRouted):
    routes = ("strong",)


class TestMixed(TestWeakRouted):
    routes = ("weak", "strong")


class TestOneChildCallsTools(TestWeakRouted):
    """Weak cannot call tools, and is asked for everything else."""

    @pytest.fixture
    def llm(self, openai: Callable[..., LLM]) -> LLM:
        weak = openai("small", is_function_calling_model=False)
        return RouterLLM(weak, openai("large"), memory=None, strategy=Observer(("strong",)))


class TestOneChildCompletesOnly(TestWeakRouted):
    """Weak is a completion model, and asked for all but objects, for which its text would have to be JSON."""

    @pytest.fixture
    def llm(self, openai: Callable[..., LLM]) -> LLM:
        weak = openai("small", is_chat_model=False, is_function_calling_model=False)
        return RouterLLM(
            weak,
            openai("large"),
            memory=None,
            strategy=lambda request: "strong" if request.task.startswith("schema:") else "weak",
        )
