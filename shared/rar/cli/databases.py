"""Commands for memories as a whole: bringing them up to date, and copying them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from rar.cli.arguments import Memory
from rar.errors import ConfigurationError
from rar.memory import Memory as MemoryProtocol
from rar.memory import open_memory
from rar.memory.copying import copy as copy_memory
from rar.memory.postgres_address import SCHEMES
from rar.memory.queueing import queue_of

if TYPE_CHECKING:
    from rar.memory.postgres import PostgresMemory

memory_app = typer.Typer(no_args_is_help=True, help="Memories as a whole: upgrade them, and say who sees what.")
tenants_app = typer.Typer(no_args_is_help=True, help="Roles of the database that see some namespaces only.")
memory_app.add_typer(tenants_app, name="tenants")

Role = Annotated[str, typer.Argument(metavar="ROLE", help="A role of the database, which must exist.")]


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


@tenants_app.command()
def add(
    memory: Memory,
    role: Role,
    namespace: Annotated[list[str], typer.Option("--namespace", help="One that it sees; give the option for each.")],
) -> None:
    """Have a role see and write these namespaces and no others, whatever it saw before."""
    from rar.memory.postgres_tenants import add_tenant  # noqa: PLC0415 - imports psycopg

    with _server(memory) as server:
        tenant = add_tenant(server, role, namespace, server.secret)
        typer.echo(f"{tenant.role} sees {_named(tenant.namespaces)} of {server.where}, and nothing else of it.")


@tenants_app.command("list")
def list_(memory: Memory) -> None:
    """Show who sees some namespaces only, and which."""
    from rar.memory.postgres_tenants import tenants_of  # noqa: PLC0415

    with _server(memory) as server:
        found = server.ask(tenants_of)
        for tenant in found:
            typer.echo(f"{tenant.role}: {_named(tenant.namespaces)}")
        if not found:
            typer.echo(f"{server.where} has no tenants.")


@tenants_app.command()
def remove(memory: Memory, role: Role) -> None:
    """Have a role see nothing any more. What its namespaces hold stays: `rar delete` deletes it."""
    from rar.memory.postgres_tenants import remove_tenant  # noqa: PLC0415

    with _server(memory) as server:
        gone = remove_tenant(server, role)
        typer.echo(f"{role} sees nothing of {server.where} any more." if gone else f"{role} was no tenant.")


@contextmanager
def _server(memory: str) -> Iterator[PostgresMemory]:
    with closing(open_memory(memory, create=False)) as opened:
        if not hasattr(opened, "tenant"):
            raise ConfigurationError(f"{opened.where} is a file, which has no tenants. They need PostgreSQL.")
        yield cast("PostgresMemory", opened)


def _named(namespaces: Sequence[str]) -> str:
    return ", ".join(map(repr, namespaces))
