"""Judges: does a weak answer agree with the strong one? (H-judges: filled in below)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rar.strategy import Steps
from rar.values import Reply, Request


@dataclass(frozen=True, slots=True)
class Verdict:
    """`agrees` is None where the judge cannot tell; then nothing is learned."""

    agrees: bool | None
    judge: str
    why: str = ""


@runtime_checkable
class Judge(Protocol):
    """Says whether `candidate` agrees with `reference`; asks models only through `ask` (purpose `"judge"`)."""

    @property
    def name(self) -> str: ...

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]: ...
