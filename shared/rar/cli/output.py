"""How commands tell what they do and found: bars on standard error, tables on standard output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from rar.evaluation import OURS
from rar.evaluation.embeddings import Progress as Told
from rar.evaluation.report import Sheet


def print_sheets(sheets: Sequence[Sheet]) -> None:
    """Print tables with their notes."""
    console = Console()
    for sheet in sheets:
        console.print(_table(sheet))
        for note in sheet.notes:
            console.print(f"[dim]{escape(note)}[/]\n")


def _table(sheet: Sheet) -> Table:
    table = Table(title=escape(sheet.title), title_justify="left", title_style="bold", header_style="dim")
    for column in sheet.columns:
        table.add_column(escape(column), overflow="fold")
    for row in sheet.rows:
        table.add_row(*map(escape, row), style="bold" if row[0] == OURS else None)
    return table


@contextmanager
def progress() -> Iterator[Told]:
    """Bars on standard error, one for each thing that is done; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield told
