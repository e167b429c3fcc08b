"""Shares with 95 % intervals that hold for small counts too. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

Z = 1.96  # standard normal deviate of a two-sided 95 % interval


@dataclass(frozen=True, slots=True)
class Share:
    """A share from 0 to 1 of `n` observed cases, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


def wilson(count: float, n: float) -> Share | None:
    """`count` of `n`, which may be weighted (Wilson 1927, JASA 22); None of none."""
    if n == 0:
        return None
    p, z2 = count / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At the ends the formula's bound is exact, which rounding must not cross.
    low, high = 0.0 if count == 0 else max(middle - half, 0.0), 1.0 if count == n else min(middle + half, 1.0)
    return Share(p, low, high, round(n))


def mixed(parts: Iterable[tuple[float, Share | None]]) -> Share | None:
    """The share of a whole that is mixed from parts of known weight (MOVER: Zou & Donner 2008, Stat. Med. 27).

    Args:
        parts: Weights that sum to 1 at most, each with its share. What weighs nothing in the sum counts as 1; a share
            that nobody observed is taken to be like the others, and may be anything from 0 to 1.

    Returns:
        None if something weighs, and no share was observed.
    """
    known = [(weight, share) for weight, share in parts if weight > 0.0]
    seen = [(weight, share) for weight, share in known if share is not None]
    if known and not seen:
        return None
    total = sum(weight for weight, _ in seen)
    usual = sum(weight * share.value for weight, share in seen) / total if total else 1.0
    value, below, above = 1.0, 0.0, 0.0
    for weight, share in known:
        found = share or Share(usual, 0.0, 1.0, 0)
        value -= weight * (1.0 - found.value)
        below += (weight * (found.value - found.low)) ** 2
        above += (weight * (found.high - found.value)) ** 2
    n = sum(share.n for _, share in seen)
    return Share(value, max(value - math.sqrt(below), 0.0), min(value + math.sqrt(above), 1.0), n)
