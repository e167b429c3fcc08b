"""A provider for LiteLLM, so that its proxy serves routed models with its own keys, budgets and pages.

In a module beside the proxy's configuration::

    from rar.integrations.litellm import provider

    handler = provider("rar.toml")

`rar.toml` is a file of `rar serve`, of which the models, the floors and the router's options count.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
from litellm import ModelResponse
from litellm.llms.custom_llm import CustomLLM, CustomLLMError

from rar.naming import cause
from rar.router import Router
from rar.server.app import Service
from rar.server.config import ServerConfig, read_config
from rar.server.entry import Refused
from rar.server.messages import Json, choice_of, merged
from rar.server.upstream import UpstreamError

T = TypeVar("T")
_DEFAULT: Final = "default"  # `rar/default` is `rar` itself

# From the metadata that LiteLLM keeps of a call to the namespace that it works in.
NamespaceOf = Callable[[Mapping[str, Any]], str | None]


def team_of(metadata: Mapping[str, Any]) -> str | None:
    """The team of the key that a proxy's client used."""
    team = metadata.get("user_api_key_team_id")
    return team if isinstance(team, str) and team else None


def provider(
    config: str | Path | ServerConfig, router: Router | None = None, *, namespace_of: NamespaceOf = team_of
) -> RARProvider:
    """The provider that a file describes.

    Args:
        router: Routes in place of the one that the configuration describes.
        namespace_of: Tells the namespace of a call; None from it is the router's own. By default each team has its own.

    Raises:
        ConfigurationError: The file cannot work.
    """
    found = config if isinstance(config, ServerConfig) else read_config(config)
    return RARProvider(found, router, namespace_of)


class RARProvider(CustomLLM):  # type: ignore[misc]  # its package is not there when types are checked
    """What LiteLLM calls for models named `rar/…`: `rar/default`, `rar/rar-0.95`, `rar/strong`."""

    def __init__(self, config: ServerConfig, router: Router | None, namespace_of: NamespaceOf) -> None:
        super().__init__()
        self._service, self._namespace_of = Service(config, router), namespace_of
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    @property
    def router(self) -> Router:
        return self._service.router

    async def acompletion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        call = _named(args, kwargs)
        try:
            turn = await self._service.begun(*self._asked(call))
            completion = await self._service.whole(turn)
        except Exception as error:
            raise _told(error) from error
        facts = completion.pop("rar")
        response = ModelResponse(**completion)
        response._hidden_params = {"response_cost": facts.get("usd"), "rar": facts}  # noqa: SLF001 - where LiteLLM looks
        return response

    async def astreaming(self, *args: Any, **kwargs: Any) -> AsyncIterator[Json]:
        call = _named(args, kwargs)
        passed: list[Json] = []
        try:
            turn = await self._service.begun(*self._asked(call))
            async with aclosing(self._service.chunks(turn)) as chunks:
                async for chunk in chunks:
                    passed.append(chunk)
                    for piece in _pieces(chunk):
                        yield piece
        except Exception as error:
            raise _told(error) from error
        await self._service.learned(turn, merged(passed))

    def completion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        return self._run(self.acompletion(*args, **kwargs))

    def streaming(self, *args: Any, **kwargs: Any) -> Iterator[Json]:
        pieces = self.astreaming(*args, **kwargs)
        while (piece := self._run(_next(pieces))) is not None:
            yield piece

    def _asked(self, call: Mapping[str, Any]) -> tuple[Json, str]:
        """The body of a call, and its namespace."""
        settings, known = dict(call.get("optional_params") or {}), call.get("litellm_params") or {}
        metadata = {**(known.get("litellm_metadata") or {}), **(known.get("metadata") or {})}
        settings.pop("stream", None)
        extra = settings.pop("extra_body", None) or {}
        name = str(call["model"]).partition("/")[2] or str(call["model"])
        body = {**settings, **extra, "model": "rar" if name == _DEFAULT else name, "messages": list(call["messages"])}
        return body, self._namespace_of(metadata) or self.router.namespace

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """`work` done on an event loop of our own, for callers that have none."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="rar-litellm", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _next(pieces: AsyncIterator[Json]) -> Json | None:
    return await anext(pieces, None)


_ORDER: Final = ("model", "messages")


def _named(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments by name: LiteLLM passes most by name, and the first two sometimes not."""
    return {**dict(zip(_ORDER, args, strict=False)), **kwargs}


def _pieces(chunk: Json) -> Iterator[Json]:
    """A streamed piece as LiteLLM wants it."""
    choice = choice_of(chunk)
    delta, finish = choice.get("delta") or {}, choice.get("finish_reason")
    calls = list(delta.get("tool_calls") or ()) or [None]
    usage = chunk.get("usage")
    if not choice and not usage:
        return
    for place, call in enumerate(calls):
        last = place == len(calls) - 1
        yield {
            "text": (delta.get("content") or "") if place == 0 else "",
            "tool_use": call,
            "is_finished": bool(finish) and last,
            "finish_reason": finish or "",
            "usage": usage if last else None,
            "index": choice.get("index", 0),
        }


def _told(error: Exception) -> Exception:
    """An error as LiteLLM reports it, with its status."""
    status, message = _of(error)
    if status is None:
        return error
    told: Exception = CustomLLMError(status, message)
    return told


def _of(error: Exception) -> tuple[int | None, str]:
    """The status and the message of an error; None where LiteLLM sees to it."""
    if isinstance(error, UpstreamError):
        said = error.body.get("error")
        return error.status, str(said.get("message") if isinstance(said, Mapping) else said)
    if isinstance(error, Refused):
        return error.status, str(error)
    if isinstance(error, (httpx.HTTPError, TimeoutError)):
        return 502, f"The model's endpoint was not reached. {cause(error)}"
    return None, ""
