"""The hashes by which a memory knows a request again without keeping its text."""

from __future__ import annotations

import hashlib

from rar.texts import normalized


def experience_id(secret: bytes, namespace: str, task: str, text: str) -> str:
    """The id of a request in the memory of `secret`: 32 hex digits, the same for texts that differ in spacing only."""
    return _digest(secret, "\0".join((namespace, task, " ".join(normalized(text).split()))))


def keyed_digest(secret: bytes, text: str) -> str:
    """A hash of `text`, 32 hex digits, that cannot be compared with guesses without `secret` (up to 64 bytes)."""
    return _digest(secret, text)


def _digest(secret: bytes, text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=secret, digest_size=16).hexdigest()
