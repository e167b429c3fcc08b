"""The key: the user's own question, found under the prompt that a framework built around it.

What is embedded decides what is alike, so boilerplate and retrieved context must stay out of it. Plugins walk their
framework's ladder of places where the question may be known and end at `last_question`, which all share.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from rar.values import Message

_query: ContextVar[str | None] = ContextVar("rar_query", default=None)

# "Question: ... Context: ..." in either order, as RAG prompts have it; each field ends at the next one or at "Answer:".
_FIELD = re.compile(
    r"^[ \t]*(?P<name>question|query|user question|context|context information|answer|helpful answer)[ \t]*:[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_QUESTION_FIELDS = {"question", "query", "user question"}
_CONTEXT_FIELDS = {"context", "context information"}


@dataclass(frozen=True, slots=True)
class Key:
    """The question and the rung of the ladder that found it; `text` is None where there is none."""

    text: str | None
    source: str


@contextmanager
def query(text: str) -> Iterator[None]:
    """Say what the user's question is, for all routed calls made inside this block, in any framework."""
    token = _query.set(text)
    try:
        yield
    finally:
        _query.reset(token)


def ambient_query() -> str | None:
    """The question of the `query` block that we are in, if any."""
    return _query.get()


def last_question(messages: Sequence[Message]) -> Key:
    """The question in the last user message, out of a known RAG template; a follow-up brings the question before it."""
    users = [message.text.strip() for message in messages if message.role == "user" and message.text.strip()]
    if not users:
        return Key(None, "none")
    inner = question_in_template(users[-1])
    if inner is not None:
        return Key(inner, "template")
    answered = any(message.role == "assistant" for message in messages)
    if answered and len(users) > 1:
        return Key(f"{users[-2][-500:]}\n{users[-1]}", "last_user_message+history")
    return Key(users[-1], "last_user_message")


def question_in_template(text: str) -> str | None:
    """The question of a "Question: … Context: …" prompt, in either order; None where `text` is no such prompt."""
    fields = list(_FIELD.finditer(text))
    names = {field["name"].lower() for field in fields}
    if not (names & _QUESTION_FIELDS and names & _CONTEXT_FIELDS):
        return None
    # The last one: retrieved context may itself hold lines that begin with "Question:".
    index = max(i for i, field in enumerate(fields) if field["name"].lower() in _QUESTION_FIELDS)
    end = fields[index + 1].start() if index + 1 < len(fields) else len(text)
    return text[fields[index].end() : end].strip() or None


def task_of(*, tools: Sequence[Any] = (), schema: Any = None, work: str = "answer") -> str:
    """What a call wants: the kind of work, and the form of its result. Nothing learned about one is used for another.

    Args:
        tools: JSON-able tool definitions or names; their order does not matter.
        schema: A JSON schema, or anything JSON-able that stands for one.
        work: As `rar.work.label_of` names it.

    Returns:
        `"answer"`, `"tools:<hash>"`, `"schema:<hash>"` or `"tools:<hash>/schema:<hash>"`; of other work than answering
        `"rephrase"`, `"rephrase/schema:<hash>"`.
    """
    parts = [] if work == "answer" else [work]
    if tools:
        parts.append(f"tools:{_fingerprint(sorted(_canonical(tool) for tool in tools))}")
    if schema is not None:
        parts.append(f"schema:{_fingerprint(_canonical(schema))}")
    return "/".join(parts) or "answer"


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _fingerprint(value: Any) -> str:
    return hashlib.blake2b(_canonical(value).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
