"""The scores that routers learn from their own memory, one for each namespace, task and pair of models."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np

from rar.forking import NUMERIC, Lock
from rar.learning.gap import GapModel, fit
from rar.learning.origins import origins_of, shares
from rar.learning.policy import of_pair
from rar.learning.prior import Prior
from rar.memory.base import Memory
from rar.values import Vector

logger = logging.getLogger("rar")

LEAST = 40  # judged requests below which nothing is learned
GROWTH = 0.25  # share by which what is known must grow before a score is fitted anew
OPTIMISM = 0.5  # a fit to n requests expects too little of those it likes best, by about this over the root of n,
SEEN_ENOUGH = 1_000  # and never by less than for so many: what it likes best changes with the traffic
MOST = 20_000  # newest experiences that a fit looks at


def doubt(examples: float) -> float:
    """What to add to the gap that a fit to so many requests expects."""
    return OPTIMISM / math.sqrt(min(examples, SEEN_ENOUGH))


@dataclass(frozen=True, slots=True)
class Kind:
    """What one score is about."""

    namespace: str
    task: str
    weak_id: str
    strong_id: str
    since: float = 0.0


class LearnedScores:
    """Fits and holds the scores. `expect` may be called from any thread; fitting happens where `refresh` is called."""

    def __init__(self, memory: Memory, prior: Prior | None) -> None:
        self._memory, self._prior = memory, prior
        self._models: dict[Kind, GapModel | None] = {}
        self._new: dict[Kind, int] = {}
        self._lock = Lock()

    def expect(self, kind: Kind, text: str, embedding: Vector, prior: float | None) -> float | None:
        """The expected gap of a request; None while too little is known.

        Args:
            prior: The gap that the static router expects.
        """
        model = self._models.get(kind)
        if model is None:
            return None
        with NUMERIC:
            return model.expect(text, embedding, prior) + doubt(model.support)

    def known(self, kind: Kind) -> bool:
        """Whether memory was looked at for `kind` yet; else have `refresh` called."""
        return kind in self._models

    def learned(self, kind: Kind) -> None:
        """Count one more judged request of `kind`."""
        self._new[kind] = self._new.get(kind, 0) + 1

    def refresh(self, kind: Kind) -> None:
        """Fit the score of `kind` if it is due."""
        with NUMERIC, self._lock:
            before, new = self._models.get(kind), self._new.get(kind, 0)
            least = LEAST if before is None else GROWTH * before.examples + 20
            if self.known(kind) and new < least:
                return
            self._models[kind] = self._fit(kind, before) or before
            if self._models[kind] is not None:
                self._new[kind] = 0

    def _fit(self, kind: Kind, before: GapModel | None) -> GapModel | None:
        texts, vectors, gaps, weights, uses = [], [], [], [], []
        for experience in self._memory.experiences(namespace=kind.namespace, task=kind.task, limit=MOST):
            for tally in of_pair(experience, kind.weak_id, kind.strong_id, kind.since):
                if tally.guide_id is None:
                    texts.append(experience.text)
                    vectors.append(experience.embedding)
                    gaps.append(tally.mean_gap)
                    weights.append(tally.weight)
                    uses.append(origins_of(tally))
        self._new[kind] = max(self._new.get(kind, 0), len(texts))
        if len(texts) < LEAST:
            return None
        embeddings, priors, trust = np.stack(vectors), None, 0.0
        if self._prior is not None:
            asked = [text or "" for text in texts]
            priors = self._prior.gaps(self._prior.scores(asked, embeddings))
            trust = float(self._prior.rows > 0)
        weighted = np.array(weights) * shares(uses)
        return fit(texts, embeddings, np.array(gaps), weighted, priors, trust=trust, previous=before)
