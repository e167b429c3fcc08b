"""Recorded requests: one line of JSON each, without what tells who asked."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from rar.errors import ImportFormatError

Redact = Callable[[str], str]

_PRIVATE: Final = (
    (re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b"), "<email>"),
    (re.compile(r"\b(?:sk|pk|ghp|xox[abp]|AKIA)[-_A-Za-z0-9]{12,}\b"), "<key>"),
    (re.compile(r"\bBearer\s+[\w.~+/-]{12,}=*", re.IGNORECASE), "<key>"),
    (re.compile(r"\b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){2,7}(?:\s?[A-Z0-9]{1,4})?\b"), "<account>"),
    (re.compile(r"(?<![\w.])\+?(?:\d[ ()/-]{0,2}){8,}\d(?![\w.])"), "<number>"),
)


def mask(text: str) -> str:
    """`text` with mail addresses, keys, account and telephone numbers masked: the usual redaction of `rar import`."""
    for pattern, name in _PRIVATE:
        text = pattern.sub(name, text)
    return text


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request that some tool logged, and its answer.

    Args:
        messages: With `role` and `content`, a text.
        text: The question in them, which is what a router knows it by; empty where there is none.
        answer: Empty where none was logged.
        model: As the log calls it.
        at: Seconds since the epoch; None where that is not known.
        who: A keyed hash of the user or the conversation; empty where none is known.
        tools: Whether it offered tools, or asked for a schema.
    """

    messages: tuple[Mapping[str, str], ...]
    text: str
    answer: str = ""
    model: str = ""
    at: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    usd: float | None = None
    who: str = field(default="", repr=False)
    tools: bool = False

    def redacted(self, redact: Redact, key: bytes) -> Recorded:
        """What may be kept of it."""
        messages = tuple({**one, "content": redact(one["content"])} for one in self.messages)
        who = hashlib.blake2b(self.who.encode(), key=key, digest_size=8).hexdigest() if self.who else ""
        return replace(self, messages=messages, text=redact(self.text), answer=redact(self.answer), who=who)


def store(file: Path, found: Iterable[Recorded], redact: Redact = mask) -> int:
    """Write recorded requests to a new file, which is its owner's alone, and return how many.

    Raises:
        FileExistsError: There is a file.
    """
    key, count = secrets.token_bytes(32), 0
    with file.open("x", encoding="utf-8") as stream:
        file.chmod(0o600)
        for one in found:
            stream.write(json.dumps(asdict(one.redacted(redact, key)), ensure_ascii=False) + "\n")
            count += 1
    return count


def load(file: Path) -> Iterator[Recorded]:
    """Recorded requests of a file.

    Raises:
        ImportFormatError: A line is none.
    """
    with file.open(encoding="utf-8") as stream:
        for place, line in enumerate(stream, 1):
            if line.strip():
                try:
                    given: dict[str, Any] = json.loads(line)
                    yield Recorded(**{**given, "messages": tuple(given["messages"])})
                except (ValueError, TypeError, KeyError) as error:
                    raise ImportFormatError(str(file), f"line {place}: it is no recorded request ({error})") from None
