"""A completion cache: the same request is answered once (FrugalGPT, arXiv 2305.05176, section 3)."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rar.errors import ConfigurationError
from rar.keys import has_form
from rar.naming import shown
from rar.options import COUNT, Number, named_arguments
from rar.sameness import signature
from rar.strategies.rar import RAR
from rar.strategy import HearsServed, Steps, Strategy
from rar.values import Answer, Choice, Decision, Reply, Request, Route

_TTL = Number(above=True, optional=True)
_NOT_CHOSEN = {"forced", "sticky", "closed", "no_messages", "over_limit", "cached"}


@dataclass(frozen=True, slots=True)
class _Kept:
    reply: Reply
    until: float | None


@named_arguments
class Cached:
    """Answer a request that was answered before, and else as `inner` decides. Kept in this process alone.

    Two requests are the same if the signatures of all their messages are (`rar.sameness`: other spelling of the same
    words), and namespace, task, attachments, arguments and the model that the caller wants. Similar ones are not.

    Kept are whole answers in text to one question, with or without a system message: no tool calls, no objects, no
    conversations, nothing that was cut short, nothing of calls with `learn=False`, and no answer of a stand-in. Any
    thread may use it, and several routers may share it.

    Args:
        inner: The strategy that answers what is not kept, or a model's name; None: RAR.
        ttl: Seconds that an answer is kept; None: as long as there is room.
        max_entries: Answers that are kept. The ones that were used longest ago go first.
        clock: In seconds; for tests.
    """

    def __init__(
        self,
        inner: str | Strategy | None = None,
        ttl: float | None = None,
        max_entries: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        inner = RAR() if inner is None else inner
        if not isinstance(inner, (str, Strategy)) or isinstance(inner, type):
            raise ConfigurationError(f"inner={shown(inner)} is neither a model's name nor a strategy.")
        _TTL("ttl", ttl)
        COUNT("max_entries", max_entries)
        self.inner, self.ttl, self.max_entries, self._clock = inner, ttl, max_entries, clock
        self.hits = self.misses = 0
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()  # by namespace and key
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Cached({shown(self.inner)}, ttl={self.ttl}, max_entries={self.max_entries})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Cached:
        return self  # a copied chain goes on sharing the answers

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.inner, self.ttl, self.max_entries, self._clock)  # answers stay in their process

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def models(self) -> Sequence[str]:
        """Those of `inner`, as far as they are known."""
        return (self.inner,) if isinstance(self.inner, str) else tuple(getattr(self.inner, "models", ()))

    def steps(self, request: Request) -> Steps[Choice]:
        key = key_of(request)
        if key is not None and (found := self._find((request.namespace, key))) is not None:
            return Answer(found, "cached")
        if isinstance(self.inner, str):
            return Route(self.inner, reason="not_cached")
        return (yield from self.inner.steps(request))

    def served(self, decision: Decision, reply: Reply) -> None:
        """Keep what was served, if it is to be kept."""
        request, reason = decision.request, decision.choice.reason
        if isinstance(self.inner, HearsServed):
            self.inner.served(decision, reply)
        if not request.learn or decision.failed or reason in _NOT_CHOSEN or reason.endswith("_failed"):
            return
        if reply.tool_calls or not reply.text.strip() or reply.finish not in ("", "stop"):
            return
        key = key_of(request)
        if key is not None:
            self._keep((request.namespace, key), Reply(reply.model, reply.text, model_id=reply.model_id, cached=True))

    def forget(self, namespace: str | None = None) -> int:
        """Drop all answers, or those of a namespace, and return how many."""
        with self._lock:
            gone = [key for key in self._kept if namespace is None or key[0] == namespace]
            for key in gone:
                del self._kept[key]
        return len(gone)

    def _find(self, key: tuple[str, str]) -> Reply | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.until is not None and kept.until <= self._clock():
                del self._kept[key]
                kept = None
            if kept is None:
                self.misses += 1
                return None
            self.hits += 1
            self._kept.move_to_end(key)
            return kept.reply

    def _keep(self, key: tuple[str, str], reply: Reply) -> None:
        until = None if self.ttl is None else self._clock() + self.ttl
        with self._lock:
            self._kept[key] = _Kept(reply, until)
            self._kept.move_to_end(key)
            while len(self._kept) > self.max_entries:
                self._kept.popitem(last=False)


def key_of(request: Request) -> str | None:
    """What makes a request this one; None for those whose answers are not kept."""
    *before, last = request.messages
    if last.role != "user" or any(message.role != "system" for message in before) or has_form(request.task):
        return None
    if request.key is None:  # what is attached to it is not known
        return None
    attached = "" if request.context is None else request.context.label(b"")
    said = [f"{message.role}:{signature(message.text)}{signature(message.suffix)}" for message in request.messages]
    whole = "\x1e".join([request.task, request.arguments, request.force or "", attached, *said])
    return hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
