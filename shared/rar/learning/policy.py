"""Policies: from evidence to a route. Pure statistics; no clock, no chance, no I/O of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rar.errors import ConfigurationError, UnknownNameError
from rar.memory.base import PolicyStep
from rar.values import STRONG, WEAK, Evidence, Experience, GuideMatch, Match, Route, Tally


@runtime_checkable
class Policy(Protocol):
    """Chooses a route from evidence, and says how a judged answer moves the threshold that it asks for next time."""

    @property
    def start(self) -> float:
        """The threshold of a namespace in which nothing was judged yet."""
        ...

    def choose(self, evidence: Evidence) -> Route: ...

    def step(self, namespace: str, *, served: str, ok: bool | None) -> PolicyStep | None:
        """The move after a served answer: `served` by which model, and for an audited weak one whether it was `ok`."""
        ...


# --- what one experience says ---------------------------------------------------------------------------------------


def works(tally: Tally) -> bool:
    """Whether the weak model can be trusted here: it did the last time, and not more seldom than not."""
    return tally.last_ok and tally.ok >= tally.bad


def of_pair(experience: Experience, weak_id: str, strong_id: str) -> list[Tally]:
    """The tallies of this pair of models. Those of another pair prove nothing: its requests are retried."""
    return [tally for tally in experience.tallies if tally.weak_id == weak_id and tally.strong_id == strong_id]


def verdict(match: Match, evidence: Evidence) -> Route | None:
    """What a remembered request says about itself, cheapest first; None while it is unproven for this pair."""
    tallies = of_pair(match.experience, evidence.weak_id, evidence.strong_id)
    if not tallies:
        return None
    similarity = round(match.similarity, 4)
    servable = {entry.guide.id: entry.guide for entry in evidence.guides}
    for tally in sorted(tallies, key=lambda tally: (tally.guide_id is not None, -tally.ok)):
        if works(tally) and (tally.guide_id is None or tally.guide_id in servable):
            guide = servable.get(tally.guide_id) if tally.guide_id else None
            share = (tally.ok + 1) / (tally.ok + tally.bad + 1.5)
            return Route(WEAK, guide, "memory_guided" if guide else "memory_weak", min(share, 1.0), similarity)
    return Route(STRONG, None, "memory_strong", 0.0, similarity)


def due(experience: Experience, weak_id: str, strong_id: str, now: float, retry_after: float) -> bool:
    """Whether the ladder should be climbed (again) for a remembered request that the strong model had to answer."""
    tallies = of_pair(experience, weak_id, strong_id)
    if any(tally.guide_id is None and works(tally) for tally in tallies):
        return False
    return all(now - tally.at >= retry_after for tally in tallies)


# --- policies -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PaperPolicy:
    """The published rule (RAR, arXiv 2411.09837): the nearest entry over a threshold decides, else the static router.

    Args:
        similarity: Cosine from which the nearest entry speaks for the request. The paper does not state it; different
            questions of GSM8K come as near as 0.96 in MiniLM's space.
        cutoff: Static routers' chance that the weak model is good enough from which it serves.
        audit_rate: Share of weak answers that are checked afterwards.
    """

    similarity: float = 0.97
    cutoff: float = 0.5
    audit_rate: float = 0.0
    start: float = 0.5

    def __post_init__(self) -> None:
        _check_share("similarity", self.similarity)
        _check_share("audit_rate", self.audit_rate)

    def choose(self, evidence: Evidence) -> Route:
        for match in evidence.matches:
            if match.same or match.similarity >= self.similarity:
                route = verdict(match, evidence)
                if route is not None:
                    return _audited(route, evidence, self.audit_rate)
        return _audited(_static(evidence, self.cutoff), evidence, self.audit_rate)

    def step(self, namespace: str, *, served: str, ok: bool | None) -> PolicyStep | None:
        if served == WEAK and ok is not None:
            return PolicyStep(namespace, 0.0, audit=True, error=not ok, start=self.start)
        return None


@dataclass(frozen=True)
class FloorPolicy:
    """Serve by the weak model where its lower confidence bound meets a threshold that keeps the quality floor.

    A request seen before follows its own verdict. Otherwise the chance that the weak model is good enough, alone and
    with each near guide, is a Beta posterior of similarity-weighted outcomes whose prior mean is the static router's
    score; the cheapest action whose lower bound meets the threshold is taken. The threshold moves by `step` (adaptive
    conformal inference, Gibbs & Candès 2021, arXiv 2106.00170, eq. 2) so that the error over *all* served answers,
    strong ones counting as right, tends to `1 - quality` whatever the drift.

    Args:
        quality: Share of the strong model's quality to keep, in (0, 1].
        audit_rate: Share of weak answers that are checked afterwards, in [0, 1].
        rate: Step size of the threshold.
        caution: Standard deviations that the bound lies under the mean.
        near: Cosines between which an experience's weight rises from 0 to 1.
        prior_weight: Trials that the prior counts for.
    """

    quality: float = 0.95
    audit_rate: float = 0.1
    rate: float = 0.01
    caution: float = 1.0
    near: tuple[float, float] = (0.35, 0.85)
    prior_weight: float = 2.0
    start: float = 0.7
    bounds: tuple[float, float] = (0.3, 0.99)

    def __post_init__(self) -> None:
        if not 0.0 < self.quality <= 1.0:
            raise ConfigurationError(
                f"quality={self.quality!r} is not in (0, 1]. It is the share of the strong model's quality to keep, "
                "for example 0.95."
            )
        _check_share("audit_rate", self.audit_rate)

    def choose(self, evidence: Evidence) -> Route:
        for match in evidence.matches:
            if match.same:
                route = verdict(match, evidence)
                if route is not None:
                    return _audited(route, evidence, self.audit_rate)
        return _audited(self._estimate(evidence), evidence, self.audit_rate)

    def _estimate(self, evidence: Evidence) -> Route:
        if not evidence.matches and not evidence.guides and evidence.prior is None:
            return Route(STRONG, None, "no_evidence")
        nearest = evidence.matches[0].similarity if evidence.matches else None
        alone = self.alone(evidence)
        if alone >= evidence.threshold:
            return Route(WEAK, None, "likely_weak", alone, nearest)
        guided = [(self.with_guide(entry, evidence), entry) for entry in evidence.guides]
        if guided:
            bound, entry = max(guided, key=lambda pair: pair[0])
            if bound >= evidence.threshold:
                return Route(WEAK, entry.guide, "likely_guided", bound, entry.similarity)
            alone = max(alone, bound)
        return Route(STRONG, None, "below_threshold", alone, nearest)

    def alone(self, evidence: Evidence) -> float:
        """Lower bound of the chance that the weak model alone is good enough."""
        ok, bad = self._weigh(evidence, None)
        return self._bound(ok, bad, 0.5 if evidence.prior is None else evidence.prior)

    def with_guide(self, entry: GuideMatch, evidence: Evidence) -> float:
        """The same with a guide: its record elsewhere counts by how near its origin is, nearby by how near that is."""
        weight = self._weight(entry.similarity)
        near_ok, near_bad = self._weigh(evidence, entry.guide.id)
        ok = max(weight * entry.guide.helpful, near_ok)
        bad = max(weight * entry.guide.harmful, near_bad)
        return self._bound(ok, bad, 0.5)

    def step(self, namespace: str, *, served: str, ok: bool | None) -> PolicyStep | None:
        allowed = 1.0 - self.quality
        low, high = self.bounds
        if served == STRONG:
            return PolicyStep(namespace, -self.rate * allowed, start=self.start, low=low, high=high)
        if ok is None:
            return None
        # One audit stands for 1/audit_rate weak answers; the cap keeps a single one from swinging the threshold.
        size = self.rate * min(1.0 / self.audit_rate if self.audit_rate else 1.0, 10.0)
        return PolicyStep(namespace, size * ((not ok) - allowed), True, not ok, self.start, low, high)

    def _weight(self, similarity: float) -> float:
        low, high = self.near
        return min(max((similarity - low) / (high - low), 0.0), 1.0)

    def _weigh(self, evidence: Evidence, guide_id: str | None) -> tuple[float, float]:
        ok = bad = 0.0
        for match in evidence.matches:
            weight = self._weight(match.similarity)
            for tally in of_pair(match.experience, evidence.weak_id, evidence.strong_id) if weight else ():
                if tally.guide_id == guide_id:
                    share = tally.ok / (tally.ok + tally.bad)
                    ok += weight * share
                    bad += weight * (1.0 - share)
        return ok, bad

    def _bound(self, ok: float, bad: float, prior: float) -> float:
        """Mean less `caution` standard deviations of Beta(ok + m·prior, bad + m·(1 - prior))."""
        trials = ok + bad + self.prior_weight
        mean = (ok + self.prior_weight * prior) / trials
        return max(mean - self.caution * math.sqrt(mean * (1.0 - mean) / (trials + 1.0)), 0.0)


def as_policy(value: Policy | str, *, quality: float = 0.95, audit_rate: float | None = None) -> Policy:
    """A policy from its name (`"floor"`, `"paper"`), or the given object. `audit_rate` None is the policy's own."""
    # Built whatever the policy, so that a wrong `quality` is never passed over.
    floor = FloorPolicy(quality) if audit_rate is None else FloorPolicy(quality, audit_rate)
    if value == "floor":
        return floor
    if value == "paper":
        return PaperPolicy() if audit_rate is None else PaperPolicy(audit_rate=audit_rate)
    if isinstance(value, Policy):
        return value
    raise UnknownNameError("policy", value, ("floor", "paper"))


def _static(evidence: Evidence, cutoff: float) -> Route:
    if evidence.prior is None:
        return Route(STRONG, None, "no_evidence")
    if evidence.prior >= cutoff:
        return Route(WEAK, None, "static_weak", evidence.prior)
    return Route(STRONG, None, "static_strong", evidence.prior)


def _audited(route: Route, evidence: Evidence, rate: float) -> Route:
    if route.model != WEAK or evidence.draw >= rate:
        return route
    return Route(route.model, route.guide, route.reason, route.confidence, route.similarity, audit=True)


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ConfigurationError(f"{name}={value!r} is not between 0 and 1.")
