"""Lists of prompts or conversations for a `RouterLLM`, which may join several questions into one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, TextBlock
from llama_index.core.llms.function_calling import FunctionCallingLLM

from llama_index_rar.calls import Chat, Complete
from llama_index_rar.serving import LLMServing
from rar.batches import Batch, given, made
from rar.joining import MOST
from rar.options import COUNT, Number

_SIZE = Number(1, MOST, whole=True)


class SeveralCalls(FunctionCallingLLM):
    """The ways in which an LLM takes several inputs. LlamaIndex has none of its own."""

    def complete_all(
        self, prompts: Sequence[str], *, concatenate: int = 1, workers: int = 8, **kwargs: Any
    ) -> list[CompletionResponse]:
        """`complete` of several prompts, answered in their order.

        Args:
            concatenate: Questions that may share a call, up to 32. Those whose answer cannot be told apart are asked
                alone.
            workers: Calls at the same time.
            kwargs: Go with every call.
        """
        return self._all([partial(self.serving_of, prompt, kwargs) for prompt in prompts], concatenate, workers)

    async def acomplete_all(
        self, prompts: Sequence[str], *, concatenate: int = 1, workers: int = 8, **kwargs: Any
    ) -> list[CompletionResponse]:
        """`complete_all` for callers with an event loop."""
        return await self._aall([partial(self.serving_of, prompt, kwargs) for prompt in prompts], concatenate, workers)

    def chat_all(
        self, conversations: Sequence[Sequence[ChatMessage]], *, concatenate: int = 1, workers: int = 8, **kwargs: Any
    ) -> list[ChatResponse]:
        """`chat` of several conversations, answered in their order.

        Args:
            concatenate: Questions that may share a call, up to 32. Those with tools, a schema, images, earlier turns or
                another system message are asked alone, and so are those whose answer cannot be told apart.
            workers: Calls at the same time.
            kwargs: Go with every call.
        """
        return self._all([partial(self.serving_of, one, kwargs) for one in conversations], concatenate, workers)

    async def achat_all(
        self, conversations: Sequence[Sequence[ChatMessage]], *, concatenate: int = 1, workers: int = 8, **kwargs: Any
    ) -> list[ChatResponse]:
        """`chat_all` for callers with an event loop."""
        return await self._aall([partial(self.serving_of, one, kwargs) for one in conversations], concatenate, workers)

    def serving_of(self, asked: str | Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> LLMServing:
        """One completion or chat, ready to be served."""
        raise NotImplementedError

    def _all(self, makers: list[Callable[[], LLMServing]], size: int, workers: int) -> list[Any]:
        batch = _joining(makers, size, workers)
        with ThreadPoolExecutor(workers) as pool:

            def mapped(one: Callable[[Any], Any], items: Any) -> Any:
                # A context can be entered by one thread at a time, so each call gets its own copy.
                return [job.result() for job in [pool.submit(copy_context().run, one, item) for item in items]]

            return given(batch.answers(LLMServing.call, mapped))

    async def _aall(self, makers: list[Callable[[], LLMServing]], size: int, workers: int) -> list[Any]:
        return given(await _joining(makers, size, workers).aanswers(LLMServing.acall, workers))


def _joining(makers: list[Callable[[], LLMServing]], size: int, workers: int) -> Batch:
    _SIZE("concatenate", size)
    COUNT("workers", workers)
    return Batch([made(make) for make in makers], _arguments if size > 1 else lambda _: None, size)


def _arguments(serving: LLMServing) -> Mapping[str, object] | None:
    kind = serving.kind
    if type(kind) not in (Chat, Complete) or kind.filled is not None or kind.schema is not None:
        return None
    for message in serving.request.messages:
        native = message.native
        if native is not None and not all(isinstance(block, TextBlock) for block in native.blocks):
            return None
    return kind.arguments
