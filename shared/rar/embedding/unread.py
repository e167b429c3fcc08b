"""Texts that an embedder does not read to their end, and what stands for their embeddings.

An embedder cuts what is too long for it. All texts that are cut to the same beginning would have one embedding, and be
taken for one question.
"""

from __future__ import annotations

import hashlib

import numpy as np

from rar.embedding.base import Embedder
from rar.values import Vector


def reads(embedder: Embedder, text: str) -> bool:
    """Whether `embedder` reads all of `text`, by its own method `reads`; of one without, that is taken for granted."""
    known = getattr(embedder, "reads", None)
    return True if known is None else bool(known(text))


def apart(text: str, dim: int) -> Vector:
    """A unit vector, shape `(dim,)`, the same for the same text in every process, and far from all others."""
    seed = int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "big")
    vector = np.random.default_rng(seed).standard_normal(dim)
    unit: Vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit
