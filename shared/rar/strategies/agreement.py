"""Agreement: two different cheap drafts that say the same are accepted (Yue et al., arXiv 2310.03094)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TypeAlias

from rar.errors import ConfigurationError
from rar.learning.judges import Judge, JudgeFunction, as_judge
from rar.naming import fields_repr, shown
from rar.options import named_arguments
from rar.strategy import Steps, ask_all
from rar.values import STRONG, WEAK, Answer, Call, Choice, Message, Reply, Request, Route

Drafter: TypeAlias = str | tuple[str, str]  # a model, or a model and what it is told beside the request


@named_arguments
@dataclass(frozen=True)
class AgreementCascade:
    """Ask `drafters` at the same time. If two of them agree, the first of these answers, else `model` does.

    Nothing is trained. The more the drafters differ, the more their agreement tells. A draft that failed or is empty
    agrees with none. `model` is routed to, so that its answer can stream.

    Args:
        drafters: Two or more models; one may take part several times with other instructions, as a pair of its name and
            a text that is put after the user's last message.
        judge: Says whether two drafts agree: a name, a `Judge` or a function, as for a router.
    """

    drafters: Sequence[Drafter]
    model: str = STRONG
    judge: str | Judge | JudgeFunction = "auto"
    _judge: Judge = field(init=False, repr=False, compare=False)

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        if isinstance(self.drafters, str) or not all(map(_is_drafter, self.drafters)):
            raise ConfigurationError(
                f"drafters={shown(self.drafters)} is no list of models. Pass names, or pairs of a name and an "
                f"instruction, such as [{WEAK!r}, ({WEAK!r}, 'Work it out as a program.')]."
            )
        if len(set(self.drafters)) < max(2, len(self.drafters)):
            raise ConfigurationError(
                f"drafters={shown(list(self.drafters))}: two or more different ones are needed, since a model agrees "
                "with itself."
            )
        object.__setattr__(self, "_judge", as_judge(self.judge))

    @property
    def models(self) -> Sequence[str]:
        """All that may be asked."""
        return (*dict.fromkeys(map(_model_of, self.drafters)), self.model)

    def steps(self, request: Request) -> Steps[Choice]:
        outcomes = yield from ask_all([_call(drafter, request) for drafter in self.drafters])
        drafts = [draft for draft in outcomes if isinstance(draft, Reply) and not draft.empty]
        for one, other in combinations(drafts, 2):
            if (yield from self._agree(request, one, other)):
                return Answer(one, "drafts_agree")
        return Route(self.model, reason="drafts_differ" if drafts else "drafts_failed")

    def _agree(self, request: Request, one: Reply, other: Reply) -> Steps[bool]:
        """Whether they do; where the judge cannot tell, it is asked the other way round."""
        for reference, candidate in ((one, other), (other, one)):
            verdict = yield from self._judge.steps(request, reference, candidate)
            if verdict.agrees is not None:
                return verdict.agrees
        return False


def _is_drafter(value: object) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2 and all(isinstance(part, str) and part for part in value)
    return isinstance(value, str)


def _model_of(drafter: Drafter) -> str:
    return drafter if isinstance(drafter, str) else drafter[0]


def _call(drafter: Drafter, request: Request) -> Call:
    if isinstance(drafter, str):
        return Call(drafter, request)
    model, told = drafter
    return Call(model, request, messages=with_note(request.messages, told))


def with_note(messages: Sequence[Message], note: str) -> tuple[Message, ...]:
    """The messages with a text after the last one of the user's; as a message of its own where there is none."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "user":
            ended = replace(messages[at], suffix=f"{messages[at].suffix}\n\n{note}")
            return (*messages[:at], ended, *messages[at + 1 :])
    return (*messages, Message("user", note))
