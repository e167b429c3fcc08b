"""Best of many: a ranking router names the one of several models that answers (Zooter, arXiv 2311.08692, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rar.errors import ConfigurationError, NotFittedError, ScoreError, UnknownModelError
from rar.naming import fields_repr, shown
from rar.options import check_names, named_arguments
from rar.routers.base import EmbeddingRouter, RankingRouter, loading
from rar.strategy import Steps
from rar.values import Choice, Request, Route, as_text


@named_arguments
@dataclass(frozen=True)
class BestOf:
    """Route each request to the model that `router` prefers, weighed against costs where it has `choose`.

    Further models than the weak and the strong one are given by name: `Router(..., models={"coder": model})`. If the
    chosen one fails, the strong model answers.

    Args:
        models: The names of the router's models, `"weak"` and `"strong"` among them if they take part; or these by the
            names under which `router` was fitted to them.
        router: A fitted ranking router of these models and no others.

    Raises:
        ConfigurationError: `router` was not fitted to one of `models`.
        UnknownModelError: `router` may choose a model that is not among `models`.
    """

    models: Sequence[str] | Mapping[str, str]
    router: RankingRouter

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        check_names("models", self.models)
        if not isinstance(self.router, RankingRouter):
            raise ConfigurationError(
                f"router={shown(self.router)} cannot rank models. Pass a fitted RankingRouter, such as "
                f"RewardDistilledRouter{loading(self.router)}."
            )
        if not self.router.models:
            raise NotFittedError(type(self.router).__name__)
        names = self._names
        known = list(self.router.models)
        unranked = sorted(names.keys() - set(known))
        if unranked:
            mapping = ", ".join(f"{model!r}: ..." for model in known)
            raise ConfigurationError(
                f"The ranking router was not fitted to {unranked}, only to {known}. If these are models of yours under "
                f"other names, map its names to yours: BestOf({{{mapping}}}, router)."
            )
        for model in self.router.models:
            if model not in names:
                raise UnknownModelError(model, names.keys())

    @property
    def _names(self) -> Mapping[str, str]:
        return self.models if isinstance(self.models, Mapping) else {name: name for name in self.models}

    def steps(self, request: Request) -> Steps[Choice]:
        texts = [request.key or as_text(request.messages)]
        vectors = self.router.embedder.embed(texts) if isinstance(self.router, EmbeddingRouter) else None
        scores = self.router.scores(texts, vectors)[0]
        if np.isnan(scores).any():
            raise ScoreError(shown(self.router))  # the strong model answers
        chances = dict(zip(self.router.models, scores, strict=True))
        choose = getattr(self.router, "choose", None)
        best = max(chances, key=chances.__getitem__) if choose is None else choose(texts, vectors)[0]
        return Route(self._names[best], reason="best_of", confidence=float(chances[best]))
        yield []  # makes this a generator: it needs no call to decide
