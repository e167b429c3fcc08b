"""What was spent on what, day by day, and what was saved net. Reads sums of the memory's ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from rar.memory.base import Memory, Spend
from rar.prices import Prices
from rar.report.course import DAY
from rar.report.served import Served
from rar.savings import Savings, always_strong, merge, savings
from rar.values import STRONG, Purpose

_MOST_DAYS = 400
_MOST_POINTS = 300  # that a line is drawn through
Part: TypeAlias = tuple[Purpose, str]  # what for, and by which role
# In the order in which a bar shows them.
PARTS: tuple[Part, ...] = (
    ("serve", "strong"), ("serve", "weak"), ("draft", "strong"), ("draft", "weak"),
    ("guide", "strong"), ("audit", "strong"), ("judge", "strong"),
    ("shadow", "weak"), ("guide", "weak"), ("audit", "weak"), ("judge", "weak"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PurposeSum:
    """Calls of one role for one purpose. `usd` leaves out `unpriced` calls; tokens of `estimated` ones are guessed."""

    purpose: Purpose
    role: str
    calls: int
    tokens: int
    usd: float
    unpriced: int
    estimated: int


@dataclass(frozen=True, slots=True)
class Point:
    """What was spent, and what the strong model alone would have cost, from the beginning up to `at`; USD."""

    at: float
    spent: float
    always_strong: float


@dataclass(frozen=True)
class Day:
    """USD of one UTC day by purpose and role."""

    start: float
    usd: dict[Part, float]


@dataclass(frozen=True)
class Money:
    """What the ledger says.

    Args:
        savings: Sums; its USD are None where some prices are unknown.
        purposes: Dearest first.
        course: Oldest first; empty where prices are unknown.
        by_call: Whether `course` follows single calls; else it follows UTC days.
        days: Empty where prices are unknown.
    """

    savings: Savings
    purposes: tuple[PurposeSum, ...]
    course: tuple[Point, ...]
    by_call: bool
    days: tuple[Day, ...]

    @property
    def estimated(self) -> int:
        return sum(part.estimated for part in self.purposes)

    @property
    def unpriced(self) -> int:
        return sum(part.unpriced for part in self.purposes)


def money_of(
    memory: Memory, calls: Sequence[Served], prices: Prices, *, namespace: str | None, since: float, until: float
) -> Money:
    """Spending from `since`, of a day's beginning, to `until`; `calls` are those decided in that time, oldest first."""

    def spending(start: float) -> list[Spend]:
        return [priced(spend, prices) for spend in memory.spending(namespace, since=start)]

    whole = spending(since)
    saved = savings(whole, prices)
    days: tuple[Day, ...] = ()
    course: tuple[Point, ...] = ()
    if saved.net_usd is not None and whole:
        days, course = _by_day(spending, whole, prices, since, until)
    followed = len(days) < 3 and saved.net_usd is not None
    by_call = _by_call(calls, saved) if followed else ()
    return Money(saved, _purposes(whole), by_call or course, bool(by_call), days)


def priced(spend: Spend, prices: Prices) -> Spend:
    """`spend` at `prices` where some of its calls had none when they were made."""
    if not spend.unpriced:
        return spend
    usd = prices.usd(spend.role, spend.model_id, spend)
    return spend if usd is None else replace(spend, usd=usd, unpriced=0)


def _purposes(spending: Sequence[Spend]) -> tuple[PurposeSum, ...]:
    sums: dict[Part, PurposeSum] = {}
    for spend in spending:
        was = sums.get((spend.purpose, spend.role)) or PurposeSum(spend.purpose, spend.role, 0, 0, 0.0, 0, 0)
        sums[spend.purpose, spend.role] = PurposeSum(
            spend.purpose,
            spend.role,
            was.calls + spend.calls,
            was.tokens + spend.input_tokens + spend.output_tokens,
            was.usd + spend.usd,
            was.unpriced + spend.unpriced,
            was.estimated + getattr(spend, "estimated", 0),
        )
    return tuple(sorted(sums.values(), key=lambda part: (-part.usd, -part.tokens)))


def _by_day(
    spending: Callable[[float], list[Spend]], whole: Sequence[Spend], prices: Prices, since: float, until: float
) -> tuple[tuple[Day, ...], tuple[Point, ...]]:
    """Each day's spending: what was spent from it on, less what was from the next one on."""
    strong_id = max((s for s in whole if s.role == STRONG), key=lambda s: s.calls, default=None)
    rates = prices.rates(STRONG, strong_id.model_id if strong_id else "")
    if rates is None:
        return (), ()
    calls, low, high = _calls(whole), int(since // DAY), int(until // DAY)
    # Sums from a day on shrink once the first day has passed, and are nothing after the last one.
    first = _last_day(low, high, lambda day: _calls(spending(day * DAY)) == calls)
    last = _last_day(first, high, lambda day: _calls(spending(day * DAY)) > 0)
    first = max(first, last - _MOST_DAYS + 1)
    rest = [spending(day * DAY) for day in range(first, last + 2)]
    days, course = [], []
    gone = _less(whole, rest[0])
    total = Point(first * DAY, sum(_usd(gone).values()), always_strong(gone, rates))
    for place, day in enumerate(range(first, last + 1)):
        own = _less(rest[place], rest[place + 1])
        usd = _usd(own)
        total = Point((day + 1) * DAY, total.spent + sum(usd.values()), total.always_strong + always_strong(own, rates))
        days.append(Day(day * DAY, usd))
        course.append(total)
    return tuple(days), tuple(course)


def _last_day(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The last day from `low` to `high` on which something holds that holds at first, and never again once it ended."""
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _calls(spending: Sequence[Spend]) -> int:
    return sum(spend.calls for spend in spending)


def _less(more: Sequence[Spend], less: Sequence[Spend]) -> list[Spend]:
    taken = (
        replace(
            spend,
            calls=-spend.calls,
            input_tokens=-spend.input_tokens,
            output_tokens=-spend.output_tokens,
            cached_tokens=-spend.cached_tokens,
            prefix_tokens=-spend.prefix_tokens,
            usd=-spend.usd,
            unpriced=0,
        )
        for spend in less
    )
    return [spend for spend in merge(more, taken) if spend.calls or spend.input_tokens]


def _usd(spending: Sequence[Spend]) -> dict[Part, float]:
    sums: dict[Part, float] = {}
    for spend in spending:
        sums[spend.purpose, spend.role] = sums.get((spend.purpose, spend.role), 0.0) + spend.usd
    return sums


def _by_call(calls: Sequence[Served], saved: Savings) -> tuple[Point, ...]:
    """The same call by call, for memories too young for days; empty unless every call's cost was recorded."""
    if len(calls) != saved.served:
        return ()
    points = []
    spent = always = 0.0
    for call in calls:
        if call.usd is None or call.strong_usd is None or call.learning_usd is None:
            return ()
        spent += call.usd + call.learning_usd
        always += call.strong_usd
        points.append(Point(call.at, spent, always))
    every = -(-len(points) // _MOST_POINTS)
    return tuple(points[::-every][::-1])  # thinned, the last one kept
