"""Policies: from evidence to a route. Pure statistics; no clock, no chance, no I/O of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

from rar.errors import ConfigurationError, UnknownNameError
from rar.evidence import Evidence, Standing
from rar.learning.expected import Expectation
from rar.learning.floor import INERTIA, INERTIA_AGAIN, loss, repeated, slack, stands_for, state_of_route, unrest_again
from rar.learning.labels import NONE
from rar.learning.verdicts import Verdict, paraphrased, refuted, verdict
from rar.memory.base import AGAIN, GUIDED, PolicyState, PolicyStep, state_of
from rar.naming import shown
from rar.options import CHECKS, SHARE, named_arguments
from rar.values import STRONG, Guide, Route


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge found of one served call: how much better the reference answer was, and how good that was itself.

    Args:
        gap: Of the audited answer, served or not; None: it was not judged.
        alone: By name, of models' attempts without a guide where the reference was served and preferred.
        reference: Quality of the reference answer; None: nothing was judged.
    """

    gap: float | None = None
    alone: Mapping[str, float] = field(default_factory=dict)
    reference: float | None = None


@runtime_checkable
class Policy(Protocol):
    """Chooses a route from evidence, and says how a served call moves the threshold that it asks for next time."""

    @property
    def start(self) -> float:
        """The threshold of a namespace in which nothing was served yet."""
        ...

    def choose(self, evidence: Evidence) -> Route: ...

    def steps(self, namespace: str, evidence: Evidence, route: Route, judged: Judged) -> Sequence[PolicyStep]:
        """The moves after a served call that followed `route`: of the namespace's state, and of models'."""
        ...


# What a worse weak model is taken for: a larger gap of answers that it served and of those it would have given where
# the strong model was preferred, of which less was expected anyway; and the usual variance of each.
WORSE_SERVED, WORSE_SHADOW = (0.25, 0.2), (0.15, 0.25)
LEAD = 0.02  # by which more is expected of an answer with a guide, which is longer to read, than of one without
YOUNG = 8  # trials up to which each new request that a guide is used on is checked, unless a person approved it
BELIEVED = 4  # trials of other contexts at most that make audits fewer: an eighth of what is borrowed stays checked
SETTLED = 300  # calls before which what was expected was a guess
EXAMPLES_OF_AN_AUDIT = 20.0  # judged requests that say as much of what is served: most were not, and are others
FIRST_AGAIN = 0.2  # share of the first audits of new requests that repeated ones get
AUDITS = 0.05  # the share of answers that is audited in the long run, unless a user names one
SMALLEST_LOSS = 0.005  # that a floor allows, as far as audits go: a floor of 1 would have all checked

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
                    return _checked(found.route, evidence, self.audit_rate)
        return _checked(_static(evidence, self.cutoff), evidence, self.audit_rate)

    def steps(self, namespace: str, evidence: Evidence, route: Route, judged: Judged) -> Sequence[PolicyStep]:
        standing = evidence.of(route.model)
        if standing is None or judged.gap is None:
            return ()
        step = PolicyStep(namespace, 0.0, audit=True, error=judged.gap > 0.0, start=self.start)
        return step, replace(step, model=standing.model_id)


@named_arguments
@dataclass(frozen=True)
class FloorPolicy:
    """Serve by the cheapest model whose expected quality meets a threshold that keeps the quality floor.

    A request seen before follows its own verdict, and one that was judged in other words that one's, where a learned
    bound allows it (`rar.learning.paraphrase`). Otherwise a gap is expected of each cheaper model, alone and with
    each near guide: what nearby requests showed, weighted by similarity, around the learned score (`rar.learning.gap`)
    or, before there is one, the static router's. An action's *confidence* is 1 less its expected
    gap and the uncertainty of few trials; the cheapest action whose confidence meets the threshold is taken.

    The threshold moves with every served call by `rate * (loss - allowed)` (adaptive conformal inference, Gibbs &
    Candès 2021, arXiv 2106.00170, eq. 2), so that the mean loss over *all* served answers tends to `allowed`, the share
    `1 - quality` of the strong model's own quality, whatever the drift. A strong answer loses nothing. A weak one loses
    its expected gap, corrected by what audits found such expectations to be wrong by (doubly robust: Dudík et al. 2011,
    arXiv 1103.4601, eq. 3): single audits are too noisy to steer by. While all is well the threshold stays above a low
    quantile of the confidences of late, or harder traffic would find it wound down. Requests that were seen before
    have a threshold of their own, so that repeats do not pay for new ones.

    Args:
        quality: Share of the strong model's quality to keep, in (0, 1].
        audit_rate: Share of other models' answers that are checked in the long run, in [0, 1]. More are at first
            (`first_audits / sqrt(audits + 1)`), fewer of requests that were seen before. At the default, fewer
            are where the judged gaps of a model scatter little. Of a new request the strong
            answer is then served, and the weak one made beside it; else the strong model is asked afterwards.
        rate: Step size of the threshold in the long run; four times as large at first.
        caution: Standard errors that confidence lies under the mean.
        near: Cosines between which an experience's weight rises from 0 to 1.
        prior_weight: Trials that the prior counts for: the learned score's, and that of ignorance or a static router.
        start: The first threshold.
        bounds: Within which the threshold moves.
        borrowed: Chance that a verdict of one trial is audited that was found in another context of use than the one
            at hand. Of up to four trials it is that part: what messages brought about is checked within a few requests.
        wary: What more confidence is needed just before the alarm that a model changed.
        calmest: Share of the audits that is kept however little the judged gaps scatter: what changes must be noticed.
        promise: The chance with which the quality over any 1,000 served calls is at least the floor, from the first
            audit on. None: it is the floor on average.
    """

    quality: float = 0.95
    audit_rate: float = AUDITS
    rate: float = 0.015
    caution: float = 0.5
    near: tuple[float, float] = (0.35, 0.85)
    prior_weight: tuple[float, float] = (50.0, 2.0)
    start: float = 0.85
    bounds: tuple[float, float] = (0.1, 1.2)
    first_audits: float = 0.7
    wary: float = 0.25
    borrowed: float = 0.5
    calmest: float = 0.2
    promise: float | None = None

    def __post_init__(self) -> None:
        CHECKS["quality"]("quality", self.quality)
        CHECKS["promise"]("promise", self.promise)
        SHARE("audit_rate", self.audit_rate)

    @cached_property
    def expected(self) -> Expectation:
        return Expectation(self.caution, self.near, self.prior_weight)

    def choose(self, evidence: Evidence) -> Route:
        if (saving := evidence.saving) is None:
            return Route(STRONG, None, "cached_prefix")
        evidence = saving
        hopeless: set[str] = set()
        for match in evidence.matches:
            if match.same:
                found = verdict(match, evidence)
                if found is not None:
                    return self._follow(found, evidence)
                hopeless |= refuted(match, evidence)
        lent = paraphrased(evidence)
        if lent is not None and (standing := evidence.of(lent.route.model)) is not None:
            # A new request all the same: what repeats may lose is not for it.
            return self._cheaper(lent, evidence) or _probed(lent.route, evidence, self._doubt(lent, standing))
        return self._guess([one for one in evidence.standings if one.model not in hopeless], evidence)

    def _follow(self, found: Verdict, evidence: Evidence) -> Route:
        """The route of a remembered request, unless a cheaper model that it says nothing about is likely to do."""
        if (guess := self._cheaper(found, evidence)) is not None:
            return guess
        standing = evidence.of(found.route.model)
        if standing is None:
            return replace(found.route, again=True)
        gap, _ = self.expected.alone(standing, evidence)
        expected = repeated(max(found.trials, 1), found.route.expected or 0.0, gap)
        confidence, needed = 1.0 - expected, evidence.threshold_again
        route = replace(found.route, again=True, expected=expected, confidence=confidence, needed=needed)
        if confidence < needed:
            # The strong answer is served, and the other one made beside it says more of it.
            return replace(route, model=STRONG, guide=None, reason="memory_unsure", instead_of=route.arm, chance=1.0)
        return (_probed if found.borrowed else _checked)(route, evidence, self._doubt(found, standing))

    def _cheaper(self, found: Verdict, evidence: Evidence) -> Route | None:
        """The guess of a cheaper model that a verdict says nothing about, if one is likely to do."""
        if not found.untried:
            return None
        guess = self._guess([one for one in evidence.standings if one.model in found.untried], evidence)
        return guess if guess.model != STRONG or guess.instead_of is not None else None

    def _guess(self, standings: Sequence[Standing], evidence: Evidence) -> Route:
        """The route by what similar requests showed, checked as often as little is known of its model."""
        route = self._estimate(standings, evidence)
        standing = evidence.of_arm(route.arm)
        if standing is None:
            return route
        often = self.often(standing, evidence)
        if often and route.guide is not None and not route.guide.approved and _tried(route.guide) < YOUNG:
            return _checked(route, evidence, 1.0)
        return _probed(route, evidence, min(often, 1.0))

    def often(self, standing: Standing, evidence: Evidence) -> float:
        """The chance with which a guess about a model is audited: less, the more it was, and the less its gaps scatter.

        The error of a mean of judged gaps goes with their variance, by which as many fewer will do. It is held against
        that of answers which are right or wrong and lose what is allowed.
        """
        if not self.audit_rate:
            return 0.0
        calm = 1.0
        if standing.scatter is not None and self.audit_rate == AUDITS:
            allowed = min(max(1.0 - self.floor_of(evidence), SMALLEST_LOSS), 0.5)
            calm = min(max(standing.scatter / (allowed * (1.0 - allowed)), self.calmest), 1.0)
        # Chances of c / sqrt(audits) come to audits by the power 2/3 of c.
        known = standing.state.audits + standing.examples / EXAMPLES_OF_AN_AUDIT
        first = self.first_audits * math.pow(calm, 1.5) / math.sqrt(known + 1.0)
        return max(self.audit_rate * calm, first)

    def _doubt(self, found: Verdict, standing: Standing) -> float:
        """The chance with which a remembered request's verdict is audited: less, the more trials it rests on.

        One trial says little more than a guess, and is checked as often as one.
        """
        if not self.audit_rate:
            return 0.0
        trials = max(found.trials, 1)
        if found.borrowed:  # from contexts of which one user may have made up any number
            return max(self.audit_rate, self.borrowed / min(trials, BELIEVED))
        first = FIRST_AGAIN * self.first_audits * unrest_again(standing) / math.sqrt(standing.again.audits + 1.0)
        return min(max(self.audit_rate * max(self.audit_rate, 0.2), self.audit_rate / trials, first), 1.0)

    def _estimate(self, standings: Sequence[Standing], evidence: Evidence) -> Route:
        """The model whose expected loss and cost are least together, if they are less than the reference's cost.

        The threshold says what a unit of cost is worth in quality: a model that costs nothing more than the cheapest
        may lose 1 less the threshold, and one that costs as much as the reference nothing. With one model beside the
        reference that is the threshold itself.
        """
        if not evidence.matches and not evidence.guides and all(one.learned is one.prior is None for one in standings):
            return Route(STRONG, None, "no_evidence")
        best = Route(STRONG, None, "below_threshold", None, evidence.nearest, needed=evidence.threshold)
        least = math.inf
        for standing in standings:
            needed = evidence.threshold + self.wary * standing.drift
            needed += standing.cost * max(1.0 - needed, 0.0)
            option = self._best_of(standing, evidence, needed)
            confidence = option.confidence or 0.0
            if confidence >= needed:
                lost = 1.0 - confidence + needed - evidence.threshold
                if lost < least:
                    best, least = option, lost
            elif math.isinf(least) and (best.confidence is None or confidence > best.confidence):
                best = replace(best, confidence=confidence, needed=needed)
        return best

    def _best_of(self, standing: Standing, evidence: Evidence, needed: float) -> Route:
        """One model alone, or with the likeliest guide where that is expected to do better by more than it costs."""
        gap, alone = self.expected.alone(standing, evidence)
        plain = Route(
            standing.model, reason="likely_weak", confidence=alone, similarity=evidence.nearest, expected=gap,
            needed=needed, guess=True,
        )  # fmt: skip
        found = [
            (*self.expected.with_guide(standing, entry, evidence), entry)
            for entry in evidence.guides
            if self.expected.knows(standing, entry, evidence)
        ]
        if not found:
            return plain
        gap, guided, entry = max(found, key=lambda one: one[1])
        if guided < max(alone + LEAD, needed):
            return replace(plain, confidence=max(alone, guided))
        return replace(
            plain, guide=entry.guide, reason="likely_guided", confidence=guided, similarity=entry.similarity,
            expected=gap,
        )  # fmt: skip

    def steps(self, namespace: str, evidence: Evidence, route: Route, judged: Judged) -> Sequence[PolicyStep]:
        standing, kind = evidence.of_arm(route.arm), AGAIN if route.again else ""
        told = corrected(judged, evidence, route)
        lost = 0.0 if standing is None else loss(standing, route)
        state = state_of_route(evidence, route)
        found = PolicyStep(
            namespace,
            # Large steps at first, when the threshold is a guess.
            self.rate * (1.0 + 300.0 / (state.calls + 100.0)) * (lost - self._allowed(evidence, state)),
            audit=judged.gap is not None,
            error=judged.gap is not None and judged.gap > 0.0,
            start=evidence.start_again if route.again else self.start,
            low=self.bounds[0],
            high=self.bounds[1],
            at=evidence.now,
            reference=judged.reference,
            residual=_residual(told, route),
            changed=evidence.changed,
            model=state_of("", kind),
            confidence=None if route.again else route.confidence,
            loss=lost,
            cheaper=standing is not None,
            stands=stands_for(route),
        )
        steps = (
            self._step_of(standing, found, evidence, route, told, guided=guided)
            for one in evidence.standings
            for guided, standing in ((False, one), (True, one.helped))
        )
        return found, *(step for step in steps if step is not None)

    def _allowed(self, evidence: Evidence, state: PolicyState) -> float:
        return (1.0 - self.floor_of(evidence)) * evidence.state.reference - slack(state, self.promise)

    def floor_of(self, evidence: Evidence) -> float:
        """The share of the reference model's quality to keep in the namespace of a request."""
        return self.quality if evidence.floor is None else evidence.floor

    def _step_of(
        self, standing: Standing, found: PolicyStep, evidence: Evidence, route: Route, judged: Judged, *, guided: bool
    ) -> PolicyStep | None:
        """What was found of one model, alone or with guides, if it was judged."""
        arm = route.instead_of or route.arm
        mine = arm.model == standing.model and (arm.guide is not None and not route.again) == guided
        gap = judged.gap if mine else None
        residual = _residual(judged, route) if gap is not None else None
        alone, shadow, surprise = None if guided else judged.alone.get(standing.model), None, None
        if alone is not None and standing.learned is not None:
            shadow = alone - self.expected.alone(standing, evidence)[0]
        if evidence.calls >= SETTLED:
            if gap is not None and arm.guide is None and route.expected is not None:
                surprise = _log_ratio(gap - route.expected, *WORSE_SERVED)
            elif alone is not None and shadow is not None:
                # What is left to the reference is harder than what scores, which tend to the mean, make of it.
                surprise = _log_ratio(min(shadow, alone - self.expected.shown(standing, evidence)), *WORSE_SHADOW)
        if gap is None and surprise is None and shadow is None:
            return None
        return PolicyStep(
            found.namespace, 0.0, audit=gap is not None, error=gap is not None and found.error, start=self.start,
            low=self.bounds[0], high=self.bounds[1], residual=residual, surprise=surprise, at=evidence.now,
            model=state_of(standing.model_id, AGAIN if route.again else GUIDED if guided else ""),
            inertia=INERTIA_AGAIN if route.again else INERTIA, shadow=None if route.again else shadow,
        )  # fmt: skip


def corrected(judged: Judged, evidence: Evidence, route: Route) -> Judged:
    """`judged` with its gaps as people would grade them, on the scale of what is expected."""
    known = {standing.model: standing.correction for standing in evidence.standings}
    own = known.get((route.instead_of or route.arm).model, NONE)
    gap = judged.gap
    if gap is not None:
        gap = own.given(gap) if route.again else own(gap)
    return replace(judged, gap=gap, alone={model: known.get(model, NONE)(one) for model, one in judged.alone.items()})


def _residual(judged: Judged, route: Route) -> float | None:
    """What an audit found the gap to be above what was expected."""
    if judged.gap is None or not (route.guess or route.again):
        return None
    return judged.gap - (route.expected or 0.0)


def as_policy(
    value: Policy | str, *, quality: float = 0.95, audit_rate: float | None = None, promise: float | None = None
) -> Policy:
    """A policy from its name (`"floor"`, `"paper"`), or the given object. `audit_rate` None is the policy's own."""
    # Built whatever the policy, so that a wrong `quality` is never passed over.
    rate = AUDITS if audit_rate is None else audit_rate
    floor = FloorPolicy(quality, rate, promise=promise)
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
    """The published rule knows one model beside the strong one: here that of which the static router speaks."""
    weak = next((one for one in evidence.standings if one.prior is not None), None)
    if weak is None or weak.prior is None:
        return Route(STRONG, None, "no_evidence")
    if weak.prior >= cutoff:
        return Route(weak.model, None, "static_weak", weak.prior, expected=1.0 - weak.prior)
    return Route(STRONG, None, "static_strong", weak.prior)


def _checked(route: Route, evidence: Evidence, chance: float) -> Route:
    """The route, its answer to be checked afterwards if chance will have it."""
    if evidence.of(route.model) is None:
        return route
    return replace(route, check=evidence.draw < chance, chance=chance)


def _tried(guide: Guide) -> int:
    return guide.helpful + guide.harmful


def _probed(route: Route, evidence: Evidence, chance: float) -> Route:
    """As `_checked`, but a guess is checked by serving the reference answer.

    Both models are called either way, and so the reference answer, once paid for, is not thrown away.
    """
    checked = _checked(route, evidence, chance)
    if checked.check:
        return replace(checked, model=STRONG, guide=None, check=False, instead_of=route.arm, reason="audit")
    return checked
