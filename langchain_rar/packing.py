"""LangChain's part of a lesson that another process is to study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, message_to_dict
from langchain_core.messages.utils import messages_from_dict

from langchain_rar.forms import PLAIN
from langchain_rar.messages import to_engine
from langchain_rar.ports import ARGUMENTS, FORM
from rar.learning import packing
from rar.learning.packing import UnpackableError, as_json
from rar.values import Request

_BARE = (AIMessage, HumanMessage, SystemMessage)
# What is the provider's word on a message, and not sent back.
_NOT_SENT = {"content", "type", "id", "response_metadata", "usage_metadata"}


class ChatNatives:
    """Messages as LangChain's own serialisation writes them, and the call's arguments.

    Bound tools and schemas are objects of the process: such a call is learned from where it was made.
    """

    def packed(self, request: Request) -> Any:
        arguments = dict(request.options.get(ARGUMENTS, {}))
        if request.options.get(FORM, PLAIN) is not PLAIN or not all(map(_is_native, request.messages)):
            raise UnpackableError
        if not arguments and all(_is_bare(message.native) for message in request.messages):
            return None
        messages = [message_to_dict(message.native) for message in request.messages]
        return {"messages": as_json(messages), "arguments": as_json(arguments)}

    def restored(self, request: Request, packed: Any) -> Request:
        messages = to_engine(messages_from_dict(packed["messages"]))
        known: Mapping[str, Any] = packed["arguments"]
        return replace(request, messages=messages, options={FORM: PLAIN, ARGUMENTS: known})


def _is_native(message: Any) -> bool:
    return isinstance(message.native, BaseMessage) and not message.suffix


def _is_bare(message: BaseMessage) -> bool:
    """Whether a message is a role and a text."""
    if type(message) not in _BARE or not isinstance(message.content, str):
        return False
    return not any(value for name, value in message if name not in _NOT_SENT)


packing.NATIVES["langchain"] = ChatNatives()
