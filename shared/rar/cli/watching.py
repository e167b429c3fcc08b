"""`rar dashboard`: a page to look at a memory while it works."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from rar.cli.memories import USUAL, reading, writing
from rar.cli.prices import prices_of
from rar.errors import MissingDependencyError


def dashboard(
    memory: Annotated[str, typer.Argument(help="A memory, rar.db without one.")] = USUAL,
    host: Annotated[str, typer.Option(help="Where to listen; other machines need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Likewise.")] = 8090,
    token: Annotated[str | None, typer.Option(envvar="RAR_DASHBOARD_TOKEN", help="What a browser must know.")] = None,
    manage: Annotated[
        bool, typer.Option("--manage", help="Let guides be approved, retired, edited and added.")
    ] = False,
    price: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=IN/OUT", help="USD per million tokens of weak, strong or a model. Repeatable."),
    ] = None,
    reports: Annotated[Path | None, typer.Option(help="A folder with reports of `rar eval --out`.")] = None,
) -> None:
    """Show decisions, savings, quality, guides and learning in the browser, live."""
    if find_spec("nicegui") is None:
        raise MissingDependencyError("nicegui", "dashboard")
    from rar.dashboard.desk import Desk  # noqa: PLC0415 - only this command needs the extra
    from rar.dashboard.running import serve  # noqa: PLC0415 - likewise

    with (writing if manage else reading)(memory) as opened:
        serve(Desk(opened, prices_of(price), manage, reports), host=host, port=port, token=token)
