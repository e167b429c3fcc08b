"""What one remembered request says about the models that were tried on it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rar.evidence import Evidence, Standing
from rar.learning.origins import proven_for_all, proven_in, untried
from rar.values import STRONG, Experience, Match, Route, Tally

# What a refused answer must lose to count as refused. People may have found that this judge mostly refuses good ones.
REFUSED = 0.5


def works(tally: Tally) -> bool:
    """Whether the weak model can be trusted here: it did the last time, and not more seldom than not."""
    return tally.last_ok and tally.ok >= tally.bad


def of_pair(experience: Experience, model_id: str, reference_id: str, since: float = 0.0) -> list[Tally]:
    """The tallies of a model against the reference. Those of another pair, or from before `since`, prove nothing."""
    pair = (model_id, reference_id)
    return [tally for tally in experience.tallies if (tally.weak_id, tally.strong_id) == pair and tally.at >= since]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a remembered request says about itself.

    Args:
        trials: That the route rests on.
        borrowed: It rests on other contexts of use than the one at hand, in which nothing was tried.
        untried: Models that it says nothing about, though they cost less than the one that it names.
    """

    route: Route
    trials: int = 0
    borrowed: bool = False
    untried: tuple[str, ...] = ()


def verdict(match: Match, evidence: Evidence, *, anywhere: bool = False) -> Verdict | None:
    """What a remembered request says about itself: the cheapest that worked, or that none does.

    None while that is not known: of no model at all, or of no model that worked and of some that were not tried.

    Args:
        anywhere: One trial counts whatever the context that it was made in.
    """
    untried: list[str] = []
    for standing in evidence.standings:
        found = _verdict_on(standing, match, evidence, anywhere=anywhere)
        if isinstance(found, Verdict):
            return replace(found, untried=tuple(untried))
        if not found:
            untried.append(standing.model)
    if untried or not evidence.standings:
        return None
    return Verdict(Route(STRONG, None, "memory_strong", 0.0, round(match.similarity, 4)))


def paraphrased(evidence: Evidence) -> Verdict | None:
    """The verdict of a question in other words, of the cheapest model that has one. It is checked as borrowed ones."""
    for at, standing in enumerate(evidence.standings):
        alike = standing.alike
        if alike is not None:
            gap = standing.correction.given(alike.gap)
            route = Route(standing.model, None, "memory_paraphrase", 1.0 - alike.chance, alike.similarity, expected=gap)
            untried = tuple(one.model for one in evidence.standings[:at])
            return Verdict(route, alike.trials, borrowed=True, untried=untried)
    return None


def refuted(match: Match, evidence: Evidence) -> set[str]:
    """The models that a remembered request was tried on in vain."""
    found = {standing.model: _verdict_on(standing, match, evidence) for standing in evidence.standings}
    return {model for model, worked in found.items() if worked is True}


def _verdict_on(standing: Standing, match: Match, evidence: Evidence, *, anywhere: bool = False) -> Verdict | bool:
    """The verdict if one model works here; else whether it is known not to."""
    tallies = of_pair(match.experience, standing.model_id, evidence.reference_id, standing.since)
    servable = {entry.guide.id: entry.guide for entry in evidence.guides}
    tried = [proven_in(tally, evidence.context) for tally in tallies]
    for tally in sorted(tallies, key=lambda tally: (tally.guide_id is not None, -tally.ok)):
        here = works(tally) if anywhere else proven_in(tally, evidence.context)
        known = here is not None
        serves = here if known else works(tally) and proven_for_all(tally, evidence.context)
        if serves and (tally.guide_id is None or tally.guide_id in servable):
            guide = servable.get(tally.guide_id) if tally.guide_id else None
            # The chance that it works again, by the trials: half a failure more than were seen.
            share = min((tally.ok + 1) / (tally.ok + tally.bad + 1.5), 1.0)
            reason = "memory_guided" if guide else "memory_weak"
            similarity = round(match.similarity, 4)
            expected = standing.correction.given(tally.mean_gap)
            route = Route(standing.model, guide, reason, share, similarity, expected=expected)
            return Verdict(route, tally.ok + tally.bad, borrowed=not known)
    failed = bool(tallies) and (anywhere or any(here is not None for here in tried))
    return failed and standing.correction.given(1.0) >= REFUSED


def due(
    experience: Experience,
    model_id: str,
    reference_id: str,
    now: float,
    retry_after: float,
    since: float = 0.0,
    context: str = "",
) -> bool:
    """Whether a model should be tried (again) on a remembered request that the reference had to answer."""
    tallies = of_pair(experience, model_id, reference_id, since)
    if untried(tallies, context):
        return True
    if any(tally.guide_id is None and proven_in(tally, context) for tally in tallies):
        return False
    return all(now - tally.at >= retry_after for tally in tallies)


def works_in(experience: Experience, standing: Standing, evidence: Evidence) -> bool:
    """Whether a model alone is known to answer a remembered request in this context of use."""
    tallies = of_pair(experience, standing.model_id, evidence.reference_id, standing.since)
    return any(tally.guide_id is None and proven_in(tally, evidence.context) for tally in tallies)
