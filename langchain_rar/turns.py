"""Where a turn begins and ends: the calls of one tool loop keep the model and the guide that it began with.

A turn ends when the model answers without calling a tool, or by a tool whose result is the answer. Until then whatever
is put behind a tool's result belongs to it: reminders, images, errors of a parser, and a user who interrupts. Such
calls ask no new question, so that nothing is learned from them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, FunctionMessage, HumanMessage, ToolMessage

from langchain_rar.messages import DECISION, SEAL, text_of

# A model that stopped for these reasons has not finished: a call that ends with its message goes on with it.
_UNFINISHED = frozenset({"length", "max_tokens", "MAX_TOKENS", "model_length", "pause_turn"})
_REASONS = ("finish_reason", "stop_reason", "done_reason")

# How loops without tool calls (ReAct, CodeAct, retries) hand results back as if the user had written them.
_RESULT = re.compile(
    r"\s*(?:observation\s*:|tool (?:response|result|output)s?\s*:|<(?:observation|tool_(?:response|result|output)|"
    r"function_results?|execution_(?:result|output)|system-reminder)\b|(?:result|output) of (?:executing|running) |"
    r"(?:code )?execution (?:result|output)s?\s*:|invalid or incomplete response|invalid format:|"
    r"could not parse llm output)",
    re.IGNORECASE,
)
_MIDDLEWARE = "lc_source"  # in `additional_kwargs`, where LangChain's own middleware names itself

_NOWHERE = -1


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """The turn that a call goes on with.

    Args:
        facts: The decision that it began with, as its messages say; None where none is left that says so. A client may
            have written them.
        seal: What proves them, if anything does (`rar.stamps`).
    """

    facts: Mapping[str, Any] | None = None
    seal: object = None


def turn_of(messages: Sequence[BaseMessage], final: Collection[str] = ()) -> OpenTurn | None:
    """The turn in the middle of which `messages` end; None where they end with a new question.

    Args:
        final: Names of tools whose result is the answer: output schemas, and tools that return directly.
    """
    turn, end = None, len(messages)
    while (at := _unfinished(messages, end, final)) is not None:
        turn = OpenTurn()
        if at == _NOWHERE:
            break
        facts = messages[at].response_metadata.get(DECISION)
        if isinstance(facts, Mapping):
            return OpenTurn(facts, messages[at].response_metadata.get(SEAL))
        end = at  # a message that lost its mark, or that no model wrote: the call before it may be of the same turn
    return turn


def _unfinished(messages: Sequence[BaseMessage], end: int, final: Collection[str]) -> int | None:
    """Where the model's last message before `end` is, if it has yet to come to an end; None if it has."""
    for at in range(end - 1, -1, -1):
        message = messages[at]
        if isinstance(message, AIMessage):
            return at if _goes_on(message, messages[at + 1 : end], final) else None
    return _NOWHERE if end and _is_inner(messages[end - 1]) else None


def _goes_on(answer: AIMessage, after: Sequence[BaseMessage], final: Collection[str]) -> bool:
    if not after:
        return any(answer.response_metadata.get(name) in _UNFINISHED for name in _REASONS)
    if _is_inner(after[-1]) or (answer.invalid_tool_calls and not answer.tool_calls):
        return True
    if not any(isinstance(message, (ToolMessage, FunctionMessage)) for message in after):
        return False  # it called no tool, or nobody answered: the call was given up
    return not answer.tool_calls or any(call["name"] not in final for call in answer.tool_calls)


def _is_inner(message: BaseMessage) -> bool:
    """Whether a message was written by the machinery around the model, whatever its role."""
    if isinstance(message, HumanMessage):
        return _MIDDLEWARE in message.additional_kwargs or _RESULT.match(text_of(message)) is not None
    return isinstance(message, (ToolMessage, FunctionMessage))
