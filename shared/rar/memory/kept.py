"""Answers that a memory keeps, word for word: those that a judge compared, and those of a cache.

Both are kept only where somebody asked for it, and never with `store_text=False`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

KEPT_JUDGED = 10_000  # of a memory, the newest
LONGEST = 20_000  # characters of each text; what is longer is not kept, for a part of it would teach something else


@dataclass(frozen=True, slots=True)
class JudgedAnswers:
    """A weak and a strong answer to one request that a judge compared. One stands for each attempt of a decision.

    Args:
        place: Which attempt it was.
        agrees: Whether the judge said that the weak answer is good enough.
        gap: Strong less weak quality; of a judge that only compares 0 where it agreed, else 1.
        prompt: The messages that were answered, without any guide: a JSON list of `{"role": …, "content": …}`.
        guide_id: The guide with which the weak answer was given; None: without one.
    """

    decision_id: str
    place: int
    namespace: str
    experience_id: str
    weak_id: str
    strong_id: str
    judge: str
    agrees: bool
    gap: float
    prompt: str = field(repr=False)
    weak: str = field(repr=False)
    strong: str = field(repr=False)
    at: float
    guide_id: str | None = None


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer that may be given again. One stands for each namespace and key.

    Args:
        key: A hash of all that makes the request.
        kind: A hash of the same without the question.
        question: What was asked.
        model: Name of the model that answered, among its router's.
        until: When it is to be forgotten; None: when others need its place.
        used_at: When it was last given. Those that were given longest ago go first.
        room: How many the namespace may hold when this one is written.
    """

    namespace: str
    key: str
    kind: str
    experience_id: str
    question: str = field(repr=False)
    model: str
    model_id: str
    text: str = field(repr=False)
    at: float
    until: float | None = None
    used_at: float = 0.0
    room: int = 10_000


def is_prompt(text: str) -> bool:
    """Whether `text` is what `JudgedAnswers.prompt` holds."""
    try:
        messages = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(
            isinstance(message, dict)
            and set(message) == {"role", "content"}
            and all(isinstance(value, str) for value in message.values())
            for message in messages
        )
    )
