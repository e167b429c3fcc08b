"""How good the served answers were, as far as audits tell. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rar.intervals import Share, mixed, wilson
from rar.report.served import Served
from rar.values import STRONG
from rar.words import AUDIT, DECIDED_STRONG

SEEN, ALONE, GUIDED = "asked before", "new, weak alone", "new, with a guide"
# Audits are drawn more seldom of questions that were asked before, so that kinds of weak answers are estimated apart.
_KIND = {
    "memory_weak": SEEN,
    "memory_guided": SEEN,
    "memory_paraphrase": ALONE,
    "likely_weak": ALONE,
    "draft_accepted": ALONE,
    "static_weak": ALONE,
    AUDIT: ALONE,
    "likely_guided": GUIDED,
}
_AUDITS_A_WINDOW, _MOST_WINDOWS = 20, 10


@dataclass(frozen=True, slots=True)
class Checked:
    """One kind of weak answers: how many were served, and what audits found of those that were checked."""

    kind: str
    served: int
    good: Share | None


@dataclass(frozen=True, slots=True)
class Window:
    """The quality of the calls from `start` to `end`, seconds since the epoch."""

    start: float
    end: float
    quality: Share


@dataclass(frozen=True)
class Quality:
    """What audits say about the answers that were served.

    Args:
        overall: Share of the answers that are as good as the strong model's, its own included; None while no weak
            answer was checked.
        kinds: Of weak answers, those that were ever served or checked.
        decided: Calls that `overall` is about: those that the policy sent to a model by what it knew.
        never_checked: Further weak answers (forced, later calls of a turn, another strategy's), which nobody checks.
        floor: What was asked for; None where it is not known.
        graded: The judge gave grades, so that the floor is about grades, and `overall` is stricter.
        windows: `overall` over time, oldest first; empty while there are too few audits.
    """

    overall: Share | None
    kinds: tuple[Checked, ...]
    decided: int
    never_checked: int
    floor: float | None
    graded: bool
    windows: tuple[Window, ...]

    @property
    def audits(self) -> int:
        return sum(kind.good.n for kind in self.kinds if kind.good)

    @property
    def floor_kept(self) -> bool | None:
        """Whether the interval lies over the floor, or under it; None if it cannot be told (yet)."""
        if self.floor is None or self.overall is None or self.graded:
            return None
        return True if self.overall.low >= self.floor else False if self.overall.high < self.floor else None


def quality_of(calls: Sequence[Served], floor: float | None, *, graded: bool = False) -> Quality:
    """What audits say about `calls`, oldest first."""
    decided = [call for call in calls if _is_decided(call)]
    kinds = _kinds(decided)
    return Quality(
        overall=_overall(decided, kinds),
        kinds=kinds,
        decided=len(decided),
        never_checked=sum(call.model != STRONG for call in calls) - sum(kind.served for kind in kinds),
        floor=floor,
        graded=graded,
        windows=_windows(decided),
    )


def _is_decided(call: Served) -> bool:
    return call.reason in (DECIDED_STRONG if call.model == STRONG else _KIND)


def _kinds(calls: Sequence[Served]) -> tuple[Checked, ...]:
    found = []
    for kind in (SEEN, ALONE, GUIDED):
        mine = [call for call in calls if _KIND.get(call.reason) == kind]
        verdicts = [call.agreed for call in mine if call.agreed is not None]
        served = sum(call.model != STRONG for call in mine)
        if served or verdicts:
            found.append(Checked(kind, served, wilson(sum(verdicts), len(verdicts))))
    return tuple(found)


def _overall(calls: Sequence[Served], kinds: Sequence[Checked]) -> Share | None:
    return mixed((kind.served / len(calls), kind.good) for kind in kinds) if calls else None


def _windows(calls: Sequence[Served]) -> tuple[Window, ...]:
    """Spans of equally many calls, with audits enough to tell something."""
    audits = sum(call.agreed is not None for call in calls)
    count = min(audits // _AUDITS_A_WINDOW, _MOST_WINDOWS)
    if count < 2:
        return ()
    edges = [round(place * len(calls) / count) for place in range(count + 1)]
    found = []
    for low, high in pairwise(edges):
        part = calls[low:high]
        quality = _overall(part, _kinds(part))
        if quality is not None and quality.n >= _AUDITS_A_WINDOW // 4:
            found.append(Window(part[0].at, part[-1].at, quality))
    return tuple(found)
