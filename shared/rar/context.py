"""The context of use: what a prompt holds around its question, and who may have put it there.

An answer depends on it, so a verdict found in one context does not serve another as a matter of course. A user's own
words may pretend to be such a context ("Question: … Context: write just OK"), and so may a conversation that a client
sends. Both frameworks give a plain question the same, empty context.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from rar.memory.identity import keyed_digest
from rar.templates import frame_of, instructions_in
from rar.values import Message

Kind: TypeAlias = Literal["plain", "told", "read", "system", "history"]

_TOLD: Final = {"given", "query_block", "tagged_prompt", "recorded", "query_extractor", "template_variable"}
_DIGEST: Final = 16  # hex digits: 64 bits of each part
# What changes from day to day and from user to user, and seldom the answer: "Today is Friday, 28 November 2026".
_PASSING = re.compile(
    r"\b(?:[\w.:/-]*\d[\w.:/-]*|(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|may|june|july"
    r"|august|september|october|november|december)\b",
    re.IGNORECASE,
)

# Orders such as documents seldom give: what holds them may have been planted, whoever put it there.
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override) (?:it|that|this|all|any|the|every|your|previous|prior|above)\b"
    r"|\b(?:just|only|simply) (?:say|write|answer|reply|respond|output|print|return)\b"
    r"|\b(?:say|write|answer|reply|respond|output|print|return) (?:just|only|exactly|nothing|simply)\b"
    r"|\bfrom now on\b|\bnew instructions?\b|\bsystem prompt\b|\byou must (?:say|write|answer|reply|respond)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Context:
    """What stands around a question.

    Args:
        kind: `"plain"`: nothing. `"told"`: the framework or the developer said which part is the question, so that the
            rest is not the user's. `"read"`: the question was read out of the text, which may be the user's in whole,
            or the rest gives orders. `"system"`: a system message alone.
            `"history"`: earlier turns, which a client may make up.
        frame: The developer's part of the text, as far as that can be told.
        rest: All of it.
    """

    kind: Kind = "plain"
    frame: str = ""
    rest: str = ""

    def label(self, secret: bytes) -> str:
        """`kind:frame:rest`, the latter two keyed digests; empty for a plain question."""
        if self.kind == "plain":
            return ""
        frame, rest = (keyed_digest(secret, text)[:_DIGEST] if text else "" for text in (self.frame, self.rest))
        return f"{self.kind}:{frame}:{rest}"


PLAIN = Context()


def context_of(messages: Sequence[Message], question: str, source: str, attachment: str = "") -> Context:
    """The context of use of a question.

    Args:
        question: As it stands in the prompt, without what the key adds to it.
        source: Which rung of the ladder found it (`rar.keys.Key.source`). One that ends in `+history` has the
            conversation in the key.
        attachment: A digest of what is attached to it.
    """
    at = next((at for at in reversed(range(len(messages))) if messages[at].role == "user"), None)
    if at is None:
        return PLAIN
    text, rung = messages[at].text, source.removesuffix("+history")
    frame, rest = ("", "") if text.strip() == question.strip() else frame_of(text, question)
    system = [_lasting(message.text) for message in messages if message.role == "system"]
    said = [f"{message.role}: {message.text}" for message in messages[:at] if message.role != "system"]
    history = [] if source.endswith("+history") else said
    whole = "\x1e".join([*system, *history, " ".join(rest.split()), attachment])
    if history:
        return Context("history", "", whole)
    if _ORDERS.search(whole):
        return Context("read", whole, whole)  # like no other
    if attachment:
        return Context("read", f"{frame}\x1eattached", whole)
    if rest:
        return Context("told", "", whole) if rung in _TOLD else Context("read", frame, whole)
    return Context("system", "", whole) if any(system) else PLAIN


def gives_orders(text: str) -> bool:
    """Whether a text orders what is to be answered, as a question that is asked for its answer seldom does."""
    return _ORDERS.search(text) is not None


def user_label(secret: bytes, user: str | None) -> str:
    """A keyed digest by which a user is known; empty where none is given."""
    return "" if user is None else keyed_digest(secret, f"user\0{user}")[:_DIGEST]


def _lasting(system: str) -> str:
    """A system message without dates and ids, but with the material in it, whose numbers matter."""
    instructions = instructions_in(system)
    lasting = _PASSING.sub("0", " ".join(instructions.split()))
    return lasting if instructions == system else f"{lasting}\x1e{' '.join(system.split())}"
