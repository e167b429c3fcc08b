"""What the systems of the RAR paper's protocol did, as tables and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from rar.evaluation.metrics import Interval, bootstrap, ratio
from rar.values import STRONG, WEAK

Array: TypeAlias = npt.NDArray[np.float64]
Kind: TypeAlias = Literal["GSM8K", "MMLU"]

KINDS: tuple[Kind, ...] = get_args(Kind)
COT = "weak + CoT"
SINGLE = (WEAK, COT, STRONG)
MIX = "random mix"
PLAIN, GUIDED, FLOOR = "RAR without guides", "RAR with guides", "RAR with guides, floor .95"
ROUTED = (PLAIN, GUIDED, FLOOR)


@dataclass
class Outcome:
    """What a system did. Arrays have shape `(stages, n)`, hold 0 to 1, and are not in the order of asking.

    `strong_calls` are those of each stage, per question, learning included. Rows of `spending` are purpose, role,
    calls, input and output tokens.
    """

    name: str
    strong: Array  # served by the strong model
    agreement: Array  # served answers that agree with the strong model's
    accuracy: Array  # served answers that are right by gold
    strong_calls: list[float]
    spending: Sequence[tuple[str, str, int, int, int]] = ()
    guides: dict[str, int] = field(default_factory=dict)

    @property
    def stages(self) -> int:
        return len(self.strong)


def mean(values: Array) -> Interval:
    """The mean over questions (and stages, if there are several) with its 95 % interval, drawn over questions."""
    per_question = values.reshape(-1, values.shape[-1]).mean(0)
    return bootstrap(ratio(per_question, np.ones(len(per_question))), len(per_question))


def seen(stage: int) -> str:
    return f"{stage + 1} {'repeats' if stage else 'first sights'}"


def by_stage(outcomes: Sequence[Outcome], kinds: npt.NDArray[np.str_]) -> list[dict[str, Any]]:
    """One row for each system and stage; single models are the same in all.

    Args:
        kinds: Of the questions.
    """
    table = []
    for outcome in outcomes:
        single = outcome.name in SINGLE
        for stage in range(1 if single else outcome.stages):
            right = outcome.accuracy[stage]
            row: dict[str, Any] = {"system": outcome.name, "stage": "every" if single else seen(stage)}
            row |= {"served_strong": float(outcome.strong[stage].mean()), "strong_calls": outcome.strong_calls[stage]}
            row |= {"agreement": mean(outcome.agreement[stage]).as_dict(), "accuracy": mean(right).as_dict()}
            row |= {f"accuracy_{kind}": float(right[kinds == kind].mean()) for kind in KINDS if kind in kinds}
            table.append(row)
    return table


def comparisons(outcomes: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """Paired differences in points of what RAR with guides did and what others did, on first sights and on repeats."""
    table: list[dict[str, Any]] = []
    own = outcomes.get(GUIDED)
    for name in (PLAIN, MIX, COT, WEAK):
        other = outcomes.get(name)
        if own is None or other is None:
            continue
        stages = min(own.stages, other.stages)
        for part, span in (("first sights", slice(0, 1)), ("repeats", slice(1, stages))):
            if span.start >= stages:
                continue
            row: dict[str, Any] = {"against": name, "questions": part}
            for of in ("strong", "agreement", "accuracy") if name != MIX else ("agreement", "accuracy"):
                row[of] = mean(getattr(own, of)[span] - getattr(other, of)[span]).as_dict()
            table.append(row)
    return table


def shown(interval: Mapping[str, float], form: str = ".0f") -> str:
    value, low, high = (format(100.0 * interval[part] + 0.0, form) for part in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def print_report(report: Mapping[str, Any], console: Console) -> None:
    console.print(f"[bold]{report['title']}[/]\n{report['versions']}")
    for note in report["notes"]:
        console.print(note)
    shares = "strong served", "strong calls", "agreement [95 %]", "accuracy [95 %]"
    columns = ["system", "stage", *shares, *(f"on {kind}" for kind in KINDS)]
    table = _table("By stage, in % of the questions (strong calls: learning included)", columns)
    for row in report["stages"]:
        calls = [f"{100.0 * row[of]:.0f}" for of in ("served_strong", "strong_calls")]
        right = [f"{100.0 * row[f'accuracy_{kind}']:.0f}" for kind in KINDS if f"accuracy_{kind}" in row]
        table.add_row(row["system"], row["stage"], *calls, shown(row["agreement"]), shown(row["accuracy"]), *right)
    console.print(table)
    if report["comparisons"]:
        columns = ["against", "questions", "strong served", "agreement", "accuracy"]
        table = _table(f"{GUIDED} less another system, in points [95 %], paired", columns)
        for row in report["comparisons"]:
            cells = (shown(row[of], "+.0f") if of in row else "same" for of in ("strong", "agreement", "accuracy"))
            table.add_row(row["against"], row["questions"], *cells)
        console.print(table)
    columns = ["system", "purpose", "model", "calls", "input tokens", "output tokens"]
    table = _table("Calls and tokens of all stages", columns)
    for system, spending in report["spending"].items():
        for n, (purpose, role, *counts) in enumerate(spending):
            table.add_row("" if n else system, purpose, role, *(f"{count:,}" for count in counts))
    console.print(table)
    if report["guides"]:
        table = _table("Guides", ["", *report["guides"]])
        for what in dict.fromkeys(what for guides in report["guides"].values() for what in guides):
            table.add_row(what, *(str(guides.get(what, 0)) for guides in report["guides"].values()))
        console.print(table)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        text = column in ("", "system", "stage", "against", "questions", "purpose", "model")
        table.add_column(column, justify="left" if text else "right", no_wrap=True)
    return table


COLOURS = {
    STRONG: "#3d3d3d", WEAK: "#8d99ae", COT: "#4c956c", MIX: "#e09f3e", PLAIN: "#2f6690", GUIDED: "#d1495b",
    FLOOR: "#7b2d8b",
}  # fmt: skip


def draw(outcomes: Mapping[str, Outcome], title: str, stages: int) -> Figure:
    """Strong answers, agreement and accuracy over the stages; systems are drawn a little side by side."""
    figure = Figure(figsize=(12.0, 4.8), layout="constrained")
    share, *panels = figure.subplots(1, 3)
    for n, name in enumerate(ROUTED):
        if name in outcomes:
            outcome = outcomes[name]
            at = np.arange(1, outcome.stages + 1) + 0.05 * (n - 1)
            share.plot(at, 100.0 * outcome.strong.mean(1), "-o", color=COLOURS[name], ms=5, lw=1.4)
            share.plot(at, 100.0 * np.array(outcome.strong_calls), ":", color=COLOURS[name], lw=1.4)
    share.set(title="served by strong (dotted: all strong calls)", ylabel="% of the questions", ylim=(0.0, None))
    for axes, of in zip(panels, ("agreement", "accuracy"), strict=True):
        for n, outcome in enumerate(outcomes.values()):
            _line(axes, outcome, of, 0.05 * (n - (len(outcomes) - 1) / 2))
    panels[0].set(title="agreement with strong", ylim=(-2.0, 103.0))
    panels[1].set(title="accuracy by gold", ylim=(-2.0, 103.0))
    for axes in (share, *panels):
        axes.set(xlabel="stage (1: first sights, then repeats)", xticks=range(1, stages + 1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(f"{title}; bars: 95 % intervals", fontsize=10)
    return figure


def _line(axes: Axes, outcome: Outcome, of: str, shift: float) -> None:
    """A line over the stages; a single model, the same in all, has one bar at their left."""
    colour, single = COLOURS[outcome.name], outcome.name in SINGLE
    found = [mean(values) for values in getattr(outcome, of)[: 1 if single else None]]
    at = np.arange(len(found)) + (0.6 if single else 1.0) + shift
    value, low, high = (100.0 * np.array([getattr(i, end) for i in found]) for end in ("value", "low", "high"))
    if single:
        axes.axhline(value[0], color=colour, lw=1.0, ls="--")
    error = np.abs([low - value, high - value])
    axes.errorbar(at, value, error, fmt="D" if single else "-o", color=colour, ms=4, lw=1.4, elinewidth=0.8,
                  label=outcome.name)  # fmt: skip
