"""Self-consistency as a strategy of one's own: several samples of one model vote (Wang et al., arXiv 2203.11171)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from rar import Answer, Call, Reply, Request, Route, Sampling, Steps, ask_all
from rar.answers import as_extractor
from rar.errors import ConfigurationError
from rar.values import Choice

Extract = Callable[[Request, Reply], Hashable]


@dataclass(frozen=True)
class SelfConsistency:
    """Answer by what the majority of the weak model's drafts say; without one, the strong model answers.

    Args:
        samples: How many drafts vote. One that fails, or says nothing that can be compared, counts against a majority.
        temperature: At 0 all drafts would be the same.
        extract: What a draft says: a name of `rar.answers`, or a function of the request and a draft.
    """

    samples: int = 5
    temperature: float = 0.7
    extract: str | Extract = "auto"

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ConfigurationError(f"samples={self.samples} makes no vote. Take 3 or more.")
        as_extractor(self.extract)  # an unknown name fails here and not at the first call
        Sampling(temperature=self.temperature)

    def steps(self, request: Request) -> Steps[Choice]:
        draft = Call("weak", request, purpose="draft", sampling=Sampling(temperature=self.temperature))
        outcomes = yield from ask_all([draft] * self.samples)
        extract = as_extractor(self.extract)
        said = [(extract(request, outcome), outcome) for outcome in outcomes if isinstance(outcome, Reply)]
        votes = Counter(value for value, _ in said if value is not None)
        (winner, count), *_ = votes.most_common(1) or [(None, 0)]
        share = count / self.samples
        if share <= 0.5:
            return Route("strong", reason="no_majority", confidence=share)
        return Answer(next(reply for value, reply in said if value == winner), "majority", share)
