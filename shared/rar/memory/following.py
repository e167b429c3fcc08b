"""Following a memory's log: what a read model does, and whoever reads all that a memory holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from rar.memory.base import Changes


class _Changes(Protocol):
    def __call__(self, since: int, *, began: int) -> Changes: ...


class Follower:
    """A reader's place in a log, `cursor`. Used by one thread at a time.

    Args:
        changes: The memory's `changes`.
        cursor: Up to where the reader knows the log.
    """

    def __init__(self, changes: _Changes, cursor: int = 0) -> None:
        self._changes = changes
        self.cursor = self._began = cursor

    def news(self) -> Iterator[Changes]:
        """The pages since the last call, oldest first: all that was committed before this call is in them.

        A page with `reset` empties what the reader knows; the log follows it from its beginning.
        """
        more = True
        while more:
            page = self._changes(self.cursor, began=self._began)
            if not self.cursor or page.reset:
                self._began = page.end
            self.cursor, more = page.cursor, page.more
            yield page
        self._began = self.cursor
