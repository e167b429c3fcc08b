"""Recorded outcomes of real models, from the folder that the environment variable RAR_DATA names."""

from __future__ import annotations

import csv
import gzip
import json
import os
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import rar
from rar.evaluation import Table, read_table, shuffle


def folder() -> Path:
    """The data folder, or the end of the program with a word on what is missing."""
    given = os.environ.get("RAR_DATA")
    if not given or not Path(given).is_dir():
        sys.exit(f"RAR_DATA={given!r} is no folder. Set it to that of the recorded outcomes (see docs/benchmarks.md).")
    return Path(given)


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a gzipped CSV file."""
    with gzip.open(folder() / name, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def records(name: str) -> list[dict[str, Any]]:
    """The rows of a gzipped file with one JSON object a line."""
    with gzip.open(folder() / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def versions() -> str:
    """What figures were made with, for the head of a result file."""
    return f"rar-llm {rar.__version__}, Python {platform.python_version()}, {datetime.now(timezone.utc):%Y-%m-%d}"


def mmlu(questions: int | None = None) -> Table:
    """Multiple-choice questions with their options, and whether each model was right."""
    return _table("mmlu_mixtral_gpt4.csv.gz", questions, group="subject", text="question,A,B,C,D")


def gsm8k(questions: int | None = None) -> Table:
    """Mathematical word problems, and whether each model was right."""
    return _table("gsm8k_mixtral_gpt4.csv.gz", questions)


def _table(name: str, questions: int | None, group: str | None = None, text: str | None = None) -> Table:
    """A random part of the file, the same each time; all of it for None."""
    weak, strong = "mixtral_8x7b_correct", "gpt4_1106_correct"
    table = read_table(folder() / name, weak=weak, strong=strong, text=text, group=group)
    return table.take(shuffle(table, 0)[:questions])
