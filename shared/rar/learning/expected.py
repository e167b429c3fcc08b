"""What an arm is expected to lose against the reference on a request, and how sure that is. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from rar.evidence import Evidence, Standing
from rar.learning.origins import comparable
from rar.values import Experience, Guide, GuideMatch, Tally

RECORD = 3.0  # trials nearby, by how near they are, from which a guide has a record there
OF_A_KIND = 0.3  # weight of a request that is near enough to be of the same kind
TRIED_NEARBY = 1.0  # trials nearby and its origin, by how near they are, without which a guide is not served
ALL_ALIKE = 0.01  # of trials that came to something else, below which all are taken to be of one kind
CLOSEST = 0.03  # 1 less the cosine of requests that are as near as can be told
TRIED = 24  # trials by which it is known whether a guide helps
ELSEWHERE = 12  # trials that a guide's whole record counts for at most, where it has none
SCORED = 6.0  # trials that the score of guided answers counts for at most: guides differ by kind more than by question
EXAMPLES = 10.0  # that the score of guided answers rests on for each trial that it counts for


def is_tried(guide: Guide) -> bool:
    """Whether a guide was tried often enough to tell what it is worth."""
    return guide.helpful + guide.harmful >= TRIED


@dataclass(frozen=True)
class Expectation:
    """Gaps of similar requests around a prior; the arguments are those of `FloorPolicy`."""

    caution: float
    near: tuple[float, float]
    prior_weight: tuple[float, float]

    def alone(self, standing: Standing, evidence: Evidence) -> tuple[float, float]:
        """The expected gap of a model alone, and the confidence in it."""
        learned, ignorant = self.prior_weight
        if standing.learned is not None:
            prior, weight = standing.learned, learned
        else:
            prior, weight = (0.5 if standing.prior is None else 1.0 - standing.prior), ignorant
        unsure = 0.0 if standing.learned is None else standing.unsure
        return self._confidence(standing, *self._nearby(standing, evidence, _alone), prior, weight, unsure)

    def with_guide(self, standing: Standing, entry: GuideMatch, evidence: Evidence) -> tuple[float, float]:
        """The same with a guide: what it did nearby, around what guides are expected to do and its record elsewhere."""
        gaps, own = self.trials(standing, entry.guide, evidence)
        # The farther the origin and all trials, the less its record weighs beside ignorance: a long one of another
        # kind of request must not stand for a short one of this kind.
        share = max(self._weight(entry.similarity), own / (own + RECORD))
        record = entry.guide.helpful + entry.guide.harmful
        elsewhere = (entry.guide.harmful + 1.0) / (record + 2.0)
        counts = share**2 * min(record, ELSEWHERE) * RECORD / (RECORD + own)
        weight = self.prior_weight[1] + counts
        learned = standing.helped.learned
        unknown = 0.5 if learned is None or own < RECORD else learned
        prior = (counts * elsewhere + (weight - counts) * unknown) / weight
        if learned is not None:
            # What guides do here, it is expected to do as far as they are this one.
            _, others = self._nearby(standing, evidence, _without(entry.guide))
            sure = min(SCORED, standing.helped.examples / EXAMPLES)
            known = sure * own / max(others + own, RECORD)
            prior = (weight * prior + known * learned) / (weight + known)
            weight += known
        return self._confidence(standing, gaps, own, prior, weight)

    def trials(self, standing: Standing, guide: Guide, evidence: Evidence) -> tuple[float, float]:
        """What a model's trials with a guide came to nearby, but for the request that it was written for.

        Kinds of requests that need guides of their own may be very alike. So what is nearest counts most, unless all
        came to the same.

        Returns:
            Sums of gaps and of trials, weighted by how near they are.
        """
        others = [match.similarity for match in evidence.matches if not match.same]
        nearest = max(others, default=1.0)

        def of_guide(one: Experience, tally: Tally) -> bool:
            return tally.guide_id == guide.id and one.id != guide.origin

        def closeness(similarity: float) -> float:
            return (_apart(nearest) / _apart(similarity)) ** 2 if similarity < nearest else 1.0

        gaps, trials = self._nearby(standing, evidence, of_guide)
        if min(gaps, trials - gaps) < ALL_ALIKE * trials:
            return gaps, trials  # nothing says that another kind begins here
        return self._nearby(standing, evidence, of_guide, closeness)

    def knows(self, standing: Standing, entry: GuideMatch, evidence: Evidence) -> bool:
        """Whether a guide is for such requests: it was tried on some, or written for one, or a person says so."""
        near = [match for match in evidence.matches if match.same or self._weight(match.similarity) >= OF_A_KIND]
        tried = self.trials(standing, entry.guide, replace(evidence, matches=tuple(near)))[1]
        return entry.guide.approved or tried + self._weight(entry.similarity) >= TRIED_NEARBY

    def shown(self, standing: Standing, evidence: Evidence) -> float:
        """The mean gap of a model alone that trials nearby showed; 0 where there are few."""
        gaps, trials = self._nearby(standing, evidence, _alone)
        return gaps / trials if trials >= RECORD else 0.0

    def nearby(self, evidence: Evidence) -> float:
        """How many requests like this one are known, by how near they are."""
        return sum(self._weight(match.similarity) for match in evidence.matches if not match.same)

    def _confidence(
        self, standing: Standing, gaps: float, trials: float, prior: float, weight: float, unsure: float = 0.0
    ) -> tuple[float, float]:
        """The expected gap, and 1 less it and its uncertainty: of few trials, and of a prior that is `unsure`."""
        trials += weight
        gap = (gaps + weight * prior) / trials
        chance = min(max(gap, 0.0), 1.0)
        variance = chance * (1.0 - chance) / (trials + 1.0) + (unsure * weight / trials) ** 2
        gap = standing.correction(gap)
        return gap, 1.0 - gap - self.caution * math.sqrt(variance)

    def _weight(self, similarity: float) -> float:
        low, high = self.near
        return min(max((similarity - low) / (high - low), 0.0), 1.0)

    def _nearby(
        self,
        standing: Standing,
        evidence: Evidence,
        counts: Callable[[Experience, Tally], bool],
        closeness: Callable[[float], float] = lambda _: 1.0,
    ) -> tuple[float, float]:
        """Weighted sum of a model's gaps seen nearby in the trials that count, and of the weights."""
        sums: dict[str, tuple[float, float, float]] = {}
        pair = (standing.model_id, evidence.reference_id)
        for match in evidence.matches:
            weight = self._weight(match.similarity) * closeness(match.similarity)
            if not weight:
                break  # nearest first: the rest is no nearer
            for tally in match.experience.tallies:
                pairs = (tally.weak_id, tally.strong_id) == pair
                if pairs and tally.at >= standing.since and counts(match.experience, tally):
                    gap, whose = comparable(tally, evidence.context, evidence.user)
                    gaps, stood, trials = sums.get(whose, (0.0, 0.0, 0.0))
                    stands = weight * tally.weight  # for others that chance passed over: that makes it no more trials
                    sums[whose] = gaps + stands * gap, stood + stands, trials + weight
        gaps = trials = 0.0
        for whose, (of_gaps, stood, of_trials) in sums.items():
            # What one user brought about, or was found in other contexts, counts as one trial at most.
            share = 1.0 if whose == "" else min(1.0, 1.0 / of_trials)
            gaps, trials = gaps + share * of_trials * of_gaps / stood, trials + share * of_trials
        return gaps, trials


def _alone(_: Experience, tally: Tally) -> bool:
    return tally.guide_id is None


def _without(guide: Guide) -> Callable[[Experience, Tally], bool]:
    """Trials with guides of requests on which this one was not tried."""

    def counts(experience: Experience, tally: Tally) -> bool:
        return tally.guide_id is not None and all(one.guide_id != guide.id for one in experience.tallies)

    return counts


def _apart(similarity: float) -> float:
    return max(1.0 - similarity, CLOSEST)
