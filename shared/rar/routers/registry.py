"""Learned routers by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rar.errors import RouterFileError, UnknownNameError
from rar.routers import saving
from rar.routers.base import LearnedRouter
from rar.routers.causal import CausalLMRouter
from rar.routers.distilled import RewardDistilledRouter
from rar.routers.elo import SimilarityEloRouter
from rar.routers.encoder import EncoderClassifierRouter
from rar.routers.factors import MatrixFactorizationRouter
from rar.routers.hybrid import HybridRouter
from rar.routers.neighbours import KNNRouter
from rar.routers.simple import LengthRouter, TfidfRouter
from rar.routers.stacked import StackedRouter

ROUTERS: dict[str, type[LearnedRouter]] = {
    router.name: router
    for router in (
        CausalLMRouter,
        EncoderClassifierRouter,
        HybridRouter,
        KNNRouter,
        LengthRouter,
        MatrixFactorizationRouter,
        RewardDistilledRouter,
        SimilarityEloRouter,
        StackedRouter,
        TfidfRouter,
    )
}


def router_class(name: str) -> type[LearnedRouter]:
    """The class of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in ROUTERS:
        raise UnknownNameError("router", name, sorted(ROUTERS))
    return ROUTERS[name]


def load(folder: str | Path, **options: Any) -> LearnedRouter:
    """Read a saved router of any class. Errors and options are those of `LearnedRouter.load`."""
    name = saving.read(Path(folder)).router
    if name not in ROUTERS:
        raise RouterFileError(
            str(folder), f"it is a {name!r} router, which this version does not know; upgrade rar-llm"
        )
    return ROUTERS[name].load(folder, **options)
