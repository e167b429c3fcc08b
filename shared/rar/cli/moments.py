"""Points in time as one writes them on a command line. Pure."""

from __future__ import annotations

import re
from datetime import datetime

from rar.errors import ConfigurationError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def moment(option: str, written: str | None, now: float) -> float | None:
    """Seconds since the epoch; None of None.

    Args:
        option: Whose value it is, for the message of an error.
        written: An age (`30m`, `2h`, `7d`, `1w`), or a date in local time (`2026-11-01`, `2026-11-01T12:30`).

    Raises:
        ConfigurationError: It is neither.
    """
    if written is None:
        return None
    age = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", written.strip())
    if age is not None:
        return now - float(age[1]) * _SECONDS[age[2]]
    try:
        return datetime.fromisoformat(written.strip()).timestamp()
    except ValueError:
        raise ConfigurationError(f"{option} {written!r} is no time. Write for example 7d, 2h or 2026-11-01.") from None
