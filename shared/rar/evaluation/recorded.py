"""Models and a judge that were recorded: an answer costs nothing, but says what it cost, and is counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rar.errors import EvaluationDataError
from rar.evaluation.prices import tokens_of
from rar.evaluation.recorded_guides import group_at, guide_text, is_for, row_written_for
from rar.evaluation.runs import Counts, Guidance, guided_score
from rar.learning.judges import Verdict
from rar.outcomes import Outcomes
from rar.strategy import Steps
from rar.values import Call, Guide, Reply, Request, Usage


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where in its outcomes a reply stands.

    Args:
        guided: Of what kind the guide was that it was given by.
    """

    row: int
    model: int
    sample: int = 0
    guided: Guidance = "none"


class RecordedModel:
    """One model of recorded outcomes. It answers a question of theirs with the recorded reply, its tokens and its cost.

    Where guided outcomes were recorded, a guide of the question's own group gives the guided one, and a guide of
    another group a wrong answer. Asked to write a guide, it writes one for the group of the question.

    Which question is asked, a request's key says, or `request.options["row"]` where a text stands in several rows.
    A call that asks for no sampling gets a row's first sample, one with a seed always the same, others each the next.
    `calls` counts by purpose and row.

    Args:
        model: Its name in `outcomes`; `"weak"` and `"strong"` are the first and the last.
    """

    at_once: ClassVar = True  # nobody need watch how long it takes, on a thread of its own

    def __init__(self, outcomes: Outcomes, model: str) -> None:
        names = outcomes.models if model in outcomes.models else outcomes.roles
        if model not in names:
            raise EvaluationDataError(outcomes.name, f"there is no model {model!r} among {list(outcomes.models)}")
        self.outcomes, self._column = outcomes, names.index(model)
        self.id = outcomes.models[self._column]
        self.calls: dict[str, Counts] = {}
        self._drawn: dict[int, int] = {}  # samples handed out, by row
        self._lock = threading.Lock()
        self._tokens = np.nan_to_num(tokens_of(outcomes, self._column)).astype(int)

    def call(self, call: Call) -> Reply:
        if call.purpose == "guide" and call.guide is None:
            return self._guide(call)
        row = row_of(self.outcomes, call.request)
        sample = self._count(call, row)
        replies, at = self.outcomes.replies, (row, self._column, sample)
        guided = guidance(self.outcomes, row, self._column, call.guide)
        usd = replies.at("usd", *at) if replies is not None else None
        if usd is None and self.outcomes.in_usd:
            usd = self.outcomes.call_costs[row, self._column]
        text = self._said(row, sample, guided)
        into, out = self._tokens[row] if self._tokens.ndim == 2 else self._tokens[row, sample % self._tokens.shape[1]]
        return Reply(
            call.model,
            text,
            usage=Usage(int(into), int(out)),
            model_id=self.id,
            native=Recorded(*at, guided),
            seconds=None if replies is None else replies.at("seconds", *at),
            usd=None if usd is None else float(usd),
        )

    async def acall(self, call: Call) -> Reply:
        return self.call(call)

    def _said(self, row: int, sample: int, guided: Guidance) -> str:
        """The text of a reply, or one in its place."""
        outcomes, role = self.outcomes, self.outcomes.roles[self._column]
        if guided == "other":
            return "No answer: this guide is for other questions."
        if guided == "own" and outcomes.guided is not None:
            said = None if outcomes.guided.texts is None else outcomes.guided.texts[row, self._column]
            return f"{role} answer to question {row}, with a guide" if said is None else str(said)
        text = outcomes.replies.at("texts", row, self._column, sample) if outcomes.replies is not None else None
        return f"{role} answer to question {row}" if text is None else str(text)

    def _guide(self, call: Call) -> Reply:
        """A guide for the group of the question that the call quotes, at what an answer to it costs."""
        row = row_written_for(self.outcomes, call.request)
        self._count(call, row)
        edition = int(self.calls[call.purpose].sum())
        usd = float(self.outcomes.call_costs[row, self._column]) if self.outcomes.in_usd else None
        text = guide_text(group_at(self.outcomes, row), edition)
        into, out = self._tokens[row] if self._tokens.ndim == 2 else self._tokens[row, 0]
        return Reply(call.model, text, usage=Usage(int(into), int(out)), model_id=self.id, usd=usd)

    def _count(self, call: Call, row: int) -> int:
        """The sample that this call gets."""
        with self._lock:
            counts = self.calls.get(call.purpose)
            if counts is None:
                counts = self.calls[call.purpose] = np.zeros(len(self.outcomes), np.int64)
            counts[row] += 1
            if call.sampling is None:
                return 0
            if call.sampling.seed is not None:
                return call.sampling.seed
            self._drawn[row] = self._drawn.get(row, 0) + 1
            return self._drawn[row]


@dataclass(frozen=True)
class RecordedJudge:
    """Any two replies of recorded models agree where the candidate's score is at least the reference's. Costs nothing.

    Its gap is the one score less the other, so that it grades.
    """

    outcomes: Outcomes
    name: str = "recorded"

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        row = row_of(self.outcomes, request)
        expected, found = (self.quality(row, reply) for reply in (reference, candidate))
        return Verdict(found >= expected, self.name, gap=expected - found, reference=expected)
        yield []  # makes this a generator

    def quality(self, row: int, reply: Reply) -> float:
        """The score of a reply to the question of a row: of its own sample, where each has one."""
        outcomes, at = self.outcomes, reply.native
        if isinstance(at, Recorded) and at.guided != "none":
            return guided_score(outcomes, row, at.model, at.guided)
        if isinstance(at, Recorded) and outcomes.samples is not None:
            return float(outcomes.samples[row, at.model, at.sample % outcomes.samples.shape[2]])
        names = outcomes.models if reply.model_id in outcomes.models else outcomes.roles
        name = reply.model_id if reply.model_id in outcomes.models else reply.model
        return float(outcomes.scores[row, names.index(name)])


def recorded_models(outcomes: Outcomes) -> dict[str, RecordedModel]:
    """All models of outcomes by what a router calls them."""
    return {role: RecordedModel(outcomes, model) for role, model in zip(outcomes.roles, outcomes.models, strict=True)}


def guidance(outcomes: Outcomes, row: int, model: int, guide: Guide | None) -> Guidance:
    """What a guide is to a model on a row. To one with no guided outcome there it is nothing."""
    if guide is None or outcomes.guided is None or np.isnan(outcomes.guided.scores[row, model]):
        return "none"
    return "own" if is_for(guide, group_at(outcomes, row)) else "other"


def row_of(outcomes: Outcomes, request: Request) -> int:
    """The row that a request asks about.

    Raises:
        EvaluationDataError: It is in none of them.
    """
    row = request.options.get("row")
    if row is None:
        text = request.key if request.key is not None else request.messages[-1].text if request.messages else ""
        row = outcomes.places.get(text)
    if row is None:
        raise EvaluationDataError(outcomes.name, "a question was asked that is in none of its rows")
    return int(row)
