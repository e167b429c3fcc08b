"""Tools and schemas in all forms have tasks of their own, the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypedDict, TypeVar

import pytest
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

from llama_index_rar.calls import Chat, Complete, Structured, Tools

T = TypeVar("T")


class Lamp(BaseModel):
    watts: int


class Hinge(BaseModel):
    size: float


class Titled(BaseModel):
    model_config = ConfigDict(title="Lamp")
    volts: int


class Pair(BaseModel, Generic[T]):
    first: T


class Lamps(RootModel[list[Lamp]]):
    pass


class Names(RootModel[list[str]]):
    pass


class Opaque(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    held: subprocess.Popen


class Row(TypedDict):
    watts: int


@dataclass
class Record:
    watts: int


SCHEMAS: list[Any] = [
    Lamp, Hinge, Titled, Pair[int], Pair[str], Lamps, Names, RootModel[Lamp], RootModel[Lamp | Hinge], Opaque, Row,
    Record, Lamp | Hinge, Lamp | str, Lamp | None, list[Lamp], list[Hinge], dict[str, Lamp], Literal["a", "b"],
    Literal["a"], create_model("Made", watts=(int, ...)), create_model("Made", watts=(str, ...)),
    {"type": "object", "title": "Lamp"}, {"type": "object", "properties": {"title": {"type": "string"}}},
    {"type": "json_object"}, {"anyOf": [{"type": "string"}]},
]  # fmt: skip


def test_each_schema_is_a_task_of_its_own() -> None:
    tasks = [Structured(schema).task for schema in SCHEMAS]

    assert len(set(tasks)) == len(SCHEMAS)
    assert all(task.startswith("schema:") for task in tasks)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_schema_is_the_same_task_wherever_it_is_given(schema: Any) -> None:
    assert Structured(schema).task == Structured(schema).task == Chat({"response_format": schema}).task
    assert Complete(arguments={"response_format": schema}).task == Chat({"response_format": schema}).task


PLAIN: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"response_format": None},
    {"response_format": {"type": "text"}},
]
FORMATS: list[dict[str, Any]] = [
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "Lamp", "schema": {"type": "object"}}}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "Hinge", "schema": {"type": "object"}}}},
    {"response_format": Lamp},
    {"format": "json"},
    {"format": {"type": "object"}},
    {"json_mode": True},
    {"response_mime_type": "application/json"},
    {"generation_config": {"response_mime_type": "application/json", "response_schema": Lamp}},
    {"extra_body": {"guided_json": {"type": "object"}}},
    {"text": {"format": {"type": "json_schema", "name": "Lamp", "schema": {"type": "object"}}}},
]


def test_each_format_that_a_call_asks_for_is_a_task_of_its_own() -> None:
    assert {Chat(arguments).task for arguments in PLAIN} == {"answer"}
    assert len({Chat(arguments).task for arguments in FORMATS} | {"answer"}) == len(FORMATS) + 1


def test_a_format_stands_behind_the_tools_and_the_work() -> None:
    tool = FunctionTool.from_defaults(lambda watts: watts, name="light", description="Light it.")
    with_both = Tools([tool], {"response_format": {"type": "json_object"}})

    tools, schema = with_both.task.split("/")
    assert tools == Tools([tool]).task
    assert schema == Chat({"response_format": {"type": "json_object"}}).task
    assert with_both.task_of("rephrase") == f"rephrase/{tools}/{schema}"
    assert Chat({}).task_of("rephrase") == "rephrase"


PARAMETERS = {"type": "object", "properties": {"watts": {"type": "integer"}}, "required": ["watts"]}
OTHERS = {"type": "object", "properties": {"volts": {"type": "integer"}}, "required": ["volts"]}


def in_every_format(name: str, parameters: dict[str, Any]) -> list[Any]:
    return [
        {"type": "function", "function": {"name": name, "description": "Light it.", "parameters": parameters}},
        {"type": "function", "name": name, "parameters": parameters},
        {"name": name, "description": "Light it.", "input_schema": parameters},
        {"toolSpec": {"name": name, "inputSchema": {"json": parameters}}},
        {"name": name, "parameters": {**parameters, "title": name}},
    ]


def test_a_tool_is_the_same_in_every_providers_format() -> None:
    tasks = {Chat({"tools": [tool]}).task for tool in in_every_format("light", PARAMETERS)}
    others = {Chat({"tools": [tool]}).task for tool in in_every_format("light", OTHERS)}

    assert len(tasks) == len(others) == 1
    assert tasks != others


def test_tools_of_any_kind_are_told_apart_and_none_breaks_a_call() -> None:
    def light(watts: int) -> str:
        return str(watts)

    kinds: list[Any] = [
        {"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}}, "torch", light, Lamp,
        {"function_declarations": [{"name": "light", "parameters": PARAMETERS}]}, {"google_search": {}}, Hinge,
        object(),
        {"type": "computer_20250124", "name": "computer", "display_width_px": 1}, FunctionTool.from_defaults(light),
        {"name": "light", "parameter_definitions": {"watts": {"type": "int"}}},
    ]  # fmt: skip
    assert len({Chat({"tools": [kind]}).task for kind in kinds}) == len(kinds)


def test_a_tool_that_cannot_be_read_is_known_by_its_name() -> None:
    class Broken(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        held: subprocess.Popen = Field(...)

    tool = FunctionTool.from_defaults(lambda held: "", name="hold", description="Hold it.", fn_schema=Broken)
    assert Tools([tool]).task == Tools([tool]).task != "answer"


def tasks() -> list[str]:
    return [*(Structured(schema).task for schema in SCHEMAS), *(Chat(arguments).task for arguments in FORMATS)]


def test_tasks_are_the_same_in_every_process() -> None:
    code = "from tests.llama_index.test_shapes import tasks; print(tasks())"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"{tasks()}\n"
