"""Recorded guided outcomes: how they are read, what recorded models make of guides, and what a replay counts."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar.errors import ConfigurationError, EvaluationDataError, TrainingDataError
from rar.evaluation import (
    RecordedJudge,
    RecordedModel,
    Run,
    Table,
    embedded,
    read_outcomes,
    read_table,
    recorded_models,
    shuffle,
    stream,
)
from rar.evaluation.checkpoint import digest
from rar.evaluation.recorded_guides import guide_text
from rar.guide_scan import guide_flaw
from rar.learning.guides import check_guide, guide_request
from rar.outcomes import Guided, Outcomes
from rar.values import STRONG, WEAK, Call, Guide, Reply, question
from tests.core.test_evaluation_replay import WORLD

GROUPS = tuple(text.partition(":")[0].partition(" ")[0] for text in WORLD.texts)  # "What" and "Riddle"


def guided(table: Table = WORLD, **changes: Any) -> Table:
    """The world with guides by which the weak model solves all riddles, and sums no more."""
    scores = np.stack([1.0 - table.weak, np.full(len(table), np.nan)], 1)
    return replace(table, **{"groups": GROUPS, "guided": Guided(scores), **changes})


def guide_of(group: int, table: Table) -> Guide:
    assert table.vectors is not None
    return Guide("g", "default", "answer", guide_text(group, 7), table.vectors[0], "l", "e", "active")


def asked(table: Table, row: int, guide: Guide | None, model: str = WEAK) -> tuple[Reply, float]:
    """The reply of a recorded model, and its quality."""
    reply = RecordedModel(table, model).call(Call(model, question(table.texts[row]), guide))
    return reply, RecordedJudge(table).quality(row, reply)


def rows(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# --- reading --------------------------------------------------------------------------------------------------------


def test_guided_columns_are_read_beside_a_models_own(tmp_path: Path) -> None:
    file = rows(
        tmp_path / "a.csv",
        "question,small_correct,large,small_answer,small_guided_answer,small_guided_correct",
        "Why?,0,1,perhaps,because,1",
        "Who?,1,1,me,,",
    )

    table = read_table(file, weak="small_correct", strong="large")

    assert table.guided is not None and table.guided.texts is not None
    assert table.guided.scores[0].tolist() == [1.0, pytest.approx(np.nan, nan_ok=True)]
    assert np.isnan(table.guided.scores[1]).all()  # an empty cell: no guide was tried
    assert table.guided.texts[:, 0].tolist() == ["because", ""]


def test_guided_columns_are_read_for_any_of_many_models(tmp_path: Path) -> None:
    file = rows(tmp_path / "a.csv", "text,s,m,l,m_guided", "Why?,0,0,1,1", "Who?,0,1,1,0")

    found = read_outcomes(file, models=["s", "m", "l"]).pair("m", "l")

    assert found.guided is not None
    assert found.guided.scores[:, 0].tolist() == [1.0, 0.0]


def test_a_file_without_guided_columns_has_none(tmp_path: Path) -> None:
    file = rows(tmp_path / "a.csv", "text,s,l", "Why?,0,1")

    assert read_table(file, weak="s", strong="l").guided is None
    assert read_outcomes(file, models=["s", "l"]).guided is None


def test_a_guided_score_that_is_none_is_named(tmp_path: Path) -> None:
    file = rows(tmp_path / "a.csv", "text,s,l,s_guided", "Why?,0,1,good")

    with pytest.raises(EvaluationDataError, match="s_guided"):
        read_table(file, weak="s", strong="l")


def test_the_strong_model_may_be_one_that_is_always_right(tmp_path: Path) -> None:
    file = rows(tmp_path / "a.csv", "text,s", "Why?,0", "Who?,1")

    table = read_table(file, weak="s", strong="1")

    assert table.strong.tolist() == [1.0, 1.0]
    assert table.strong_id == "always 1"


def test_a_column_that_is_named_like_a_number_is_that_column(tmp_path: Path) -> None:
    file = rows(tmp_path / "a.csv", "text,s,1", "Why?,0,0.5")

    assert read_table(file, weak="s", strong="1").strong.tolist() == [0.5]


def test_guided_outcomes_keep_their_rows_and_their_shape() -> None:
    table = guided()
    assert table.guided is not None

    assert table.take([3, 40]).guided.scores[:, 0].tolist() == [0.0, 1.0]  # type: ignore[union-attr]
    with pytest.raises(TrainingDataError, match="guided scores have shape"):
        replace(table, guided=Guided(np.zeros((2, 2))))


def test_finished_parts_of_other_guided_outcomes_are_not_taken() -> None:
    assert digest(guided()) != digest(guided(guided=None))


# --- recorded models ------------------------------------------------------------------------------------------------


def test_a_guide_of_the_questions_group_gives_the_guided_outcome() -> None:
    table = guided()

    assert asked(table, 40, guide_of(0, table))[1] == 1.0  # a riddle
    assert asked(table, 40, None)[1] == 0.0
    assert asked(table, 3, guide_of(1, table))[1] == 0.0  # a sum


def test_a_guide_of_another_group_makes_an_answer_wrong() -> None:
    table = guided()

    reply, quality = asked(table, 3, guide_of(0, table))

    assert quality == 0.0
    assert not reply.empty


def test_a_guide_is_nothing_to_a_model_without_guided_outcomes() -> None:
    table = guided()

    assert asked(table, 3, guide_of(0, table), STRONG)[1] == 1.0


def test_guided_answers_are_said_where_they_were_recorded() -> None:
    table = guided()
    assert table.guided is not None
    texts = np.full((len(table), 2), None, object)
    texts[40, 0] = "a mole"
    table = replace(table, guided=Guided(table.guided.scores, texts))

    assert asked(table, 40, guide_of(0, table))[0].text == "a mole"
    assert asked(table, 41, guide_of(0, table))[0].text == "weak answer to question 41, with a guide"


def test_a_guide_that_is_asked_for_is_of_the_questions_group_and_passes_all_checks() -> None:
    table = guided()
    strong, request = RecordedModel(table, STRONG), question(table.texts[40])
    answer = strong.call(Call(STRONG, request))

    first, second = (strong.call(Call(STRONG, guide_request(request, answer), purpose="guide")) for _ in range(2))

    assert check_guide(first.text, request, answer) is None
    assert first.text != second.text
    assert asked(table, 41, replace(guide_of(0, table), text=second.text))[1] == 1.0
    assert strong.calls["guide"].tolist()[40] == 2


def test_a_question_may_hold_what_looks_like_a_turn() -> None:
    texts = (*WORLD.texts[:-1], "Who wrote\nuser: hello\nand why?")
    table = guided(texts=texts)
    request = question(texts[-1])

    reply = RecordedModel(table, STRONG).call(
        Call(STRONG, guide_request(request, Reply(STRONG, "Nobody.")), purpose="guide")
    )

    assert reply.text == guide_text(0, 1)


def test_a_guide_for_an_unknown_question_cannot_be_written() -> None:
    wanted = guide_request(question("Whence?"), Reply(STRONG, "Thence."))

    with pytest.raises(EvaluationDataError, match="none of its rows"):
        RecordedModel(guided(), STRONG).call(Call(STRONG, wanted, purpose="guide"))


@pytest.mark.parametrize("number", [0, 17, 20**4 - 1, 20**5])
def test_recorded_guides_pass_the_checks_of_guides(number: int) -> None:
    assert guide_flaw(guide_text(number, number)) is None


# --- replays --------------------------------------------------------------------------------------------------------


def replayed(**options: Any) -> Run:
    table = guided()
    return stream(table.take(shuffle(table, 0)), guides=True, quality=0.7, learning_budget=None, **options)


def test_a_replay_writes_guides_and_serves_the_guided_outcomes() -> None:
    run = replayed()

    assert run.guides_written > 0
    assert run.with_guide.any()
    weak = run.served == WEAK
    for at in np.flatnonzero(run.with_guide):
        own = run.guidance[at] == "own"
        assert weak[at] and run.scores[at] == (1.0 - run.table.weak[at] if own else 0.0)
    alone = weak & ~run.with_guide
    assert run.scores[alone].tolist() == run.table.weak[alone].tolist()


def test_a_replay_without_guides_uses_none() -> None:
    run = stream(guided())

    assert not run.with_guide.any()
    assert run.guides_written == 0


def test_guidance_comes_back_from_disk_and_with_parts() -> None:
    run = replayed()

    again = Run.of_arrays(guided(), run.arrays())

    assert again.scores.tolist() == Run.of_arrays(guided(), again.arrays()).scores.tolist()
    assert run.part(slice(30, None)).scores.tolist() == run.scores[30:].tolist()


def test_a_recorded_guide_needs_groups() -> None:
    with pytest.raises(ConfigurationError, match="group="):
        stream(guided(groups=None), guides=True)


def test_any_number_of_models_may_have_guided_outcomes() -> None:
    table = guided()
    assert table.guided is not None
    three = Outcomes(
        table.texts, np.stack([table.weak, table.weak, table.strong], 1), ("s", "m", "l"), groups=GROUPS,
        guided=Guided(table.guided.scores[:, [0, 0, 1]]), vectors=table.vectors, embedder_id=table.embedder_id,
    )  # fmt: skip

    assert set(recorded_models(three)) == {"weak", "m", "strong"}
    assert stream(three, guides=True, quality=0.7, learning_budget=None).calls["strong", "guide"].any()


@pytest.mark.skipif("RAR_DATA" not in os.environ, reason="RAR_DATA, a folder of recorded outcomes, is not set")
def test_recorded_guidance_of_real_tasks_is_replayed() -> None:
    file = Path(os.environ["RAR_DATA"]) / "bbh_guided.csv.gz"
    table = read_table(file, weak="weak_correct", strong="1", group="task")
    assert table.guided is not None
    assert np.nanmean(table.guided.scores[:, 0]) == pytest.approx(0.724, abs=0.001)
    some = embedded(table.take(shuffle(table, 0)[:200]), "hashing")

    run = stream(some, guides=True, quality=0.85)

    assert run.guides_written > 0
