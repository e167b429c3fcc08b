"""Recorded outcomes: what models scored on the same questions.

`read_table` reads CSV, JSON Lines, Parquet, RouterBench's CSV and a folder of RouteLLM's evaluations, of a weak and a
strong model. `read_outcomes` reads the same of any number of models, battles between them and chances to win.
`read_memory` reads the past of a memory. `docs/evaluation.md` shows the formats.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rar.errors import EvaluationDataError
from rar.evaluation.files import Row, finite, is_memory, json_list, names_of, records
from rar.evaluation.past import read_memory
from rar.evaluation.table import Table
from rar.outcomes import Guided, Outcomes, Replies

TEXT_COLUMNS = ("text", "question", "prompt")  # tried in this order where no text column is named
_ENDINGS = {
    "cost": ("_cost", "|total_cost"),
    "answers": ("_response", "_answer", "|model_response"),
    "guided": ("_guided_correct", "_guided_score", "_guided"),
    "guided_answers": ("_guided_response", "_guided_answer"),
    "input_tokens": ("_input_tokens", "_prompt_tokens"),
    "output_tokens": ("_output_tokens", "_completion_tokens"),
    "logprobs": ("_logprob",),
}
_GUIDED = ("guided", "guided_answers")
_TOKENS = [f"{role}_{way}_tokens" for role in ("weak", "strong") for way in ("input", "output")]
_BATTLE = ("model_a", "model_b", "winner")
_WIN = "win_probability"
_WINNERS = {"model_a": "model_a", "model_b": "model_b", "tie": "tie", "tie (bothbad)": "tie"}
_AS_TEXT = ("groups", "model_a", "model_b")


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

    Other columns are named like the model's, with an ending. Costs have `_cost` or `|total_cost`, answers `_response`,
    `_answer` or `|model_response`. Tokens have `_input_tokens` (`_prompt_tokens`) and `_output_tokens`
    (`_completion_tokens`). What a model did with a guide has `_guided` (`_guided_correct`, `_guided_score`), and
    `_guided_response` or `_guided_answer`. A `_correct` or `_score` at the end of the model's own column is no part of
    its name.

    Args:
        path: A file (`.csv`, `.jsonl`, `.parquet`, each also with `.gz`), or a folder of RouteLLM's evaluations.
        weak: Column of the weak model's scores.
        strong: Column of the strong model's; or a number, which it then scores on every row.
        text: A column, several (`"question,A,B"`: a line each, one-letter columns as options), or a template with
            columns in braces (`"{question}\nA. {A}"`). None: `text`, `question` or `prompt`.
        group: Column of the group.
        limit: Rows that are read at most.

    Raises:
        EvaluationDataError: Names file, line and column of what cannot be read.
    """
    file = Path(path)
    builder = _Pair(str(path), {"weak": weak, "strong": strong}, text, group)
    constant = math.isfinite(finite(strong))
    for line, row in records(file):
        if limit is not None and len(builder.texts) >= limit:
            break
        builder.add(line, {strong: strong, **row} if constant else row)
    return builder.table(file.name)


def read_outcomes(
    path: str | Path,
    *,
    models: Sequence[str] | None = None,
    text: str | None = None,
    group: str | None = None,
    limit: int | None = None,
    replies: bool = False,
) -> Outcomes:
    """Read what routers learn from: scores of any number of models, battles, chances to win, or a memory's past.

    Without `models`, the columns tell: `model_a`, `model_b` and `winner` (`model_a`, `model_b`, `tie`; Arena's
    `tie (bothbad)` is a tie) are battles, `win_probability` is the chance that the strong model's answer wins. Costs
    are found as by `read_table`, and kept where all models have them.

    Guided outcomes are kept where they are, as by `read_table`.

    Args:
        path: A file or folder as for `read_table`, or a memory file, whose texts and models are its own.
        models: Columns of scores, the weak model's first. A score may be a list of samples, in a CSV file written as
            JSON. With more than two models, an empty one means that the model was not asked. Of battles: which models
            are used, in this order; None: all, by name. Of chances: the names of the weak and the strong model.
        text: As for `read_table`.
        group: Column of what the text is about.
        limit: Rows that are read at most.
        replies: Whether answers and tokens beside plain scores are kept, as by `read_table`, and the mean
            log-probability of an answer's tokens (`_logprob`).

    Raises:
        EvaluationDataError: Names file, line and column of what cannot be read.
    """
    file = Path(path)
    if is_memory(file):
        return _of_memory(file, models, limit)
    builder: _Scores | _Battles | _Wins | None = None
    for line, row in records(file):
        if builder is None:
            builder = _builder(line, row, str(path), models, text, group)
            builder.kinds = tuple(_ENDINGS) if replies and isinstance(builder, _Scores) else builder.kinds
        if limit is not None and len(builder.texts) >= limit:
            break
        builder.add(line, row)
    if builder is None:
        raise EvaluationDataError(str(path), "there are no rows")
    return builder.outcomes(file.name)


def read_texts(path: str | Path, *, text: str | None = None, limit: int | None = None) -> tuple[str, ...]:
    """Read texts alone, such as a log of requests. Arguments and errors are those of `read_table`."""
    builder = _Builder(str(path), {}, text, None)
    for line, row in records(Path(path)):
        if limit is not None and len(builder.texts) >= limit:
            break
        builder.add(line, row)
    if not builder.texts:
        raise EvaluationDataError(str(path), "there are no rows")
    return tuple(builder.texts)


def _of_memory(path: Path, models: Sequence[str] | None, limit: int | None) -> Outcomes:
    if models is not None:
        raise EvaluationDataError(str(path), "a memory knows the models of its calls; leave models out")
    past = read_memory(path)
    if not past.texts:
        found = "it was kept with store_text=False, and routers learn from texts; those that look at embeddings alone "
        raise EvaluationDataError(str(path), found + "learn from `read_memory(path).table`")
    n = len(past.table)
    return past.table.take(range(n if limit is None else min(limit, n)))


class _Builder:
    """Collects rows, and names what is wrong with one.

    Args:
        columns: Of scores, by role.
    """

    kinds: tuple[str, ...] = tuple(_ENDINGS)[:-1]  # of columns that are looked for beside them
    alone: tuple[str, ...] = ()  # those that are of use where not all models have them

    def __init__(self, where: str, columns: Mapping[str, str], text: str | None, group: str | None) -> None:
        self.where, self.models, self.text, self.group = where, columns, text, group
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
            self.values[name].append(self._read(name)(line, row, column))

    def _read(self, name: str) -> Callable[[int, Row, str], Any]:
        """How the values of a column are read, by what it is for."""
        if name.endswith("_guided"):
            return self._guided_score
        return self._text if name in _AS_TEXT or name.endswith("answers") else self._number

    def _guided_score(self, line: int, row: Row, column: str) -> float:
        """A score with a guide; NaN where none was recorded."""
        return math.nan if row.get(column) in (None, "") else self._number(line, row, column)

    def _guided(self) -> Guided | None:
        """What models did with guides, as far as there are columns of it."""
        if not any(name.endswith("_guided") for name in self.values):
            return None
        nothing = [None] * len(self.texts)
        scores, said = ([self.values.get(f"{role}_{kind}", nothing) for role in self.models] for kind in _GUIDED)
        kept = any(values is not nothing for values in said)
        return Guided(np.array(scores, np.float64).T, np.array(said, object).T if kept else None)

    def _prepared(self, line: int, row: Row) -> Callable[[int, Row], str]:
        """Learn the columns from the first row."""
        self._columns = dict(self.models)
        if self.group is not None:
            self._columns["groups"] = self.group
        for kind in self.kinds:
            endings = _ENDINGS[kind]
            found: dict[str, str] = {}
            for role, column in self.models.items():
                stem = re.sub(r"_(correct|score)$", "", column)
                named = next((stem + ending for ending in endings if stem + ending in row), None)
                if named is not None:
                    found[f"{role}_{kind}"] = named
            if len(found) == len(self.models) or kind in self.alone:
                self._columns |= found
        self.values = {name: [] for name in self._columns}
        return self._template(line, row)

    def _groups(self) -> tuple[str, ...] | None:
        return tuple(self.values["groups"]) if self.group is not None else None

    def _template(self, line: int, row: Row) -> Callable[[int, Row], str]:
        text = self.text or next((column for column in TEXT_COLUMNS if column in row), None)
        if text is None:
            raise EvaluationDataError(
                self.where,
                f"none of {list(TEXT_COLUMNS)} is among the columns {names_of(row)}; name it with text",
                line,
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
        number = finite(value)
        if not number >= 0.0:
            raise EvaluationDataError(self.where, f"{value!r} is not a number of at least 0", line, column)
        return number

    def _value(self, line: int, row: Row, column: str) -> Any:
        if column not in row:
            raise EvaluationDataError(self.where, f"there is no such column among {names_of(row)}", line, column)
        value = row[column]
        if value is None:
            raise EvaluationDataError(self.where, "the row has no value there", line, column)
        return value


class _Pair(_Builder):
    """Scores of a weak and a strong model, at least 0."""

    alone = ("cost", *_GUIDED)  # the other model may be given a price

    def table(self, name: str) -> Table:
        if not self.texts:
            raise EvaluationDataError(self.where, "there are no rows")
        weak, strong = self.models["weak"], self.models["strong"]
        made: dict[str, Any] = {
            key: np.array(values) if isinstance(values[0], float) else tuple(values)
            for key, values in self.values.items()
            if not key.endswith(_GUIDED)
        }
        tokens = [made.pop(column, None) for column in _TOKENS]
        if all(counts is not None for counts in tokens):
            made["tokens"] = np.array(tokens).reshape(2, 2, -1).transpose(2, 0, 1)
        answers = [made.pop(f"{role}_answers", None) for role in self.models]
        if all(said is not None for said in answers):
            made["answers"] = tuple(answers)
        if not any(made["strong"]):
            found = "the strong model never scored above 0, so no share of its quality can be kept"
            raise EvaluationDataError(self.where, found, column=strong)
        made["strong_id"] = strong if math.isnan(finite(strong)) else f"always {strong}"
        return Table.of_scores(tuple(self.texts), weak_id=weak, name=name, guided=self._guided(), **made)


# --- any number of models -------------------------------------------------------------------------------------------


def _builder(
    line: int, row: Row, where: str, models: Sequence[str] | None, text: str | None, group: str | None
) -> _Scores | _Battles | _Wins:
    """What reads rows that look like this one."""
    if models is not None and (len(models) < 2 or len(set(models)) < len(models)):
        raise EvaluationDataError(where, f"two or more different models are needed, not {list(models)}")
    if models is None or not any(model in row for model in models):
        if all(column in row for column in _BATTLE):
            return _Battles(where, models, text, group)
        if _WIN in row:
            return _Wins(where, models, text, group)
    if models is None:
        found = f"name the columns of scores with models, the weak one first; there are {names_of(row)}"
        raise EvaluationDataError(where, found, line)
    return _Scores(where, models, text, group)


class _Scores(_Builder):
    """Scores of two or more models: finite numbers or lists of samples, empty where a model of many was not asked."""

    kinds: tuple[str, ...] = ("cost", *_GUIDED)
    alone = _GUIDED

    def __init__(self, where: str, models: Sequence[str], text: str | None, group: str | None) -> None:
        super().__init__(where, {str(at): model for at, model in enumerate(models)}, text, group)
        self._samples: int | None = None  # of each score; 0: they are plain numbers

    def add(self, line: int, row: Row) -> None:
        super().add(line, row)
        if not any(self.values[role][-1] for role in self.models):
            raise EvaluationDataError(self.where, f"none of {list(self.models.values())} has a score", line)

    def outcomes(self, name: str) -> Outcomes:
        empty = (math.nan,) * (self._samples or 1)
        samples = np.array([[cell or empty for cell in self.values[role]] for role in self.models]).transpose(1, 0, 2)
        costs = [self.values[f"{role}_cost"] for role in self.models if f"{role}_cost" in self.values]
        return Outcomes(
            tuple(self.texts),
            samples.mean(2),
            tuple(self.models.values()),
            samples=samples if self._samples else None,
            groups=self._groups(),
            costs=np.array(costs).T if costs else None,
            replies=self._replies(),
            guided=self._guided(),
            name=name,
        )

    def _replies(self) -> Replies | None:
        """What was answered, and its tokens, each where all models have it."""
        said, into, out, chances = (
            [self.values[f"{role}_{kind}"] for role in self.models if f"{role}_{kind}" in self.values]
            for kind in ("answers", "input_tokens", "output_tokens", "logprobs")
        )
        tokens = np.array([into, out]).transpose(2, 1, 0) if into and out else None
        if not said and tokens is None:
            return None
        texts, logprobs = (np.array(said, object).T if said else None, np.array(chances).T if chances else None)
        return Replies(texts, tokens, logprobs=logprobs)

    def _read(self, name: str) -> Callable[[int, Row, str], Any]:
        if name in self.models:
            return self._score
        if name.endswith(_GUIDED) or name == "groups":
            return super()._read(name)
        if name.endswith("_logprobs"):
            return self._logprob
        return self._answer if name.endswith("_answers") else self._amount

    def _score(self, line: int, row: Row, column: str) -> tuple[float, ...]:
        """The samples of one score, or itself; empty: not asked."""
        if self._not_asked(row, column):
            return ()
        value = self._value(line, row, column)
        given = json_list(value)
        numbers = tuple(finite(entry) for entry in ([value] if given is None else given))
        if not numbers or any(map(math.isnan, numbers)):
            raise EvaluationDataError(self.where, f"{value!r} is no finite number or list of some", line, column)
        count = 0 if given is None else len(numbers)
        if self._samples is None:
            self._samples = count
        if count != self._samples:
            kinds = [f"a list of {size}" if size else "a plain number" for size in (count, self._samples)]
            raise EvaluationDataError(self.where, f"{value!r} is {kinds[0]}, the first score {kinds[1]}", line, column)
        return numbers

    def _answer(self, line: int, row: Row, column: str) -> str:
        return "" if self._not_asked(row, column) else self._text(line, row, column)

    def _amount(self, line: int, row: Row, column: str) -> float:
        return math.nan if self._not_asked(row, column) else self._number(line, row, column)

    def _logprob(self, line: int, row: Row, column: str) -> float:
        """NaN where it is not known."""
        return finite(row.get(column))

    def _not_asked(self, row: Row, column: str) -> bool:
        return len(self.models) > 2 and column in row and row[column] in (None, "")


class _Battles(_Builder):
    """Battles between two models each, of those that are named."""

    kinds = ()

    def __init__(self, where: str, models: Sequence[str] | None, text: str | None, group: str | None) -> None:
        super().__init__(where, {column: column for column in _BATTLE}, text, group)
        self.named = models

    def add(self, line: int, row: Row) -> None:
        if self.named is None or all(self._text(line, row, column) in self.named for column in _BATTLE[:2]):
            super().add(line, row)

    def outcomes(self, name: str) -> Outcomes:
        if not self.texts:
            raise EvaluationDataError(self.where, f"no battle is between two of the models {list(self.named or ())}")
        battles = [self.values[column] for column in _BATTLE]
        return replace(Outcomes.of_battles(self.texts, *battles, models=self.named, name=name), groups=self._groups())

    def _read(self, name: str) -> Callable[[int, Row, str], Any]:
        return self._winner if name == "winner" else super()._read(name)

    def _winner(self, line: int, row: Row, column: str) -> str:
        value = self._text(line, row, column)
        if value not in _WINNERS:
            raise EvaluationDataError(self.where, f"{value!r} is none of {sorted(_WINNERS)}", line, column)
        return _WINNERS[value]


class _Wins(_Builder):
    """Chances that the strong model's answer wins."""

    kinds = ()

    def __init__(self, where: str, models: Sequence[str] | None, text: str | None, group: str | None) -> None:
        super().__init__(where, {_WIN: _WIN}, text, group)
        if models is not None and len(models) != 2:
            raise EvaluationDataError(where, f"a chance to win is about two models, not {list(models)}", column=_WIN)
        self.weak, self.strong = models or ("weak", "strong")

    def outcomes(self, name: str) -> Outcomes:
        found = Outcomes.of_wins(self.texts, self.values[_WIN], weak=self.weak, strong=self.strong)
        return replace(found, groups=self._groups(), name=name)

    def _number(self, line: int, row: Row, column: str) -> float:
        number = super()._number(line, row, column)
        if number > 1.0:
            raise EvaluationDataError(self.where, f"{number} is no chance between 0 and 1", line, column)
        return number
