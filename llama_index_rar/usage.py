"""Asking for the tokens of a stream, which OpenAI reports only on request.

Only where the client is OpenAI's and talks to OpenAI: another endpoint may refuse a request with an option that it does
not know, and that would cost the user an answer. There the engine estimates tokens from the text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.llms.llm import LLM

from rar.tokens import reported

_CLIENTS = {"llama_index.llms.openai.base.OpenAI", "llama_index.llms.openai_like.base.OpenAILike"}
_HOSTS = {"api.openai.com"}
ASKED: Mapping[str, Any] = {"stream_options": {"include_usage": True}}


def asks(child: LLM, arguments: Mapping[str, Any]) -> bool:
    """Whether to ask `child` for a stream's tokens: it can tell, and the user said nothing about it."""
    if f"{type(child).__module__}.{type(child).__qualname__}" not in _CLIENTS:
        return False
    own = urlsplit(str(getattr(child, "api_base", None) or "")).hostname in _HOSTS
    said = "stream_options" in arguments or "stream_options" in (getattr(child, "additional_kwargs", None) or {})
    return own and not said and child.metadata.is_chat_model


class Held:
    """Holds back the chunk that ends an answer until the one with its tokens, which is put into it, has come.

    So that whoever reads the stream sees the chunks that they would see without asking.
    """

    def __init__(self) -> None:
        self._chunk: ChatResponse | None = None

    def ready(self, chunk: ChatResponse) -> list[ChatResponse]:
        """The chunks to pass on now that `chunk` has come."""
        choices = getattr(chunk.raw, "choices", None)
        counted = getattr(chunk.raw, "usage", None)
        if self._chunk is not None and not choices and counted:
            used = reported([counted])
            parts = {"cached_tokens": used.cached_tokens, "reasoning_tokens": used.reasoning_tokens}
            details = {name: count for name, count in parts.items() if count}
            counts = {**self._chunk.additional_kwargs, **chunk.additional_kwargs, **details}
            self._chunk = self._chunk.model_copy(update={"additional_kwargs": counts})
            return []
        before = self.rest()
        if choices and choices[0].finish_reason:
            self._chunk = chunk
            return before
        return [*before, chunk]

    def rest(self) -> list[ChatResponse]:
        """What is held back, to be passed on at the end, or before an error: what came is the user's."""
        held, self._chunk = self._chunk, None
        return [] if held is None else [held]


def joined(chunks: Iterator[ChatResponse]) -> Iterator[ChatResponse]:
    """`chunks` as they would be without asking, but for the tokens on the last one."""
    held = Held()
    try:
        for chunk in chunks:
            yield from held.ready(chunk)
    except Exception:
        yield from held.rest()
        raise
    finally:
        close(chunks)
    yield from held.rest()


async def ajoined(chunks: AsyncIterator[ChatResponse]) -> AsyncIterator[ChatResponse]:
    held = Held()
    try:
        async for chunk in chunks:
            for ready in held.ready(chunk):
                yield ready
    except Exception:
        for ready in held.rest():
            yield ready
        raise
    finally:
        await aclose(chunks)
    for ready in held.rest():
        yield ready


def close(chunks: Iterator[Any]) -> None:
    """End a child's stream that may not have come to its end, at once and not when it is collected."""
    if isinstance(chunks, Generator):
        chunks.close()


async def aclose(chunks: AsyncIterator[Any]) -> None:
    if isinstance(chunks, AsyncGenerator):
        await chunks.aclose()
