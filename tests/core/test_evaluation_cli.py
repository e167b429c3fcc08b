"""`rar eval` and its reports."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rar import Router
from rar.cli.evaluation import eval_app
from rar.errors import EvaluationDataError, MissingDependencyError
from rar.evaluation import read_memory, read_table, static
from rar.evaluation.compare import summarise_static
from rar.evaluation.report import Sheet, markdown, sheets, write_report
from rar.routers import TfidfRouter
from tests.core.test_evaluation_replay import WORLD
from tests.core.world import easy, harbour, pair, serve

PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "world.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["question", "kind", "small", "large"])
        rows.writerows(zip(WORLD.texts, WORLD.groups or (), WORLD.weak, WORLD.strong, strict=True))
    return path


@pytest.fixture
def taught(tmp_path: Path) -> Iterator[Path]:
    """The memory of eight calls, two of which were repeats."""
    path = tmp_path / "rar.db"
    options: dict[str, Any] = {"embedder": "hashing", "learning": "inline", "learning_budget": None, "guides": False}
    with Router(memory=path, audit_rate=0.0, prices={"weak": (1, 1), "strong": (10, 10)}, **options) as router:
        models = pair()
        for request in (easy(1), easy(2), easy(1), harbour(3), harbour(3), easy(4), harbour(5), harbour(6)):
            serve(router, models, request)
    return path


def run(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(eval_app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.stdout


COLUMNS = ("--weak", "small", "--strong", "large", "--embedder", "hashing")


def test_online_prints_ours_and_all_baselines(file: Path) -> None:
    shown = run("online", file, *COLUMNS, "--group", "kind", "--shuffles", "1", "--quality", "0.9")

    for name in (
        "RAR",
        "realised quality",
        "strong calls saved",
        "random mix",
        'policy="paper"',
        "TF-IDF ridge",
        "oracle",
    ):
        assert name in shown


def test_json_is_nothing_else(file: Path) -> None:
    facts = json.loads(run("online", file, *COLUMNS, "--shuffles", "2", "--quality", "0.9", "--limit", "40", "--json"))

    assert facts["facts"]["questions"] == 40
    assert facts["floor"] == 0.9
    assert len(facts["saved_by_shuffle"]) == 2


def test_online_starts_from_a_router_beside_a_cold_start(file: Path, tmp_path: Path) -> None:
    asked = ("online", file, *COLUMNS, "--shuffles", "1", "--json")
    table = read_table(file, weak="small", strong="large")
    saved = TfidfRouter().fit(table).save(tmp_path / "saved")

    for router, questions in (("tfidf", len(table) - len(table) // 2), (saved, len(table))):
        facts = json.loads(run(*asked, "--router", router))
        assert facts["facts"]["questions"] == questions
        assert "from a cold start" in {rival["name"] for rival in facts["rivals"]}


def test_online_says_what_a_promise_costs(file: Path) -> None:
    asked = ("online", file, *COLUMNS, "--shuffles", "1", "--quality", "0.9", "--json")
    promised = json.loads(run(*asked, "--promise", "0.95"))
    lax = next(rival for rival in promised["rivals"] if rival["name"] == "without the promise")

    assert promised["realised"]["value"] >= lax["quality"]


def test_online_reports_with_three_plots(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    run("online", file, *COLUMNS, "--shuffles", "1", "--out", tmp_path / "out")

    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for name in ("cost_quality.png", "learning_curve.png", "calibration.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(PNG)
        assert f"({name})" in report
    assert "| random mix |" in report
    assert json.loads((tmp_path / "out" / "result.json").read_text())["floor"] == 0.95


def test_static_leaves_groups_out(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    shown = run("static", file, *COLUMNS, "--group", "kind", "--splits", "1", "--out", tmp_path)

    assert "mean of random halves" in shown
    assert "Unseen groups" in shown
    assert (tmp_path / "cost_quality.png").read_bytes().startswith(PNG)


def test_stages_tell_first_sights_from_repeats(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    shown = run("stages", file, *COLUMNS, "--stages", "2", "--shuffles", "1", "--out", tmp_path)

    assert "first sights" in shown
    assert "repeats" in shown
    assert (tmp_path / "stages.png").read_bytes().startswith(PNG)


def test_the_past_of_a_memory_is_read_in_its_order(taught: Path) -> None:
    past = read_memory(taught)

    assert past.calls == 8
    assert [text.split()[0] for text in past.table.texts][:4] == ["Please", "Please", "Please", "What"]
    assert past.table.texts[0] == past.table.texts[2]
    assert past.table.weak.tolist()[:4] == [1.0, 1.0, 1.0, 0.0]
    assert past.table.costs is not None
    assert past.table.costs[0, 1] == pytest.approx(10 * past.table.costs[0, 0])


def test_a_memory_that_is_too_old_has_nothing_to_replay(taught: Path) -> None:
    with pytest.raises(EvaluationDataError, match="none of its 0 calls was judged"):
        read_memory(taught, since=4e9)


def test_a_memory_is_asked_what_another_floor_would_have_cost(taught: Path) -> None:
    before = taught.read_bytes()

    facts = json.loads(run("memory", taught, "--quality", "0.98", "--since", "7d", "--json"))

    assert facts["floor"] == 0.98
    assert facts["past"]["calls"] == 8
    assert 0.0 < facts["net_cost"]["value"] < 1.5
    assert taught.read_bytes() == before


def test_a_memory_is_asked_at_several_floors_and_other_prices(taught: Path) -> None:
    options = ("--quality", "0.9,0.98", "--price", "weak=1/1", "--price", "strong=20/20", "--json")

    floors = json.loads(run("memory", taught, *options))["floors"]

    assert [floor["floor"] for floor in floors] == [0.9, 0.98]
    facts = floors[0]["facts"]
    assert facts["cost_unit"] == "USD"
    assert facts["strong_cost"] == pytest.approx(20 * facts["weak_cost"])
    assert "recorded tokens" in facts["cost_from"]
    paid = json.loads(run("memory", taught, "--json"))["facts"]
    assert paid["strong_cost"] == pytest.approx(facts["strong_cost"] / 2), "it was taught at 10 USD a million"


def test_an_age_that_is_none_is_refused(taught: Path) -> None:
    result = CliRunner().invoke(eval_app, ["memory", str(taught), "--since", "lately"])

    assert "write for example 7d" in str(result.exception).lower()


def test_bad_files_are_named(file: Path) -> None:
    result = CliRunner().invoke(eval_app, ["online", str(file), "--weak", "tiny", "--strong", "large"])

    assert isinstance(result.exception, EvaluationDataError)
    assert "line 2, column 'tiny'" in str(result.exception)


@pytest.mark.parametrize("command", ["online", "static", "stages"])
def test_a_memory_given_as_outcomes_is_told_its_own_command(taught: Path, command: str) -> None:
    result = CliRunner().invoke(eval_app, [command, str(taught), "--weak", "small", "--strong", "large"])

    assert "`rar eval memory`" in str(result.exception)


def test_plots_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = summarise_static(static(WORLD, splits=1, scorers={}), samples=10)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(MissingDependencyError, match=r"rar-llm\[eval\]"):
        write_report(tmp_path, summary)


def test_sheets_become_markdown_tables() -> None:
    text = markdown([Sheet("A|B", ("x", "y"), (("1", "a|b"),), ("Note.",))])

    assert text == "## A|B\n\n| x | y |\n| --- | --- |\n| 1 | a\\|b |\n\nNote.\n"


def test_every_sheet_is_as_wide_as_its_columns() -> None:
    for sheet in sheets(summarise_static(static(WORLD, splits=1), samples=10)):
        assert all(len(row) == len(sheet.columns) for row in sheet.rows)


@pytest.fixture
def guided(tmp_path: Path) -> Path:
    """The world with what the weak model did by guides; the strong model is left out."""
    path = tmp_path / "guided.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["question", "kind", "small", "small_guided"])
        rows.writerows(zip(WORLD.texts, WORLD.groups or (), WORLD.weak, 1.0 - WORLD.weak, strict=True))
    return path


GUIDED = ("--weak", "small", "--strong", "1", "--embedder", "hashing", "--shuffles", "1")


def test_online_shows_each_floor_with_and_without_guides(guided: Path) -> None:
    shown = run("online", guided, *GUIDED, "--group", "kind", "--quality", "0.7,0.9")

    assert shown.count("without guides") == 2


def test_online_says_what_guides_were_used_for(guided: Path) -> None:
    asked = ("online", guided, *GUIDED, "--group", "kind", "--quality", "0.7")
    facts = json.loads(run(*asked, "--json"))["guides"]

    assert set(facts) >= {"written", "own", "other", "realised", "saved", "net_saved", "floor_kept"}
    assert 0.0 <= facts["own"] <= 1.0
    shown = run(*asked)
    assert "written, by which" in shown
    assert "without guides" in shown


def test_guided_scores_without_groups_are_left_out_aloud(guided: Path) -> None:
    result = CliRunner().invoke(eval_app, ["online", str(guided), *GUIDED, "--json"])

    assert result.exit_code == 0
    assert "Name its column by --group" in result.stderr
    assert json.loads(result.stdout)["guides"] is None
