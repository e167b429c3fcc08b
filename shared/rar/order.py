"""The order of models by what a call of each is expected to cost, and whether two were given the wrong way round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rar.accounts import WEAK_SHARE
from rar.evidence import Standing
from rar.ledger import Ledger
from rar.prices import Prices
from rar.values import STRONG, WEAK

_INPUT_TOKENS = 3.0  # to one of output: about what questions with their context and answers have
_SETTLED_FOR = 20  # calls after which the order is looked at again
_MOST_KEYS = 1_000  # namespaces whose order is kept
_SURE = 2.0  # standard errors of the mean difference


@dataclass
class CostOrder:
    """Orders a router's models by the expected cost of a call. Any thread may call it.

    Args:
        ledger: Knows what calls cost so far, and the prices.
    """

    ledger: Ledger
    _known: dict[tuple[object, ...], tuple[int, tuple[Standing, ...]]] = field(default_factory=dict, repr=False)

    def __call__(self, namespace: str, ids: Mapping[str, str]) -> tuple[Standing, ...]:
        """The models that save something against the strong one, the cheapest first, the weak one in any case.

        Where a price is not known, the order given counts: each model costs the same multiple of the one before.

        Args:
            ids: The models' own ids by name, the strong one among them, from weak to strong as given.
        """
        key = (namespace, *ids.items())
        at, found = self._known.get(key, (-_SETTLED_FOR, ()))
        # Calls differ more than their means move in so many.
        if not 0 <= self.ledger.calls - at < _SETTLED_FOR:
            found = standings(self._costs(namespace, ids), ids)
            if len(self._known) >= _MOST_KEYS:
                self._known.clear()
            self._known[key] = self.ledger.calls, found
        return found

    def _costs(self, namespace: str, ids: Mapping[str, str]) -> dict[str, float]:
        known = {name: self.ledger.expected_usd(namespace, name, id) for name, id in ids.items()}
        costs = {name: usd for name, usd in known.items() if usd is not None}
        if len(costs) < len(ids):
            others = [name for name in ids if name not in (WEAK, STRONG)]
            names = [WEAK, *others, STRONG]
            return {name: WEAK_SHARE ** (1.0 - at / (len(names) - 1)) for at, name in enumerate(names)}
        return costs


def standings(costs: Mapping[str, float], ids: Mapping[str, str]) -> tuple[Standing, ...]:
    """The models that save something against the strong one, the cheapest first; the weak one in any case.

    Args:
        costs: By name, of a call, in any unit.
    """
    names = sorted((name for name in costs if name != STRONG), key=lambda name: costs[name])
    names = [name for name in names if name == WEAK or costs[name] <= costs[STRONG]]
    least = min(costs[name] for name in names)
    span = costs[STRONG] - least
    whole = costs[STRONG]
    return tuple(
        Standing(
            name,
            ids[name],
            min(max((costs[name] - least) / span, 0.0), 1.0) if span > 0.0 else 0.0,
            price=costs[name] / whole if whole > 0.0 else 0.0,
        )
        for name in names
    )


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
