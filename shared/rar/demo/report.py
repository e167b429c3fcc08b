"""What the demo shows at its end: tables, one JSON object, and a plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from rar.cli.layout import Column, Facts, Grid
from rar.cli.tables import cut, role, saving, spent
from rar.demo.run import Result, Served
from rar.report.figure import COLOURS, canvas, draw_money, draw_share
from rar.values import STRONG, WEAK
from rar.words import why

_WINDOW = 10  # questions of the rolling share


def line(place: int, entry: Served, width: int) -> Text:
    """One answered question, of `width` characters at most."""
    where = "chain " if entry.question.app == "langchain" else "engine"
    left = max(width - 40, 20)
    asked, answer = cut(entry.question.text, left * 3 // 5), cut(entry.answer, left * 2 // 5)
    return Text.assemble(
        (f"{place:3} {where} ", "dim"), role(entry.model), " " * (7 - len(entry.model)), (f"{entry.reason:16} ", "dim"),
        asked, (" → ", "dim"), answer,
    )  # fmt: skip


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


def _settings(result: Result) -> Facts:
    settings = result.settings
    priced = [
        Text.assemble(role(name), f" as {settings.priced_as[name]} ({into:g} in, {out:g} out)")
        for name, (into, out) in settings.prices.items()
    ]
    budget = "no limit" if settings.learning_budget is None else f"{settings.learning_budget:.0%} of strong serving"
    models = [Text.assemble(role(name), f" {model}") for name, model in result.models.items()]
    return Facts(
        {
            "models": Text(", ").join(models),
            "example prices": Text(", ").join(priced) + " USD per million tokens; the local models cost nothing",
            "settings": f"policy {settings.policy}, quality {settings.quality:g}, learning budget {budget}, "
            f"{settings.audit_rate:.0%} of weak answers audited, seed {settings.seed}",
            "memory": result.memory,
        }
    )


def _routes(result: Result) -> Grid:
    columns = (
        Column("model"),
        Column("reason"),
        Column("meaning"),
        *(Column(name, right=True) for name in ("LangChain", "LlamaIndex", "all")),
    )
    rows = [
        (role(model), reason, why(reason, model), *_by_app(entries))
        for (model, reason), entries in sorted(_grouped(result.served).items())
    ]
    for model in (WEAK, STRONG):
        mine = [entry for entry in result.served if entry.model == model]
        rows += [(role(model), "", "all", *_by_app(mine))]
    return Grid("Where calls went, and why", columns, tuple(rows))


def _grouped(served: Sequence[Served]) -> dict[tuple[str, str], list[Served]]:
    groups: dict[tuple[str, str], list[Served]] = {}
    for entry in served:
        groups.setdefault((entry.model, entry.reason), []).append(entry)
    return groups


def _by_app(entries: Sequence[Served]) -> tuple[str, str, str]:
    chain = sum(entry.question.app == "langchain" for entry in entries)
    return str(chain), str(len(entries) - chain), str(len(entries))


def _closing(result: Result) -> Facts:
    weak = len(result.served) - result.strong
    facts: dict[str, Text | str] = {}
    if result.check is None:
        facts["agreement"] = "not measured, the run was stopped"
    elif weak:
        judged = result.check.agreed + result.check.differed
        percent = f"{result.check.agreed / judged:.0%} " if judged else ""
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
        sent = f"{share:.0%} of {len(result.served)} questions"
        if result.before is not None:
            then = result.before.strong / result.before.calls
            sent += f"; {then:.0%} of the {result.before.calls} before them, in earlier runs"
        else:
            sent += "; run it again on this memory to see what it has learned"
        facts["sent to strong"] = Text(sent, "bold")
    facts["time"] = f"{result.seconds:.0f} s"
    return Facts(facts)


def plot(result: Result, path: Path) -> None:
    """Draw the share of strong calls and the cost over the run, as PNG."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow, and needed at the end

    served = result.served
    places = range(1, len(served) + 1)
    strong = [entry.model == STRONG for entry in served]
    figure, (left, right) = canvas(11.0, 4.2, 1, 2)

    draw_share(left, places, [sum(strong[max(0, i - _WINDOW) : i]) / min(i, _WINDOW) for i in places])
    for model, height in ((STRONG, 1.06), (WEAK, -0.06)):
        at = [place for place, entry in zip(places, served, strict=True) if entry.model == model]
        left.scatter(at, [height] * len(at), s=14, color=COLOURS[model], clip_on=False, label=f"served by {model}")
    left.set(title=f"Share sent to the strong model (last {_WINDOW} questions)", xlabel="question", ylim=(-0.1, 1.1))
    left.set_yticks([0, 0.25, 0.5, 0.75, 1])

    always = [1e3 * entry.always_strong_usd for entry in served]
    draw_money(right, places, always, [1e3 * entry.spent_usd for entry in served])
    right.set(title="Cumulative cost at example prices", xlabel="question", ylabel="thousandths of a USD")

    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0.5, max(len(served), 2) + 0.5)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=130)
