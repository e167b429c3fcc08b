"""`rar eval`: how good a router is on recorded outcomes, and on a memory's own past."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

import rar
from rar import evaluation
from rar.cli.memories import USUAL
from rar.cli.moments import moment
from rar.cli.output import print_sheets, progress
from rar.cli.scorers import identity_of, prior, scorers
from rar.errors import ConfigurationError
from rar.evaluation import CallPrice, Checkpoint, checkpoint, compare, report
from rar.evaluation.checkpoint import digest
from rar.evaluation.comparing import Comparing, comparing_judge, has_answers
from rar.evaluation.past import Past
from rar.evaluation.runs import Arrays, Online, Run
from rar.learning.policy import FloorPolicy
from rar.outcomes import Outcomes

eval_app = typer.Typer(no_args_is_help=True, help="How good a router is: replays of recorded outcomes.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="CSV, JSON Lines or Parquet, or a folder of RouteLLM's.")]
Weak = Annotated[str, typer.Option(metavar="COLUMN", help="Scores of the weak model.")]
Strong = Annotated[
    str, typer.Option(metavar="COLUMN", help="Scores of the strong model, or a number that it always scores.")
]
Between = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="COLUMN", help="Scores of a further model, between weak and strong. Repeatable."),
]
Text = Annotated[
    str | None,
    typer.Option(metavar="TEMPLATE", help="A column, several (question,A,B), or a template ('{question}\\nA. {A}')."),
]
Group = Annotated[str | None, typer.Option(metavar="COLUMN", help="What a question is about.")]
Quality = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SHARE",
        help="Share of the strong model's quality to keep; 0.95 by default. Repeatable, or 0.9,0.95,0.98.",
    ),
]
PriceOf = Annotated[
    list[str] | None,
    typer.Option(
        "--price",
        metavar="NAME=IN/OUT",
        help="USD per million input and output tokens of weak, strong or a model's name: weak=0.15/0.6; or "
        "NAME=USD of one call: weak=0.0002. Repeatable.",
    ),
]
WeakRatio = Annotated[
    float | None,
    typer.Option(min=0.0, help="Without prices: what a weak call costs, as a share of a strong one; 0.1 by default."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Read at most this many rows.")]
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
Seed = Annotated[int, typer.Option(help="Seed of orders, splits and audits.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Write a report with plots into this folder.")]


Start = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|DIR",
        help="Start from a static router: a saved one, or one that is fitted to half of the questions, which are "
        "then not asked.",
    ),
]


Promise = Annotated[
    float | None,
    typer.Option(
        min=0.5,
        max=0.9999,
        help="Keep each floor with this chance, and show beside it what keeping it on average saves.",
    ),
]
_LAX = "without the promise"


@eval_app.command()
def online(
    file: File,
    weak: Weak,
    strong: Strong,
    model: Between = None,
    text: Text = None,
    group: Group = None,
    quality: Quality = None,
    price: PriceOf = None,
    weak_ratio: WeakRatio = None,
    shuffles: Shuffles = 5,
    router: Start = None,
    promise: Promise = None,
    limit: Limit = None,
    embedder: Embedder = "minilm",
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Let questions arrive one by one at a router that knows nothing, and count every call."""
    floors, prices = _floors(quality), checked(price, weak_ratio, out)
    table = priced(_read(file, (weak, *(model or ()), strong), text, group, limit), prices, weak_ratio)
    with _resumable(out) as parts:
        with progress() as told:
            table = evaluation.embedded(table, embedder, progress=told)
            static_router, own = None, parts
            if router is not None:
                static_router, identity, table = prior(router, table, seed)
                own = parts.within(identity)
            replayed = partial(evaluation.replay_online, table, shuffles=shuffles, seed=seed, progress=told)
            alone = partial(replayed, static_router=static_router, checkpoint=own)
            ours = partial(alone, guides=True, checkpoint=own.within("guides")) if _has_guides(table) else alone
            kept = partial(ours, promise=promise, checkpoint=own.within(f"promise {promise!r}")) if promise else ours
            cold = partial(replayed, checkpoint=parts) if router else None
            beside = [_beside(floor, cold, ours if promise else None) for floor in floors]
            results = [_named(kept(quality=floor), router) for floor in floors]
            plain = [None if ours is alone else alone(quality=floor) for floor in floors]
            compared = _compared(table, partial(alone, checkpoint=own.within("comparing")), embedder, floors)
            paper = ours(policy="paper", quality=floors[-1])  # it knows no floor
        _show(_one_or_all(_summaries(results, paper, beside, plain, compared)), as_json, out, results)


def _summaries(
    results: Sequence[Online],
    paper: Online,
    beside: Sequence[Mapping[str, Online]],
    plain: Sequence[Online | None],
    compared: Sequence[Comparing | None],
) -> list[compare.OnlineSummary]:
    """Each floor, with what is printed beside it."""
    return [
        compare.summarise_online(one, paper, others=others, unguided=bare, comparing=by_answers)
        for one, others, bare, by_answers in zip(results, beside, plain, compared, strict=True)
    ]


@eval_app.command()
def static(
    file: File,
    weak: Weak,
    strong: Strong,
    text: Text = None,
    group: Group = None,
    quality: Quality = None,
    price: PriceOf = None,
    weak_ratio: WeakRatio = None,
    splits: Annotated[int, typer.Option(min=1, help="Random halvings.")] = 3,
    limit: Limit = None,
    embedder: Embedder = "minilm",
    router: Routers = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Learn from half of the questions and score the other half; with --group also score groups left out."""
    floors = _floors(quality)
    prices = checked(price, weak_ratio, out)
    more = scorers(router or (), embedder)
    table: Outcomes = evaluation.read_table(file, weak=weak, strong=strong, text=text, group=group, limit=limit)
    table = priced(table, prices, weak_ratio)
    with _resumable(out, *map(identity_of, router or ()), embedder) as parts:
        with progress() as told:
            table = evaluation.embedded(table, embedder, progress=told)
            options: dict[str, Any] = {"quality": max(floors), "splits": splits, "seed": seed, "checkpoint": parts}
            result = evaluation.static(table, more=more, progress=told, **options)
        _show(compare.summarise_static(result, floors=floors), as_json, out)


@eval_app.command()
def stages(
    file: File,
    weak: Weak,
    strong: Strong,
    text: Text = None,
    quality: Quality = None,
    price: PriceOf = None,
    weak_ratio: WeakRatio = None,
    shuffles: Shuffles = 5,
    stages: Annotated[int, typer.Option(min=1, help="How often each question is asked.")] = 5,
    limit: Limit = None,
    embedder: Embedder = "minilm",
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Ask the same questions stage by stage, as the RAR paper does; first sights and repeats apart."""
    floors = _floors(quality)
    if len(floors) > 1:
        raise ConfigurationError("rar eval stages takes one --quality. Run it once for each, or use rar eval online.")
    prices = checked(price, weak_ratio, out)
    table: Outcomes = evaluation.read_table(file, weak=weak, strong=strong, text=text, limit=limit)
    table = priced(table, prices, weak_ratio)
    options: dict[str, Any] = {"quality": floors[0], "stages": stages, "shuffles": shuffles, "seed": seed}
    with _resumable(out) as parts:
        with progress() as told:
            table = evaluation.embedded(table, embedder, progress=told)
            options |= {"progress": told, "checkpoint": parts}
            result = evaluation.stages(table, **options)
            paper = evaluation.stages(table, policy="paper", **options)
        _show(compare.summarise_stages(result, paper), as_json, out)


@eval_app.command()
def memory(
    file: Annotated[str, typer.Argument(metavar="MEMORY", help="A memory file; without one, rar.db here.")] = USUAL,
    quality: Quality = None,
    price: PriceOf = None,
    weak_ratio: WeakRatio = None,
    since: Annotated[str | None, typer.Option(metavar="AGE|DATE", help="Only since 7d, 12h or 2026-11-01.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Only this namespace.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Say what another quality floor would have cost: replay a memory's judged calls in order, from a cold start."""
    floors = _floors(quality)
    prices = checked(price, weak_ratio, out)
    oldest = moment("--since", since, time.time()) or 0.0
    past = evaluation.read_memory(file, namespace=namespace, since=oldest)
    table = priced(past.table, prices, weak_ratio)
    results = []
    with _resumable(out) as parts:
        with progress() as told:
            for floor in floors:
                replayed = partial(evaluation.stream, table, quality=floor, seed=seed, progress=told)

                def made(replayed: Callable[..., Run] = replayed, what: str = f"replay at {floor:g}") -> Arrays:
                    return replayed(what=what).arrays()

                arrays = parts.part(("memory", digest(table), floor, seed), made)
                results.append(Online(table, floor, (Run.of_arrays(table, arrays),)))
        _show(_one_or_all([compare.summarise_online(result) for result in results]), as_json, out, results, past)


# --- small parts ----------------------------------------------------------------------------------------------------


_COLD = "from a cold start"


def _beside(floor: float, cold: Callable[..., Online] | None, lax: Callable[..., Online] | None) -> dict[str, Online]:
    """The same without its static router, and without its promise, by name."""
    found = {_COLD: cold, _LAX: lax}
    return {name: replay(quality=floor) for name, replay in found.items() if replay is not None}


def _floors(given: Sequence[str] | None) -> tuple[float, ...]:
    """The floors that were asked for, ascending."""
    floors = set()
    for written in (part for option in given or ("0.95",) for part in option.split(",")):
        try:
            floors.add(FloorPolicy(float(written)).quality)
        except ValueError as error:
            said = error if isinstance(error, ConfigurationError) else "it is no number. Write for example 0.95."
            raise ConfigurationError(f"--quality {written!r}: {said}") from None
    return tuple(sorted(floors))


def checked(price: Sequence[str] | None, weak_ratio: float | None, out: Path | None) -> dict[str, CallPrice]:
    """The prices that were given, after all that can be refused before any work."""
    if price and weak_ratio is not None:
        raise ConfigurationError("Give either --price, in USD, or --weak-ratio, where no price is known.")
    prices = dict(map(CallPrice.parse, price or ()))
    if out is not None:
        report.check_out(out)
    return prices


def _compared(
    table: Outcomes, replayed: Callable[..., Online], embedder: str, floors: Sequence[float]
) -> list[Comparing | None]:
    """The same at each floor with a judge that compares the answers; None where none were recorded."""
    if not has_answers(table):
        return [None for _ in floors]
    judge = comparing_judge(embedder)
    return [Comparing.of(replayed(quality=floor, judge=judge), judge) for floor in floors]


def _read(file: Path, models: tuple[str, ...], text: str | None, group: str | None, limit: int | None) -> Outcomes:
    """The outcomes of all models, on the questions that each of them was asked."""
    if len(models) == 2:
        return evaluation.read_table(file, weak=models[0], strong=models[1], text=text, group=group, limit=limit)
    found = evaluation.read_outcomes(file, models=models, text=text, group=group, limit=limit, replies=True)
    return found.of_models(*models)


def priced(table: Outcomes, prices: Mapping[str, CallPrice], weak_ratio: float | None) -> Outcomes:
    table = evaluation.priced(table, prices) if weak_ratio is None else replace(table, costs=None)
    return table if weak_ratio is None else replace(table, weak_ratio=weak_ratio)


def _has_guides(table: Outcomes) -> bool:
    """Whether guides can be replayed; where only their groups are not known, that is said."""
    if table.guided is not None and table.groups is None:
        typer.echo("rar: guided scores are left out, for guides are of a group. Name its column by --group.", err=True)
    return table.guided is not None and table.groups is not None


@contextmanager
def _resumable(out: Path | None, *inputs: object) -> Iterator[Checkpoint]:
    """A checkpoint in the report's folder, removed at the end; an interruption says how to go on."""
    parts = Checkpoint(None if out is None else out / checkpoint.FOLDER, *inputs)
    try:
        yield parts
    except KeyboardInterrupt:
        if parts.kept:
            said = f"{parts.kept} finished parts are kept in {parts.folder}. The same command goes on from there."
        else:
            said = "nothing was finished." if out else "nothing is kept. With --out DIR, the same command could go on."
        typer.echo(f"rar: interrupted, {said}", err=True)
        raise typer.Exit(130) from None  # what a shell says of a program that was interrupted
    if parts.resumed:
        typer.echo(f"rar: {parts.resumed} of {parts.kept} parts were finished before.", err=True)
    parts.remove()


def _named(result: Online, router: str | None) -> Online:
    """`result` with its static router named as on the command line."""
    own = result.own_rows
    return result if own is None else replace(result, own_rows=replace(own, router=f"the router {router!r}"))


def _one_or_all(summaries: Sequence[compare.OnlineSummary]) -> report.Summary:
    return summaries[0] if len(summaries) == 1 else compare.FloorsSummary(tuple(summaries))


def _show(
    summary: report.Summary,
    as_json: bool,
    out: Path | None,
    results: Sequence[Online] = (),
    past: Past | None = None,
) -> None:
    facts = summary.as_dict()
    more = [] if past is None else [_of_past(past)]
    if past is not None:
        judged = len(past.table) / past.calls
        facts["past"] = {"calls": past.calls, "judged": judged, "served_strong": past.served_strong}
    for warning in summary.facts.warnings:
        typer.echo(f"rar: warning: {warning}", err=True)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    else:
        print_sheets([*report.sheets(summary, whole=False), *more])
    if out is not None:
        today = datetime.now(timezone.utc).date()
        made_by = f"rar-llm {rar.__version__}, NumPy {np.__version__}, {today}."
        for written in report.write_report(out, summary, results, more=more, made_by=made_by):
            typer.echo(f"written: {written}", err=True)


def _of_past(past: Past) -> report.Sheet:
    columns = ("calls", "judged, and replayed", "answered by the strong model then")
    row = (f"{past.calls:,}", f"{len(past.table) / past.calls:.1%}", f"{past.served_strong:.1%}")
    note = (
        "Weak answers that nobody checked are not judged, and left out: the replay holds more hard questions than the "
        "past did, so it rather understates what a floor would save. Answers with guides are not replayed."
    )
    return report.Sheet("The past of this memory", columns, (row,), (note,))
