"""Numbers and times as a report writes them. Pure."""

from __future__ import annotations

from datetime import datetime, timezone

from rar.intervals import Share
from rar.report.course import DAY


def percent(share: float, decimals: int = 0) -> str:
    return f"{share:.{decimals}%}"


def interval(share: Share) -> str:
    """Its bounds."""
    return f"{share.low:.1%} to {share.high:.1%}"


def usd(value: float) -> str:
    """USD with the decimals that its size is worth."""
    size = abs(value)
    decimals = 0 if size >= 1_000 else 2 if size >= 1 or size == 0 else 4 if size >= 0.01 else 6
    return f"{value:,.{decimals}f} USD"


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 call`, `2,000 calls`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def date(at: float) -> str:
    return f"{_utc(at).day} {_utc(at):%b %Y}"


def moment(at: float, step: float) -> str:
    """A point in time, as exact as a chart whose points are `step` seconds apart needs."""
    when = _utc(at)
    if step >= DAY:
        return f"{when.day} {when:%b}" if step < 91 * DAY else f"{when:%b %Y}"
    return f"{when.day} {when:%b %H:%M}" if step >= 900 else f"{when:%H:%M}" if step >= 60 else f"{when:%H:%M:%S}"


def span(start: float, end: float) -> str:
    """From when to when, in UTC."""
    if date(start) != date(end):
        return f"{date(start)} to {date(end)}"
    return f"{date(start)}, {_utc(start):%H:%M} to {_utc(end):%H:%M} UTC"


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, timezone.utc)
