"""The message behind structured output of models whose `with_structured_output` knows no `include_raw`."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import BaseModel

from langchain_rar.children import Child, map_models
from langchain_rar.messages import as_message


class WithRaw(Runnable[LanguageModelInput, dict[str, Any]]):
    """Gives what `include_raw` would: the message, what was made of it, and the error if nothing could be.

    Args:
        child: Gives structured output.
    """

    def __init__(self, child: Child) -> None:
        self.child = child

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        heard: list[AIMessage] = []
        try:
            return _whole(heard, map_models(self.child, lambda model: _Overheard(model, heard)).invoke(input, config))
        except Exception as error:
            return _failed(heard, error)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        heard: list[AIMessage] = []
        try:
            listening = map_models(self.child, lambda model: _Overheard(model, heard))
            return _whole(heard, await listening.ainvoke(input, config))
        except Exception as error:
            return _failed(heard, error)


class _Overheard(Runnable[LanguageModelInput, AIMessage]):
    """A model whose messages are noted."""

    def __init__(self, model: Child, heard: list[AIMessage]) -> None:
        self.model, self.heard = model, heard

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        self.heard.append(as_message(self.model.invoke(input, config, **kwargs)))
        return self.heard[-1]

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        self.heard.append(as_message(await self.model.ainvoke(input, config, **kwargs)))
        return self.heard[-1]


def _whole(heard: list[AIMessage], parsed: Any) -> dict[str, Any]:
    # A model that was not found in the runnable is known by what was made of its message alone.
    return {"raw": heard[-1] if heard else AIMessage(_text(parsed)), "parsed": parsed, "parsing_error": None}


def _failed(heard: list[AIMessage], error: Exception) -> dict[str, Any]:
    if not heard:
        raise error
    return {"raw": heard[-1], "parsed": None, "parsing_error": error}


def _text(parsed: Any) -> str:
    return parsed.model_dump_json() if isinstance(parsed, BaseModel) else json.dumps(parsed, default=str)
