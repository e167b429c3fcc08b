"""Best of n: one model is sampled, and a ranker picks the draft that answers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from rar.errors import ConfigurationError
from rar.naming import fields_repr, shown
from rar.options import Number, named_arguments
from rar.sampling import FRESH
from rar.strategies.drafting import agreed, came, has_tools_or_schema
from rar.strategies.pair_ranker import Ranker
from rar.strategy import Steps, ask_all
from rar.values import STRONG, WEAK, Answer, Call, Choice, Reply, Request, Route, Sampling


@named_arguments
@dataclass(frozen=True)
class BestOfN:
    """`n` samples of `model` at once, of which the answer is the one that `ranker` puts first.

    Calls of tools and objects of a schema are not ranked: what most drafts say is the answer.

    Args:
        ranker: A `PairRanker`, or anything with its `rank`; that may be steps that ask a model.
    """

    ranker: Ranker
    model: str = WEAK
    n: int = 4
    sampling: Sampling = FRESH

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        check_ranker(self.ranker)
        Number(2, whole=True, unless="Of one draft there is no best.")("n", self.n)
        if self.sampling.temperature == 0.0:
            raise ConfigurationError("sampling=Sampling(temperature=0.0) makes all drafts the same. Take 0.7.")

    @property
    def models(self) -> Sequence[str]:
        return (self.model, STRONG)

    def steps(self, request: Request) -> Steps[Choice]:
        draft = Call(self.model, request, purpose="draft", sampling=self.sampling)
        drafts = came((yield from ask_all([draft] * self.n)))
        if not drafts:
            return Route(STRONG, reason="drafts_failed")
        if has_tools_or_schema(request, drafts):
            return agreed(request, drafts) or Answer(drafts[0], "no_ranking")
        order = yield from ranked(self.ranker, request, drafts)
        return Answer(drafts[order[0]], "best_of_n")


def check_ranker(ranker: object) -> None:
    """Refuse what has no `rank`.

    Raises:
        ConfigurationError: It has none.
    """
    if isinstance(ranker, type) or not callable(getattr(ranker, "rank", None)):
        raise ConfigurationError(f"ranker={shown(ranker)} ranks nothing. Pass a fitted PairRanker.")


def ranked(ranker: Ranker, request: Request, drafts: Sequence[Reply]) -> Steps[Sequence[int]]:
    """The places of the drafts, the best first."""
    if len(drafts) == 1:
        return [0]
    order = ranker.rank(request, drafts)
    return (yield from order) if isinstance(order, Generator) else order
