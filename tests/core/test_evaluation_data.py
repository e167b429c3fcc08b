"""Reading recorded outcomes: what is accepted, and how what is not is named."""

from __future__ import annotations

import gzip
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from rar.errors import EvaluationDataError, MissingDependencyError, MissingMemoryError
from rar.evaluation import Table, read_memory, read_table


def read(file: Path, **options: object) -> Table:
    return read_table(file, weak="small", strong="large", **options)  # type: ignore[arg-type]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_is_read(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "text,topic,small,large\nOne?,x,0.5,1\nTwo?,y,1,1\n"), group="topic")

    assert table.texts == ("One?", "Two?")
    assert table.groups == ("x", "y")
    assert table.weak.tolist() == [0.5, 1.0]
    assert table.strong.tolist() == [1.0, 1.0]
    assert table.gap.tolist() == [0.5, 0.0]
    assert (table.weak_id, table.strong_id, table.name) == ("small", "large", "a.csv")


def test_gzipped_json_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write('{"prompt": "One?", "small": true, "large": 1}\n\n{"prompt": "Two?", "small": false, "large": 1}\n')

    assert read(path).weak.tolist() == [1.0, 0.0]


def test_truth_is_a_score(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.csv", "text,small,large\nOne?,False,True\n")).gap.tolist() == [1.0]


def test_columns_are_joined_to_a_question_with_options(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "question,A,B,small,large\nWhich?,this,that,1,1\n")

    assert read(path, text="question,A,B").texts == ("Which?\nA. this\nB. that",)


def test_text_may_be_a_template(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "question,A,small,large\nWhich?,this,1,1\n")

    assert read(path, text=r"Q: {question}\n({A})").texts == ("Q: Which?\n(this)",)


def test_limit_ends_the_reading(tmp_path: Path) -> None:
    assert len(read(write(tmp_path, "a.csv", "text,small,large\nOne?,1,1\nTwo?,1,1\nbroken\n"), limit=2)) == 2


def test_routerbench_costs_and_answers_are_found(tmp_path: Path) -> None:
    header = "prompt,eval_name,small,large,small|model_response,large|model_response,small|total_cost,large|total_cost"
    table = read(write(tmp_path, "rb.csv", f"{header}\nOne?,arc,0,1,no,yes,0.01,0.2\n"), group="eval_name")

    assert table.replies is not None and table.replies.texts is not None
    assert table.replies.texts.tolist() == [["no", "yes"]]
    assert table.costs is not None and table.costs.tolist() == [[0.01, 0.2]]


def test_costs_of_one_model_alone_wait_for_a_price_of_the_other(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "text,small,large,small_cost\nOne?,0,1,0.5\n"))

    assert table.costs is not None
    assert table.costs[0, 0] == 0.5
    assert np.isnan(table.costs[0, 1])
    assert not table.in_usd
    assert table.call_costs.tolist() == [[0.1, 1.0]], "in strong calls"


def test_taken_rows_keep_all_that_belongs_to_them(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "text,topic,small,large\nOne?,x,0,1\nTwo?,y,1,1\n"), group="topic").take([1])

    assert (table.texts, table.groups, table.weak.tolist()) == (("Two?",), ("y",), [1.0])


BAD = {
    "a number that is none": ("text,small,large\nOne?,1,1\nTwo?,maybe,1\n", 3, "small", "'maybe' is not a number"),
    "a negative number": ("text,small,large\nOne?,1,-1\n", 2, "large", "'-1' is not a number of at least 0"),
    "no number": ("text,small,large\nOne?,nan,1\n", 2, "small", "not a number"),
    "an empty cell": ("text,small,large\nOne?,,1\n", 2, "small", "not a number"),
    "a row that is too short": ("text,small,large\nOne?,1\n", 2, "large", "no value there"),
    "a row that is too long": ("text,small,large\nOne?,1,1,1\n", 2, None, "more values than the header's 3 columns"),
    "a missing column": (
        "text,tiny,large\nOne?,1,1\n",
        2,
        "small",
        r"no such column among \['text', 'tiny', 'large'\]",
    ),
    "an empty text": ("text,small,large\n  ,1,1\n", 2, "text", "the text is empty"),
    "a line after a text of two": ('text,small,large\n"One\nline?",1,1\nTwo?,x,1\n', 4, "small", "not a number"),
    "no text column": ("words,small,large\nOne?,1,1\n", 2, None, "name it with text"),
    "no rows": ("text,small,large\n", None, None, "there are no rows"),
    "a strong model that is always wrong": ("text,small,large\nOne?,1,0\n", None, "large", "never scored above 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_named_by_line_and_column(tmp_path: Path, case: str) -> None:
    text, line, column, found = BAD[case]

    with pytest.raises(EvaluationDataError, match=found) as caught:
        read(write(tmp_path, "bad.csv", text))

    assert (caught.value.line, caught.value.column) == (line, column)
    assert "bad.csv" in str(caught.value)


def test_lines_that_are_no_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationDataError, match="no JSON") as caught:
        read(write(tmp_path, "a.jsonl", '{"text": "One?", "small": 1, "large": 1}\n{"text":\n'))
    assert caught.value.line == 2

    with pytest.raises(EvaluationDataError, match="list instead of an object"):
        read(write(tmp_path, "b.jsonl", "[1]\n"))


def test_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationDataError, match=r"'\.xlsx' is none of"):
        read(write(tmp_path, "a.xlsx", ""))


def test_a_file_that_is_not_gzipped_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationDataError, match="cannot be read"):
        read(write(tmp_path, "a.csv.gz", "text,small,large\n"))


def test_parquet_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(MissingDependencyError, match=r"rar-llm\[eval\]"):
        read(write(tmp_path, "a.parquet", "PAR1"))


def test_parquet_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["One?"], "small": [0.5], "large": [1]}), tmp_path / "a.parquet")

    assert read(tmp_path / "a.parquet").weak.tolist() == [0.5]
    with pytest.raises(EvaluationDataError, match="cannot be read"):
        read(write(tmp_path, "b.parquet", "PAR1"))


def test_tables_of_unequal_columns_are_refused(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "text,small,large\nOne?,1,1\n"))

    with pytest.raises(EvaluationDataError, match="1 texts but 2 values"):
        Table.of_scores(table.texts, table.weak, table.strong, groups=("x", "y"))


def test_routellm_mmlu_is_read_without_contaminated_questions(tmp_path: Path) -> None:
    write(tmp_path, "responses/mmlu_anatomy.csv", "prompt,small,large\nOne?,False,True\nKnown?,True,True\n")
    write(tmp_path, "responses/mmlu_law.csv", "prompt,small,large\nTwo?,True,True\n")
    write(tmp_path, "contaminated_prompts.jsonl", json.dumps({"eval_prompt": "Known?"}) + "\n")

    table = read(tmp_path, group="group")

    assert table.texts == ("One?", "Two?")
    assert table.groups == ("anatomy", "law")


def test_routellm_gsm8k_is_read_with_its_answers(tmp_path: Path) -> None:
    header = "prompt,small,large,small_response,large_response"
    write(tmp_path, "gsm8k_responses.csv", f"{header}\nOne?,False,True,4,5\n")

    assert read(tmp_path).replies.texts[:, 1].tolist() == ["5"]


def test_routellm_mt_bench_scores_are_means_over_turns(tmp_path: Path) -> None:
    judged = [("small", 1, 6), ("small", 2, 8), ("large", 1, 9), ("large", 2, 9)]
    lines = [json.dumps({"question_id": 7, "model": m, "turn": t, "score": s}) for m, t, s in judged]
    write(tmp_path, "judgements.jsonl", "\n".join(lines))
    write(tmp_path, "question.jsonl", json.dumps({"question_id": 7, "category": "math", "turns": ["One?", "Why?"]}))

    table = read(tmp_path, group="group")

    assert (table.texts, table.groups) == (("One?",), ("math",))
    assert (table.weak.tolist(), table.strong.tolist()) == ([7.0], [9.0])


def test_folders_without_evaluations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationDataError, match="there is no"):
        read(tmp_path)


def test_errors_survive_pickling() -> None:
    error = EvaluationDataError("a.csv", "it is odd", 3, "small")

    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_memory_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(MissingMemoryError):
        read_memory(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
