"""What learning by several processes takes: a lesson on its way to a worker, and what is done once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PackedLesson:
    """A lesson that any process with the right models can study (the learning side packs it).

    Args:
        effect: Names what will be written of it (`Batch.effect`).
        about: A digest of request, arm, reference and stage: of those that are equal one is studied at a time.
        alone: Of those that are equal in it one waits at a time.
        place: A digest of its namespace, by which it is deleted with it.
        source: The framework whose models it takes; empty if any will do.
        text: All of it.
    """

    effect: str
    about: str
    alone: str
    decision_id: str
    experience_id: str
    place: str
    source: str
    text: str = field(repr=False)


class Once(Protocol):
    """The part of a memory by which its processes learn each thing once."""

    def applied(self, effect: str) -> bool:
        """Whether a batch with this effect was written, as far back as the last 1,000,000 of them."""
        ...

    def claim(self, key: str, owner: str, seconds: float) -> bool:
        """Take `key` for `owner`, for so long at most; whether no other owner of any process has it.

        An owner who has it already has it anew.
        """
        ...

    def release(self, key: str, owner: str) -> None:
        """Give back what `owner` has claimed, if it still has it."""
        ...
