"""How good a router is: metrics, replays of recorded outcomes, baselines and reports. Shown in `docs/evaluation.md`."""

from rar.evaluation.agreement import Agreement, Labelled, agreement, agreement_of
from rar.evaluation.checkpoint import Checkpoint
from rar.evaluation.data import read_outcomes, read_table, read_texts
from rar.evaluation.embeddings import embedded
from rar.evaluation.past import Past, read_memory
from rar.evaluation.prices import CallPrice, priced
from rar.evaluation.recorded import RecordedJudge, RecordedModel, recorded_models
from rar.evaluation.replay import engine, replay_online, shuffle, stages, static, stream
from rar.evaluation.runs import OURS, Online, Run, Stages, Static
from rar.evaluation.table import Table

__all__ = [
    "OURS",
    "Agreement",
    "CallPrice",
    "Checkpoint",
    "Labelled",
    "Online",
    "Past",
    "RecordedJudge",
    "RecordedModel",
    "Run",
    "Stages",
    "Static",
    "Table",
    "agreement",
    "agreement_of",
    "embedded",
    "engine",
    "priced",
    "read_memory",
    "read_outcomes",
    "read_table",
    "read_texts",
    "recorded_models",
    "replay_online",
    "shuffle",
    "stages",
    "static",
    "stream",
]
