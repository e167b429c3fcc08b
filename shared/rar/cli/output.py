"""How commands tell what they do and found: bars on standard error, tables on standard output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from rar.evaluation import OURS
from rar.evaluation.embeddings import Progress as Told
from rar.evaluation.report import Sheet
from rar.evaluation.table import Table
from rar.order import by_score
from rar.routers.outcomes import Outcomes


def warn_of_order(outcomes: Outcomes | Table) -> None:
    """Say on standard error where the weak model is the better one on these rows."""
    if isinstance(outcomes, Table):
        scores, models = np.column_stack((outcomes.weak, outcomes.strong)), (outcomes.weak_id, outcomes.strong_id)
    else:
        scores, models = outcomes.scores[:, [0, -1]], (outcomes.models[0], outcomes.models[-1])
    if (warning := by_score(scores, *models)) is not None:
        typer.echo(f"rar: {warning}", err=True)


_EVERY = 10.0  # seconds between two lines of progress


def print_sheets(sheets: Sequence[Sheet]) -> None:
    """Print tables with their notes."""
    console = Console()
    for sheet in sheets:
        console.print(_table(sheet))
        for note in sheet.notes:
            console.print(f"[dim]{escape(note)}[/]\n")


def _table(sheet: Sheet) -> RichTable:
    table = RichTable(title=escape(sheet.title), title_justify="left", title_style="bold", header_style="dim")
    for column in sheet.columns:
        table.add_column(escape(column), overflow="fold")
    for row in sheet.rows:
        table.add_row(*map(escape, row), style="bold" if row[0] == OURS else None)
    return table


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
