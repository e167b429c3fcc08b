"""Answers that may be given again, as a strategy finds them in its router's memory and has them kept there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from rar.forking import Lock
from rar.memory.base import Batch, CachedAnswer, Memory
from rar.memory.forgetting import Gone
from rar.memory.identity import keyed_digest
from rar.values import Request

_FRESH = 1_000  # answers that are held until they are surely written


class KeptAnswers:
    """The cached answers of one memory. Any thread may call it.

    What is kept is written before long, and found at once in this process. Keys are hashed with the memory's secret.

    Args:
        remember: Has a batch written before long; None: nothing may be written.
        clean: Redacts a text. An answer that this would change is not kept, for nobody may be given half of one.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        memory: Memory,
        remember: Callable[[Batch], None] | None,
        clean: Callable[[str], str | None] | None,
        clock: Callable[[], float],
    ) -> None:
        self._memory, self._remember, self._clean, self.clock = memory, remember, clean, clock
        self._fresh: OrderedDict[tuple[str, str], CachedAnswer] = OrderedDict()
        self._lock = Lock()

    def key(self, text: str) -> str:
        return keyed_digest(self._memory.secret, text)

    def find(self, namespace: str, key: str) -> CachedAnswer | None:
        """The answer under a key, unless its time is over."""
        found = self._memory.cached_answer(namespace, key)  # first: that tells of deletions elsewhere
        with self._lock:
            found = found or self._fresh.get((namespace, key))
        return found if found is not None and self._lasts(found) else None

    def near(self, namespace: str, kind: str, experience_ids: Sequence[str]) -> list[CachedAnswer]:
        """The answers of a kind to these experiences, in the experiences' order."""
        found = [one for one in self._memory.cached_near(namespace, kind, experience_ids) if self._lasts(one)]
        return sorted(found, key=lambda one: experience_ids.index(one.experience_id))

    def keep(self, answer: CachedAnswer, epoch: int | None) -> bool:
        """Have an answer kept; whether it may be.

        Args:
            epoch: The memory's when the answer was decided.
        """
        if self._remember is None or (self._clean is not None and self._clean(answer.text) != answer.text):
            return False
        with self._lock:
            self._fresh[answer.namespace, answer.key] = answer
            self._fresh.move_to_end((answer.namespace, answer.key))
            while len(self._fresh) > _FRESH:
                self._fresh.popitem(last=False)
        self._remember(Batch(cached=(answer,), epoch=epoch))
        return True

    def forget(self, gone: Gone) -> None:
        """Let go of what was deleted."""
        with self._lock:
            for key, one in list(self._fresh.items()):
                if gone(one.namespace, one.experience_id) or gone.answers(one.namespace):
                    del self._fresh[key]

    def _lasts(self, answer: CachedAnswer) -> bool:
        return answer.until is None or answer.until > self.clock()


@runtime_checkable
class LooksUp(Protocol):
    """A strategy that looks among kept answers before it decides, where its router has a memory that may hold texts."""

    def look_up(self, request: Request, kept: KeptAnswers, /) -> Any:
        """What `steps` and `served` then find as `request.kept`. It may wait; what it raises is logged."""
        ...
