"""What a replay showed, beside what simple routers would have done with the same questions. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from rar.evaluation import metrics
from rar.evaluation.baselines import baselines
from rar.evaluation.data import Array, Table
from rar.evaluation.metrics import Calibration, Interval, bootstrap
from rar.evaluation.runs import OURS, Online, Run, Split, Stages, Static
from rar.values import STRONG

GRID = np.linspace(0.0, 1.0, 101)  # shares of strong calls at which curves are kept
KEPT_WITHIN = 0.005  # of the floor: what chance may take from a second half
PAPER = 'policy="paper"'


@dataclass(frozen=True)
class Facts:
    """What was replayed."""

    name: str
    questions: int
    weak_id: str
    strong_id: str
    weak_mean: float
    strong_mean: float
    weak_good_enough: float  # share of questions on which the weak score is at least the strong one
    oracle_mean: float

    @classmethod
    def of(cls, table: Table) -> Facts:
        best = metrics.oracle(table.weak, table.strong).mean()
        enough = (table.weak >= table.strong).mean()
        means = float(table.weak.mean()), float(table.strong.mean()), float(enough), float(best)
        return cls(table.name, len(table), table.weak_id, table.strong_id, *means)


# --- online ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rival:
    """Another router on the same questions.

    Args:
        strong_calls: Strong calls a question; for a score or a mix, as many as ours made, learning included.
        quality: Its share of the strong model's quality with that many.
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
    ahead: Interval | None = None
    saved: float | None = None
    hindsight: bool = False
    curve: tuple[float, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class OnlineSummary:
    """What `online` showed. Qualities are shares of the strong model's; intervals are over questions."""

    facts: Facts
    floor: float
    realised: Interval
    saved: Interval
    net_cost: Interval  # share of always-strong's
    realised_by_shuffle: tuple[float, ...]
    second_half_by_shuffle: tuple[float, ...]
    saved_by_shuffle: tuple[float, ...]
    floor_kept: bool  # in every shuffle's second half, within `KEPT_WITHIN`
    calls: Mapping[str, float]  # a question, by role and purpose
    reasons: Mapping[str, float]
    pgr: float
    perf_gain: float
    cost_save: float
    gap_to_oracle: float
    aiq: float
    ece: float
    rivals: tuple[Rival, ...]
    calibration: Calibration = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        return jsonable(asdict(self))


def summarise_online(
    result: Online, paper: Online | None = None, *, others: Mapping[str, Online] | None = None, samples: int = 1_000
) -> OnlineSummary:
    """Compare what `online` found with the baselines.

    Args:
        result: Ours.
        paper: The same with `policy="paper"`, if it was run.
        others: Further runs of the same questions, by the name under which they are printed.
        samples: Resamples of each interval.
    """
    table, runs = result.table, result.runs
    n, strong = len(table), table.strong
    calls = result.strong_calls
    costs = result.mean_of([run.costs for run in runs])
    always = result.mean_of([run.always_strong_costs for run in runs])
    ours = result.scores
    purposes: Counter[str] = Counter()
    for run in runs:
        purposes.update({f"{role} {purpose}": int(c.sum()) for (role, purpose), c in run.calls.items()})
    reasons = Counter(reason for run in runs for reason in run.reasons)
    known = metrics.calibration(
        np.concatenate([run.confidence for run in runs]),
        np.concatenate([run.table.weak >= run.table.strong for run in runs]).astype(float),
    )
    return OnlineSummary(
        facts=Facts.of(table),
        floor=result.quality,
        realised=bootstrap(metrics.ratio(ours, strong), n, samples=samples),
        saved=bootstrap(metrics.ratio(1.0 - calls, np.ones(n)), n, samples=samples),
        net_cost=bootstrap(metrics.ratio(costs, always), n, samples=samples),
        realised_by_shuffle=tuple(result.realised.tolist()),
        second_half_by_shuffle=tuple(result.second_half.tolist()),
        saved_by_shuffle=tuple(result.saved.tolist()),
        floor_kept=bool(result.second_half.min() >= result.quality - KEPT_WITHIN),
        calls={name: count / (n * len(runs)) for name, count in sorted(purposes.items())},
        reasons={name: count / (n * len(runs)) for name, count in reasons.most_common()},
        pgr=float(metrics.pgr(ours.mean(), table.weak.mean(), strong.mean())),
        perf_gain=metrics.perf_gain(float(ours.mean()), float(strong.mean())),
        cost_save=metrics.cost_save(float(costs.sum()), float(always.sum())),
        gap_to_oracle=metrics.gap_to_oracle(ours, table.weak, strong),
        aiq=_aiq_of_point(table, float(calls.mean()), float(ours.mean())),
        ece=known.ece,
        rivals=tuple(_rivals(result, {**({} if paper is None else {PAPER: paper}), **(others or {})}, samples)),
        calibration=known,
    )


def _aiq_of_point(table: Table, share: float, mean: float) -> float:
    """AIQ of a router that is one point, with the single models beside it, over strong shares from 0 to 1."""
    return metrics.aiq(np.array([0.0, share, 1.0]), np.array([table.weak.mean(), mean, table.strong.mean()]), 0.0, 1.0)


def _rivals(result: Online, others: Mapping[str, Online], samples: int) -> list[Rival]:
    table = result.table
    share = min(float(result.strong_calls.mean()), 1.0)
    target = float(result.scores.mean())

    def rival(name: str, calls: float, scores: Array, **more: Any) -> Rival:
        mean = float(scores.mean())
        recovered = float(metrics.pgr(mean, table.weak.mean(), table.strong.mean()))
        gap = metrics.gap_to_oracle(scores, table.weak, table.strong)
        return Rival(name, calls, mean / float(table.strong.mean()), recovered, gap, **more)

    def ahead(scores: Array) -> Interval:
        return bootstrap(metrics.ratio(result.scores - scores, table.strong), len(table), samples=samples)

    def point(name: str, calls: float, scores: Array) -> Rival:
        mixed = _mixed(table, calls, scores, share)
        line = np.array([(0.0, table.weak.mean()), (calls, scores.mean()), (1.0, table.strong.mean())])
        needed = metrics.calls_for(metrics.Curve(line[:, 0], line[:, 1]), target)
        return rival(name, calls, scores, ahead=ahead(mixed), saved=1.0 - needed)

    def ranked(name: str, by_run: Sequence[Array], *, hindsight: bool) -> Rival:
        served = [_served_at(score, run.table, share) for score, run in zip(by_run, result.runs, strict=True)]
        needed = [
            metrics.calls_for(metrics.curve(score, run.table.weak, run.table.strong), float(run.scores.mean()))
            for score, run in zip(by_run, result.runs, strict=True)
        ]
        scores = result.mean_of(served)
        saved = 1.0 - float(np.mean(needed))
        kept = tuple(np.mean([_on_grid(s, run.table) for s, run in zip(by_run, result.runs, strict=True)], 0).tolist())
        return rival(name, share, scores, ahead=ahead(scores), saved=saved, hindsight=hindsight, curve=kept)

    mix = table.weak + share * table.gap
    needed = metrics.calls_for(
        metrics.Curve(np.array([0.0, 1.0]), np.array([table.weak.mean(), table.strong.mean()])), target
    )
    found = [
        rival("weak only", 0.0, table.weak),
        rival("strong only", 1.0, table.strong),
        rival("random mix", share, mix, ahead=ahead(mix), saved=1.0 - needed),
    ]
    found += [point(name, float(other.strong_calls.mean()), other.scores) for name, other in others.items()]
    for baseline in baselines(table):
        scored = [baseline.prequential(run.table) for run in result.runs]
        found.append(ranked(baseline.name, scored, hindsight=True))
    needs = table.gap > 0.0
    found.append(point("ideal static router", float(needs.mean()), np.where(needs, table.strong, table.weak)))
    found.append(ranked("oracle", [run.table.gap for run in result.runs], hindsight=True))
    return found


def _served_at(score: Array, table: Table, share: float) -> Array:
    """Expected score of each question when the `share` that scores highest goes to the strong model, ties at random."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ends = np.r_[starts[1:], len(score)]
    chance = np.clip((share * len(score) - starts) / (ends - starts), 0.0, 1.0)
    sent = np.empty(len(score))
    sent[order] = np.repeat(chance, ends - starts)
    served: Array = table.weak + sent * table.gap
    return served


def _on_grid(score: Array, table: Table) -> Array:
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


# --- static ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """One scorer on questions that it had not seen: means over the splits, intervals over questions.

    Args:
        ahead: Our APGR less its.
        cpt50: Share of strong calls that recovers half of the gap; `cpt80`: four fifths.
        to_keep: Share of strong calls that keeps the floor.
        curve: Quality at the shares of `GRID`.
    """

    name: str
    apgr: Interval
    cpt50: float
    cpt80: float
    to_keep: float
    aiq: float
    curve: tuple[float, ...] = field(repr=False)
    ahead: Interval | None = None


@dataclass(frozen=True)
class StaticSummary:
    """What `static` showed."""

    facts: Facts
    floor: float
    halves: tuple[Scored, ...]
    left_out: tuple[Scored, ...]

    def as_dict(self) -> dict[str, Any]:
        return jsonable(asdict(self))


def summarise_static(result: Static, *, samples: int = 500) -> StaticSummary:
    """Compare the scorers of `static`, with the bounds beside them.

    Args:
        result: What was found.
        samples: Resamples of each interval.
    """
    left_out = () if result.left_out is None else _scored(result, [result.left_out], samples)
    return StaticSummary(Facts.of(result.table), result.quality, _scored(result, result.halves, samples), left_out)


def _with_bounds(table: Table, split: Split) -> dict[str, Array]:
    """The scores of a split, with those of chance, of an ideal static router and of the oracle."""
    gap = table.gap[split.rows]
    bounds = {"ideal static router": (gap > 0.0).astype(float), "oracle": gap}
    return {**split.scores, "random mix": np.zeros(len(gap)), **bounds}


def _scored(result: Static, splits: Sequence[Split], samples: int) -> tuple[Scored, ...]:
    table = result.table
    scores = [_with_bounds(table, split) for split in splits]
    tables = [table.take(split.rows) for split in splits]

    def area(name: str) -> Callable[[Array], Array]:
        def statistic(weights: Array) -> Array:
            areas = [
                metrics.apgr(part[name], table.weak[split.rows], table.strong[split.rows], weights[..., split.rows])
                for part, split in zip(scores, splits, strict=True)
            ]
            mean: Array = np.mean(areas, axis=0)
            return mean

        return statistic

    def mean(measure: Callable[[Array, Array, Array], float], name: str) -> float:
        return float(np.mean([measure(p[name], t.weak, t.strong) for p, t in zip(scores, tables, strict=True)]))

    rows = []
    for name in scores[0]:
        ahead = None
        if name != OURS and OURS in scores[0]:
            ahead = bootstrap(_difference(area(OURS), area(name)), len(table), samples=samples)
        rows.append(
            Scored(
                name,
                bootstrap(area(name), len(table), samples=samples),
                mean(lambda s, weak, strong: metrics.cpt(s, weak, strong, 0.5), name),
                mean(lambda s, weak, strong: metrics.cpt(s, weak, strong, 0.8), name),
                mean(lambda s, weak, strong: metrics.calls_to_keep(s, weak, strong, result.quality), name),
                mean(_aiq_of_score, name),
                tuple(
                    np.mean(
                        [_on_grid(part[name], asked) for part, asked in zip(scores, tables, strict=True)], 0
                    ).tolist()
                ),
                ahead,
            )
        )
    return tuple(rows)


def _difference(ours: Callable[[Array], Array], theirs: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda weights: ours(weights) - theirs(weights)


def _aiq_of_score(score: Array, weak: Array, strong: Array) -> float:
    found = metrics.curve(score, weak, strong)
    return metrics.aiq(found.share, found.quality, 0.0, 1.0)


# --- stages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """One stage: means over the shuffles, and the worst one. Quality and agreement are relative to the strong model.

    Args:
        repeats: Whether all of its questions were seen before; in the first stage none was.
        random_mix: Quality of a random mix with as many strong answers.
    """

    stage: int
    repeats: bool
    served_strong: float
    served_strong_worst: float
    strong_calls: float
    quality: float
    agreement: Interval
    agreement_worst: float
    random_mix: float


@dataclass(frozen=True)
class StagesSummary:
    """What `stages` showed; `paper` is the same with the published rule."""

    facts: Facts
    floor: float
    ours: tuple[Stage, ...]
    paper: tuple[Stage, ...]

    def as_dict(self) -> dict[str, Any]:
        return jsonable(asdict(self))


def summarise_stages(result: Stages, paper: Stages | None = None, *, samples: int = 1_000) -> StagesSummary:
    """Sum `stages` up by stage.

    Args:
        result: Ours.
        paper: The same with `policy="paper"`, if it was run.
        samples: Resamples of each interval.
    """
    theirs = () if paper is None else _by_stage(paper, samples)
    return StagesSummary(Facts.of(result.table), result.quality, _by_stage(result, samples), theirs)


def _by_stage(result: Stages, samples: int) -> tuple[Stage, ...]:
    return tuple(_stage(result.table, at, runs, samples) for at, runs in enumerate(zip(*result.runs, strict=True)))


def _stage(table: Table, at: int, runs: Sequence[Run], samples: int) -> Stage:
    agreement = np.zeros(len(table))
    for run in runs:
        agreement[run.rows] += run.good / len(runs)
    share = float(np.mean([run.served_strong() for run in runs]))
    return Stage(
        at + 1,
        at > 0,
        share,
        max(run.served_strong() for run in runs),
        float(np.mean([run.of(STRONG).mean() for run in runs])),
        float(np.mean([run.realised() for run in runs])),
        bootstrap(metrics.ratio(agreement, np.ones(len(table))), len(table), samples=samples),
        min(float(run.good.mean()) for run in runs),
        float((table.weak + share * table.gap).sum() / table.strong.sum()),
    )


def jsonable(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts` with arrays as lists, and None for what is not finite: JSON knows no NaN."""
    return {key: _plain(value) for key, value in facts.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return jsonable(value)
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(entry) for entry in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
