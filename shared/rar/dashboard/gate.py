"""Who may look at a dashboard."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from http.cookies import SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs

_COOKIE: Final = "rar_dashboard"
_HERE: Final = ("localhost", "127.0.0.1", "[::1]")

Asgi = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class Gate:
    """Lets in who knows the token; without one, only browsers that look at this machine by its own name.

    A page elsewhere can have a browser ask for this one under a name of its own (DNS rebinding), so the name counts.
    """

    def __init__(self, inner: Asgi, token: str | None, loopback: bool) -> None:
        self._inner, self._token, self._loopback = inner, token, loopback
        # What the browser keeps is not the token itself.
        self._kept = None if token is None else hashlib.sha256(f"rar {token}".encode()).hexdigest()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._inner(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not self._named_right(headers):
            await _refuse(scope, send, b"Ask for this page by the name localhost.")
        elif self._token is None or self._is_known(headers):
            await self._inner(scope, receive, send)
        elif scope["type"] == "http" and self._is_shown(scope):
            cookie = f"{_COOKIE}={self._kept}; HttpOnly; SameSite=Strict; Path=/"
            place = [(b"location", scope["path"].encode("latin-1", "replace")), (b"set-cookie", cookie.encode())]
            await send({"type": "http.response.start", "status": 303, "headers": place})
            await send({"type": "http.response.body", "body": b""})
        else:
            await _refuse(scope, send, b"Open the address that the dashboard printed when it started.")

    def _named_right(self, headers: Mapping[str, str]) -> bool:
        """Whether the request means us, and comes from a page of ours."""
        host, origin = headers.get("host", ""), headers.get("origin")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if origin is not None and origin.split("://", 1)[-1] != host:
            return False
        return not self._loopback or name in _HERE

    def _is_known(self, headers: Mapping[str, str]) -> bool:
        cookies = SimpleCookie(headers.get("cookie", ""))
        given = cookies[_COOKIE].value if _COOKIE in cookies else ""
        return hmac.compare_digest(given.encode(), (self._kept or "").encode())

    def _is_shown(self, scope: Mapping[str, Any]) -> bool:
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        return hmac.compare_digest(given.encode("utf-8", "replace"), (self._token or "").encode())


async def _refuse(scope: Mapping[str, Any], send: Any, why: bytes) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    plain = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": plain})
    await send({"type": "http.response.body", "body": why})
