"""PairRanker: which of two answers is preferred, and the order of several (LLM-Blender, arXiv 2306.02561)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from typing_extensions import Self

from rar.answers import question_of, shown
from rar.errors import ConfigurationError, NotFittedError, TrainingDataError
from rar.linear import Array
from rar.options import Name, Number, named_arguments
from rar.outcomes import LEAST, Outcomes
from rar.routers import saving
from rar.strategies.answer_merits import Answers, Merits, Pairs
from rar.strategy import Steps
from rar.values import Reply, Request, question

Compare: TypeAlias = Callable[[str, str, str], float]
Mode: TypeAlias = Literal["full", "bubble"]
_MODES, _FOLDS = ("full", "bubble"), 5
_KIND, _NAME = "ranker", "merits"


class Ranker(Protocol):
    """Puts replies in order."""

    def rank(self, request: Request, replies: Sequence[Reply]) -> Sequence[int] | Steps[Sequence[int]]:
        """The places of the replies, the best first; or steps that find them, which may ask models."""
        ...


@dataclass(frozen=True)
class Pair:
    """Two answers to one question, of which one is preferred; with the models that gave them, if these are known."""

    question: str
    better: str
    worse: str
    better_by: str = ""
    worse_by: str = ""


@named_arguments
class PairRanker:
    """Learns from preferences which of two answers is better. Comparisons are exactly antisymmetric.

    It looks at words, length and layout, and at who wrote an answer if told so. So it tells style from style, and knows
    nothing of what is true.

    Args:
        penalty: Of the squared weights of words; more is smoother.
        authors: Whether to learn that some models' answers are preferred, too. Their names must be those of the router.
    """

    def __init__(self, *, penalty: float = 1.0, authors: bool = False) -> None:
        Number(above=True)("penalty", penalty)
        self.penalty, self.authors = penalty, authors
        self.facts: Mapping[str, Any] = {}
        self._merits: Merits | None = None
        self._compare: Compare | None = None

    @classmethod
    def of(cls, compare: Compare) -> Self:
        """A ranker by a function of a question and two answers, as a cross-encoder is: above 0, the first is better.

        It is asked in both orders, and half the difference counts.
        """
        if not callable(compare):
            raise ConfigurationError("A function of a question and two answers is needed.")
        ranker = cls()
        ranker._compare = compare
        return ranker

    def fit(self, data: Outcomes | Sequence[Pair]) -> Self:
        """Learn from pairs, or from recorded replies with scores: of each text, all pairs with different ones.

        `facts` then has the accuracy and the area under the curve on texts that were left out, beside those of two
        rules: the longer answer wins, and the answer of the better model wins.

        Raises:
            TrainingDataError: There are fewer than ten pairs, or no replies.
        """
        answers, pairs = _of_outcomes(data) if isinstance(data, Outcomes) else _of_pairs(data)
        if len(pairs) < LEAST:
            raise TrainingDataError(
                f"{len(pairs)} pairs of unlike answers are too few to learn from; {LEAST} are needed."
            )
        authors = tuple(sorted(set(answers.authors) - {""})) if self.authors else ()
        margins = self._held_out(answers, pairs, authors)
        self.facts = _facts(answers, pairs, margins)
        self._merits = Merits.fit(answers, pairs, self.penalty, authors).scaled(_scale(margins))
        self._compare = None
        return self

    def compare(self, request: Request | str, one: Reply | str, other: Reply | str) -> float:
        """The log-odds that `one` is preferred to `other`: above 0 if so. Swapped, the same with the other sign.

        Raises:
            NotFittedError: Nothing was learned yet.
        """
        if self._compare is not None:
            asked, first, second = _asked(request), _text(one), _text(other)
            return (self._compare(asked, first, second) - self._compare(asked, second, first)) / 2.0
        merit, than = self._of(request, [one, other])
        return float(merit - than)

    def rank(self, request: Request | str, replies: Sequence[Reply | str], mode: Mode = "full") -> list[int]:
        """The places of the replies, the best first, equals in the order given.

        Args:
            mode: `"full"` compares each with each, and adds the log-odds up; `"bubble"` compares the best so far with
                the next, and moves but that one.
        """
        Name(_MODES)("mode", mode)
        if mode == "bubble":
            best = 0
            for at in range(1, len(replies)):
                best = at if self.compare(request, replies[at], replies[best]) > 0.0 else best
            return [best, *(at for at in range(len(replies)) if at != best)] if len(replies) else []
        if self._compare is None:
            wins = list(self._of(request, replies))
        else:
            wins = [0.0] * len(replies)
            for one, other in combinations(range(len(replies)), 2):
                odds = self.compare(request, replies[one], replies[other])
                wins[one], wins[other] = wins[one] + odds, wins[other] - odds
        return sorted(range(len(replies)), key=lambda at: -wins[at])

    def save(self, folder: str | Path) -> Path:
        """Write the ranker into a folder, which is made where it is missing; an older one in it is replaced."""
        if self._merits is None:
            raise NotFittedError(type(self).__name__)
        config = {"penalty": self.penalty, "authors": self.authors}
        facts = {"facts": dict(self.facts)}
        return saving.write(Path(folder), _NAME, config, facts, self._merits.arrays(), kind=_KIND)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RouterFileError: It is missing, damaged, of a newer version, or something else.
        """
        saved = saving.read_known(Path(folder), kind=_KIND, name=_NAME, what="ranker")
        with saving.blamed(saved):
            ranker = cls(**saved.config)
            ranker._merits, ranker.facts = Merits.of_arrays(saved.arrays), saved.about["facts"]
        return ranker

    def __repr__(self) -> str:
        state = "by a function" if self._compare else f"of {self.facts['pairs']} pairs" if self.facts else "not fitted"
        return f"<PairRanker(penalty={self.penalty:g}, authors={self.authors}) {state}>"

    def _of(self, request: Request | str, replies: Sequence[Reply | str]) -> Array:
        if self._merits is None:
            raise NotFittedError(type(self).__name__)
        authors = [reply.model if isinstance(reply, Reply) else "" for reply in replies]
        return self._merits.of(Answers([_text(reply) for reply in replies], [_asked(request)] * len(replies), authors))

    def _held_out(self, answers: Answers, pairs: Pairs, authors: Sequence[str]) -> Array:
        """The difference of merits of each pair, by what was learned from other texts."""
        _, place = np.unique(np.array(answers.asked, np.str_), return_inverse=True)
        part = (np.random.default_rng(0).permutation(place.max() + 1)[place] % _FOLDS)[pairs[:, 0]]
        margins = np.zeros(len(pairs))
        for held in range(_FOLDS):
            if (part != held).any() and (part == held).any():
                merits = Merits.fit(answers, pairs[part != held], self.penalty, authors).of(answers)
                margins[part == held] = (merits[pairs[:, 0]] - merits[pairs[:, 1]])[part == held]
        return margins


def _of_outcomes(outcomes: Outcomes) -> tuple[Answers, Pairs]:
    texts = outcomes.replies.texts if outcomes.replies is not None else None
    if texts is None:
        raise TrainingDataError(f"{outcomes.name}: a ranker learns from replies, and none were kept.")
    said = texts if texts.ndim == 2 else texts[:, :, 0]
    n, m = said.shape
    answers = Answers(
        [str(text) for text in said.ravel()], list(np.repeat(outcomes.texts, m)), list(outcomes.models) * n
    )
    found = []
    for row in range(n):
        for one, other in combinations(range(m), 2):
            gap = outcomes.scores[row, one] - outcomes.scores[row, other]
            if gap > 0.0 or gap < 0.0:  # neither a tie nor NaN
                found.append((one, other) if gap > 0.0 else (other, one))
                found[-1] = (row * m + found[-1][0], row * m + found[-1][1])
    return answers, np.array(found, np.intp).reshape(-1, 2)


def _of_pairs(pairs: Sequence[Pair]) -> tuple[Answers, Pairs]:
    texts = [text for pair in pairs for text in (pair.better, pair.worse)]
    asked = [pair.question for pair in pairs for _ in range(2)]
    authors = [author for pair in pairs for author in (pair.better_by, pair.worse_by)]
    return Answers(texts, asked, authors), np.arange(2 * len(pairs), dtype=np.intp).reshape(-1, 2)


def _facts(answers: Answers, pairs: Pairs, margins: Array) -> dict[str, Any]:
    better, worse = pairs.T
    lengths = np.array([len(text) for text in answers.texts], np.float64)
    names = np.array(answers.authors, np.str_)
    wins = {name: float((names[better] == name).sum() / max((names[pairs] == name).sum(), 1)) for name in set(names)}
    merit = np.array([wins[name] for name in answers.authors])
    rules = {"": margins, "longer_": lengths[better] - lengths[worse], "better_model_": merit[better] - merit[worse]}
    found: dict[str, Any] = {"pairs": len(pairs)}
    for name, differences in rules.items():
        found[f"{name}accuracy"] = float(((differences > 0.0) + 0.5 * (differences == 0.0)).mean())
        found[f"{name}auc"] = _auc(differences)
    return found


def _auc(margins: Array) -> float:
    """The area under the curve of pairs that are told the one way or the other way round by chance.

    Told the other way round, a pair's margin changes its sign. The area is the chance that a margin of a pair whose
    first is better is above one of a pair whose second is.
    """
    order = np.sort(-margins)
    below = np.searchsorted(order, margins, "left") + np.searchsorted(order, margins, "right")
    return float(below.mean() / (2.0 * len(margins)))


def _scale(margins: Array) -> float:
    """By what to multiply margins, so that their logistic function is the chance that they are right (Newton)."""
    scale = 1.0
    for _ in range(30):
        wrong = 1.0 / (1.0 + np.exp(np.clip(scale * margins, -30.0, 30.0)))
        slope, curve = float((wrong * margins).sum()) - 1e-3 * scale, float((wrong * (1 - wrong) * margins**2).sum())
        scale = min(max(scale + slope / (curve + 1e-3), 1e-3), 1e3)
    return scale


def _asked(request: Request | str) -> str:
    return question_of(request if isinstance(request, Request) else question(request))


def _text(reply: Reply | str) -> str:
    return shown(reply) if isinstance(reply, Reply) else reply
