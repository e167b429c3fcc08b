"""Calls over time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rar.report.served import Served

_MINUTE, _HOUR, DAY = 60.0, 3_600.0, 86_400.0
_STEPS = (
    1.0, 5.0, 15.0, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 3 * _HOUR, 6 * _HOUR,
    DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY, 364 * DAY,
)  # fmt: skip
_STEADY = 8  # calls that a share is worth telling of
_MOST = 45  # spans that a chart of a phone's width can show


@dataclass(frozen=True, slots=True)
class Span:
    """Calls of one stretch of time; `start` and `seconds` say which, in UTC."""

    start: float
    seconds: float
    calls: int
    strong: int


def step_of(first: float, last: float) -> float:
    """Seconds of a span, the shortest usual one of which at most 45 lie between `first` and `last`."""
    return next((step for step in _STEPS if last // step - first // step < _MOST), _STEPS[-1])


def over_time(calls: Sequence[Served]) -> tuple[Span, ...]:
    """Equally long spans from the first to the last of `calls`, which are oldest first; without gaps."""
    if not calls:
        return ()
    step = step_of(calls[0].at, calls[-1].at)
    first = math.floor(calls[0].at / step)
    count = math.floor(calls[-1].at / step) - first + 1
    total, strong = [0] * count, [0] * count
    for call in calls:
        place = math.floor(call.at / step) - first
        total[place] += 1
        strong[place] += call.strong
    return tuple(Span((first + i) * step, step, total[i], strong[i]) for i in range(count))


def settled(course: Sequence[Span]) -> list[tuple[float, float]]:
    """Points of a line of strong shares that chance does not throw about: spans of few calls are taken together.

    Returns:
        Places among the spans, from 0 to one less than their number, and shares.
    """
    least = max(_STEADY, sum(span.calls for span in course) / 100)
    groups: list[list[tuple[int, Span]]] = [[]]
    for place, span in enumerate(course):
        if sum(one.calls for _, one in groups[-1]) >= least:
            groups.append([])
        groups[-1].append((place, span))
    if len(groups) > 1 and sum(one.calls for _, one in groups[-1]) < least:
        last = groups.pop()
        groups[-1] += last
    found = []
    for group in groups:
        calls = sum(span.calls for _, span in group)
        if calls:
            middle = sum(place * span.calls for place, span in group) / calls
            found.append((middle, sum(span.strong for _, span in group) / calls))
    return found


def lately(calls: Sequence[Served]) -> tuple[float, float] | None:
    """The share that the strong model answered of the first and of the last quarter; None of few calls."""
    quarter = len(calls) // 4
    if quarter < 10:
        return None
    first, last = calls[:quarter], calls[-quarter:]
    return sum(call.strong for call in first) / quarter, sum(call.strong for call in last) / quarter
