"""`rar eval strategy`: a strategy is held against others on questions that it did not learn from."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rar.cli.commands import app
from rar.errors import ConfigurationError, UnknownNameError
from rar.evaluation.contest import MAKERS, contest
from rar.evaluation.replay import served_by
from rar.outcomes import Outcomes, Replies
from rar.strategies import AgreementCascade
from tests.core.sums import sums


@pytest.fixture(scope="module")
def data() -> Outcomes:
    return sums(160)


@pytest.fixture
def file(tmp_path: Path, data: Outcomes) -> Path:
    path = tmp_path / "log.csv"
    assert data.replies is not None and data.replies.texts is not None and data.costs is not None
    with path.open("w", newline="", encoding="utf-8") as opened:
        log = csv.writer(opened)
        log.writerow(["text", *(f"{model}{end}" for end in ("", "_answer", "_cost") for model in data.models)])
        for row, text in enumerate(data.texts):
            log.writerow([text, *data.scores[row], *data.replies.texts[row], *data.costs[row]])
    return path


def run(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["eval", "strategy", *map(str, args)])
    assert result.exit_code == code, result.output
    return result.output


COLUMNS = ("--weak", "small", "--model", "middle", "--strong", "large", "--embedder", "hashing")


@pytest.mark.parametrize("name", sorted(MAKERS.keys() - {"multi-level", "self-consistency"}))
def test_a_strategy_is_held_against_single_models_rar_and_bounds(name: str, data: Outcomes) -> None:
    found = contest(name, data, budget=8.0)
    by_name = {one.name: one for one in found.contenders}

    assert [one.name for one in found.contenders] == [
        name, "RAR at 0.95", "small alone", "middle alone", "large alone", "Zero router, of the same cost", "oracle",
    ]  # fmt: skip
    assert (found.learned_from, found.asked) == (80, 80)
    assert by_name["oracle"].quality == max(one.quality for one in found.contenders)
    assert by_name["Zero router, of the same cost"].cost == by_name[name].cost
    assert 0.0 < by_name[name].cost < 25.0


def test_levels_are_held_against_others_where_answers_are_labels(data: Outcomes) -> None:
    with pytest.raises(ConfigurationError, match="a few labels"):
        contest("multi-level", data)
    assert data.replies is not None
    with pytest.raises(ConfigurationError, match="none were recorded"):
        contest("multi-level", replace(data, replies=None))
    labels = np.array(["even" if row % 2 else "odd" for row in range(len(data))])
    other = np.where(labels == "even", "odd", "even")
    right = np.ones_like(data.scores)
    right[::3, 0] = 0.0  # the small model is wrong where it is unsure
    texts = np.where(right > 0.0, labels[:, None], other[:, None])
    sure = np.where(np.arange(len(data)) % 3 == 0, -3.0, -0.01)[:, None].repeat(len(data.models), 1)
    found = contest("multi-level", replace(data, scores=right, replies=Replies(texts, logprobs=sure)))

    assert found.contenders[0].quality >= 0.95
    assert found.contenders[0].cost < found.contenders[4].cost


def test_all_drafts_are_charged(data: Outcomes) -> None:
    run = served_by(AgreementCascade(["weak", "middle"]), data)
    differ = np.array([reason == "drafts_differ" for reason in run.reasons])

    assert run.costs == pytest.approx(3.0 + 20.0 * differ)


def test_samples_vote_where_there_are_some(data: Outcomes) -> None:
    assert data.replies is not None and data.replies.texts is not None
    with pytest.raises(ConfigurationError, match="several recorded samples"):
        contest("self-consistency", data)
    texts = np.repeat(data.replies.texts[:, :, None], 3, 2)
    samples = np.repeat(data.scores[:, :, None], 3, 2)

    found = contest("self-consistency", replace(data, replies=Replies(texts), samples=samples))
    assert found.contenders[0].cost >= 2.0  # two samples at least


def test_what_a_strategy_lacks_is_said(data: Outcomes) -> None:
    with pytest.raises(UnknownNameError, match="'cascad'.*cascade"):
        contest("cascad", data)
    with pytest.raises(ConfigurationError, match="two cheap models"):
        contest("agreement", data.pair("small", "large"))
    with pytest.raises(ConfigurationError, match="--budget"):
        contest("cascade-routing", data)


def test_the_command_prints_a_table(file: Path) -> None:
    shown = run("cascade", file, *COLUMNS, "--keep-quality", "0.9")

    for part in ("cascade", "RAR at 0.9", "large alone", "Zero router", "oracle", "Learned from 80 questions", "USD"):
        assert part in shown


def test_a_budget_may_be_a_share_of_the_strong_models_cost(file: Path) -> None:
    facts: dict[str, Any] = json.loads(run("cascade-routing", file, *COLUMNS, "--budget", "40%", "--json"))

    assert facts["unit"] == "USD"
    assert facts["contenders"][0]["cost"] < 10.0
    assert "neither a cost nor a share" in run("cascade", file, *COLUMNS, "--budget", "much", code=1)
