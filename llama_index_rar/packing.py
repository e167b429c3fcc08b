"""LlamaIndex's part of a lesson that another process is to study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock
from llama_index.core.prompts import SelectorPromptTemplate

from llama_index_rar.authors import Audience
from llama_index_rar.calls import Chat, Complete, Kind
from llama_index_rar.filled import wraps_prompts
from llama_index_rar.messages import to_engine
from llama_index_rar.ports import AUDIENCE, KIND
from rar.learning import packing
from rar.learning.packing import UnpackableError, as_json
from rar.values import Request

_BARE = (MessageRole.ASSISTANT, MessageRole.SYSTEM, MessageRole.USER)


class LLMNatives:
    """Messages as their own model writes them, and the kind of call with its arguments.

    Calls with tools or schemas, with signed thoughts of one of the models, and of templates that have other words for
    other models are learned from where they were made.
    """

    def packed(self, request: Request) -> Any:
        kind, messages = request.options.get(KIND), [message.native for message in request.messages]
        if type(kind) not in (Chat, Complete) or not all(isinstance(one, ChatMessage) for one in messages):
            raise UnpackableError
        assert isinstance(kind, (Chat, Complete))
        if not _is_plain(kind, request.options.get(AUDIENCE)) or any(map(_is_signed, messages)):
            raise UnpackableError
        if type(kind) is Chat and not kind.arguments and all(map(_is_bare, request.messages)):
            return None
        made: dict[str, Any] = {"kind": type(kind).__name__, "arguments": as_json(dict(kind.arguments))}
        if isinstance(kind, Complete):
            made["formatted"] = kind.formatted
        written = [message.model_dump(mode="json") for message in messages]
        return {**made, "messages": as_json(written)}

    def restored(self, request: Request, packed: Any) -> Request:
        messages = to_engine([ChatMessage.model_validate(message) for message in packed["messages"]])
        arguments: Mapping[str, Any] = packed["arguments"]
        kind: Kind = Chat(arguments) if packed["kind"] == "Chat" else Complete(packed["formatted"], arguments)
        return replace(request, messages=messages, options={KIND: kind, AUDIENCE: None})


def _is_plain(kind: Chat | Complete, audience: Any) -> bool:
    """Whether each model is sent the same messages as they are: none has prompts of its own."""
    if kind.filled is None:
        return True
    children = audience.children if isinstance(audience, Audience) else ()
    return not isinstance(kind.filled.template, SelectorPromptTemplate) and all(
        llm.metadata.is_chat_model and llm.output_parser is None and not llm.system_prompt and not wraps_prompts(llm)
        for llm in (kind.filled.router, *children)
    )


def _is_signed(message: ChatMessage) -> bool:
    return bool(message.additional_kwargs) or not all(
        type(block) is TextBlock for block in message.blocks if message.role is MessageRole.ASSISTANT
    )


def _is_bare(message: Any) -> bool:
    """Whether a message is a role and a text."""
    native: ChatMessage = message.native
    return message.role != "tool" and native.role in _BARE and len(native.blocks) == 1 and (
        type(native.blocks[0]) is TextBlock and not message.suffix
    )  # fmt: skip


packing.NATIVES["llama_index"] = LLMNatives()
