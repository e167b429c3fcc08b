"""Runs the demo in a terminal: progress while it goes, tables or JSON at its end."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from rar.cli.layout import Facts, show
from rar.demo import report
from rar.demo.run import Result, Served, Settings, run
from rar.demo.strategies import STRATEGIES, Answered, line, show_one


def show_demo(count: int, memory: str | Path, out: Path, *, seed: int, tiny: bool, as_json: bool) -> bool:
    """Run the demo and print its report; False if it was interrupted."""
    out.mkdir(parents=True, exist_ok=True)  # before the work, which trouble with it would waste
    console = Console(stderr=as_json)
    result = _watched(console, count, memory, Settings(seed=seed), tiny=tiny, quiet=as_json)
    plot = None
    if result.served:
        plot = out / "rar-demo.png"
        report.plot(result, plot)
    if as_json:
        print(json.dumps(report.as_json(result, plot), indent=2))  # noqa: T201 - what was asked for
    else:
        show(Text(), *report.tables(result), Facts({"plot": str(plot)}), console=console)
    return len(result.served) == count and result.check is not None


def show_strategy(name: str, count: int, *, seed: int, tiny: bool, as_json: bool) -> None:
    """Show one strategy: a line for each question, then its calls."""
    console = Console(stderr=as_json)
    with _progress(console) as progress:
        task = progress.add_task("Starting", total=count)

        def answered(entry: Answered) -> None:
            progress.update(task, advance=1, description="Asking")
            if not as_json:
                console.print(line(int(progress.tasks[0].completed), entry, console.width))

        def tell(what: str) -> None:
            progress.update(task, description=what)

        if name in STRATEGIES and not as_json:
            console.print(Text(STRATEGIES[name].says, style="dim"))
        found = show_one(name, count, seed=seed, weak="tiny" if tiny else "weak", tell=tell, show=answered)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))  # noqa: T201 - what was asked for
    else:
        show(Text(), *found.tables(), console=console)


def _progress(console: Console) -> Progress:
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _watched(
    console: Console, count: int, memory: str | Path, settings: Settings, *, tiny: bool, quiet: bool
) -> Result:
    with _progress(console) as progress:
        task = progress.add_task("Starting", total=count)

        def answered(entry: Served) -> None:
            progress.update(task, advance=1, description="Asking and learning")
            if not quiet:
                console.print(report.line(int(progress.tasks[0].completed), entry, console.width))

        def tell(what: str) -> None:
            progress.update(task, description=what)

        return run(count, memory, settings=settings, weak="tiny" if tiny else "weak", tell=tell, show=answered)
