"""RAR: routing between language models, cheap and strong, that keeps learning. The engine, without any framework."""

from importlib.metadata import version

from rar.errors import RarError
from rar.keys import query
from rar.limits import Ceiling, Limits
from rar.memory import Memory, SQLiteMemory, open_memory
from rar.models import FunctionModel
from rar.rollout import Rollout
from rar.router import Router
from rar.strategies import RAR, Cascade, Threshold
from rar.strategy import Steps, Strategy, ask, ask_all
from rar.values import Answer, Call, Decision, Guide, Message, Reply, Request, Route, Sampling, Usage
from rar.views import RouterStats

__version__ = version("rar-llm")

__all__ = [
    "RAR",
    "Answer",
    "Call",
    "Cascade",
    "Ceiling",
    "Decision",
    "FunctionModel",
    "Guide",
    "Limits",
    "Memory",
    "Message",
    "RarError",
    "Reply",
    "Request",
    "Rollout",
    "Route",
    "Router",
    "RouterStats",
    "SQLiteMemory",
    "Sampling",
    "Steps",
    "Strategy",
    "Threshold",
    "Usage",
    "__version__",
    "ask",
    "ask_all",
    "open_memory",
    "query",
]
