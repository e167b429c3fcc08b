"""Reports: tables as text, and a folder of Markdown, JSON and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from rar.evaluation import plots
from rar.evaluation.compare import KEPT_WITHIN, PAPER, OnlineSummary, Rival, Scored, StagesSummary, StaticSummary
from rar.evaluation.metrics import Interval
from rar.evaluation.runs import OURS, Online

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Summary: TypeAlias = OnlineSummary | StaticSummary | StagesSummary


@dataclass(frozen=True)
class Sheet:
    """One table of a report, as text; `notes` say how to read it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def sheets(summary: Summary) -> list[Sheet]:
    """What a summary says, as tables: first what was replayed."""
    facts = summary.facts
    head = Sheet(
        facts.name,
        ("questions", "weak", "strong", "weak score", "strong score", "weak is good enough", "oracle score"),
        (
            (
                f"{facts.questions:,}", facts.weak_id, facts.strong_id, f"{facts.weak_mean:.3f}",
                f"{facts.strong_mean:.3f}", _share(facts.weak_good_enough), f"{facts.oracle_mean:.3f}",
            ),
        ),
    )  # fmt: skip
    if isinstance(summary, OnlineSummary):
        return [head, _ours(summary), _beside(summary)]
    if isinstance(summary, StaticSummary):
        found = [head, _scored("Unseen questions, mean of random halves", summary.halves, summary.floor)]
        if summary.left_out:
            found.append(_scored("Unseen groups", summary.left_out, summary.floor))
        return found
    found = [head, _stages("Stages: RAR", summary)]
    return [*found, _stages(f"Stages: {PAPER}", summary)] if summary.paper else found


def markdown(found: Sequence[Sheet]) -> str:
    """Tables as Markdown."""
    parts = []
    for sheet in found:
        rows = [sheet.columns, ("---",) * len(sheet.columns), *sheet.rows]
        table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
        notes = "".join(f"\n\n{note}" for note in sheet.notes)
        parts.append(f"## {sheet.title}\n\n{table}{notes}\n")
    return "\n".join(parts)


def write_report(folder: Path, summary: Summary, result: Online | None = None, *, made_by: str = "") -> list[Path]:
    """Write `report.md`, `result.json` and plots into `folder`, which is made; files of these names are replaced.

    Args:
        folder: Where to.
        summary: What was found.
        result: What an online summary sums up, for its plots over time.
        made_by: Words on the first lines: versions, date, command.

    Returns:
        The files.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure] = {}
    if isinstance(summary, OnlineSummary):
        figures["cost_quality"] = plots.online(summary)
        if result is not None:
            figures["learning_curve"] = plots.over_time(result)
        figures["calibration"] = plots.calibration(summary)
    elif isinstance(summary, StaticSummary):
        figures["cost_quality"] = plots.static(summary)
    else:
        figures["stages"] = plots.stages(summary)
    images = []
    for name, figure in figures.items():
        images.append(folder / f"{name}.png")
        figure.savefig(images[-1], dpi=150)
    text = f"# Evaluation of a router\n\n{made_by}\n\n{markdown(sheets(summary))}"
    text += "".join(f"\n![{image.stem.replace('_', ' ')}]({image.name})\n" for image in images)
    (folder / "report.md").write_text(text, encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(summary.as_dict(), indent=1) + "\n", encoding="utf-8")
    return [folder / "report.md", folder / "result.json", *images]


# --- tables ---------------------------------------------------------------------------------------------------------


def _ours(summary: OnlineSummary) -> Sheet:
    kept = "kept" if summary.floor_kept else "NOT kept"
    rows = (
        ("quality asked for", _share(summary.floor)),
        ("realised quality", f"{_interval(summary.realised)}, {_spread(summary.realised_by_shuffle)}"),
        ("in the second half", f"{_spread(summary.second_half_by_shuffle)}: floor {kept}"),
        ("strong calls saved", f"{_interval(summary.saved)}, {_spread(summary.saved_by_shuffle)}"),
        ("net cost against always strong", _interval(summary.net_cost)),
        ("calls a question", ", ".join(f"{name} {count:.3f}" for name, count in summary.calls.items())),
        ("decided by", ", ".join(f"{name} {share:.1%}" for name, share in summary.reasons.items())),
        ("PGR", f"{summary.pgr:.3f}"),
        ("AIQ", f"{summary.aiq:.4f}"),
        ("PerfGain, CostSave", f"{summary.perf_gain:+.1%}, {summary.cost_save:+.1%}"),
        ("gap to oracle", _share(summary.gap_to_oracle)),
        ("calibration error of the confidence", f"{summary.ece:.3f}"),
    )
    shuffles = len(summary.saved_by_shuffle)
    note = (
        f"{shuffles} shuffle{'s' * (shuffles > 1)} from a cold start. All strong calls count: serving, shadow, guide, "
        "judge and audit. Brackets: 95 % bootstrap interval over questions; then the worst and best shuffle. The floor "
        f"is kept if no second half is more than {KEPT_WITHIN:.1%} below it."
    )
    return Sheet(f"{OURS}, online", ("", "value"), rows, (note,))


def _beside(summary: OnlineSummary) -> Sheet:
    columns = ("router", "strong calls", "quality", "PGR", "gap to oracle", "RAR is ahead by", "saved at RAR's quality")
    saved, realised = _share(summary.saved.value), _share(summary.realised.value)
    calls, gap = _share(1.0 - summary.saved.value), _share(summary.gap_to_oracle)
    ours = (OURS, calls, realised, f"{summary.pgr:.3f}", gap, "", saved)
    rows = (ours, *(_rival(rival) for rival in summary.rivals))
    ahead = (
        "Quality is relative to the strong model. RAR is ahead by: its quality less the other's at RAR's strong calls, "
        "learning included (95 % paired bootstrap interval); a router with other calls is mixed with a single model."
    )
    hindsight = "* knows all past outcomes free of charge and is fitted anew; its threshold is chosen in hindsight."
    return Sheet("Beside other routers, on the same questions", columns, rows, (ahead, hindsight))


def _rival(rival: Rival) -> tuple[str, ...]:
    return (
        rival.name + " *" * rival.hindsight,
        _share(rival.strong_calls),
        _share(rival.quality),
        f"{rival.pgr:.3f}",
        _share(rival.gap_to_oracle),
        "" if rival.ahead is None else _points(rival.ahead),
        "" if rival.saved is None else _share(rival.saved),
    )


def _scored(title: str, scored: Sequence[Scored], floor: float) -> Sheet:
    columns = ("score", "APGR", "RAR is ahead by", "CPT(50 %)", "CPT(80 %)", f"calls for {floor:.1%} quality", "AIQ")
    rows = tuple(
        (
            entry.name,
            f"{entry.apgr.value:.3f} [{entry.apgr.low:.3f}, {entry.apgr.high:.3f}]",
            ""
            if entry.ahead is None
            else f"{entry.ahead.value:+.3f} [{entry.ahead.low:+.3f}, {entry.ahead.high:+.3f}]",
            _share(entry.cpt50),
            _share(entry.cpt80),
            _share(entry.to_keep),
            f"{entry.aiq:.4f}",
        )
        for entry in scored
    )
    note = (
        "Brackets: 95 % bootstrap interval over questions, paired for the difference in APGR. Fewer calls are better."
    )
    return Sheet(title, columns, rows, (note,))


def _stages(title: str, summary: StagesSummary) -> Sheet:
    columns = (
        "stage",
        "questions are",
        "strong answers",
        "strong calls",
        "quality",
        "random mix",
        "agreement",
        "worst",
    )
    rows = tuple(
        (
            str(stage.stage),
            "repeats" if stage.repeats else "first sights",
            f"{_share(stage.served_strong)}, worst {_share(stage.served_strong_worst)}",
            _share(stage.strong_calls),
            _share(stage.quality),
            _share(stage.random_mix),
            _interval(stage.agreement),
            _share(stage.agreement_worst),
        )
        for stage in (summary.paper if PAPER in title else summary.ours)
    )
    ideal = 1.0 - summary.facts.weak_good_enough
    note = (
        "Strong calls include audits. Quality is relative to the strong model, over 100 % where the weak is better; "
        "agreement: answers as good as the strong one's; random mix: its quality with as many strong answers. "
        f"An ideal static router needs {_share(ideal)} strong answers at every stage."
    )
    return Sheet(title, columns, rows, (note,))


def _share(value: float) -> str:
    return "never" if np.isnan(value) else f"{value:.1%}"


def _interval(found: Interval) -> str:
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


def _points(found: Interval) -> str:
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}] points"


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.1%} to {max(values):.1%}"
