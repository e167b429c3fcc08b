"""How good a router is: metrics, replays of recorded outcomes, baselines and reports. Shown in `docs/evaluation.md`."""

from rar.evaluation.data import Table, read_table
from rar.evaluation.embeddings import embedded
from rar.evaluation.replay import Online, Run, Stages, Static, engine, online, shuffle, stages, static, stream

__all__ = [
    "Online",
    "Run",
    "Stages",
    "Static",
    "Table",
    "embedded",
    "engine",
    "online",
    "read_table",
    "shuffle",
    "stages",
    "static",
    "stream",
]
