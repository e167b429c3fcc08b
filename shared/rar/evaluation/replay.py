"""Replays: recorded outcomes through the real engine, every call of it counted.

`stream` lets questions arrive in order, one by one, at a router that knows nothing yet; `replay_online` does so for
several shuffles, and `stages` lets the same questions come again and again. `static` has questions scored that were
never seen. The first model of the outcomes is the weak one, the last the strong one, those between are named. All are
recorded: an answer costs nothing, but is counted with what it did cost. The judge compares recorded scores, and only of
models that were called.

Arguments that replays share:

- `table`: the questions, with the outcomes of all models. `embedder` is that of a table without vectors.
- `quality` and `policy` are the router's, and so are all further options. Guides are off unless `guides=True` is given,
  for which the outcomes need guided scores and groups. `judge` is `RecordedJudge`, and `prices` are the recorded ones,
  unless given.
- `seed`: of shuffles, splits and routers, which draw their audits by it.
- `progress`: told how far the replay is.
- `checkpoint`: keeps finished parts. It knows the arguments above; its `inputs` must tell further options apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from rar.drive import Model
from rar.errors import ConfigurationError, ReplayError
from rar.evaluation.baselines import RouterScorer, Scorer, baselines, paper_rule
from rar.evaluation.checkpoint import Checkpoint, digest
from rar.evaluation.embeddings import KnownVectors, Progress, embedded
from rar.evaluation.prices import engine_prices
from rar.evaluation.recorded import RecordedJudge, RecordedModel, guidance, recorded_models
from rar.evaluation.runs import OURS, Arrays, Online, Rows, Run, Split, Stages, Static, own_rows_of
from rar.learning.policy import Policy
from rar.linear import Array
from rar.outcomes import Outcomes
from rar.router import Router
from rar.strategy import Steps, Strategy
from rar.values import STRONG, WEAK, Answer, Choice, Decision, Request, Route, question


def stream(
    table: Outcomes,
    *,
    quality: float = 0.95,
    policy: str | Policy = "floor",
    seed: int = 0,
    progress: Progress | None = None,
    what: str = "online",
    changes: Mapping[int, Callable[[Router], None]] | None = None,
    **options: Any,
) -> Run:
    """Let the questions of `table`, which has vectors, arrive in its order at a new router that learns inline.

    Args:
        what: As what progress is told.
        changes: What is done to the router before the question at a position, as where prices change.
    """
    models = recorded_models(table)
    with _router(table, models, quality=quality, policy=policy, seed=seed, **options) as router:
        return _pass(router, models, np.arange(len(table)), progress, what, changes)


def served_by(strategy: Strategy, table: Outcomes, *, progress: Progress | None = None, what: str = "strategy") -> Run:
    """Have a strategy decide who answers each question, without a memory; its drafts are the recorded replies.

    Its models are `"weak"`, `"strong"`, and those between by their names.
    """
    models = recorded_models(table)
    with _router(table, models, strategy=strategy, memory=None, embedder="hashing") as router:
        return _pass(router, models, np.arange(len(table)), progress, what)


def replay_online(
    table: Outcomes,
    *,
    quality: float = 0.95,
    shuffles: int = 5,
    policy: str | Policy = "floor",
    embedder: Any = "minilm",
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    **options: Any,
) -> Online:
    """Prequential: `stream` from a cold start over each of several shuffles of `table`, every question once.

    Args:
        shuffles: At least 1. The k-th has the order `shuffle(table, seed + k)`, whatever the other arguments.
    """
    _at_least_one("shuffles", shuffles)
    table = embedded(table, embedder, progress=progress)
    parts, asked = checkpoint or Checkpoint(), digest(table)
    router = options.get("static_router")
    named = (policy if isinstance(policy, str) else "policy") + " with a static router" * (router is not None)

    def one(k: int) -> Arrays:
        order, what = shuffle(table, seed + k), f"{named} at {quality:g}, shuffle {k + 1} of {shuffles}"
        settings: dict[str, Any] = {"quality": quality, "policy": policy, "seed": seed + k, **options}
        run = stream(table.take(order), progress=progress, what=what, **settings)
        return replace(run, rows=order).arrays()

    runs = [
        Run.of_arrays(table, parts.part(("online", asked, quality, policy, seed + k), partial(one, k)))
        for k in range(shuffles)
    ]
    own_rows = own_rows_of("its static router", router, table) if router is not None else None
    return Online(table, quality, tuple(runs), own_rows)


def stages(
    table: Outcomes,
    *,
    quality: float = 0.95,
    stages: int = 5,
    shuffles: int = 5,
    policy: str | Policy = "floor",
    embedder: Any = "minilm",
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    **options: Any,
) -> Stages:
    """The protocol of the RAR paper: one router is asked all questions in each stage, in a new order each time.

    Args:
        stages: At least 1.
        shuffles: At least 1; each begins with a new router.
    """
    _at_least_one("stages", stages)
    _at_least_one("shuffles", shuffles)
    table = embedded(table, embedder, progress=progress)
    parts, asked = checkpoint or Checkpoint(), digest(table)

    def one(k: int) -> Arrays:
        chance = np.random.default_rng(seed + k)
        models = recorded_models(table)
        found: Arrays = {}
        with _router(table, models, quality=quality, policy=policy, seed=seed + k, **options) as router:
            for stage in range(stages):
                what = f"shuffle {k + 1} of {shuffles}, stage {stage + 1} of {stages}"
                run = _pass(router, models, chance.permutation(len(table)), progress, what)
                found = {**found, **{f"{stage}:{name}": values for name, values in run.arrays().items()}}
        return found

    def of_stage(stage: int, found: Arrays) -> Run:
        start = f"{stage}:"
        own = {name[len(start) :]: values for name, values in found.items() if name.startswith(start)}
        return Run.of_arrays(table, own)

    runs = []
    for k in range(shuffles):
        found = parts.part(("stages", asked, quality, policy, stages, seed + k), partial(one, k))
        runs.append(tuple(of_stage(stage, found) for stage in range(stages)))
    return Stages(table, quality, tuple(runs))


def shuffle(table: Outcomes, seed: int) -> Rows:
    """A random order of a table's rows."""
    return np.random.default_rng(seed).permutation(len(table))


# --- scores of questions that were never seen -----------------------------------------------------------------------


def static(
    table: Outcomes,
    *,
    quality: float = 0.95,
    splits: int = 3,
    folds: int = 5,
    policy: str | Policy = "floor",
    embedder: Any = "minilm",
    scorers: Mapping[str, Scorer] | None = None,
    more: Mapping[str, Scorer] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    **options: Any,
) -> Static:
    """Score each question by what was learned from others: random halves, and whole groups left out.

    Args:
        splits: Halvings.
        folds: Parts into which the groups are dealt.
        scorers: What is compared, by name. None: the router itself (`engine`) as "RAR", and `baselines`. A checkpoint
            must be told of scorers of equal names apart.
        more: Scorers beside those.
    """
    _at_least_one("splits", splits)
    table = embedded(table, embedder, progress=progress)
    if scorers is None:
        own = engine(quality=quality, policy=policy, seed=seed, **options)
        scorers = {
            OURS: own,
            'policy="paper"': paper_rule,
            **{baseline.name: baseline.scorer for baseline in baselines(table)},
        }
    scorers = {**scorers, **(more or {})}
    chance = np.random.default_rng(seed)
    orders = [chance.permutation(len(table)) for _ in range(splits)]
    parts = [(order[: len(table) // 2], np.sort(order[len(table) // 2 :])) for order in orders]
    if table.groups is not None:
        parts += _left_out(table.groups, folds, chance)
    scored = _splits(table, parts, scorers, progress, checkpoint or Checkpoint(), ("static", quality, policy))
    left_out = None if table.groups is None else _joined(scored[splits:])
    saved = {name: scorer.router for name, scorer in scorers.items() if isinstance(scorer, RouterScorer)}
    own_rows = (own_rows_of(name, router, table) for name, router in saved.items())
    return Static(table, quality, tuple(scored[:splits]), left_out, tuple(own for own in own_rows if own is not None))


def _splits(
    table: Outcomes,
    parts: Sequence[tuple[Rows, Rows]],
    scorers: Mapping[str, Scorer],
    progress: Progress | None,
    checkpoint: Checkpoint,
    key: tuple[object, ...],
) -> list[Split]:
    of_table = digest(table)
    scored = []
    for done, (seen, asked) in enumerate(parts, 1):

        def one(seen: Rows = seen, asked: Rows = asked) -> Arrays:
            known, new = table.take(seen), table.take(asked)
            return Split(asked, {name: scorer(known, new) for name, scorer in scorers.items()}).arrays()

        named = (*key, of_table, tuple(scorers), seen.tobytes(), asked.tobytes())
        scored.append(Split.of_arrays(checkpoint.part(named, one)))
        if progress is not None:
            progress("static splits", done, len(parts))
    return scored


def _left_out(groups: Sequence[str], folds: int, chance: np.random.Generator) -> list[tuple[Rows, Rows]]:
    names = np.unique(groups)
    folds = min(folds, len(names))
    if folds < 2:
        raise ConfigurationError(
            f"All questions are of the group {str(names[0])!r}: none can be left out. Give another, or none."
        )
    fold_of = dict(zip(names.tolist(), (chance.permutation(len(names)) % folds).tolist(), strict=True))
    fold = np.array([fold_of[group] for group in groups])
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]


def _joined(parts: Sequence[Split]) -> Split:
    names = parts[0].scores
    return Split(
        np.concatenate([part.rows for part in parts]),
        {name: np.concatenate([_ranks(part.scores[name]) for part in parts]) for name in names},
    )


def _ranks(scores: Array) -> Array:
    """The share of scores below each, equal ones counting half."""
    _, index, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks: Array = ((counts.cumsum() - counts / 2.0) / len(scores))[index]
    return ranks


def engine(*, quality: float = 0.95, policy: str | Policy = "floor", seed: int = 0, **options: Any) -> Scorer:
    """The router as a scorer: it serves what is seen by the strong model, learns, and is then asked without learning.

    Its score is one less its confidence in the weak model; 1 where it has none.
    """

    def score(seen: Outcomes, asked: Outcomes) -> Array:
        models = recorded_models(seen)
        both = KnownVectors(seen, asked)
        settings: dict[str, Any] = {"learning_budget": None, **options}
        with _router(seen, models, embedder=both, quality=quality, policy=policy, seed=seed, **settings) as router:
            decide, router.strategy = router.strategy, _AlwaysStrong()
            _pass(router, models, np.arange(len(seen)))
            router.strategy = decide
            choices = [router.decide(question(text, learn=False)).choice for text in asked.texts]
        return np.array([1.0 if choice.confidence is None else 1.0 - choice.confidence for choice in choices])

    return score


@dataclass(frozen=True)
class _AlwaysStrong:
    def steps(self, request: Request) -> Steps[Choice]:
        return Route(STRONG)
        yield []  # makes this a generator


# --- the engine -----------------------------------------------------------------------------------------------------


@contextmanager
def _router(table: Outcomes, models: Mapping[str, Model], **options: Any) -> Iterator[Router]:
    """A router whose every warning is an error: what it survives while serving would make a replay measure nothing."""
    if options.get("guides") and table.guided is not None and table.groups is None:
        raise ConfigurationError(
            "A recorded guide is for the questions of one group, but these have none. Name a column: group=."
        )
    clock = count(0.0, 0.1)  # so much time passes between any two looks at it
    defaults: dict[str, Any] = {
        "memory": ":memory:",
        "embedder": options["embedder"] if "embedder" in options else KnownVectors(table),
        "judge": RecordedJudge(table),
        "learning": "inline",
        "guides": False,
        "clock": lambda: next(clock),
        "prices": engine_prices(table),
    }
    trouble = _Trouble()
    logging.getLogger("rar").addHandler(trouble)
    try:
        others = {role: model for role, model in models.items() if role not in (WEAK, STRONG)}
        with Router(models[WEAK], models[STRONG], models=others, **{**defaults, **options}) as router:
            yield router
    finally:
        logging.getLogger("rar").removeHandler(trouble)
    if trouble.first is not None:
        raise ReplayError(trouble.first)


class _Trouble(logging.Handler):
    """Keeps the first warning, but for advice and those on the models: these are what a replay is there to show."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "rar.models" or getattr(record, "advice", False):
            return
        self.first = self.first or record.getMessage()


def _pass(
    router: Router,
    models: Mapping[str, RecordedModel],
    order: Rows,
    progress: Progress | None = None,
    what: str = "",
    changes: Mapping[int, Callable[[Router], None]] | None = None,
) -> Run:
    """Ask the questions of the models' outcomes in `order`; calls are counted from 0."""
    table = models[WEAK].outcomes
    for model in models.values():
        model.calls = {}
    decisions: list[Decision] = []
    guided: list[str] = []
    for at, row in enumerate(order.tolist()):
        if changes is not None and at in changes:
            changes[at](router)
        decision = router.decide(question(table.texts[row], options={"row": row}))
        choice = decision.choice
        reply = choice.reply if isinstance(choice, Answer) else models[decision.model].call(decision.call)
        router.learn(decision, reply)
        decisions.append(decision)
        guided.append(guidance(table, row, table.roles.index(decision.model), decision.guide))
        if progress is not None and (len(decisions) % 50 == 0 or len(decisions) == len(order)):
            progress(what, len(decisions), len(order))
    confidence = [decision.choice.confidence for decision in decisions]
    return Run(
        table.take(order),
        order,
        np.array([decision.model for decision in decisions], np.str_),
        {(role, purpose): counts[order] for role, model in models.items() for purpose, counts in model.calls.items()},
        np.array([np.nan if chance is None else chance for chance in confidence], np.float64),
        tuple(decision.choice.reason for decision in decisions),
        np.array(guided, np.str_),
    )


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ConfigurationError(f"{name}={value} is less than 1.")
