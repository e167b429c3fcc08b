"""What strategies with several drafts share: which came, what they agree on, and how a prompt quotes them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from rar.answers import auto, shown
from rar.keys import has_form
from rar.strategies.votes import Said, standing
from rar.strategy import Outcome
from rar.texts import clipped
from rar.values import Answer, Message, Reply, Request

_LONGEST = 12_000  # characters of a draft that another model is shown
_TAG = re.compile(r"<(?=\s*/?\s*draft\b)", re.IGNORECASE)


def came(outcomes: Sequence[Outcome]) -> list[Reply]:
    """The replies that hold an answer, in order."""
    return [outcome for outcome in outcomes if isinstance(outcome, Reply) and not outcome.empty]


def agreed(request: Request, drafts: Sequence[Reply]) -> Answer | None:
    """What more than one draft says in the form that was asked for; None where none agree.

    Tool calls and objects of a schema are compared by their canonical JSON.
    """
    said: list[Said] = [auto(request, draft) for draft in drafts]
    order = standing(said)
    if not order or order[0][1] < 2:
        return None
    winner, votes = order[0]
    return Answer(drafts[said.index(winner)], "majority", votes / len(drafts))


def has_tools_or_schema(request: Request, drafts: Sequence[Reply]) -> bool:
    """Whether drafts have a form that no text may take the place of."""
    return has_form(request.task) or any(draft.tool_calls for draft in drafts)


def quoted(drafts: Sequence[Reply]) -> str:
    """The drafts as numbered quotations, which none of them can close."""
    texts = (_TAG.sub("(", clipped(shown(draft), _LONGEST)).strip() for draft in drafts)
    return "\n".join(f'<draft number="{n}">\n{text}\n</draft>' for n, text in enumerate(texts, 1))


def appended(messages: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    """`messages` with `text` below what the user says last; a message more where no user speaks."""
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=None)
    if last is None:
        return (*messages, Message("user", text))
    extended = replace(messages[last], suffix=f"{messages[last].suffix}\n\n{text}")
    return (*messages[:last], extended, *messages[last + 1 :])
