"""What must be made anew in a forked child: threads are gone there, and a lock may have been held by one of them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable


def in_forked_child(method: Callable[[], None]) -> None:
    """Call the bound `method` in every child forked while its object lives; nothing where the system cannot fork."""
    alive = weakref.WeakMethod(method)

    def call() -> None:
        bound = alive()
        if bound is not None:
            bound()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)
