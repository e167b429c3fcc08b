"""Chain of thought: models work an answer out before they give it (arXiv 2201.11903; without examples 2205.11916)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from rar.answers import without_thinking
from rar.errors import ConfigurationError
from rar.keys import has_form
from rar.naming import fields_repr, shown
from rar.options import Name, named_arguments
from rar.strategies.rar import RAR
from rar.strategy import Outcome, Steps, Strategy, ask_all
from rar.values import STRONG, WEAK, Answer, Call, Choice, Failure, Message, Reply, Request, Route

Show: TypeAlias = Literal["answer", "all"]
TRIGGER = 'Work this out step by step. Then give the answer alone in a last line that begins with "Answer:".'
_ANSWER = re.compile(
    r"^[ \t*_#>-]*(?:(?:the|my) )?(?:final )?answer[*_]*(?::|[ ]is:?)[*_]*", re.IGNORECASE | re.MULTILINE
)
_INLINE = re.compile(r"\bthe (?:final )?answer is:?[ ]+(?P<answer>\S.*)$", re.IGNORECASE)


@named_arguments
@dataclass(frozen=True)
class ChainOfThought:
    """Have `inner` work answers out: its calls are sent the examples, and are told to go step by step.

    A strategy inside, such as a vote, is given the answers without the steps that led to them. Calls with tools or a
    schema are left as they are.

    Args:
        inner: A model's name, or the strategy that decides.
        examples: Questions with their steps and answer, as pairs. They stand before the conversation.
        trigger: What is added to the user's message; None: an order to think first, unless there are `examples`.
        show: `"all"` shows the steps too, and streams them; `"answer"` drafts them and shows the answer alone.
    """

    inner: str | Strategy = WEAK
    examples: Sequence[tuple[str, str]] = ()
    trigger: str | None = None
    show: Show = "all"
    _shots: tuple[Message, ...] = field(init=False, repr=False, compare=False)

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        Name(("answer", "all"))("show", self.show)
        if not isinstance(self.inner, (str, Strategy)) or isinstance(self.inner, type):
            raise ConfigurationError(f"inner={shown(self.inner)} is neither a model's name nor a strategy.")
        if self.show == "answer" and isinstance(self.inner, RAR):
            raise ConfigurationError(
                'show="answer" would hide answers from RAR\'s audits. Pass show="all", or a model\'s name as inner=.'
            )
        if self.trigger is not None and not isinstance(self.trigger, str):
            raise ConfigurationError(f"trigger={shown(self.trigger)} is no text.")
        shots: list[Message] = []
        for pair in self.examples:
            if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                raise ConfigurationError(f"examples={shown(self.examples)} are no pairs of a question and an answer.")
            shots += (Message("user", pair[0]), Message("assistant", pair[1]))
        object.__setattr__(self, "_shots", tuple(shots))

    @property
    def models(self) -> Sequence[str]:
        if isinstance(self.inner, str):
            return (self.inner, STRONG)
        listed = getattr(self.inner, "asks", getattr(self.inner, "models", ()))
        return (*(listed.values() if isinstance(listed, Mapping) else listed), STRONG)

    def steps(self, request: Request) -> Steps[Choice]:
        if has_form(request.task):
            return (yield from self._inner(request))
        choice = yield from self._asked(request)
        if isinstance(choice, Answer):
            return choice
        route = replace(
            choice, messages=self.prompted(request.messages) if choice.messages is None else choice.messages
        )
        return route if self.show == "all" else (yield from _drafted(request, route))

    def prompted(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """`messages` with the examples before the conversation, and the trigger where the user's last message ends."""
        trigger = self.trigger if self.trigger is not None else "" if self._shots else TRIGGER
        start = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
        last = max((at for at, message in enumerate(messages) if message.role == "user"), default=None)
        told = list(messages)
        if trigger and last is None:
            told.append(Message("user", trigger))
        elif trigger and last is not None:
            told[last] = replace(told[last], suffix=f"{told[last].suffix}\n\n{trigger}")
        return (*told[:start], *self._shots, *told[start:])

    def _inner(self, request: Request) -> Steps[Choice]:
        if not isinstance(self.inner, str):
            return (yield from self.inner.steps(request))
        return Route(self.inner, reason="step_by_step")

    def _asked(self, request: Request) -> Steps[Choice]:
        """What `inner` decides, whose calls are told to think, and which sees answers only."""
        inner, whole = self._inner(request), dict[int, tuple[Reply, Reply]]()
        try:
            batch = next(inner)
            while True:
                told = [_wants_answer(call, request) for call in batch]
                calls = [
                    replace(call, messages=self.prompted(request.messages)) if thinks else call
                    for call, thinks in zip(batch, told, strict=True)
                ]
                outcomes = yield from ask_all(calls)
                seen = [_answer(outcome) if thinks else outcome for outcome, thinks in zip(outcomes, told, strict=True)]
                for short, outcome in zip(seen, outcomes, strict=True):
                    if isinstance(short, Reply) and isinstance(outcome, Reply):
                        whole[id(short)] = short, outcome
                batch = inner.send(seen)
        except StopIteration as stop:
            choice: Choice = stop.value
        finally:
            inner.close()
        if not isinstance(choice, Answer):
            return choice
        drafted = choice.draft or choice.reply
        _, draft = whole.get(id(drafted), (drafted, drafted))
        return replace(choice, draft=draft) if self.show == "answer" or choice.draft else replace(choice, reply=draft)


def concluded(text: str) -> str:
    """The answer that a chain of thought ends in: what follows its last "Answer:"; the whole text where none does."""
    text = without_thinking(text)
    after = (text[mark.end() :].strip(" \t\n*_") for mark in reversed(list(_ANSWER.finditer(text))))
    if answer := next(filter(None, after), None):
        return answer
    found = _INLINE.search(next((line for line in reversed(text.splitlines()) if line.strip()), ""))
    return found["answer"].strip() if found else text


def _wants_answer(call: Call, request: Request) -> bool:
    """Whether a call asks what the user asks, and not something of a strategy's own."""
    return call.messages is None and call.request.messages is request.messages and call.purpose != "judge"


def _answer(outcome: Outcome) -> Outcome:
    if isinstance(outcome, Failure) or outcome.tool_calls:
        return outcome
    return replace(outcome, text=concluded(outcome.text), native=None)


def _drafted(request: Request, route: Route) -> Steps[Choice]:
    """The answer alone of what `route` says, which therefore cannot stream."""
    call = Call(route.model, request, route.guide, "draft", messages=route.messages)
    (outcome,) = yield from ask_all([call])
    answer = _answer(outcome)
    if isinstance(answer, Failure) or answer.empty:
        return Route(STRONG, reason="drafts_failed")
    return Answer(answer, route.reason, route.confidence, outcome if isinstance(outcome, Reply) else None)
