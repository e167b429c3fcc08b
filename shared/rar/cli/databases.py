"""Commands for memories as a whole: bringing them up to date, and copying them."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from rar.cli.arguments import Memory
from rar.memory import open_memory
from rar.memory.copying import copy as copy_memory
from rar.memory.queueing import queue_of

memory_app = typer.Typer(no_args_is_help=True, help="Memories as a whole: upgrade them.")


@memory_app.command()
def upgrade(
    memory: Memory,
    create: Annotated[bool, typer.Option("--create", help="Make it where there is none.")] = False,
    queue: Annotated[bool, typer.Option("--queue", help="Make the tables for learning by workers, too.")] = False,
) -> None:
    """Bring a memory of an older version up to date. On a server, the role must own the schema."""
    with closing(open_memory(memory, create=create)) as opened:
        if queue:
            queue_of(opened).prepare()
        typer.echo(f"{opened.where} is up to date.")


def copy(
    source: Memory,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="An empty memory, or a copy that was begun.")],
) -> None:
    """Copy a memory into another one, of another kind perhaps, and check the copy. Goes on where it was stopped."""
    with closing(open_memory(source, create=False, read_only=True)) as old, closing(open_memory(target)) as new:
        copied = copy_memory(old, new)
        counts = ", ".join(f"{count} {kind}" for kind, count in copied.counts.items())
        typer.echo(f"{new.where} is a copy: {counts or 'nothing'}. {copied.written} records were written.")
