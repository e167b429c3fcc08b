"""Tool loops: all calls of one user turn stay with the model and the guide of its first call."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

from rar.values import Message, Route


def turn_of(messages: Sequence[Message], namespace: str) -> str | None:
    """A fingerprint of the conversation up to the user's last message; None where no user speaks.

    LlamaIndex has no place on a message for a decision, so that a loop is known by how it began.
    """
    last = max((i for i, message in enumerate(messages) if message.role == "user"), default=None)
    if last is None:
        return None
    digest = hashlib.blake2b(namespace.encode("utf-8", "surrogatepass"), digest_size=16)
    for message in messages[: last + 1]:
        digest.update(f"\0{message.role}\0{message.text}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def continues(messages: Sequence[Message]) -> bool:
    """Whether the last message is a tool's result, so that the call goes on with a turn that began before."""
    return bool(messages) and messages[-1].role == "tool"


class Turns:
    """The routes of the most recent turns. May be used by any thread."""

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._routes: OrderedDict[str, Route] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, turn: str) -> Route | None:
        with self._lock:
            if turn in self._routes:
                self._routes.move_to_end(turn)
            return self._routes.get(turn)

    def put(self, turn: str, route: Route) -> None:
        with self._lock:
            self._routes[turn] = route
            self._routes.move_to_end(turn)
            if len(self._routes) > self._limit:
                self._routes.popitem(last=False)
