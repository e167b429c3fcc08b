"""The levels of a `MultiLevel`: classifiers of texts, chat models that answer by a label, and chances one can trust."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from rar.answers import without_thinking, words_of
from rar.embedding import Embedder, as_embedder
from rar.errors import ConfigurationError, TrainingDataError
from rar.linear import Array, SoftmaxModel, logistic, sigmoid, softmax
from rar.naming import shown
from rar.outcomes import LEAST
from rar.routers import saving
from rar.values import Reply, Vector

Places: TypeAlias = npt.NDArray[np.intp]
Ask: TypeAlias = Callable[[str, Sequence[str]], Sequence[str]]  # a model's name and texts; its answers

_SMOOTHING = 1.0
_LEAST_CHANCE = 1e-4
_WORD = re.compile(r"\S+")


@runtime_checkable
class Classifier(Protocol):
    """A local classifier, such as a fine-tuned encoder, as a level of a `MultiLevel`."""

    @property
    def labels(self) -> Sequence[str]:
        """What it tells apart."""
        ...

    def logits(self, texts: Sequence[str]) -> Array:
        """Before the softmax, shape `(n, labels)`."""
        ...


@dataclass(frozen=True, eq=False)
class TextClassifier:
    """A linear classifier on words and word pairs, and on embeddings where it has an embedder. Made by `fit`."""

    labels: tuple[str, ...]
    embedder: Embedder | None
    model: SoftmaxModel = field(repr=False)

    @classmethod
    def fit(
        cls, texts: Sequence[str], labels: Sequence[str], *, embedder: Any = None, penalty: float = 0.3
    ) -> TextClassifier:
        """Learn from labelled texts.

        Args:
            embedder: An `Embedder` or the name of a built-in one; None: words alone.
            penalty: Of half the squared weights; more is smoother.

        Raises:
            TrainingDataError: There are too few texts, or all labels are alike.
        """
        known = tuple(dict.fromkeys(labels))
        if len(texts) != len(labels) or len(texts) < LEAST or len(known) < 2:
            raise TrainingDataError(
                f"{len(texts)} texts and {len(labels)} labels, of which {len(known)} differ, are nothing to learn "
                f"from. {LEAST} texts of two labels are the least."
            )
        made = None if embedder is None else as_embedder(embedder)
        targets = np.eye(len(known))[[known.index(label) for label in labels]]
        return cls(known, made, SoftmaxModel.fit(list(texts), _vectors(made, texts), targets, penalty))

    def logits(self, texts: Sequence[str]) -> Array:
        return self.model.logits(list(texts), _vectors(self.embedder, texts))

    def facts(self) -> dict[str, Any]:
        """What `of_saved` needs beside the arrays of `model`."""
        return {"labels": list(self.labels), "embedder": None if self.embedder is None else {"id": self.embedder.id}}

    @classmethod
    def of_saved(cls, saved: saving.Saved, facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> TextClassifier:
        known = facts["embedder"]
        embedder = None if known is None else saving.embedder_of(replace(saved, about={"embedder": known}))
        return cls(tuple(facts["labels"]), embedder, SoftmaxModel.of_arrays(arrays))


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with the right label of each, to fit a `MultiLevel` to. No classifier may have learned from them.

    Args:
        texts: The user's questions.
        answers: What chat models said to each text, by the model's name.
        logprobs: The mean log-probability of each such answer, where that is known.
    """

    texts: Sequence[str]
    labels: Sequence[str]
    answers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    logprobs: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.texts) < LEAST:
            raise TrainingDataError(f"{len(self.texts)} texts are too few to fit to; {LEAST} are needed.")
        for what, column in {"labels": self.labels, **self.answers, **self.logprobs}.items():
            if len(column) != len(self.texts):
                raise TrainingDataError(f"There are {len(self.texts)} texts, and {len(column)} of {what}.")


@dataclass(frozen=True, eq=False)
class ChatLevel:
    """What the answers of a chat model are worth: how often each label it gives was which one in truth.

    Args:
        truth: Chances of the right label by the label that was said, shape `(k, k)`.
        line: Of the chance that it is right by its mean log-probability: constant and slope. None: not known.
    """

    name: str
    truth: Array
    line: tuple[float, float] | None = None

    @classmethod
    def fit(cls, name: str, said: Places, right: Places, count: int, logprobs: Sequence[float] | None) -> Self:
        """Learn from places of labels; -1 is an answer that is none."""
        whole = said >= 0
        table = np.full((count, count), _SMOOTHING / count)
        np.add.at(table, (said[whole], right[whole]), 1.0)
        line = None
        if logprobs is not None and whole.any():
            sure = np.column_stack([np.ones(int(whole.sum())), np.asarray(logprobs, np.float64)[whole]])
            found = logistic(sure, (said == right)[whole].astype(np.float64))
            line = float(found[0]), float(found[1])
        return cls(name, table / table.sum(1, keepdims=True), line)

    @property
    def logprobs(self) -> bool:
        """Whether its replies are to come with log-probabilities."""
        return self.line is not None

    def logits(self, said: Places, logprobs: Sequence[float | None] | None = None) -> Array:
        """Of the labels that it said, shape `(n, k)`; all alike where it said none, or is rather wrong than right."""
        count = len(self.truth)
        chances = np.where((said >= 0)[:, None], self.truth[said], 1.0 / count)
        if self.line is not None and logprobs is not None:
            for row, (place, logprob) in enumerate(zip(said.tolist(), logprobs, strict=True)):
                if place >= 0 and logprob is not None:
                    right = float(sigmoid(np.array(self.line[0] + self.line[1] * logprob)))
                    rest = np.delete(self.truth[place], place)
                    chances[row] = np.insert((1.0 - right) * rest / rest.sum(), place, right)
        # Whoever is mostly wrong knows nothing: the answer that it gave is not turned into another one.
        lost = np.flatnonzero((said >= 0) & (chances.argmax(1) != said))
        chances[lost] = 1.0 / count
        chances[lost, said[lost]] += _LEAST_CHANCE
        return np.log(np.maximum(chances, _LEAST_CHANCE))


def temperature(logits: Array, right: Places) -> float:
    """The T that minimises the negative log-likelihood of `softmax(logits / T)`, by a golden-section search."""
    rows = np.arange(len(right))

    def loss(log_t: float) -> float:
        scaled = logits / np.exp(log_t)
        return float((np.logaddexp.reduce(scaled, axis=1) - scaled[rows, right]).mean())

    low, high, part = -3.0, 3.0, (5**0.5 - 1.0) / 2.0
    while high - low > 1e-4:
        one, other = high - part * (high - low), low + part * (high - low)
        low, high = (low, other) if loss(one) <= loss(other) else (one, high)
    return float(np.exp((low + high) / 2.0))


def calibration_error(chances: Array, right: Places, bins: int = 15) -> float:
    """The expected calibration error: how far confidence and accuracy are apart, in bins of equal width."""
    confidence, hit = chances.max(1), chances.argmax(1) == right
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    apart = np.bincount(place, confidence, bins) - np.bincount(place, hit, bins)
    return float(np.abs(apart).sum() / len(right))


def importance(classifier: Classifier, words: Sequence[str]) -> Array:
    """How much each word matters: as the classifier says (`importance(words)`, such as from attention), if it can.

    Else how much the chance of the text's label changes where the word is left out.
    """
    own = getattr(classifier, "importance", None)
    if own is not None:
        return np.asarray(own(words), np.float64)
    without = [" ".join([*words[:at], *words[at + 1 :]]) for at in range(len(words))]
    chances = softmax(np.asarray(classifier.logits([" ".join(words), *without]), np.float64))
    label = int(chances[0].argmax())
    logs = np.log(np.maximum(chances[:, label], 1e-12))
    return np.asarray(np.abs(logs[0] - logs[1:]), np.float64)


def pruned(classifier: Classifier, text: str, cut: float, longest: int = 400) -> str:
    """`text` without the words that matter less than `cut` times the mean of all; whole words, in their order.

    A text of more than `longest` words, or of one, stays as it is.
    """
    words = _WORD.findall(text)
    if not cut or not 1 < len(words) <= longest:
        return text
    weight = importance(classifier, words)
    kept = [word for word, one in zip(words, weight, strict=True) if one >= cut * weight.mean()]
    return " ".join(kept) or text


class LabelReader:
    """Finds which of some labels an answer gives."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._words = [" ".join(words_of(label)) for label in labels]
        if len(set(self._words)) < len(self._words) or not all(self._words):
            raise ConfigurationError(f"labels={shown(list(labels))}: some of them are the same words, or none.")

    def __call__(self, answer: str) -> int:
        """The label's place: what the answer is, or the only one in its last line; -1 where there is none."""
        text = without_thinking(answer)
        words = " ".join(words_of(text))
        if words in self._words:
            return self._words.index(words)
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
        line = f" {' '.join(words_of(last))} "
        found = [at for at, label in enumerate(self._words) if f" {label} " in line]
        # "up" stands in "not up" as well, and "no" in "no change": only one label, and the longest, is meant.
        longest = [at for at in found if not any(_inside(self._words[at], self._words[b]) for b in found if b != at)]
        return longest[0] if len(longest) == 1 else -1


def mean_logprob(reply: Reply) -> float | None:
    """Of the tokens of a reply; None where the model gave none."""
    return sum(one for _, one in reply.logprobs) / len(reply.logprobs) if reply.logprobs else None


def _inside(label: str, other: str) -> bool:
    return f" {label} " in f" {other} "


def _vectors(embedder: Embedder | None, texts: Sequence[str]) -> Vector:
    if embedder is None:
        return np.zeros((len(texts), 0), np.float32)
    return np.asarray(embedder.embed(list(texts)), np.float32)
