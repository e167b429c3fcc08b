"""What other routers would have done with the questions of a replay. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rar.evaluation import metrics
from rar.evaluation.baselines import baselines
from rar.evaluation.metrics import Interval, bootstrap
from rar.evaluation.runs import Online
from rar.evaluation.table import Array, Table

GRID = np.linspace(0.0, 1.0, 101)  # shares of strong calls at which curves are kept


@dataclass(frozen=True)
class Rival:
    """Another router on the same questions.

    Args:
        strong_calls: Strong calls a question; for a score or a mix, as many as ours made, learning included.
        quality: Its share of the strong model's quality with that many.
        net_saved: Share of always-strong's cost that it saves, weak calls paid.
        ahead: Our quality less its at our strong calls (a single router is mixed at random with a single model to get
            there); None where that is not asked.
        saved: Strong calls that it saves at our realised quality.
        hindsight: It was allowed the best threshold, and saw all outcomes of the past free of charge.
        curve: Quality at the shares of `GRID`, of a score.
    """

    name: str
    strong_calls: float
    quality: float
    pgr: float
    gap_to_oracle: float
    net_saved: float
    ahead: Interval | None = None
    saved: float | None = None
    hindsight: bool = False
    curve: tuple[float, ...] | None = field(default=None, repr=False)


def rivals_of(result: Online, others: Mapping[str, Online], samples: int) -> list[Rival]:
    table = result.table
    share = min(float(result.strong_calls.mean()), 1.0)
    target = float(result.scores.mean())

    weak_cost, strong_cost = table.call_costs

    def rival(name: str, calls: float, scores: Array, costs: Array, **more: Any) -> Rival:
        mean = float(scores.mean())
        recovered = float(metrics.pgr(mean, table.weak.mean(), table.strong.mean()))
        gap = metrics.gap_to_oracle(scores, table.weak, table.strong)
        saved = 1.0 - float(costs.sum()) / max(float(strong_cost.sum()), 1e-300)
        return Rival(name, calls, mean / float(table.strong.mean()), recovered, gap, saved, **more)

    def ahead(scores: Array) -> Interval:
        return bootstrap(metrics.ratio(result.scores - scores, table.strong), len(table), samples=samples)

    def point(name: str, calls: float, scores: Array, costs: Array) -> Rival:
        mixed = _mixed(table, calls, scores, share)
        line = np.array([(0.0, table.weak.mean()), (calls, scores.mean()), (1.0, table.strong.mean())])
        needed = metrics.calls_for(metrics.Curve(line[:, 0], line[:, 1]), target)
        return rival(name, calls, scores, costs, ahead=ahead(mixed), saved=1.0 - needed)

    def ranked(name: str, by_run: Sequence[Array]) -> Rival:
        sent = result.mean_of([_sent_at(score, share) for score in by_run])
        needed = [
            metrics.calls_for(metrics.curve(score, run.table.weak, run.table.strong), float(run.scores.mean()))
            for score, run in zip(by_run, result.runs, strict=True)
        ]
        scores = table.weak + sent * table.gap
        kept = tuple(np.mean([on_grid(s, run.table) for s, run in zip(by_run, result.runs, strict=True)], 0).tolist())
        more = {"ahead": ahead(scores), "saved": 1.0 - float(np.mean(needed)), "hindsight": True, "curve": kept}
        return rival(name, share, scores, _cost_of(table, sent), **more)

    mix = np.full(len(table), share)
    mixed = table.weak + mix * table.gap
    needed = metrics.calls_for(
        metrics.Curve(np.array([0.0, 1.0]), np.array([table.weak.mean(), table.strong.mean()])), target
    )
    found = [
        rival("weak only", 0.0, table.weak, weak_cost),
        rival("strong only", 1.0, table.strong, strong_cost),
        rival("random mix", share, mixed, _cost_of(table, mix), ahead=ahead(mixed), saved=1.0 - needed),
    ]
    for name, other in others.items():
        costs = other.mean_of([run.costs for run in other.runs])
        found.append(point(name, float(other.strong_calls.mean()), other.scores, costs))
    found += [ranked(base.name, [base.prequential(run.table) for run in result.runs]) for base in baselines(table)]
    needs = (table.gap > 0.0).astype(np.float64)
    ideal = np.where(needs > 0.0, table.strong, table.weak)
    found.append(point("ideal static router", float(needs.mean()), ideal, _cost_of(table, needs)))
    found.append(ranked("oracle", [run.table.gap for run in result.runs]))
    return found


def _cost_of(table: Table, sent: Array) -> Array:
    """What each question costs a router that sends it to the strong model with that chance, and else to the weak."""
    weak, strong = table.call_costs
    cost: Array = sent * strong + (1.0 - sent) * weak
    return cost


def _sent_at(score: Array, share: float) -> Array:
    """The chance of each question to go to the strong model when the `share` of highest scores does, ties at random."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ends = np.r_[starts[1:], len(score)]
    chance = np.clip((share * len(score) - starts) / (ends - starts), 0.0, 1.0)
    sent = np.empty(len(score))
    sent[order] = np.repeat(chance, ends - starts)
    return sent


def on_grid(score: Array, table: Table) -> Array:
    """The score's curve at the shares of `GRID`, relative to the strong model."""
    found = metrics.curve(score, table.weak, table.strong)
    kept: Array = np.interp(GRID, found.share, found.quality) / table.strong.mean()
    return kept


def _mixed(table: Table, calls: float, scores: Array, share: float) -> Array:
    """A router mixed at random with a single model until it makes `share` strong calls."""
    other, end = (table.strong, 1.0) if share > calls else (table.weak, 0.0)
    part = (share - calls) / (end - calls) if end != calls else 0.0
    mixed: Array = scores + part * (other - scores)
    return mixed
