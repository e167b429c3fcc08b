"""In which order a batch is written, whatever database it is written to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rar.memory.base import Batch, CachedAnswer, DecisionRecord, JudgedAnswers, Label, PolicyStep, Spend
from rar.memory.tills import Settled
from rar.values import Experience, Guide, Trial


class Writer(Protocol):
    """One write transaction. `rar.memory.transitions` says what becomes of each record."""

    def experience(self, experience: Experience) -> None: ...
    def guide(self, guide: Guide) -> None: ...
    def trial(self, trial: Trial) -> None: ...
    def step(self, step: PolicyStep) -> None: ...
    def spend(self, day: int, spend: Spend) -> None: ...
    def decision(self, record: DecisionRecord) -> None: ...
    def used(self, record: DecisionRecord) -> None:
        """Keep longer what a decision went by."""
        ...

    def label(self, label: Label) -> None: ...
    def judged(self, judged: JudgedAnswers) -> None: ...
    def cached(self, answer: CachedAnswer) -> None: ...
    def settle(self, settled: Sequence[Settled]) -> None:
        """Reserve no more what is spent by now."""
        ...

    def tidy(self, cap: int) -> None:
        """Evict what is over the bounds."""
        ...


def write(writer: Writer, batch: Batch, *, day: int, cap: int) -> None:
    for experience in batch.experiences:
        writer.experience(experience)
    for guide in batch.guides:
        writer.guide(guide)
    for trial in batch.trials:
        writer.trial(trial)
    for step in batch.steps:
        writer.step(step)
    for spend in batch.spending:
        writer.spend(day, spend)
    for decision in batch.decisions:
        writer.decision(decision)
        writer.used(decision)
    for label in batch.labels:
        writer.label(label)
    for judged in batch.judged:
        writer.judged(judged)
    for answer in batch.cached:
        writer.cached(answer)
    writer.tidy(cap)
    if batch.settled:
        writer.settle(batch.settled)
