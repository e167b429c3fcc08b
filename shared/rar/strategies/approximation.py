"""Approximation: a local classifier that was trained on a model's answers stands in for it where it is sure.

After FrugalGPT (arXiv 2305.05176, section 3: model fine-tuning). It is for closed sets of answers, such as labels, and
abstains where it is not sure enough to agree with the model as often as was stated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from typing_extensions import Self

from rar.answers import words_of
from rar.errors import ConfigurationError, TrainingDataError
from rar.keys import has_form
from rar.linear import Array, SoftmaxModel, softmax
from rar.naming import fields_repr, shown
from rar.options import COUNT, SHARE
from rar.outcomes import LEAST
from rar.routers import saving
from rar.strategy import Steps, Strategy
from rar.values import STRONG, WEAK, Answer, Choice, Reply, Request, Route, Vector

KIND = "approximation"
_PENALTY = 1.0
_FOLDS = 5
_SURE = 1.645  # standard errors of a one-sided bound that holds with 95 %
_NEVER = 2.0  # a threshold that no chance reaches


@dataclass(frozen=True, eq=False)
class Approximation:
    """Answer with a label where the classifier is sure, and else as `inner` decides. Made by `fit`.

    It answers questions that stand alone: not calls with tools or a schema, and not those without a question.

    Args:
        labels: The answers there are, in the words that were most common.
        threshold: The least chance with which a label is given.
        agreement: How often a given label agrees with the model that was learned from, on texts that were left out.
        share: Of how many of these texts a label was given.
        inner: A model's name, or the strategy that decides.
    """

    labels: tuple[str, ...]
    threshold: float
    agreement: float
    share: float
    inner: str | Strategy = STRONG
    _model: SoftmaxModel | None = field(default=None, repr=False)

    __repr__ = fields_repr

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        answers: Sequence[str],
        *,
        agreement: float = 0.95,
        inner: str | Strategy = STRONG,
        most: int = 20,
    ) -> Self:
        """Learn what a model answers, and from which chance on labels surely agree with it as often as stated.

        Args:
            texts: What was asked, as it will be: the user's question.
            answers: What the model answered to each.
            agreement: How often a label that is given has to agree with the model; it abstains from others.
            most: Different answers there may be.

        Raises:
            TrainingDataError: The answers are no closed set, or too few, or all alike.
        """
        SHARE("agreement", agreement)
        COUNT("most", most)
        if not isinstance(inner, (str, Strategy)) or isinstance(inner, type):
            raise ConfigurationError(f"inner={shown(inner)} is neither a model's name nor a strategy.")
        labels, place = _closed(texts, answers, most)
        chances = _out_of_fold(texts, place, len(labels))
        threshold, agreed, share = threshold_for(chances.max(1), chances.argmax(1) == place, agreement)
        return cls(labels, threshold, agreed, share, inner, _fitted(texts, place, len(labels)))

    def predict(self, texts: Sequence[str]) -> tuple[list[str], Array]:
        """The likeliest label of each text, and the chance that the model would give it."""
        if self._model is None:
            raise ConfigurationError("This approximation was not fitted. Make one with `Approximation.fit`.")
        chances = softmax(self._model.logits(texts, _no_vectors(len(texts))))
        return [self.labels[at] for at in chances.argmax(1)], chances.max(1)

    @property
    def models(self) -> Sequence[str]:
        """Those that are asked where it abstains, as far as they are known."""
        return (self.inner,) if isinstance(self.inner, str) else tuple(getattr(self.inner, "models", ()))

    def steps(self, request: Request) -> Steps[Choice]:
        if request.key is not None and not has_form(request.task):
            (label,), (chance,) = self.predict([request.key])
            if chance >= self.threshold:
                return Answer(Reply(WEAK, label, model_id=KIND), "approximated", float(chance))
        if isinstance(self.inner, str):
            return Route(self.inner, reason="abstained")
        return (yield from self.inner.steps(request))

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write it, but for `inner`, into a folder, which is made where it is missing."""
        if self._model is None:
            raise ConfigurationError("This approximation was not fitted. Make one with `Approximation.fit`.")
        facts = {"labels": list(self.labels), "agreement": self.agreement, "share": self.share}
        return saving.write(Path(folder), KIND, {"threshold": self.threshold}, facts, self._model.arrays(), kind=KIND)

    @classmethod
    def load(cls, folder: str | Path, *, inner: str | Strategy = STRONG) -> Self:
        """Read what `save` wrote.

        Raises:
            RouterFileError: It is missing, damaged, of a newer version, or something else.
        """
        saved = saving.read_known(Path(folder), kind=KIND, name=KIND)
        with saving.blamed(saved):
            facts = saved.about
            return cls(
                tuple(facts["labels"]), float(saved.config["threshold"]), float(facts["agreement"]),
                float(facts["share"]), inner, SoftmaxModel.of_arrays(saved.arrays),
            )  # fmt: skip


def threshold_for(chance: Array, agrees: np.ndarray, wanted: float) -> tuple[float, float, float]:
    """The least threshold with which labels surely agree as often as wanted, how often they do, and their share.

    Where none does, nothing is accepted.
    """
    order = np.argsort(-chance, kind="stable")
    taken = np.arange(1, len(chance) + 1)
    agreed = np.cumsum(agrees[order]) / taken
    # Wilson's lower bound: it is sure of nothing after a few that agree.
    z = _SURE**2 / taken
    low = (agreed + z / 2.0 - _SURE * np.sqrt(agreed * (1.0 - agreed) / taken + z / (4.0 * taken))) / (1.0 + z)
    last = np.r_[chance[order][1:] < chance[order][:-1], True]  # equal chances are accepted together
    able = np.flatnonzero((low >= wanted) & last)
    if not len(able):
        return _NEVER, float("nan"), 0.0
    at = able[-1]
    return float(chance[order][at]), float(agreed[at]), float(taken[at] / len(chance))


def _closed(texts: Sequence[str], answers: Sequence[str], most: int) -> tuple[tuple[str, ...], np.ndarray]:
    """The labels, most common first, and the place of each answer among them."""
    if len(texts) != len(answers):
        raise TrainingDataError(f"There are {len(texts)} texts and {len(answers)} answers.")
    if len(texts) < LEAST:
        raise TrainingDataError(f"{len(texts)} answers are too few to learn from; {LEAST} are needed.")
    said = [" ".join(words_of(answer)) for answer in answers]
    counts = Counter(said)
    if len(counts) > most or len(counts) > len(said) / 5:
        raise TrainingDataError(
            f"There are {len(counts)} different answers among {len(said)}: they are no closed set, and cannot be "
            "foreseen by a classifier. Ask for labels, or use another strategy."
        )
    if len(counts) < 2:
        raise TrainingDataError("All answers are alike. There is nothing to learn.")
    known = [label for label, _ in counts.most_common()]
    words: dict[str, Counter[str]] = {label: Counter() for label in known}
    for label, answer in zip(said, answers, strict=True):
        words[label][answer.strip()] += 1
    labels = tuple(words[label].most_common(1)[0][0] for label in known)
    return labels, np.array([known.index(label) for label in said])


def _out_of_fold(texts: Sequence[str], place: np.ndarray, labels: int) -> Array:
    """The chances of all labels, each text by a fit to the others of its fold; equal texts share one."""
    _, same = np.unique(np.array(texts, object).astype(str), return_inverse=True)
    part = np.random.default_rng(0).permutation(same.max() + 1)[same] % _FOLDS
    chances = np.full((len(texts), labels), 1.0 / labels)
    for fold in np.unique(part):
        held, seen = np.flatnonzero(part == fold), np.flatnonzero(part != fold)
        if len(seen):
            model = _fitted([texts[int(row)] for row in seen], place[seen], labels)
            chances[held] = softmax(model.logits([texts[int(row)] for row in held], _no_vectors(len(held))))
    return chances


def _fitted(texts: Sequence[str], place: np.ndarray, labels: int) -> SoftmaxModel:
    return SoftmaxModel.fit(texts, _no_vectors(len(texts)), np.eye(labels)[place], _PENALTY)


def _no_vectors(n: int) -> Vector:
    return np.zeros((n, 0), np.float32)
