"""Static routers: predictions from the text alone."""

from rar.routers.base import StaticRouter, as_static_router

__all__ = ["StaticRouter", "as_static_router"]
