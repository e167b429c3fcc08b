"""Structured output of a router: each child gives it in its own way, and the router still decides which."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from pydantic import ConfigDict, Field, SerializeAsAny

from langchain_rar.forms import Schema
from langchain_rar.serving import ChatServing


class StructuredRouter(RunnableSerializable[LanguageModelInput, Any]):
    """What `RouterChatModel.with_structured_output` returns.

    Args:
        model: The `RouterChatModel`.
    """

    model: SerializeAsAny[Runnable[LanguageModelInput, Any]]
    form: Schema = Field(exclude=True, repr=False)

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return self._serving(input, config, kwargs).invoke()

    async def ainvoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return await self._serving(input, config, kwargs).ainvoke()

    def stream(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        yield from self._serving(input, config, kwargs).stream()

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        async with aclosing(self._serving(input, config, kwargs).astream()) as chunks:
            async for chunk in chunks:
                yield chunk

    def _serving(self, input: LanguageModelInput, config: RunnableConfig | None, kwargs: dict[str, Any]) -> ChatServing:
        serving: ChatServing = self.model.serving(input, config, kwargs, form=self.form)  # type: ignore[attr-defined]
        return serving
