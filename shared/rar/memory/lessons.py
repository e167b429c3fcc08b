"""A lesson on its way to a worker, as a memory keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PackedLesson:
    """A lesson that any process with the right models can study (`rar.learning.packing`).

    Args:
        effect: Names what will be written of it (`Batch.effect`).
        about: A digest of request, arm, reference and stage: of those that are equal one waits at a time, and one is
            studied at a time.
        place: A digest of its namespace, by which it is deleted with it.
        source: The framework whose models it takes; empty if any will do.
        text: All of it.
    """

    effect: str
    about: str
    decision_id: str
    experience_id: str
    place: str
    source: str
    text: str = field(repr=False)
