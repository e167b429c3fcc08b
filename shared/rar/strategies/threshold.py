"""Static routing: a score of the text against a threshold (RouteLLM, arXiv 2406.18665, section 2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from rar.errors import ConfigurationError
from rar.naming import fields_repr
from rar.options import SHARE, named_arguments
from rar.routers.base import LearnedRouter, StaticRouter, as_static_router
from rar.strategy import Steps
from rar.values import STRONG, WEAK, Choice, Request, Route, as_text

_EVEN = 0.5  # the strong answer is as likely to be the better one as not


@named_arguments
@dataclass(frozen=True)
class Threshold:
    """Send a request to the strong model where the static router's chance that it is needed is at least `threshold`.

    A score that is not a number sends it there too.

    Args:
        router: A static router, fitted if it learns, or a function from a text to that chance.
        threshold: In [0, 1]; None: the one that the router was calibrated with, else 0.5.

    Raises:
        ConfigurationError: The router was calibrated for another pair of models than its score compares.
        NotFittedError: The router was not fitted.
    """

    router: StaticRouter | Callable[[str], float]
    threshold: float | None = None
    _static: StaticRouter = field(init=False, repr=False, compare=False)
    _least: float = field(init=False, repr=False, compare=False)  # score that goes to the strong model

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        if self.threshold is not None:
            SHARE("threshold", self.threshold)
        static = as_static_router(self.router, "router")
        if static is None:
            raise ConfigurationError("router=None decides nothing. Pass a static router.")
        own = static.threshold if isinstance(static, LearnedRouter) and self.threshold is None else self.threshold
        object.__setattr__(self, "threshold", _EVEN if own is None else own)
        object.__setattr__(self, "_least", self.threshold)
        object.__setattr__(self, "_static", static)

    def steps(self, request: Request) -> Steps[Choice]:
        score = float(self._static.score([request.key or as_text(request.messages)])[0])
        confidence = None if math.isnan(score) else 1.0 - score
        if score < self._least:
            return Route(WEAK, reason="static_weak", confidence=confidence)
        return Route(STRONG, reason="static_strong", confidence=confidence)
        yield []  # makes this a generator: it needs no call to decide
