"""Prices as options of commands."""

from __future__ import annotations

from collections.abc import Sequence

from rar.errors import ConfigurationError
from rar.prices import Prices


def _price(option: str) -> tuple[str, tuple[float, float]]:
    name, _, price = option.rpartition("=")
    try:
        into, out = (float(usd) for usd in price.split("/"))
    except ValueError:
        raise ConfigurationError(f"--price {option!r} is not NAME=IN/OUT, for example strong=2/8.") from None
    return name, (into, out)


def prices_of(options: Sequence[str] | None) -> Prices:
    """Prices of `--price NAME=IN/OUT` options.

    Raises:
        ConfigurationError: One has another form.
    """
    return Prices(dict(map(_price, options or ())))
