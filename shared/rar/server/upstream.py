"""The models behind a server: how their endpoints are called, for users and for learning."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from functools import cached_property
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import httpx

from rar.errors import EmptyReplyError, RarError
from rar.server.config import Upstream
from rar.server.messages import (
    Json,
    as_chunks,
    body_of,
    choice_of,
    completion_of,
    merged,
    reply_of,
    says_something,
)
from rar.turn import Attempt, Target
from rar.values import Answer, Call, Decision, Reply

_CONNECTING: Final = 10.0  # seconds to reach an endpoint; how long it may think is the router's `timeout`
_LONGEST_ERROR: Final = 16_384  # characters of an endpoint's error that are handed on
_ANY_TIME: Final = httpx.Timeout(None, connect=_CONNECTING)
_NO_BOUND: Final = httpx.Limits(max_connections=None, max_keepalive_connections=100)


class UpstreamError(RarError):
    """An endpoint answered with an error, or with what is no answer.

    Args:
        status: Of its response.
        body: What it says, in OpenAI's form where it keeps to that.
        retry_after: When it wants to be asked again, as it says so.
    """

    def __init__(self, model: str, status: int, body: Json, retry_after: str | None = None) -> None:
        super().__init__(model, status, body, retry_after)
        self.model, self.status, self.body, self.retry_after = model, status, body, retry_after

    @property
    def status_code(self) -> int:
        """The same, by the name that clients of the field use."""
        return self.status

    def __str__(self) -> str:
        said = self.body.get("error")
        message = said.get("message") if isinstance(said, Mapping) else said
        return f"The endpoint of {self.model!r} answered with status {self.status}: {message}"


class UpstreamModel:
    """An upstream as the engine's `Model`. Any thread may call it; what is async belongs to one event loop."""

    def __init__(self, role: str, upstream: Upstream) -> None:
        self.role, self.id, self._upstream = role, upstream.model, upstream

    def __repr__(self) -> str:
        return f"UpstreamModel({self.role!r}, {self.id!r})"

    @cached_property
    def _client(self) -> httpx.Client:
        return httpx.Client(**self._settings())

    @cached_property
    def _transport(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(limits=_NO_BOUND, proxy=_proxy_for(self._url))

    @cached_property
    def _url(self) -> httpx.URL:
        return httpx.URL(self._upstream.base_url.rstrip("/") + "/chat/completions")

    @cached_property
    def _headers(self) -> httpx.Headers:
        usual = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "rar", **self._upstream.headers}
        return httpx.Headers({**usual, **self._upstream.authorization, "Content-Type": "application/json"})

    def _settings(self) -> dict[str, Any]:
        upstream = self._upstream
        return {
            "base_url": upstream.base_url.rstrip("/") + "/",
            "headers": {**upstream.headers, **upstream.authorization},
            "timeout": _ANY_TIME,
            "limits": _NO_BOUND,
        }

    async def post(self, body: Json, timeout: httpx.Timeout = _ANY_TIME) -> httpx.Response:
        """The response to a chat completion, whose body is still to be read.

        A client of httpx's would do the same, and take as long for redirects, cookies and hooks as for the request.
        """
        written = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        request = httpx.Request(
            "POST", self._url, headers=self._headers, content=written, extensions={"timeout": timeout.as_dict()}
        )
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response

    def call(self, call: Call) -> Reply:
        begun = time.monotonic()
        response = self._client.post("chat/completions", json=body_of(call, self.id), timeout=_timeout(call))
        return self._reply(response, begun)

    async def acall(self, call: Call) -> Reply:
        begun = time.monotonic()
        response = await whole(await self.post(body_of(call, self.id), _timeout(call)))
        return self._reply(response, begun)

    def _reply(self, response: httpx.Response, begun: float) -> Reply:
        return reply_of(self.role, completion_in(response, self.id), self.id, time.monotonic() - begun)

    async def aclose(self) -> None:
        """Close all connections."""
        if "_transport" in self.__dict__:
            await self._transport.aclose()
        if "_client" in self.__dict__:
            await asyncio.to_thread(self._client.close)


async def whole(response: httpx.Response) -> httpx.Response:
    """`response`, read to its end, and closed whatever happens meanwhile."""
    try:
        await response.aread()
    finally:
        await response.aclose()
    return response


def _proxy_for(url: httpx.URL) -> str | None:
    """The proxy that the environment names for an address, as clients of httpx find it."""
    known = getproxies()
    return None if proxy_bypass(url.host) else known.get(url.scheme) or known.get("all")


def _timeout(call: Call) -> httpx.Timeout:
    return httpx.Timeout(None if call.sampling is None else call.sampling.timeout, connect=_CONNECTING)


def completion_in(response: httpx.Response, model: str) -> Json:
    """What an endpoint answered.

    Raises:
        UpstreamError: An error, or what is no completion.
    """
    if response.status_code >= httpx.codes.BAD_REQUEST:
        raise _error_in(response, model)
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict) or not choice_of(found):
        status = httpx.codes.BAD_GATEWAY
        raise UpstreamError(model, status, {"error": {"message": "It sent no chat completion.", "type": "api_error"}})
    return found


def _error_in(response: httpx.Response, model: str) -> UpstreamError:
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict) or "error" not in found:
        found = {"error": {"message": response.text[:_LONGEST_ERROR], "type": "api_error", "code": None}}
    return UpstreamError(model, response.status_code, found, response.headers.get("retry-after"))


class Completion(Target):
    """The chosen model as the client's call reaches it, or a playback of a reply that there is."""

    def __init__(self, models: Mapping[str, UpstreamModel], attempt: Attempt) -> None:
        super().__init__(attempt)
        self.model = models[self.decision.model]
        self.passed: list[Json] = []

    async def acall(self) -> Json:
        if isinstance(self.decision.choice, Answer):
            return completion_of(self.decision.choice.reply)
        response = await whole(await self.model.post(body_of(self.decision.call, self.model.id)))
        return completion_in(response, self.model.id)

    async def achunks(self) -> AsyncIterator[Json]:
        if isinstance(self.decision.choice, Answer):
            return _played(as_chunks(completion_of(self.decision.choice.reply)))
        response = await self.model.post(body_of(self.decision.call, self.model.id, stream=True))
        if response.status_code >= httpx.codes.BAD_REQUEST:
            raise _error_in(await whole(response), self.model.id)
        return self._events(response)

    async def _events(self, response: httpx.Response) -> AsyncGenerator[Json, None]:
        try:
            if "json" in response.headers.get("content-type", ""):  # it does not stream
                await response.aread()
                for chunk in as_chunks(completion_in(response, self.model.id)):
                    yield chunk
                return
            async for line in response.aiter_lines():
                if not line.startswith("data:"):
                    continue  # a comment that keeps the connection open, or an event's name
                written = line[5:].strip()
                if written == "[DONE]":
                    return
                yield self._chunk(written)
        finally:
            await response.aclose()

    def _chunk(self, written: str) -> Json:
        try:
            chunk = json.loads(written)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict) or "error" in chunk:
            said = chunk if isinstance(chunk, dict) else {"error": {"message": "It sent a piece that is no JSON."}}
            raise UpstreamError(self.model.id, httpx.codes.BAD_GATEWAY, said)
        return chunk

    def solid(self, chunk: Json) -> bool:
        choice = choice_of(chunk)
        return says_something(choice.get("delta") or choice.get("message") or {})

    def nothing(self) -> Exception:
        return EmptyReplyError(self.decision.model)

    def whole(self, chunks: list[Json]) -> Json:
        return merged(chunks)

    def reply(self, output: Json) -> Reply:
        return self.served(self.decision, output)

    def served(self, decision: Decision, output: Json) -> Reply:
        """A completion as what it is learned from."""
        if isinstance(decision.choice, Answer):
            return decision.choice.reply
        return reply_of(self.model.role, output, self.model.id, decision.seconds)


async def _played(chunks: list[Json]) -> AsyncGenerator[Json, None]:
    for chunk in chunks:
        yield chunk
