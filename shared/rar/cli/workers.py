"""`rar worker` and `rar queue`: learning by processes of their own, from lessons that wait in PostgreSQL."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from rar.cli.arguments import AsJson
from rar.cli.layout import Column, Facts, Grid, show
from rar.errors import ConfigurationError, RarError
from rar.learning.taking import Taker, taker_of
from rar.memory import open_memory
from rar.memory.queueing import DeadLesson, QueueState, queue_of

Address = Annotated[str, typer.Argument(metavar="MEMORY", help="The memory: postgresql://…")]


def worker(
    memory: Address,
    models: Annotated[
        str, typer.Option(metavar="MODULE:FACTORY", help="What makes the router, as the processes that serve do.")
    ],
    lanes: Annotated[int, typer.Option(min=1, help="Lessons that are studied at once.")] = 4,
    once: Annotated[bool, typer.Option("--once", help="Stop when no lesson waits any more.")] = False,
    grace: Annotated[
        float, typer.Option(help="Seconds that lessons under way have when the worker is stopped.")
    ] = 60.0,
    stalled: Annotated[
        float, typer.Option(help="Seconds without a sign of life after which another worker counts as dead.")
    ] = 30.0,
) -> None:
    """Learn from the lessons that processes with learning="queue" leave. SIGTERM ends it gently."""
    taker = _taker(models, memory)
    assert taker.router.memory is not None
    frameworks = f", also with messages of {', '.join(taker.sources)}" if taker.sources else ""
    typer.echo(f"learns from {taker.router.memory.where}, {lanes} at once{frameworks}")
    try:
        taker.work(lanes=lanes, wait=not once, grace=grace, stalled=stalled)
    finally:
        taker.router.close()
    typer.echo("stopped; no lesson is under way here")


def _failed(named: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"--models {named} failed. {type(error).__name__}: {error}.")


def _taker(named: str, address: str) -> Taker:
    module, _, name = named.partition(":")
    if not module or not name:
        raise ConfigurationError(f"--models {named} names no factory. Write module:function, as in app.models:router.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        factory: Any = importlib.import_module(module)
        for part in name.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"--models {named} cannot be imported: {error}.") from error
    except Exception as error:
        raise _failed(named, error) from error
    made: Any = factory
    if inspect.isroutine(factory) or inspect.isclass(factory):
        takes_memory = "memory" in inspect.signature(factory).parameters
        make: Any = factory
        try:
            made = make(memory=address) if takes_memory else make()
        except RarError:
            raise
        except Exception as error:  # the factory is another's code
            raise _failed(named, error) from error
    taker = taker_of(made, address)
    with closing(open_memory(address, create=False)) as asked:
        if taker.router.memory is None or taker.router.memory.where != asked.where:
            found = taker.router.memory.where if taker.router.memory else "none"
            raise ConfigurationError(
                f"The factory's router has the memory {found}, the worker is asked for {asked.where}."
            )
    return taker


def queue(
    memory: Address,
    retry: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Try this dead lesson again. Repeatable.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="ID", help="Forget this dead lesson. Repeatable.")] = None,
    retry_all: Annotated[bool, typer.Option("--retry-all", help="Try all dead lessons again.")] = False,
    drop_all: Annotated[bool, typer.Option("--drop-all", help="Forget all dead lessons.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how many lessons wait for workers, how old the oldest is, and which were given up and why."""
    with closing(open_memory(memory, create=False, read_only=not (retry or drop or retry_all or drop_all))) as opened:
        lessons = queue_of(opened)
        changed = {
            "tried_again": lessons.retry(retry or ()) if retry or retry_all else 0,
            "dropped": lessons.drop(drop or ()) if drop or drop_all else 0,
        }
        found, dead = lessons.state(), lessons.dead()
    if as_json:
        facts = {**asdict(found), **changed, "given_up": [asdict(one) for one in dead]}
        typer.echo(json.dumps(facts, indent=2))
        return
    show(_facts(found, changed), *([_grid(dead)] if dead else []))


def _facts(found: QueueState, changed: Mapping[str, int]) -> Facts:
    later = f", {found.later:,} of them put off after a failure" if found.later else ""
    named = {name.replace("_", " "): f"{count:,}" for name, count in changed.items() if count}
    return Facts(
        {
            **named,
            "waiting": f"{found.waiting:,}{later}",
            "oldest": _age(found.age) if found.waiting else "–",
            "being learned": f"{found.running:,}",
            "given up": f"{found.dead:,}",
            "workers": f"{found.workers:,}",
        }
    )


def _grid(dead: Sequence[DeadLesson]) -> Grid:
    columns = (
        Column("id", right=True), Column("decision", spare=1), Column("tries", right=True), Column("age", right=True),
        Column("error", cut=True),
    )  # fmt: skip
    rows = tuple((one.id, one.decision_id, str(one.attempts), _age(one.age), one.error) for one in dead)
    return Grid("Given up", columns, rows)


def _age(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
