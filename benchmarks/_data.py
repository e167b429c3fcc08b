"""Recorded outcomes of real models, from the folder that the environment variable RAR_DATA names."""

from __future__ import annotations

import csv
import gzip
import os
import sys
from pathlib import Path


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
