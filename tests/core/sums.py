"""Sums that models did, right and wrong: what cascades and their scorers are tested on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rar.outcomes import Outcomes, Replies

RIGHT = {"small": 0.5, "middle": 0.7, "large": 0.95}
USD = {"small": 1.0, "middle": 2.0, "large": 20.0}


def sums(n: int = 240, models: Sequence[str] = tuple(RIGHT), *, tells: bool = True, seed: int = 0) -> Outcomes:
    """Sums of two numbers and the replies of some models.

    Args:
        tells: Whether a reply that is wrong shows it by its words.
    """
    rng = np.random.default_rng(seed)
    texts, replies, scores = [], [], []
    for _ in range(n):
        a, b = (int(x) for x in rng.integers(100, 999, 2))
        right = [bool(rng.random() < RIGHT[model]) for model in models]
        texts.append(f"How much is {a} plus {b}?")
        scores.append([float(ok) for ok in right])
        replies.append([reply(a, b, ok, tells, int(rng.integers(1, 50))) for ok in right])
    costs = np.tile([USD[model] for model in models], (n, 1))
    return Outcomes(texts, scores, tuple(models), costs=costs, replies=Replies(replies), name="sums")


def reply(a: int, b: int, right: bool, tells: bool, off: int) -> str:
    doubt = "" if right or not tells else "I am not certain, perhaps "
    return f"{doubt}the answer is {a + b + (0 if right else off)}"
