"""FewShot: examples before each conversation, and PromptSelector, which finds out which of them are worth their tokens.

After FrugalGPT (arXiv 2305.05176, section 3: prompt selection). An example costs its tokens with every call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from typing_extensions import Self

from rar.answers import words_of
from rar.errors import ConfigurationError, TrainingDataError
from rar.estimates import Interval, bootstrap
from rar.keys import has_form
from rar.linear import Array
from rar.naming import fields_repr, shown
from rar.options import COUNT, Number, named_arguments
from rar.routers import saving
from rar.strategy import Outcome, Steps, Strategy, ask_all
from rar.tokens import estimate
from rar.values import STRONG, WEAK, Call, Choice, Message, Request, Route

Example: TypeAlias = tuple[str, str]
Ask: TypeAlias = Callable[[Sequence[Example], Sequence[str]], Sequence[str]]  # examples and questions; answers
Score: TypeAlias = Callable[[str, str], float]  # an answer and the right one; 0 to 1

KIND = "examples"
_PER_MESSAGE = 4  # tokens that a chat template puts around each message


def same_words(answer: str, right: str) -> float:
    """1 if both are the same words, whatever their case and punctuation."""
    return float(words_of(answer) == words_of(right))


@named_arguments
@dataclass(frozen=True)
class FewShot:
    """Show a model examples before each conversation. Calls with tools or a schema are left as they are.

    Args:
        examples: Questions with their answers, as pairs, or a `PromptSelector`'s choice.
        inner: A model's name, or the strategy that decides; its calls are shown the examples too.
    """

    examples: Sequence[Example]
    inner: str | Strategy = WEAK
    _shots: tuple[Message, ...] = field(init=False, repr=False, compare=False)

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        if not isinstance(self.inner, (str, Strategy)) or isinstance(self.inner, type):
            raise ConfigurationError(f"inner={shown(self.inner)} is neither a model's name nor a strategy.")
        shots: list[Message] = []
        for question, answer in checked(self.examples):
            shots += (Message("user", question), Message("assistant", answer))
        object.__setattr__(self, "_shots", tuple(shots))

    @property
    def models(self) -> Sequence[str]:
        """Those of `inner`, as far as they are known."""
        return (self.inner, STRONG) if isinstance(self.inner, str) else tuple(getattr(self.inner, "models", ()))

    def steps(self, request: Request) -> Steps[Choice]:
        if has_form(request.task) or not self._shots:
            return (yield from self._inner(request))
        shown_ones = self._prompted(request.messages)
        inner = self._inner(request)
        try:
            batch = next(inner)
            while True:
                outcomes: list[Outcome] = yield from ask_all(
                    [replace(call, messages=shown_ones) if _is_the_question(call, request) else call for call in batch]
                )
                batch = inner.send(outcomes)
        except StopIteration as stop:
            choice: Choice = stop.value
        finally:
            inner.close()
        if isinstance(choice, Route) and choice.messages is None:
            return replace(choice, messages=shown_ones)
        return choice

    def _prompted(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        start = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
        return (*messages[:start], *self._shots, *messages[start:])

    def _inner(self, request: Request) -> Steps[Choice]:
        if not isinstance(self.inner, str):
            return (yield from self.inner.steps(request))
        return Route(self.inner, reason="few_shot")


@dataclass(frozen=True)
class PromptSelector:
    """The examples that are worth their tokens. Made by `fit`.

    Args:
        examples: In the order in which they are shown.
        tokens, all_tokens: Of these, and of all examples that there were, as estimated.
        score, all_score: The mean score on the questions that they were chosen on, with these and with all.
        loss: What is lost against all examples, with its interval of 95 %, on the same questions.
        asked: Questions that were asked to find out.
    """

    examples: tuple[Example, ...]
    tokens: int
    all_tokens: int
    score: float
    all_score: float
    loss: Interval
    asked: int

    @classmethod
    def fit(
        cls,
        examples: Sequence[Example],
        dev: Sequence[Example],
        ask: Ask,
        max_tokens: int | None = None,
        *,
        within: float = 0.005,
        score: Score = same_words,
        max_asked: int = 20_000,
        seed: int = 0,
    ) -> Self:
        """Add one example after the other, each the one that gains most a token, until they are as good as all.

        An example that none of the others needs any more is then taken out again.

        Args:
            dev: Other questions with their answers, of the kind that will be asked.
            ask: Answers questions with examples before each, as the model will be.
            max_tokens: Of the examples together; None: as many as it takes.
            within: Score that may be lost against all examples.
            max_asked: Questions that may be asked; half the square of the number of examples for each of `dev`.

        Raises:
            TrainingDataError: There are no examples or no questions, or more would have to be asked.
        """
        pairs, questions = checked(examples), checked(dev)
        Number(0.0, 1.0)("within", within)
        COUNT("max_asked", max_asked)
        Number(1, whole=True, optional=True)("max_tokens", max_tokens)
        _check_size(len(pairs), len(questions), max_asked)
        search = _Search(pairs, questions, ask, score)
        chosen = search.without_idle(search.greedy(max_tokens, within), within)
        every = tuple(range(len(pairs)))
        lost = search.scores(every) - search.scores(chosen)
        loss = bootstrap(lambda weights: weights @ lost / weights.sum(-1), len(lost), seed=seed)
        return cls(
            tuple(pairs[at] for at in chosen), search.tokens(chosen), search.tokens(every),
            search.mean(chosen), search.mean(every), loss, search.asked,
        )  # fmt: skip

    def save(self, folder: str | Path) -> Path:
        """Write it into a folder, which is made where it is missing."""
        facts = {
            "examples": [list(pair) for pair in self.examples], "tokens": self.tokens, "all_tokens": self.all_tokens,
            "score": self.score, "all_score": self.all_score, "asked": self.asked,
            "loss": [self.loss.value, self.loss.low, self.loss.high],
        }  # fmt: skip
        return saving.write(Path(folder), KIND, {}, facts, {}, kind=KIND)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RouterFileError: It is missing, damaged, of a newer version, or something else.
        """
        saved = saving.read_known(Path(folder), kind=KIND, name=KIND)
        with saving.blamed(saved):
            facts = saved.about
            return cls(
                tuple(checked([tuple(pair) for pair in facts["examples"]])), int(facts["tokens"]),
                int(facts["all_tokens"]), float(facts["score"]), float(facts["all_score"]), Interval(*facts["loss"]),
                int(facts["asked"]),
            )  # fmt: skip


class _Search:
    """Sets of examples and their scores, each asked about once."""

    def __init__(self, pairs: Sequence[Example], dev: Sequence[Example], ask: Ask, score: Score) -> None:
        self.pairs, self.dev, self._ask, self._score = pairs, dev, ask, score
        self._known: dict[tuple[int, ...], Array] = {}
        self._sizes = [sum(estimate(text) + _PER_MESSAGE for text in pair) for pair in pairs]
        self.asked = 0

    def scores(self, chosen: tuple[int, ...]) -> Array:
        """Of each question, with these examples, in the order in which they were given."""
        known = self._known.get(chosen)
        if known is None:
            answers = self._ask([self.pairs[at] for at in chosen], [question for question, _ in self.dev])
            if len(answers) != len(self.dev):
                raise TrainingDataError(f"ask= gave {len(answers)} answers to {len(self.dev)} questions.")
            self.asked += len(self.dev)
            known = np.array([self._score(said, right) for said, (_, right) in zip(answers, self.dev, strict=True)])
            self._known[chosen] = known
        return known

    def mean(self, chosen: tuple[int, ...]) -> float:
        return float(self.scores(chosen).mean())

    def tokens(self, chosen: Sequence[int]) -> int:
        return sum(self._sizes[at] for at in chosen)

    def greedy(self, max_tokens: int | None, within: float) -> tuple[int, ...]:
        """The best found that is as good as all examples; where none is, the best within the tokens."""
        every = tuple(range(len(self.pairs)))
        wanted = self.mean(every) - within - 1e-12
        chosen: tuple[int, ...] = ()
        best = chosen
        while self.mean(chosen) < wanted:
            room = None if max_tokens is None else max_tokens - self.tokens(chosen)
            able = [at for at in every if at not in chosen and (room is None or self._sizes[at] <= room)]
            if not able:
                break
            grown = [tuple(sorted((*chosen, at))) for at in able]
            gains = [
                (self.mean(one) - self.mean(chosen)) / self._sizes[at] for one, at in zip(grown, able, strict=True)
            ]
            chosen = grown[int(np.argmax(gains))]
            if self.mean(chosen) > self.mean(best):
                best = chosen
        return chosen if self.mean(chosen) >= wanted else best

    def without_idle(self, chosen: tuple[int, ...], within: float) -> tuple[int, ...]:
        """`chosen` without examples whose loss costs nothing, the longest first."""
        least = min(self.mean(tuple(range(len(self.pairs)))) - within, self.mean(chosen)) - 1e-12
        for at in sorted(chosen, key=lambda at: -self._sizes[at]):
            fewer = tuple(one for one in chosen if one != at)
            if self.mean(fewer) >= least:
                chosen = fewer
        return chosen


def checked(examples: Sequence[Example]) -> list[Example]:
    """Pairs of a question and an answer.

    Raises:
        ConfigurationError: They are none.
    """
    for pair in examples:
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise ConfigurationError(f"examples={shown(examples)} are no pairs of a question and an answer.")
    return [(question, answer) for question, answer in examples]


def _check_size(pairs: int, questions: int, max_asked: int) -> None:
    """Refuse what is too little to choose from or by, and what may take more than `max_asked` questions."""
    if not pairs or not questions:
        raise TrainingDataError(f"There are {pairs} examples and {questions} questions to choose by.")
    most = (pairs * (pairs + 1) // 2 + 2 * pairs + 2) * questions
    if most > max_asked:
        raise TrainingDataError(
            f"{pairs} examples and {questions} questions may take {most:,} questions to ask, and max_asked is "
            f"{max_asked:,}. Pass fewer of either, or a higher max_asked."
        )


def _is_the_question(call: Call, request: Request) -> bool:
    """Whether a call asks what the user asks, and not something of a strategy's own."""
    return call.messages is None and call.request.messages is request.messages and call.purpose != "judge"
