"""What may be used of a memory's guides: checked anew each time, since files and imports outlive checks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from rar.errors import UnknownGuideError
from rar.guide_scan import guide_flaw
from rar.memory.base import Memory
from rar.observers import Observers
from rar.values import Guide, GuideMatch

logger = logging.getLogger("rar")


@dataclass(frozen=True)
class Screen:
    """Lets through the guides that may be used, and remembers the others until they are quarantined. Any thread.

    Args:
        approved: Serve only what a person approved.
    """

    memory: Memory
    approved: bool = False
    observers: Observers = field(default_factory=Observers)
    _caught: dict[str, str] = field(default_factory=dict, init=False, repr=False)  # guide id -> why
    _written: set[str] = field(default_factory=set, init=False, repr=False)

    def servable(self, guides: Iterable[GuideMatch]) -> list[GuideMatch]:
        """Those that may be served."""
        return [entry for entry in guides if self.serves(entry.guide)]

    def serves(self, guide: Guide) -> bool:
        """Whether a guide may be served now."""
        return guide.state == "active" and (guide.approved or not self.approved) and self.passes(guide)

    def passes(self, guide: Guide) -> bool:
        """Whether a guide's text may still be used; one that may not is caught, and that is said once."""
        reason = None if guide.anyway else guide_flaw(guide.text)
        if reason is None:
            return True
        if guide.id not in self._caught:
            self._caught[guide.id] = reason
            logger.warning(
                "Guide %s is quarantined, for %s. See `rar guides show`; `rar guides approve --anyway` uses it.",
                guide.id,
                reason,
            )
            self.observers.alarm("quarantined", guide.namespace, guide.id)
        return False

    def write(self) -> None:
        """Quarantine in the memory what was caught, for the thread that learns. Never raises: it is not used anyway."""
        try:
            for id in self._caught.keys() - self._written:
                guide = self.memory.guide(id)
                if guide is not None and guide.state in ("candidate", "active") and not guide.anyway:
                    self.memory.set_guide_state(id, "quarantined")
                self._written.add(id)
        except Exception as error:
            logger.debug("Guides could not be quarantined in the memory: %s", type(error).__name__)


def quarantine(memory: Memory, ids: Collection[str], namespace: str | None) -> int:
    """Quarantine these guides, all of `namespace`; without `ids`, all that are in use or on trial there.

    Args:
        namespace: None: whichever the guides are in.

    Returns:
        How many guides were quarantined.

    Raises:
        UnknownGuideError: The namespace has no such guide. Nothing was changed.
    """
    known = {guide.id: guide for guide in memory.guides(namespace=namespace)}
    for id in ids:
        if id not in known:
            raise UnknownGuideError(id)
    chosen = ids or [id for id, guide in known.items() if guide.state in ("candidate", "active")]
    for id in chosen:
        memory.set_guide_state(id, "quarantined")
    return len(chosen)
