"""Texts that an embedder does not read to their end, and what stands for their embeddings.

An embedder cuts what is too long for it. All texts that are cut to the same beginning would have one embedding, and be
taken for one question. So they are read in pieces; and those that are too long for that are like no other.
"""

from __future__ import annotations

import hashlib

import numpy as np

from rar.embedding.base import Embedder
from rar.values import Vector

MOST_PIECES = 16  # in which a text is read; MiniLM takes about a third of a second for them


def reads(embedder: Embedder, text: str) -> bool:
    """Whether `embedder` reads all of `text`, by its own method `reads`; of one without, that is taken for granted."""
    known = getattr(embedder, "reads", None)
    return True if known is None else bool(known(text))


def pieces(embedder: Embedder, text: str) -> list[str]:
    """What stands last in a text, and the pieces in which `embedder` reads the rest; `[]` where they are too many."""
    size = len(text)
    while size > 1 and not reads(embedder, text[-size:]):
        size = size * 2 // 3
    if size == len(text):
        return [text]
    if size * MOST_PIECES < len(text):
        return []
    last = _last(text, size)
    before = text[: len(text) - len(last)]
    rest = [before[max(end - size, 0) : end] for end in range(len(before), 0, -size)]
    found = [last, *(part for piece in rest for part in _readable(embedder, piece))]
    return found if len(found) <= MOST_PIECES else []


def in_pieces(embedder: Embedder, text: str) -> Vector | None:
    """A unit vector, shape `(dim,)`, of all that a text says; None where that would be too many pieces.

    What stands last counts as much as all before it: behind examples, documents and rules stands the question.
    """
    found = pieces(embedder, text)
    if not found:
        return None
    last, *others = embedder.embed(found)
    vector = last if not others else last + np.mean(others, 0)
    unit: Vector = (vector / max(float(np.linalg.norm(vector)), 1e-6)).astype(np.float32)
    return unit


def _last(text: str, size: int) -> str:
    """The last paragraphs, at least an eighth of what is read at once and at most all of it, or else a quarter."""
    gap = text.rfind("\n\n", len(text) - size, len(text) - size // 8)
    return text[gap:] if gap >= 0 else text[-max(size // 4, 1) :]


def _readable(embedder: Embedder, piece: str) -> list[str]:
    """The piece, or its two halves where its words are longer to read."""
    middle = len(piece) // 2
    return [piece] if middle == 0 or reads(embedder, piece) else [piece[:middle], piece[middle:]]


def apart(text: str, dim: int) -> Vector:
    """A unit vector, shape `(dim,)`, the same for the same text in every process, and far from all others."""
    seed = int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "big")
    vector = np.random.default_rng(seed).standard_normal(dim)
    unit: Vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit
