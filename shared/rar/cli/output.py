"""How commands tell what they do and found: bars on standard error, tables on standard output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from rar.cli.layout import Column, Grid, show
from rar.errors import RarError
from rar.evaluation import OURS
from rar.evaluation.embeddings import Progress as Told
from rar.evaluation.report import Sheet

_EVERY = 10.0  # seconds between two lines of progress


def in_one_line(error: Exception) -> str:
    """What went wrong, on one line. An error of the operating system is named by file, and by what helps."""
    if isinstance(error, RarError) or not isinstance(error, OSError) or error.filename is None:
        return " ".join(str(error).split())
    if isinstance(error, FileExistsError):
        advice = "Choose another name, or remove it first."
    elif isinstance(error, FileNotFoundError):
        advice = "Check the path."
    else:
        advice = "Check the path and your rights to it."
    return f"{error.filename!r}: {error.strerror}. {advice}"


def print_sheets(sheets: Sequence[Sheet]) -> None:
    """Print tables with their notes."""
    for sheet in sheets:
        show(*_parts(sheet))
        show("")


def _parts(sheet: Sheet) -> list[RenderableType]:
    columns = tuple(Column(name) for name in sheet.columns)
    rows = tuple(tuple(Text(cell, "bold") if row[0] == OURS else cell for cell in row) for row in sheet.rows)
    return [Grid(sheet.title, columns, rows), *(Text(note, "dim") for note in sheet.notes)]


@contextmanager
def progress(*, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> Iterator[Told]:
    """What is being done, on standard error: bars where that is a terminal, else a plain line now and then.

    Args:
        quiet: Say nothing.
        clock: In seconds; for tests.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield _silent if quiet else _Lines(clock)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield told


class _Lines:
    """Says no more than a line in so many seconds: what is done soon says nothing."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due = clock() + _EVERY

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._clock() >= self._due:
            typer.echo(f"rar: {what}: {done:,} of {total:,}", err=True)
            self._due = self._clock() + _EVERY


def _silent(what: str, done: int, total: int) -> None:
    pass
