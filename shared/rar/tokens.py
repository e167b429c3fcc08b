"""Tokens of a call: what the provider reported, and an estimate from the text where it reported none.

Most streams and many local models report no tokens. Without an estimate such calls would look free, so that learning
would earn no budget and a saving could not be shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rar.injection import messages_of
from rar.values import Call, Reply, Usage

# Bytes of UTF-8 that make a token, by kind of byte. Chosen so that prose, code, JSON and lists of numbers come within a
# quarter of what cl100k and WordPiece count, and other scripts within a half. Blanks are part of the word that follows.
_LETTERS, _DIGITS, _SIGNS, _OTHER_SCRIPTS = 3.9, 2.5, 1.7, 2.8
_MOST = 10**9  # tokens of a call: a report of more is none
_PER_MESSAGE = 4  # what a chat template puts around each message

_ALPHABET = bytes(byte for byte in range(128) if chr(byte).isalpha())
_NUMERALS = b"0123456789"
_BLANKS = bytes(range(33))
_NOT_ASCII = bytes(range(128, 256))

# Providers name the same two counts differently; Ollama puts them at the top of its reply.
_INPUT_NAMES = ("input_tokens", "prompt_tokens", "prompt_token_count", "prompt_eval_count")
_OUTPUT_NAMES = ("output_tokens", "completion_tokens", "candidates_token_count", "eval_count")


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
        into = sum(_PER_MESSAGE + estimate(message.text + message.suffix) for message in messages_of(call))
    if out <= 0:
        out = estimate(reply.text) + sum(
            estimate(call.name) + estimate(str(dict(call.arguments))) for call in reply.tool_calls
        )
    return Usage(into, out, estimated=True)


def _believable(usage: Usage) -> Usage:
    into, out = (
        count if isinstance(count, int) and 0 <= count <= _MOST else 0
        for count in (usage.input_tokens, usage.output_tokens)
    )
    return Usage(into, out, usage.estimated)


def reported(sources: Iterable[Any]) -> Usage:
    """The first pair of token counts in `sources`, mappings or objects of any provider; zeros where there is none."""
    for source in sources:
        if source:
            usage = Usage(_first_count(source, _INPUT_NAMES), _first_count(source, _OUTPUT_NAMES))
            if usage.total:
                return usage
    return Usage()


def field_of(source: Any, name: str) -> Any:
    """A key of a mapping, or an attribute of anything else; None where there is none."""
    return source.get(name) if isinstance(source, dict) else getattr(source, name, None)


def _first_count(source: Any, names: Sequence[str]) -> int:
    for name in names:
        value = field_of(source, name)
        if isinstance(value, int) and 0 < value <= _MOST:
            return value
    return 0
