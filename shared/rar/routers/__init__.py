"""Static routers: predictions from the text alone, and how to learn them from outcomes. See `docs/routers.md`."""

from rar.outcomes import Outcomes
from rar.routers.base import EmbeddingRouter, LearnedRouter, RankingRouter, StaticRouter, as_static_router
from rar.routers.causal import CausalLMRouter
from rar.routers.distilled import RewardDistilledRouter
from rar.routers.elo import SimilarityEloRouter
from rar.routers.encoder import EncoderClassifierRouter
from rar.routers.factors import MatrixFactorizationRouter
from rar.routers.hub import from_hub, push_to_hub
from rar.routers.hybrid import HybridRouter
from rar.routers.neighbours import KNNRouter
from rar.routers.registry import ROUTERS, load, router_class
from rar.routers.simple import LengthRouter, TfidfRouter
from rar.routers.stacked import StackedRouter

__all__ = [
    "ROUTERS",
    "CausalLMRouter",
    "EmbeddingRouter",
    "EncoderClassifierRouter",
    "HybridRouter",
    "KNNRouter",
    "LearnedRouter",
    "LengthRouter",
    "MatrixFactorizationRouter",
    "Outcomes",
    "RankingRouter",
    "RewardDistilledRouter",
    "SimilarityEloRouter",
    "StackedRouter",
    "StaticRouter",
    "TfidfRouter",
    "as_static_router",
    "from_hub",
    "load",
    "push_to_hub",
    "router_class",
]
