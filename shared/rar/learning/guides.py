"""Guides: when one is trusted, how one is asked for, and what may not be in one. Pure functions."""

from __future__ import annotations

from rar.values import GuideState

PROMOTE_AT = 2  # helpful trials that make a candidate active: its own request's, and one more
RETIRE_AT = 3  # harmful trials without which no guide is retired


def next_state(state: GuideState, helpful: int, harmful: int) -> GuideState:
    """The state after trials have been counted.

    A candidate becomes active once it helped `PROMOTE_AT` times and more often than it did harm. A candidate or active
    guide is retired once it did harm `RETIRE_AT` times and helped in less than two thirds of its trials. A retired or
    quarantined guide stays what it is.
    """
    if state not in ("candidate", "active"):
        return state
    if harmful >= RETIRE_AT and 2 * harmful > helpful:
        return "retired"
    return "active" if state == "active" or (helpful >= PROMOTE_AT and helpful > harmful) else "candidate"
