"""How good a router is: metrics, replays of recorded outcomes, baselines and reports. Shown in `docs/evaluation.md`."""

from rar.evaluation.data import Table, read_table
from rar.evaluation.embeddings import embedded
from rar.evaluation.replay import Online, Run, online, shuffled, stream

__all__ = ["Online", "Run", "Table", "embedded", "online", "read_table", "shuffled", "stream"]
