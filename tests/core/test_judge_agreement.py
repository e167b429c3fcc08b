"""How far a judge agrees with people: the figures, their edges, and what is warned of."""

from __future__ import annotations

import gzip
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from rar import FunctionModel
from rar.errors import ConfigurationError
from rar.evaluation import Labelled, agreement, agreement_of
from rar.learning.grading import Better, Preference, rating_in

PAIRS = [
    Labelled("Q1?", "a long answer", "short", "first", "small", "large"),
    Labelled("Q2?", "short", "a long answer", "first"),
    Labelled("Q3?", "same", "size", "tie"),
    Labelled("Q4?", "a long answer", "short", "second"),
]


def test_the_figures_of_a_judge_by_hand() -> None:
    verdicts: list[Any] = [("first", "first"), ("second", "second"), ("first", "second"), ("first", "second")]
    found = agreement_of(verdicts, PAIRS)

    assert found.pairs == 4
    assert found.accuracy.value == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert found.consistency.value == 0.5
    assert found.accuracy_where_consistent == 0.5
    assert found.first_place == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)
    assert found.longer == pytest.approx((0 + 1 + 0.5) / 3)  # of the three pairs whose lengths differ
    # Together: first, second, tie, tie, against first, first, tie, second.
    assert found.kappa == pytest.approx((2 / 4 - (2 * 1 + 1 * 1 + 1 * 2) / 16) / (1 - 5 / 16))
    assert found.unparsed == 0.0
    assert found.accuracy.low <= found.accuracy.value <= found.accuracy.high


def test_a_judge_that_agrees_with_people_is_not_warned_of() -> None:
    labels = {(pair.question, pair.one): pair.better for pair in PAIRS}
    swapped = {"first": "second", "second": "first", "tie": "tie"}

    def says(question: str, one: str, other: str) -> Any:
        known = labels.get((question, one))
        return known if known is not None else swapped[labels[question, other]]

    found = agreement(says, PAIRS)

    assert (found.accuracy.value, found.consistency.value, found.kappa, found.longer) == (1.0, 1.0, 1.0, 0.0)
    assert found.warnings == ()
    assert json.loads(json.dumps(found.as_dict()))["accuracy"]["value"] == 1.0


def test_a_judge_that_always_says_first_is_flagged(caplog: pytest.LogCaptureFixture) -> None:
    found = agreement(lambda *_: "first", PAIRS)

    assert (found.consistency.value, found.first_place) == (0.0, 1.0)
    assert math.isnan(found.accuracy_where_consistent)
    assert any("shown first" in warning for warning in found.warnings)
    assert any("only 0%" in warning for warning in found.warnings)
    assert "shown first" in caplog.text


def test_a_judge_that_likes_length_is_flagged() -> None:
    def says(question: str, one: str, other: str) -> Better:
        return "tie" if len(one) == len(other) else "first" if len(one) > len(other) else "second"

    found = agreement(says, PAIRS)

    assert found.longer == pytest.approx(2 / 3)
    assert any("longer answer" in warning for warning in found.warnings)


def test_judgments_without_a_verdict_are_left_out_and_counted() -> None:
    found = agreement_of([("first", None), ("first", "first"), ("tie", "tie"), (None, None)], PAIRS)

    assert (found.pairs, found.unparsed, found.accuracy.value) == (2, 0.5, 1.0)
    assert any("held no verdict" in warning for warning in found.warnings)
    none = agreement_of([(None, None)] * 4, PAIRS)
    assert (none.pairs, none.unparsed) == (0, 1.0)
    assert math.isnan(none.accuracy.value)


def test_a_model_that_judges_its_own_answers_is_warned_of() -> None:
    models = {"weak": FunctionModel(lambda messages: "[[C]]", "small")}
    found = agreement(Preference("weak"), PAIRS, models)

    assert found.accuracy.value == 0.25
    assert any("wrote one of the answers itself in 1 of 4" in warning for warning in found.warnings)


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="0 verdicts on 0 pairs"):
        agreement(lambda *_: "tie", [])
    with pytest.raises(ConfigurationError, match="1 verdicts on 4 pairs"):
        agreement_of([("tie", "tie")], PAIRS)
    with pytest.raises(ConfigurationError, match="models="):
        agreement(Preference(), PAIRS)


# --- recorded judgments -----------------------------------------------------------------------------------------------

DATA = Path(os.environ.get("RAR_DATA", ""))
needs_records = pytest.mark.skipif(
    not (DATA / "strategies" / "judge_pairs.jsonl.gz").is_file(), reason="RAR_DATA names no folder with judgments"
)


def records(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@needs_records
def test_recorded_verdicts_give_the_figures_that_are_known() -> None:
    sides: dict[Any, Better] = {"1": "first", "2": "second"}
    rows = [row for row in records("strategies/judge_pairs.jsonl.gz") if row["set"] == "MT-Bench"]
    told = [row["verdicts"]["GPT-4/Vanilla_NoRules"] for row in rows]
    labelled = [Labelled(row["input"], row["output_1"], row["output_2"], sides[str(row["label"])]) for row in rows]
    found = agreement_of([(sides.get(here), sides.get(there)) for here, there in told], labelled)

    right = [
        ((here == str(row["label"])) + (there == str(row["label"]))) / 2
        for (here, there), row in zip(told, rows, strict=True)
    ]
    same = [here == there for here, there in told]
    assert found.accuracy.value == pytest.approx(sum(right) / len(rows))
    assert found.consistency.value == pytest.approx(sum(same) / len(rows))
    where = [value for value, both in zip(right, same, strict=True) if both]
    assert found.accuracy_where_consistent == pytest.approx(sum(where) / len(where))


@needs_records
def test_recorded_grades_are_read_as_they_were() -> None:
    rows = records("mt_bench_judgments.jsonl.gz")

    assert [rating_in(row["judgment"]) for row in rows] == [row["score"] for row in rows]
