"""Commands for memories in databases: bringing their schema up to date."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from rar.cli.arguments import Memory
from rar.memory import open_memory

memory_app = typer.Typer(no_args_is_help=True, help="Memories as a whole: upgrade them.")


@memory_app.command()
def upgrade(
    memory: Memory,
    create: Annotated[bool, typer.Option("--create", help="Make it where there is none.")] = False,
) -> None:
    """Bring a memory of an older version up to date. On a server, the role must own the schema."""
    with closing(open_memory(memory, create=create)) as opened:
        typer.echo(f"{opened.where} is up to date.")
