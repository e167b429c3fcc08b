"""The plots of a report, drawn by matplotlib without its global state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rar.errors import MissingDependencyError
from rar.evaluation import metrics
from rar.evaluation.compare import PAPER, FloorsSummary, OnlineSummary, StagesSummary, StaticSummary
from rar.evaluation.metrics import Interval
from rar.evaluation.rivals import GRID
from rar.evaluation.runs import OURS, Online, OwnRows
from rar.linear import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OWN, _BOUND, _FLOOR = "#d1495b", "#3d3d3d", "#2e7d32"
_COLOURS = {
    "prompt length": "#8d99ae",
    "group prior": "#4c956c",
    "TF-IDF ridge": "#2f6690",
    "k-nearest neighbours": "#e09f3e",
    PAPER: "#7b2d8b",
}
_MORE = ("#00897b", "#c2185b", "#6d4c41", "#3949ab", "#9e9d24", "#f4511e", "#00acc1", "#8e24aa")  # of other routers

_PLAIN: dict[str, dict[str, Any]] = {
    "oracle": {"color": _BOUND, "lw": 1.0, "ls": ":"},
    "random mix": {"color": "0.6", "lw": 1.0, "ls": "--"},
}


def online(summary: OnlineSummary) -> Figure:
    """Quality over strong calls: ours with the hull to the single models, baselines' curves, bounds."""
    figure, axes = _figure(8.0, 5.4)
    weak = next(rival.quality for rival in summary.rivals if rival.name == "weak only")
    for rival in summary.rivals:
        if rival.curve is not None:
            _curve(axes, rival.name, rival.curve)
        elif rival.name in (PAPER, "ideal static router"):
            colour = _COLOURS.get(rival.name, _BOUND)
            marker = "D" if rival.name == PAPER else "*"
            axes.plot(rival.strong_calls, rival.quality, marker, color=colour, ms=8, ls="", label=rival.name)
    axes.plot([0.0, 1.0], [weak, 1.0], **_PLAIN["random mix"], label="random mix")
    own = 1.0 - np.array(summary.saved_by_shuffle)
    at = 1.0 - summary.saved.value
    hull = metrics.nondecreasing_hull(np.array([0.0, at, 1.0]), np.array([weak, summary.realised.value, 1.0]))
    axes.plot(*hull, color=_OWN, lw=1.2, alpha=0.6, label=f"hull of {OURS} and the single models")
    axes.plot(own, summary.realised_by_shuffle, "o", color=_OWN, ms=4, alpha=0.45)
    interval = summary.realised
    error = [[interval.value - interval.low], [interval.high - interval.value]]
    axes.errorbar(
        at, interval.value, error, fmt="o", color=_OWN, ms=9, capsize=4, zorder=5, label=f"{OURS}, all calls counted"
    )
    axes.axhline(summary.floor, color=_FLOOR, ls=(0, (5, 3)), lw=1.0)
    axes.annotate(f"floor {summary.floor:.1%}", (0.005, summary.floor), color=_FLOOR, va="bottom", fontsize=8)
    _cost_quality(axes, f"{summary.facts.name}, online", weak)
    axes.text(
        0.0, -0.15, "Curves know all past outcomes and their best threshold in hindsight.",
        transform=axes.transAxes, fontsize=8, color="0.4",
    )  # fmt: skip
    _own_note(figure, summary.own_rows)
    return figure


def floors(summary: FloorsSummary) -> Figure:
    """Quality reached and net saving, each over the quality that was asked for."""
    found = sorted(summary.floors, key=lambda floor: floor.floor)
    asked = [floor.floor for floor in found]
    figure, (left, right) = _figures(10.0, 4.4, 1, 2)
    left.plot(asked, asked, color=_FLOOR, ls=(0, (5, 3)), lw=1.0, label="asked for")
    _with_intervals(left, asked, [floor.realised for floor in found], "reached, 95 % interval", _OWN)
    worst = [floor.worst_window.quality.value for floor in found]
    left.plot(asked, worst, "v", color=_OWN, alpha=0.5, ls="", label="worst window")
    _with_intervals(right, asked, [floor.net_saved for floor in found], "net saving, all calls paid", "#2f6690")
    right.plot(asked, [floor.saved.value for floor in found], "o:", color="0.55", label="strong calls saved")
    left.set_title(f"{summary.facts.name}: quality", loc="left", fontsize=11)
    left.set_ylabel("of the strong model's quality")
    right.set_title("What it saves", loc="left", fontsize=11)
    right.set_ylabel(f"of always-strong, in {summary.facts.cost_unit}")
    for axes in (left, right):
        axes.set_xlabel("quality asked for")
        axes.set_xticks(asked)
        for name in ("x", "y"):
            _percent(axes, name, decimals=None)
        axes.legend(fontsize=8, frameon=False)
    _own_note(figure, summary.floors[0].own_rows)
    return figure


def static(summary: StaticSummary) -> Figure:
    """The curves of all scorers; beside them, where there are groups, those on unseen groups."""
    own = {entry.router for entry in summary.own_rows if entry.share != 0.0}
    panels = {"random halves": summary.halves, "groups left out": summary.left_out}
    shown = {title: scored for title, scored in panels.items() if scored}
    figure, found = _figures(7.2 * len(shown), 5.2, 1, len(shown))
    for axes, (title, scored) in zip(found, shown.items(), strict=True):
        others = [entry.name for entry in scored if entry.name not in _COLOURS and entry.name not in _PLAIN]
        for entry in scored:
            if entry.name == OURS:
                axes.plot(GRID, entry.curve, color=_OWN, lw=2.4, zorder=4, label=f"{OURS}, APGR {entry.apgr.value:.3f}")
                hull = metrics.nondecreasing_hull(GRID, np.array(entry.curve))
                axes.plot(*hull, color=_OWN, lw=1.0, ls=":", zorder=4, label=f"{OURS}, hull")
            elif entry.name != "ideal static router":
                colour = _MORE[others.index(entry.name) % len(_MORE)] if entry.name in others else "0.5"
                more = f"{' (own rows)' * (entry.name in own)}, APGR {entry.apgr.value:.3f}"
                _curve(axes, entry.name, entry.curve, more, colour)
        _cost_quality(axes, f"{summary.facts.name}, {title}", scored[0].curve[0])
    return figure


def threshold(title: str, score: Array, weak: Array, strong: Array, chosen: float) -> Figure:
    """A router's quality over the share of strong calls, and the point of the threshold that was chosen.

    Args:
        score, weak, strong: The router's scores and the models', shape `(n,)`.
        chosen: Texts of this score or more go to the strong model.
    """
    figure, axes = _figure(7.2, 4.8)
    found = metrics.curve(score, weak, strong)
    area = float(metrics.apgr(score, weak, strong))
    sent = score >= chosen
    at = float(sent.mean()), float(np.where(sent, strong, weak).mean())
    axes.plot([0.0, 1.0], [weak.mean(), strong.mean()], **_PLAIN["random mix"], label="random mix")
    axes.plot(found.share, found.quality, color=_OWN, lw=2.0, label=f"router, APGR {area:.3f}")
    label = f"threshold {chosen:.3f}: {at[0]:.1%} to the strong model, mean score {at[1]:.3f}"
    axes.plot(*at, "o", color=_OWN, mec="white", ms=10, zorder=5, label=label)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("share that the strong model answers")
    axes.set_ylabel("mean score")
    axes.set_xlim(0.0, 1.02)
    _percent(axes, "x")
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def over_time(result: Online) -> Figure:
    """Realised quality and net cost along the stream, pooled over the shuffles, with 95 % intervals."""
    n = len(result.table)
    window = metrics.window_of(n)
    figure, (above, below) = _figures(8.0, 6.4, 2, 1)
    at = np.arange(1, n + 1)
    runs = result.runs

    def band(axes: Axes, values: list[Array], reference: list[Array], colour: str, label: str) -> None:
        rolling = metrics.over_time(np.array(values), np.array(reference), window)
        full = slice(window - 1, None)
        axes.plot(at[full], rolling.value[full], color=colour, lw=1.8, label=f"{label}, last {window:,}")
        axes.fill_between(at[full], rolling.low[full], rolling.high[full], color=colour, alpha=0.18, lw=0)
        whole = metrics.over_time(np.array(values), np.array(reference))
        start = slice(max(window // 4, 1), None)
        axes.plot(at[start], whole.value[start], color=colour, lw=1.0, ls="--", label=f"{label}, since the start")

    band(above, [run.scores for run in runs], [run.table.strong for run in runs], _OWN, "realised quality")
    above.axhline(result.quality, color=_FLOOR, ls=(0, (5, 3)), lw=1.0, label=f"floor {result.quality:.1%}")
    band(below, [run.costs for run in runs], [run.always_strong_costs for run in runs], "#2f6690", "net cost")
    served = [run.strong.astype(float) for run in runs]
    share = metrics.over_time(np.array(served), np.ones((len(runs), n)), window).value
    full = slice(window - 1, None)
    below.plot(at[full], share[full], color="0.55", lw=1.2, label=f"strong answers, last {window:,}")
    above.set_title(f"{result.table.name}, online, {len(runs)} shuffle{'s' * (len(runs) > 1)}", loc="left", fontsize=11)
    above.set_ylabel("of the strong model's quality")
    below.set_ylabel("of always-strong")
    below.set_xlabel("questions seen")
    below.set_ylim(0.0, max(1.05, below.get_ylim()[1]))
    for axes in (above, below):
        _percent(axes, "y")
        axes.set_xlim(0, n)
        axes.legend(fontsize=8, frameon=False)
    _own_note(figure, result.own_rows)
    return figure


def calibration(summary: OnlineSummary) -> Figure:
    """How often the weak model was good enough, over the confidence that it was."""
    figure, (above, below) = _figures(5.6, 6.2, 2, 1, height_ratios=(3, 1), sharex=True)
    found = summary.calibration
    share = found.count / max(found.count.sum(), 1)
    above.plot([0, 1], [0, 1], color="0.6", ls="--", lw=1.0, label="a lower bound lies on or above this line")
    error = 1.96 * np.sqrt(found.accuracy * (1.0 - found.accuracy) / found.count)
    above.errorbar(
        found.confidence, found.accuracy, error, fmt="o-", color=_OWN, capsize=3, label=f"{OURS}, ECE {summary.ece:.3f}"
    )
    above.set_ylabel("weak answer was good enough")
    above.set_ylim(0.0, 1.03)
    above.set_title(f"{summary.facts.name}: the confidence", loc="left", fontsize=11)
    above.legend(fontsize=8, frameon=False, loc="lower right")
    below.bar(found.confidence, share, width=0.06, color=_OWN, alpha=0.5)
    below.set_ylabel("of decisions")
    below.set_xlabel("confidence in the weak model")
    below.set_xlim(0.0, 1.0)
    for axes, name in ((above, "y"), (below, "y"), (below, "x")):
        _percent(axes, name)
    _own_note(figure, summary.own_rows)
    return figure


def stages(summary: StagesSummary) -> Figure:
    """Strong answers and agreement by stage, ours and the published rule's."""
    figure, (left, right) = _figures(10.0, 4.2, 1, 2)
    for name, colour, found in ((OURS, _OWN, summary.ours), (PAPER, _COLOURS[PAPER], summary.paper)):
        if not found:
            continue
        at = [stage.stage for stage in found]
        left.plot(at, [stage.strong_calls for stage in found], "o-", color=colour, label=f"{name}, strong calls")
        left.plot(at, [stage.served_strong for stage in found], "o:", color=colour, alpha=0.6, label=f"{name}, answers")
        agreement = [stage.agreement for stage in found]
        right.plot(at, [entry.value for entry in agreement], "o-", color=colour, label=name)
        right.fill_between(at, [e.low for e in agreement], [e.high for e in agreement], color=colour, alpha=0.15, lw=0)
    ideal = 1.0 - summary.facts.weak_good_enough
    left.axhline(ideal, color=_BOUND, ls="--", lw=1.0, label="ideal static router")
    left.set_title(f"{summary.facts.name}: share to the strong model", loc="left", fontsize=11)
    right.set_title("Answers as good as the strong model's", loc="left", fontsize=11)
    left.set_ylim(0.0, 1.05)
    for axes in (left, right):
        axes.set_xlabel("stage")
        axes.set_xticks([stage.stage for stage in summary.ours])
        _percent(axes, "y")
        axes.legend(fontsize=8, frameon=False)
    return figure


def check() -> None:
    """Raise `MissingDependencyError` where nothing can be drawn."""
    _figures(1.0, 1.0, 1, 1)


def _own_note(figure: Figure, own: OwnRows | None) -> None:
    """Say under a figure that a router was fitted to the questions that it is measured on."""
    if own is not None and own.share != 0.0:
        share = "perhaps" if own.share is None else f"to {own.share:.0%}"
        text = f"Own rows: {own.router} was fitted to these questions, {share}. It looks better than it is."
        figure.supxlabel(text, x=0.02, ha="left", fontsize=8, color=_OWN, wrap=True)


def _with_intervals(axes: Axes, at: list[float], found: list[Interval], label: str, colour: str) -> None:
    values = [entry.value for entry in found]
    error = [[entry.value - entry.low for entry in found], [entry.high - entry.value for entry in found]]
    axes.errorbar(at, values, error, fmt="o-", color=colour, capsize=3, label=label)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure, (axes,) = _figures(width, height, 1, 1)
    return figure, axes


def _figures(width: float, height: float, rows: int, columns: int, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of its own, without pyplot's global state, and its axes row by row."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingDependencyError("matplotlib", "eval") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    found = list(figure.subplots(rows, columns, squeeze=False, **options).ravel())
    for axes in found:
        axes.grid(color="0.92", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found


def _curve(axes: Axes, name: str, quality: Sequence[float], more: str = "", colour: str = "0.5") -> None:
    style = _PLAIN.get(name) or {"color": _COLOURS.get(name, colour), "lw": 1.4}
    axes.plot(GRID, quality, **style, label=name + more)


def _cost_quality(axes: Axes, title: str, weak: float) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("strong calls a question")
    axes.set_ylabel("of the strong model's quality")
    axes.set_ylim(bottom=weak - 0.01)
    axes.set_xlim(0.0, 1.02)
    _percent(axes, "x")
    _percent(axes, "y")
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def _percent(axes: Axes, name: str, decimals: int | None = 0) -> None:
    from matplotlib.ticker import PercentFormatter  # noqa: PLC0415 - optional

    (axes.xaxis if name == "x" else axes.yaxis).set_major_formatter(PercentFormatter(1.0, decimals=decimals))
