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

import numpy as np

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


def three_models(weak: str = "llama-3.1-8b-instruct") -> Table:
    """Questions of 30 benchmarks, and what a judge thought of a cheap model's answer and of Gemini-2.5-Pro's."""
    found = rows("three_models_judged_cost.csv.gz")
    return _pair(found, "prompt", f"reward:{weak}", "reward:gemini-2.5-pro", group="source")


def nine_models(weak: str) -> Table:
    """Questions, and the scores of a small model and of the largest of nine."""
    return _pair(rows("nine_models.csv.gz"), "question", weak, "llama-3.3-nemotron-super-49b-v1")


def bfcl(weak: str, strong: str) -> Table:
    """Requests for tool calls, and whether each model's call was right."""
    return _pair(rows("bfcl_outcomes.csv.gz"), "question", weak, strong, group="category")


def alpaca_eval(weak: str) -> Table:
    """Instructions, and how far a judge preferred a model's reply to GPT-4's."""
    at = json.loads((folder() / "strategies/alpaca_eval_models.json").read_text("utf-8")).index(weak)
    with gzip.open(folder() / "strategies/alpaca_eval_prefs.jsonl.gz", "rt", encoding="utf-8") as file:
        found = [row for row in map(json.loads, file) if row["pref"][at] is not None]
    preferred = np.array([row["pref"][at] for row in found])
    groups = tuple(row["dataset"] for row in found)
    return Table.of_scores([row["question"] for row in found], preferred, 1.0 - preferred, groups=groups, name=weak)


def _pair(found: list[dict[str, str]], text: str, weak: str, strong: str, group: str | None = None) -> Table:
    scores = ([float(row[model]) for row in found] for model in (weak, strong))
    groups = None if group is None else tuple(row[group] for row in found)
    return Table.of_scores([row[text] for row in found], *scores, groups=groups, name=f"{weak} and {strong}")


def mmlu_pro(
    questions: int | None = None, weak: str = "llama-3.1-8b-instruct", strong: str = "llama-3.1-70b-instruct"
) -> Table:
    """Multiple-choice questions without their options, whether each model was right, and the letter that it named."""
    names = json.loads((folder() / "strategies" / "mmlu_pro_models.json").read_text(encoding="utf-8"))
    found = records("strategies/mmlu_pro_11models.jsonl.gz")
    said = [[row["pred"][names.index(name)] or "" for row in found] for name in (weak, strong)]
    scores = [[float(letter == row["answer"]) for letter, row in zip(of, found, strict=True)] for of in said]
    answers = [[f"The answer is ({letter})." if letter else "I do not know." for letter in of] for of in said]
    table = Table.of_scores(
        [row["question"] for row in found], *scores, weak_id=weak, strong_id=strong, answers=(answers[0], answers[1]),
        groups=tuple(row["category"] for row in found), name="mmlu_pro",
    )  # fmt: skip
    return table.take(shuffle(table, 0)[:questions])


def _table(name: str, questions: int | None, group: str | None = None, text: str | None = None) -> Table:
    """A random part of the file, the same each time; all of it for None."""
    weak, strong = "mixtral_8x7b_correct", "gpt4_1106_correct"
    table = read_table(folder() / name, weak=weak, strong=strong, text=text, group=group)
    return table.take(shuffle(table, 0)[:questions])
