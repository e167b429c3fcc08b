"""What a replay reached and what it cost, at one floor; and the same beside it without guides. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rar.evaluation import metrics
from rar.evaluation.metrics import Interval, bootstrap
from rar.evaluation.runs import Online

KEPT_WITHIN = 0.005  # of the floor: what chance may take from a second half


@dataclass(frozen=True)
class Window:
    """A part of a stream, from question `first` to `last` of a shuffle, each from 1.

    Args:
        quality: With an interval that holds for all windows of all shuffles together.
        kept: Whether the floor lies within the interval, or below it.
    """

    shuffle: int
    first: int
    last: int
    quality: Interval
    kept: bool

    @classmethod
    def worst(cls, result: Online) -> Window:
        """The window whose interval ends lowest."""
        length = metrics.window_of(len(result.table))
        values = np.array([run.scores for run in result.runs]), np.array([run.table.strong for run in result.runs])
        run, end, quality = metrics.worst_window(*values, length)
        return cls(run + 1, end - length + 1, end, quality, quality.high >= result.quality)


@dataclass(frozen=True)
class Guides:
    """What guides were used for, and what the same replay made without them.

    Args:
        written: Mean of the shuffles.
        own: Share of questions that were served by a guide of their group; `other`: by another group's.
        realised, saved, net_saved, worst_window, floor_kept: Without guides; else as in `OnlineSummary`.
    """

    written: float
    own: float
    other: float
    realised: Interval
    saved: Interval
    net_saved: Interval
    worst_window: Window
    floor_kept: bool

    @classmethod
    def of(cls, result: Online, unguided: Online, samples: int) -> Guides:
        guidance = np.concatenate([run.guidance for run in result.runs])
        realised, saved, cost = points_of(unguided, samples)
        window = Window.worst(unguided)
        return cls(
            written=float(np.mean([run.guides_written for run in result.runs])),
            own=float((guidance == "own").mean()),
            other=float((guidance == "other").mean()),
            realised=realised,
            saved=saved,
            net_saved=complement(cost),
            worst_window=window,
            floor_kept=floor_kept(unguided, window),
        )


def points_of(result: Online, samples: int) -> tuple[Interval, Interval, Interval]:
    """Realised quality, strong calls saved, and the share of always-strong's cost."""
    n = len(result.table)
    costs = result.mean_of([run.costs for run in result.runs])
    return (
        bootstrap(metrics.ratio(result.scores, result.table.strong), n, samples=samples),
        bootstrap(metrics.ratio(1.0 - result.strong_calls, np.ones(n)), n, samples=samples),
        bootstrap(metrics.ratio(costs, result.table.call_costs[:, -1]), n, samples=samples),
    )


def complement(share: Interval) -> Interval:
    """What is left of 1."""
    return Interval(1.0 - share.value, 1.0 - share.high, 1.0 - share.low)


def floor_kept(result: Online, worst: Window) -> bool:
    """Whether every second half kept it, within `KEPT_WITHIN`, and every window, within chance."""
    return worst.kept and bool(result.second_half.min() >= result.quality - KEPT_WITHIN)
