"""Scorers: how likely a reply is good, before a dearer model is asked (FrugalGPT, arXiv 2305.05176, section 3).

`LearnedScorer` learns it from outcomes whose replies were kept: from the words of question and reply, from whether
other cheap models said the same, and from log-probabilities where there are any.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from typing_extensions import Self

from rar.answers import Extractor, as_extractor, shown
from rar.errors import ConfigurationError, NotFittedError, RouterFileError, TrainingDataError
from rar.linear import Array, logistic, sigmoid
from rar.looks import same
from rar.naming import shown as named
from rar.options import POSITIVE, Number, named_arguments
from rar.outcomes import LEAST, Outcomes
from rar.routers import saving
from rar.routers.base import Progress
from rar.strategies.reply_words import ReplyWords
from rar.strategy import Steps
from rar.values import Reply, Request, as_text, question

_FOLDS = Number(2, whole=True)
KIND = "scorer"


@runtime_checkable
class Scorer(Protocol):
    """Says how likely a reply is good enough."""

    def score(self, request: Request, reply: Reply, earlier: Sequence[Reply] = (), /) -> float | Steps[float]:
        """From 0 to 1, at once or as steps that ask a model.

        Args:
            earlier: What cheaper models replied to the same request, none of it empty.
        """
        ...


@dataclass(frozen=True, eq=False)
class Readings:
    """What `n` replies of each of `m` models look like, before that is weighed.

    Args:
        words: Expected score by the words, of a fit to other texts; shape `(n, m)`.
        same: 1 where the replies of two models say the same, -1 where not, 0 where nobody can tell; `(n, m, m)`.
        logprobs: Mean log-probability of the tokens, 0 where it is not known; `(n, m)`.
    """

    words: Array = field(repr=False)
    same: Array = field(repr=False)
    logprobs: Array = field(repr=False)

    def columns(self, model: int, earlier: Sequence[int]) -> Array:
        """What a reply is weighed by, when some models were asked before: a constant, and a column for each reading."""
        parts = [np.ones(len(self.words)), 4.0 * (self.words[:, model] - 0.5), self.logprobs[:, model]]
        return np.stack([*parts, *(self.same[:, model, other] for other in earlier)], 1)


@named_arguments
class LearnedScorer:
    """Learns from outcomes how likely a reply of each model is good, given what the models before it said.

    The order of the outcomes' models is that in which they are asked. Any thread may ask for scores.

    Args:
        penalty: Of squared weights of words.
        extract: What a reply says, for agreement: a name of `rar.answers`, or a function of a request and a reply.
        folds: Parts of the texts, each of which is scored by a fit to the others.
    """

    def __init__(self, *, penalty: float = 3.0, extract: str | Extractor = "auto", folds: int = 5) -> None:
        POSITIVE("penalty", penalty)
        _FOLDS("folds", folds)
        self.penalty, self.extract, self.folds = penalty, extract, folds
        self._extract = as_extractor(extract)
        self.models: tuple[str, ...] = ()  # that it was fitted to, in the order in which they are asked
        self.logprobs = False  # whether it looks at log-probabilities
        self._words: list[ReplyWords] = []
        self._weights: list[Array] = []

    def fit(self, outcomes: Outcomes, *, progress: Progress | None = None) -> Self:
        """Learn from replies and their scores, and forget what was learned before.

        Raises:
            TrainingDataError: No replies were kept, rows are too few, or scores are missing.
        """
        answers, target = answers_of(outcomes), target_of(outcomes)
        found = self.read(outcomes, progress=progress)
        self._weights = [
            logistic(found.columns(model, range(model)), target[:, model]) for model in range(len(outcomes.models))
        ]
        self._words = [
            ReplyWords.fit(outcomes.texts, answers[:, model], target[:, model], self.penalty)
            for model in range(len(outcomes.models))
        ]
        self.models, self.logprobs = outcomes.models, bool(found.logprobs.any())
        return self

    def score(self, request: Request, reply: Reply, earlier: Sequence[Reply] = ()) -> float:
        """The chance that a reply of a model that was learned about is good.

        Raises:
            ConfigurationError: It was fitted to other models.
        """
        if not self.models:
            raise NotFittedError(type(self).__name__)
        if reply.model not in self.models:
            raise ConfigurationError(
                f"The scorer was fitted to {list(self.models)}, and is asked about {reply.model!r}. Fit it to both."
            )
        model = self.models.index(reply.model)
        before = {other.model: self._extract(request, other) for other in earlier}
        said = self._extract(request, reply)
        words = self._words[model].score([request.key or as_text(request.messages)], [shown(reply)])[0]
        alike = [same(said, before.get(other)) for other in self.models[:model]]
        columns = [1.0, 4.0 * (words - 0.5), _mean_logprob(reply), *alike]
        return float(sigmoid(self._weights[model] @ np.array(columns)))

    def scores(self, outcomes: Outcomes) -> Array:
        """The score of each recorded reply, shape `(n, m)`, of the models that it was fitted to.

        Raises:
            ConfigurationError: The outcomes are of other models, or in another order.
        """
        if outcomes.models != self.models:
            raise ConfigurationError(
                f"The scorer was fitted to {list(self.models)}, and is asked about {list(outcomes.models)}."
            )
        answers = answers_of(outcomes)
        words = np.stack([w.score(outcomes.texts, answers[:, at]) for at, w in enumerate(self._words)], 1)
        found = Readings(words, all_same(self.said(outcomes, answers)), _logprobs(outcomes))
        chances = [sigmoid(found.columns(at, range(at)) @ weights) for at, weights in enumerate(self._weights)]
        return np.stack(chances, 1)

    def out_of_fold(self, outcomes: Outcomes, *, progress: Progress | None = None) -> Array:
        """The score of each reply by fits to other texts, shape `(n, m)`: what the scorer is worth on new ones."""
        target, found = target_of(outcomes), self.read(outcomes, progress=progress)
        models = range(len(outcomes.models))
        return np.stack([crossed(found.columns(m, range(m)), target[:, m], self.parts(outcomes)) for m in models], 1)

    def read(self, outcomes: Outcomes, *, progress: Progress | None = None) -> Readings:
        """The readings of recorded replies, those of words out of fold."""
        answers, target, parts = answers_of(outcomes), target_of(outcomes), self.parts(outcomes)
        words = words_out_of_fold(outcomes.texts, answers, target, parts, self.penalty, progress)
        return Readings(words, all_same(self.said(outcomes, answers)), _logprobs(outcomes))

    def parts(self, outcomes: Outcomes) -> np.ndarray[Any, Any]:
        """The fold of each row; equal texts share one."""
        _, place = np.unique(np.array(outcomes.texts, object).astype(str), return_inverse=True)
        return np.random.default_rng(0).permutation(place.max() + 1)[place] % self.folds

    def said(self, outcomes: Outcomes, answers: Any) -> list[list[Hashable]]:
        """What the models said to each text, in a form that can be compared."""
        requests = [question(text) for text in outcomes.texts]
        return [
            [self._extract(request, Reply("", str(answer))) for request, answer in zip(requests, column, strict=True)]
            for column in answers.T
        ]

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path, **about: Any) -> Path:
        """Write the scorer into a folder, which is made where it is missing; an older one in it is replaced.

        Raises:
            ConfigurationError: `extract` is a function, which no file holds.
        """
        if not self.models:
            raise NotFittedError(type(self).__name__)
        if not isinstance(self.extract, str):
            raise ConfigurationError(
                f"extract={named(self.extract)} is a function, which no file holds. Name one of `rar.answers`."
            )
        arrays = {
            f"{at}_{name}": array for at, words in enumerate(self._words) for name, array in words.arrays().items()
        }
        arrays |= {f"{at}_readings": weights for at, weights in enumerate(self._weights)}
        config = {"penalty": self.penalty, "extract": self.extract, "folds": self.folds}
        facts = {"models": list(self.models), "logprobs": self.logprobs, **about}
        return saving.write(Path(folder), "learned", config, facts, arrays, kind=KIND)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RouterFileError: It is missing, damaged, of a newer version, or something else.
        """
        return cls.of_saved(saving.read(Path(folder), kind=KIND))

    @classmethod
    def of_saved(cls, saved: saving.Saved) -> Self:
        """The scorer of a folder that was read."""
        if saved.router != "learned":
            raise RouterFileError(saved.where, f"it is a {saved.router!r} scorer, which this version does not know")
        with saving.blamed(saved):
            scorer = cls(**saved.config)
            scorer.models, scorer.logprobs = tuple(saved.about["models"]), bool(saved.about["logprobs"])
            for at in range(len(scorer.models)):
                mine = {k.removeprefix(f"{at}_"): v for k, v in saved.arrays.items() if k.startswith(f"{at}_")}
                scorer._weights.append(mine["readings"])
                scorer._words.append(ReplyWords.of_arrays(mine))
        return scorer

    def __repr__(self) -> str:
        given = f"penalty={self.penalty:g}, extract={named(self.extract)}, folds={self.folds}"
        return f"<LearnedScorer({given}) {'of ' + ', '.join(self.models) if self.models else 'not fitted'}>"


def answers_of(outcomes: Outcomes) -> Any:
    """The texts of the replies, shape `(n, m)`; of several samples the first.

    Raises:
        TrainingDataError: None were kept.
    """
    texts = outcomes.replies.texts if outcomes.replies is not None else None
    if texts is None:
        raise TrainingDataError(
            f"{outcomes.name}: there are no replies, from which a scorer learns. Read them with "
            "`read_outcomes(path, models=..., replies=True)`, or pass `Outcomes(..., replies=Replies(texts))`."
        )
    return texts if texts.ndim == 2 else texts[:, :, 0]


def target_of(outcomes: Outcomes) -> Array:
    """The scores between 0 and 1.

    Raises:
        TrainingDataError: Rows are too few, or one lacks a score.
    """
    if len(outcomes) < LEAST:
        raise TrainingDataError(f"{outcomes.name}: {len(outcomes)} rows are too few to learn from; {LEAST} are needed.")
    if np.isnan(outcomes.scores).any():
        row = int(np.argwhere(np.isnan(outcomes.scores))[0, 0])
        raise TrainingDataError(
            f"{outcomes.name}: row {row} lacks a score (NaN). Drop such with `outcomes.of_models(*outcomes.models)`."
        )
    low, high = min(float(outcomes.scores.min()), 0.0), max(float(outcomes.scores.max()), 1.0)
    return np.asarray((outcomes.scores - low) / (high - low), np.float64)


def words_out_of_fold(
    texts: Sequence[str],
    answers: Any,
    target: Array,
    parts: np.ndarray[Any, Any],
    penalty: float,
    progress: Progress | None = None,
) -> Array:
    """The score of each answer by its words, of a fit to the other parts; answers and target have shape `(n, m)`."""
    words = np.zeros(target.shape)
    for model in range(target.shape[1]):
        good, mean = target[:, model], float(target[:, model].mean())
        for part in np.unique(parts):
            seen, asked = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
            if len(seen):
                fitted = ReplyWords.fit(_at(texts, seen), answers[seen, model], good[seen], penalty)
                # The mean of the others is the higher the worse these are: it would tell of their own scores.
                fitted = replace(fitted, mean=mean)
                words[asked, model] = fitted.score(_at(texts, asked), answers[asked, model])
        if progress is not None:
            progress("scorers", model + 1, target.shape[1])
    return words


def crossed(columns: Array, target: Array, parts: np.ndarray[Any, Any]) -> Array:
    """The chances of a logistic regression on few columns, each row by a fit to the other parts."""
    chances = np.full(len(target), float(target.mean()))
    for part in np.unique(parts):
        held = parts == part
        if not held.all():
            chances[held] = sigmoid(columns[held] @ logistic(columns[~held], target[~held]))
    return chances


def all_same(said: Sequence[Sequence[Hashable]]) -> Array:
    """Whether each two of `m` models say the same to each of `n` texts, shape `(n, m, m)`; see `Readings`."""
    models, rows = range(len(said)), range(len(said[0]))
    found = np.zeros((len(rows), len(models), len(models)))
    for one in models:
        for other in range(one):
            found[:, one, other] = [same(a, b) for a, b in zip(said[one], said[other], strict=True)]
            found[:, other, one] = found[:, one, other]
    return found


def _logprobs(outcomes: Outcomes) -> Array:
    """The mean log-probability of each reply, 0 where it is not known."""
    kept = outcomes.replies.logprobs if outcomes.replies is not None else None
    if kept is None:
        return np.zeros(outcomes.scores.shape)
    return np.nan_to_num(kept if kept.ndim == 2 else kept[:, :, 0], nan=0.0)


def _mean_logprob(reply: Reply) -> float:
    return float(np.mean([chance for _, chance in reply.logprobs])) if reply.logprobs else 0.0


def _at(texts: Sequence[str], rows: np.ndarray[Any, Any]) -> list[str]:
    return [texts[row] for row in rows]
