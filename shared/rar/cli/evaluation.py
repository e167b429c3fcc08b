"""`rar eval`: how good a router is on recorded outcomes, and on a memory's own past."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

import rar
from rar import evaluation
from rar.cli.output import print_sheets, progress
from rar.cli.routers import prior, scorers
from rar.errors import ConfigurationError
from rar.evaluation import compare, report
from rar.evaluation.past import Past
from rar.evaluation.runs import Online

eval_app = typer.Typer(no_args_is_help=True, help="How good a router is: replays of recorded outcomes.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="CSV, JSON Lines or Parquet, or a folder of RouteLLM's.")]
Weak = Annotated[str, typer.Option(metavar="COLUMN", help="Scores of the weak model.")]
Strong = Annotated[str, typer.Option(metavar="COLUMN", help="Scores of the strong model.")]
Text = Annotated[
    str | None,
    typer.Option(metavar="TEMPLATE", help="A column, several (question,A,B), or a template ('{question}\\nA. {A}')."),
]
Group = Annotated[str | None, typer.Option(metavar="COLUMN", help="What a question is about.")]
Quality = Annotated[float, typer.Option(help="Share of the strong model's quality to keep.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many rows.")]
Shuffles = Annotated[int, typer.Option(min=1, help="Orders in which the questions come.")]
Embedder = Annotated[Literal["minilm", "hashing"], typer.Option(help="What similarity is measured by.")]
Routers = Annotated[
    list[str] | None,
    typer.Option(
        "--router",
        metavar="NAME|DIR",
        help="Also a router: by name, fitted to what was seen, or a saved one as it is. Repeatable.",
    ),
]
Seed = Annotated[int, typer.Option(help="Of orders, splits and audits.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Write a report with plots into this folder.")]


@eval_app.command()
def online(
    file: File,
    weak: Weak,
    strong: Strong,
    text: Text = None,
    group: Group = None,
    quality: Quality = 0.95,
    shuffles: Shuffles = 5,
    router: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            help="Start from a static router: a saved one, or one that is fitted to half of the questions, which are "
            "then not asked.",
        ),
    ] = None,
    limit: Limit = None,
    embedder: Embedder = "minilm",
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Let questions arrive one by one at a router that knows nothing, and count every call."""
    table = evaluation.read_table(file, weak=weak, strong=strong, text=text, group=group, limit=limit)
    options: dict[str, Any] = {"quality": quality, "shuffles": shuffles, "seed": seed}
    others = {}
    with progress() as told:
        table = evaluation.embedded(table, embedder, progress=told)
        if router is not None:
            static_router, table = prior(router, table, seed)
            others = {"from a cold start": evaluation.online(table, progress=told, **options)}
            options["static_router"] = static_router
        result = evaluation.online(table, progress=told, **options)
        paper = evaluation.online(table, policy="paper", progress=told, **options)
    _show(compare.summarise_online(result, paper, others=others), as_json, out, result)


@eval_app.command()
def static(
    file: File,
    weak: Weak,
    strong: Strong,
    text: Text = None,
    group: Group = None,
    quality: Quality = 0.95,
    splits: Annotated[int, typer.Option(min=1, help="Random halvings.")] = 3,
    limit: Limit = None,
    embedder: Embedder = "minilm",
    router: Routers = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Score questions that were never seen, after half of them was; with --group also whole groups left out."""
    more = scorers(router or (), embedder)
    table = evaluation.read_table(file, weak=weak, strong=strong, text=text, group=group, limit=limit)
    with progress() as told:
        table = evaluation.embedded(table, embedder, progress=told)
        result = evaluation.static(table, quality=quality, splits=splits, more=more, seed=seed, progress=told)
    _show(compare.summarise_static(result), as_json, out)


@eval_app.command()
def stages(
    file: File,
    weak: Weak,
    strong: Strong,
    text: Text = None,
    quality: Quality = 0.95,
    shuffles: Shuffles = 5,
    stages: Annotated[int, typer.Option(min=1, help="How often each question is asked.")] = 5,
    limit: Limit = None,
    embedder: Embedder = "minilm",
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Ask the same questions stage by stage, as the RAR paper does; first sights and repeats apart."""
    table = evaluation.read_table(file, weak=weak, strong=strong, text=text, limit=limit)
    options: dict[str, Any] = {"quality": quality, "stages": stages, "shuffles": shuffles, "seed": seed}
    with progress() as told:
        table = evaluation.embedded(table, embedder, progress=told)
        result = evaluation.stages(table, progress=told, **options)
        paper = evaluation.stages(table, policy="paper", progress=told, **options)
    _show(compare.summarise_stages(result, paper), as_json, out)


@eval_app.command()
def memory(
    file: Annotated[Path, typer.Argument(metavar="MEMORY", help="A memory file, for example rar.db.")],
    quality: Quality = 0.95,
    since: Annotated[str | None, typer.Option(metavar="AGE", help="Only calls as young as 7d, 12h or 30m.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Only this namespace.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """What would another quality floor have cost? Replays a memory's judged calls in their order, from a cold start."""
    past = evaluation.read_memory(
        file, namespace=namespace, since=0.0 if since is None else time.time() - _seconds(since)
    )
    with progress() as told:
        run = evaluation.stream(past.table, quality=quality, seed=seed, progress=told, what="replay")
    result = Online(past.table, quality, (run,))
    _show(compare.summarise_online(result), as_json, out, result, past)


# --- small parts ----------------------------------------------------------------------------------------------------


def _show(
    summary: report.Summary, as_json: bool, out: Path | None, result: Online | None = None, past: Past | None = None
) -> None:
    facts = summary.as_dict()
    sheets = report.sheets(summary)
    if past is not None:
        judged = len(past.table) / past.calls
        facts["past"] = {"calls": past.calls, "judged": judged, "served_strong": past.served_strong}
        sheets.append(_of_past(past))
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    else:
        print_sheets(sheets)
    if out is not None:
        today = datetime.now(timezone.utc).date()
        made_by = f"rar-llm {rar.__version__}, NumPy {np.__version__}, {today}."
        for written in report.write_report(out, summary, result, made_by=made_by):
            typer.echo(f"written: {written}", err=True)


def _of_past(past: Past) -> report.Sheet:
    columns = ("calls", "judged, and replayed", "answered by the strong model then")
    row = (f"{past.calls:,}", f"{len(past.table) / past.calls:.1%}", f"{past.served_strong:.1%}")
    note = (
        "Weak answers that nobody checked are not judged, and left out: the replay holds more hard questions than the "
        "past did, so that it rather understates what a floor would save. Answers with guides are not replayed."
    )
    return report.Sheet("The past of this memory", columns, (row,), (note,))


def _seconds(age: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([dhm])", age)
    if found is None:
        raise ConfigurationError(f"--since {age!r} is no age. Write for example 7d, 12h or 30m.")
    return float(found[1]) * {"d": 86_400.0, "h": 3_600.0, "m": 60.0}[found[2]]
