"""The dashboard as a process: where it listens, and when it ends."""

from __future__ import annotations

import secrets

from nicegui import app, ui

from rar.dashboard.desk import Desk
from rar.dashboard.gate import Gate
from rar.dashboard.pages import build
from rar.loopback import is_loopback


def serve(desk: Desk, *, host: str = "127.0.0.1", port: int = 8090, token: str | None = None) -> None:
    """Show the dashboard until the process is told to stop.

    Args:
        token: What a browser must know; None: nothing on loopback, else a token that is made and printed.
    """
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    build(desk)
    if desk.reports is not None:
        app.add_static_files("/reports", desk.reports)
    app.add_middleware(Gate, token=token, loopback=is_loopback(host))
    print(f"http://{host}:{port}/{'' if token is None else f'?token={token}'}", flush=True)  # noqa: T201 - to open it
    ui.run(host=host, port=port, reload=False, show=False, title="RAR", show_welcome_message=False, favicon="🧭")
