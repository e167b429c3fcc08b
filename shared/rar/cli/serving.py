"""`rar serve`: an OpenAI-compatible server in front of weak and strong endpoints."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from rar.errors import MissingDependencyError


def serve(
    config: Annotated[Path, typer.Argument(help="A TOML file: models, options of the router, keys of clients.")],
    host: Annotated[str | None, typer.Option(help="Listen here instead of where the file says.")] = None,
    port: Annotated[int | None, typer.Option(help="Likewise.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Read the file, say what it means, and stop.")] = False,
) -> None:
    """Serve OpenAI's chat completions, each by the cheapest model that keeps the quality."""
    for package in ("starlette", "uvicorn", "httpx"):
        if find_spec(package) is None:
            raise MissingDependencyError(package, "server")
    from rar.server.config import read_config  # noqa: PLC0415 - only this command needs the extra

    found = read_config(config)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    found = replace(found, **given)  # type: ignore[arg-type]
    for role, upstream in found.models.items():
        typer.echo(f"{role:8} {upstream.model} at {upstream.base_url}")
    typer.echo(f"listens  http://{found.host}:{found.port}/v1, {len(found.keys) or 'no'} keys")
    if not check:
        from rar.server.running import serve as run  # noqa: PLC0415 - likewise

        run(found)
