"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something comes true before that time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.02)
    return False
