"""More than two models: the one that a ranking router prefers answers, in every mode."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.llm import LLM

from llama_index_rar import RouterLLM
from rar import Router
from rar.errors import UnknownModelError
from rar.strategies import BestOf
from tests.contract.llama_index_llm import MULTIPLY
from tests.core.topics import CODE, POEM, SUM, ranking
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted

NAMES = ("weak", "strong", "coder")
CHAT = [ChatMessage(role="user", content=CODE)]


@pytest.fixture
def llm(openai: Callable[..., LLM]) -> RouterLLM:
    return RouterLLM(
        openai("small"), openai("large"), models={"coder": openai("code")}, memory=None,
        strategy=BestOf(NAMES, ranking(*NAMES)),
    )  # fmt: skip


def test_each_prompt_is_answered_by_the_best_model_for_it(llm: RouterLLM, fake_openai: FakeOpenAI) -> None:
    for text in (POEM, SUM, CODE):
        llm.complete(text)

    assert [sent.model for sent in fake_openai.calls()] == ["small", "large", "code"]


async def test_all_modes_choose_alike_and_say_so(llm: RouterLLM, fake_openai: FakeOpenAI) -> None:
    responses: list[Any] = [llm.chat(CHAT), await llm.achat(CHAT), llm.complete(CODE), await llm.acomplete(CODE)]
    responses += [list(llm.stream_chat(CHAT))[-1], list(llm.stream_complete(CODE))[-1]]
    responses.append([chunk async for chunk in await llm.astream_chat(CHAT)][-1])

    assert {sent.model for sent in fake_openai.calls()} == {"code"}
    for response in responses:
        facts = response.additional_kwargs["rar"]
        assert (facts["model"], facts["reason"]) == ("coder", "best_of")
        assert 0.0 < facts["confidence"] < 1.0


def test_the_strong_model_steps_in(llm: RouterLLM, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("code", Scripted("down", status=500))
    facts = llm.chat(CHAT).additional_kwargs["rar"]

    assert (facts["model"], facts["failed_over"]) == ("strong", ["coder"])


def test_tool_calls_are_read_by_the_named_model_that_made_them(llm: RouterLLM, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("code", Scripted(tool_calls=[("multiply", {"a": 2, "b": 3})]))
    response = llm.chat_with_tools([MULTIPLY], user_msg=CODE)

    assert response.additional_kwargs["rar"]["model"] == "coder"
    assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == {"a": 2, "b": 3}


def test_tools_go_to_the_strong_model_where_a_named_one_cannot_call_them(openai: Callable[..., LLM]) -> None:
    llm = RouterLLM(
        openai("small"), openai("large"), models={"coder": openai("code", is_function_calling_model=False)},
        memory=None, strategy=BestOf(NAMES, ranking(*NAMES)),
    )  # fmt: skip

    assert llm.chat_with_tools([MULTIPLY], user_msg=CODE).additional_kwargs["rar"]["model"] == "strong"
    assert llm.chat(CHAT).additional_kwargs["rar"]["model"] == "coder"


def test_the_metadata_is_that_of_all_models(openai: Callable[..., LLM], llm: RouterLLM) -> None:
    assert llm.metadata.model_name == "rar(small, large, code)"
    assert llm.metadata.is_function_calling_model


def test_copies_keep_the_named_models_and_dumps_their_names_only(llm: RouterLLM) -> None:
    assert copy.deepcopy(llm).chat(CHAT).additional_kwargs["rar"]["model"] == "coder"
    assert llm.model_copy().chat(CHAT).additional_kwargs["rar"]["model"] == "coder"
    dump = llm.to_dict()
    assert dump["models"] == {"coder": {"class_name": "OpenAILike", "model": "code"}}
    assert "sk-" not in str(dump)


def test_a_missing_model_is_told_at_construction(openai: Callable[..., LLM]) -> None:
    strategy = BestOf(NAMES, ranking(*NAMES))
    with pytest.raises(UnknownModelError, match="'coder'"):
        RouterLLM(openai("small"), openai("large"), memory=None, strategy=strategy)
    with Router(memory=None, strategy=strategy) as shared, pytest.raises(UnknownModelError, match="'coder'"):
        RouterLLM(openai("small"), openai("large"), router=shared)
