"""What a request meets first: is the client known, is there a place, is the body whole and what it should be."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, Final

import anyio
from starlette.requests import Request

from rar.naming import shown
from rar.server.config import ServerConfig
from rar.server.messages import Json

_DEEPEST: Final = 200  # nested lists and objects of a body


class Refused(Exception):  # noqa: N818 - an answer to the client, in OpenAI's form
    """A request that is not served, and what its client is told."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        said = {"error": {"message": message, "type": type, "param": param, "code": code}}
        self.status, self.body, self.headers = status, said if body is None else body, dict(headers or {})


class Place:
    """A request's place among those that are served at a time, as a context; `kept` past it until `leave`."""

    def __init__(self, door: Door) -> None:
        self._door, self._left, self.kept = door, False, False

    def __enter__(self) -> Place:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or not self.kept:
            self.leave()

    def leave(self) -> None:
        if not self._left:
            self._left = True
            self._door.inside -= 1


class Door:
    """Who may come in. Belongs to one event loop."""

    def __init__(self, config: ServerConfig) -> None:
        self._most, self.inside = config.most, 0
        # Known by digests, so that looking one up takes as long for a near miss as for any other.
        self._namespaces = {_digest(os.environ[key.env]): key.namespace for key in config.keys}
        self._open = None if config.keys else config.namespaces()[0]

    def namespace_of(self, http: Request) -> str:
        """The namespace that the client works in.

        Raises:
            Refused: It has no key, or none that is known.
        """
        if self._open is not None:
            return self._open
        scheme, _, key = http.headers.get("authorization", "").partition(" ")
        found = self._namespaces.get(_digest(key.strip())) if scheme.lower() == "bearer" else None
        if found is None:
            raise Refused(
                401, "Send a key that this server knows: `Authorization: Bearer …`.", code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        return found

    def enter(self) -> Place:
        """A place for one request.

        Raises:
            Refused: There is none.
        """
        if self.inside >= self._most:
            raise Refused(
                503, "The server is busy. Ask again in a moment.", type="api_error", code="busy",
                headers={"Retry-After": "1"},
            )  # fmt: skip
        self.inside += 1
        return Place(self)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


async def body_of_request(http: Request, config: ServerConfig) -> Json:
    """A request's JSON object, of a chat completion with a model and messages where that is its path.

    Raises:
        Refused: It is too large, comes too slowly, or is something else.
    """
    try:
        with anyio.fail_after(config.patience):
            raw = await _read(http, config.largest)
    except TimeoutError:
        raise Refused(408, "The body came too slowly.", code="slow_body", headers={"Connection": "close"}) from None
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused(400, "The body is no JSON.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise Refused(400, "The body is no JSON object.", code="invalid_json")
    if _deeper(body, _DEEPEST):
        raise Refused(400, f"The body is nested more than {_DEEPEST} deep.", code="invalid_json")
    if http.url.path.endswith("/chat/completions"):
        _check_chat(body)
    return body


async def _read(http: Request, largest: int) -> bytes:
    told = http.headers.get("content-length", "0")
    if told.isdigit() and int(told) > largest:
        raise _too_large(largest)
    raw = bytearray()
    async for piece in http.stream():
        raw += piece
        if len(raw) > largest:
            raise _too_large(largest)
    return bytes(raw)


def _too_large(largest: int) -> Refused:
    # The rest of it is not read.
    closing = {"Connection": "close"}
    return Refused(413, f"The body has more than {largest:,} bytes.", code="too_large", headers=closing)


def _deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            inner for one in level if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]  # fmt: skip
        if not level:
            return False
    return True


def _check_chat(body: Json) -> None:
    if not isinstance(body.get("model"), str):
        raise Refused(400, f"model={shown(body.get('model'))} is not the name of a model.", param="model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "`messages` is no list with at least one message.", param="messages")
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Refused(400, f"messages[{at}] is no message with a role.", param=f"messages[{at}]")
        if not isinstance(message.get("content"), (str, list, type(None))):
            raise Refused(400, f"messages[{at}] has content that is no text.", param=f"messages[{at}].content")
    for name, kinds, what in _SHAPES:
        if not isinstance(body.get(name), (*kinds, type(None))):
            raise Refused(400, f"{name}={shown(body[name])} is not {what}.", param=name)


_SHAPES: Final = (
    ("stream", (bool,), "true or false"),
    ("stream_options", (dict,), "an object"),
    ("n", (int,), "a whole number"),
    ("tools", (list,), "a list"),
    ("functions", (list,), "a list"),
)
