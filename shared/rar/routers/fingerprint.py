"""Whether a router was fitted to given texts, told from hashes that it keeps of its own. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Sketch: TypeAlias = npt.NDArray[np.uint64]  # ascending hashes of different texts

KEPT = 8_192  # hashes, 64 kB in a file; up to so many texts the answer is exact


def sketch(texts: Sequence[str]) -> Sketch:
    """The smallest hashes of `texts`: a random sample of them that is the same wherever they are hashed (bottom-k)."""
    return np.unique(_hashes(texts))[:KEPT]


def merged(one: Sketch, other: Sketch) -> Sketch:
    """The sketch of the texts of both."""
    return np.unique(np.concatenate([one, other]))[:KEPT]


def share_seen(known: Sketch, texts: Sequence[str]) -> float | None:
    """Which share of `texts` is among those of `known`; estimated of very many, None where nothing can be told."""
    hashes = _hashes(texts)
    if len(known) == KEPT:  # larger hashes were not kept, whether they were seen or not
        hashes = hashes[hashes <= known[-1]]
    return float(np.isin(hashes, known).mean()) if len(hashes) else None


def _hashes(texts: Sequence[str]) -> Sketch:
    digests = (hashlib.blake2b(text.strip().encode("utf-8", "surrogatepass"), digest_size=8) for text in texts)
    return np.array([int.from_bytes(digest.digest(), "big") for digest in digests], np.uint64)
