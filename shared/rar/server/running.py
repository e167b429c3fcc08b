"""The server as a process: uvicorn, stopped gently, and with an end to the patience for slow heads of requests."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rar.server.app import create_app
from rar.server.config import ServerConfig

# Seconds for which a thread that learns may keep the interpreter from a request: a fifth of the usual.
_TURN = 0.001
_LONGEST_HEAD = 64 * 2**10  # bytes of a request's head


def serve(config: ServerConfig) -> None:
    """Serve until the process is told to stop; open requests then get `config.grace` seconds to end."""
    sys.setswitchinterval(_TURN)
    server_of(config).run()


def server_of(config: ServerConfig, **settings: Any) -> uvicorn.Server:
    """The server, not yet started.

    Args:
        settings: Of `uvicorn.Config`.
    """
    usual = {
        "host": config.host,
        "port": config.port,
        "http": _patient(config.patience),
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": max(1, round(config.grace)),
        "h11_max_incomplete_event_size": _LONGEST_HEAD,
        "lifespan": "on",
    }
    return uvicorn.Server(uvicorn.Config(create_app(config), **{**usual, **settings}))


def _patient(seconds: float) -> type[asyncio.Protocol]:
    """HTTP/1.1 whose clients must have sent the head of their first request within so many seconds."""

    class Patient(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._waiting = self.loop.call_later(seconds, self._give_up)

        def handle_events(self) -> None:
            super().handle_events()
            if self.cycle is not None and self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

        def connection_lost(self, exc: Exception | None) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
            super().connection_lost(exc)

        def _give_up(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.close()

    return Patient
