"""`rar guides add`: guides that people write, from a file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from rar.cli.memories import memory_and_id, writing
from rar.errors import ConfigurationError, GuideRefusedError
from rar.own_guides import GuideShelf, OwnGuide, OwnState, embedder_of
from rar.values import Guide

_LINES = (".jsonl", ".ndjson")
_KNOWN = ("text", "for", "namespace", "task", "state", "anyway")


def add(
    which: Annotated[
        list[str],
        typer.Argument(
            metavar="[MEMORY] FILE",
            help="A memory file (rar.db without one), and a text with one guide, JSON Lines with several, or -.",
        ),
    ],
    used_for: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="TEXT", help="A question that it is for, or what they are about. Repeatable."),
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Where it may be used.")] = "default",
    task: Annotated[str, typer.Option(help="The task that it is for, as `rar decisions --json` shows it.")] = "answer",
    state: Annotated[
        OwnState | None,
        typer.Option(help="active: used at once, as approved. candidate: tried first, as a new one is by default."),
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Use it although the checks of its text refuse it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Add guides that people wrote. They are checked as all others are, and tried until they have proven themselves.

    Lines of JSON Lines are objects with a text, and perhaps with for, namespace, task, state and anyway in place of the
    options.
    """
    memory, file = memory_and_id(which)
    usual = OwnGuide("", tuple(used_for or ()), namespace, task, state, anyway)
    given = list(_given(file, usual))
    with writing(memory, create=True) as opened:
        shelf = GuideShelf(opened, embedder_of(opened))
        made = []
        for where, one in given:
            try:
                made.append(shelf.made(one, time.time()))
            except (GuideRefusedError, ConfigurationError) as error:
                raise ConfigurationError(f"{where}: {error} Nothing was added.") from error
        added = shelf.put(made)
    _told(added, as_json)


def _told(added: list[Guide], as_json: bool) -> None:
    if as_json:
        hidden = ("embedding",)
        facts = [{n: getattr(one, n) for n in Guide.__dataclass_fields__ if n not in hidden} for one in added]
        typer.echo(json.dumps(facts, indent=2))
        return
    for guide in added:
        typer.echo(f"Guide {guide.id} is {guide.state} in namespace {guide.namespace!r}.")


def _given(file: str, usual: OwnGuide) -> Iterator[tuple[str, OwnGuide]]:
    """The guides of a file, each with its place."""
    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    if not file.endswith(_LINES):
        yield file, OwnGuide(text, usual.used_for, usual.namespace, usual.task, usual.state, usual.anyway)
        return
    for at, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"{file}, line {at}", _of_line(f"{file}, line {at}", line, usual)


def _of_line(where: str, line: str, usual: OwnGuide) -> OwnGuide:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or "text" not in record:
        raise ConfigurationError(f"{where}: it is no JSON object with a text.")
    unknown = sorted(record.keys() - set(_KNOWN))
    if unknown:
        raise ConfigurationError(f"{where}: {unknown[0]!r} is none of {', '.join(_KNOWN)}.")
    used_for = record.get("for", usual.used_for)
    found: dict[str, Any] = {
        "namespace": record.get("namespace", usual.namespace),
        "task": record.get("task", usual.task),
        "state": record.get("state", usual.state),
        "anyway": record.get("anyway", usual.anyway),
    }
    texts = tuple(used_for) if isinstance(used_for, (list, tuple)) else (used_for,)
    if found["state"] not in (None, *get_args(OwnState)) or not isinstance(found["anyway"], bool):
        raise ConfigurationError(f"{where}: state is candidate or active, and anyway true or false.")
    if not all(isinstance(one, str) for one in (record["text"], found["namespace"], found["task"], *texts)):
        raise ConfigurationError(f"{where}: text, for, namespace and task are texts.")
    return OwnGuide(record["text"], texts, **found)
