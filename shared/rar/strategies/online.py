"""A cascade that learns in production which drafts may be served, and keeps the router's quality floor."""

from __future__ import annotations

from collections.abc import Sequence

from rar.evidence import Evidence
from rar.learning.drafting import Drafting
from rar.learning.policy import FloorPolicy
from rar.learning.signs import signs_of
from rar.strategy import Steps, ask_all
from rar.values import STRONG, Answer, Call, Choice, Draft, Reply, Request, Route


def learned(request: Request, drafters: Sequence[str]) -> Steps[Choice]:
    """Follow RAR where it knows this very question, and else ask `drafters`, look at each draft, and escalate."""
    evidence = request.evidence
    if evidence is None or evidence.policy is None:
        return Route(STRONG, reason="no_evidence")
    route: Route = evidence.policy.choose(evidence)
    if not isinstance(evidence.policy, FloorPolicy) or request.embedding is None or not _is_guess(route, evidence):
        return route
    return (yield from _drafted(request, evidence, Drafting(evidence.policy), route, drafters))


def _drafted(
    request: Request, evidence: Evidence, drafting: Drafting, guess: Route, drafters: Sequence[str]
) -> Steps[Choice]:
    """Draft from cheap to dear up to what may be served.

    Args:
        guess: What RAR would do by the question alone.
    """
    drafts: list[Draft] = []
    failed, rejected = False, None
    for standing in evidence.standings:
        if standing.model not in drafters:
            continue
        if (guess.instead_of or guess.arm).model != standing.model and not drafting.worth_asking(standing, evidence):
            continue
        (reply,) = yield from ask_all([Call(standing.model, request, purpose="draft")])
        if not isinstance(reply, Reply) or reply.empty:
            failed = True
            continue
        signs = signs_of(request, reply, [draft.reply for draft in drafts])
        drafts.append(Draft(reply, None if standing.drafts is None else standing.drafts.expect(signs)))
        route = drafting.choose(standing, evidence, tuple(drafts))
        if route.model == standing.model:
            return Answer(reply, route.reason, route.confidence, by=route)
        if route.instead_of is not None:
            return route
        rejected = route
    if rejected is not None:
        return rejected
    if failed:
        return Route(STRONG, reason="drafts_failed", spares=True)
    return drafting.refused(guess, evidence)


def _is_guess(route: Route, evidence: Evidence) -> bool:
    """Whether RAR goes by similar questions alone, and by no guide."""
    if any(match.same for match in evidence.matches) or (route.instead_of or route.arm).guide is not None:
        return False
    return route.guess or route.reason in ("no_evidence", "below_threshold")
