"""Cascade: ask from cheap to dear, keep the first draft that is accepted (FrugalGPT, arXiv 2305.05176, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from rar.errors import ConfigurationError
from rar.naming import fields_repr, shown
from rar.options import SHARE, check_names, named_arguments
from rar.strategy import Steps, ask_all
from rar.values import STRONG, WEAK, Answer, Call, Choice, Reply, Request, Route


@named_arguments
@dataclass(frozen=True)
class Cascade:
    """Ask `models` in turn. The last one is routed to, not asked, so its answer can stream.

    A draft that raised, or is empty, is not accepted. Rejected drafts are never shown to the user.

    Args:
        accept: Told the request and a draft, says whether it is good enough: a bool, or a score from 0 to 1 that
            `threshold` is held against. It may itself be written as steps that ask a model.
    """

    accept: Callable[[Request, Reply], float | Steps[float]]
    models: Sequence[str] = (WEAK, STRONG)
    threshold: float = 0.5

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        check_names("models", self.models)
        SHARE("threshold", self.threshold)
        if not callable(self.accept):
            raise ConfigurationError(
                f"accept={shown(self.accept)} is no function. Pass one of a request and a draft: is it good enough?"
            )
        if len(self.models) < 2:
            raise ConfigurationError(f"A cascade needs at least two models, got {list(self.models)}.")

    def steps(self, request: Request) -> Steps[Choice]:
        *drafters, last = self.models
        for model in drafters:
            (draft,) = yield from ask_all([Call(model, request)])
            if isinstance(draft, Reply) and not draft.empty:
                score = self.accept(request, draft)
                if isinstance(score, Generator):
                    score = yield from score
                if score >= self.threshold:
                    return Answer(draft, "draft_accepted", float(score))
        return Route(last, reason="drafts_rejected")
