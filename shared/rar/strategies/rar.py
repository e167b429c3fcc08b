"""The default strategy: follow the memory (RAR, arXiv 2411.09837)."""

from __future__ import annotations

from dataclasses import dataclass, field

from rar.errors import ConfigurationError
from rar.learning.policy import FloorPolicy, Policy
from rar.naming import fields_repr, shown
from rar.options import named_arguments
from rar.strategy import Steps
from rar.values import STRONG, Choice, Request, Route


@named_arguments
@dataclass(frozen=True)
class RAR:
    """Let `policy` decide from what memory recalled; without evidence the strong model answers."""

    policy: Policy = field(default_factory=FloorPolicy)

    __repr__ = fields_repr

    @property
    def keeps_floor(self) -> bool:
        return True

    def __post_init__(self) -> None:
        if not isinstance(self.policy, Policy) or isinstance(self.policy, type):
            raise ConfigurationError(
                f"policy={shown(self.policy)} is no policy. Pass an object, such as `FloorPolicy(quality=0.95)`."
            )

    def steps(self, request: Request) -> Steps[Choice]:
        if request.evidence is None:
            return Route(STRONG, reason="no_evidence")
        return self.policy.choose(request.evidence)
        yield []  # makes this a generator: it needs no call to decide
