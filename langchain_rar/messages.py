"""Pure maps between LangChain's messages and the engine's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
)
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.messages.tool import tool_call_chunk

from rar.endings import finish_of, logprobs_of
from rar.tokens import reported
from rar.values import Decision, Message, Reply, Role, ToolCall, Usage

DECISION = "rar"  # the key in `response_metadata`
SEAL = "rar_seal"  # beside it: what proves it when the message comes back

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_WRITTEN: dict[Role, type[BaseMessage]] = {
    "system": SystemMessage,
    "user": HumanMessage,
    "assistant": AIMessage,
    "tool": HumanMessage,  # quoted to a model that never made the call
}


def to_engine(messages: Iterable[BaseMessage]) -> tuple[Message, ...]:
    return tuple(map(_to_engine, messages))


def to_native(messages: Iterable[Message]) -> list[BaseMessage]:
    return list(map(_to_native, messages))


def _to_engine(message: BaseMessage) -> Message:
    """The engine's view of a message, which keeps the message itself as `native`."""
    kind = message.role if isinstance(message, ChatMessage) else message.type
    return Message(_ROLES.get(kind, "user"), text_of(message), message)


def _to_native(message: Message) -> BaseMessage:
    """The message to send: `native` itself, or a copy of it where the engine appended text."""
    native: BaseMessage | None = message.native
    if native is None:
        return _WRITTEN[message.role](content=message.text + message.suffix)
    if message.suffix:
        content = native.content
        extended = (
            content + message.suffix
            if isinstance(content, str)
            else [
                *content,
                {"type": "text", "text": message.suffix.lstrip()},
            ]  # after any mark up to which it is cached
        )
        return native.model_copy(update={"content": extended})
    if DECISION in native.response_metadata or SEAL in native.response_metadata:
        # A decision of an earlier turn is ours: it would make every cache key and request body different.
        ours = {DECISION, SEAL}
        metadata = {name: value for name, value in native.response_metadata.items() if name not in ours}
        return native.model_copy(update={"response_metadata": metadata})
    return native


def text_of(message: BaseMessage) -> str:
    """A message's text, of all its text blocks."""
    return message.content if isinstance(message.content, str) else str(message.text)


def as_message(output: Any) -> AIMessage:
    """What a child returned, as a message: completion models and parsers return plain text."""
    if isinstance(output, AIMessage):
        return output
    if isinstance(output, BaseMessage):
        return AIMessage(content=output.content, id=output.id, response_metadata=output.response_metadata)
    return AIMessage(content=str(output))


def as_chunk(output: Any) -> AIMessageChunk:
    """What a child streamed, as a chunk: a child that does not stream yields whole messages, or text."""
    if isinstance(output, AIMessageChunk):
        return output
    if not isinstance(output, BaseMessage):
        return AIMessageChunk(content=str(output))
    message = as_message(output)
    fields = {name: value for name, value in message if name not in {"type", "tool_calls", "invalid_tool_calls"}}
    calls = [
        tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)
        for index, call in enumerate(message.tool_calls)
    ]
    return AIMessageChunk(**fields, tool_call_chunks=calls, chunk_position="last")


def reply_of(role: str, message: AIMessage, model_id: str, seconds: float | None = None) -> Reply:
    """A served message as the engine's reply.

    Args:
        role: `"weak"` or `"strong"`.
        message: Whole, also when it was streamed.
        model_id: The model's id, where the message does not name its model.
        seconds: How long the call took.
    """
    said = message.response_metadata  # where integrations without `usage_metadata` put what the provider said
    return Reply(
        role,
        text_of(message),
        tuple(ToolCall(call["name"], call["args"]) for call in message.tool_calls),
        reported((message.usage_metadata, said.get("token_usage"), said.get("usage"), said)),
        model_id,
        message,
        cached=is_cached(message),
        logprobs=logprobs_of(said.get("logprobs")),
        finish=finish_of((said,), called=bool(message.tool_calls)),
        seconds=seconds,
    )


def usage_metadata(usage: Usage) -> UsageMetadata | None:
    """Tokens as LangChain's messages hold them; None where none are known."""
    if not usage.total:
        return None
    counts = UsageMetadata(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, total_tokens=usage.total)
    if usage.cached_tokens:
        counts["input_token_details"] = {"cache_read": usage.cached_tokens}
    if usage.reasoning_tokens:
        counts["output_token_details"] = {"reasoning": usage.reasoning_tokens}
    return counts


def message_of(reply: Reply) -> AIMessage:
    """A reply as a new message without an id, which is given to it by the run that plays it back."""
    if isinstance(reply.native, AIMessage):
        return reply.native.model_copy(update={"id": None})
    calls = [
        {"name": call.name, "args": dict(call.arguments), "id": f"call_{index}", "type": "tool_call"}
        for index, call in enumerate(reply.tool_calls)
    ]
    return AIMessage(
        content=reply.text,
        tool_calls=calls,
        usage_metadata=usage_metadata(reply.usage),
        response_metadata={"model_name": reply.model_id} if reply.model_id else {},
    )


def stamp(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A decision's facts as a response's metadata hold them; the seal, if it is among them, is no fact."""
    shown = {name: value for name, value in facts.items() if name != SEAL}
    return {DECISION: shown, SEAL: facts[SEAL]} if facts.get(SEAL) is not None else {DECISION: shown}


def sealed(decision: Decision) -> dict[str, Any]:
    """A decision's facts with their seal, for `stamp`."""
    return {**decision.as_dict(), SEAL: decision.seal}


def stamped(output: Any, facts: Mapping[str, Any]) -> Any:
    """A copy of a message, or of structured output with its `raw` message, that carries more facts. The id stays."""
    if isinstance(output, BaseMessage):
        metadata = output.response_metadata
        carried = {**metadata, **stamp({**metadata.get(DECISION, {}), **facts})}
        return output.model_copy(update={"response_metadata": carried})
    if isinstance(output, dict) and isinstance(output.get("raw"), BaseMessage):
        return {**output, "raw": stamped(output["raw"], facts)}
    return output


def with_usage(output: Any, usage: Usage) -> Any:
    """A copy of a message, or of structured output with its `raw` message, that counts more tokens."""
    more = usage_metadata(usage)
    if more is None:
        return output
    if isinstance(output, AIMessage):
        return output.model_copy(update={"usage_metadata": add_usage(output.usage_metadata, more)})
    if isinstance(output, dict) and isinstance(output.get("raw"), AIMessage):
        return {**output, "raw": with_usage(output["raw"], usage)}
    return output


_THOUGHTS = {"reasoning", "thinking", "redacted_thinking", "reasoning_content"}


def is_blank(message: AIMessage) -> bool:
    """Whether a model returned nothing that answers: no text, no other content, no tool call, no refusal.

    Thoughts alone are no answer.
    """
    calls = message.tool_call_chunks if isinstance(message, AIMessageChunk) else ()
    extras = message.additional_kwargs.items()
    return not (
        _says_something(message.content)
        or message.tool_calls
        or message.invalid_tool_calls
        or calls
        or any(value for name, value in extras if name not in _THOUGHTS)
    )


def _says_something(content: str | list[str | dict[str, Any]]) -> bool:
    if isinstance(content, str):
        return bool(content.strip())
    return any(_says_something(block) if isinstance(block, str) else is_solid(block) for block in content)


def is_solid(block: Mapping[str, Any]) -> bool:
    """Whether a content block holds more than a thought or an empty text."""
    kind = block.get("type")
    if kind == "non_standard" and isinstance(block.get("value"), Mapping):
        return is_solid(block["value"])
    if kind in _THOUGHTS:
        return False
    if kind in (None, "text", "output_text"):
        return bool(str(block.get("text") or "").strip()) or bool(block.keys() - _TEXT_FIELDS)
    return True


_TEXT_FIELDS = {"type", "text", "index", "id", "annotations", "extras"}


def is_cached(message: AIMessage) -> bool:
    """Whether LangChain's cache gave this message: it sets the cost of such a hit to zero."""
    counted: Mapping[str, Any] = message.usage_metadata or {}
    return counted.get("total_cost") == 0
