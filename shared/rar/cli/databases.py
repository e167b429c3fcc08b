"""Commands for memories as a whole: bringing them up to date, and copying them."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Literal

import typer

from rar.cli.arguments import Memory
from rar.errors import ConfigurationError
from rar.memory import Memory as MemoryProtocol
from rar.memory import open_memory
from rar.memory.copying import copy as copy_memory
from rar.memory.postgres_address import SCHEMES
from rar.memory.queueing import queue_of

memory_app = typer.Typer(no_args_is_help=True, help="Memories as a whole: upgrade them.")


@memory_app.command()
def upgrade(
    memory: Memory,
    create: Annotated[bool, typer.Option("--create", help="Make it where there is none.")] = False,
    queue: Annotated[bool, typer.Option("--queue", help="Make the tables for learning by workers, too.")] = False,
    index: Annotated[
        Literal["faiss", "pgvector"] | None,
        typer.Option("--index", help="pgvector: have the database be searched. faiss: end that, and drop its tables."),
    ] = None,
) -> None:
    """Bring a memory of an older version up to date. On a server, the role must own the schema."""
    with closing(_opened(memory, create, index)) as opened:
        if queue:
            queue_of(opened).prepare()
        typer.echo(f"{opened.where} is up to date.")


def _opened(memory: str, create: bool, index: str | None) -> MemoryProtocol:
    if index is None:
        return open_memory(memory, create=create)
    if not memory.startswith(SCHEMES):
        raise ConfigurationError(f"--index={index} is for a memory in PostgreSQL. A file has one index, of FAISS.")
    opened = open_memory(memory, create=create, index=index)
    if index == "faiss":
        from rar.memory.postgres_search import remove  # noqa: PLC0415 - imports psycopg

        remove(opened)  # type: ignore[arg-type]  # it is one of PostgreSQL
    return opened


def copy(
    source: Memory,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="An empty memory, or a copy that was begun.")],
) -> None:
    """Copy a memory into another one, of another kind perhaps, and check the copy. Goes on where it was stopped."""
    with closing(open_memory(source, create=False, read_only=True)) as old, closing(open_memory(target)) as new:
        copied = copy_memory(old, new)
        counts = ", ".join(f"{count} {kind}" for kind, count in copied.counts.items())
        typer.echo(f"{new.where} is a copy: {counts or 'nothing'}. {copied.written} records were written.")
