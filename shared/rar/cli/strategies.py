"""`rar eval strategy`: a strategy beside single models, RAR, the Zero router and the oracle."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from rar import evaluation
from rar.cli.evaluation import (
    AsJson,
    Between,
    Embedder,
    File,
    Limit,
    PriceOf,
    Seed,
    Strong,
    Text,
    Weak,
    WeakRatio,
    checked,
    priced,
)
from rar.cli.output import print_sheets, progress
from rar.errors import ConfigurationError
from rar.evaluation.contest import MAKERS, Contender, Contest, contest
from rar.evaluation.report import Sheet
from rar.outcomes import Outcomes

Name = Annotated[str, typer.Argument(metavar="NAME", help=f"{', '.join(sorted(MAKERS))}.")]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="USD|SHARE", help="What a request may cost on average, or a share of the strong model's: 40%."
    ),
]
Keep = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the strong model's quality, without a budget.")]


def strategy(
    name: Name,
    file: File,
    weak: Weak,
    strong: Strong,
    model: Between = None,
    text: Text = None,
    budget: Budget = None,
    keep_quality: Keep = 0.95,
    price: PriceOf = None,
    weak_ratio: WeakRatio = None,
    limit: Limit = None,
    embedder: Embedder = "minilm",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a strategy to half of the questions, and hold it on the others against single models, RAR and the oracle."""
    prices = checked(price, weak_ratio, None)
    columns = (weak, *(model or ()), strong)
    table = evaluation.read_outcomes(file, models=columns, text=text, limit=limit, replies=True)
    table = priced(table, prices, weak_ratio)
    with progress() as told:
        found = contest(
            name, table, budget=_budget(budget, table), keep_quality=keep_quality, embedder=embedder, seed=seed,
            progress=told,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=1))
    else:
        print_sheets([sheet(found)])


def sheet(found: Contest) -> Sheet:
    """What came of a contest, as a table."""
    columns = ("", "quality", "of strong", f"cost, {found.unit}", "of strong", "strong calls", "ahead of Zero")
    last = next(one for one in reversed(found.contenders) if one.name.endswith(" alone"))
    notes = (
        f"Learned from {found.learned_from:,} questions, asked {found.asked:,} others.",
        "All drafts are charged, and so is what RAR pays to learn.",
        "Ahead of Zero: quality less that of single models mixed at random to the same cost, with a 95 % interval.",
        found.strategy,
    )
    return Sheet(f"Strategy on {found.data}", columns, tuple(_row(one, last) for one in found.contenders), notes)


def _row(one: Contender, strong: Contender) -> tuple[str, ...]:
    quality, cost = (_share(one.quality, strong.quality), _share(one.cost, strong.cost))
    calls = "" if one.strong_calls is None else f"{one.strong_calls:.2f}"
    ahead = "" if one.ahead is None else f"{one.ahead.value:+.3f} [{one.ahead.low:+.3f}, {one.ahead.high:+.3f}]"
    return (one.name, f"{one.quality:.3f}", quality, f"{one.cost:.3g}", cost, calls, ahead)


def _share(value: float, whole: float) -> str:
    return f"{value / whole:.1%}" if whole else ""


def _budget(written: str | None, table: Outcomes) -> float | None:
    if written is None:
        return None
    text, whole = written.strip(), 1.0
    if text.endswith("%"):
        text, whole = text[:-1], float(table.call_costs[:, -1].mean()) / 100.0
    try:
        return float(text) * whole
    except ValueError:
        raise ConfigurationError(f"--budget {written!r} is neither a cost nor a share. Write 0.004 or 40%.") from None
