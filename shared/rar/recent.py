"""The last decisions of a router, for feedback on them: slim, and bounded in number and bytes."""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import replace

from rar.evidence import Evidence
from rar.forking import Lock
from rar.memory.forgetting import Gone
from rar.values import Answer, Decision, Failure, Reply, Route

MOST = 1_000
MOST_BYTES = 16 * 2**20
_LONG = 2_000  # letters of a neighbour's text from which none is kept
_SLIM = 2_000  # bytes of a decision beside its texts and vector


class Recent:
    """Keeps decisions by id, without the messages and options of their requests. Any thread may call it."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0
        self._kept: OrderedDict[str, tuple[Decision, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, decision: Decision) -> Decision:
        """Keep `decision`; returns what is kept of it."""
        decision = slim(decision)
        # Neighbours and guides are the memory's: its cache holds them anyway, but for long texts, which `slim` drops.
        vector = decision.request.embedding
        size = _SLIM + sys.getsizeof(decision.request.key) + (0 if vector is None else vector.nbytes)
        with self._lock:
            self._kept[decision.id] = decision, size
            self._bytes += size
            while len(self._kept) > self._most or (self._bytes > self._most_bytes and len(self._kept) > 1):
                self._bytes -= self._kept.popitem(last=False)[1][1]
        return decision

    def get(self, decision_id: str) -> Decision | None:
        with self._lock:
            kept = self._kept.get(decision_id)
        return kept[0] if kept else None

    def values(self) -> list[Decision]:
        """All that is kept, oldest first."""
        with self._lock:
            return [decision for decision, _ in self._kept.values()]

    def forget(self, gone: Gone) -> None:
        """Drop decisions about what was deleted."""
        with self._lock:
            for id, (decision, size) in list(self._kept.items()):
                if is_gone(gone, decision):
                    del self._kept[id]
                    self._bytes -= size


def slim(decision: Decision) -> Decision:
    """The decision with what is kept of it, or learned from a word on it."""
    choice = decision.choice
    if isinstance(choice, Answer):
        by = None if choice.by is None else _without_texts(choice.by)
        choice = replace(choice, reply=_without_text(choice.reply), draft=None, by=by)
    else:
        choice = _without_texts(choice)
    # An error holds the frames that it came through, and all that is in them.
    failed = tuple(Failure(failure.model, RuntimeError(type(failure.error).__name__)) for failure in decision.failed)
    evidence = _without_long_texts(decision.request.evidence)
    request = replace(decision.request, messages=(), options={}, evidence=evidence, kept=None)
    return replace(decision, request=request, choice=choice, failed=failed, meter=None)


def _without_texts(route: Route) -> Route:
    if not route.drafts:
        return route
    return replace(route, drafts=tuple(replace(draft, reply=_without_text(draft.reply)) for draft in route.drafts))


def _without_text(reply: Reply) -> Reply:
    return replace(reply, text="", tool_calls=(), native=None, logprobs=None)


def _without_long_texts(evidence: Evidence | None) -> Evidence | None:
    if evidence is None or all(len(match.experience.text or "") <= _LONG for match in evidence.matches):
        return evidence
    matches = [replace(match, experience=replace(match.experience, text=None)) for match in evidence.matches]
    return replace(evidence, matches=tuple(matches))


def is_gone(gone: Gone, decision: Decision) -> bool:
    evidence = decision.request.evidence
    return gone(decision.request.namespace, evidence.experience_id if evidence else None)
