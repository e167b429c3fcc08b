"""`batch` and `abatch` of a router, which may join several questions into one call: `concatenate=4`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list, get_executor_for_config

from langchain_rar.forms import PLAIN
from langchain_rar.generations import OlderWays
from langchain_rar.ports import ARGUMENTS
from langchain_rar.serving import ChatServing
from rar.batches import Batch, given, made
from rar.joining import MOST
from rar.options import Number
from rar.values import Message

CONCATENATE = "concatenate"
_SIZE = Number(1, MOST, whole=True, optional=True)


class Batches(OlderWays):
    """The ways in which a chat model takes several inputs."""

    def serving(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None,
        kwargs: Mapping[str, Any],
        *,
        stop: list[str] | None = None,
    ) -> ChatServing:
        """One call, ready to be served in any mode."""
        raise NotImplementedError

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        concatenate: int | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer several inputs.

        Args:
            concatenate: Questions that may share a call, up to 32; None: one. Those with tools, a schema, images, a
                conversation or another system message are asked alone, and so are those whose answer cannot be told
                apart.
        """
        _SIZE(CONCATENATE, concatenate)
        if concatenate in (None, 1) or len(inputs) < 2:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        configs = get_config_list(config, len(inputs))
        batch = self._joining(inputs, configs, kwargs, concatenate or 1)
        with get_executor_for_config(configs[0]) as executor:
            answers = batch.answers(ChatServing.invoke, executor.map)
        return given(answers, return_exceptions=return_exceptions)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        concatenate: int | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """`batch` for callers with an event loop."""
        _SIZE(CONCATENATE, concatenate)
        if concatenate in (None, 1) or len(inputs) < 2:
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        configs = get_config_list(config, len(inputs))
        batch = self._joining(inputs, configs, kwargs, concatenate or 1)
        answers = await batch.aanswers(ChatServing.ainvoke, configs[0].get("max_concurrency"))
        return given(answers, return_exceptions=return_exceptions)

    def _joining(
        self, inputs: list[LanguageModelInput], configs: list[RunnableConfig], kwargs: dict[str, Any], size: int
    ) -> Batch:
        stop = kwargs.pop("stop", None)
        calls = [
            made(partial(self.serving, one, config, kwargs, stop=stop))
            for one, config in zip(inputs, configs, strict=True)
        ]
        return Batch(calls, _arguments, size)


def _arguments(serving: ChatServing) -> Mapping[str, object] | None:
    if serving.form is not PLAIN or not all(map(_is_text, serving.request.messages)):
        return None
    arguments: Mapping[str, object] = serving.request.options[ARGUMENTS]
    return arguments


def _is_text(message: Message) -> bool:
    content = getattr(message.native, "content", message.text)
    if isinstance(content, str):
        return True
    return all(isinstance(block, str) or block.keys() <= {"type", "text"} for block in content)
