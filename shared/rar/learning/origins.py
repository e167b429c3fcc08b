"""Where trials come from: whom a verdict may serve, and how much evidence from elsewhere weighs. Pure.

One message of a user must not decide what others are served. So a verdict serves the context of use in which it was
found. A plain question is served by what was found in contexts that no user wrote, whatever the framework. Others are
served when it was found in two contexts, by two users, or often enough; what users may have written counts least.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from rar.memory.origins import IMPORTED, PLAIN, origins_of
from rar.values import Origin, Tally

# Trials in one context that no user wrote after which no other is needed: a weak model that is
# right half of the time passes five in 3 of 100 cases.
SEVERAL: Final = 5
ENOUGH: Final = 2  # contexts, or users, of which one may be an attacker's
_ONE_USER: Final = 0.1
_UNUSUAL: Final = 0.25
# Kinds of contexts that no user wrote: without documents, the system message being the developer's, and with them.
_BARE: Final = frozenset({PLAIN, "system"})
_GENUINE: Final = _BARE | {"told"}


def family(context: str) -> str:
    """The contexts that are alike: those of one kind that differ only in their material, and all that no user wrote."""
    return PLAIN if _kind(context) in _GENUINE else context.removeprefix(IMPORTED).rpartition(":")[0]


def proven_in(tally: Tally, context: str) -> bool | None:
    """Whether it worked in this very context the last time, and not more seldom than not; None: it was not tried."""
    here = [origin for origin in origins_of(tally) if origin.context == context]
    if not here:
        return None
    return max(here, key=lambda origin: origin.at).last_ok and sum(o.ok for o in here) >= sum(o.bad for o in here)


def proven_for_all(tally: Tally, context: str) -> bool:
    """Whether it worked in other contexts so that it may serve `context`, too. That it works on the whole is given."""
    worked = [origin for origin in origins_of(tally) if origin.last_ok and origin.ok >= origin.bad]
    if _distinct(origin.user for origin in worked if origin.user) >= ENOUGH:
        return True
    genuine = [origin for origin in worked if _kind(origin.context) in _GENUINE]
    bare = [origin for origin in genuine if _kind(origin.context) in _BARE]
    if _kind(context) in _BARE:
        return bool(genuine)
    if bare and _kind(context) == "told":
        return True
    # All that a user may have written counts as one context, and only beside one that nobody wrote.
    claimed = len(worked) > len(genuine) and _kind(context) != "told"
    if genuine and _distinct(origin.context for origin in genuine) + claimed >= ENOUGH:
        return True
    if any(origin.ok - origin.bad >= SEVERAL for origin in genuine):
        return True
    # Other material in the same template. Never from conversations: a client makes up as many as it likes.
    alike = {origin.context for origin in worked if family(origin.context) == family(context)}
    return _kind(context) == "read" and len(alike) >= ENOUGH


def untried(tallies: Iterable[Tally], context: str) -> bool:
    """Whether a request must be tried in this context, though it was in others: not if it failed in two of them."""
    known = [origin for tally in tallies if tally.guide_id is None for origin in origins_of(tally)]
    if any(origin.context == context for origin in known):
        return False
    return len({origin.context for origin in known if not origin.last_ok}) < ENOUGH


def _kind(context: str) -> str:
    return context.removeprefix(IMPORTED).partition(":")[0]


def _distinct(labels: Iterable[str]) -> int:
    """How many there are for sure: those of another memory may be the same as ours under other names."""
    names = set(labels)
    imported = sum(name.startswith(IMPORTED) for name in names)
    return max(imported + (PLAIN in names), len(names) - imported)


def shares(of_rows: Sequence[Sequence[Origin]]) -> list[float]:
    """By how much each row of what is learned from counts less than it would by itself, at most 1.

    Rows that one user made alone have a tenth of the whole between them; those of contexts that are not the usual ones,
    a quarter each.
    """
    families = Counter(family(origin.context) for origins in of_rows for origin in origins[:1])
    usual = {PLAIN, *(name for name, _ in families.most_common(1))}
    alone = [users.pop() if len(users := {origin.user for origin in origins}) == 1 else "" for origins in of_rows]
    rows = Counter(alone)
    most = max(_ONE_USER * len(of_rows), 1.0)
    return [
        (1.0 if any(family(origin.context) in usual for origin in origins) else _UNUSUAL)
        * (min(1.0, most / rows[user]) if user else 1.0)
        for origins, user in zip(of_rows, alone, strict=True)
    ]


# --- evidence for similar requests ----------------------------------------------------------------------------------


def comparable(tally: Tally, context: str, user: str) -> tuple[float, str]:
    """How a neighbour's trials count for a request in `context` by `user`.

    Returns:
        Their mean gap, and whose they are: `""` if they count in full, `ELSEWHERE` if they were made in other contexts,
        else the label of the one user, not the asking one, who made them all.
    """
    if not tally.origins:
        return tally.mean_gap, ""  # plain questions, which count for all
    known = origins_of(tally)
    alike = [origin for origin in known if family(origin.context) in {PLAIN, family(context)}]
    chosen = alike or known
    whole = len(chosen) == len(known)
    gap = tally.mean_gap if whole else sum(o.bad for o in chosen) / sum(o.ok + o.bad for o in chosen)
    if not alike:
        return gap, ELSEWHERE
    users = {origin.user for origin in chosen}
    single = len(users) == 1 and not users <= {"", user}
    return gap, next(iter(users)) if single else ""


ELSEWHERE: Final = ":elsewhere"
