"""RAR for LangChain: `RouterChatModel` and, for agents, `RARMiddleware`."""

from typing import TYPE_CHECKING, Any

from langchain_rar._version import __version__
from langchain_rar.chat_model import RouterChatModel
from langchain_rar.keys import tag_query

if TYPE_CHECKING:
    from langchain_rar.middleware import RARMiddleware

__all__ = ["RARMiddleware", "RouterChatModel", "__version__", "tag_query"]


def __getattr__(name: str) -> Any:
    if name == "RARMiddleware":  # imported late, because only this class needs `langchain`
        from langchain_rar.middleware import RARMiddleware  # noqa: PLC0415

        return RARMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
