"""Self-consistency: several samples of one model vote, no more of them than it takes (arXiv 2203.11171)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from rar.answers import Extractor, as_extractor, auto
from rar.errors import BudgetExceededError, ConfigurationError
from rar.keys import has_form
from rar.naming import fields_repr, shown
from rar.options import SHARE, Name, Number, OneOf, named_arguments
from rar.sampling import FRESH
from rar.strategies.votes import Ended, Said, beta, exact, further, never, standing, window
from rar.strategy import Outcome, Steps, ask_all
from rar.values import STRONG, WEAK, Answer, Call, Choice, Failure, Reply, Request, Route, Sampling

Stop: TypeAlias = Literal["exact", "beta", "window"]
_STOPS = ("exact", "beta", "window")
_IN_A_ROW = 4  # drafts that fail, after which a model counts as down


@named_arguments
@dataclass(frozen=True)
class SelfConsistency:
    """What most samples of `model` say is the answer, in the shortest words that one of them found.

    Drafts are asked for in batches, each as large as it must be at least to end the vote. A draft that fails, or says
    nothing that can be compared, is no vote. The answer's confidence is its share of all drafts. If no draft votes,
    the strong model answers.

    Args:
        samples: How many drafts vote at most.
        stop: When a vote ends early: `"exact"`, once no further draft could change who wins; `"beta"`, once the winner
            is ahead with `confidence`; `"window"`, once the `window` newest drafts agree; None: never.
        extractor: What a draft says: a name of `rar.answers`, or a function of the request and a draft. Tool calls and
            answers to a schema vote by their canonical form.
        escalate_below: A share of votes below this is too little, and the strong model answers; None: never.
        sampling: How the drafts are drawn. A seed is counted up, so that each draft has its own.
    """

    model: str = WEAK
    samples: int = 20
    stop: Stop | None = "beta"
    confidence: float = 0.95
    window: int = 5
    extractor: str | Extractor = "auto"
    escalate_below: float | None = None
    sampling: Sampling = FRESH

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        Number(2, whole=True, unless="One draft makes no vote.")("samples", self.samples)
        if self.stop is not None:
            Name(_STOPS)("stop", self.stop)
        Number(0.5, 1.0, above=True)("confidence", self.confidence)
        Number(2, whole=True)("window", self.window)
        as_extractor(self.extractor)
        OneOf("a `rar.Sampling`", lambda value: isinstance(value, Sampling), optional=False)("sampling", self.sampling)
        if self.sampling.temperature == 0.0:
            raise ConfigurationError("sampling=Sampling(temperature=0.0) makes all drafts the same. Take 0.7.")
        if self.escalate_below is not None:
            SHARE("escalate_below", self.escalate_below)
            if self.model == STRONG:
                raise ConfigurationError(
                    "escalate_below= hands a split vote to the strong model, whose drafts voted. Leave it out, or "
                    "have another model= vote."
                )
        if not isinstance(self.model, str):
            raise ConfigurationError(f'model={shown(self.model)} is no name of a model, such as "weak".')

    @property
    def models(self) -> Sequence[str]:
        return (self.model, STRONG)

    def steps(self, request: Request) -> Steps[Choice]:
        ended, drafts, said = self._ended(), list[Outcome](), list[Said]()
        while asked := further(ended, said, self.samples - len(said), 1 if said else 2):
            outcomes = yield from ask_all([self._draft(request, len(said) + n) for n in range(asked)])
            drafts += outcomes
            said += (self._said(request, outcome) for outcome in outcomes)
            if _stopped(drafts):
                break
        return self._choice(drafts, said)

    def _ended(self) -> Ended:
        if self.stop is None:
            return never
        return {"exact": exact, "beta": beta(self.confidence), "window": window(self.window)}[self.stop]

    def _draft(self, request: Request, n: int) -> Call:
        seed = self.sampling.seed
        sampling = self.sampling if seed is None else replace(self.sampling, seed=seed + n)
        return Call(self.model, request, purpose="draft", sampling=sampling)

    def _said(self, request: Request, outcome: Outcome) -> Said:
        if isinstance(outcome, Failure) or outcome.empty:
            return None
        by_form = outcome.tool_calls or has_form(request.task)
        return auto(request, outcome) if by_form else as_extractor(self.extractor)(request, outcome)

    def _choice(self, drafts: Sequence[Outcome], said: Sequence[Said]) -> Choice:
        order = standing(said)
        if not order:
            return Route(STRONG, reason="no_votes")
        winner, votes = order[0]
        share = votes / len(said)
        if self.escalate_below is not None and share < self.escalate_below:
            return Route(STRONG, reason="split_vote", confidence=share)
        alike = [draft for draft, value in zip(drafts, said, strict=True) if value == winner]
        shortest = min((draft for draft in alike if isinstance(draft, Reply)), key=lambda draft: len(draft.text))
        return Answer(shortest, "majority", share)


def _stopped(drafts: Sequence[Outcome]) -> bool:
    """Whether to expect nothing of further drafts: the model is down, or a limit was reached."""
    errors = [draft.error for draft in drafts[-_IN_A_ROW:] if isinstance(draft, Failure)]
    return len(errors) == min(_IN_A_ROW, len(drafts)) or any(isinstance(one, BudgetExceededError) for one in errors)
