"""Stamps: what a router says of a decision on a response, sealed, for the response comes back in a client's messages.

A tool loop keeps its model and guide by the stamp of its first answer. Clients send whole conversations, so a stamp
counts only with a seal that nobody can make without the memory's secret. All processes that share a memory know it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from typing import Any, Final, Protocol

_VARIABLE: Final = "RAR_SECRET"
_PROCESS: Final = secrets.token_bytes(32)  # of routers without a memory; forked workers share it


class _Secret(Protocol):
    @property
    def secret(self) -> bytes: ...


def sealing_key(memory: _Secret | None) -> bytes:
    """The key of seals: the memory's, else one made of the environment's `RAR_SECRET`, else this process's."""
    shared = os.environ.get(_VARIABLE, "").encode("utf-8", "surrogateescape")
    key = memory.secret if memory is not None else shared or _PROCESS
    return hashlib.blake2b(b"rar stamps", key=key[:64], digest_size=32).digest()


def seal(key: bytes, facts: Mapping[str, Any], namespace: str) -> str:
    """The seal of a decision's facts, 32 hex digits."""
    what = [facts.get("decision_id"), facts.get("model"), facts.get("guide_id"), namespace]
    text = json.dumps(what, default=repr).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=key, digest_size=16).hexdigest()


def is_sealed(key: bytes, facts: Mapping[str, Any], given: object, namespace: str) -> bool:
    """Whether `given` is the seal of these facts, on a response of this namespace."""
    if not isinstance(given, str):
        return False
    return hmac.compare_digest(seal(key, facts, namespace).encode(), given.encode("utf-8", "replace"))
