"""Models and a judge that were recorded: an answer costs nothing, but is counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rar.evaluation.prices import tokens_of
from rar.evaluation.runs import Counts
from rar.evaluation.table import Table
from rar.learning.judges import Verdict
from rar.strategy import Steps
from rar.values import WEAK, Call, Reply, Request, Usage


class RecordedModel:
    """One model of a table. `request.options["row"]` says what is asked; `calls` counts by purpose and row."""

    def __init__(self, table: Table, role: str) -> None:
        self.id = table.weak_id if role == WEAK else table.strong_id
        self.calls: dict[str, Counts] = {}
        self.table, self._role = table, role
        self._answers = table.weak_answers if role == WEAK else table.strong_answers
        self._tokens = tokens_of(table, role).astype(int).tolist()

    def call(self, call: Call) -> Reply:
        row: int = call.request.options["row"]
        counts = self.calls.get(call.purpose)
        if counts is None:
            counts = self.calls[call.purpose] = np.zeros(len(self.table), np.int64)
        counts[row] += 1
        text = self._answers[row] if self._answers else f"{self._role} answer to question {row}"
        return Reply(call.model, text, usage=Usage(*self._tokens[row]), model_id=self.id)

    async def acall(self, call: Call) -> Reply:
        return self.call(call)


@dataclass(frozen=True)
class RecordedJudge:
    """The weak answer agrees where its score is at least the strong one's."""

    table: Table
    name: str = "recorded"

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        row: int = request.options["row"]
        weak, strong = float(self.table.weak[row]), float(self.table.strong[row])
        return Verdict(weak >= strong, self.name, gap=strong - weak, reference=strong)
        yield []  # makes this a generator
