"""What an embedder is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from rar.values import Vector


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors whose dot product is their similarity. Any thread may call it.

    `id` names model and version: a memory refuses another one. An embedder that cuts long texts should also have a
    method `reads(text: str) -> bool`, which says whether it reads a text to its end (`rar.embedding.unread`).
    """

    @property
    def id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return unit vectors, shape `(len(texts), dim)`, float32; an empty text gives some unit vector too."""
        ...
