"""Lessons of LangChain calls on their way to another process."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_rar.packing import ChatNatives
from rar.learning.packing import NATIVES, UnpackableError
from rar.values import Request, Route
from tests.langchain.conftest import MakeRouter

IMAGE = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}]
TURN = [
    HumanMessage("What is the weather?", name="ada"),
    AIMessage("", tool_calls=[{"name": "look", "args": {"city": "Oslo"}, "id": "1", "type": "tool_call"}]),
    ToolMessage("Rain.", tool_call_id="1"),
]


def asked(routed: MakeRouter, messages: Any, **arguments: Any) -> Request:
    seen: list[Request] = []

    def strategy(request: Request) -> Route:
        seen.append(request)
        return Route("weak")

    routed(strategy).invoke(messages, **arguments)
    return seen[0]


def test_texts_alone_can_be_studied_with_any_frameworks_models(routed: MakeRouter) -> None:
    request = asked(routed, [SystemMessage("Be brief."), HumanMessage("Hello?"), AIMessage("Yes?"), HumanMessage("Hi")])

    assert NATIVES["langchain"].packed(request) is None


@pytest.mark.parametrize(
    ("messages", "arguments"), [([HumanMessage(IMAGE)], {}), (TURN, {}), ([HumanMessage("Hi")], {"stop": ["."]})]
)
def test_messages_and_arguments_come_back_as_they_were(
    routed: MakeRouter, messages: list[Any], arguments: dict[str, Any]
) -> None:
    request, natives = asked(routed, messages, **arguments), ChatNatives()

    found = natives.restored(request, json.loads(json.dumps(natives.packed(request))))

    assert [message.native for message in found.messages] == [message.native for message in request.messages]
    assert [message.text for message in found.messages] == [message.text for message in request.messages]
    assert found.options == request.options


def test_calls_with_objects_of_the_process_stay_there(routed: MakeRouter) -> None:
    def look(city: str) -> str:
        """Look at the weather."""
        return city

    seen: list[Request] = []
    model = routed(lambda request: seen.append(request) or "weak")
    model.bind_tools([look]).invoke("Hi")

    with pytest.raises(UnpackableError):
        ChatNatives().packed(seen[0])
