"""Deletion that lasts: what was deleted is known by keyed hashes, so that nothing decided before brings it back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from rar.memory.base import Batch
from rar.memory.identity import keyed_digest
from rar.memory.kept import CachedAnswer, JudgedAnswers


@dataclass(frozen=True, slots=True)
class Gone:
    """What was deleted, as a memory keeps it: ids, and digests of namespaces."""

    secret: bytes
    keys: frozenset[str]

    def __call__(self, namespace: str, *ids: str | None) -> bool:
        """Whether this namespace, or one of these ids, was deleted."""
        return namespace_key(self.secret, namespace) in self.keys or not self.keys.isdisjoint(ids)

    def answers(self, namespace: str) -> bool:
        """Whether the answers of this namespace, or all, were deleted by themselves."""
        return not self.keys.isdisjoint((answers_key(self.secret, namespace), answers_key(self.secret, None)))

    def without(self, batch: Batch) -> Batch:
        """What is left of `batch`."""
        return replace(
            batch,
            experiences=tuple(one for one in batch.experiences if not self(one.namespace, one.id)),
            guides=tuple(one for one in batch.guides if not self(one.namespace, one.id, one.origin)),
            trials=tuple(one for one in batch.trials if self.keys.isdisjoint((one.experience_id, one.guide_id))),
            steps=tuple(one for one in batch.steps if not self(one.namespace)),
            spending=tuple(one for one in batch.spending if not self(one.namespace)),
            decisions=tuple(one for one in batch.decisions if not self(one.namespace, one.experience_id)),
            labels=tuple(one for one in batch.labels if not self(one.namespace, one.experience_id)),
            judged=tuple(one for one in batch.judged if self._keeps(one)),
            cached=tuple(one for one in batch.cached if self._keeps(one)),
            deferred=tuple(one for one in batch.deferred if self.keys.isdisjoint((one.place, one.experience_id))),
            settled=tuple(one for one in batch.settled if one.namespace is None or not self(one.namespace)),
        )

    def _keeps(self, one: JudgedAnswers | CachedAnswer) -> bool:
        return not (self(one.namespace, one.experience_id) or self.answers(one.namespace))


Forget: TypeAlias = Callable[[Gone], None]


def namespace_key(secret: bytes, namespace: str) -> str:
    """By what a deleted namespace is known, whose name may be a person's."""
    return keyed_digest(secret, f"namespace\0{namespace}")


def answers_key(secret: bytes, namespace: str | None) -> str:
    """The same of the answers of a namespace, or of all."""
    return keyed_digest(secret, "answers" if namespace is None else f"answers\0{namespace}")
