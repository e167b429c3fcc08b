"""What of a conversation only the model that wrote it can read, and a copy of the conversation without it.

Providers sign or encrypt a model's thinking, and know tool calls of their own and items by ids. Sent to another model,
such blocks are errors or noise: "Invalid `signature` in `thinking` block", "Item 'rs_…' was provided without its
required following item".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage

from langchain_rar.messages import DECISION
from rar.values import Message

# Types of content blocks, each with all that the packages of its provider call so.
_PRIVATE_BLOCKS = frozenset({
    # thinking: Anthropic, Mistral and Gemini; OpenAI and LangChain; Bedrock
    "thinking", "redacted_thinking", "reasoning", "reasoning_content",
    # what the provider itself ran: Anthropic
    "server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result",
    "bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "tool_search_tool_result",
    "mcp_tool_use", "mcp_tool_result", "container_upload", "compaction",
    # OpenAI; a `function_call` is in `tool_calls` too, from which it is written anew without the item's id
    "function_call", "custom_tool_call", "web_search_call", "file_search_call", "computer_call",
    "code_interpreter_call", "image_generation_call", "mcp_call", "mcp_list_tools", "mcp_approval_request",
    "local_shell_call", "shell_call", "shell_call_output", "tool_search_call", "tool_search_output",
    "apply_patch_call", "apply_patch_call_output",
    # Gemini
    "executable_code", "code_execution_result",
    # LangChain's own names for the same
    "server_tool_call", "server_tool_call_chunk", "server_tool_result", "non_standard",
})  # fmt: skip
# What anyone may read of the blocks that carry more: signatures, ids of items, encrypted citations.
_PUBLIC_FIELDS: Mapping[str, frozenset[str]] = {
    "text": frozenset({"type", "text", "cache_control"}),
    "output_text": frozenset({"type", "text"}),
    "refusal": frozenset({"type", "refusal"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control"}),
    "tool_call": frozenset({"type", "id", "name", "args"}),
}
_PRIVATE_KWARGS = frozenset({
    "reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks", "signature", "signatures",
    "thought_signature", "provider_specific_fields", "tool_outputs", "__openai_function_call_ids__",
    "__gemini_function_call_thought_signatures__",
})  # fmt: skip
_ITEM_ID = re.compile(r"(?:msg|resp|rs|fc)_")  # OpenAI's, which it looks up
_MODEL_FIELDS = ("model_name", "model", "model_id")
# One model by two names: `claude-sonnet-4-5` is `us.anthropic.claude-sonnet-4-5-20250929-v1:0`.
_DECORATION = re.compile(r"^(?:.*/)?(?:[a-z]+\.)*(?=[a-z])|(?:-(?:latest|\d{8}|\d{4}-\d\d-\d\d|\d{3,4}|v\d+:\d+))+$")


def readable(messages: Sequence[Message], role: str, model_id: str) -> list[Message]:
    """`messages` for the model in `role`: of others' messages, copies without what only they can read.

    A message's author is in its decision, else in its model's name; one that has neither is left as it is. A message of
    which nothing remains is left out, and so is the result of a call that is.

    Args:
        model_id: The provider's name of the model.
    """
    kept: list[Message] = []
    withheld: set[str] = set()
    for message in messages:
        native = message.native
        if isinstance(native, AIMessage) and not written_by(native, role, model_id):
            public = _public(native, withheld)
            if public is not None:
                kept.append(message if public is native else replace(message, native=public))
        elif not (isinstance(native, ToolMessage) and native.tool_call_id in withheld):
            kept.append(message)
    return kept


def written_by(message: AIMessage, role: str, model_id: str) -> bool:
    """Whether the model in `role` wrote a message, or nobody knows who did."""
    metadata = message.response_metadata
    facts = metadata.get(DECISION)
    if isinstance(facts, Mapping) and isinstance(facts.get("model"), str):
        return bool(facts["model"] == role)
    name = next((name for field in _MODEL_FIELDS if isinstance(name := metadata.get(field), str) and name), None)
    return name is None or _plain(name) == _plain(model_id)


def _public(message: AIMessage, withheld: set[str]) -> AIMessage | None:
    """What others can read of a message; None if nothing. Ids of calls that they cannot are added to `withheld`."""
    update: dict[str, Any] = {}
    if isinstance(message.content, list):
        content = [_public_block(block) for block in message.content if not _is_private(block)]
        called = {call["id"] for call in (*message.tool_calls, *message.invalid_tool_calls)}
        for block in message.content:
            if isinstance(block, dict) and _is_private(block):
                withheld.update(id for field in ("call_id", "id") if isinstance(id := block.get(field), str))
        withheld -= called
        if message.content and not content and not called:
            return None
        if content != message.content:
            update["content"] = content
    if message.additional_kwargs.keys() & _PRIVATE_KWARGS:
        public = {name: value for name, value in message.additional_kwargs.items() if name not in _PRIVATE_KWARGS}
        update["additional_kwargs"] = public
    if message.id is not None and _ITEM_ID.match(message.id):
        update["id"] = None
    if isinstance(item := message.response_metadata.get("id"), str) and _ITEM_ID.match(item):
        update["response_metadata"] = {k: v for k, v in message.response_metadata.items() if k != "id"}
    return message.model_copy(update=update) if update else message


def _is_private(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") in _PRIVATE_BLOCKS


def _public_block(block: Any) -> Any:
    fields = _PUBLIC_FIELDS.get(block.get("type", "")) if isinstance(block, dict) else None
    if fields is None or fields >= block.keys():
        return block
    return {name: value for name, value in block.items() if name in fields}


def _plain(name: str) -> str:
    return _DECORATION.sub("", name.lower())
