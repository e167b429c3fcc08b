"""Policies: from evidence to a route. Pure statistics; no clock, no chance, no I/O of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from rar.errors import ConfigurationError, UnknownNameError
from rar.learning.origins import comparable, proven_for_all, proven_in, untried
from rar.memory.base import PolicyStep
from rar.naming import shown
from rar.options import OPTIONS, SHARE, named_arguments
from rar.values import STRONG, WEAK, Evidence, Experience, Guide, GuideMatch, Match, Route, Tally


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge found of one served call: how much better the strong answer was, and how good that was itself."""

    gap: float | None = None  # of an audited weak answer, served or not; None: it was not judged
    alone: float | None = None  # of the weak model's attempt alone, where the strong one was served and preferred
    reference: float | None = None  # None: nothing was judged


@runtime_checkable
class Policy(Protocol):
    """Chooses a route from evidence, and says how a served call moves the threshold that it asks for next time."""

    @property
    def start(self) -> float:
        """The threshold of a namespace in which nothing was served yet."""
        ...

    def choose(self, evidence: Evidence) -> Route: ...

    def step(self, namespace: str, evidence: Evidence, route: Route, judged: Judged) -> PolicyStep | None:
        """The move after a served call that followed `route`."""
        ...


# --- what one experience says ---------------------------------------------------------------------------------------


def works(tally: Tally) -> bool:
    """Whether the weak model can be trusted here: it did the last time, and not more seldom than not."""
    return tally.last_ok and tally.ok >= tally.bad


def of_pair(experience: Experience, weak_id: str, strong_id: str, since: float = 0.0) -> list[Tally]:
    """The tallies of this pair of models. Those of another pair, or from before `since`, prove nothing."""
    pair = (weak_id, strong_id)
    return [tally for tally in experience.tallies if (tally.weak_id, tally.strong_id) == pair and tally.at >= since]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a remembered request says about itself.

    Args:
        trials: That the route rests on.
        borrowed: It rests on other contexts of use than the one at hand, in which nothing was tried.
    """

    route: Route
    trials: int = 0
    borrowed: bool = False


def verdict(match: Match, evidence: Evidence, *, anywhere: bool = False) -> Verdict | None:
    """What a remembered request says about itself, cheapest first; None while it is unproven for this pair and use.

    Args:
        anywhere: One trial counts whatever the context that it was made in.
    """
    tallies = of_pair(match.experience, evidence.weak_id, evidence.strong_id, evidence.since)
    if not tallies:
        return None
    similarity = round(match.similarity, 4)
    servable = {entry.guide.id: entry.guide for entry in evidence.guides}
    tried = [proven_in(tally, evidence.context) for tally in tallies]
    for tally in sorted(tallies, key=lambda tally: (tally.guide_id is not None, -tally.ok)):
        here = works(tally) if anywhere else proven_in(tally, evidence.context)
        known = here is not None
        serves = here if known else works(tally) and proven_for_all(tally, evidence.context)
        if serves and (tally.guide_id is None or tally.guide_id in servable):
            guide = servable.get(tally.guide_id) if tally.guide_id else None
            share = (tally.ok + 1) / (tally.ok + tally.bad + 1.5)
            reason = "memory_guided" if guide else "memory_weak"
            route = Route(WEAK, guide, reason, min(share, 1.0), similarity, expected=tally.mean_gap)
            return Verdict(route, tally.ok + tally.bad, borrowed=not known)
    if not anywhere and all(here is None for here in tried):
        return None
    return Verdict(Route(STRONG, None, "memory_strong", 0.0, similarity))


def due(
    experience: Experience,
    weak_id: str,
    strong_id: str,
    now: float,
    retry_after: float,
    since: float = 0.0,
    context: str = "",
) -> bool:
    """Whether the ladder should be climbed (again) for a remembered request that the strong model had to answer."""
    tallies = of_pair(experience, weak_id, strong_id, since)
    if untried(tallies, context):
        return True
    if any(tally.guide_id is None and proven_in(tally, context) for tally in tallies):
        return False
    return all(now - tally.at >= retry_after for tally in tallies)


# What a worse weak model is taken for: a larger gap of answers that it served and of those it would have given where
# the strong model was preferred, of which less was expected anyway; and the usual variance of each.
WORSE_SERVED, WORSE_SHADOW = (0.25, 0.2), (0.15, 0.25)
AUDIT = "audit"  # reason of a strong answer that is served to see what the weak one would have been worth
YOUNG = 8  # trials up to which each new request that a guide is used on is checked, unless a person approved it
BELIEVED = 4  # trials of other contexts at most that make audits fewer: an eighth of what is borrowed stays checked
SETTLED = 300  # calls before which what was expected was a guess

# --- policies -------------------------------------------------------------------------------------------------------


@named_arguments
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
        SHARE("similarity", self.similarity)
        SHARE("cutoff", self.cutoff)
        SHARE("audit_rate", self.audit_rate)

    def choose(self, evidence: Evidence) -> Route:
        for match in evidence.matches:
            if match.same or match.similarity >= self.similarity:
                found = verdict(match, evidence, anywhere=True)
                if found is not None:
                    return _audited(found.route, evidence, self.audit_rate)
        return _audited(_static(evidence, self.cutoff), evidence, self.audit_rate)

    def step(self, namespace: str, evidence: Evidence, route: Route, judged: Judged) -> PolicyStep | None:
        if route.model == WEAK and judged.gap is not None:
            return PolicyStep(namespace, 0.0, audit=True, error=judged.gap > 0.0, start=self.start)
        return None


@named_arguments
@dataclass(frozen=True)
class FloorPolicy:
    """Serve by the weak model where its expected quality meets a threshold that keeps the quality floor.

    A request seen before follows its own verdict. Otherwise the gap to be expected of the weak model, alone and with
    each near guide, is what nearby requests showed, weighted by similarity, around the learned score
    (`rar.learning.gap`) or, before there is one, the static router's. An action's *confidence* is 1 less its expected
    gap and the uncertainty of few trials; the cheapest action whose confidence meets the threshold is taken.

    The threshold moves with every served call by `rate * (loss - allowed)` (adaptive conformal inference, Gibbs &
    Candès 2021, arXiv 2106.00170, eq. 2), so that the mean loss over *all* served answers tends to `allowed`, the share
    `1 - quality` of the strong model's own quality, whatever the drift. A strong answer loses nothing. A weak one loses
    its expected gap, corrected by what audits found such expectations to be wrong by (doubly robust: Dudík et al. 2011,
    arXiv 1103.4601, eq. 3): single audits are too noisy to steer by.

    Args:
        quality: Share of the strong model's quality to keep, in (0, 1].
        audit_rate: Share of weak answers that are checked in the long run, in [0, 1]. More are at first
            (`first_audits / sqrt(audits + 1)`), fewer of requests that were seen before. Of a new request the strong
            answer is then served, and the weak one made beside it; else the strong model is asked afterwards.
        rate: Step size of the threshold in the long run; four times as large at first.
        caution: Standard errors that confidence lies under the mean.
        near: Cosines between which an experience's weight rises from 0 to 1.
        prior_weight: Trials that the prior counts for: the learned score's, and that of ignorance or a static router.
        start: The first threshold.
        bounds: Within which the threshold moves.
        doubt: The first part of what audits found expectations to be wrong by, which is not believed: few audits, each
            right or wrong, scatter by about so much.
        borrowed: Chance that a verdict of one trial is audited that was found in another context of use than the one
            at hand. Of up to four trials it is that part: what messages brought about is checked within a few requests.
        wary: What more confidence is needed just before the alarm that the weak model changed.
    """

    quality: float = 0.95
    audit_rate: float = 0.05
    rate: float = 0.015
    caution: float = 0.5
    near: tuple[float, float] = (0.35, 0.85)
    prior_weight: tuple[float, float] = (50.0, 2.0)
    start: float = 0.85
    bounds: tuple[float, float] = (0.1, 1.2)
    first_audits: float = 0.7
    wary: float = 0.25
    doubt: float = 0.03
    borrowed: float = 0.5

    def __post_init__(self) -> None:
        OPTIONS["quality"]("quality", self.quality)
        SHARE("audit_rate", self.audit_rate)

    def choose(self, evidence: Evidence) -> Route:
        for match in evidence.matches:
            if match.same:
                found = verdict(match, evidence)
                if found is not None:
                    check = _probed if found.borrowed else _audited
                    return check(found.route, evidence, self._doubt(found))
        route = self._estimate(evidence)
        often = max(self.audit_rate, self.first_audits / math.sqrt(evidence.audits + 1.0)) if self.audit_rate else 0.0
        if often and route.guide is not None and not route.guide.approved and _tried(route.guide) < YOUNG:
            often = 1.0
        return _probed(route, evidence, min(often, 1.0))

    def _doubt(self, found: Verdict) -> float:
        """The chance with which a remembered request's verdict is audited: less, the more trials it rests on.

        One trial says little more than a guess, and is checked as often as one.
        """
        if not self.audit_rate:
            return 0.0
        trials = max(found.trials, 1)
        if found.borrowed:  # from contexts of which one user may have made up any number
            return max(self.audit_rate, self.borrowed / min(trials, BELIEVED))
        return max(self.audit_rate * max(self.audit_rate, 0.2), self.audit_rate / trials)

    def _estimate(self, evidence: Evidence) -> Route:
        if not evidence.matches and not evidence.guides and evidence.prior is None and evidence.learned is None:
            return Route(STRONG, None, "no_evidence")
        nearest = evidence.matches[0].similarity if evidence.matches else None
        needed = evidence.threshold + self.wary * evidence.drift
        gap, alone = self.alone(evidence)
        if alone >= needed:
            return Route(WEAK, None, "likely_weak", alone, nearest, expected=gap, needed=needed)
        best = alone
        guided = [(*self.with_guide(entry, evidence), entry) for entry in evidence.guides]
        if guided:
            gap, with_guide, entry = max(guided, key=lambda found: found[1])
            if with_guide >= needed:
                return Route(
                    WEAK, entry.guide, "likely_guided", with_guide, entry.similarity, expected=gap, needed=needed
                )
            best = max(alone, with_guide)
        return Route(STRONG, None, "below_threshold", best, nearest, needed=needed)

    def alone(self, evidence: Evidence) -> tuple[float, float]:
        """The expected gap of the weak model alone, and the confidence in it."""
        learned, ignorant = self.prior_weight
        if evidence.learned is not None:
            prior, weight = evidence.learned, learned
        else:
            prior, weight = (0.5 if evidence.prior is None else 1.0 - evidence.prior), ignorant
        return self._confidence(*self._nearby(evidence, None), prior, weight)

    def with_guide(self, entry: GuideMatch, evidence: Evidence) -> tuple[float, float]:
        """The same with a guide: its record elsewhere counts by how near its origin is, nearby by how near that is."""
        # The farther the origin, the nearer the prior comes to ignorance and the less it weighs: a long record of
        # another kind of request must not stand for a short one of this kind.
        share = self._weight(entry.similarity)
        record = entry.guide.helpful + entry.guide.harmful
        elsewhere = (entry.guide.harmful + 1.0) / (record + 2.0)
        prior = share * elsewhere + (1.0 - share) * 0.5
        weight = self.prior_weight[1] + share * min(record, 8)
        return self._confidence(*self._nearby(evidence, entry.guide.id), prior, weight)

    def step(self, namespace: str, evidence: Evidence, route: Route, judged: Judged) -> PolicyStep | None:
        allowed = (1.0 - self.quality) * evidence.reference
        guessed = route.reason.startswith("likely") or route.reason == AUDIT
        gap, loss = judged.gap, 0.0
        if route.model == WEAK:
            loss = route.expected or 0.0
            if guessed:
                doubted = min(max(evidence.bias, -self.doubt), self.doubt)
                loss = max(loss + evidence.bias - doubted, 0.0)
        residual = gap - (route.expected or 0.0) if guessed and gap is not None else None
        return PolicyStep(
            namespace,
            # Large steps at first, when the threshold is a guess.
            self.rate * (1.0 + 300.0 / (evidence.calls + 100.0)) * (loss - allowed),
            audit=gap is not None,
            error=gap is not None and gap > 0.0,
            start=self.start,
            low=self.bounds[0],
            high=self.bounds[1],
            residual=residual,
            surprise=self._surprise(evidence, route, judged),
            at=evidence.now,
            reference=judged.reference,
        )

    def _surprise(self, evidence: Evidence, route: Route, judged: Judged) -> float | None:
        """How much better a worse weak model explains what was judged; None where too little was expected of it."""
        if evidence.calls < SETTLED:
            return None
        if route.guide is None and judged.gap is not None and route.expected is not None:
            return _log_ratio(judged.gap - route.expected, *WORSE_SERVED)
        if judged.alone is not None and evidence.learned is not None:
            return _log_ratio(judged.alone - self.alone(evidence)[0], *WORSE_SHADOW)
        return None

    def _confidence(self, gaps: float, trials: float, prior: float, weight: float) -> tuple[float, float]:
        trials += weight
        gap = (gaps + weight * prior) / trials
        chance = min(max(gap, 0.0), 1.0)
        return gap, 1.0 - gap - self.caution * math.sqrt(chance * (1.0 - chance) / (trials + 1.0))

    def _weight(self, similarity: float) -> float:
        low, high = self.near
        return min(max((similarity - low) / (high - low), 0.0), 1.0)

    def _nearby(self, evidence: Evidence, guide_id: str | None) -> tuple[float, float]:
        """Weighted sum of the gaps seen nearby with this guide (or alone), and of the weights."""
        sums: dict[str, tuple[float, float]] = {}
        pair = (evidence.weak_id, evidence.strong_id)
        for match in evidence.matches:
            weight = self._weight(match.similarity)
            if not weight:
                break  # nearest first: the rest is no nearer
            for tally in match.experience.tallies:
                if (
                    tally.guide_id == guide_id
                    and (tally.weak_id, tally.strong_id) == pair
                    and tally.at >= evidence.since
                ):
                    gap, whose = comparable(tally, evidence.context, evidence.user)
                    gaps, trials = sums.get(whose, (0.0, 0.0))
                    counts = weight * tally.weight
                    sums[whose] = gaps + counts * gap, trials + counts
        gaps = trials = 0.0
        for whose, (of_gaps, of_trials) in sums.items():
            # What one user brought about, or was found in other contexts, counts as one trial at most.
            share = 1.0 if whose == "" else min(1.0, 1.0 / of_trials)
            gaps, trials = gaps + share * of_gaps, trials + share * of_trials
        return gaps, trials


def as_policy(value: Policy | str, *, quality: float = 0.95, audit_rate: float | None = None) -> Policy:
    """A policy from its name (`"floor"`, `"paper"`), or the given object. `audit_rate` None is the policy's own."""
    # Built whatever the policy, so that a wrong `quality` is never passed over.
    floor = FloorPolicy(quality) if audit_rate is None else FloorPolicy(quality, audit_rate)
    if isinstance(value, str):
        if value not in ("floor", "paper"):
            raise UnknownNameError("policy", value, ("floor", "paper"))
        return floor if value == "floor" else _paper(audit_rate)
    if isinstance(value, Policy):
        return value
    raise ConfigurationError(f"policy={shown(value)} is no policy. Use 'floor', 'paper', or an object with `choose`.")


def _paper(audit_rate: float | None) -> PaperPolicy:
    return PaperPolicy() if audit_rate is None else PaperPolicy(audit_rate=audit_rate)


def _log_ratio(residual: float, shift: float, variance: float) -> float:
    """Of a normal residual: that its mean is `shift` to that it is 0."""
    return shift / variance * (residual - shift / 2.0)


def _static(evidence: Evidence, cutoff: float) -> Route:
    if evidence.prior is None:
        return Route(STRONG, None, "no_evidence")
    if evidence.prior >= cutoff:
        return Route(WEAK, None, "static_weak", evidence.prior, expected=1.0 - evidence.prior)
    return Route(STRONG, None, "static_strong", evidence.prior)


def _audited(route: Route, evidence: Evidence, chance: float) -> Route:
    if route.model != WEAK:
        return route
    return replace(route, audit=evidence.draw < chance, chance=chance)


def _tried(guide: Guide) -> int:
    return guide.helpful + guide.harmful


def _probed(route: Route, evidence: Evidence, chance: float) -> Route:
    """As `_audited`, but a guess about the weak model alone is checked by serving the strong answer.

    Both models are called either way, and so the strong answer, once paid for, is not thrown away.
    """
    checked = _audited(route, evidence, chance)
    if checked.audit and checked.guide is None:
        return replace(checked, model=STRONG, reason=AUDIT)
    return checked
