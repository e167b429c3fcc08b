"""Reading what routers learn from: scores of many models, battles, chances to win, and a memory's past."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar import Router
from rar.errors import EvaluationDataError, TrainingDataError
from rar.evaluation import read_outcomes, read_texts
from rar.routers import Outcomes, TfidfRouter
from tests.core.world import easy, harbour, pair, serve


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, *, line: int | None, column: str | None, **options: Any) -> str:
    with pytest.raises(EvaluationDataError) as found:
        read_outcomes(path, **options)
    assert (found.value.line, found.value.column) == (line, column)
    return str(found.value)


# --- scores ---------------------------------------------------------------------------------------------------------


def test_the_first_model_is_the_weak_one(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,kind,large,small\nOne?,x,1,0.5\nTwo?,y,0,true\n")

    found = read_outcomes(file, models=("small", "large"), group="kind")

    assert found.models == ("small", "large")
    assert found.gap.tolist() == [0.5, -1.0]
    assert (found.texts, found.groups, found.name) == (("One?", "Two?"), ("x", "y"), "a.csv")


def test_scores_may_be_below_zero(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,a,b\nOne?,-2.5,-1\n")

    assert read_outcomes(file, models=("a", "b")).gap.tolist() == [1.5]


def test_of_many_models_an_empty_cell_was_not_asked(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,a,b,c\nOne?,1,,0\nTwo?,,0.5,\n")

    found = read_outcomes(file, models=("a", "b", "c"))

    np.testing.assert_array_equal(found.scores, [[1.0, np.nan, 0.0], [np.nan, 0.5, np.nan]])
    assert found.samples is None


def test_of_a_pair_each_model_was_asked(tmp_path: Path) -> None:
    refused(write(tmp_path, "a.csv", "text,a,b\nOne?,1,0\nTwo?,1,\n"), line=3, column="b", models=("a", "b"))
    refused(write(tmp_path, "a.jsonl", '{"text": "One?", "a": 1, "b": null}'), line=1, column="b", models=("a", "b"))


def test_a_row_without_any_score_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,a,b,c\nOne?,1,1,0\nTwo?,,,\n")

    assert "none of ['a', 'b', 'c'] has a score" in refused(file, line=3, column=None, models=("a", "b", "c"))


def test_samples_are_kept_beside_their_mean(tmp_path: Path) -> None:
    rows = [{"text": "One?", "a": [0.0, 0.5], "b": [1, 1]}, {"text": "Two?", "a": [0.2, 0.4], "b": [0, 1]}]
    lines = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    table = write(tmp_path, "a.csv", 'text,a,b\nOne?,"[0.0, 0.5]","[1, 1]"\nTwo?,"[0.2, 0.4]","[0, 1]"\n')

    for file in (lines, table):
        found = read_outcomes(file, models=("a", "b"))
        assert found.samples is not None
        assert found.samples.tolist() == [[[0.0, 0.5], [1.0, 1.0]], [[0.2, 0.4], [0.0, 1.0]]]
        np.testing.assert_allclose(found.scores, [[0.25, 1.0], [0.3, 0.5]])


def test_samples_of_a_model_that_was_not_asked_are_missing(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", '{"text": "One?", "a": null, "b": [0, 1], "c": [1, 1]}')

    found = read_outcomes(file, models=("a", "b", "c"))

    np.testing.assert_array_equal(found.scores, [[np.nan, 0.5, 1.0]])
    assert found.samples is not None
    assert np.isnan(found.samples[0, 0]).all()


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("high", "'high' is no finite number"),
        ("inf", "'inf' is no finite number"),
        ('"[]"', "'[]' is no finite number"),
        ('"[1, null]"', "'[1, null]' is no finite number"),
        ('"[1, 2"', "'[1, 2' is no finite number"),
        ('"[1, 2, 3]"', "is a list of 3, the first score a list of 2"),
        ("1", "'1' is a plain number, the first score a list of 2"),
    ],
)
def test_a_score_that_cannot_be_read_is_named(tmp_path: Path, cell: str, said: str) -> None:
    file = write(tmp_path, "a.csv", f'text,a,b\nOne?,"[0, 1]","[1, 1]"\nTwo?,"[0, 1]",{cell}\n')

    assert said in refused(file, line=3, column="b", models=("a", "b"))


def test_an_unknown_model_says_which_columns_there_are(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,a,b\nOne?,1,0\n")

    assert "['text', 'a', 'b']" in refused(file, line=2, column="gpt", models=("a", "gpt"))
    assert "name the columns of scores with models" in refused(file, line=2, column=None)


def test_two_different_models_are_needed(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,a,b\nOne?,1,0\n")

    refused(file, line=None, column=None, models=("a",))
    refused(file, line=None, column=None, models=("a", "a"))


def test_costs_are_read_where_all_models_have_them(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,a,a_cost,b,b_cost,c,c_cost\nOne?,1,0.1,0,0.2,,\n")

    costs = read_outcomes(file, models=("a", "b", "c")).costs
    np.testing.assert_array_equal(costs, [[0.1, 0.2, np.nan]])  # type: ignore[arg-type]  # it has some

    partly = write(tmp_path, "b.csv", "text,a,a_cost,b\nOne?,1,0.1,0\n")
    assert read_outcomes(partly, models=("a", "b")).costs is None


def test_answers_beside_the_scores_are_not_needed(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "a.jsonl",
        '{"text": "?", "a": 1, "a_answer": "x", "b": null, "b_answer": null, "c": 0, "c_answer": ""}',
    )

    assert read_outcomes(file, models=("a", "b", "c")).models == ("a", "b", "c")


def test_answers_and_tokens_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    columns = [f"{name}{ending}" for name in "abc" for ending in ("", "_answer", "_input_tokens", "_output_tokens")]
    rows = "One?,1,yes,10,1,0,no,20,2,,,,\nTwo?,1,so,11,3,1,so,21,4,1,oh,31,5\n"
    file = write(tmp_path, "a.csv", f"text,{','.join(columns)}\n{rows}")

    found = read_outcomes(file, models=("a", "b", "c"), replies=True).replies
    assert found is not None and found.texts is not None
    assert found.texts.tolist() == [["yes", "no", ""], ["so", "so", "oh"]]
    np.testing.assert_array_equal(found.tokens[1], [[11, 3], [21, 4], [31, 5]])  # type: ignore[index]
    assert np.isnan(found.tokens[0, 2]).all()  # type: ignore[index]
    assert read_outcomes(file, models=("a", "b", "c")).replies is None
    assert read_outcomes(write(tmp_path, "b.csv", "text,a,b\n?,1,0\n"), models=("a", "b"), replies=True).replies is None


def test_parquet_holds_lists_and_nulls(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "text": ["One?", "Two?"],
        "a": [[0.0, 1.0], None],
        "b": [[1.0, 1.0], [0.0, 0.0]],
        "c": [None, [1.0, 0.0]],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")

    found = read_outcomes(tmp_path / "a.parquet", models=("a", "b", "c"))

    np.testing.assert_array_equal(found.scores, [[0.5, 1.0, np.nan], [np.nan, 0.0, 0.5]])


def test_only_so_many_rows_are_read(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,a,b\nOne?,1,0\nTwo?,1,0\nThree?,broken,0\n")

    assert read_outcomes(file, models=("a", "b"), limit=2).texts == ("One?", "Two?")


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    assert "there are no rows" in refused(write(tmp_path, "a.csv", "text,a,b\n"), line=None, column=None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scores": np.zeros((2, 3))},
        {"scores": np.zeros((2, 2, 5))},
        {"samples": np.zeros((2, 2))},
        {"vectors": np.zeros(2, np.float32)},
        {"groups": ("a",)},
    ],
)
def test_parts_of_another_shape_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TrainingDataError, match=f"{next(iter(wrong))} has shape"):
        Outcomes(**{"texts": ("a", "b"), "scores": np.zeros((2, 2)), "models": ("small", "big"), **wrong})


def test_lists_are_as_good_as_arrays() -> None:
    data = Outcomes(["a", "b"], [[0, 1], [None, 0.5]], ["small", "big"], costs=[[1, 2], [1, 2]])  # type: ignore[arg-type, list-item]

    assert (data.texts, data.models) == (("a", "b"), ("small", "big"))
    np.testing.assert_array_equal(data.scores, [[0.0, 1.0], [np.nan, 0.5]])
    np.testing.assert_array_equal(data.take([1]).costs, [[1.0, 2.0]])  # type: ignore[arg-type]
    with pytest.raises(TrainingDataError, match="scores are no array of numbers"):
        Outcomes(("a", "b"), [[0, 1], ["good", 1]], ("small", "big"))  # type: ignore[arg-type, list-item]


def test_what_are_no_outcomes_is_said() -> None:
    with pytest.raises(TrainingDataError, match=r"not from a list.*read_outcomes"):
        TfidfRouter().fit([("a", 0, 1)])  # type: ignore[arg-type]


def test_gaps_of_one_sign_teach_where_they_differ() -> None:
    texts = tuple(f"{'sum' if n % 2 else 'riddle'} {n}" for n in range(20))
    gaps = np.where(np.arange(20) % 2, 0.1, 0.9)
    router = TfidfRouter().fit(Outcomes(texts, np.stack([1.0 - gaps, np.ones(20)], 1), ("small", "big")))

    assert router.score(["a riddle"])[0] > router.score(["a sum"])[0]
    with pytest.raises(TrainingDataError, match=r"strong model is better by 0\.5.*nothing to learn"):
        TfidfRouter().fit(Outcomes(texts, np.tile([0.0, 0.5], (20, 1)), ("small", "big")))


# --- battles --------------------------------------------------------------------------------------------------------

BATTLES = """prompt,model_a,model_b,winner,language
One?,x,y,model_a,en
Two?,z,x,model_b,de
Three?,y,x,tie,en
Four?,y,z,tie (bothbad),fr
"""


def test_battles_count_a_win_a_loss_and_two_halves(tmp_path: Path) -> None:
    found = read_outcomes(write(tmp_path, "a.csv", BATTLES), group="language")

    assert found.models == ("x", "y", "z")
    nan = np.nan
    np.testing.assert_array_equal(found.scores, [[1, 0, nan], [1, nan, 0], [0.5, 0.5, nan], [nan, 0.5, 0.5]])
    assert found.groups == ("en", "de", "en", "fr")


def test_battles_of_named_models_alone_are_used_in_that_order(tmp_path: Path) -> None:
    found = read_outcomes(write(tmp_path, "a.csv", BATTLES), models=("y", "x"), group="language")

    assert (found.models, found.texts, found.groups) == (("y", "x"), ("One?", "Three?"), ("en", "en"))
    assert found.gap.tolist() == [1.0, 0.0]


def test_battles_of_nobody_are_refused(tmp_path: Path) -> None:
    assert "no battle is between" in refused(
        write(tmp_path, "a.csv", BATTLES), line=None, column=None, models=("a", "b")
    )


def test_an_unknown_winner_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,model_a,model_b,winner\nOne?,x,y,model_a\nTwo?,x,y,x\n")

    assert "tie (bothbad)" in refused(file, line=3, column="winner")


# --- chances to win -------------------------------------------------------------------------------------------------


def test_win_probabilities_are_scores_of_the_strong_model(tmp_path: Path) -> None:
    file = write(
        tmp_path, "a.jsonl", '{"text": "One?", "win_probability": 0.75}\n{"text": "Two?", "win_probability": 0}'
    )

    assert read_outcomes(file).models == ("weak", "strong")
    named = read_outcomes(file, models=("small", "large"))
    assert named.models == ("small", "large")
    assert named.gap.tolist() == [0.5, -1.0]
    assert named.name == "a.jsonl"


def test_a_chance_over_one_is_named(tmp_path: Path) -> None:
    refused(write(tmp_path, "a.csv", "text,win_probability\nOne?,1.5\n"), line=2, column="win_probability")


# --- texts, memories ------------------------------------------------------------------------------------------------


def test_texts_are_read_alone(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "question,A\nWhich?,this\nWhat?,that\n")

    assert read_texts(file) == ("Which?", "What?")
    assert read_texts(file, text="question,A", limit=1) == ("Which?\nA. this",)


def test_gzipped_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text,a,b\nOne?,1,0\n"))

    assert read_outcomes(path, models=("a", "b")).texts == ("One?",)


def memory(path: Path, **options: Any) -> Path:
    settings: dict[str, Any] = {"embedder": "hashing", "learning": "inline", "learning_budget": None, "guides": False}
    with Router(memory=path, audit_rate=0.0, **settings, **options) as router:
        models = pair()
        for n in range(12):
            serve(router, models, easy(n) if n % 2 else harbour(n))
    return path


def test_a_memory_teaches_what_its_calls_showed(tmp_path: Path) -> None:
    found = read_outcomes(memory(tmp_path / "rar.db"))

    assert found.models == ("small-1", "big-1")
    assert all(gap == float("harbour" in text) for text, gap in zip(found.texts, found.gap, strict=True))
    assert set(found.gap.tolist()) == {0.0, 1.0}
    assert found.vectors is not None
    scores = TfidfRouter().fit(found).score([harbour(70).key or "", easy(70).key or ""])
    assert scores[0] > scores[1]


def test_a_memory_of_no_texts_is_refused(tmp_path: Path) -> None:
    path = memory(tmp_path / "rar.db", store_text=False)

    assert "store_text=False" in refused(path, line=None, column=None)


def test_a_memory_names_its_own_models(tmp_path: Path) -> None:
    refused(memory(tmp_path / "rar.db"), line=None, column=None, models=("a", "b"))


def test_what_was_read_can_teach(tmp_path: Path) -> None:
    rows = "".join(f"{'sum' if n % 2 else 'riddle'} number {n}?,{n % 2},1,\n" for n in range(20))
    found = read_outcomes(write(tmp_path, "a.csv", f"text,a,b,c\n{rows}"), models=("a", "b", "c"))

    with pytest.raises(TrainingDataError, match="pair"):
        TfidfRouter().fit(found)
    router = TfidfRouter().fit(found.pair("a", "b"))
    assert isinstance(found, Outcomes)
    assert router.score(["a riddle"])[0] > router.score(["a sum"])[0]
