"""The kinds of calls: what they are learned under."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.tools import FunctionTool, ToolMetadata
from pydantic import BaseModel

from llama_index_rar.calls import Chat, Complete, Structured, Tools
from tests.contract.llama_index_llm import MULTIPLY, City, multiply


class Book(BaseModel):
    title: str
    author: str


class Author(BaseModel):
    author: str


def test_plain_chats_and_completions_are_one_task() -> None:
    assert Chat({"temperature": 0.5}).task == Complete().task == Tools([]).task == "answer"


def test_tools_are_one_task_in_any_order() -> None:
    other = FunctionTool.from_defaults(lambda a: a, name="other", description="Another")

    assert Tools([MULTIPLY, other]).task == Tools([other, MULTIPLY]).task != Tools([MULTIPLY]).task


def test_tools_in_a_providers_format_are_the_same_task() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    given = {"type": "function", "function": {"name": "multiply", "parameters": {**schema, "required": ["a", "b"]}}}

    assert Chat({"tools": [given]}).task == Tools([MULTIPLY]).task


def test_tools_without_a_schema_have_a_task() -> None:
    class Engine:
        metadata = ToolMetadata(name="engine", description="Ask it", fn_schema=None)

    assert Tools([Engine()]).task.startswith("tools:")


def test_objects_are_told_apart_by_their_fields_and_not_by_titles() -> None:
    assert Structured(Book).task != Structured(Author).task
    assert Structured(Book).task == Structured(Book).task


def test_the_same_form_is_the_same_task_through_langchain() -> None:
    forms = pytest.importorskip("langchain_rar.forms")

    assert Tools([MULTIPLY]).task == forms.BoundTools([multiply]).task
    assert Structured(City).task == forms.Schema(City, False, {}).task
