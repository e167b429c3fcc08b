"""Experts: one question, several ways to go about it, and a selector of the answer (MoRE, arXiv 2305.14628)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from rar.answers import question_of, said
from rar.errors import ConfigurationError
from rar.naming import fields_repr, shown
from rar.options import SHARE, named_arguments
from rar.strategies.answer_selector import AnswerSelector
from rar.strategies.chain_of_thought import concluded
from rar.strategies.drafting import agreed, came, has_tools_or_schema
from rar.strategy import Steps, ask_all
from rar.values import STRONG, WEAK, Answer, Call, Choice, Message, Reply, Request, Route

Expert: TypeAlias = str | tuple[str, str]


@named_arguments
@dataclass(frozen=True)
class Experts:
    """Each expert, a model with a prompt of its own, answers at the same time; `selector` says which answer is right.

    Calls of tools and objects of a schema are not judged by their words: what two experts agree on is the answer, else
    the strong model answers.

    Args:
        experts: By name, the experts' prompts, which are the weak model's, or pairs of a model and a prompt. Names are
            those that `selector` was fitted to.
        abstain_below: The strong model answers where no answer is as likely right (`AnswerSelector.abstain_at`).
    """

    experts: Mapping[str, Expert]
    selector: AnswerSelector
    abstain_below: float | None = None

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        if not isinstance(self.experts, Mapping) or len(self.experts) < 2:
            raise ConfigurationError(f"experts={shown(self.experts)} is no mapping of two or more names to prompts.")
        for name, expert in self.experts.items():
            parts = (expert,) if isinstance(expert, str) else expert
            if not isinstance(parts, tuple) or len(parts) > 2 or not all(isinstance(part, str) for part in parts):
                raise ConfigurationError(
                    f"Expert {name!r} is {shown(expert)}: no prompt, nor a pair of model and prompt."
                )
        if not isinstance(self.selector, AnswerSelector):
            raise ConfigurationError(f"selector={shown(self.selector)} is no AnswerSelector.")
        if set(self.selector.experts) != set(self.experts):
            known = list(self.selector.experts)
            raise ConfigurationError(f"The selector was fitted to {known}, and the experts are {list(self.experts)}.")
        if self.abstain_below is not None:
            SHARE("abstain_below", self.abstain_below)

    @property
    def models(self) -> Sequence[str]:
        return (*(_model(expert) for expert in self.experts.values()), STRONG)

    def steps(self, request: Request) -> Steps[Choice]:
        outcomes = yield from ask_all([_call(request, self.experts[name]) for name in self.selector.experts])
        drafts = came(outcomes)
        if not drafts:
            return Route(STRONG, reason="drafts_failed")
        if has_tools_or_schema(request, drafts):
            return agreed(request, drafts) or Route(STRONG, reason="split_vote")
        answers = [concluded(said(one)) if isinstance(one, Reply) and not one.empty else None for one in outcomes]
        chances = self.selector.scores(question_of(request), answers)
        best = int(np.argmax(chances))
        chosen, confidence = outcomes[best], float(chances[best])
        if not isinstance(chosen, Reply) or (self.abstain_below is not None and confidence < self.abstain_below):
            return Route(STRONG, reason="unsure", confidence=confidence)
        return Answer(chosen, "expert", confidence)


def _model(expert: Expert) -> str:
    return WEAK if isinstance(expert, str) else expert[0]


def _call(request: Request, expert: Expert) -> Call:
    prompt = expert if isinstance(expert, str) else expert[1]
    return Call(_model(expert), request, purpose="draft", messages=instructed(request.messages, prompt))


def instructed(messages: tuple[Message, ...], prompt: str) -> tuple[Message, ...]:
    """`messages` with a prompt of the developer's below their system message, or as one."""
    if not prompt:
        return messages
    if messages and messages[0].role == "system":
        first = replace(messages[0], suffix=f"{messages[0].suffix}\n\n{prompt}")
        return (first, *messages[1:])
    return (Message("system", prompt), *messages)
