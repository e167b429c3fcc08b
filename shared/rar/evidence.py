"""What is known of a request when it is decided: the models that may answer it, and what memory says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from rar.learning.labels import NONE, Correction
from rar.memory.base import PolicyState
from rar.values import Arm, GuideMatch, Match

# Variance from which gaps scatter as those of answers that are right or wrong do: recorded pairs of models have 0.16
# to 0.31. The constants of policies are made for these.
USUAL_SCATTER = 0.15
START_AGAIN = 0.75  # first confidence that a repeat needs: one trial that went well has more, one beside a failure less


def unrest(scatter: float | None) -> float:
    """The variance of gaps as a share of the usual, at most 1; 1 where it is not known."""
    return 1.0 if scatter is None else min(scatter / USUAL_SCATTER, 1.0)


@dataclass(frozen=True, slots=True)
class Alike:
    """A judged question that asks the same in other words, on which a model works (`rar.learning.paraphrase`).

    Args:
        chance: That the model does not work on the question at hand.
        gap: What its answer is expected to lose.
        trials: Judged questions near it on which the model works.
    """

    similarity: float
    chance: float
    gap: float
    trials: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What a learned score says of one request, and what it rests on.

    Args:
        gap: The expected gap, with what a fit to so few requests is too hopeful by.
        unsure: Its standard error, larger the less familiar the request is.
        scatter: Variance of the gaps that it was fitted to.
        examples: How many there were.
    """

    gap: float
    unsure: float
    scatter: float
    examples: int


class DraftScore(Protocol):
    """What is expected of a model's answer to one request, once there is a draft of it."""

    @property
    def reach(self) -> float:
        """By how much a draft moves what was expected of the request alone: a standard deviation of gaps."""
        ...

    def expect(self, signs: Sequence[float]) -> Expected:
        """By the signs of the draft (`rar.learning.signs`)."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one model, against the reference model.

    Args:
        model: Its name among the router's models, for example `"weak"`.
        model_id: The provider's name, under which its verdicts are kept.
        cost: What its call is expected to cost more than the cheapest model's, as a share of what the reference's does:
            0 for the cheapest, below 1 for every other that saves anything. `switch` is part of it.
        switch: What this request costs there more because another model has the conversation cached
            (`rar.prefixes`); negative where it has it cached itself.
        price: What its call is expected to cost, as a share of what the reference's does; 0 where it is not known.
        prior: The static router's chance that it is good enough; None without one.
        prior_gap: How much better the static router expects the reference answer to be; None without one.
        learned: The gap that the score learned from this memory, or before that a fitted static router, expects; None
            while too little is known.
        unsure: Standard error of `learned`: larger, the less the request is like those that were judged; 0 where it is
            not known.
        scatter: Variance of the gaps that the learned score rests on; None without one.
        examples: Judged requests that the learned score rests on.
        state: What audits found of it, where its answer was a guess.
        again: The same, where it was this very request's verdict.
        drift: How near the alarm is that it changed under its name, from 0 to 1.
        since: Trials before this time prove nothing: it changed under its name.
        alike: A question in other words whose verdict may be taken over; None where there is none.
        guided: The same of its answers with guides, whose score and audits are their own; None: nothing is known.
        correction: What people found the judge's gaps to be wrong by.
        drafts: Tells what is to be expected of a draft; None where too little is known, or nobody asks for drafts.
    """

    model: str
    model_id: str
    cost: float = 0.0
    switch: float = 0.0
    prior: float | None = None
    prior_gap: float | None = None
    learned: float | None = None
    unsure: float = 0.0
    scatter: float | None = None
    examples: int = 0
    state: PolicyState = field(default_factory=PolicyState)
    again: PolicyState = field(default_factory=PolicyState)
    drift: float = 0.0
    since: float = 0.0
    alike: Alike | None = None
    correction: Correction = NONE
    guided: Standing | None = None
    price: float = 0.0
    drafts: DraftScore | None = None

    def expecting(self, found: Expected) -> Standing:
        """The same with what a learned score expects."""
        return replace(self, learned=found.gap, unsure=found.unsure, scatter=found.scatter, examples=found.examples)

    @property
    def saves(self) -> bool:
        """Whether it costs less than the reference, with the conversation that has to be read anew."""
        return self.switch <= 0.0 or self.cost < 1.0

    @property
    def helped(self) -> Standing:
        """What is known of it with guides."""
        if self.guided is not None:
            return self.guided
        return replace(
            self, prior=None, prior_gap=None, learned=None, unsure=0.0, scatter=None, examples=0, state=PolicyState()
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a policy may look at: what memory recalled, and the clock and chance that a pure function must be given.

    Args:
        reference_id: The provider's name of the reference model.
        standings: Of the other models that may answer, in the order of their expected cost, the cheapest first.
        experience_id: The id under which this request is, or would be, remembered.
        context: Label of its context of use, empty for a plain question.
        user: Label of the user who asks; empty where none is known.
        matches: Nearest first.
        guides: Servable guides, nearest first.
        state: Of the namespace: its threshold, the calls that this rests on, and the mean quality of the reference
            model's own answers (1 where judges only compare and nobody graded any).
        again: The threshold of requests that were seen before.
        start: The threshold before anything moved it.
        floor: The share of the reference model's quality to keep in this namespace; None: the policy's own.
        draw: Uniform in [0, 1), decides whether an answer is audited; 1 where none may be.
        chance: Uniform in [0, 1), for what a strategy leaves to chance.
        policy: The router's, for strategies that keep its floor.
        prefix: Tokens of the request that the reference would have cached, had it answered the calls before.
        missed: Those of them that it has not cached, since other models answered.
    """

    reference_id: str
    standings: tuple[Standing, ...] = ()
    experience_id: str = ""
    context: str = ""
    user: str = ""
    matches: tuple[Match, ...] = ()
    guides: tuple[GuideMatch, ...] = ()
    state: PolicyState = field(default_factory=PolicyState)
    again: PolicyState = field(default_factory=PolicyState)
    start: float = 0.5
    floor: float | None = None
    draw: float = 1.0
    chance: float = 0.0
    now: float = 0.0
    policy: Any = field(default=None, compare=False, repr=False)
    prefix: int = 0
    missed: int = 0

    @property
    def saving(self) -> Evidence | None:
        """The evidence of the models that save something here; None where a switch to any costs more than it saves."""
        if all(standing.saves for standing in self.standings):
            return self
        standings = tuple(standing for standing in self.standings if standing.saves)
        return replace(self, standings=standings) if standings else None

    @property
    def changed(self) -> float:
        """When a model last changed under its name; what the threshold rested on before that no longer holds."""
        return max((standing.since for standing in self.standings), default=0.0)

    @property
    def threshold(self) -> float:
        """The confidence that an answer of another model than the reference needs."""
        return self.start if self.state.threshold is None or self.stale else self.state.threshold

    @property
    def threshold_again(self) -> float:
        """The confidence that an answer needs whose request was seen before."""
        own = self.again
        return self.start_again if own.threshold is None or own.since < self.changed else own.threshold

    @property
    def start_again(self) -> float:
        """The same before anything moved it: one trial that went well is trusted until repeats are known to be off."""
        return min(self.start, START_AGAIN)

    @property
    def calls(self) -> int:
        """Served calls that `threshold` rests on."""
        return 0 if self.stale else self.state.calls

    @property
    def stale(self) -> bool:
        """Whether a model changed after the threshold was last begun anew."""
        return self.state.since < self.changed

    def of(self, model: str) -> Standing | None:
        """The standing of a model by its name; None for the reference, and for models that nothing is learned about."""
        return next((standing for standing in self.standings if standing.model == model), None)

    def of_arm(self, arm: Arm) -> Standing | None:
        """The standing of a model alone, or that of its answers with guides."""
        found = self.of(arm.model)
        return found if found is None or arm.guide is None else found.helped

    @property
    def nearest(self) -> float | None:
        """Cosine to the nearest remembered request; None where there is none."""
        return self.matches[0].similarity if self.matches else None

    @property
    def cheapest(self) -> Standing | None:
        return self.standings[0] if self.standings else None
