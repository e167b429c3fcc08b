"""Kinds of question: clusters of the stored embeddings, named by the words that tell them apart. Pure, repeatable."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rar.intervals import Share, wilson
from rar.learning.verdicts import of_pair, works
from rar.report.served import Served
from rar.values import Experience, Vector

LEAST = 24  # questions below which kinds are not told apart
_MOST_KINDS = 10
_SAMPLE = 800  # questions that are compared with each other to choose the number of kinds
_STARTS = 3  # of k-means, the best of which counts
_ROUNDS = 25  # of k-means, which has come to rest long before
_WORTH = 0.005  # of the silhouette: what a further kind must add
_WORDS = 4  # that name a kind
_SHARED_BY = 3  # questions that must hold a word before it may name their kind, so that no single user's does

_WORD = re.compile(r"[^\W\d_](?:[^\W_]|['’](?=\w)){2,}")
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")  # Thai, kana, Han, Hangul
_USUAL = frozenset(
    [
        "about",
        "after",
        "all",
        "also",
        "and",
        "any",
        "are",
        "ask",
        "been",
        "before",
        "but",
        "can",
        "could",
        "did",
        "does",
        "each",
        "else",
        "for",
        "from",
        "get",
        "give",
        "had",
        "has",
        "have",
        "her",
        "his",
        "how",
        "into",
        "its",
        "just",
        "like",
        "make",
        "many",
        "may",
        "more",
        "most",
        "much",
        "must",
        "not",
        "off",
        "one",
        "only",
        "other",
        "our",
        "out",
        "over",
        "please",
        "same",
        "say",
        "shall",
        "she",
        "should",
        "some",
        "such",
        "tell",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "under",
        "until",
        "use",
        "was",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "whose",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)


@dataclass(frozen=True, slots=True)
class Kind:
    """Questions that resemble each other, and how the weak model fares on them.

    Args:
        words: What tells them from the others, the most telling first.
        questions: Different ones among those looked at.
        alone, guided, neither: How many of the tried ones the weak model answers alone, with a guide, or not.
        calls: Served calls that asked them, or something that was not judged itself and to which they are nearest; of
            the questions that were looked at, and so a share of all calls.
        strong: How many of these the strong model answered.
    """

    words: tuple[str, ...]
    questions: int
    alone: int
    guided: int
    neither: int
    calls: int
    strong: int

    @property
    def weak(self) -> Share | None:
        """The share of the tried questions that the weak model answers, alone or with a guide."""
        good = self.alone + self.guided
        return wilson(good, good + self.neither)


def kinds_of(
    experiences: Sequence[Experience], pairs: Mapping[str, tuple[str, str]], calls: Sequence[Served]
) -> tuple[Kind, ...]:
    """The kinds among `experiences` whose text is stored, most asked first; empty if there are too few.

    Args:
        experiences: With embeddings.
        pairs: Ids of the weak and the strong model whose verdicts count, by namespace.
        calls: What was served.
    """
    told = [one for one in experiences if one.text and one.embedding.size]
    if len(told) < LEAST:
        return ()
    labels = clusters(np.array([one.embedding for one in told], np.float32))
    groups = [[one for one, label in zip(told, labels, strict=True) if label == k] for k in range(labels.max() + 1)]
    known = {one.id for one in told}
    own = [(call.experience_id if call.experience_id in known else call.nearest, call.strong) for call in calls]
    asked, strong = Counter(id for id, _ in own), Counter(id for id, is_strong in own if is_strong)
    named = names([[words_of(one.text or "") for one in group] for group in groups])
    found = [_kind(group, words, pairs, asked, strong) for group, words in zip(groups, named, strict=True)]
    return tuple(sorted(found, key=lambda kind: (-kind.calls, -kind.questions)))


def _kind(
    group: Sequence[Experience],
    words: tuple[str, ...],
    pairs: Mapping[str, tuple[str, str]],
    asked: Mapping[str, int],
    strong: Mapping[str, int],
) -> Kind:
    alone = guided = neither = 0
    for one in group:
        tallies = of_pair(one, *pairs.get(one.namespace, ("", "")))
        if any(works(tally) and tally.guide_id is None for tally in tallies):
            alone += 1
        elif any(works(tally) for tally in tallies):
            guided += 1
        elif tallies:
            neither += 1
    calls = sum(asked.get(one.id, 0) for one in group)
    return Kind(words, len(group), alone, guided, neither, calls, sum(strong.get(one.id, 0) for one in group))


# --- clusters -------------------------------------------------------------------------------------------------------


def clusters(vectors: Vector) -> npt.NDArray[np.intp]:
    """A cluster's number for each row: spherical k-means, with as many clusters as are the best told apart.

    Args:
        vectors: Shape `(n, dim)`, unit norm, n at least 2.

    Returns:
        Shape `(n,)`; every number from 0 to the largest occurs.
    """
    rng = np.random.default_rng(0)
    sample = vectors[rng.permutation(len(vectors))[:_SAMPLE]]
    best, chosen = -math.inf, vectors[:1]
    for k in range(2, min(_MOST_KINDS, len(sample) // 8) + 1):
        tries = [_centres(sample, k, rng) for _ in range(_STARTS)]
        centres = max(tries, key=lambda found: float((sample @ found.T).max(axis=1).mean()))
        told_apart = _silhouette(sample, centres)
        if told_apart > best + _WORTH:
            best, chosen = told_apart, centres
    labels = (vectors @ chosen.T).argmax(axis=1)
    return np.unique(labels, return_inverse=True)[1]


def _centres(vectors: Vector, k: int, rng: np.random.Generator) -> Vector:
    """Spherical k-means from seeds that lie far apart (k-means++, Arthur & Vassilvitskii 2007)."""
    centres = vectors[[int(rng.integers(len(vectors)))]]
    while len(centres) < k:
        distance = np.clip(1.0 - (vectors @ centres.T).max(axis=1), 0.0, None)
        total = float(distance.sum())
        if total <= 1e-6:
            break  # all that is left are copies of the centres
        centres = np.vstack([centres, vectors[rng.choice(len(vectors), p=distance / total)]])
    for _ in range(_ROUNDS):
        labels = (vectors @ centres.T).argmax(axis=1)
        sums = np.array([vectors[labels == i].sum(axis=0) for i in range(len(centres))])
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        moved = np.where(norms > 1e-9, sums / np.maximum(norms, 1e-9), centres)
        if np.allclose(moved, centres, atol=1e-5):
            break
        centres = moved
    return centres


def _silhouette(vectors: Vector, centres: Vector) -> float:
    """Mean silhouette by distances to the centres (Hruschka et al. 2004); 0 where there is one cluster only."""
    if len(centres) < 2:
        return 0.0
    distances = np.sort(1.0 - vectors @ centres.T, axis=1)
    own, next_best = np.clip(distances[:, 0], 0.0, None), np.clip(distances[:, 1], 1e-9, None)
    return float((1.0 - own / next_best).mean())


# --- names ----------------------------------------------------------------------------------------------------------


def words_of(text: str) -> frozenset[str]:
    """Different words of three letters or more in lower case, and pairs of signs where a script has no spaces."""
    lower = text.lower()
    pairs = {run[i : i + 2] for run in _UNSPACED.findall(lower) for i in range(len(run) - 1)}
    words = {word for word in _WORD.findall(_UNSPACED.sub(" ", lower)) if word not in _USUAL}
    return frozenset(words | pairs)


def names(groups: Sequence[Sequence[frozenset[str]]]) -> list[tuple[str, ...]]:
    """For each group of questions the words that many of its own hold and few of the others (as TF-IDF of classes)."""
    held = [Counter(word for words in group for word in words) for group in groups]
    found = []
    for group, mine in zip(groups, held, strict=True):
        scored = {}
        for word, count in mine.items():
            if count < _SHARED_BY:
                continue
            share = count / len(group)
            elsewhere = max(
                (
                    other[word] / len(questions)
                    for other, questions in zip(held, groups, strict=True)
                    if other is not mine
                ),
                default=0.0,
            )
            scored[word] = share * math.log((share + 0.02) / (elsewhere + 0.02))
        best = sorted(scored, key=lambda word: (-scored[word], word))
        telling = [word for word in best if scored[word] > 0.0] or best
        found.append(tuple(telling[:_WORDS]))
    return found
