"""Reports: tables as text, and a folder of Markdown, JSON and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from rar.errors import ConfigurationError
from rar.evaluation import plots
from rar.evaluation.compare import (
    PAPER,
    Facts,
    FloorsSummary,
    OnlineSummary,
    Scored,
    StagesSummary,
    StaticSummary,
)
from rar.evaluation.comparing import Comparing
from rar.evaluation.metrics import Interval
from rar.evaluation.points import KEPT_WITHIN, Guides
from rar.evaluation.rivals import Rival
from rar.evaluation.runs import OURS, Online, OwnRows
from rar.routers.saving import check_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FILES = (".html", ".htm", ".md", ".json", ".png", ".pdf", ".svg", ".csv", ".txt", ".zip")  # no names of folders

Summary: TypeAlias = OnlineSummary | FloorsSummary | StaticSummary | StagesSummary


@dataclass(frozen=True)
class Sheet:
    """One table of a report, as text; `notes` say how to read it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def sheets(summary: Summary, *, whole: bool = True) -> list[Sheet]:
    """What a summary says, as tables: first what was replayed.

    Args:
        whole: Of several floors, also each for itself.
    """
    head = _head(summary.facts)
    if isinstance(summary, OnlineSummary):
        return [head, _ours(summary), _beside(summary)]
    if isinstance(summary, FloorsSummary):
        each = [sheet for floor in summary.floors for sheet in (_ours(floor), _beside(floor))]
        return [head, _floors(summary), *(each if whole else ())]
    if isinstance(summary, StaticSummary):
        found = [head, _scored("Unseen questions, mean of random halves", summary.halves, summary)]
        return [*found, _scored("Unseen groups", summary.left_out, summary)] if summary.left_out else found
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


def write_report(
    folder: Path,
    summary: Summary,
    results: Sequence[Online] = (),
    *,
    more: Sequence[Sheet] = (),
    made_by: str = "",
) -> list[Path]:
    """Write `report.md`, `result.json` and plots into `folder`, which is made; files of these names are replaced.

    Args:
        folder: Where to.
        summary: What was found.
        results: What an online summary sums up, for its plots over time; of several floors one each.
        more: Tables after those of the summary.
        made_by: Words on the first lines: versions, date, command.

    Returns:
        The files.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for name, figure in _figures(summary, results).items():
        images.append(folder / f"{name}.png")
        figure.savefig(images[-1], dpi=150)
    text = f"# Evaluation of a router\n\n{made_by}\n\n{markdown([*sheets(summary), *more])}"
    text += "".join(f"\n![{image.stem.replace('_', ' ')}]({image.name})\n" for image in images)
    (folder / "report.md").write_text(text, encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(summary.as_dict(), indent=1) + "\n", encoding="utf-8")
    return [folder / "report.md", folder / "result.json", *images]


def check_out(folder: Path) -> None:
    """Raise, before any work, where `write_report` could not write into `folder`.

    Raises:
        ConfigurationError: It is a file, or is named like one, or cannot be made or written into.
        MissingDependencyError: matplotlib is not installed.
    """
    if folder.suffix.lower() in _FILES and not folder.is_dir():
        raise ConfigurationError(f"--out {str(folder)!r} is named like a file. A report is a folder: name one.")
    check_folder(folder, "--out: a report")
    plots.check()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        found = f"--out {str(folder)!r} cannot be written into ({error.strerror})."
        raise ConfigurationError(f"{found} Name another folder.") from error


def _figures(summary: Summary, results: Sequence[Online]) -> dict[str, Figure]:
    """The plots of a report, by the name of their file."""
    if isinstance(summary, FloorsSummary):
        found = {"floors": plots.floors(summary)}
        for floor, result in zip(summary.floors, results, strict=True):
            own = _figures(floor, [result])
            found |= {f"{name}_{floor.floor:g}": figure for name, figure in own.items()}
        return found
    if isinstance(summary, OnlineSummary):
        over_time = {"learning_curve": plots.over_time(results[0])} if results else {}
        return {"cost_quality": plots.online(summary), **over_time, "calibration": plots.calibration(summary)}
    if isinstance(summary, StaticSummary):
        return {"cost_quality": plots.static(summary)}
    return {"stages": plots.stages(summary)}


# --- tables ---------------------------------------------------------------------------------------------------------


def _head(facts: Facts) -> Sheet:
    usd = facts.cost_unit == "USD"
    cost = "{:.3g} USD".format if usd else "{:.3g} of a strong call".format
    rows = (
        ("questions", f"{facts.questions:,}"),
        ("weak", f"{facts.weak_id}, mean score {facts.weak_mean:.3f}"),
        ("strong", f"{facts.strong_id}, mean score {facts.strong_mean:.3f}"),
        ("weak is good enough", _share(facts.weak_good_enough)),
        ("oracle score", f"{facts.oracle_mean:.3f}"),
        ("a weak call costs", f"{cost(facts.weak_cost)} ({facts.cost_from})"),
        *((("a strong call costs", cost(facts.strong_cost)),) if usd else ()),
    )
    unpriced = () if usd else ("Costs are in strong calls: give --price for USD, or --weak-ratio for another ratio.",)
    return Sheet(facts.name, ("", "value"), rows, (*(f"Warning: {said}" for said in facts.warnings), *unpriced))


def _ours(summary: OnlineSummary) -> Sheet:
    unit = summary.facts.cost_unit
    spent = f"{summary.spent:,.4g} of {summary.always_strong:,.4g} {unit} spent"
    rows = (
        ("quality asked for", _share(summary.floor)),
        ("realised quality", f"{_interval(summary.realised)}, {_spread(summary.realised_by_shuffle)}"),
        ("in the second half", f"{_spread(summary.second_half_by_shuffle)}, the worst {_bounds(summary.worst_half)}"),
        ("in the worst window", _window(summary)),
        ("floor", _kept(summary)),
        ("strong calls saved", f"{_interval(summary.saved)}, {_spread(summary.saved_by_shuffle)}"),
        ("net saving", f"{_interval(summary.net_saved)}, {spent}"),
        *_with_guides(summary),
        *_comparing(summary),
        ("calls a question", ", ".join(f"{name} {count:.3f}" for name, count in summary.calls.items())),
        ("decided by", ", ".join(f"{name} {share:.1%}" for name, share in summary.reasons.items())),
        ("PGR", f"{summary.pgr:.3f}"),
        ("AIQ", f"{summary.aiq:.4f}"),
        ("PerfGain, CostSave", f"{summary.perf_gain:+.1%}, {summary.cost_save:+.1%}"),
        ("gap to oracle", _share(summary.gap_to_oracle)),
        ("calibration error", f"{summary.ece:.3f} of the confidence"),
    )
    shuffles = len(summary.saved_by_shuffle)
    start = "from a cold start" if summary.own_rows is None else "that start from a static router"
    note = (
        f"{shuffles} shuffle{'s' * (shuffles > 1)} {start}. All calls count: serving, shadow, guide, judge and audit; "
        "net saving pays the weak ones too. Brackets: 95 % bootstrap interval over questions; then the worst and best "
        f"shuffle. The floor is kept if no second half is more than {KEPT_WITHIN:.1%} below it, and no window's "
        "interval, which holds for all windows together, lies wholly below it."
    )
    title = f"{OURS}, online" if summary.own_rows is None else f"{OURS}, online, from a static router"
    return Sheet(title, ("", "value"), rows, (*own_notes([summary.own_rows]), note))


_COMPARED = "by a judge that only compares"


def _with_guides(summary: OnlineSummary) -> tuple[tuple[str, str], ...]:
    """Rows on guides, and on the same replay without them."""
    guides = summary.guides
    if guides is None:
        return ()
    used = f"{guides.written:.0f} written, by which {_share(guides.own)} were answered"
    quality, saved = f"quality {_interval(guides.realised)}", f"strong calls saved {_interval(guides.saved)}"
    kept = "kept" if guides.floor_kept else "NOT kept"
    return (
        ("guides", f"{used}; {_share(guides.other)} by those of other groups"),
        ("without guides", f"{quality}, {saved}, net saving {_interval(guides.net_saved)}, floor {kept}"),
    )


def _comparing(summary: OnlineSummary) -> tuple[tuple[str, str], ...]:
    """Rows on the same replay with a judge that only compares."""
    found = summary.comparing
    if found is None:
        return ()
    quality, saved = f"quality {_interval(found.realised)}", f"strong calls saved {_interval(found.saved)}"
    kept = "kept" if found.floor_kept else "NOT kept"
    said = f"agrees {_share(found.agrees)}, refuses {_share(found.refuses)}, cannot tell {_share(found.undecided)}"
    return (
        (_COMPARED, f"{quality}, {saved}, net saving {_interval(found.net_saved)}, floor {kept}"),
        ("that judge", f"{said}; weak is good enough {_share(found.good_enough)}"),
    )


def _kept(summary: OnlineSummary) -> str:
    if summary.floor_kept:
        return "kept"
    if not summary.worst_window.kept:
        return "NOT kept, in the worst window"
    chance = ", though chance may explain it" if summary.worst_half.high >= summary.floor else ""
    return f"NOT kept, in a second half{chance}"


def _window(summary: OnlineSummary) -> str:
    window = summary.worst_window
    where = f"questions {window.first:,} to {window.last:,} of shuffle {window.shuffle}"
    return f"{_interval(window.quality)}, {where}"


def _floors(summary: FloorsSummary) -> Sheet:
    columns = ("asked for", "reached", "worst window", "floor", "strong calls saved", "net saving")
    rows = []
    for floor in summary.floors:
        rows.append(_floor(_share(floor.floor), floor))
        if floor.guides is not None:
            rows.append(_floor("  without guides", floor.guides))
        if floor.comparing is not None:
            rows.append(_floor(f"  {_COMPARED}", floor.comparing))
    note = "Quality is a share of the strong model's. Net saving is after all learning, weak calls paid."
    own = own_notes([summary.floors[0].own_rows])
    return Sheet("What each floor costs", columns, tuple(rows), (*own, note))


def _floor(name: str, found: OnlineSummary | Guides | Comparing) -> tuple[str, ...]:
    return (
        name,
        _interval(found.realised),
        _share(found.worst_window.quality.value),
        "kept" if found.floor_kept else "NOT kept",
        _share(found.saved.value),
        _interval(found.net_saved),
    )


def own_notes(routers: Sequence[OwnRows | None]) -> tuple[str, ...]:
    """Words on routers that are measured on rows that they were fitted to, or may be."""
    notes = []
    for own in routers:
        if own is None or own.share == 0.0:
            continue
        if own.share is None:
            found = "does not say which rows it was fitted to. If it knows these questions, it looks better than it is."
        else:
            found = f"was fitted to {own.share:.1%} of these questions. It looks better than it is: use other rows."
        notes.append(f"Own rows: {own.router} {found}")
    return tuple(notes)


def _beside(summary: OnlineSummary) -> Sheet:
    columns = ("router", "strong calls", "net saving", "quality", "RAR is ahead by, points", "saved at RAR's quality")
    saved, realised = _share(summary.saved.value), _share(summary.realised.value)
    ours = (OURS, _share(1.0 - summary.saved.value), _share(summary.net_saved.value), realised, "", saved)
    rows = (ours, *(_rival(rival) for rival in summary.rivals))
    ahead = (
        "Quality is relative to the strong model. RAR is ahead by: its quality less the other's at RAR's strong calls, "
        "learning included (95 % paired bootstrap interval); a router with other calls is mixed with a single model. "
        "The last column: strong calls saved."
    )
    hindsight = "* knows all past outcomes free of charge and is fitted anew; its threshold is chosen in hindsight."
    return Sheet(
        "Beside other routers, on the same questions", columns, rows, (*own_notes([summary.own_rows]), ahead, hindsight)
    )


def _rival(rival: Rival) -> tuple[str, ...]:
    return (
        rival.name + " *" * rival.hindsight,
        _share(rival.strong_calls),
        _share(rival.net_saved),
        _share(rival.quality),
        "" if rival.ahead is None else _points(rival.ahead),
        "" if rival.saved is None else _share(rival.saved),
    )


def _scored(title: str, scored: Sequence[Scored], summary: StaticSummary) -> Sheet:
    calls = (f"calls for {floor:.1%}, net saving" for floor in summary.floors)
    columns = ("score", "APGR", "RAR is ahead by", "CPT(80 %)", *calls)
    own = {entry.router for entry in summary.own_rows if entry.share != 0.0}
    rows = tuple(
        (
            entry.name + " (own rows)" * (entry.name in own),
            f"{entry.apgr.value:.3f} [{entry.apgr.low:.3f}, {entry.apgr.high:.3f}]",
            ""
            if entry.ahead is None
            else f"{entry.ahead.value:+.3f} [{entry.ahead.low:+.3f}, {entry.ahead.high:+.3f}]",
            _share(entry.cpt80),
            *(f"{_share(calls)}, {_share(net)}" for calls, net in zip(entry.to_keep, entry.net_saved, strict=True)),
        )
        for entry in scored
    )
    note = (
        "Brackets: 95 % bootstrap interval over questions, paired for the difference in APGR. CPT: strong calls that "
        "recover so much of the gap; then those that keep so much of the strong model's quality, fewer are better, and "
        "what is saved with them after paying the weak calls."
    )
    return Sheet(title, columns, rows, (*own_notes(summary.own_rows), note))


def _stages(title: str, summary: StagesSummary) -> Sheet:
    columns = (
        "stage",
        "questions are",
        "strong answers",
        "strong calls",
        "net saving",
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
            _share(stage.net_saved),
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
    return f"{found.value:.1%} {_bounds(found)}"


def _bounds(found: Interval) -> str:
    return f"[{found.low:.1%}, {found.high:.1%}]"


def _points(found: Interval) -> str:
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.1%} to {max(values):.1%}"
