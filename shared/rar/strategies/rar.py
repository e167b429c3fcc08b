"""The default strategy: follow the memory (RAR, arXiv 2411.09837)."""

from __future__ import annotations

from dataclasses import dataclass, field

from rar.learning.policy import FloorPolicy, Policy
from rar.strategy import Steps
from rar.values import STRONG, Choice, Request, Route


@dataclass(frozen=True)
class RAR:
    """Let `policy` decide from what memory recalled; without evidence the strong model answers."""

    policy: Policy = field(default_factory=FloorPolicy)

    def steps(self, request: Request) -> Steps[Choice]:
        if request.evidence is None:
            return Route(STRONG, reason="no_evidence")
        return self.policy.choose(request.evidence)
        yield []  # makes this a generator: it needs no call to decide
