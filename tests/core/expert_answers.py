"""Two experts of a made-up world: a brief one that is right on names, and a careful one that is right on sums."""

from __future__ import annotations

from functools import cache

import numpy as np

from rar.outcomes import Outcomes, Replies
from rar.strategies import AnswerSelector

EXPERTS = ("brief", "careful")


def recorded(n: int = 80) -> Outcomes:
    """Where both say the same, it is right nine times in ten; else the one who is good at such a question is."""
    chance, rows, scores, texts = np.random.default_rng(0), [], [], []
    for at in range(n):
        is_sum, same, lucky = at % 2 == 0, bool(chance.random() < 0.5), bool(chance.random() < 0.9)
        texts.append(f"How many are {at} and {at + 1}?" if is_sum else f"Who was the mayor of town {at}?")
        right = f"{2 * at + 1}" if is_sum else f"Ada {at}"
        wrong = f"{at}" if is_sum else f"The Eve {at}!"
        good = EXPERTS.index("careful" if is_sum else "brief")
        said = [wrong, wrong]
        said[good] = right
        rows.append([right, right] if same else said)
        scores.append([float(lucky)] * 2 if same else [float(place == good) for place in range(2)])
    return Outcomes(tuple(texts), np.array(scores), EXPERTS, replies=Replies(np.array(rows, object)))


@cache
def selector() -> AnswerSelector:
    return AnswerSelector(penalty=1.0).fit(recorded())
