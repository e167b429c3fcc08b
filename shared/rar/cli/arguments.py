"""What several commands are told."""

from __future__ import annotations

from typing import Annotated

import typer

Memory = Annotated[str, typer.Argument(metavar="MEMORY", help="A memory: a file such as rar.db, or postgresql://….")]
Read = Annotated[
    str,
    typer.Argument(metavar="MEMORY", help="A memory: a file, or postgresql://…; without one, rar.db in this folder."),
]
ReadId = Annotated[
    list[str],
    typer.Argument(metavar="[MEMORY] ID", help="A memory file (rar.db without one), and an id or its beginning."),
]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Only this namespace.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Price = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=IN/OUT",
        help="USD per million input and output tokens of a model or role, for example strong=2/8. Repeatable.",
    ),
]
