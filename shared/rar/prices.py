"""What tokens cost: by what the user gave, else by what providers publish."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from rar.errors import ConfigurationError
from rar.forking import LOADING
from rar.naming import shown
from rar.values import Usage

Price: TypeAlias = tuple[float, float]  # USD per million input and output tokens


class Prices:
    """USD of a call: what the user gave (by model id or by role), else `genai-prices` where it knows the model.

    Args:
        given: `{"gpt-4o": (2.5, 10.0)}` or `{"weak": …, "strong": …}`: USD per million input and output tokens.
    """

    def __init__(self, given: Mapping[str, Sequence[float]] | None = None) -> None:
        self._given: Mapping[str, Price] = {}
        self.update(given or {})

    def update(self, given: Mapping[str, Sequence[float]]) -> None:
        """Set prices, by model id or role, from now on. Any thread may call it; others stay as they are.

        Raises:
            ConfigurationError: One is no pair of numbers of at least 0. Nothing was changed.
        """
        prices = dict(self._given)
        for name, price in given.items():
            try:
                into, out = (float(usd) for usd in price)
            except (TypeError, ValueError):
                raise ConfigurationError(
                    f"prices[{shown(name)}]={shown(price)} is no pair. Give USD per million input and output tokens: "
                    "(0.15, 0.6)."
                ) from None
            if isinstance(price, (str, bytes)) or not (0.0 <= into < math.inf and 0.0 <= out < math.inf):
                raise ConfigurationError(
                    f"prices[{shown(name)}]={shown(price)} is negative or not a number. Give USD per million input and "
                    "output tokens: (0.15, 0.6)."
                )
            prices[name] = (into, out)
        self._given = prices

    def of(self, role: str, model_id: str) -> Price | None:
        """USD per million input and output tokens; None if unknown."""
        given = self._given.get(model_id) or self._given.get(role)
        public = None if given else _public_price(model_id)
        return public[:2] if public else given

    def usd(self, role: str, model_id: str, usage: Usage) -> float | None:
        """What a call cost; None if its price is unknown. Cached tokens have a public price of their own, if any."""
        given = self._given.get(model_id) or self._given.get(role)
        if given is not None:
            return cost_of(given, usage.input_tokens, usage.output_tokens)
        public = _public_price(model_id)
        if public is None:
            return None
        cached = min(usage.cached_tokens, usage.input_tokens)
        return cost_of(public[:2], usage.input_tokens - cached, usage.output_tokens) + public[2] * cached / 1e6


def cost_of(price: Price, input_tokens: int, output_tokens: int) -> float:
    """USD of so many tokens."""
    return (price[0] * input_tokens + price[1] * output_tokens) / 1e6


@lru_cache(maxsize=1_000)
def _public_price(model_id: str) -> tuple[float, float, float] | None:
    """USD per million input, output and cached input tokens; None where nobody published them."""
    if not model_id:
        return None
    with LOADING:
        from genai_prices import Usage as PricedUsage
        from genai_prices import calc_price

        # Real prices may have tiers: a call of ordinary size stands for all.
        calls = (
            PricedUsage(input_tokens=1_000, output_tokens=0),
            PricedUsage(input_tokens=0, output_tokens=1_000),
            PricedUsage(input_tokens=1_000, cache_read_tokens=1_000, output_tokens=0),
        )
        try:
            into, out, cached = (float(calc_price(call, model_ref=model_id).total_price) * 1e3 for call in calls)
        except LookupError:
            return None
    return into, out, cached
