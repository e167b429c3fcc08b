"""How a `MultiLevel` is fitted: calibrated levels, the cheapest plan, and what else these texts show to be worth it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rar.errors import TrainingDataError
from rar.linear import Array, softmax
from rar.strategies.level_search import LevelPlan, best_plan, plans, reroute_chance
from rar.strategies.levels import (
    Ask,
    ChatLevel,
    Classifier,
    LabelledTexts,
    LabelReader,
    Places,
    TextClassifier,
    calibration_error,
    pruned,
    temperature,
)

_MOST_LABELS = 100
_CUTS = (1.0, 0.75, 0.5, 0.25)  # of the mean importance of a text's words
_PRUNED_LOSS, _PRUNED_ROWS = 0.005, 300
_FAR = -30.0  # a logit of a label that a classifier does not know


@dataclass(frozen=True)
class LevelFacts:
    """What a fit found out about one level.

    Args:
        temperature: What its logits are divided by.
        accuracy: Share of right labels on all texts.
        error_before, error_after: Expected calibration error without the temperature and with it.
        cost: Of asking it once.
    """

    name: str
    temperature: float
    accuracy: float
    error_before: float
    error_after: float
    cost: float


@dataclass(frozen=True)
class FittedLevels:
    """All that a fit found out."""

    labels: tuple[str, ...]
    facts: tuple[LevelFacts, ...]
    chats: Mapping[int, ChatLevel] = field(repr=False)
    plan: LevelPlan
    ensemble: bool
    cuts: tuple[float, ...]  # one for each step of the plan; 0: the text goes on whole


class LevelFit:
    """One fit: the levels, the texts, and each level's chances of all labels."""

    def __init__(self, levels: Sequence[Classifier | str], val: LabelledTexts, ask: Ask | None) -> None:
        self.levels, self.val, self.ask = levels, val, ask
        self.labels = _labels(levels, val)
        self.right = np.array([self.labels.index(label) for label in val.labels])
        self.chats: dict[int, ChatLevel] = {}
        self.logits, self.seconds = list[Array](), list[float]()
        for at, level in enumerate(levels):
            begun = time.perf_counter()
            self.logits.append(
                self._said(at, level) if isinstance(level, str) else in_order(level, val.texts, self.labels)
            )
            self.seconds.append((time.perf_counter() - begun) / len(self.right))
        self.scales = [temperature(one, self.right) for one in self.logits]
        self.chances = [softmax(one / scale) for one, scale in zip(self.logits, self.scales, strict=True)]

    def found(self, target: float | None, costs: Sequence[float] | None, spread: float, *, prune: bool) -> FittedLevels:
        facts = self.facts(self.seconds if costs is None else costs)
        hits = np.stack([one.argmax(1) == self.right for one in self.chances], 1)
        sure = np.stack([one.max(1) for one in self.chances], 1)
        wanted = facts[-1].accuracy if target is None else target
        plan = best_plan(plans(sure, hits, [level.cost for level in facts], spread=spread), wanted)
        reach = list(self._reach(plan, spread))
        whole = (0.0,) * len(plan.thresholds)
        found = FittedLevels(self.labels, facts, self.chats, plan, self._mixes(facts, plan, reach), whole)
        return replace(found, cuts=self._cuts(plan, reach)) if prune else found

    def facts(self, costs: Sequence[float]) -> tuple[LevelFacts, ...]:
        return tuple(
            LevelFacts(
                name_of(level), scale, float((chances.argmax(1) == self.right).mean()),
                calibration_error(softmax(raw), self.right), calibration_error(chances, self.right), float(cost),
            )
            for level, raw, scale, chances, cost in zip(
                self.levels, self.logits, self.scales, self.chances, costs, strict=True
            )
        )  # fmt: skip

    def _said(self, at: int, name: str) -> Array:
        """The logits of a chat model's answers."""
        answers = self.val.answers.get(name)
        if answers is None:
            if self.ask is None:
                raise TrainingDataError(f"There are no answers of {name!r}. Put them into `answers`, or pass ask=.")
            answers = self.ask(name, self.val.texts)
        said, logprobs = places_of(self.labels, answers), self.val.logprobs.get(name)
        self.chats[at] = ChatLevel.fit(name, said, self.right, len(self.labels), logprobs)
        return self.chats[at].logits(said, logprobs)

    def _reach(self, plan: LevelPlan, spread: float) -> Iterator[Array]:
        """How likely each text gets to each level of the plan."""
        reach = np.ones(len(self.right))
        yield reach
        for level, threshold in zip(plan.levels, plan.thresholds, strict=False):
            reach = reach * reroute_chance(self.chances[level].max(1), threshold, spread)
            yield reach

    def _mixes(self, facts: Sequence[LevelFacts], plan: LevelPlan, reaches: Sequence[Array]) -> bool:
        """Whether the weighted mean of all levels is surely better than the last one alone, by a standard error."""
        gains, total = np.zeros(len(self.right)), np.zeros_like(self.chances[0])
        for level, reach in zip(plan.levels, reaches, strict=True):
            total = total + facts[level].accuracy * self.chances[level]
            hits, alone = total.argmax(1) == self.right, self.chances[level].argmax(1) == self.right
            gains = np.where(reach > 0.5, hits.astype(float) - alone, gains)
        return bool(gains.mean() > gains.std() / np.sqrt(len(gains)) > 0.0)

    def _cuts(self, plan: LevelPlan, reaches: Sequence[Array]) -> tuple[float, ...]:
        """How much may go at each step, so that the next level is as good on what it is sent."""
        texts, cuts = list(self.val.texts), list[float]()
        for step, reach in enumerate(reaches[1:]):
            here, there = plan.levels[step], plan.levels[step + 1]
            rows = np.flatnonzero(reach > 0.5)[:_PRUNED_ROWS]
            cuts.append(self._cut(self.levels[here], there, texts, rows) if len(rows) else 0.0)
        return tuple(cuts)

    def _cut(self, here: Classifier | str, to: int, texts: list[str], rows: Places) -> float:
        """The largest cut that does no harm at one step; `texts` are cut by it."""
        there = self.levels[to]
        counts_words = isinstance(there, TextClassifier) and there.embedder is None  # shorter texts are no cheaper
        if isinstance(here, str) or counts_words or (isinstance(there, str) and self.ask is None):
            return 0.0
        whole = float((self.chances[to].argmax(1) == self.right)[rows].mean())
        for cut in _CUTS:
            short = [pruned(here, texts[row], cut) for row in rows]
            if float((self._labelled(there, short) == self.right[rows]).mean()) >= whole - _PRUNED_LOSS:
                for row, text in zip(rows, short, strict=True):
                    texts[row] = text
                return cut
        return 0.0

    def _labelled(self, level: Classifier | str, texts: Sequence[str]) -> Places:
        if not isinstance(level, str):
            return np.asarray(in_order(level, texts, self.labels).argmax(1), np.intp)
        return places_of(self.labels, self.ask(level, texts) if self.ask is not None else [""] * len(texts))


def _labels(levels: Sequence[Classifier | str], val: LabelledTexts) -> tuple[str, ...]:
    known = [label for level in levels if not isinstance(level, str) for label in level.labels]
    labels = tuple(dict.fromkeys([*known, *val.labels]))
    if known and (unknown := set(val.labels) - set(known)):
        raise TrainingDataError(f"No classifier knows the labels {sorted(unknown)}.")
    if not 2 <= len(labels) <= _MOST_LABELS:
        raise TrainingDataError(f"There are {len(labels)} labels; two to {_MOST_LABELS} can be told apart.")
    return labels


def name_of(level: Classifier | str) -> str:
    return level if isinstance(level, str) else type(level).__name__


def places_of(labels: Sequence[str], answers: Sequence[str]) -> Places:
    read = LabelReader(labels)
    return np.array([read(answer) for answer in answers], np.intp)


def in_order(classifier: Classifier, texts: Sequence[str], labels: Sequence[str]) -> Array:
    """A classifier's logits in the order of `labels`."""
    own = np.asarray(classifier.logits(list(texts)), np.float64)
    found = np.full((len(texts), len(labels)), _FAR)
    found[:, [labels.index(label) for label in classifier.labels]] = own
    return found
