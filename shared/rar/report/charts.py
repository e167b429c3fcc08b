"""The charts of a page: inline SVG that stretches to any width, under labels that are HTML and so keep their size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rar.intervals import Share
from rar.report.course import DAY, Span, settled
from rar.report.markup import Markup, el, join
from rar.report.money import PARTS, Day, Point
from rar.report.numbers import interval, moment, percent, usd
from rar.report.quality import Window
from rar.report.words import purpose_in_words

_W = 1_000.0  # of a drawing, in its own units; its height is the same
_MOST_BARS = 45


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where values lie from 0 to 1, and what is written there."""

    place: Callable[[float], float]
    labels: tuple[tuple[float, str], ...]


def share_over_time(course: Sequence[Span]) -> Markup:
    """The share of strong answers, and the number of calls under it; of two spans or more."""
    time = _slots([span.start for span in course], course[0].seconds)
    shown = [(time.place(place), share) for place, share in settled(course)]
    if len(shown) == 1:
        shown = [(0.0, shown[0][1]), (1.0, shown[0][1])]
    above = _plot(
        f"Share sent to the strong model: {percent(shown[0][1])} at first, {percent(shown[-1][1])} at last",
        _SHARES,
        _Axis(time.place, ()),
        _area(shown, "strong"),
        _line(shown, "strong"),
        *(_tip(course, place, _said_of(span)) for place, span in enumerate(course)),
    )
    most = max(span.calls for span in course)
    bars = (
        _bar(place, len(course), 0.0, span.calls / most, "calls", _said_of(span)) for place, span in enumerate(course)
    )
    calls = _Axis(lambda n: n / most, ((1.0, f"{most:,}"), (0.0, "0")))
    return join(above, _plot("Calls over time", calls, time, *bars, class_="low"))


def money_over_time(course: Sequence[Point], step: float) -> Markup:
    """What was spent, under what the strong model alone would have cost, both summed up."""
    first = Point(course[0].at - (step if step >= DAY else 0.0), 0.0, 0.0)
    points = [first, *course]
    time = _time([point.at for point in points], step)
    most = max(*(max(point.spent, point.always_strong) for point in points), 1e-9)
    always = [(time.place(point.at), point.always_strong / most) for point in points]
    spent = [(time.place(point.at), point.spent / most) for point in points]
    last = course[-1]
    return _plot(
        f"Spent {usd(last.spent)}; the strong model alone would have cost {usd(last.always_strong)}",
        _money(most),
        time,
        _between(spent, always, "saved"),
        _line(always, "always"),
        _line(spent, "spent"),
    )


def spending_by_day(days: Sequence[Day]) -> Markup:
    """What was spent on what, a bar a day, or so many days that the bars can be told apart."""
    size = -(-len(days) // _MOST_BARS)
    groups = [days[place : place + size] for place in range(0, len(days), size)]
    sums = [{part: sum(day.usd.get(part, 0.0) for day in group) for part in PARTS} for group in groups]
    most = max([1e-9, *(sum(one.values()) for one in sums)])
    bars: list[Markup] = []
    for place, (group, one) in enumerate(zip(groups, sums, strict=True)):
        bottom, said = 0.0, moment(group[0].start, DAY)
        for part, value in one.items():
            if value > 0.0:
                tip = f"{said}: {usd(value)} for {purpose_in_words(*part)}"
                bars.append(_bar(place, len(groups), bottom / most, (bottom + value) / most, "-".join(part), tip))
                bottom += value
    time = _slots([group[0].start for group in groups], DAY)
    return _plot(f"Spending over time, at most {usd(most)} at once", _money(most), time, *bars)


def quality_over_time(windows: Sequence[Window], floor: float | None) -> Markup:
    """The quality of equally many calls at a time, with intervals, beside the floor."""
    time = _time([(window.start + window.end) / 2 for window in windows], DAY)
    least = _least([window.quality for window in windows], floor)
    shares = _shares_from(least)
    middle = [(time.place((w.start + w.end) / 2), shares.place(w.quality.value)) for w in windows]
    low = [(x, shares.place(w.quality.low)) for (x, _), w in zip(middle, windows, strict=True)]
    high = [(x, shares.place(w.quality.high)) for (x, _), w in zip(middle, windows, strict=True)]
    rule = () if floor is None else (_line([(0.0, shares.place(floor)), (1.0, shares.place(floor))], "floor"),)
    said = f"Quality over time, {percent(windows[-1].quality.value, 1)} at last"
    return _plot(said, shares, time, _between(low, high, "band"), *rule, _line(middle, "quality"))


def range_bar(share: Share, least: float, floor: float | None) -> Markup:
    """A share with its interval on a line from `least` to 1, and the floor."""
    place = _shares_from(least).place
    low, value, high = place(share.low), place(share.value), place(share.high)
    marks = [
        el("rect", x=0.0, y=460.0, width=_W, height=80.0, class_="f-track"),
        el("rect", x=_W * low, y=340.0, width=max(_W * (high - low), 4.0), height=320.0, class_="f-band"),
        el("rect", x=min(_W * value, _W - 8.0), y=200.0, width=8.0, height=600.0, class_="f-quality"),
    ]
    if floor is not None:
        x = _W * place(floor)
        marks.append(el("line", x1=x, x2=x, y1=0.0, y2=_W, class_="l-floor"))
    return _drawing(f"{percent(share.value, 1)}, {interval(share)}", *marks, class_="range")


def parts_bar(parts: Sequence[tuple[float, str]], said: str) -> Markup:
    """Shares of a whole, side by side: each with the class of its colour."""
    marks, x = [el("rect", x=0.0, y=0.0, width=_W, height=_W, class_="f-track")], 0.0
    for share, colour in parts:
        marks.append(el("rect", x=_W * x, y=0.0, width=_W * share, height=_W, class_=f"f-{colour}"))
        x += share
    return _drawing(said, *marks, class_="parts")


def legend(*entries: tuple[str, str]) -> Markup:
    """Colours and what they stand for."""
    return el("ul", *(el("li", swatch(colour), name) for colour, name in entries), class_="legend")


def swatch(colour: str) -> Markup:
    mark = el("rect", width=10.0, height=10.0, rx=2.0, class_=f"f-{colour}")
    return el("svg", mark, viewBox="0 0 10 10", class_="swatch", aria_hidden="true")


def least_of(shares: Iterable[Share], floor: float | None) -> float:
    """Where an axis of shares begins, so that the smallest bound and the floor are on it."""
    return _least(list(shares), floor)


# --- axes -----------------------------------------------------------------------------------------------------------


_SHARES = _Axis(lambda share: share, ((1.0, "100%"), (0.5, "50%"), (0.0, "0%")))


def _shares_from(least: float) -> _Axis:
    labels = tuple((at, percent(least + at * (1.0 - least))) for at in (1.0, 0.5, 0.0))
    return _Axis(lambda share: max(share - least, 0.0) / (1.0 - least), labels)


def _least(shares: Sequence[Share], floor: float | None) -> float:
    lowest = min([share.low for share in shares] + ([] if floor is None else [floor]))
    return max(min(int(lowest * 10) / 10 if lowest > 0.1 else 0.0, 0.8), 0.0)


def _money(most: float) -> _Axis:
    return _Axis(lambda value: value / most, ((1.0, usd(most)), (0.5, usd(most / 2)), (0.0, "0")))


def _time(points: Sequence[float], step: float) -> _Axis:
    first, last = points[0], points[-1]
    length = last - first
    exact = step if length >= 2 * step else length / 2 if length else step

    def place(at: float) -> float:
        return (at - first) / length if length else 0.5

    if not length:
        return _Axis(place, ((0.5, moment(first, exact)),))
    marks: dict[str, float] = {}
    for at in (0.0, 1 / 3, 2 / 3, 1.0):
        marks.setdefault(moment(first + at * length, exact), at)
    return _Axis(place, tuple((at, name) for name, at in marks.items()))


def _slots(starts: Sequence[float], step: float) -> _Axis:
    """Equal places for bars; `place` takes a bar's number."""
    count = len(starts)
    marks: dict[str, float] = {}
    for part in (0.0, 1 / 3, 2 / 3, 1.0):
        number = round(part * (count - 1))
        marks.setdefault(moment(starts[number], step), (number + 0.5) / count)
    return _Axis(lambda number: (number + 0.5) / count, tuple((at, name) for name, at in marks.items()))


def _said_of(span: Span) -> str:
    when = moment(span.start, span.seconds)
    return f"{when}: {span.calls:,} calls" + (f", {percent(span.strong / span.calls)} strong" if span.calls else "")


# --- drawing --------------------------------------------------------------------------------------------------------


def _plot(said: str, y: _Axis, x: _Axis, *marks: Markup, class_: str = "") -> Markup:
    rules = [el("line", x1=0.0, x2=_W, y1=_down(at), y2=_down(at), class_="l-grid") for at, _ in y.labels]
    up = [el("span", name, style=f"bottom:{100 * at:.4g}%") for at, name in y.labels]
    along = [el("span", name, style=f"left:{100 * at:.4g}%", class_=_edge(at)) for at, name in x.labels]
    return el(
        "div",
        el("div", *up, class_="y", aria_hidden="true"),
        _drawing(said, *rules, *marks),
        el("div", *along, class_="x", aria_hidden="true") if along else None,
        class_=f"plot {class_}".strip(),
    )


def _drawing(said: str, *marks: Markup, class_: str | None = None) -> Markup:
    box = f"0 0 {_W:g} {_W:g}"
    return el("svg", *marks, viewBox=box, preserveAspectRatio="none", role="img", aria_label=said, class_=class_)


def _edge(at: float) -> str | None:
    return "first" if at < 0.1 else "last" if at > 0.9 else None


def _down(share: float) -> float:
    return _W * (1.0 - share)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_W * x:.1f},{_down(y):.1f}" for x, y in points)


def _line(points: Sequence[tuple[float, float]], colour: str) -> Markup:
    return el("polyline", points=_path(points), class_=f"l-{colour}")


def _area(points: Sequence[tuple[float, float]], colour: str) -> Markup:
    return el("polygon", points=_path([(points[0][0], 0.0), *points, (points[-1][0], 0.0)]), class_=f"a-{colour}")


def _between(low: Sequence[tuple[float, float]], high: Sequence[tuple[float, float]], colour: str) -> Markup:
    return el("polygon", points=_path([*low, *reversed(high)]), class_=f"a-{colour}")


def _bar(place: int, count: int, low: float, high: float, colour: str, said: str) -> Markup:
    width = _W / count
    title = el("title", said)
    return el(
        "rect", title, x=width * (place + 0.1), y=_down(high), width=width * 0.8, height=_W * (high - low),
        class_=f"f-{colour}",
    )  # fmt: skip


def _tip(course: Sequence[Span], place: int, said: str) -> Markup:
    """Words that show where a mouse rests, over the whole height."""
    width = _W / len(course)
    return el("rect", el("title", said), x=width * place, y=0.0, width=width, height=_W, class_="tip")
