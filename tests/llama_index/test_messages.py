"""The maps between the framework's messages and the engine's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)

from llama_index_rar.messages import as_completion, to_engine, to_native, to_reply, tool_calls_of, usage_of
from rar.values import Message, ToolCall, Usage


def said(text: str, role: MessageRole = MessageRole.USER, **fields: Any) -> ChatMessage:
    return ChatMessage(role=role, content=text, **fields)


def response(**fields: Any) -> ChatResponse:
    return ChatResponse(message=said("Hi", MessageRole.ASSISTANT), **fields)


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (MessageRole.SYSTEM, "system"),
        (MessageRole.DEVELOPER, "system"),
        (MessageRole.USER, "user"),
        (MessageRole.ASSISTANT, "assistant"),
        (MessageRole.CHATBOT, "assistant"),
        (MessageRole.TOOL, "tool"),
        (MessageRole.FUNCTION, "tool"),
    ],
)
def test_roles_are_the_engines(role: MessageRole, expected: str) -> None:
    assert to_engine([said("x", role)])[0].role == expected


def test_a_react_observation_is_a_tools_result() -> None:
    messages = [said("6 * 7?"), said("Thought: multiply", MessageRole.ASSISTANT), said("Observation: 42")]

    assert [message.role for message in to_engine(messages)] == ["user", "assistant", "tool"]


def test_a_user_may_speak_of_observations() -> None:
    assert to_engine([said("Observation: it rains.")])[0].role == "user"


def test_messages_come_back_untouched() -> None:
    messages = [
        said("Be brief.", MessageRole.SYSTEM),
        ChatMessage(role=MessageRole.USER, blocks=[TextBlock(text="What is this?"), ImageBlock(url="http://x/y.png")]),
        said("9", MessageRole.TOOL, additional_kwargs={"tool_call_id": "1"}),
    ]

    assert all(a is b for a, b in zip(to_native(to_engine(messages)), messages, strict=True))


def test_a_suffix_goes_to_a_copy() -> None:
    native = said("Be brief.", MessageRole.SYSTEM)
    (sent,) = to_native([Message("system", "Be brief.", native, suffix="\n\nNotes")])

    assert sent.content == "Be brief.\n\nNotes"
    assert native.content == "Be brief."


def test_a_suffix_after_other_blocks_is_a_block_of_its_own() -> None:
    native = ChatMessage(role=MessageRole.SYSTEM, blocks=[ImageBlock(url="http://x/y.png")])
    (sent,) = to_native([Message("system", "", native, suffix="\n\nNotes")])

    assert [block.block_type for block in sent.blocks] == ["image", "text"]
    assert len(native.blocks) == 1


def test_the_engines_own_messages_use_the_models_word_for_system() -> None:
    (sent,) = to_native([Message("system", "Notes")], MessageRole.CHATBOT)

    assert (sent.role, sent.content) == (MessageRole.CHATBOT, "Notes")


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"a": 1}, {"a": 1}), ('{"a": 1}', {"a": 1}), ("", {}), ('{"a": ', {"": '{"a": '}), ("[1]", {"": "[1]"})],
)
def test_tool_arguments_are_an_object(given: Any, expected: dict[str, Any]) -> None:
    blocks = [ToolCallBlock(tool_name="f", tool_kwargs=given)]
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)

    assert tool_calls_of(ChatResponse(message=message)) == (ToolCall("f", expected),)


@pytest.mark.parametrize(
    "raw",
    [
        {"usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        SimpleNamespace(usage=SimpleNamespace(input_tokens=3, output_tokens=2)),
        {"usage_metadata": {"prompt_token_count": 3, "candidates_token_count": 2}},
        {"prompt_eval_count": 3, "eval_count": 2},
    ],
    ids=["openai", "anthropic", "gemini", "ollama"],
)
def test_usage_is_read_in_each_providers_words(raw: Any) -> None:
    assert usage_of(response(raw=raw)) == Usage(3, 2)


def test_usage_may_be_beside_the_raw_response() -> None:
    counts = {"prompt_tokens": 3, "completion_tokens": 2}

    assert usage_of(response(raw={"usage": None}, additional_kwargs=counts)) == Usage(3, 2)


def test_no_reported_usage_is_zero() -> None:
    assert usage_of(response()) == usage_of(CompletionResponse(text="Hi")) == Usage()


def test_reply_names_the_model_that_the_provider_reports() -> None:
    assert to_reply("weak", response(raw={"model": "small-2026"}), "small").model_id == "small-2026"
    assert to_reply("weak", response(), "small").model_id == "small"


def test_completion_of_a_chat_leaves_the_chat_as_it_was() -> None:
    chat = response(additional_kwargs={"prompt_tokens": 3}, delta="i")
    completion = as_completion(chat)

    assert (completion.text, completion.delta, completion.additional_kwargs) == ("Hi", "i", {"prompt_tokens": 3})
    assert chat.message.additional_kwargs == {}
