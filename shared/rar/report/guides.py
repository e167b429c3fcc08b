"""How the guides fare. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rar.report.served import Served
from rar.values import Guide, GuideState, GuideStyle

_MOST_LISTED = 12


@dataclass(frozen=True, slots=True)
class GuideUse:
    """One guide: its counts, and how many answers it served in the time that is looked at."""

    id: str
    namespace: str
    state: GuideState
    helpful: int
    harmful: int
    served: int
    text: str
    author: str
    style: GuideStyle


@dataclass(frozen=True)
class Guides:
    """All guides of a memory, and what came of those that were asked for in the time that is looked at.

    Args:
        written: Passed their checks and worked at least once.
        refused: Counts by why they were not kept.
        states: Counts of all that the memory holds now.
        served: Answers that were given with a guide.
        listed: The most used.
    """

    written: int
    refused: dict[str, int]
    states: dict[str, int]
    served: int
    listed: tuple[GuideUse, ...]


def guides_of(found: Sequence[Guide], calls: Sequence[Served]) -> Guides:
    used = Counter(call.guide_id for call in calls if call.guide_id)
    refused = Counter(_why(call.guide_refused) for call in calls if call.guide_refused)
    uses = [
        GuideUse(
            one.id, one.namespace, one.state, one.helpful, one.harmful, used[one.id], one.text, one.author, one.style
        )
        for one in found
    ]  # fmt: skip
    uses.sort(key=lambda use: (use.state not in ("active", "candidate"), -use.served, -use.helpful, use.id))
    return Guides(
        written=sum(call.guide_written for call in calls),
        refused=dict(refused.most_common()),
        states=dict(sorted(Counter(one.state for one in found).items())),
        served=used.total(),
        listed=tuple(uses[:_MOST_LISTED]),
    )


def _why(refused: str) -> str:
    """A reason without the numbers of one case, so that it can be counted."""
    return "it is too long" if re.match(r"it has \d+ characters", refused) else refused
