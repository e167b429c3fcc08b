"""The key of a memory's hashes: inside its file, or locked by a secret that is kept elsewhere.

Whoever has the key and the file can test guesses of questions. With a secret outside, the file holds the key only as it
is locked by that secret, and a value by which the secret is checked.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

LOCK: Final = ("secret_salt", "secret_locked", "secret_check")
VARIABLE: Final = "RAR_SECRET"
_LENGTH: Final = 32
_ROUNDS: Final = 200_000  # about 0.1 s: what guessing a weak secret costs each time


@dataclass(frozen=True, slots=True)
class Lock:
    """A key that is locked: what the file holds of it."""

    salt: bytes
    locked: bytes
    check: bytes

    def named(self) -> dict[str, bytes]:
        """What it holds, under the names by which a memory keeps it."""
        return dict(zip(LOCK, (self.salt, self.locked, self.check), strict=True))


def given(secret: str | bytes | None) -> bytes | None:
    """The secret that a user passed, or that the environment has; None where there is none."""
    value = os.environ.get(VARIABLE) if secret is None else secret
    if not value:
        return None
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(value)


def lock(key: bytes, secret: bytes) -> Lock:
    salt = secrets.token_bytes(_LENGTH)
    mask, proof = _derived(secret, salt)
    return Lock(salt, _xor(key, mask), _check(proof))


def unlock(held: Lock, secret: bytes) -> bytes | None:
    """The key; None where this is not the secret."""
    mask, proof = _derived(secret, held.salt)
    return _xor(held.locked, mask) if hmac.compare_digest(_check(proof), held.check) else None


@lru_cache(maxsize=8)
def _derived(secret: bytes, salt: bytes) -> tuple[bytes, bytes]:
    both = hashlib.pbkdf2_hmac("sha256", secret, salt, _ROUNDS, 2 * _LENGTH)
    return both[:_LENGTH], both[_LENGTH:]


def _check(proof: bytes) -> bytes:
    return hashlib.blake2b(b"rar-memory", key=proof, digest_size=16).digest()


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
