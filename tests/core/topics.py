"""A router of three models, each of which knows one topic, for tests of who is chosen."""

from __future__ import annotations

import numpy as np

from rar.routers import Outcomes, RewardDistilledRouter

POEM, SUM, CODE = "Write a poem with rhyme and verse", "Write the sum of numbers", "Write a function in a program"


def outcomes(models: tuple[str, str, str]) -> Outcomes:
    """The first model knows poems, the second sums, the third programs."""
    topic = np.arange(60) % 3
    texts = tuple(f"{(POEM, SUM, CODE)[t]}, number {i}" for i, t in enumerate(topic))
    return Outcomes(texts, np.where(np.arange(3) == topic[:, None], 0.9, 0.3), models)


def ranking(*models: str, **options: object) -> RewardDistilledRouter:
    """A router fitted to that; its first model knows poems, its second sums, its third programs."""
    first, second, third = models
    router = RewardDistilledRouter(embedder="hashing", clusters=3, **options)  # type: ignore[arg-type]
    return router.fit(outcomes((first, second, third)))
