"""What the words and the form of an answer tell of which of two is preferred. Pure; the base of `PairRanker`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rar.linear import Array, Design, conjugate_gradients
from rar.routers.simple import pack_words, unpack_words
from rar.texts import clipped

Pairs = npt.NDArray[np.intp]  # (n, 2): places of the better answer and of the worse one

_REFUSAL = re.compile(r"\b(?:sorry|apologi[sz]e|as an ai|i cannot|i can't|unable to)\b", re.IGNORECASE)
_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])[ \t]|\*\*|^#{1,6} ", re.MULTILINE)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, eq=False)
class Merits:
    """A merit for each answer, such that the better of a pair tends to have more of it. The words' weights are ridged.

    The log-odds that one answer is preferred to another are the difference of their merits (Bradley & Terry 1952).
    """

    idf: Array = field(repr=False)
    words: Array = field(repr=False)  # (BUCKETS,)
    form: Array
    authors: tuple[str, ...]
    of_authors: Array

    @classmethod
    def fit(cls, answers: Answers, pairs: Pairs, penalty: float, authors: Sequence[str] = ()) -> Merits:
        """Have the difference of merits be near 1 for each pair, by least squares.

        Args:
            authors: Models whose answers are liked more or less whatever they say; empty: who wrote is not looked at.
        """
        design = Design.of(answers.texts, np.column_stack([_forms(answers), _authored(answers, authors)]))
        used, small = design.compact()
        n, (better, worse) = len(answers.texts), pairs.T

        def differences(weights: Array) -> Array:
            merits = small.times(weights)
            return np.asarray(merits[better] - merits[worse], np.float64)

        def back(values: Array) -> Array:
            moved = np.bincount(better, values, n) - np.bincount(worse, values, n)
            return small.transposed_times(np.asarray(moved, np.float64))

        found = conjugate_gradients(
            lambda weights: back(differences(weights)) + penalty * weights,
            back(np.ones(len(pairs))), np.zeros(small.columns), steps=50,
        )  # fmt: skip
        words = np.zeros(len(design.idf))
        words[used] = found[: len(used)]
        dense = found[len(used) :].astype(np.float32).astype(np.float64)  # as files hold them
        forms = len(dense) - len(authors)
        rounded = words.astype(np.float32).astype(np.float64)
        idf = design.idf.astype(np.float32).astype(np.float64)
        return cls(idf, rounded, dense[:forms], tuple(authors), dense[forms:])

    def scaled(self, scale: float) -> Merits:
        """The same order, with differences that many times as large."""
        return Merits(self.idf, self.words * scale, self.form * scale, self.authors, self.of_authors * scale)

    def of(self, answers: Answers) -> Array:
        """Shape `(n,)`."""
        design = Design.of(
            answers.texts, np.column_stack([_forms(answers), _authored(answers, self.authors)]), self.idf
        )
        return design.times(np.concatenate([self.words, self.form, self.of_authors]))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What makes it up, for a file."""
        names = np.array(self.authors, np.str_)
        return {**pack_words(self.words, self.idf), "form": self.form, "authors": names, "of_authors": self.of_authors}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Merits:
        words, idf = unpack_words(arrays)
        names = tuple(str(name) for name in arrays["authors"])
        return cls(idf, words, arrays["form"], names, arrays["of_authors"])


@dataclass(frozen=True)
class Answers:
    """Answers, what each was given to, and by which model."""

    texts: Sequence[str]
    asked: Sequence[str]
    authors: Sequence[str]


def _authored(answers: Answers, authors: Sequence[str]) -> Array:
    """A column for each author."""
    found = np.zeros((len(answers.texts), len(authors)))
    for row, author in enumerate(answers.authors):
        if author in authors:
            found[row, authors.index(author)] = 1.0
    return found


def _forms(answers: Answers) -> Array:
    pairs = zip(answers.asked, answers.texts, strict=True)
    return np.array([_form(clipped(asked), clipped(text), len(text)) for asked, text in pairs]).reshape(-1, 8)


def _form(asked: str, text: str, length: int) -> list[float]:
    """Length, layout, refusals and shared words, scaled against the words of the text."""
    long, told = np.log1p(length) - 5.0, np.log1p(len(asked)) - 4.0
    words, wanted = set(_WORD.findall(text.lower())), set(_WORD.findall(asked.lower()))
    return [
        0.25 * long,
        0.1 * long**2,
        0.1 * long * told,
        0.1 * np.log1p(text.count("\n")),
        0.1 * np.log1p(len(_ITEM.findall(text))),
        0.3 * bool(_REFUSAL.search(text[:300])),
        0.3 * len(words & wanted) / max(len(wanted), 1),
        0.1 * text.rstrip().endswith((".", "!", "?", ")", '"', "`")),
    ]
