"""Draft, check, escalate: whether a draft is worth asking for, and whether it may be served. Pure.

What is expected of a request alone decides whether a model is asked for a draft. What the draft looks like is added
then (`rar.learning.signs`), and it is served where that meets the threshold which keeps the floor. The threshold, the
audits and their corrections are those of `FloorPolicy`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

from rar.evidence import Evidence, Standing
from rar.learning.policy import FloorPolicy
from rar.values import STRONG, Draft, Route

_LEAST = 1e-3  # of a standard deviation


def with_drafts(evidence: Evidence, route: Route) -> Evidence:
    """The evidence with what was expected of a route's drafts, instead of what was of the request alone."""
    known = {draft.reply.model: draft.expected for draft in route.drafts}
    if not any(known.values()):
        return evidence
    standings = (one if (found := known.get(one.model)) is None else one.expecting(found) for one in evidence.standings)
    return replace(evidence, standings=tuple(standings))


@dataclass(frozen=True)
class Drafting:
    """The choices of a policy that looks at drafts before it serves them."""

    policy: FloorPolicy

    def worth_asking(self, standing: Standing, evidence: Evidence) -> bool:
        """Whether the chance that a draft will be served is worth its price, or chance wants to know.

        While nothing is known of drafts, all are worth it: the strong answer judges them, and no trial is made besides.
        """
        if standing.drafts is None:
            return evidence.draw < 1.0
        _, confidence = self.policy.expected.alone(standing, evidence)
        reach = max(standing.drafts.reach, _LEAST)
        chance = NormalDist().cdf((confidence - self._needed(standing, evidence)) / reach)
        return chance > standing.price or (
            evidence.draw < 1.0 and evidence.chance < self.policy.often(standing, evidence)
        )

    def choose(self, standing: Standing, evidence: Evidence, drafts: tuple[Draft, ...]) -> Route:
        """What becomes of the last of `drafts`, which is of the model of `standing`.

        Returns:
            A route to that model, if the draft may be served, or to the strong one, to check it or because it may not.
        """
        last = drafts[-1]
        known = standing if last.expected is None else standing.expecting(last.expected)
        gap, confidence = self.policy.expected.alone(known, evidence)
        needed = self._needed(standing, evidence)
        route = Route(
            standing.model, None, "draft_accepted", confidence, evidence.nearest, expected=gap, needed=needed,
            guess=True, drafts=drafts, spares=True,
        )  # fmt: skip
        if confidence < needed:
            return replace(route, model=STRONG, reason="drafts_rejected", expected=None, guess=False)
        chance = min(self.policy.often(known, evidence), 1.0)
        route = replace(route, chance=chance)
        return route if evidence.draw >= chance else replace(route, model=STRONG, reason="audit", instead_of=route.arm)

    def refused(self, guess: Route, evidence: Evidence) -> Route:
        """What becomes of a request that no draft is worth asking for, of which RAR would have made `guess`."""
        if all(standing.drafts is None for standing in evidence.standings):
            return guess
        return replace(
            guess,
            model=STRONG,
            reason="no_draft",
            expected=None,
            guess=False,
            check=False,
            instead_of=None,
            chance=0.0,
            spares=True,
        )

    def _needed(self, standing: Standing, evidence: Evidence) -> float:
        needed = evidence.threshold + self.policy.wary * standing.drift
        return needed + standing.cost * max(1.0 - needed, 0.0)
