"""AnswerSelector: which expert's answer is right, and when none is to be trusted (MoRE, arXiv 2305.14628)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Self

from rar.errors import ConfigurationError, NotFittedError, TrainingDataError
from rar.linear import Array, logistic, sigmoid
from rar.naming import shown
from rar.options import SHARE, Number, named_arguments
from rar.outcomes import LEAST, Outcomes
from rar.routers import saving
from rar.strategies.expert_features import features, normalised, risk_coverage

_KIND, _FOLDS = "selector", 5


@named_arguments
class AnswerSelector:
    """The chance that each of several experts' answers is right, learned mostly from how far they agree.

    The paper's selector is a random forest. This is a logistic regression on the same kinds of features. It is as good
    on the paper's own records, needs no library, and its chances are calibrated.

    Args:
        penalty: Of the squared weights; more is smoother.
    """

    def __init__(self, *, penalty: float = 10.0) -> None:
        Number(above=True)("penalty", penalty)
        self.penalty = penalty
        self.experts: tuple[str, ...] = ()
        self.facts: Mapping[str, Any] = {}
        self._weights: Array = np.zeros(0)
        self._held_out: tuple[Array, Array] = np.zeros(0), np.zeros(0)  # confidence, and whether it was right

    def fit(self, data: Outcomes) -> Self:
        """Learn from recorded answers whose models are the experts, with scores from 0 (wrong) to 1 (right).

        `facts` then has accuracy and risk on questions that were left out, beside those of the majority and of the best
        expert.

        Raises:
            TrainingDataError: There are fewer than ten questions, or no answers, or a score is missing.
        """
        texts = data.replies.texts if data.replies is not None else None
        if texts is None:
            raise TrainingDataError(f"{data.name}: a selector learns from answers, and none were kept.")
        if len(data) < LEAST or np.isnan(data.scores).any():
            raise TrainingDataError(f"{data.name}: {LEAST} questions are needed, and all experts' scores of each.")
        said = texts if texts.ndim == 2 else texts[:, :, 0]
        rows = np.stack(
            [features(asked, [str(text) for text in row]) for asked, row in zip(data.texts, said, strict=True)]
        )
        scores = np.clip(data.scores, 0.0, 1.0)
        self.experts = data.models
        self._weights = self._learned(rows, scores)
        chances, part = np.zeros(scores.shape), np.random.default_rng(0).permutation(len(rows)) % _FOLDS
        for held in range(_FOLDS):
            chances[part == held] = sigmoid(
                rows[part == held] @ self._learned(rows[part != held], scores[part != held])
            )
        self._keep(chances, scores, said)
        return self

    def scores(self, question: str, answers: Sequence[str | None]) -> Array:
        """The chance that each expert's answer is right, in the order of `experts`; 0 of one that failed (None).

        Raises:
            ConfigurationError: There are more or fewer answers than experts.
        """
        if not self.experts:
            raise NotFittedError(type(self).__name__)
        if len(answers) != len(self.experts):
            raise ConfigurationError(
                f"There are {len(answers)} answers, and {len(self.experts)} experts: {self.experts}."
            )
        chances = sigmoid(features(question, answers) @ self._weights)
        return np.where([answer is None for answer in answers], 0.0, chances)

    def abstain_at(self, risk: float) -> float:
        """The confidence below which to abstain, so that a share of at most `risk` of the answers given is wrong.

        It is read from the questions that were left out of a fit, with one standard error added to what was wrong.

        Raises:
            ConfigurationError: Not even the surest answers are wrong so seldom.
        """
        SHARE("risk", risk)
        confidence, right = self._held_out
        if not len(right):
            raise NotFittedError(type(self).__name__)
        given = np.arange(1, len(right) + 1)
        wrong = (risk_coverage(confidence, right) * given + 1.0) / (given + 2.0)  # Laplace's, for few of them
        kept = np.flatnonzero(wrong + np.sqrt(wrong * (1.0 - wrong) / given) <= risk)
        if not len(kept):
            raise ConfigurationError(f"risk={shown(risk)} cannot be kept: too few answers are as sure as that.")
        return float(np.sort(confidence)[::-1][kept[-1]])

    def save(self, folder: str | Path) -> Path:
        """Write the selector into a folder, which is made where it is missing; an older one in it is replaced."""
        if not self.experts:
            raise NotFittedError(type(self).__name__)
        about = {"experts": list(self.experts), "facts": dict(self.facts)}
        arrays = {"weights": self._weights, "confidence": self._held_out[0], "right": self._held_out[1]}
        return saving.write(Path(folder), "logistic", {"penalty": self.penalty}, about, arrays, kind=_KIND)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RouterFileError: It is missing, damaged, of a newer version, or something else.
        """
        saved = saving.read_known(Path(folder), kind=_KIND, name="logistic", what="selector")
        with saving.blamed(saved):
            selector = cls(**saved.config)
            selector.experts, selector.facts = tuple(saved.about["experts"]), saved.about["facts"]
            selector._weights = saved.arrays["weights"]
            selector._held_out = saved.arrays["confidence"], saved.arrays["right"]
        return selector

    def __repr__(self) -> str:
        of = f"of {', '.join(self.experts)}" if self.experts else "not fitted"
        return f"<AnswerSelector(penalty={self.penalty:g}) {of}>"

    def _learned(self, rows: Array, scores: Array) -> Array:
        return logistic(rows.reshape(-1, rows.shape[-1]), scores.ravel(), self.penalty)

    def _keep(self, chances: Array, scores: Array, said: Any) -> None:
        """What the selector, the majority and the best expert are worth on questions that were left out."""
        at = np.arange(len(scores))
        right = scores[at, chances.argmax(1)]
        self._held_out = chances.max(1), right
        votes = np.array([majority([str(text) for text in row]) for row in said])
        self.facts = {
            "questions": len(scores),
            "accuracy": float(right.mean()),
            "risk": float(risk_coverage(*self._held_out).mean()),  # the area under risk over coverage
            "majority": float(scores[at, votes].mean()),
            "best_expert": float(scores.mean(0).max()),
        }


def majority(answers: Sequence[str]) -> int:
    """The place of the first answer that most experts gave."""
    words = [normalised(answer) for answer in answers]
    return words.index(Counter(words).most_common(1)[0][0])
