"""What the demo shows at its end: tables, one JSON object, and a plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from rar.cli.tables import cut, facts_table, role, saving, spent
from rar.demo.run import Result, Served
from rar.values import STRONG, WEAK

_REASONS = {
    "no_evidence": "nothing like it was known",
    "below_threshold": "too little known, or weak is not good at its kind",
    "memory_strong": "asked before: only strong could",
    "memory_weak": "asked before: weak could",
    "memory_guided": "asked before: weak could with a guide",
    "likely_weak": "not tried itself, but weak is good at its kind",
    "audit": "weak is likely good at it, and this checks whether it is",
    "likely_guided": "weak is good at its kind with a guide",
}
_WINDOW = 10  # questions of the rolling share


def line(place: int, entry: Served, width: int) -> str:
    """One answered question, as markup of `width` characters at most."""
    where = "chain " if entry.question.app == "langchain" else "engine"
    left = max(width - 40, 20)
    asked, answer = cut(entry.question.text, left * 3 // 5), cut(entry.answer, left * 2 // 5)
    return (
        f"[dim]{place:3} {where}[/] {role(entry.model)}{' ' * (6 - len(entry.model))} [dim]{entry.reason:16}[/] "
        f"{escape(asked)} [dim]→[/] {escape(answer)}"
    )


def tables(result: Result) -> list[Any]:
    """The whole report."""
    return [_settings(result), _routes(result), spent(result.spending), saving(result.savings), _closing(result)]


def as_json(result: Result, plot: Path | None) -> dict[str, Any]:
    """The whole report as one object."""
    apps = {
        app: Counter(entry.model for entry in result.served if entry.question.app == app)
        for app in ("langchain", "llama_index")
    }
    reasons = Counter(entry.reason for entry in result.served)
    return {
        "settings": asdict(result.settings) | {"prices_usd_per_million": result.settings.prices},
        "memory": result.memory,
        "models": result.models,
        "asked": result.asked,
        "served": {
            "total": len(result.served),
            "weak": len(result.served) - result.strong,
            "strong": result.strong,
            "by_reason": reasons,
            "by_framework": apps,
        },
        "before": asdict(result.before) if result.before else None,
        "agreement": asdict(result.check) if result.check else None,
        "guides": result.guides,
        "experiences": result.experiences,
        "spending": [asdict(spend) for spend in result.spending],
        "savings": asdict(result.savings) | {"net_share": result.savings.net_share},
        "seconds": round(result.seconds, 1),
        "plot": str(plot) if plot else None,
        "answers": [asdict(entry) for entry in result.served],
    }


def _settings(result: Result) -> Table:
    settings = result.settings
    priced = ", ".join(
        f"{role(name)} as {settings.priced_as[name]} ({into:g} in, {out:g} out)"
        for name, (into, out) in settings.prices.items()
    )
    budget = "no limit" if settings.learning_budget is None else f"{settings.learning_budget:.0%} of strong serving"
    return facts_table(
        {
            "models": ", ".join(f"{role(name)} {escape(model)}" for name, model in result.models.items()),
            "example prices": f"{priced} USD per million tokens; the local models cost nothing",
            "settings": f"policy {settings.policy}, quality {settings.quality:g}, learning budget {budget}, "
            f"{settings.audit_rate:.0%} of weak answers audited, seed {settings.seed}",
            "memory": escape(result.memory),
        }
    )


def _routes(result: Result) -> Table:
    table = Table(title="Where calls went, and why", title_justify="left", title_style="bold", header_style="dim")
    for name in ("model", "reason", "meaning"):
        table.add_column(name, no_wrap=name == "reason")
    for name in ("LangChain", "LlamaIndex", "all"):
        table.add_column(name, justify="right")
    for (model, reason), entries in sorted(_grouped(result.served).items()):
        table.add_row(role(model), reason, _REASONS.get(reason, ""), *_by_app(entries))
    table.add_section()
    for model in (WEAK, STRONG):
        table.add_row(role(model), "", "all", *_by_app([entry for entry in result.served if entry.model == model]))
    return table


def _grouped(served: Sequence[Served]) -> dict[tuple[str, str], list[Served]]:
    groups: dict[tuple[str, str], list[Served]] = {}
    for entry in served:
        groups.setdefault((entry.model, entry.reason), []).append(entry)
    return groups


def _by_app(entries: Sequence[Served]) -> tuple[str, str, str]:
    chain = sum(entry.question.app == "langchain" for entry in entries)
    return str(chain), str(len(entries) - chain), str(len(entries))


def _closing(result: Result) -> Table:
    weak = len(result.served) - result.strong
    facts = {}
    if result.check is None:
        facts["agreement"] = "not measured, the run was stopped"
    elif weak:
        judged = result.check.agreed + result.check.differed
        percent = f"[bold]{result.check.agreed / judged:.0%}[/] " if judged else ""
        unclear = f" ({result.check.unclear} more could not be judged)" if result.check.unclear else ""
        facts["agreement"] = (
            f"{percent}of {judged} weak answers say what the strong model says{unclear}; "
            "it was asked after the run, outside the ledger"
        )
    kept = ", ".join(f"{count} {state}" for state, count in sorted(result.guides.items())) or "none has worked so far"
    written = sum(spend.calls for spend in result.spending if (spend.purpose, spend.role) == ("guide", STRONG))
    facts["learned"] = f"{result.experiences} questions; guides: {kept}, {written} written in this run"
    if result.served:
        share = result.strong / len(result.served)
        facts["sent to strong"] = f"[bold]{share:.0%}[/] of {len(result.served)} questions"
        if result.before is not None:
            then = result.before.strong / result.before.calls
            facts["sent to strong"] += f"; {then:.0%} of the {result.before.calls} before them, in earlier runs"
        else:
            facts["sent to strong"] += "; run it again on this memory to see what it has learned"
    facts["time"] = f"{result.seconds:.0f} s"
    return facts_table(facts)


def plot(result: Result, path: Path) -> None:
    """Draw the share of strong calls and the cost over the run, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow, and needed at the end
    from matplotlib.figure import Figure  # noqa: PLC0415 - likewise
    from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: PLC0415 - likewise

    served = result.served
    places = range(1, len(served) + 1)
    strong = [entry.model == STRONG for entry in served]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)

    rolling = [sum(strong[max(0, i - _WINDOW) : i]) / min(i, _WINDOW) for i in places]
    left.plot(places, rolling, color=_PURPLE, linewidth=2)
    left.fill_between(places, rolling, color=_PURPLE, alpha=0.12, linewidth=0)
    for model, colour, height in ((STRONG, _PURPLE, 1.06), (WEAK, _GREEN, -0.06)):
        at = [place for place, entry in zip(places, served, strict=True) if entry.model == model]
        left.scatter(at, [height] * len(at), s=14, color=colour, clip_on=False, label=f"served by {model}")
    left.set(title=f"Share sent to the strong model (last {_WINDOW} questions)", xlabel="question", ylim=(-0.1, 1.1))
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    left.set_yticks([0, 0.25, 0.5, 0.75, 1])

    always = [1e3 * entry.always_strong_usd for entry in served]
    routed = [1e3 * entry.spent_usd for entry in served]
    right.plot(places, always, color=_GREY, linewidth=2, linestyle="--", label="always strong")
    right.plot(places, routed, color=_GREEN, linewidth=2, label="routed, learning included")
    right.fill_between(places, routed, always, color=_GREEN, alpha=0.12, linewidth=0)
    right.set(title="Cumulative cost at example prices", xlabel="question", ylabel="thousandths of a USD")
    right.set_ylim(bottom=0)

    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0.5, max(len(served), 2) + 0.5)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


_PURPLE, _GREEN, _GREY = "#8e44ad", "#27864a", "#888888"
