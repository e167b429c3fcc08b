"""What an arm is expected to lose against the reference on a request, and how sure that is. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rar.evidence import Evidence, Standing
from rar.learning.origins import comparable
from rar.values import GuideMatch


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
        return self._confidence(standing, *self._nearby(standing, evidence, None), prior, weight, unsure)

    def with_guide(self, standing: Standing, entry: GuideMatch, evidence: Evidence) -> tuple[float, float]:
        """The same with a guide: its record elsewhere counts by how near its origin is, nearby by how near that is."""
        # The farther the origin, the nearer the prior comes to ignorance and the less it weighs: a long record of
        # another kind of request must not stand for a short one of this kind.
        share = self._weight(entry.similarity)
        record = entry.guide.helpful + entry.guide.harmful
        elsewhere = (entry.guide.harmful + 1.0) / (record + 2.0)
        prior = share * elsewhere + (1.0 - share) * 0.5
        weight = self.prior_weight[1] + share * min(record, 8)
        return self._confidence(standing, *self._nearby(standing, evidence, entry.guide.id), prior, weight)

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

    def _nearby(self, standing: Standing, evidence: Evidence, guide_id: str | None) -> tuple[float, float]:
        """Weighted sum of a model's gaps seen nearby with this guide (or alone), and of the weights."""
        sums: dict[str, tuple[float, float, float]] = {}
        pair = (standing.model_id, evidence.reference_id)
        for match in evidence.matches:
            weight = self._weight(match.similarity)
            if not weight:
                break  # nearest first: the rest is no nearer
            for tally in match.experience.tallies:
                if (
                    tally.guide_id == guide_id
                    and (tally.weak_id, tally.strong_id) == pair
                    and tally.at >= standing.since
                ):
                    gap, whose = comparable(tally, evidence.context, evidence.user)
                    gaps, counts, trials = sums.get(whose, (0.0, 0.0, 0.0))
                    stands = weight * tally.weight  # for others that chance passed over: that makes it no more trials
                    sums[whose] = gaps + stands * gap, counts + stands, trials + weight
        gaps = trials = 0.0
        for whose, (of_gaps, counts, of_trials) in sums.items():
            # What one user brought about, or was found in other contexts, counts as one trial at most.
            share = 1.0 if whose == "" else min(1.0, 1.0 / of_trials)
            gaps, trials = gaps + share * of_trials * of_gaps / counts, trials + share * of_trials
        return gaps, trials
