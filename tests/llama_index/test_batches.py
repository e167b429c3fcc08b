"""Lists of prompts and conversations: several questions may share a call, and each gets its own answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from llama_index_rar import RouterLLM
from rar.errors import ConfigurationError
from tests.core.hostile import asked
from tests.fake_openai import FakeOpenAI
from tests.langchain.test_batches import TEXTS, answering

Batched: TypeAlias = Callable[..., Awaitable[list[Any]]]


@pytest.fixture
def llm(fake_openai: FakeOpenAI) -> RouterLLM:
    usual: Any = {"api_base": fake_openai.url, "api_key": "sk-none", "max_retries": 0, "context_window": 8_000}
    small, large = (
        OpenAILike(model=name, is_chat_model=True, is_function_calling_model=True, **usual)
        for name in ("small", "large")
    )
    fake_openai.script("small", answering)
    fake_openai.script("large", answering)
    return RouterLLM(small, large, memory=None, strategy=lambda _: "weak", prices={"weak": (1.0, 1.0)})


def conversations(texts: list[str]) -> list[list[ChatMessage]]:
    return [[ChatMessage("Be brief.", role="system"), ChatMessage(text, role="user")] for text in texts]


async def _complete(llm: RouterLLM, texts: list[str], **kwargs: Any) -> list[Any]:
    return [(one.text, one) for one in llm.complete_all(texts, **kwargs)]


async def _acomplete(llm: RouterLLM, texts: list[str], **kwargs: Any) -> list[Any]:
    return [(one.text, one) for one in await llm.acomplete_all(texts, **kwargs)]


async def _chat(llm: RouterLLM, texts: list[str], **kwargs: Any) -> list[Any]:
    return [(one.message.content, one) for one in llm.chat_all(conversations(texts), **kwargs)]


async def _achat(llm: RouterLLM, texts: list[str], **kwargs: Any) -> list[Any]:
    return [(one.message.content, one) for one in await llm.achat_all(conversations(texts), **kwargs)]


every_way = pytest.mark.parametrize("batched", [_complete, _acomplete, _chat, _achat])


@every_way
async def test_questions_share_calls_and_each_gets_its_own_answer(
    batched: Batched, llm: RouterLLM, fake_openai: FakeOpenAI
) -> None:
    answers = await batched(llm, TEXTS, concatenate=4)

    assert [text for text, _ in answers] == [f"joined: {text}" for text in TEXTS[:4]] + [f"alone: {TEXTS[4]}"]
    assert len(fake_openai.calls()) == 2
    facts = [one.additional_kwargs["rar"] for _, one in answers]
    assert [fact.get("joined") for fact in facts] == [4, 4, 4, 4, None]
    assert sum(fact["input_tokens"] for fact in facts) == 110
    (spend,) = llm.router.stats().spending
    assert (spend.calls, spend.input_tokens, spend.output_tokens) == (5, 110, 55)


@every_way
async def test_without_it_each_is_asked_alone(batched: Batched, llm: RouterLLM, fake_openai: FakeOpenAI) -> None:
    answers = await batched(llm, TEXTS)

    assert [text for text, _ in answers] == [f"alone: {text}" for text in TEXTS]
    assert len(fake_openai.calls()) == 5


@every_way
async def test_doubtful_answers_are_asked_for_alone(batched: Batched, llm: RouterLLM, fake_openai: FakeOpenAI) -> None:
    def echo(body: dict[str, Any]) -> Any:
        prompt = body["messages"][-1]["content"]
        return prompt if asked(prompt) else answering(body)

    fake_openai.script("small", echo)
    answers = await batched(llm, TEXTS[:3], concatenate=3)
    assert [text for text, _ in answers] == [f"alone: {text}" for text in TEXTS[:3]]
    assert len(fake_openai.calls()) == 4


async def test_calls_with_tools_and_longer_conversations_are_asked_alone(
    llm: RouterLLM, fake_openai: FakeOpenAI
) -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    longer = [ChatMessage("a", role="user"), ChatMessage("b", role="assistant"), ChatMessage("c", role="user")]
    llm.chat_all([longer, longer], concatenate=2)
    prepared = llm._prepare_chat_with_tools([FunctionTool.from_defaults(add)])
    llm.chat_all(conversations(TEXTS[:2]), concatenate=2, rar_tools=prepared["rar_tools"])
    assert not any(asked(str(sent.body["messages"][-1]["content"])) for sent in fake_openai.calls())
    assert len(fake_openai.calls()) == 4


async def test_a_size_that_cannot_work_is_told(llm: RouterLLM) -> None:
    with pytest.raises(ConfigurationError, match="concatenate"):
        llm.complete_all(TEXTS, concatenate=0)
    with pytest.raises(ConfigurationError, match="workers"):
        await llm.acomplete_all(TEXTS, workers=0)
