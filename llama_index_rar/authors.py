"""What only its author can read: signed thoughts, reasoning items, citations. Another model refuses them, or is misled.

LlamaIndex notes no author on a message, and nothing may be added to one, since integrations send all that is there. So
an author is known by what it wrote in this process. Of a thread that comes from elsewhere, a signed part goes only to
a model that alone of all can have made it; what nobody signed goes to all, as it would without us.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, CitationBlock, MessageRole, ThinkingBlock
from llama_index.core.llms.llm import LLM

from llama_index_rar.messages import model_name
from llama_index_rar.recent import Recent, digest

# Entries of `additional_kwargs` in which integrations keep a model's thoughts and the results of its provider's tools.
_EXTRAS = {
    "built_in_tool_calls", "encrypted_content", "reasoning", "reasoning_content", "reasoning_details",
    "reasoning_items", "redacted_thinking", "server_tool_use", "thinking", "thinking_blocks", "thinking_signature",
    "thought_signature", "thought_signatures",
}  # fmt: skip
# By what a signed part is signed, and whose integrations (a part of their module's name) make such.
_MAKERS: Mapping[str, tuple[str, ...]] = {
    "thought_signature": ("google", "gemini", "vertex"),
    "thought_signatures": ("google", "gemini", "vertex"),
    "encrypted_content": ("openai", "azure"),
    "reasoning_items": ("openai", "azure"),
    "built_in_tool_calls": ("openai", "azure"),
    "redacted_thinking": ("anthropic", "bedrock", "vertex"),
    "thinking_blocks": ("anthropic", "bedrock", "vertex"),
    "server_tool_use": ("anthropic", "bedrock", "vertex"),
    "citation": ("anthropic", "bedrock", "vertex"),
    "signature": ("anthropic", "bedrock", "vertex"),
    "thinking_signature": ("anthropic", "bedrock", "vertex"),
    "id": ("openai", "azure"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """Something in a message that is its author's own.

    Args:
        mark: What makes it recognised.
        makers: Whose integrations make such parts; empty for one without a signature.
    """

    mark: str
    makers: tuple[str, ...]


class Authors:
    """Which model wrote what, as far as this process saw it. May be used by any thread."""

    def __init__(self, limit: int = 8192) -> None:
        self._known: Recent[str] = Recent(limit)

    def remember(self, message: ChatMessage, author: str) -> None:
        for part in _parts(message):
            self._known.put(part.mark, author)

    def of(self, part: Part) -> str | None:
        return self._known.get(part.mark)


@dataclass(frozen=True, slots=True)
class Audience:
    """All who may be sent a conversation, and what is known of its authors."""

    authors: Authors
    children: tuple[LLM, ...]

    def readable(self, messages: Iterable[ChatMessage], reader: LLM) -> list[ChatMessage]:
        """`messages` without what `reader` cannot read; copied where something is left out."""
        shown = (self._shown(message, reader) for message in messages)
        return [message for message in shown if message is not None]

    def _shown(self, message: ChatMessage, reader: LLM) -> ChatMessage | None:
        if message.role in _READ_BY_ALL or all(self._may_read(part, reader) for part in _parts(message)):
            return message
        blocks = [block for block in message.blocks if (part := _block(block)) is None or self._may_read(part, reader)]
        extras = {
            name: value
            for name, value in message.additional_kwargs.items()
            if name not in _EXTRAS or self._may_read(_extra(name, value), reader)
        }
        # A message of thoughts alone would be an empty one, which providers refuse.
        return message.model_copy(update={"blocks": blocks, "additional_kwargs": extras}) if blocks or extras else None

    def _may_read(self, part: Part, reader: LLM) -> bool:
        author = self.authors.of(part)
        if author is not None:
            return author == model_name(reader)
        able = [model_name(child) for child in self.children if _makes(child, part)]
        return not part.makers or able == [model_name(reader)]


def _makes(child: LLM, part: Part) -> bool:
    modules = [base.__module__ for base in type(child).__mro__]
    return any(maker in module for module in modules for maker in part.makers)


_READ_BY_ALL = {MessageRole.USER, MessageRole.SYSTEM, MessageRole.DEVELOPER, MessageRole.TOOL, MessageRole.FUNCTION}


def _parts(message: ChatMessage) -> Iterator[Part]:
    for block in message.blocks:
        if (part := _block(block)) is not None:
            yield part
    for name, value in message.additional_kwargs.items():
        if name in _EXTRAS and value:
            yield _extra(name, value)


def _block(block: Any) -> Part | None:
    if isinstance(block, ThinkingBlock):
        signed = {name: value for name, value in block.additional_information.items() if value}
        return Part(_mark(block.content, signed), _makers(signed))
    if isinstance(block, CitationBlock):
        return Part(_mark("citation", block.model_dump(mode="json")), _makers(("citation",)))
    return None


def _extra(name: str, value: Any) -> Part:
    return Part(_mark(name, value), _makers((name,)))


def _makers(names: Iterable[str]) -> tuple[str, ...]:
    return next((_MAKERS[name] for name in names if name in _MAKERS), ())


def _mark(*what: Any) -> str:
    return digest(json.dumps(what, sort_keys=True, default=str))
