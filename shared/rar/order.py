"""Whether weak and strong were perhaps given the wrong way round: by their prices, and by what they scored."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rar.ledger import Prices
from rar.values import STRONG, WEAK

_INPUT_TOKENS = 3.0  # to one of output: about what questions with their context and answers have
_SURE = 2.0  # standard errors of the mean difference


def by_price(prices: Prices, weak_id: str, strong_id: str) -> str | None:
    """A warning where the weak model costs more than the strong one; None where it does not, or nobody knows."""
    weak, strong = prices.of(WEAK, weak_id), prices.of(STRONG, strong_id)
    if weak is None or strong is None or _usual(weak) <= _usual(strong):
        return None
    return (
        f"The weak model {weak_id!r} costs more (USD {weak[0]:g} and {weak[1]:g} per million input and output tokens) "
        f"than the strong one, {strong_id!r} (USD {strong[0]:g} and {strong[1]:g}), so that routing saves nothing. "
        "Exchange them, or correct `prices=`."
    )


def by_score(scores: npt.NDArray[np.float64], weak: str, strong: str) -> str | None:
    """A warning where the weak model scored better by more than chance; None where it did not.

    Args:
        scores: Of the weak and the strong model on the same texts, shape `(n, 2)`; rows with NaN are left out.
    """
    known = scores[np.isfinite(scores).all(1)]
    if len(known) < 2:
        return None
    ahead = known[:, 0] - known[:, 1]
    error = float(ahead.std(ddof=1)) / math.sqrt(len(known))
    if float(ahead.mean()) <= _SURE * error:
        return None
    low, high = known.mean(0)[::-1]
    return (
        f"The weak model {weak!r} scores better ({high:.3f}) than the strong one, {strong!r} ({low:.3f}), on these "
        f"{len(known)} rows. Are they exchanged? If not, the weak model alone is cheaper and better."
    )


def _usual(price: tuple[float, float]) -> float:
    return _INPUT_TOKENS * price[0] + price[1]
