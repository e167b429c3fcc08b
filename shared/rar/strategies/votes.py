"""Votes that end early: how many drafts to ask for before more of them cannot or hardly change who wins. Pure.

A vote is a list of values, one for each draft in order; None is a draft that says nothing, or failed. Most votes win,
and of equally many the value that was said first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from math import comb
from typing import TypeAlias

Said: TypeAlias = Hashable | None
Ended: TypeAlias = Callable[[Sequence[Said], int], bool]  # told the votes and how many may follow


def never(_: Sequence[Said], left: int) -> bool:
    """Ends no vote early."""
    return left == 0


def standing(said: Sequence[Said]) -> list[tuple[Hashable, int]]:
    """Each value with its votes, the winner first."""
    return Counter(value for value in said if value is not None).most_common()  # keeps the order of equals


def exact(said: Sequence[Said], left: int) -> bool:
    """Whether no more votes can change who wins (early exit from a majority vote)."""
    order = standing(said)
    if not order:
        return left == 0
    winner, votes = order[0]
    since = said.index(winner)
    return votes >= left and all(
        count + left < votes or (count + left == votes and since < said.index(value)) for value, count in order[1:]
    )


def beta(confidence: float) -> Ended:
    """Ends a vote once the chance that its first two values stand as they do is `confidence` (arXiv 2305.11860)."""

    def ended(said: Sequence[Said], left: int) -> bool:
        order = standing(said)
        if not order:
            return left == 0
        (_, first), (_, second) = [*order, ("", 0)][:2]
        return ahead(first, second) >= confidence

    return ended


def ahead(first: int, second: int) -> float:
    """The chance that the value with `first` votes is the likelier of two, all rates being as likely beforehand.

    This is 1 - I(½; first + 1, second + 1), I being the regularised incomplete beta function. For whole numbers it is
    a sum over a row of Pascal's triangle.
    """
    tosses = first + second + 1
    return float(sum(comb(tosses, heads) for heads in range(first + 1)) / 2**tosses)


def window(size: int) -> Ended:
    """Ends a vote with the first `size` drafts in a row that all say the same (ESC, arXiv 2401.10480)."""

    def ended(said: Sequence[Said], left: int) -> bool:
        last = said[-size:]
        return left == 0 or (len(said) % size == 0 and last[0] is not None and len(set(last)) == 1)

    return ended


def further(ended: Ended, said: Sequence[Said], left: int, least: int = 1) -> int:
    """How many of the `left` drafts to ask for at once; 0: the vote has ended.

    As many as it takes at least to end it, which is if all of them say what the winner says. None of them is asked for
    in vain: one at a time would not end it any sooner.
    """
    if left <= 0 or (said and ended(said, left)):
        return 0
    order = standing(said)
    winner = order[0][0] if order else object()
    enough = (more for more in range(1, left) if ended([*said, *[winner] * more], left - more))
    return min(max(next(enough, left), least), left)
