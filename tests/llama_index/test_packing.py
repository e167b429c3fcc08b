"""Lessons of LlamaIndex calls on their way to another process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.openai_like import OpenAILike

from llama_index_rar import RouterLLM
from llama_index_rar.packing import LLMNatives
from rar.learning.packing import NATIVES, UnpackableError
from tests.llama_index.conftest import Observer

Make = Callable[..., RouterLLM]


@pytest.fixture
def routed(openai: Callable[..., OpenAILike], observer: Observer) -> Make:
    def make(**fields: Any) -> RouterLLM:
        children = {"weak": openai("small", **fields), "strong": openai("large", **fields)}
        return RouterLLM(**children, memory=None, strategy=observer)

    return make


def test_texts_alone_can_be_studied_with_any_frameworks_models(routed: Make, observer: Observer) -> None:
    llm = routed()
    llm.chat([ChatMessage("Be brief.", role="system"), ChatMessage("Hello?")])
    llm.predict(PromptTemplate("Question: {question}"), question="Who are you?")

    assert [NATIVES["llama_index"].packed(request) for request in observer.requests] == [None, None]


@pytest.mark.parametrize("image", [True, False])
def test_messages_and_arguments_come_back_as_they_were(routed: Make, observer: Observer, image: bool) -> None:
    blocks = [
        TextBlock(text="What is this?"),
        *([ImageBlock(image=b"png", image_mimetype="image/png")] if image else []),
    ]
    routed().chat([ChatMessage(role=MessageRole.USER, blocks=blocks)], temperature=0.25)
    request, natives = observer.last, LLMNatives()

    found = natives.restored(request, json.loads(json.dumps(natives.packed(request))))

    assert [message.native for message in found.messages] == [message.native for message in request.messages]
    (kind, _), (known, _) = found.options.values(), request.options.values()
    assert (type(kind), kind.arguments) == (type(known), known.arguments) and kind.arguments["temperature"] == 0.25


def test_a_completion_comes_back_as_one(routed: Make, observer: Observer) -> None:
    routed().complete("Who are you?")
    natives = LLMNatives()

    found = natives.restored(observer.last, natives.packed(observer.last))

    assert [type(kind).__name__ for kind in found.options.values() if kind] == ["Complete"]


def test_prompts_that_each_model_makes_for_itself_stay_in_the_process(routed: Make, observer: Observer) -> None:
    routed(system_prompt="You are a pirate.").predict(PromptTemplate("Question: {question}"), question="Who?")

    with pytest.raises(UnpackableError):
        LLMNatives().packed(observer.last)
