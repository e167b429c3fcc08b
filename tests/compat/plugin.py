"""A pytest plugin that puts a router in the place of the fake models of other projects' tests.

`RAR_COMPAT` says how: `weak` and `strong` send every call to one of two such fakes, `learning` has the router learn.
Only models that a test makes of the fake class itself are replaced, not those of classes that the test derives from it.
"""

from __future__ import annotations

import importlib
import os
import sys
import uuid
from types import ModuleType
from typing import Any

import pytest
from langchain_core.language_models import fake_chat_models
from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from langchain_rar import RouterChatModel
from rar import Router

_MODULES = ("tests.unit_tests.agents.model", "tests.unit_tests.chat_model", "tests.model")
_DATABASES = (
    "psycopg",
    "psycopg_pool",
    "langgraph.checkpoint.postgres",
    "langgraph.checkpoint.postgres.aio",
    "langgraph.checkpoint.sqlite",
    "langgraph.checkpoint.sqlite.aio",
    "langgraph.store.postgres",
)
_IDS: dict[str, Any] = {"weak_id": "small", "strong_id": "large"}
_NAMES = ("FakeToolCallingModel", "GenericFakeChatModel")


class _Absent(ModuleType):
    """Stands for a database's package that the tests import and, in their fast mode, do not use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


for _name in _DATABASES:
    try:
        importlib.import_module(_name)
    except ImportError:
        sys.modules[_name] = _Absent(_name)


def pytest_configure(config: pytest.Config) -> None:
    how = os.environ.get("RAR_COMPAT", "")
    if not how:
        return
    if how == "learning":
        _engines.append(_engine())
    BaseMessage.__eq__ = _equal  # type: ignore[method-assign]
    fake_chat_models.GenericFakeChatModel = routed(fake_chat_models.GenericFakeChatModel, how)  # type: ignore[misc]
    for name in _MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        for fake in _NAMES:
            if hasattr(module, fake):
                setattr(module, fake, routed(getattr(module, fake), how))


def _equal(message: BaseMessage, other: object) -> bool:
    """Whether two messages are equal but for the decision that ours carry."""
    return isinstance(other, BaseMessage) and BaseModel.__eq__(_unmarked(message), _unmarked(other))


def _unmarked(message: BaseMessage) -> BaseMessage:
    metadata = {name: value for name, value in message.response_metadata.items() if name != "rar"}
    return message.model_copy(update={"response_metadata": metadata})


def routed(fake: type[Any], how: str) -> type[Any]:
    """A class like `fake` whose own instances are routers over two of `fake`."""

    def __new__(cls: type[Any], *args: Any, **fields: Any) -> Any:  # noqa: N807 - it becomes one
        if cls is not made:
            return object.__new__(cls)
        first, second = _twins(fields)
        return RouterChatModel(fake(*args, **first), fake(*args, **second), **_options(how))

    made = type(fake.__name__, (fake,), {"__new__": __new__, "__module__": fake.__module__})
    return made


def _twins(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of two models that answer alike: what one takes from an iterator, the other still gets."""
    if not hasattr(fields.get("messages"), "__next__"):
        return fields, dict(fields)
    said = list(fields["messages"])
    return {**fields, "messages": iter(said)}, {**fields, "messages": iter(said)}


_engines: list[Router] = []


def _options(how: str) -> dict[str, Any]:
    if (
        how == "learning"
    ):  # each model in a namespace of its own of one router, which no test may open in its event loop
        return {"router": _engines[0], "namespace": uuid.uuid4().hex}
    return {**_IDS, "memory": None, "strategy": lambda request: how}


def _engine() -> Router:
    return Router(**_IDS, memory=":memory:", embedder="hashing", learning="inline", learning_budget=None)
