"""Static routing: a score of the text against a threshold (RouteLLM, arXiv 2406.18665, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

from rar.errors import ConfigurationError
from rar.routers.base import StaticRouter
from rar.strategy import Steps
from rar.values import STRONG, WEAK, Choice, Request, Route, as_text


@dataclass(frozen=True)
class Threshold:
    """Send a request to the strong model where the static router's chance that it is needed is at least `threshold`."""

    router: StaticRouter
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ConfigurationError(f"threshold={self.threshold!r} is not between 0 and 1.")

    def steps(self, request: Request) -> Steps[Choice]:
        score = float(self.router.score([request.key or as_text(request.messages)])[0])
        if score >= self.threshold:
            return Route(STRONG, reason="static_strong", confidence=1.0 - score)
        return Route(WEAK, reason="static_weak", confidence=1.0 - score)
        yield []  # makes this a generator: it needs no call to decide
