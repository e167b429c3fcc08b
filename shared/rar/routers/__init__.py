"""Static routers: predictions from the text alone, and how to learn them from outcomes. See `docs/routers.md`."""

from rar.routers.base import EmbeddingRouter, LearnedRouter, RankingRouter, StaticRouter, as_static_router
from rar.routers.outcomes import Outcomes
from rar.routers.registry import ROUTERS, load, router_class
from rar.routers.simple import LengthRouter, TfidfRouter

__all__ = [
    "ROUTERS",
    "EmbeddingRouter",
    "LearnedRouter",
    "LengthRouter",
    "Outcomes",
    "RankingRouter",
    "StaticRouter",
    "TfidfRouter",
    "as_static_router",
    "load",
    "router_class",
]
