"""Pure maps between LlamaIndex's messages and responses and the engine's values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms.llm import LLM

from rar.endings import Logprobs, finish_of, logprobs_of
from rar.tokens import field_of, reported
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
# How the messages begin that agents write to their model in the user's name: a tool's result, or what it did wrong.
_INNER = (
    "Observation:", "Result of executing the code given:", "Error while parsing the output:",
    "Error: Could not parse output", "FAILURE: Your previous response was empty.",
)  # fmt: skip


def model_name(child: LLM) -> str:
    """The provider's name of the model; the class's where it has none."""
    name = child.metadata.model_name
    return name if name and name != "unknown" else child.class_name()


def to_engine(messages: Iterable[ChatMessage]) -> tuple[Message, ...]:
    """The engine's view of `messages`. What an agent writes to its model in the user's name is a tool's result."""
    mapped: list[Message] = []
    for message in messages:
        role = _ROLES.get(message.role, "user")
        text = message.content or ""
        if role == "user" and text.startswith(_INNER) and mapped and mapped[-1].role in ("assistant", "tool"):
            role = "tool"
        mapped.append(Message(role, text, message))
    return tuple(mapped)


def to_native(messages: Iterable[Message], system_role: MessageRole = MessageRole.SYSTEM) -> list[ChatMessage]:
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
    """The prompt for a model that completes text: it was one user message."""
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
    return tuple(call for _, call in calls_of(response.message))


def calls_of(message: ChatMessage) -> tuple[tuple[str | None, ToolCall], ...]:
    """The tool calls in a message's blocks, each with its id."""
    blocks = (block for block in message.blocks if isinstance(block, ToolCallBlock))
    return tuple((block.tool_call_id, ToolCall(block.tool_name, _arguments(block.tool_kwargs))) for block in blocks)


# Where integrations put what is an answer and no block.
_ANSWERS = ("tool_calls", "function_call", "refusal", "built_in_tool_calls")


def says_something(response: ChatResponse | CompletionResponse) -> bool:
    """Whether there is an answer: text, a tool call, an image, a refusal. Thoughts and blanks are none."""
    if isinstance(response, CompletionResponse):
        return _has_text(response.text) or _answers(response.additional_kwargs)
    return (
        any(_is_solid(block) for block in response.message.blocks)
        or _answers(response.message.additional_kwargs)
        or _answers(response.additional_kwargs)
    )


def _is_solid(block: ContentBlock) -> bool:
    return _has_text(block.text) if isinstance(block, TextBlock) else not isinstance(block, ThinkingBlock)


def _has_text(text: str) -> bool:
    return bool(text) and not text.isspace()  # which looks no further than it must: streams ask for every chunk


def _answers(extras: Mapping[str, Any]) -> bool:
    return any(extras.get(name) for name in _ANSWERS)


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
    named = field_of(response.raw, "model")
    return Reply(
        model=model,
        text=text,
        tool_calls=calls,
        usage=usage_of(response),
        model_id=named if isinstance(named, str) and named else model_id,
        native=response,
        logprobs=logprobs_in(response),
        finish=finish_in(response, called=bool(calls)),
    )


def finish_in(response: ChatResponse | CompletionResponse, *, called: bool = False) -> str:
    """Why a response ended, or a chunk that ends one; empty where it does not say."""
    raw = response.raw
    return finish_of(
        (_first(raw, "choices"), _first(raw, "candidates"), raw, response.additional_kwargs), called=called
    )


def logprobs_in(response: ChatResponse | CompletionResponse) -> Logprobs | None:
    """The tokens of a response, or of a chunk of one, and their log-probabilities."""
    reported_there = logprobs_of(field_of(_first(response.raw, "choices"), "logprobs"))
    return reported_there or logprobs_of([place[0] for place in response.logprobs or () if place])


def _first(raw: Any, name: str) -> Any:
    parts = field_of(raw, name)
    return parts[0] if isinstance(parts, list) and parts else None


def _says_nothing(choice: Any) -> bool:
    """Whether a chunk is an ordinary one of OpenAI's protocol: streams ask for each."""
    return choice is not None and not field_of(choice, "finish_reason") and not field_of(choice, "logprobs")


class Ending:
    """What the chunks of a stream say by the way: why it ends, and how likely each token was."""

    def __init__(self) -> None:
        self._finish, self._logprobs = "", list[tuple[str, float]]()

    def on(self, chunk: Any) -> Any:
        """`chunk` itself, noted."""
        raw = getattr(chunk, "raw", None)  # objects of structured prediction have none
        if raw is not None and not _says_nothing(_first(raw, "choices")):
            self._finish = finish_in(chunk) or self._finish
            self._logprobs += logprobs_in(chunk) or ()
        return chunk

    def put_on(self, reply: Reply, seconds: float | None) -> Reply:
        """The whole reply with what was noted, and the time that it took."""
        finish = self._finish or reply.finish
        if reply.tool_calls and finish == "stop":
            finish = "tool_calls"
        logprobs = tuple(self._logprobs) or reply.logprobs
        return replace(reply, finish=finish, logprobs=logprobs, seconds=seconds)


def usage_of(response: ChatResponse | CompletionResponse) -> Usage:
    """The tokens that the provider reported, zero where it reported none."""
    raw, added = response.raw, response.additional_kwargs
    return reported((field_of(raw, "usage"), field_of(raw, "usage_metadata"), added, added.get("usage"), raw))
