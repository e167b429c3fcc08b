"""What people's grades say of a judge, and of the gaps that rest on it. Pure.

A judge errs both ways. It lets a wrong answer pass, and one that only compares refuses what is wrong in another way, or
right where the strong model is wrong. A sample of what it judged, graded by a person, tells how far its word is to be
believed. Without labels nothing is corrected, and few of them correct little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rar.forking import Lock
from rar.intervals import Share, wilson
from rar.linear import Array
from rar.memory.base import Label, Memory

NOISE = 0.1  # variance of a true gap around what a judge's word lets expect
LEVEL, SLOPE = 0.1, 0.3  # by how much, in a standard deviation, judges are taken to err before anybody looked
IMAGINED = 10.0  # labels that the reference's quality counts for as it was known without any
LOOK = 30.0  # seconds after which labels of other processes are read


@dataclass(frozen=True, slots=True)
class Correction:
    """From gaps as a judge sees them to gaps as people do, for one model: a plane through the expected and the judged.

    Args:
        level: What is added to a usual gap.
        of_expected, of_judged: What is added for each unit that the expected gap, and the judged one, lie above.
        usual: The gap that labels had on average, as the judge saw them.
        labels: How many it rests on.
    """

    level: float = 0.0
    of_expected: float = 0.0
    of_judged: float = 0.0
    usual: float = 0.0
    labels: int = 0

    def __call__(self, gap: float) -> float:
        """What is to be expected where gaps are this large on average, as the judge sees them."""
        return gap + self.level + (self.of_expected + self.of_judged) * (gap - self.usual)

    def given(self, judged: float) -> float:
        """What is to be expected of an answer that was judged so."""
        return judged + self.level + self.of_judged * (judged - self.usual)


NONE = Correction()


def correction(labels: Sequence[Label]) -> Correction:
    """The correction for one model by the labels of its answers.

    What the person found above what the judge did is explained by what had been expected and by what was judged
    (Bayesian linear regression, from no correction at all). So both may bear on which of the judged requests are
    labelled.
    """
    if not labels:
        return NONE
    judged = np.array([label.judged for label in labels])
    usual = float(np.average(judged, weights=[max(label.weight, 1e-9) for label in labels]))
    expected = np.array([usual if label.expected is None else label.expected for label in labels])
    found = np.array([label.gap for label in labels]) - judged
    seen = np.column_stack([np.ones(len(labels)), expected - usual, judged - usual])
    sure = np.diag([1.0 / LEVEL**2, 1.0 / SLOPE**2, 1.0 / SLOPE**2])
    level, of_expected, of_judged = np.linalg.solve(seen.T @ seen / NOISE + sure, seen.T @ found / NOISE).tolist()
    return Correction(level, of_expected, of_judged, usual, len(labels))


def reference_quality(labels: Sequence[Label], known: float) -> float:
    """Mean quality of the reference model's own answers.

    Args:
        known: What it was taken for without labels.
    """
    if not labels:
        return known
    weights = _weights(labels)
    counts = float(weights.sum() ** 2 / (weights @ weights))  # labels of equal weight that say as much
    mean = float(np.average([label.strong for label in labels], weights=weights))
    return (counts * mean + IMAGINED * known) / (counts + IMAGINED)


def _weights(labels: Sequence[Label]) -> Array:
    return np.array([max(label.weight, 1e-9) for label in labels])


@dataclass(frozen=True, slots=True)
class JudgeErrors:
    """How often a judge was wrong, by people's grades, each with its 95 % interval; None where nothing was labelled.

    Args:
        labels: How many there are.
        strong: Quality of the strong model's answers.
        wrong_agreements: Share of its agreements where the weak answer is worse.
        wrong_differences: Share of its refusals where the weak answer is as good, or better.
        better: Share of the labelled answers of weak models that are better than the strong one's.
    """

    labels: int
    strong: Share | None
    wrong_agreements: Share | None
    wrong_differences: Share | None
    better: Share | None


def errors(labels: Sequence[Label]) -> JudgeErrors:
    """What labels say of the judge."""
    agreed = [label for label in labels if label.judged <= 0.0]
    differed = [label for label in labels if label.judged > 0.0]
    return JudgeErrors(
        len(labels),
        _share([label.strong for label in labels], labels),
        _share([label.gap > 0.0 for label in agreed], agreed),
        _share([label.gap <= 0.0 for label in differed], differed),
        _share([label.gap < 0.0 for label in labels], labels),
    )


def _share(found: Sequence[float], labels: Sequence[Label]) -> Share | None:
    """The weighted share, with the interval of as many labels of equal weight as say as much."""
    if not labels:
        return None
    weights = _weights(labels)
    counts = float(weights.sum() ** 2 / (weights @ weights))
    share = wilson(float(np.average(found, weights=weights)) * counts, counts)
    assert share is not None
    return Share(share.value, share.low, share.high, len(labels))


@dataclass(frozen=True, slots=True)
class JudgeStats:
    """What is known of a router's judge.

    Args:
        undecided: Share of what it was asked that it could not tell; None while it was asked nothing.
        errors: What people's grades say.
        kept: Share of the strong model's quality that the served answers have, as the judge says of those that were
            audited; None while none was.
        kept_corrected: The same as people's grades let expect; equal to `kept` without any.
    """

    undecided: float | None
    errors: JudgeErrors
    kept: float | None
    kept_corrected: float | None


@dataclass(frozen=True, slots=True)
class Audited:
    """What audits found of one model in one namespace, and how many of its answers were served there."""

    served: int
    audits: int
    errors: int
    correction: Correction = NONE
    reference: float = 1.0


def kept(parts: Sequence[Audited], served: int) -> tuple[float, float] | None:
    """The quality of `served` answers, as the judge says and corrected; None while nothing was audited."""
    seen = [part for part in parts if part.audits]
    if not seen or not served:
        return None
    lost = corrected = 0.0
    for part in seen:
        worse = part.errors / part.audits
        lost += part.served * worse
        gap = worse * part.correction.given(1.0) + (1.0 - worse) * part.correction.given(0.0)
        corrected += part.served * gap / max(part.reference, 1e-9)
    return 1.0 - lost / served, 1.0 - corrected / served


class Corrections:
    """The corrections of a memory's namespaces and models. Any thread may ask.

    A label given by this process counts at once, one by another within `LOOK` seconds.
    """

    def __init__(self, memory: Memory, clock: Callable[[], float]) -> None:
        self._memory, self._clock = memory, clock
        self._known: dict[str, tuple[float, dict[str, Correction], tuple[Label, ...]]] = {}
        self._lock = Lock()

    def of(self, namespace: str, model_id: str, reference_id: str) -> Correction:
        """The correction of what a judge says of a model against the reference."""
        return self._look(namespace)[1].get(f"{model_id}\0{reference_id}", NONE)

    def reference(self, namespace: str, reference_id: str, known: float) -> float:
        """Quality of the reference's own answers; `known` without labels."""
        labels = self._look(namespace)[2]
        return reference_quality([one for one in labels if one.strong_id == reference_id], known) if labels else known

    def forget(self) -> None:
        """Read the labels anew."""
        self._known.clear()

    def _look(self, namespace: str) -> tuple[float, dict[str, Correction], tuple[Label, ...]]:
        known, now = self._known.get(namespace), self._clock()
        if known is not None and 0.0 <= now - known[0] < LOOK:
            return known
        with self._lock:
            labels = tuple(self._memory.labels(namespace)) if hasattr(self._memory, "labels") else ()
            pairs: dict[str, list[Label]] = {}
            for label in labels:
                pairs.setdefault(f"{label.weak_id}\0{label.strong_id}", []).append(label)
            known = now, {pair: correction(own) for pair, own in pairs.items()}, labels
            self._known[namespace] = known
        return known
