"""Recorded outcomes: what a weak and a strong model scored on the same questions.

`read_table` reads CSV, JSON Lines, Parquet, RouterBench's CSV and a folder of RouteLLM's evaluations, `read_memory` the
past of a memory. `docs/evaluation.md` shows the format.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rar.errors import EvaluationDataError, MissingDependencyError
from rar.values import Vector

Array: TypeAlias = npt.NDArray[np.float64]
Row: TypeAlias = Mapping[str, Any]

TEXT_COLUMNS = ("text", "question", "prompt")  # tried in this order where no text column is named
_COLUMNS = (
    "texts", "weak", "strong", "groups", "weak_cost", "strong_cost", "weak_answers", "strong_answers", "vectors",
)  # fmt: skip
_ENDINGS = {"cost": ("_cost", "|total_cost"), "answers": ("_response", "_answer", "|model_response")}
_TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Table:
    """`n` questions with two models' scores, which are at least 0, higher is better. All arrays have shape `(n,)`.

    Args:
        groups: What each question is about, for left-out groups and the group prior.
        weak_cost, strong_cost: USD of each answer; None: a strong call counts 1 and a weak one 0.
        weak_answers, strong_answers: What was answered, for judges that compare answers.
        vectors: Embeddings of the texts, shape `(n, dim)`, unit norm.
        embedder_id: What made `vectors`.
    """

    texts: tuple[str, ...] = field(repr=False)
    weak: Array = field(repr=False, compare=False)
    strong: Array = field(repr=False, compare=False)
    groups: tuple[str, ...] | None = field(default=None, repr=False)
    weak_cost: Array | None = field(default=None, repr=False, compare=False)
    strong_cost: Array | None = field(default=None, repr=False, compare=False)
    weak_answers: tuple[str, ...] | None = field(default=None, repr=False)
    strong_answers: tuple[str, ...] | None = field(default=None, repr=False)
    vectors: Vector | None = field(default=None, repr=False, compare=False)
    embedder_id: str = ""
    weak_id: str = "weak"
    strong_id: str = "strong"
    name: str = "table"

    def __post_init__(self) -> None:
        if not self.texts:
            raise EvaluationDataError(self.name, "there are no rows")
        for column in _COLUMNS[1:]:
            values = getattr(self, column)
            if values is not None and len(values) != len(self.texts):
                raise EvaluationDataError(self.name, f"{len(self.texts)} texts but {len(values)} values", column=column)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def gap(self) -> Array:
        """What the strong model's score is above the weak one's."""
        return self.strong - self.weak

    def take(self, rows: npt.NDArray[np.intp] | Sequence[int]) -> Table:
        """The table of `rows`, in that order."""
        index = np.asarray(rows, np.intp)

        def taken(values: Any) -> Any:
            if isinstance(values, np.ndarray):
                return values[index]
            return None if values is None else tuple(values[row] for row in index)

        return replace(self, **{name: taken(getattr(self, name)) for name in _COLUMNS})


def read_table(
    path: str | Path,
    *,
    weak: str,
    strong: str,
    text: str | None = None,
    group: str | None = None,
    limit: int | None = None,
) -> Table:
    r"""Read the scores of two models.

    Costs are taken from a column named like the model's with `_cost` or `|total_cost` at its end, answers from one with
    `_response`, `_answer` or `|model_response`; a `_correct` or `_score` at the end of the model's own does not count.

    Args:
        path: A file (`.csv`, `.jsonl`, `.parquet`, each also with `.gz`), or a folder of RouteLLM's evaluations.
        weak: Column of the weak model's scores.
        strong: Column of the strong model's.
        text: A column, several (`"question,A,B"`: a line each, one-letter columns as options), or a template with
            columns in braces (`"{question}\nA. {A}"`). None: `text`, `question` or `prompt`.
        group: Column of the group.
        limit: Rows that are read at most.

    Raises:
        EvaluationDataError: Names file, line and column of what cannot be read.
    """
    file = Path(path)
    builder = _Builder(str(path), weak, strong, text, group)
    for line, row in _records(file):
        if limit is not None and len(builder.texts) >= limit:
            break
        builder.add(line, row)
    return builder.table(file.name)


class _Builder:
    """Collects rows, and names what is wrong with one."""

    def __init__(self, where: str, weak: str, strong: str, text: str | None, group: str | None) -> None:
        self.where, self.weak, self.strong, self.text, self.group = where, weak, strong, text, group
        self.texts: list[str] = []
        self.values: dict[str, list[Any]] = {}
        self._columns: dict[str, str] = {}
        self._compose: Callable[[int, Row], str] | None = None

    def add(self, line: int, row: Row) -> None:
        if self._compose is None:
            self._compose = self._prepared(line, row)
        text = self._compose(line, row)
        if not text.strip():
            raise EvaluationDataError(self.where, "the text is empty", line, self.text or "text")
        self.texts.append(text)
        for name, column in self._columns.items():
            read = self._text if name == "groups" or name.endswith("answers") else self._number
            self.values[name].append(read(line, row, column))

    def table(self, name: str) -> Table:
        if not self.texts:
            raise EvaluationDataError(self.where, "there are no rows")
        made: dict[str, Any] = {
            key: np.array(values) if isinstance(values[0], float) else tuple(values)
            for key, values in self.values.items()
        }
        if not any(made["strong"]):
            found = "the strong model never scored above 0, so that no share of its quality can be kept"
            raise EvaluationDataError(self.where, found, column=self.strong)
        return Table(tuple(self.texts), weak_id=self.weak, strong_id=self.strong, name=name, **made)

    def _prepared(self, line: int, row: Row) -> Callable[[int, Row], str]:
        """Learn the columns from the first row."""
        self._columns = {"weak": self.weak, "strong": self.strong}
        if self.group is not None:
            self._columns["groups"] = self.group
        for role, column in (("weak", self.weak), ("strong", self.strong)):
            stem = re.sub(r"_(correct|score)$", "", column)
            for kind, endings in _ENDINGS.items():
                named = next((stem + ending for ending in endings if stem + ending in row), None)
                if named is not None:
                    self._columns[f"{role}_{kind}"] = named
        for kind in _ENDINGS:  # of use only where both models have it
            if (f"weak_{kind}" in self._columns) != (f"strong_{kind}" in self._columns):
                self._columns.pop(f"weak_{kind}", None)
                self._columns.pop(f"strong_{kind}", None)
        self.values = {name: [] for name in self._columns}
        return self._template(line, row)

    def _template(self, line: int, row: Row) -> Callable[[int, Row], str]:
        text = self.text or next((column for column in TEXT_COLUMNS if column in row), None)
        if text is None:
            raise EvaluationDataError(
                self.where, f"none of {list(TEXT_COLUMNS)} is among the columns {_names(row)}; name it with text", line
            )
        if text in row:
            column = text
            return lambda line, row: self._text(line, row, column)
        if "{" not in text:
            columns = [column.strip() for column in text.split(",")]
            text = "\n".join(f"{column}. {{{column}}}" if len(column) == 1 else f"{{{column}}}" for column in columns)
        parts = re.split(r"\{([^{}]+)\}", text.replace("\\n", "\n"))
        return lambda line, row: "".join(
            self._text(line, row, part) if at % 2 else part for at, part in enumerate(parts)
        )

    def _text(self, line: int, row: Row, column: str) -> str:
        value = self._value(line, row, column)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def _number(self, line: int, row: Row, column: str) -> float:
        value = self._value(line, row, column)
        try:
            number = _TRUTH.get(str(value).strip().lower())
            number = float(value) if number is None else number
        except (TypeError, ValueError):
            number = math.nan
        if not 0.0 <= number < math.inf:
            raise EvaluationDataError(self.where, f"{value!r} is not a number of at least 0", line, column)
        return number

    def _value(self, line: int, row: Row, column: str) -> Any:
        if column not in row:
            raise EvaluationDataError(self.where, f"there is no such column among {_names(row)}", line, column)
        value = row[column]
        if value is None:
            raise EvaluationDataError(self.where, "the row has no value there", line, column)
        return value


def _names(row: Row) -> list[str]:
    return [str(name) for name in row if name is not None]


# --- files ----------------------------------------------------------------------------------------------------------


def _records(path: Path) -> Iterator[tuple[int, Row]]:
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
        found = f"{suffix or 'no ending'!r} is none of {sorted(readers)}, with or without .gz"
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
    return () if missing_ok and not file.is_file() else _records(file)
