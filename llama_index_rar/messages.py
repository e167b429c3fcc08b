"""Pure maps between LlamaIndex's messages and responses and the engine's values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)

from rar.values import Message, Reply, Role, ToolCall, Usage

_ROLES: Mapping[MessageRole, Role] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}
_NATIVE_ROLES: Mapping[Role, MessageRole] = {
    "user": MessageRole.USER,
    "assistant": MessageRole.ASSISTANT,
    "tool": MessageRole.TOOL,
}
# Providers name the same two counts differently; Ollama puts them at the top of its reply.
_INPUT_TOKENS = ("prompt_tokens", "input_tokens", "prompt_token_count", "prompt_eval_count")
_OUTPUT_TOKENS = ("completion_tokens", "output_tokens", "candidates_token_count", "eval_count")


def to_messages(messages: Iterable[ChatMessage]) -> tuple[Message, ...]:
    """The engine's view of `messages`. A ReAct agent's observation, which it sends as the user, is a tool's result."""
    mapped: list[Message] = []
    for message in messages:
        role = _ROLES.get(message.role, "user")
        text = message.content or ""
        if role == "user" and text.startswith("Observation:") and mapped and mapped[-1].role == "assistant":
            role = "tool"
        mapped.append(Message(role, text, message))
    return tuple(mapped)


def from_messages(messages: Iterable[Message], system_role: MessageRole = MessageRole.SYSTEM) -> list[ChatMessage]:
    """What to send: the caller's own messages, copied where the engine appended something, and the engine's own.

    Args:
        system_role: What the model calls the system.
    """
    return [_from_message(message, system_role) for message in messages]


def _from_message(message: Message, system_role: MessageRole) -> ChatMessage:
    if not isinstance(message.native, ChatMessage):
        role = _NATIVE_ROLES.get(message.role, system_role)
        return ChatMessage(role=role, content=message.text + message.suffix)
    if not message.suffix:
        return message.native
    return message.native.model_copy(update={"blocks": _appended(message.native.blocks, message.suffix)})


def _appended(blocks: Sequence[ContentBlock], text: str) -> list[ContentBlock]:
    if blocks and isinstance(last := blocks[-1], TextBlock):
        return [*blocks[:-1], last.model_copy(update={"text": last.text + text})]
    return [*blocks, TextBlock(text=text.lstrip())]


def as_prompt(messages: Iterable[ChatMessage]) -> str:
    """The prompt for a model that completes text: it was one user message, before which a guide may have been put."""
    return "\n\n".join(message.content or "" for message in messages)


def as_completion(response: ChatResponse) -> CompletionResponse:
    """A chat model's response to a prompt. The framework's own converter writes into the message it is given."""
    return CompletionResponse(
        text=response.message.content or "",
        additional_kwargs={**response.message.additional_kwargs, **response.additional_kwargs},
        raw=response.raw,
        logprobs=response.logprobs,
        delta=response.delta,
    )


def tool_calls_of(response: ChatResponse) -> tuple[ToolCall, ...]:
    """The tool calls in a response's blocks; arguments that are not a JSON object are given as `{"": text}`."""
    blocks = (block for block in response.message.blocks if isinstance(block, ToolCallBlock))
    return tuple(ToolCall(block.tool_name, _arguments(block.tool_kwargs)) for block in blocks)


def _arguments(given: dict[str, Any] | str) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    try:
        parsed = json.loads(given or "{}")
    except ValueError:
        parsed = given
    return parsed if isinstance(parsed, dict) else {"": given}


def to_reply(model: str, response: ChatResponse | CompletionResponse, model_id: str) -> Reply:
    """The engine's view of a whole response.

    Args:
        model: The role that answered, `"weak"` or `"strong"`.
        model_id: The model's name where the provider reports none.
    """
    if isinstance(response, ChatResponse):
        text, calls = response.message.content or "", tool_calls_of(response)
    else:
        text, calls = response.text, ()
    reported = _field(response.raw, "model")
    return Reply(
        model=model,
        text=text,
        tool_calls=calls,
        usage=usage_of(response),
        model_id=reported if isinstance(reported, str) and reported else model_id,
        native=response,
    )


def usage_of(response: ChatResponse | CompletionResponse) -> Usage:
    """The tokens that the provider reported, zero where it reported none."""
    raw = response.raw
    for source in (_field(raw, "usage"), _field(raw, "usage_metadata"), response.additional_kwargs, raw):
        if source:
            counts = [_first_count(source, names) for names in (_INPUT_TOKENS, _OUTPUT_TOKENS)]
            if any(counts):
                return Usage(*counts)
    return Usage()


def _first_count(source: Any, names: Sequence[str]) -> int:
    for name in names:
        value = _field(source, name)
        if value and isinstance(value, int):
            return value
    return 0


def _field(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, dict) else getattr(source, name, None)
