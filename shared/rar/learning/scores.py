"""The scores that routers learn from their own memory, one for each namespace, task and pair of models."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rar.evidence import Evidence, Expected, unrest
from rar.facts import attempts_of
from rar.forking import NUMERIC, Lock
from rar.keys import is_long, offers_tools
from rar.learning.gap import GapModel, Guess, fit, scatter, unlike
from rar.learning.origins import shares
from rar.learning.paraphrase import Bound, Judged, learn
from rar.learning.prior import Prior
from rar.learning.signs import SIZE, Signs
from rar.learning.verdicts import of_pair, works
from rar.linear import Array
from rar.memory.base import Memory
from rar.memory.origins import origins_of
from rar.values import WEAK, Experience, Origin, Tally, Vector

logger = logging.getLogger("rar")

LEAST = 16  # requests, all unlike, below which nothing is learned
LEAST_USUAL = 40  # any requests, or unlike ones whose gaps scatter as usual; the error of a mean goes with the variance
LEAST_JUDGED = 12  # of them that were judged of the model itself
GROWTH = 0.25  # share by which what is known must grow before a score is fitted anew
OPTIMISM = 0.4  # about a standard deviation of the gaps of answers that are right or wrong
SEEN_ENOUGH = 1_000  # requests beyond which a fit is hopeful still: what it likes best changes with the traffic
_NEAREST = 8  # requests by which it is told which of several guides is for one
MOST = 20_000  # newest experiences that a fit looks at


def doubt(examples: float, scatter: float | None = None) -> float:
    """What to add to the gap that a fit expects: too little of those that it likes best, by about a standard error.

    Args:
        examples: How many requests it was fitted to.
        scatter: Variance of their gaps.
    """
    return OPTIMISM * math.sqrt(unrest(scatter) / min(examples, SEEN_ENOUGH))


@dataclass(frozen=True, slots=True)
class Kind:
    """What one score is about: a model against the reference, on one kind of work.

    Args:
        since: Trials before this time prove nothing.
        cheaper: Ids of the models that are tried before this one, and if they will do, instead of it.
        compared: Whether the static router, if there is one, compares this model with the reference.
        guided: With the guides that are in use or on trial, instead of alone.
        drafted: Of answers that can be looked at before they are served.
    """

    namespace: str
    task: str
    model_id: str
    reference_id: str
    since: float = 0.0
    cheaper: tuple[str, ...] = field(default=(), compare=False)
    compared: bool = True
    guided: bool = False
    drafted: bool = False

    @property
    def with_guides(self) -> Kind:
        return replace(self, cheaper=(), compared=False, guided=True)

    @property
    def with_drafts(self) -> Kind:
        return replace(self, cheaper=(), drafted=True)


def kinds_of(namespace: str, task: str, evidence: Evidence) -> list[Kind]:
    """The kinds of all standings, in their order."""
    ids = tuple(standing.model_id for standing in evidence.standings)
    return [
        Kind(namespace, task, one.model_id, evidence.reference_id, one.since, ids[:at], one.model == WEAK)
        for at, one in enumerate(evidence.standings)
    ]


@dataclass(frozen=True, slots=True)
class Drafted:
    """The score of a model's drafts, asked about one request."""

    model: GapModel = field(repr=False)
    text: str
    embedding: Vector = field(repr=False)
    prior: float | None

    @property
    def reach(self) -> float:
        return self.model.reach

    def expect(self, signs: Sequence[float]) -> Expected:
        with NUMERIC:
            return _expected(self.model, self.model.expect(self.text, self.embedding, self.prior, signs))


class LearnedScores:
    """Fits and holds the scores. `expect` may be called from any thread; fitting happens where `refresh` is called.

    Args:
        paraphrase: Share of wrong verdicts that bounds are learned for (`rar.learning.paraphrase`); None: none is.
    """

    def __init__(self, memory: Memory, prior: Prior | None, paraphrase: float | None = None) -> None:
        self._memory, self._prior, self._paraphrase = memory, prior, paraphrase
        self._bounds: dict[Kind, Bound] = {}
        self._models: dict[Kind, GapModel | None] = {}
        self._new: dict[Kind, int] = {}  # requests of which the score knows nothing yet
        self._due: dict[Kind, float] = {}  # as many of those as it is fitted anew for
        self._lock = Lock()

    def expect(self, kind: Kind, text: str, embedding: Vector, prior: float | None) -> Expected | None:
        """What is expected of a request; None while too little is known.

        Args:
            prior: The gap that the static router expects.
        """
        model = self._models.get(kind)
        if model is None:
            return None
        with NUMERIC:
            return _expected(model, model.expect(text, embedding, prior))

    def drafts(self, kind: Kind, text: str, embedding: Vector, prior: float | None) -> Drafted | None:
        """The score of drafts of `kind`, which says so; None while too little is known of them."""
        model = self._models.get(kind)
        return None if model is None else Drafted(model, text, embedding, prior)

    def bound(self, kind: Kind) -> Bound | None:
        """Where verdicts may be taken over from questions in other words; None while that is not known."""
        return self._bounds.get(kind)

    def known(self, kind: Kind) -> bool:
        """Whether memory was looked at for `kind` yet; else have `refresh` called."""
        return kind in self._models

    def learned(self, kind: Kind) -> None:
        """Count one more judged request of `kind`."""
        self._new[kind] = self._new.get(kind, 0) + 1

    def refresh(self, kind: Kind) -> None:
        """Fit the score of `kind` if it is due."""
        with NUMERIC, self._lock:
            before = self._models.get(kind)
            if self.known(kind) and self._new.get(kind, 0) < self._due.get(kind, LEAST):
                return
            fitted = self._fit(kind)
            self._models[kind] = fitted or before
            if fitted is not None:
                self._new[kind], self._due[kind] = 0, GROWTH * fitted.examples + 20.0
            else:  # too little is known yet: not to be read anew for each request
                self._due[kind] = max((1.0 + GROWTH) * self._new[kind], LEAST)

    def _fit(self, kind: Kind) -> GapModel | None:
        found = self._memory.experiences(namespace=kind.namespace, task=kind.task, limit=MOST)
        rows = self._guided_rows(found, kind) if kind.guided else _rows(found, kind)
        signs = None
        if kind.drafted:
            known = self._signs(kind)
            rows = [row for row in rows if row.experience.id in known]
            signs = np.array([known[row.experience.id] for row in rows]).reshape(-1, SIZE)
        judged = [row for row in rows if row.judged]
        if len(judged) < len(rows):
            # Of requests that a cheaper model answered, only those count that this model would have been tried on.
            began = min((row.at for row in judged), default=math.inf)
            rows = [row for row in rows if row.judged or row.at >= began]
        self._new[kind] = max(self._new.get(kind, 0), len(rows))
        if len(judged) < LEAST_JUDGED:
            return None
        weights = np.array([row.weight for row in rows]) * shares([row.origins for row in rows])
        gaps = np.array([row.gap for row in rows])
        texts, embeddings = [row.experience.text for row in rows], np.stack([row.experience.embedding for row in rows])
        self._bound(kind, rows, embeddings, weights)
        different = unlike(embeddings, weights)
        calm = unrest(scatter(gaps, weights, different))
        if len(rows) < LEAST_USUAL and different < max(LEAST, LEAST_USUAL * calm):
            return None
        priors, trust = None, 0.0
        if (
            self._prior is not None and not kind.guided and not is_long(kind.task)
        ):  # whose embeddings are not what the router was fitted to
            asked = [text or "" for text in texts]
            priors = self._prior.gaps(self._prior.scores(asked, embeddings))
            trust = float(self._prior.rows > 0 and kind.compared)
        return fit(texts, embeddings, gaps, weights, priors, trust=trust, signs=signs)

    def _signs(self, kind: Kind) -> dict[str, Signs]:
        """The signs of judged attempts alone, by experience; of several the newest."""
        found: dict[str, Signs] = {}
        for record in self._memory.decisions(namespace=kind.namespace, since=kind.since, limit=MOST):
            if record.experience_id in found:
                continue
            for attempt in attempts_of(record.facts, kind.model_id, kind.reference_id):
                if attempt.guide_id is None and len(attempt.signs) == SIZE:
                    found[record.experience_id] = attempt.signs
        return found

    def _bound(self, kind: Kind, rows: Sequence[_Row], embeddings: Vector, weights: Array) -> None:
        """Learn where verdicts may be taken over. Little words say which tool is called, and with which arguments."""
        if kind.guided or kind.drafted or not self._paraphrase or offers_tools(kind.task):
            return
        known = [at for at, row in enumerate(rows) if row.judged]
        judged = [
            Judged(rows[at].experience.text, rows[at].experience.signature, rows[at].works, float(weights[at]))
            for at in known
        ]
        self._bounds[kind] = learn(judged, embeddings[known], self._paraphrase)

    def _guided_rows(self, found: Sequence[Experience], kind: Kind) -> list[_Row]:
        """What trials with guides say that are not given up. One with several counts by the guide that is nearest."""
        live = {
            guide.id: guide
            for guide in self._memory.guides(namespace=kind.namespace, states=("active", "candidate"))
            if guide.task == kind.task
        }
        fair: list[tuple[Experience, list[Tally]]] = [
            (experience, tallies)
            for experience in found
            if live and (tallies := [
                tally
                for tally in of_pair(experience, kind.model_id, kind.reference_id, kind.since)
                if tally.guide_id in live and live[tally.guide_id].origin != experience.id
            ])
        ]  # fmt: skip
        tried: dict[str | None, list[tuple[Experience, Tally]]] = {}
        for experience, tallies in fair:
            for tally in tallies:
                tried.setdefault(tally.guide_id, []).append((experience, tally))
        return [
            _row_of(
                one, min(tallies, key=lambda tally: _nearby(one, tried[tally.guide_id])) if tallies[1:] else tallies[0]
            )
            for one, tallies in fair
        ]


def _expected(model: GapModel, guess: Guess) -> Expected:
    # A fit to drafts is wary itself: no more than luck allows is expected of what they look like.
    hopeful = doubt(model.support, model.scatter) if model.scale is None else 0.0
    return Expected(guess.gap + hopeful, guess.unsure, model.scatter, model.examples)


def _nearby(experience: Experience, tried: Sequence[tuple[Experience, Tally]]) -> float:
    """The mean gap with a guide on the nearest other requests, by whether it is the right one for this."""
    others = [(other, tally) for other, tally in tried if other is not experience]
    if not others:
        return 1.0
    near = np.stack([other.embedding for other, _ in others]) @ experience.embedding
    nearest = np.argsort(-near)[:_NEAREST]
    return float(np.mean([others[at][1].mean_gap for at in nearest]))


@dataclass(frozen=True, slots=True)
class _Row:
    """What one experience says of a model; `judged` unless it is concluded from what a cheaper one did."""

    experience: Experience
    gap: float
    weight: float
    origins: tuple[Origin, ...]
    at: float
    works: bool
    judged: bool = True


def _row_of(experience: Experience, tally: Tally) -> _Row:
    return _Row(experience, tally.mean_gap, tally.weight, origins_of(tally), tally.at, works(tally))


def _rows(found: Sequence[Experience], kind: Kind) -> list[_Row]:
    return [row for experience in found if (row := _row(experience, kind)) is not None]


def _row(experience: Experience, kind: Kind) -> _Row | None:
    for tally in of_pair(experience, kind.model_id, kind.reference_id, kind.since):
        if tally.guide_id is None:
            return _row_of(experience, tally)
    for tally in experience.tallies:
        cheaper = tally.weak_id in kind.cheaper and tally.strong_id == kind.reference_id
        if cheaper and tally.guide_id is None and works(tally):
            # The climb ended there. What costs more is taken to be no worse there than the reference.
            gap, origins = min(tally.mean_gap, 0.0), origins_of(tally)
            return _Row(experience, gap, tally.weight, origins, tally.at, works=True, judged=False)
    return None
