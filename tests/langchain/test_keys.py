"""Whose question it is, and what it is asked for, on the way through a router in every mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_rar import tag_query
from langchain_rar.forms import PLAIN, BoundTools, Schema, task_of_call
from rar.values import Request
from tests.langchain.conftest import MakeRouter

QUESTION = "How many watts has the Lumo in the catalogue?"


async def _streamed(model: Any, given: Any) -> None:
    async for _ in model.astream(given):
        pass


async def in_every_mode(model: Any, given: Any) -> None:
    model.invoke(given)
    list(model.stream(given))
    model.batch([given])
    await model.ainvoke(given)
    await _streamed(model, given)
    await model.abatch([given])


@pytest.fixture
def seen() -> list[Request]:
    return []


@pytest.fixture
def model(routed: MakeRouter, seen: list[Request]) -> Any:
    return routed(lambda request: seen.append(request) or "weak")


def picture(data: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


async def test_a_turn_of_an_image_has_no_key_and_never_an_earlier_turns(model: Any, seen: list[Request]) -> None:
    turns = [HumanMessage("Please write code"), AIMessage("Of what?"), HumanMessage([picture("AAAA")])]

    await in_every_mode(model, turns)

    assert {(request.key, request.key_source) for request in seen} == {(None, "none")}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source_type": "base64", "data": "AAAA", "mime_type": "image/png"},
        {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ],
)
def test_text_with_something_attached_is_known_by_both(block: dict[str, Any], model: Any, seen: list[Request]) -> None:
    words = {"type": "text", "text": "What is this, and what is it for?"}
    for blocks in (
        [words, block],
        [words, {**block, "cache_control": {"type": "ephemeral"}}],
        [words],
        [words, picture("B")],
    ):
        model.invoke([HumanMessage(blocks)])

    keys = [str(request.key) for request in seen]
    assert keys[0] == keys[1]
    assert keys[2] == words["text"]
    assert len(set(keys)) == 3
    assert all(key.startswith(words["text"]) for key in keys)


async def test_two_chains_with_one_question_do_not_share_a_task(model: Any, seen: list[Request]) -> None:
    def prompt(system: str) -> ChatPromptTemplate:
        return ChatPromptTemplate.from_messages([("system", system), MessagesPlaceholder("chat"), ("human", "{input}")])

    given = {"input": QUESTION, "chat": [HumanMessage("Hi"), AIMessage("Hello.")]}
    await in_every_mode(prompt("Rephrase so that it stands alone.") | model, given)
    await in_every_mode(prompt("Answer from: The Lumo has 7 W. It is 28 November.") | model, given)
    await in_every_mode(prompt("You are a helpful assistant.") | model, given)

    assert [request.task for request in seen] == ["rephrase"] * 6 + ["answer"] * 12
    assert {request.key for request in seen} == {QUESTION}


def test_a_tagged_prompt_has_the_work_of_its_words(model: Any, seen: list[Request]) -> None:
    prompt = ChatPromptTemplate.from_template("Break the question down into sub-questions:\n\n{question}")

    (tag_query(prompt) | model).invoke({"question": QUESTION})

    assert [(request.key, request.task) for request in seen] == [(QUESTION, "decompose")]


def test_a_key_that_is_given_stays_as_it_is(model: Any, seen: list[Request]) -> None:
    model.invoke([HumanMessage([{"type": "text", "text": "this"}, picture("A")])], rar_query=QUESTION)

    assert seen[0].key == QUESTION


class City(BaseModel):
    name: str


class River(BaseModel):
    length: int


class Lake(TypedDict):
    depth: int


@dataclass
class Sea:
    salt: float


@tool
def stock(product: str) -> int:
    """How many there are."""
    return 4


UNTITLED = {"type": "object", "properties": {"a": {"type": "string"}}}
TITLED = {"title": "City", **UNTITLED}
JSON_MODE = {"type": "json_object"}
FORMATS = {
    "plain": {},
    "json mode": {"response_format": JSON_MODE},
    "json schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "City", "schema": TITLED}}},
    "class": {"response_format": City},
    "Ollama's": {"format": "json"},
    "tools": {"tools": [stock]},
    "both": {"tools": [stock], "response_format": JSON_MODE},
}


def test_each_response_format_is_a_task_of_its_own() -> None:
    tasks = {name: task_of_call(PLAIN, arguments, "answer") for name, arguments in FORMATS.items()}

    assert tasks["plain"] == task_of_call(PLAIN, {"response_format": {"type": "text"}}, "answer") == "answer"
    assert len(set(tasks.values())) == len(FORMATS)
    assert tasks["both"].startswith(tasks["tools"])


def test_each_schema_is_a_task_of_its_own() -> None:
    schemas: list[Any] = [
        City, River, Lake, Sea, City | River, City | Lake, list[City], Literal["a", "b"], UNTITLED,
        {**UNTITLED, "properties": {"b": {"type": "string"}}}, {**UNTITLED, "title": "Named", "description": "d"},
    ]  # fmt: skip

    tasks = [Schema(schema, include_raw=False, options={}).task for schema in schemas]

    assert len(set(tasks)) == len(schemas)
    assert Schema(City | River, include_raw=True, options={}).task == tasks[4]
    assert not any("0x" in task for task in tasks)


def test_what_is_bound_beside_tools_is_part_of_their_task() -> None:
    tools = BoundTools([stock]).task

    assert BoundTools([stock], None, {"response_format": City}).task == f"{tools}/{Schema(City, False, {}).task}"
    assert BoundTools([], None, {"response_format": JSON_MODE}).task == task_of_call(
        PLAIN, FORMATS["json mode"], "answer"
    )
    assert (
        task_of_call(BoundTools([stock]), {"response_format": City}, "answer")
        == f"{tools}/{Schema(City, False, {}).task}"
    )
    assert Schema(City, False, {"tools": [stock]}).task == f"{tools}/{Schema(City, False, {}).task}"
    assert Schema(None, False, {"method": "json_mode"}).task != "answer"


def test_the_work_stands_before_a_schema_and_not_before_an_agents_tools() -> None:
    assert task_of_call(Schema(City, False, {}), {}, "rephrase") == f"rephrase/{Schema(City, False, {}).task}"
    assert task_of_call(BoundTools([stock]), {}, "plan") == BoundTools([stock]).task


async def test_an_agent_with_a_provider_schema_is_no_plain_answer(model: Any, seen: list[Request]) -> None:
    provider = FORMATS["json schema"]

    await in_every_mode(model.bind_tools([], **provider), QUESTION)
    await in_every_mode(model.bind(**provider), QUESTION)
    await in_every_mode(model, QUESTION)

    tasks = [request.task for request in seen]
    assert set(tasks[:12]) == {task_of_call(PLAIN, provider, "answer")}
    assert set(tasks[12:]) == {"answer"}


def test_an_unusual_argument_crashes_nothing() -> None:
    for odd in (object(), lambda: None, {1: {2, 3}}, [City], City(name="x")):
        assert task_of_call(PLAIN, {"response_format": odd, "tools": [odd]}, "answer").startswith("tools:")
