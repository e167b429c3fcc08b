"""A report as one image, drawn by matplotlib without its global state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from rar.errors import MissingDependencyError
from rar.report.course import settled
from rar.report.facts import ReportFacts
from rar.report.numbers import percent, span, usd
from rar.values import STRONG

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"strong": "#7b3fa0", "weak": "#23864b"}
_GREY, _FLOOR, _BAND = "#888888", "#b3261e", "#2f6f9f"
_LISTED = 6  # reasons


def figure(facts: ReportFacts) -> Figure:
    """Share sent to strong and money over time, why the strong model answered, and quality against the floor."""
    whole, (share, money, why, quality) = canvas(12.0, 8.0, 2, 2)
    _share(share, facts)
    _money(money, facts)
    _reasons(why, facts)
    _quality(quality, facts)
    when = "" if facts.start is None or facts.end is None else f", {span(facts.start, facts.end)}"
    whole.suptitle(f"{_plain(facts.name)}: {facts.calls:,} calls{when}", x=0.01, ha="left", fontsize=13)
    return whole


def canvas(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches, and its axes row by row.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - optional, and slow to import
        from matplotlib.figure import Figure  # noqa: PLC0415 - likewise
    except ImportError:
        raise MissingDependencyError("matplotlib", "eval") from None
    found = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(found)
    axes: list[Axes] = list(found.subplots(rows, columns, squeeze=False).ravel())
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", alpha=0.25)
        one.set_axisbelow(True)
    return found, axes


def draw_share(axes: Axes, at: Sequence[Any], share: Sequence[float]) -> None:
    """The share of strong answers as a line over an area."""
    axes.plot(at, share, color=COLOURS["strong"], linewidth=2)
    axes.fill_between(at, share, color=COLOURS["strong"], alpha=0.12, linewidth=0)
    axes.set_ylim(-0.03, 1.05)
    percents(axes, "y")


def draw_money(axes: Axes, at: Sequence[Any], always: Sequence[float], spent: Sequence[float]) -> None:
    """Cumulative cost by the strong model alone and as it was, with what lies between."""
    axes.plot(at, always, color=_GREY, linewidth=2, linestyle="--", label="always strong")
    axes.plot(at, spent, color=COLOURS["weak"], linewidth=2, label="routed, learning included")
    axes.fill_between(at, spent, always, color=COLOURS["weak"], alpha=0.12, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper left")


def percents(axes: Axes, which: str) -> None:
    from matplotlib.ticker import PercentFormatter  # noqa: PLC0415 - optional

    (axes.xaxis if which == "x" else axes.yaxis).set_major_formatter(PercentFormatter(1.0, decimals=0))


def _share(axes: Axes, facts: ReportFacts) -> None:
    if not facts.course:
        return _unknown(axes, "Share sent to the strong model", "no call was served")
    first, shown = facts.course[0], settled(facts.course)
    at: list[Any] = [_date(first.start + (place + 0.5) * first.seconds) for place, _ in shown]
    draw_share(axes, at, [share for _, share in shown])
    if len(shown) == 1:
        axes.plot(at, [shown[0][1]], "o", color=COLOURS["strong"])  # a line needs two
    _dates(axes)
    axes.set_title("Share sent to the strong model", loc="left", fontsize=11)
    return None


def _money(axes: Axes, facts: ReportFacts) -> None:
    course, saved = facts.money.course, facts.money.savings
    if len(course) < 2 or saved.net_usd is None:
        why = "some prices are not known" if saved.net_usd is None else f"net so far: {usd(saved.net_usd)}"
        return _unknown(axes, "Net saving", why)
    at = [_date(point.at) for point in course]
    draw_money(axes, at, [point.always_strong for point in course], [point.spent for point in course])
    _dates(axes)
    share = "" if saved.net_share is None else f" ({saved.net_share:.1%})"
    axes.set_title(f"Cumulative cost in USD; net saving {usd(saved.net_usd)}{share}", loc="left", fontsize=11)
    return None


def _reasons(axes: Axes, facts: ReportFacts) -> None:
    found = [one for one in facts.reasons if one.model == STRONG][:_LISTED][::-1]
    if not found:
        return _unknown(axes, "Why the strong model answered", "it answered nothing")
    axes.barh([_plain(one.code) for one in found], [one.calls for one in found], color=COLOURS["strong"])
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_title(f"Why the strong model answered {facts.strong:,} calls", loc="left", fontsize=11)
    return None


def _quality(axes: Axes, facts: ReportFacts) -> None:
    found = facts.quality
    if found.overall is None:
        return _unknown(axes, "Quality, from audits", "no weak answer was checked")
    rows = [("all answers", found.overall), *((kind.kind, kind.good) for kind in found.kinds[::-1] if kind.good)]
    for place, (_, share) in enumerate(rows):
        axes.plot([share.low, share.high], [place, place], color=_BAND, alpha=0.45, linewidth=7, solid_capstyle="butt")
        axes.plot(share.value, place, "|", color="black", ms=14, mew=2.5)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    if found.floor is not None:
        axes.axvline(found.floor, color=_FLOOR, linestyle="--", linewidth=1.2, label=f"floor {percent(found.floor)}")
        axes.legend(frameon=False, loc="lower left")
    axes.set_xlim(right=1.005)
    percents(axes, "x")
    axes.set_title(f"Quality by {found.audits:,} audits, 95 % intervals", loc="left", fontsize=11)
    return None


def _unknown(axes: Axes, title: str, why: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_axis_off()
    axes.text(0.0, 0.9, f"Unknown: {why}.", transform=axes.transAxes, va="top")


def _dates(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - optional

    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _date(at: float) -> datetime:
    return datetime.fromtimestamp(at, timezone.utc)


def _plain(text: str) -> str:
    """Text that matplotlib takes for text: a dollar would begin a formula."""
    return text.replace("$", r"\$")
