"""Rows of files: CSV, JSON Lines, Parquet, each also gzipped, and RouteLLM's folders."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

from rar.errors import EvaluationDataError, MissingDependencyError

Row: TypeAlias = Mapping[str, Any]


def is_memory(path: Path) -> bool:
    """Whether a file is a SQLite database, as memories are."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(16) == b"SQLite format 3\0"


def records(path: Path) -> Iterator[tuple[int, Row]]:
    """Lines and rows. The line is where the row begins, from 1."""
    if path.is_dir():
        yield from _routellm(path)
        return
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    readers: dict[str, Callable[[IO[Any], str], Iterator[tuple[int, Row]]]] = {
        ".csv": _csv_rows,
        ".jsonl": _json_rows,
        ".ndjson": _json_rows,
        ".parquet": _parquet_rows,
    }
    if suffix not in readers:
        found = (
            "this is a memory, which `rar eval memory` replays"
            if is_memory(path)
            else f"{suffix or 'no ending'!r} is none of {sorted(readers)}, with or without .gz"
        )
        raise EvaluationDataError(str(path), found)
    with _opened(path, binary=suffix == ".parquet") as stream:
        yield from readers[suffix](stream, str(path))


@contextmanager
def _opened(path: Path, *, binary: bool) -> Iterator[IO[Any]]:
    opener: Callable[..., IO[Any]] = gzip.open if path.suffix == ".gz" else open
    options: dict[str, Any] = {"mode": "rb"} if binary else {"mode": "rt", "encoding": "utf-8-sig", "newline": ""}
    try:
        with opener(path, **options) as stream:
            yield stream
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError) as error:
        raise EvaluationDataError(str(path), f"it cannot be read: {error}") from error


def _csv_rows(stream: IO[str], where: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(2**31 - 1)  # an answer may be long
    reader = csv.DictReader(stream, strict=True)
    try:
        columns = len(reader.fieldnames or ())
        line = reader.line_num + 1  # a row may span several; it is named by its first
        for row in reader:
            if None in row:
                raise EvaluationDataError(where, f"the row has more values than the header's {columns} columns", line)
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise EvaluationDataError(where, str(error), reader.line_num) from error


def _json_rows(stream: IO[str], where: str) -> Iterator[tuple[int, Row]]:
    for line, content in enumerate(stream, 1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except ValueError as error:
            raise EvaluationDataError(where, f"no JSON: {error}", line) from error
        if not isinstance(row, dict):
            raise EvaluationDataError(where, f"{type(row).__name__} instead of an object", line)
        yield line, row


def _parquet_rows(stream: IO[bytes], where: str) -> Iterator[tuple[int, Row]]:
    try:
        from pyarrow import parquet  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingDependencyError("pyarrow", "eval") from None
    try:
        file = parquet.ParquetFile(stream)
        yield from enumerate((row for batch in file.iter_batches() for row in batch.to_pylist()), 1)
    except (OSError, ValueError) as error:  # its own errors derive from these
        raise EvaluationDataError(where, f"it cannot be read: {error}") from error


# --- RouteLLM -------------------------------------------------------------------------------------------------------


def _routellm(folder: Path) -> Iterator[tuple[int, Row]]:
    """RouteLLM's `evals/mmlu`, `evals/gsm8k` or `evals/mt_bench`, without what it lists as contaminated."""
    banned = {row["eval_prompt"] for _, row in _rows_of(folder / "contaminated_prompts.jsonl", missing_ok=True)}
    judged = folder / "judgements.jsonl"
    if judged.is_file():
        yield from _mt_bench(judged, banned)
        return
    files = sorted([*folder.glob("*responses.csv"), *folder.glob("responses/*.csv"), *folder.glob("mmlu_*.csv")])
    if not files:
        raise EvaluationDataError(str(folder), "there is no responses/*.csv, *responses.csv or judgements.jsonl in it")
    for file in files:
        subject = file.stem.removeprefix("mmlu_")
        for line, row in _rows_of(file):
            if row.get("prompt") not in banned:
                yield line, {"group": subject, **row}


def _mt_bench(file: Path, banned: set[str]) -> Iterator[tuple[int, Row]]:
    """One row a question: the mean score of each model's turns."""
    texts = {row["question_id"]: row for _, row in _rows_of(file.parent / "question.jsonl", missing_ok=True)}
    first: dict[Any, tuple[int, Row]] = {}
    scores: dict[Any, dict[str, list[float]]] = {}
    for line, row in _rows_of(file):
        missing = {"question_id", "model", "score"} - row.keys()
        if missing:
            raise EvaluationDataError(str(file), "the row has no value there", line, min(missing))
        first.setdefault(row["question_id"], (line, row))
        scores.setdefault(row["question_id"], {}).setdefault(row["model"], []).append(row["score"])
    for asked, (line, row) in first.items():
        known = {**row, **texts.get(asked, {})}
        turns = known.get("turns")
        if not turns:
            raise EvaluationDataError(
                str(file), f"question {asked!r} has no text, here or in question.jsonl", line, "turns"
            )
        if banned.isdisjoint(turns):
            means = {model: sum(given) / len(given) for model, given in scores[asked].items()}
            yield line, {"text": turns[0], "group": known.get("category", "mt_bench"), **means}


def _rows_of(file: Path, *, missing_ok: bool = False) -> Iterable[tuple[int, Row]]:
    return () if missing_ok and not file.is_file() else records(file)


# --- values of a row ------------------------------------------------------------------------------------------------

_TRUTH = {"true": 1.0, "false": 0.0}


def json_list(value: Any) -> Sequence[Any] | None:
    """A list that is one, or is written as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, list) else None


def finite(value: Any) -> float:
    """A number; NaN for what is none."""
    number = _TRUTH.get(str(value).strip().lower())
    try:
        number = float(value) if number is None else number
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def names_of(row: Row) -> list[str]:
    return [str(name) for name in row if name is not None]
