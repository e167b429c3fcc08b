"""Replays: recorded outcomes through the real engine, every call of it counted.

`stream` lets questions arrive in order, one by one, at a router that knows nothing yet; `online` does so for several
shuffles. The models are recorded: an answer costs nothing but is counted, and the judge's verdict, weak score at least
the strong one's, is looked up only when both models were called for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from rar.drive import Model
from rar.evaluation.data import Array, Table
from rar.evaluation.embeddings import KnownVectors, Progress, embedded
from rar.learning.judges import Verdict
from rar.learning.policy import Policy
from rar.router import Router
from rar.strategy import Steps
from rar.values import STRONG, WEAK, Answer, Call, Decision, Reply, Request, Usage, question

Counts = npt.NDArray[np.int64]
_ANSWER_TOKENS = 200  # of an answer that was not recorded


class RecordedModel:
    """One model of a table. `request.options["row"]` says which question is asked; `calls` counts by purpose and row."""

    def __init__(self, table: Table, role: str) -> None:
        self.id = table.weak_id if role == WEAK else table.strong_id
        self.calls: dict[str, Counts] = {}
        self._role, self._table = role, table
        self._answers = table.weak_answers if role == WEAK else table.strong_answers

    def call(self, call: Call) -> Reply:
        row: int = call.request.options["row"]
        counts = self.calls.get(call.purpose)
        if counts is None:
            counts = self.calls[call.purpose] = np.zeros(len(self._table), np.int64)
        counts[row] += 1
        text = self._answers[row] if self._answers else f"{self._role} answer to question {row}"
        tokens = len(text) // 4 if self._answers else _ANSWER_TOKENS
        return Reply(call.model, text, usage=Usage(len(self._table.texts[row]) // 4, tokens), model_id=self.id)

    async def acall(self, call: Call) -> Reply:
        return self.call(call)


@dataclass(frozen=True)
class RecordedJudge:
    """The weak answer agrees where its score is at least the strong one's."""

    table: Table
    name: str = "recorded"

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        row: int = request.options["row"]
        return Verdict(bool(self.table.weak[row] >= self.table.strong[row]), self.name)
        yield []  # makes this a generator


@dataclass(frozen=True)
class Run:
    """What happened to each question of a table, in the order in which they came. All arrays have shape `(n,)`.

    Args:
        table: The questions in that order.
        strong: Whether the strong model's answer was served.
        calls: How often a role was called for a purpose, for example `calls["strong", "audit"]`.
        confidence: What the router held the chance to be that the weak model is good enough; NaN where it held none.
        reasons: Why it decided so.
    """

    table: Table
    strong: npt.NDArray[np.bool_] = field(repr=False)
    calls: Mapping[tuple[str, str], Counts] = field(repr=False)
    confidence: Array = field(repr=False)
    reasons: tuple[str, ...] = field(repr=False)

    @property
    def scores(self) -> Array:
        """The scores of what was served."""
        return np.where(self.strong, self.table.strong, self.table.weak)

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        """Whether what was served was as good as the strong model's answer."""
        return self.strong | (self.table.weak >= self.table.strong)

    def of(self, role: str) -> Counts:
        """Calls of a role, whatever they were for."""
        return sum((c for (name, _), c in self.calls.items() if name == role), np.zeros(len(self.table), np.int64))

    @property
    def costs(self) -> Array:
        """What each question cost with all that was learned from it: USD, or strong calls where the table has no costs."""
        strong, weak = self.of(STRONG).astype(float), self.of(WEAK).astype(float)
        if self.table.strong_cost is None or self.table.weak_cost is None:
            return strong
        return strong * self.table.strong_cost + weak * self.table.weak_cost

    def realised(self, rows: slice = slice(None)) -> float:
        """Served scores over the strong model's, of `rows` of the stream."""
        return float(self.scores[rows].sum() / self.table.strong[rows].sum())

    def saved(self, rows: slice = slice(None)) -> float:
        """Share of strong calls saved: 1 is all; serving, shadow, guide, judge and audit calls count."""
        return 1.0 - float(self.of(STRONG)[rows].mean())

    def served_strong(self, rows: slice = slice(None)) -> float:
        """Share of questions that the strong model's answer was served to."""
        return float(self.strong[rows].mean())


@dataclass(frozen=True)
class Online:
    """Runs over several shuffles of one table, each from a cold start."""

    quality: float
    runs: tuple[Run, ...]

    @property
    def realised(self) -> Array:
        """Realised quality of each run."""
        return np.array([run.realised() for run in self.runs])

    @property
    def second_half(self) -> Array:
        """Realised quality of each run's second half."""
        return np.array([run.realised(slice(len(run.table) // 2, None)) for run in self.runs])

    @property
    def saved(self) -> Array:
        """Share of strong calls saved by each run."""
        return np.array([run.saved() for run in self.runs])


def stream(
    table: Table,
    *,
    quality: float = 0.95,
    policy: str | Policy = "floor",
    seed: int = 0,
    judge: Any = None,
    progress: Progress | None = None,
    what: str = "online",
    **options: Any,
) -> Run:
    """Let the questions of `table`, which has vectors, arrive in its order at a new router that learns inline.

    Args:
        judge: None for the recorded scores (`RecordedJudge`), else as the router takes it, for recorded answers.
        options: Passed to the `Router`. Guides are off unless given: recorded data has no guided answers.
    """
    models: dict[str, Model] = {role: RecordedModel(table, role) for role in (WEAK, STRONG)}
    with _router(table, models, quality=quality, policy=policy, seed=seed, judge=judge, **options) as router:
        decisions = _served(router, models, range(len(table)), table, progress, what)
    return _run(table, models, decisions)


def online(
    table: Table,
    *,
    quality: float = 0.95,
    shuffles: int = 5,
    policy: str | Policy = "floor",
    embedder: Any = "minilm",
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Online:
    """Prequential: `stream` from a cold start over each of several shuffles of `table`, every question once.

    Args:
        shuffles: At least 1; the order of the k-th is `shuffled(table, seed + k)`, whatever the other arguments.
        embedder: Of a table without vectors.
        options: Passed to `stream`.
    """
    table = embedded(table, embedder, progress=progress)
    runs = tuple(
        stream(
            shuffled(table, seed + k),
            quality=quality,
            policy=policy,
            seed=seed + k,
            progress=progress,
            what=f"online {k + 1}/{shuffles}",
            **options,
        )
        for k in range(shuffles)
    )
    return Online(quality, runs)


def shuffled(table: Table, seed: int) -> Table:
    """`table` in a random order."""
    return table.take(np.random.default_rng(seed).permutation(len(table)))


def _router(table: Table, models: Mapping[str, Model], *, judge: Any = None, **options: Any) -> Router:
    defaults: dict[str, Any] = {"memory": ":memory:", "learning": "inline", "guides": False}
    clock = count()  # a second passes between any two looks at it
    return Router(
        **models,
        embedder=KnownVectors(table),
        judge=RecordedJudge(table) if judge is None else judge,
        clock=lambda: float(next(clock)),
        **{**defaults, **options},
    )


def _served(
    router: Router,
    models: Mapping[str, Model],
    rows: Sequence[int],
    table: Table,
    progress: Progress | None,
    what: str,
) -> list[Decision]:
    decisions = []
    for done, row in enumerate(rows, 1):
        decision = router.decide(question(table.texts[row], options={"row": row}))
        choice = decision.choice
        reply = choice.reply if isinstance(choice, Answer) else models[decision.model].call(decision.call)
        router.learn(decision, reply)
        decisions.append(decision)
        if progress is not None and (done % 100 == 0 or done == len(rows)):
            progress(what, done, len(rows))
    return decisions


def _run(table: Table, models: Mapping[str, Any], decisions: Sequence[Decision]) -> Run:
    confidence = [decision.choice.confidence for decision in decisions]
    return Run(
        table,
        np.array([decision.model == STRONG for decision in decisions]),
        {(role, purpose): counts for role, model in models.items() for purpose, counts in model.calls.items()},
        np.array([np.nan if chance is None else chance for chance in confidence], np.float64),
        tuple(decision.choice.reason for decision in decisions),
    )
