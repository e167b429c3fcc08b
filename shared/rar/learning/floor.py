"""How a quality floor is kept: what answers are expected to lose, how sure that is, and what is left to lose. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from rar.evidence import Evidence, Standing
from rar.memory.base import AGAIN, USUAL_SPREAD, PolicyState, state_of
from rar.memory.transitions import AUDITS_KEPT, CALLS_KEPT
from rar.values import Route

# Audits that a bias of 0 counts for. What is expected was right on requests left out of its fit to about 0.04, which
# is the standard error of so many audits whose gaps are off by 0.45.
INERTIA = 150.0
INERTIA_AGAIN = 20.0  # the same of requests that were seen before, of which nothing is fitted
MOST_STANDS = 20.0  # requests that one which was judged by chance stands for at most
UNTOLD = INERTIA / 10.0  # audits beside those that were made: before the first, a promise must not ask for everything
HARDER = 0.03  # a rise of shadows' gaps over what was expected that is taken for chance
PROMISED = 1_000  # served calls over which a promise holds
REPEAT = 0.25  # trials of the same request that what is expected of the likes of it counts for


def state_of_route(evidence: Evidence, route: Route) -> PolicyState:
    """The namespace's state for requests of this kind: new, or seen before."""
    return evidence.again if route.again else evidence.state


def loss(standing: Standing, route: Route) -> float:
    """What an answer is expected to lose against the reference, by what judged answers showed of such expectations.

    Audits correct the level. What the reference model answers is tried on the others, too: where that lately turned
    out harder than it used to, the traffic has changed, and what is served is expected to be harder as well.
    """
    expected = route.expected or 0.0
    if route.again:
        return expected + standing.again.bias
    if not route.guess:
        return expected
    state = standing.state
    return expected + state.bias + max(state.late - state.usual - HARDER, 0.0)


def unrest_again(standing: Standing) -> float:
    """How much repeated requests are off, as a share of what answers are that are right or wrong; at most 1."""
    return min(standing.again.spread / USUAL_SPREAD, 1.0)


def stands_for(route: Route) -> float:
    """How many served requests one that was judged by chance stands for, but for a bound: none speaks for too many."""
    return min(1.0 / route.chance, MOST_STANDS) if route.audit and route.chance else 1.0


def repeated(trials: int, seen: float, likely: float) -> float:
    """The gap expected of a request that was seen before.

    Args:
        trials: That were made of it.
        seen: Their mean gap.
        likely: The gap that is expected of the likes of it.
    """
    return (trials * seen + REPEAT * likely) / (trials + REPEAT)


def slack(state: PolicyState, promise: float | None) -> float:
    """By how much less than the floor allows may be lost, so that it holds with the chance `promise`.

    The one-sided bound of a normal mean over `PROMISED` served calls. It is off by what audits have not told of the
    share that cheaper models serve, and by chance.
    """
    if promise is None:
        return 0.0
    z = NormalDist().inv_cdf(promise)
    unknown = state.share**2 * state.spread / (state.audits + UNTOLD)
    return z * math.sqrt(unknown + state.share * state.spread / PROMISED)


@dataclass(frozen=True, slots=True)
class Held:
    """The quality of what was served of late, as a share of the reference model's: an estimate and its 95 % interval.

    Args:
        audits: That it rests on, at most as many as are kept in mind.
        calls: The served calls that it is about.
    """

    quality: float
    low: float
    high: float
    audits: int
    calls: int


def all_held(state_of_kind: Callable[[str], PolicyState]) -> dict[str, Held]:
    """The quality of answers to new requests and to repeats, under "new" and "again", as far as audits tell.

    Args:
        state_of_kind: Gives a namespace's own state of a kind.
    """
    found = {"new": held(state_of_kind(state_of(""))), AGAIN: held(state_of_kind(state_of("", AGAIN)))}
    return {kind: one for kind, one in found.items() if one is not None}


def held(state: PolicyState) -> Held | None:
    """What audits say of the quality that is served; None before the first of them."""
    if not state.audits or not state.calls:
        return None
    audits, calls = min(state.audits, AUDITS_KEPT), min(state.calls, CALLS_KEPT)
    reference = max(state.reference, 1e-3)
    quality = 1.0 - state.lost / reference
    error = math.sqrt(state.share**2 * state.spread / audits + state.share * state.spread / calls) / reference
    reach = NormalDist().inv_cdf(0.975) * error
    return Held(quality, quality - reach, quality + reach, audits, calls)
