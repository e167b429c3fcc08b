"""Models for callers without a framework: a plain function is one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from rar.drive import Model
from rar.errors import ConfigurationError, SameModelError
from rar.injection import messages_of
from rar.naming import shown
from rar.values import GUIDE_MODEL, STRONG, WEAK, Call, Message, Reply

T = TypeVar("T")


class FunctionModel:
    """A function of messages as a model.

    Args:
        answer: Returns the answer's text, or a whole `Reply`. Async callers run it in a thread.
        id: The model's name.
    """

    def __init__(self, answer: Callable[[Sequence[Message]], str | Reply], id: str) -> None:
        self._answer, self._id = answer, id

    def __repr__(self) -> str:
        return f"FunctionModel({self._id!r})"

    @property
    def id(self) -> str:
        return self._id

    def call(self, call: Call) -> Reply:
        messages = [Message(m.role, m.text + m.suffix, m.native) for m in messages_of(call)]
        answer = self._answer(messages)
        return answer if isinstance(answer, Reply) else Reply(call.model, answer, model_id=self._id)

    async def acall(self, call: Call) -> Reply:
        return await asyncio.to_thread(self.call, call)


def as_model(value: Any, role: str) -> Model:
    """`value` as a model; a function of messages is known by its own name."""
    if isinstance(value, Model) and not isinstance(value, type):
        return value
    if callable(value) and not isinstance(value, type):
        return FunctionModel(value, value.__name__ if inspect.isroutine(value) else role)
    hint = advice(value) or "Pass a `rar.drive.Model` or a function of messages."
    raise ConfigurationError(f"{role}={shown(value)} is no model. {hint}")


def advice(value: Any) -> str:
    """Where a framework's model belongs, if it is one; neither framework is imported to know it."""
    frameworks = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    if "langchain_core" in frameworks:
        return "Pass chat models of LangChain to `langchain_rar.RouterChatModel`."
    if "llama_index" in frameworks:
        return "Pass LLMs of LlamaIndex to `llama_index_rar.RouterLLM`."
    return ""


def named_models(models: Mapping[str, Any] | None, make: Callable[[Any, str], T]) -> dict[str, T]:
    """Further models by name, each made by `make(model, name)`.

    Raises:
        ConfigurationError: A name is that of the weak or the strong model, or of the one that writes guides.
    """
    for name in models or {}:
        if name in (WEAK, STRONG, GUIDE_MODEL):
            raise ConfigurationError(f"models= cannot hold {name!r}. Pass that model as `{name}=`.")
        if not isinstance(name, str):
            raise ConfigurationError(f"models= names a model {shown(name)}. Names are texts.")
    return {name: make(model, name) for name, model in (models or {}).items()}


def check_pair(weak_id: str, strong_id: str) -> None:
    """Refuse a pair that is one model.

    Raises:
        SameModelError: The two ids are equal.
    """
    if weak_id == strong_id:
        raise SameModelError(weak_id)
