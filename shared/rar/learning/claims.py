"""A request that this process learns from, and no other at the same time."""

from __future__ import annotations

import logging

from rar.identifiers import new_id
from rar.memory.base import Memory
from rar.memory.identity import keyed_digest
from rar.naming import cause
from rar.values import Decision

LEASE = 900.0  # seconds: longer than a lesson takes, so that what a dead process claimed is free again after that

logger = logging.getLogger("rar")


class Claim:
    """A request in its context of use, taken when a lesson is about to try models on it. Use as a context manager.

    Trouble of the memory's, and a memory that cannot be shared, leave the lesson to go on.

    Args:
        owner: Who takes it: a lesson that comes again has what the process took that died of it. None: a new one.
    """

    def __init__(self, memory: Memory, decision: Decision, owner: str | None = None) -> None:
        evidence = decision.request.evidence
        about = ("", "") if evidence is None else (evidence.experience_id, evidence.context)
        self._memory, self._taken = memory, False
        self._key = keyed_digest(memory.secret, "\0".join(("claim", decision.request.namespace, *about)))
        self._owner = new_id() if owner is None else owner

    def __call__(self) -> bool:
        """Take it; whether no other process has it."""
        take = getattr(self._memory, "claim", None)
        if take is None:
            return True
        try:
            self._taken = bool(take(self._key, self._owner, LEASE))
        except Exception as error:
            logger.debug("A request could not be claimed. %s", cause(error))
            return True
        return self._taken

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken:
            self._taken = False
            try:
                self._memory.release(self._key, self._owner)
            except Exception as error:
                logger.debug("A request could not be given back; others wait for it. %s", cause(error))
