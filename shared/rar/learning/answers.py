"""What is kept of judged answers where `store_answers=True`: those in text to a prompt in text, redacted and whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from rar.answers import said
from rar.keys import has_form
from rar.learning.shadow import DRAFT, Findings
from rar.memory.kept import LONGEST, JudgedAnswers
from rar.values import Decision, Message, Reply, Request

# Thinking of earlier turns is no part of a message's text, and is left out of the prompt.
_TEXTS = frozenset({"text", "thinking", "redacted_thinking", "reasoning"})
Clean: TypeAlias = Callable[[str], str | None]


def judged_answers(
    found: Findings, decision: Decision, served: Reply, at: float, *, written: str = DRAFT, clean: Clean | None = None
) -> tuple[JudgedAnswers, ...]:
    """The answers of a lesson that a judge compared, one for each attempt.

    Calls with tools or a schema are left out, for a text does not show what they were offered. So is what is not
    text, was cut short or is too long.

    Args:
        written: Id of the guide that was just written.
        clean: Redacts a text; None from it means that nothing of it may be kept.
    """
    request, evidence = decision.request, decision.request.evidence
    if evidence is None or not found.attempts or has_form(request.task):
        return ()
    prompt, strong = _prompt(request, clean), _text(found.answer or served, clean)
    if prompt is None or strong is None:
        return ()
    kept = []
    for place, attempt in enumerate(found.attempts):
        guide = None if attempt.guide is None else written if attempt.guide.id == DRAFT else attempt.guide.id
        weak, standing = _text(attempt.reply, clean), evidence.of(attempt.model)
        if weak is not None and standing is not None:
            kept.append(
                JudgedAnswers(
                    decision.id, place, request.namespace, evidence.experience_id, standing.model_id,
                    evidence.reference_id, attempt.judge, attempt.ok, attempt.gap_or_verdict, prompt, weak, strong, at,
                    guide,
                )
            )  # fmt: skip
    return tuple(kept)


def _prompt(request: Request, clean: Clean | None) -> str | None:
    messages = []
    for message in request.messages:
        text = _cleaned(message.text + message.suffix, clean)
        if text is None or message.role == "tool" or not _is_text(message):
            return None
        messages.append({"role": message.role, "content": text})
    prompt = json.dumps(messages, ensure_ascii=False)
    return prompt if messages and len(prompt) <= LONGEST else None


def _text(reply: Reply | None, clean: Clean | None) -> str | None:
    if reply is None or reply.tool_calls or reply.finish not in ("", "stop"):
        return None
    text = _cleaned(said(reply), clean)
    return text if text and len(text) <= LONGEST else None


def _cleaned(text: str, clean: Clean | None) -> str | None:
    return text if clean is None else clean(text)


def _is_text(message: Message) -> bool:
    """Whether a message holds nothing but its text: no image, no file, no tool call."""
    native: Any = message.native
    if getattr(native, "tool_calls", None):
        return False
    parts = getattr(native, "blocks", None) or getattr(native, "content", None)
    return not isinstance(parts, list) or all(map(_is_text_part, parts))


def _is_text_part(part: Any) -> bool:
    kind = part.get("type") if isinstance(part, Mapping) else getattr(part, "block_type", None)
    return isinstance(part, str) or kind in _TEXTS
