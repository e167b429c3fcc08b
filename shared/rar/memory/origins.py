"""Where a tally's trials were made: a bounded number of contexts and users, added up as trials arrive. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from rar.values import Origin, Tally

PLAIN: Final = ""  # the context of a plain question
IMPORTED: Final = "~"  # begins the labels of another memory, whose key nobody here has
KEPT: Final = 16  # origins of a tally that are kept


def origins_of(tally: Tally) -> tuple[Origin, ...]:
    """Where its trials come from; those of which nothing is known were plain questions."""
    if tally.origins:
        return tally.origins
    return (Origin(PLAIN, "", tally.ok, tally.bad, tally.last_ok, tally.at),)


def joined(one: Tally, other: Tally) -> tuple[Origin, ...]:
    """The origins of both tallies, those of one context and user added up, the newest ones kept.

    The last to arrive says how it went last, whatever its clock says.
    """
    sums: dict[tuple[str, str], Origin] = {}
    for origin in (*origins_of(one), *origins_of(other)):
        known = sums.get((origin.context, origin.user))
        if known is not None:
            origin = replace(origin, ok=known.ok + origin.ok, bad=known.bad + origin.bad)  # noqa: PLW2901 - their sum
        sums[origin.context, origin.user] = origin
    return shortened(tuple(sums.values()))


def shortened(origins: Sequence[Origin]) -> tuple[Origin, ...]:
    """The newest origins, and the plain ones; none where nothing but plain questions of unknown users was tried."""
    if all((origin.context, origin.user) == (PLAIN, "") for origin in origins):
        return ()
    newest = sorted(origins, key=lambda origin: (origin.context == PLAIN, origin.at))[-KEPT:]
    return tuple(sorted(newest, key=lambda origin: (origin.at, origin.context, origin.user)))


def imported(tally: Tally) -> Tally:
    """A tally of another memory: its labels are marked, so that none is taken for one of ours."""
    marked = (replace(origin, context=_marked(origin.context), user=_marked(origin.user)) for origin in tally.origins)
    return replace(tally, origins=tuple(marked))


def _marked(label: str) -> str:
    return label if not label or label.startswith(IMPORTED) else IMPORTED + label
