"""`rar rollout`: where each namespace stands, and moving it by hand."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import Annotated

import typer

from rar.cli.arguments import AsJson, Namespace, Read
from rar.cli.memories import USUAL, check_namespace, reading, writing
from rar.errors import ConfigurationError
from rar.report.numbers import interval, percent
from rar.rollout import Rollout, Seen, Stage, described, facts_since, move, seen_of, stage_in


def rollout(
    memory: Read = USUAL,
    namespace: Namespace = None,
    to: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Put the namespace here: the share that may get cheaper answers."),
    ] = None,
    floor: Annotated[float | None, typer.Option(help="To compare with; by default what the memory recorded.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how far cheaper models were let in, and what audits say of it; or move a namespace by hand."""
    if to is not None:
        if namespace is None:
            raise ConfigurationError("Say which namespace is moved: --namespace NAME.")
        with writing(memory) as opened:
            move(opened, namespace, to, time.time())
    with reading(memory) as opened:
        check_namespace(opened, namespace)
        names = opened.stats().namespaces if namespace is None else (namespace,)
        found = {}
        for name in names:
            stage = stage_in(opened, name, Rollout())
            facts = facts_since(opened, name, stage.since)
            recorded = next((one.quality for one in facts if one.quality is not None), 0.95)
            found[name] = (stage, seen_of(facts), recorded if floor is None else floor)
    if as_json:
        shown = {name: described(Rollout(), *parts) for name, parts in found.items()}
        typer.echo(json.dumps(shown, indent=2))
        return
    for name, parts in found.items():
        typer.echo(f"{name}: {_in_words(*parts)}")


def _in_words(stage: Stage, seen: Seen, floor: float) -> str:
    since = "the start"
    if stage.since:
        since = datetime.fromtimestamp(stage.since, timezone.utc).strftime("%Y-%m-%d %H:%M")
    quality = "not known yet"
    if seen.quality is not None:
        quality = f"{percent(seen.quality.value, 1)}, {interval(seen.quality)}"
    return (
        f"{percent(stage.share)} since {since}; quality if all had a part {quality}, floor {percent(floor)}; "
        f"{seen.audits} audits of {seen.decided} decisions"
    )
