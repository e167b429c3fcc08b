"""A judge that only compares, beside the recorded scores: what it makes of answers, and of a floor."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rar.cli.evaluation import eval_app
from rar.evaluation import Table, embedded, replay_online
from rar.evaluation.comparing import Comparing, comparing_judge, has_answers, verdicts


def answered(n: int = 60) -> Table:
    """Sums: the weak model is wrong on one in three, the strong one on one in six; half of these both get wrong."""
    texts = tuple(f"What is {at} and {at + 1}?" for at in range(n))
    right = [str(2 * at + 1) for at in range(n)]
    weak = [str(-at) if at % 3 == 0 else right[at] for at in range(n)]
    strong = [str(1_000 + at) if at % 6 == 0 else right[at] for at in range(n)]
    return Table.of_scores(
        texts,
        [float(said == good) for said, good in zip(weak, right, strict=True)],
        [float(said == good) for said, good in zip(strong, right, strict=True)],
        answers=(weak, strong),
    )


def test_it_agrees_only_where_the_answers_do() -> None:
    said = verdicts(answered(), comparing_judge("hashing"))

    assert (said[True], said[False], said[None]) == (40, 20, 0)


def test_two_wrong_answers_are_good_enough_and_refused() -> None:
    table = embedded(answered(), "hashing")
    judge = comparing_judge("hashing")

    found = Comparing.of(replay_online(table, shuffles=1, embedder="hashing", judge=judge), judge, samples=20)

    assert (found.agrees, found.refuses, found.undecided) == pytest.approx((2 / 3, 1 / 3, 0.0))
    assert found.good_enough == pytest.approx(5 / 6)
    assert 0.9 < found.realised.value <= 1.0


@pytest.mark.slow
def test_rar_eval_shows_it_at_each_floor_where_answers_were_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    table, file = answered(), tmp_path / "sums.csv"
    assert has_answers(table) and table.replies is not None and table.replies.texts is not None
    with file.open("w", newline="", encoding="utf-8") as opened:
        rows = csv.writer(opened)
        rows.writerow(["text", "small", "large", "small_answer", "large_answer"])
        rows.writerows(
            [*row] for row in zip(table.texts, table.weak, table.strong, *table.replies.texts.T, strict=True)
        )
    command = ["online", str(file), "--weak", "small", "--strong", "large", "--embedder", "hashing", "--shuffles", "1"]

    one = CliRunner().invoke(eval_app, command)
    several = CliRunner().invoke(eval_app, [*command, "--quality", "0.9,0.95"])
    facts = json.loads(CliRunner().invoke(eval_app, [*command, "--json"]).stdout)

    assert one.exit_code == several.exit_code == 0, one.output + several.output
    assert "by a judge that only compares" in one.stdout
    assert "agrees 66.7%, refuses 33.3%, cannot tell 0.0%; weak is good enough 83.3%" in one.stdout
    assert several.stdout.count("by a judge that only compares") >= 2
    assert facts["comparing"]["agrees"] == pytest.approx(2 / 3)
