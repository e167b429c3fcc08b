"""`rar plan`: what a floor would have saved on a log, before any user is touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from rar.cli.arguments import AsJson
from rar.cli.output import progress
from rar.cli.prices import prices_of
from rar.errors import ConfigurationError, MissingDependencyError
from rar.evaluation.metrics import Interval
from rar.logs import FORMATS, load, read_log
from rar.logs.planning import Plan, asked_of, cost_of, logged, plan, sampled
from rar.logs.recorded import Recorded, store
from rar.values import Reply

Ask: TypeAlias = Callable[[Sequence[Recorded]], Sequence["Reply | None"]]


def convert(form: str, file: str, out: Path | None) -> None:
    """Write another tool's log as recorded requests: `rar import FORMAT FILE --out REQUESTS`."""
    if out is None:
        raise ConfigurationError(f"Say where the recorded requests go: rar import {form} {file} --out requests.jsonl.")
    count = store(out, read_log(form, Path(file)))
    typer.echo(f"{count} requests written to {out}. Mail addresses, keys and long numbers in them are masked.")


def is_log(form: str) -> bool:
    """Whether this names another tool's log rather than a memory."""
    return form in FORMATS


def plan_command(
    requests: Annotated[Path, typer.Argument(metavar="REQUESTS", help="What `rar import FORMAT FILE` wrote.")],
    config: Annotated[
        Path | None, typer.Option(help="A file of `rar serve`, whose weak model is asked a sample of the questions.")
    ] = None,
    weak_log: Annotated[
        Path | None, typer.Option(help="Recorded requests of the weak model instead, with the same questions.")
    ] = None,
    quality: Annotated[list[float] | None, typer.Option(help="Floors; 0.9 and 0.95 by default. Repeatable.")] = None,
    sample: Annotated[int, typer.Option(min=30, help="Different questions that are looked at, at most.")] = 400,
    price: Annotated[list[str] | None, typer.Option(metavar="NAME=IN/OUT", help="USD per million tokens.")] = None,
    usd: Annotated[float, typer.Option(help="Ask nothing if that would cost more.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the sample and of the orders in which it is replayed.")] = 0,
    embedder: Annotated[Literal["minilm", "hashing"], typer.Option(help="What similarity is measured by.")] = "minilm",
    as_json: AsJson = False,
) -> None:
    """Say what floors would have saved on a log, with intervals. No user is touched."""
    if (config is None) == (weak_log is None):
        raise ConfigurationError("Give the weak model: --config FILE to ask it, or --weak-log FILE with its answers.")
    found = list(load(requests))
    with progress() as told:
        if weak_log is not None:
            others, prices = list(load(weak_log)), prices_of(price)
            weak = next((one.model for one in others if one.model), "weak")
            ask: Ask = partial(logged, others=others)
        else:
            assert config is not None
            model, weak, prices = _upstream(config, price)
            costs = cost_of(sampled(found, sample, seed)[1], prices, weak)
            if costs is not None and costs > usd:
                raise ConfigurationError(
                    f"Asking {weak} would cost about {costs:.2f} USD. Lower --sample, or raise --usd."
                )
            ask = partial(asked_of, model, progress=told)
        made = plan(
            found, ask, weak=weak, prices=prices, floors=quality or (0.9, 0.95), sample=sample, seed=seed,
            embedder=embedder, progress=told,
        )  # fmt: skip
    typer.echo(json.dumps(made.as_dict(), indent=2) if as_json else in_words(made))


def _upstream(config: Path, price: list[str] | None) -> tuple[Any, str, Any]:
    if find_spec("httpx") is None:
        raise MissingDependencyError("httpx", "server")
    from rar.prices import Prices  # noqa: PLC0415 - beside what needs the extra
    from rar.server.config import read_config  # noqa: PLC0415 - likewise
    from rar.server.upstream import UpstreamModel  # noqa: PLC0415 - likewise

    models = read_config(config).models
    given: dict[str, Any] = {one.model: one.price for one in models.values() if one.price is not None}
    weak = models["weak"]
    prices = prices_of(price) if price else Prices(given)
    return UpstreamModel("weak", weak), weak.model, prices


def in_words(made: Plan) -> str:
    """A plan in lines to read."""
    log = f"{made.requests:,} requests, {made.usable:,} of them usable"
    pair = f"{made.weak} beside {made.strong}: {made.asked:,} different questions asked, {made.judged:,} judged"
    head = f"{'floor':>6}  {'strong calls saved':>26}  {'net saving':>26}  {'later':>6}  {'quality':>26}"
    rows = [
        f"{one.floor:>6g}  {_shown(one.saved):>26}  {_shown(one.net_saved):>26}  {one.later:>6.0%}  "
        f"{_shown(one.quality):>26}"
        for one in made.floors
    ]
    lines = [
        f"{log}; {made.repeated:.0%} were asked before, word for word.",
        f"{pair}, {made.good_enough:.0%} of the weak answers agree.",
        "", head, *rows, "",
        f"From a cold start on {made.judged:,} different questions; later: the second half of them.",
        "Repeats come on top.",
        "The judge only compares answers, so this is what a router that nobody grades for would do.",
    ]  # fmt: skip
    return "\n".join(lines)


def _shown(value: Interval) -> str:
    return f"{value.value:.1%} ({value.low:.1%} to {value.high:.1%})"
