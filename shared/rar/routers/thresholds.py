"""Thresholds of a router's score that do what is asked on some texts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from rar.errors import TrainingDataError
from rar.linear import Array
from rar.outcomes import Outcomes

Places: TypeAlias = npt.NDArray[np.intp]

_ROUNDING = 1e-12  # of sums of scores, as a share of the number of texts


@dataclass(frozen=True)
class Calibration:
    """A threshold that was chosen for a router, and on what.

    Args:
        threshold: Texts of this score or more go to the strong model, in [0, 1].
        models: The weak and the strong model that the score compared.
        asked: What was asked for: `{"strong_share": 0.3}` or `{"max_drop": 0.05}`.
        strong_share: Which share of the texts went to the strong model.
        rows: How many texts there were.
        data: Where they came from.
    """

    threshold: float
    models: tuple[str, str]
    asked: Mapping[str, float]
    strong_share: float
    rows: int
    data: str

    @classmethod
    def of(cls, facts: Mapping[str, Any] | None) -> Self | None:
        """What `as_dict` gave, as it comes from a file."""
        return None if facts is None else cls(**{**facts, "models": tuple(facts["models"])})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def for_share(scores: Array, share: float) -> float:
    """The threshold that sends the most texts to the strong model, but no more than `share` of them."""
    steps, strong_calls, _ = _steps(scores)
    fits = strong_calls <= (share + _ROUNDING) * len(scores)
    return float(steps[fits][-1]) if fits.any() else 1.0


def for_drop(scores: Array, outcomes: Outcomes, drop: float) -> float:
    """The threshold with the fewest strong calls that loses at most `drop` of the strong model's mean score."""
    weak, strong = outcomes.scores.T
    if strong.mean() < 0.0:
        raise TrainingDataError(
            f"{outcomes.name}: the strong model's mean score is {strong.mean():g}, of which no share can be kept. "
            "Give strong_share, or add a constant to all scores so that none is below 0."
        )
    steps, strong_calls, order = _steps(scores)
    gained = np.r_[0.0, np.cumsum(outcomes.gap[order[::-1]])][strong_calls] / len(scores)
    return float(steps[weak.mean() + gained >= (1.0 - drop) * strong.mean() - _ROUNDING][0])


def _steps(scores: Array) -> tuple[Array, Places, Places]:
    """Thresholds from "hardly any to the strong model" to "all", the strong calls of each, and the order of scores."""
    steps = np.r_[1.0, _between(np.unique(scores))[::-1], 0.0]
    order = np.argsort(scores)
    return steps, np.asarray(len(scores) - np.searchsorted(scores[order], steps), np.intp), order


def _between(ascending: Array) -> Array:
    """The middle of each two neighbours: a text that scores a hair less than one of them stays on its side."""
    low, high = ascending[:-1], ascending[1:]
    middle = low + (high - low) / 2.0
    return np.asarray(np.where(middle > low, middle, high), np.float64)  # of neighbouring floats it is one of them
