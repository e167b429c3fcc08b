"""The learning loop of a router with a memory: what was served goes in, what was learned is stored."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rar.drive import Models
from rar.errors import MemoryStoreError
from rar.learning.claims import Claim
from rar.learning.learner import Learner, Lesson
from rar.learning.obstacles import asks, obstacle
from rar.learning.packing import Packer
from rar.learning.records import Served
from rar.learning.scores import Kind, LearnedScores, kinds_of
from rar.learning.screen import Screen
from rar.learning.worker import Mode, Worker
from rar.learning.writer import Writer
from rar.memory.base import Batch
from rar.memory.forgetting import Gone
from rar.memory.lessons import PackedLesson
from rar.naming import cause
from rar.recent import is_gone
from rar.values import Decision, Reply

logger = logging.getLogger("rar")

_SEEDED = 5.0  # seconds after which what other processes spent is looked up again


class LearningLoop:
    """Hands lessons to the learner on the worker's threads, and what comes of them to the writer. Any thread may call.

    Args:
        mode: The worker's, or `"queue"`: lessons that can be written down are left to workers of any machine, which
            the memory's queue keeps for them. The others are learned in the background.
        stores: Whether anything may be written; else what is handed over is dropped.
        learns_not: Why nothing is ever learned here, a code of `rar.words.NOT_LEARNED`; None if something is.
    """

    def __init__(
        self,
        learner: Learner,
        writer: Writer,
        screen: Screen,
        scores: LearnedScores,
        *,
        mode: Mode,
        stores: bool,
        learns_not: str | None,
    ) -> None:
        self.learner, self.writer, self.screen, self.scores = learner, writer, screen, scores
        self.stores, self.learns_not = stores, learns_not
        self._unseen: set[Kind] = set()
        self._closed = False
        self.mode = mode
        writes_down = mode == "queue" and learner.store_text and learner.redact is None  # lessons hold whole prompts
        self._packer = Packer(learner.memory.secret) if writes_down else None
        self._seeded = -_SEEDED
        self.worker: Worker[Lesson] = Worker(
            self._study, self._write, mode="background" if mode == "queue" else mode, drop=self._dropped,
            weigh=Lesson.size,
        )  # fmt: skip

    @property
    def paused(self) -> bool:
        """Whether nothing can be stored at present: lessons would be paid for again and again."""
        return self.writer.paused is not None

    @property
    def learns(self) -> bool:
        return self.mode != "off" and not self.paused

    def age(self, now: float) -> float:
        """Seconds that the lesson which has waited longest has waited."""
        oldest = self.worker.oldest
        return 0.0 if oldest is None else max(now - oldest.decision.at, 0.0)

    def take(self, decision: Decision, reply: Reply, models: Models, costs: Mapping[str, Any]) -> None:
        """Keep a served decision, and have learned from it what there is to learn. Returns at once unless inline."""
        lesson = Lesson(decision, reply, models, costs)
        code = self.learns_not or obstacle(decision, reply) or ("unstored" if self.paused else None)
        if code is None and self.mode == "inline":
            self.worker.put(lesson)
            return
        if code is None and not asks(decision):
            self.writer.remember(self.learner.study(lesson))
            self.worker.touch()
            return
        packed = self._packer.pack(lesson) if code is None and self._packer is not None else None
        # At once, and again with what the lesson finds: a lesson may wait, hang or die.
        self._remember(lesson.left(code or "waiting"), () if packed is None else (packed,))
        if code is None and packed is None:
            self.worker.put(lesson)
        elif packed is not None:
            self._look_later(decision)
        elif self.mode == "inline":
            self._write()
        self.worker.touch()

    def _look_later(self, decision: Decision) -> None:
        """Count what workers will learn among the examples of scores, and have those fitted anew that are due."""
        request, evidence = decision.request, decision.request.evidence
        if evidence is not None:
            for alone in kinds_of(request.namespace, request.task, evidence):
                for kind in (alone, alone.with_guides):
                    self.scores.learned(kind)
                    self._unseen.add(kind)

    def write(self, batch: Batch) -> None:
        """Store what a person said, where anything may be stored."""
        if self.stores:
            self.writer.write(batch)

    def remember(self, batch: Batch) -> None:
        """Have a batch written before long, and at once where learning is inline."""
        self.writer.remember(batch)
        if self.mode == "inline":
            self._write()
        self.worker.touch()

    def ready(self, kind: Kind) -> bool:
        """Whether the memory was looked at for a score of `kind`. In the background the worker looks, before long."""
        if self.scores.known(kind):
            return True
        if self.mode in {"background", "queue"}:
            self._unseen.add(kind)
            self.worker.touch()
            return False
        self.scores.refresh(kind)
        return True

    def flush(self, timeout: float | None) -> bool:
        """Wait until all is learned and stored; False if it is not."""
        done = self.worker.flush(timeout)
        return done and (not self.stores or self.writer.settled())

    def close(self, timeout: float | None) -> None:
        self.worker.close(timeout)
        self._closed = True  # after the worker has written what it gave up

    def forget(self, gone: Gone) -> None:
        """Drop what waits and was deleted meanwhile."""
        self.worker.forget(lambda lesson: is_gone(gone, lesson.decision))
        self.writer.forget(gone)

    def _study(self, lesson: Lesson) -> None:
        if self.paused:
            self._remember(lesson.left("unstored"))
            return
        self.screen.write()
        with Claim(self.learner.memory, lesson.decision) as claim:
            try:
                batch = self.learner.study(lesson, claim)
            except BaseException:
                self._remember(lesson.left("call_failed"))
                self.learner.tell_learned(lesson.left("call_failed"))
                raise
            self.writer.write(batch)
        self._refresh(lesson, batch)

    def study_once(self, lesson: Lesson, effect: str) -> None:
        """Learn from a lesson that can come again, and write what comes of it unless `effect` is written already.

        Raises:
            LessonFailedError: It is to come again.
            MemoryStoreError: What was learned cannot be stored.
        """
        self.screen.write()
        self.seed_anew()
        with Claim(self.learner.memory, lesson.decision, effect) as claim:
            try:
                batch = self.learner.study(lesson, claim, again=True)
                self.learner.memory.write(replace(batch, effect=effect))
            finally:
                self.writer.flush()  # what its calls cost
        self._refresh(lesson, batch)

    def seed_anew(self) -> None:
        """Have the ledger know what other processes earned and spent, as of some seconds ago."""
        now = time.monotonic()
        if now - self._seeded >= _SEEDED:
            self._seeded = now
            with suppress(MemoryStoreError):  # what was known of them goes on until the memory answers again
                self.learner.ledger.seed_anew(self.learner.memory.spending())

    def _refresh(self, lesson: Lesson, batch: Batch) -> None:
        for kind in self.learner.kinds(lesson, batch):
            self.scores.learned(kind)
            self.scores.refresh(kind)

    def _dropped(self, lesson: Lesson) -> None:
        self._remember(lesson.left("dropped"))

    def _remember(self, served: Served, deferred: tuple[PackedLesson, ...] = ()) -> None:
        """Have a decision written before long, and in the same transaction its lesson left to the workers."""
        self.writer.remember(replace(served.batch(store_text=self.learner.store_text), deferred=deferred))

    def _write(self) -> None:
        if self._closed:
            return
        if self.stores:
            self.screen.write()
            self.writer.flush()
            if self.mode == "queue":
                self.seed_anew()
        while self._unseen:
            kind = self._unseen.pop()
            try:
                self.scores.refresh(kind)
            except MemoryStoreError as error:
                self._unseen.add(kind)  # till the next time
                logger.debug("Scores could not be fitted. %s", cause(error))
                return
