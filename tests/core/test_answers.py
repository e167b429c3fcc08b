"""Extractors: what replies say, in a form that votes, cascades and judges can compare."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rar.answers import EXTRACTORS, as_extractor, auto
from rar.errors import UnknownNameError
from rar.values import Reply, ToolCall, question

PLAIN = question("What is it?")
CHOICE = question("Which river flows through Paris?\nA) the Rhine\nB) the Seine")


def said(text: str, *calls: ToolCall) -> Reply:
    return Reply("weak", text, calls)


@pytest.mark.parametrize(
    ("name", "asked", "reply", "expected"),
    [
        ("letter", CHOICE, "The answer is **B**.", "B"),
        ("letter", CHOICE, "the Seine", "B"),
        ("letter", CHOICE, "A river.", None),
        ("number", PLAIN, "3 x 5 = 15, so the answer is 15.", Decimal(15)),
        ("number", PLAIN, "many", None),
        ("yes_no", PLAIN, "Yes, it does.", "yes"),
        ("yes_no", PLAIN, "<think>No?</think>Yes.", "yes"),
        ("yes_no", PLAIN, "Perhaps.", None),
        ("json", PLAIN, '```json\n{"b": 1.0, "a": " x "}\n```', '{"a": "x", "b": 1}'),
        ("json", PLAIN, "{broken", None),
        ("text", PLAIN, " The  **Seine**! ", "the seine"),
        ("text", PLAIN, "<think>Hm.", None),
        ("tools", PLAIN, "I call none.", None),
    ],
)
def test_what_a_reply_says(name: str, asked: object, reply: str, expected: object) -> None:
    assert as_extractor(name)(asked, said(reply)) == expected  # type: ignore[arg-type]


def test_tool_calls_are_alike_in_any_order_and_differ_by_their_arguments() -> None:
    rome, oslo = ToolCall("weather", {"city": "Rome", "days": 1}), ToolCall("weather", {"city": "Oslo"})
    tools = as_extractor("tools")

    assert tools(PLAIN, said("", rome, oslo)) == tools(PLAIN, said("Let me see.", oslo, rome)) != None  # noqa: E711
    assert tools(PLAIN, said("", rome)) == tools(PLAIN, said("", ToolCall("weather", {"days": 1.0, "city": "Rome"})))
    assert tools(PLAIN, said("", rome)) != tools(PLAIN, said("", rome, rome))


@pytest.mark.parametrize(
    ("asked", "one", "other", "form"),
    [
        (CHOICE, "B", "I choose option B", "letter"),
        (question("How many legs has a dog?"), "4", "It has 4 legs.", "number"),
        (question("Is ice cold?"), "Yes.", "Yes, it is frozen water.", "yes_no"),
        (PLAIN, '{"a": 1}', '```json\n{"a": 1.0}\n```', "json"),
        (PLAIN, "A dog.", "a  dog", "text"),
    ],
)
def test_auto_compares_by_the_form_of_each_reply(asked: object, one: str, other: str, form: str) -> None:
    first, second = auto(asked, said(one)), auto(asked, said(other))  # type: ignore[arg-type]

    assert first is not None
    assert first[0] == form
    assert first == second


def test_what_says_nothing_is_alike_to_nothing() -> None:
    assert auto(PLAIN, said("<think>Hm.")) is None


def test_all_are_values_that_can_be_counted() -> None:
    reply = said("Yes: 4", ToolCall("t", {"a": [1, {"b": 2}]}))

    assert {name for name, extract in EXTRACTORS.items() if isinstance(hash(extract(CHOICE, reply)), int)} == set(
        EXTRACTORS
    )


def test_a_function_is_an_extractor_itself() -> None:
    assert as_extractor(lambda request, reply: len(reply.text))(PLAIN, said("four")) == 4


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="'letter'"):
        as_extractor("leter")
