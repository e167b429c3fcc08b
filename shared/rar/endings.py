"""How a reply ended, and how sure its model was of each token: what providers say in words and shapes of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rar.tokens import field_of

Logprobs = tuple[tuple[str, float], ...]

_WORDS: Mapping[str, Sequence[str]] = {
    "stop": ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed", "finish"),
    "length": ("length", "max_tokens", "max_output_tokens", "model_length", "token_limit", "incomplete"),
    "tool_calls": ("tool_calls", "tool_call", "tool_use", "function_call", "malformed_function_call"),
    "content_filter": (
        "content_filter", "content_filtered", "refusal", "safety", "image_safety", "recitation", "blocklist",
        "prohibited_content", "spii", "guardrail_intervened",
    ),
}  # fmt: skip
_MEANING = {word: meaning for meaning, words in _WORDS.items() for word in words}
_REASONS = ("finish_reason", "stop_reason", "done_reason", "status")


def finish_of(sources: Iterable[Any], *, called: bool = False) -> str:
    """The first reason that `sources` give, mappings or objects of any provider, in one of our words; else empty.

    Args:
        called: Whether the reply calls tools, which some providers call an ordinary stop.
    """
    reasons = (field_of(source, name) for source in sources if source for name in _REASONS)
    reason = next(filter(None, reasons), "")
    meaning = _MEANING.get(str(getattr(reason, "name", reason)).rpartition(".")[2].lower(), "")
    return "tool_calls" if called and meaning == "stop" else meaning


def logprobs_of(source: Any) -> Logprobs | None:
    """Tokens and their log-probabilities in a provider's report of them; None where it has none."""
    if not source:
        return None
    tokens, weights = field_of(source, "tokens"), field_of(source, "token_logprobs")
    if isinstance(tokens, Sequence) and isinstance(weights, Sequence):  # protocols that complete text
        pairs: list[tuple[Any, Any]] = list(zip(tokens, weights, strict=False))
    else:
        parts = source if isinstance(source, list) else field_of(source, "content")
        parts = parts if isinstance(parts, list) else []
        pairs = [(field_of(part, "token"), field_of(part, "logprob")) for part in parts]
    known = [
        (token, float(weight)) for token, weight in pairs if isinstance(token, str) and isinstance(weight, (int, float))
    ]
    return tuple(known) or None
