"""Which guides are tried on a request, and whether a new one would be worth its price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rar.evidence import Evidence, Standing
from rar.learning.expected import RECORD, Expectation, is_tried
from rar.learning.floor import MOST_STANDS, stands_for
from rar.learning.screen import Screen
from rar.learning.shadow import Attempt, Findings
from rar.memory.base import Memory
from rar.memory.recalling import tried_on
from rar.values import Arm, Choice, Decision, Guide, GuideMatch, Request, Route

SAMPLED = 32  # guides, the nearest, by which it is told how much guides are used here
BETTER = 0.02  # by which a guide that works is better than the model alone
HOPED = 3.0  # requests that are expected of a kind before anything is known
OF_A_KIND = 2  # requests that make a kind, and on which a guide was tried that is one for it
FOREIGN = 0.25  # by which a guide is worse on a kind that it is not for
CHEAP = 0.2  # share of a call of the reference up to which trials of guides cost next to nothing
LEAST = 0.05  # that is taken to be worth a call of the strong model, however high the threshold


@dataclass(frozen=True, slots=True)
class Prospects:
    """What is to be tried on a request.

    Args:
        guides: Known guides in which one that works is looked for, the likeliest first.
        fair: Those of them that are tried whatever works.
        stands: How many requests this one stands for if the model alone works on it: guides were tried by chance.
        worth_writing: Whether a new one is expected to save more than it costs.
    """

    guides: tuple[Guide, ...] = ()
    fair: tuple[Guide, ...] = ()
    stands: float = 1.0
    worth_writing: bool = True


@dataclass(frozen=True)
class Scout:
    """Looks for guides, by a memory and what was tried on similar requests.

    Args:
        near: Cosine from which a guide's origin is of a request's kind.
        tries: Guides at most in which one that works is looked for.
        expected: What arms are expected to lose; None by the published rule, which tries what is near and always has
            a guide written.
    """

    memory: Memory
    screen: Screen | None
    near: float
    tries: int
    expected: Expectation | None

    def look(self, request: Request, evidence: Evidence, *, alone: bool) -> Prospects:
        """What is to be tried.

        Args:
            alone: The model alone was expected to do.
        """
        assert request.embedding is not None
        found = self.memory.search_guides(
            request.embedding, namespace=request.namespace, task=request.task, limit=SAMPLED,
            states=("active", "candidate", "retired"),
        )  # fmt: skip
        near = [entry for entry in found if entry.similarity >= self.near]
        if self.expected is None or not evidence.standings:
            return Prospects(tuple(entry.guide for entry in self._usable(near)[: self.tries]))
        near += self._tried_nearby(request, evidence, {entry.guide.id for entry in near})
        one = _Kind(self.expected, evidence)
        live = sorted(self._usable(near), key=one.confidence, reverse=True)
        works = bool(live) and one.has_record(live[0].guide) and one.promises(live[0].guide)
        live = [entry for entry in live if not one.is_foreign(entry.guide, RECORD / 3.0 if works else RECORD)]
        untried = [entry for entry in live[1:] if not (is_tried(entry.guide) if works else one.has_record(entry.guide))]
        chance = one.trying()
        return Prospects(
            tuple(entry.guide for entry in live[: self.tries]),
            tuple(entry.guide for entry in (*live[:1], *untried[:1])) if evidence.chance < chance else (),
            1.0 / chance,
            not any(one.promises(entry.guide) for entry in live) and one.pays(len(near), found, alone=alone),
        )

    def _usable(self, found: Sequence[GuideMatch]) -> list[GuideMatch]:
        live = (entry for entry in found if entry.guide.state in ("active", "candidate"))
        return [entry for entry in live if self.screen is None or self.screen.passes(entry.guide)]

    def _tried_nearby(self, request: Request, evidence: Evidence, known: set[str]) -> list[GuideMatch]:
        """Further guides that were tried on similar requests: a kind may be wider than what is near one origin."""
        assert request.embedding is not None
        often = [id for id in tried_on(evidence.matches, self.near) if id not in known][: self.tries]
        found = [guide for id in often if (guide := self.memory.guide(id)) is not None]
        return [GuideMatch(guide, float(guide.embedding @ request.embedding)) for guide in found]


@dataclass(frozen=True)
class _Kind:
    """What trials on requests like the one at hand say of guides. They are for the cheapest model."""

    expected: Expectation
    evidence: Evidence

    @property
    def model(self) -> Standing:
        return self.evidence.standings[0]

    def confidence(self, entry: GuideMatch) -> float:
        return self.expected.with_guide(self.model, entry, self.evidence)[1]

    def has_record(self, guide: Guide) -> bool:
        return self.expected.trials(self.model, guide, self.evidence)[1] >= RECORD

    def is_foreign(self, guide: Guide, least: float) -> bool:
        """Whether a guide was tried on this kind and failed, although it does well on others: it is for those.

        Args:
            least: Trials nearby that tell.
        """
        gaps, trials = self.expected.trials(self.model, guide, self.evidence)
        elsewhere = (guide.harmful + 1.0) / (guide.helpful + guide.harmful + 2.0)
        return trials >= least and gaps / trials > elsewhere + FOREIGN

    def promises(self, guide: Guide) -> bool:
        """Whether a guide may still turn out to be of use for this kind, or does."""
        gaps, trials = self.expected.trials(self.model, guide, self.evidence)
        alone, _ = self.expected.alone(self.model, self.evidence)
        return trials < RECORD or gaps / trials < alone - BETTER

    def trying(self) -> float:
        """The chance that guides are tried though the model alone works: less, the dearer its calls are.

        Where it does not work they are tried in any case, in search of one that does.
        """
        return min(CHEAP / self.model.price, 1.0) if self.model.price > CHEAP else 1.0

    def pays(self, lost: int, sample: Sequence[GuideMatch], *, alone: bool) -> bool:
        """Whether what a new guide would save is expected to exceed its price, which is a call of the strong model.

        Each one that was lost on this kind halves the chance that the next will work. As many requests are expected to
        come as came, if they still do; of a kind that is new, as many as guides were tried on in this namespace.

        Args:
            lost: Guides that were written for this kind in vain.
            sample: Guides for other kinds, too.
        """
        used = sum(min(entry.guide.helpful + entry.guide.harmful, SAMPLED) for entry in sample)
        usual = (used + HOPED) / (len(sample) + 1.0)
        to_come = max(self._recent(), 0.0 if lost else usual)
        return 0.5 ** (1 + lost) * to_come * self._saving(alone=alone) > 1.0

    def _saving(self, *, alone: bool) -> float:
        """What a guide that works saves a request, in calls of the strong model.

        Where the model alone is good enough, only what it loses: less than the threshold asks for is worth a call.
        """
        if not alone:
            return 1.0
        gap, _ = self.expected.alone(self.model, self.evidence)
        return min(max(0.5 * gap, 0.0) / max(1.0 - self.evidence.threshold, LEAST), 1.0)

    def _recent(self) -> float:
        """How many requests of this kind came, as far as they still come."""
        ages = [self.evidence.now - match.experience.created_at for match in self.evidence.matches if not match.same]
        came = self.expected.nearby(self.evidence)
        if len(ages) < OF_A_KIND or max(ages) <= 0.0:
            return came
        return came * min(2.0 * (1.0 - min(ages) / max(ages)), 1.0)


def drawn_by_chance(choice: Choice, evidence: Evidence) -> list[Arm]:
    """What is judged because chance chose this request: what was preferred, and all that costs less, alone.

    They are no sample of what the reference answers for want of trust, but of what is served.
    """
    if not isinstance(choice, Route) or choice.instead_of is None:
        return []
    preferred = choice.instead_of
    names = [one.model for one in evidence.standings]
    cheaper = names[: names.index(preferred.model) + (preferred.guide is not None)]
    return [preferred, *map(Arm, cheaper)]


def from_model(model: str, evidence: Evidence) -> list[str]:
    """A model and those that cost more; all of them, for the reference."""
    names = [one.model for one in evidence.standings]
    return names[names.index(model) :] if model in names else names


def weight_of(attempt: Attempt, found: Findings, choice: Choice) -> float:
    """How many requests an attempt stands for: what chance had judged stands for the likes of it that were not."""
    if not isinstance(choice, Route):
        return 1.0
    weight = stands_for(choice) if attempt.drawn else 1.0
    alone = any(one.ok for one in found.attempts if one.guide is None and one.model == attempt.model)
    if attempt.guide is None or attempt.arm == (choice.instead_of or choice.arm) or not alone:
        return weight
    return min(weight * found.stands, MOST_STANDS)


def not_spared(models: list[str], decision: Decision) -> list[str]:
    """Those of `models` of which a trial may be made: where that is not worth its price, such as drafted before."""
    if not isinstance(decision.choice, Route) or not decision.choice.spares:
        return models
    return [model for model in models if any(draft.model == model for draft in decision.drafted)]
