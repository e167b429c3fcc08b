"""`rar judge`: people grade what a judge compared, and see how often it is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rar.cli.layout import Facts, show
from rar.cli.memories import USUAL, reading, writing
from rar.intervals import Share
from rar.labelling import Line, labelled, read_sheet, write_sheet
from rar.learning.labels import JudgeStats
from rar.learning.pairs import pair_of
from rar.memory import Memory
from rar.memory.base import Batch, Label
from rar.views import judge_stats

judge_app = typer.Typer(no_args_is_help=True, help="Judges: people grade what they compared, and see their errors.")

Sheet = Annotated[
    Path, typer.Argument(metavar="SHEET", help="A CSV file of pairs, as rar.labelling.write_sheet writes it.")
]
File = Annotated[str, typer.Argument(metavar="MEMORY", help="A memory file; without one, rar.db in this folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]

_HOW = "b both good, n neither, 1 or 2 only that one, two numbers from 0 to 1, s skip, q quit"
_SHORT = {"b": (1.0, 1.0), "n": (0.0, 0.0), "1": (1.0, 0.0), "2": (0.0, 1.0)}


@judge_app.command()
def label(
    sheet: Sheet,
    memory: File = USUAL,
    read: Annotated[bool, typer.Option("--read", help="Ask nothing: only read what was filled in.")] = False,
    as_json: AsJson = False,
) -> None:
    """Grade the pairs of a sheet one by one, or read a sheet that was filled in, and store the grades."""
    lines = read_sheet(sheet)
    if not read:
        for at, grades in _asked(lines):
            lines[at] = replace(lines[at], grades=grades)
            write_sheet(sheet, lines)  # at once: whoever stops half-way goes on from there
    with writing(memory) as opened:
        labels = list(_labels(lines, opened))
        opened.write(Batch(labels=tuple(labels)))
        found = judge_stats(opened, opened.stats(), opened.spending())
    graded = sum(line.grades is not None for line in lines)
    if graded > len(labels):
        typer.echo(f"rar: {graded - len(labels)} pairs are of decisions that {opened.where} does not hold.", err=True)
    _show(found, {"stored": f"{len(labels)} of {len(lines)} pairs"}, as_json, stored=len(labels))


@judge_app.command("show")
def show_judge(memory: File = USUAL, as_json: AsJson = False) -> None:
    """Show how often the judge is wrong by people's grades, and what that makes of the quality that was kept."""
    with reading(memory) as opened:
        found = judge_stats(opened, opened.stats(), opened.spending())
    _show(found, {}, as_json)


def _asked(lines: Sequence[Line]) -> Iterator[tuple[int, tuple[float, float]]]:
    """The grades that a person gives, with the place of each line, until that person has had enough."""
    left = [at for at, line in enumerate(lines) if line.grades is None]
    for count, at in enumerate(left, 1):
        line = lines[at]
        show(Facts({"pair": f"{count} of {len(left)}", "question": line.question, "1": line.answers[0]}))
        show(Facts({"2": line.answers[1]}))
        while (said := typer.prompt(_HOW).strip().lower()) not in ("s", "q"):
            grades = _SHORT.get(said) or _numbers(said)
            if grades is not None:
                yield at, grades
                break
            typer.echo("rar: that is none of these.", err=True)
        if said == "q":
            return


def _numbers(said: str) -> tuple[float, float] | None:
    try:
        first, second = map(float, said.split())
    except ValueError:
        return None
    return (first, second) if 0.0 <= first <= 1.0 and 0.0 <= second <= 1.0 else None


def _labels(lines: Sequence[Line], memory: Memory) -> Iterator[Label]:
    """The labels of all graded lines whose decisions the memory holds."""
    for line in lines:
        grades, record = line.weak_and_strong, memory.decision(line.decision_id)
        pair = None if record is None else pair_of(record)
        if grades is not None and pair is not None:
            yield labelled(pair, line.decision_id, *grades, line.weight, time.time())


def _show(found: JudgeStats, first: dict[str, str], as_json: bool, **more: Any) -> None:
    if as_json:
        typer.echo(json.dumps({**more, **asdict(found)}, indent=1))
        return
    errors = found.errors
    facts = {
        **first,
        "labels": str(errors.labels),
        "undecided": _share(found.undecided),
        "says good, weak is worse": _interval(errors.wrong_agreements),
        "says worse, weak is as good": _interval(errors.wrong_differences),
        "weak is better": _interval(errors.better),
        "quality of the strong model": _interval(errors.strong),
        "quality kept, by the judge": _share(found.kept),
        "quality kept, corrected": _share(found.kept_corrected),
    }
    show(Facts(facts))


def _share(value: float | None) -> str:
    return "not known yet" if value is None else f"{value:.1%}"


def _interval(share: Share | None) -> str:
    return "not known yet" if share is None else f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}] of {share.n}"
