"""Tokens of a call: what the provider reported, and an estimate from the text where it reported none.

Most streams and many local models report no tokens. Without an estimate such calls would look free, so that learning
would earn no budget and a saving could not be shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from rar.injection import messages_of
from rar.values import Call, Message, Reply, Usage

# Bytes of UTF-8 that make a token, by kind of byte. Chosen so that prose, code, JSON and lists of numbers come within a
# quarter of what cl100k and WordPiece count, and other scripts within a half. Blanks are part of the word that follows.
_LETTERS, _DIGITS, _SIGNS, _OTHER_SCRIPTS = 3.9, 2.5, 1.7, 2.8
_MOST = 10**9  # tokens of a call: a report of more is none
_PER_MESSAGE = 4  # what a chat template puts around each message

_ALPHABET = bytes(byte for byte in range(128) if chr(byte).isalpha())
_NUMERALS = b"0123456789"
_BLANKS = bytes(range(33))
_NOT_ASCII = bytes(range(128, 256))

# Providers name the same counts differently; Ollama puts them at the top of its reply. A dot leads into a part.
_INPUT_NAMES = ("input_tokens", "prompt_tokens", "prompt_token_count", "prompt_eval_count")
_OUTPUT_NAMES = ("output_tokens", "completion_tokens", "candidates_token_count", "eval_count")
_CACHED_NAMES = (
    "input_token_details.cache_read", "prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens",
    "cached_content_token_count", "prompt_cache_hit_tokens", "cached_tokens",
)  # fmt: skip
_REASONING_NAMES = (
    "output_token_details.reasoning", "completion_tokens_details.reasoning_tokens",
    "output_tokens_details.reasoning_tokens", "reasoning_tokens",
)  # fmt: skip
# What is no part of the counts of input and output but stands beside them: Anthropic's cache, Google's thoughts.
_CACHED_BESIDE, _WRITTEN_BESIDE = ("cache_read_input_tokens",), ("cache_creation_input_tokens",)
_THOUGHTS_BESIDE = ("thoughts_token_count",)


_NOTHING = Usage()


def estimate(text: str) -> int:
    """About how many tokens `text` is, from its bytes alone; at least 1 unless it is blank.

    Takes about 2 ns a character. No tokenizer is asked: the model's own is not known, and others differ by a third.
    """
    data = text.encode("utf-8", "surrogatepass")
    rest = data.translate(None, _BLANKS)
    ascii_count = len(rest.translate(None, _NOT_ASCII))
    without_letters = len(rest.translate(None, _ALPHABET))
    without_digits = len(rest.translate(None, _NUMERALS))
    letters, digits, others = len(rest) - without_letters, len(rest) - without_digits, len(rest) - ascii_count
    signs = ascii_count - letters - digits
    return math.ceil(letters / _LETTERS + digits / _DIGITS + signs / _SIGNS + others / _OTHER_SCRIPTS)


def counted(call: Call, reply: Reply) -> Usage:
    """What `call` used: the provider's counts, each that is missing estimated from what was sent and what came back.

    Text is all that is estimated: no tool descriptions, images, files or hidden reasoning. What a cache gave used
    nothing beyond what it reports.
    """
    usage = _believable(reply.usage)
    if reply.cached or (usage.input_tokens > 0 and (usage.output_tokens > 0 or reply.empty)):
        return usage
    into, out = usage.input_tokens, usage.output_tokens
    if into <= 0:
        into = _length(messages_of(call))
    if out <= 0:
        out = estimate(reply.text) + sum(
            estimate(call.name) + estimate(str(dict(call.arguments))) for call in reply.tool_calls
        )
    return Usage(into, out, estimated=True, cached_tokens=usage.cached_tokens, reasoning_tokens=usage.reasoning_tokens)


def added_by(call: Call, usage: Usage) -> int:
    """The tokens of the input that `call` has because a strategy sent other messages than the request's."""
    if call.messages is None:
        return 0
    asked, sent = _length(messages_of(replace(call, messages=None))), _length(messages_of(call))
    return max(0, round(usage.input_tokens * (1.0 - asked / sent))) if sent else 0


def sent(call: Call) -> int:
    """About how many tokens `call` sends."""
    return _length(messages_of(call))


def message_length(message: Message) -> int:
    """About how many tokens a message is."""
    return _PER_MESSAGE + estimate(message.text + message.suffix)


def _length(messages: Iterable[Message]) -> int:
    return sum(map(message_length, messages))


def _believable(usage: Usage) -> Usage:
    if usage == _NOTHING:
        return usage
    into, out, cached, reasoning = (
        count if isinstance(count, int) and 0 <= count <= _MOST else 0
        for count in (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens)
    )
    return Usage(into, out, usage.estimated, min(cached, into), min(reasoning, out))


def reported(sources: Iterable[Any]) -> Usage:
    """The first token counts in `sources`, mappings or objects of any provider; zeros where there are none."""
    for source in sources:
        if source:
            usage = _counts(source)
            if usage.total:
                return usage
    return Usage()


def _counts(source: Any) -> Usage:
    into, out = _first_count(source, _INPUT_NAMES), _first_count(source, _OUTPUT_NAMES)
    if not into and not out:
        return _NOTHING
    cached, reasoning = _first_count(source, _CACHED_NAMES), _first_count(source, _REASONING_NAMES)
    if not cached:
        cached = _first_count(source, _CACHED_BESIDE)
        into += cached + _first_count(source, _WRITTEN_BESIDE)
    if not reasoning:
        reasoning = _first_count(source, _THOUGHTS_BESIDE)
        out += reasoning
    return Usage(into, out, cached_tokens=min(cached, into), reasoning_tokens=min(reasoning, out))


def field_of(source: Any, name: str) -> Any:
    """A key of a mapping, or an attribute of anything else; None where there is none."""
    return source.get(name) if isinstance(source, dict) else getattr(source, name, None)


def _first_count(source: Any, names: Sequence[str]) -> int:
    for name in names:
        part, _, inner = name.rpartition(".")
        holder = field_of(source, part) if part else source
        value = None if holder is None else field_of(holder, inner)
        if isinstance(value, int) and 0 < value <= _MOST:
            return value
    return 0
