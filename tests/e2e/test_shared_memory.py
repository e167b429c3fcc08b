"""One memory for both frameworks: what is taught through one, in one process, routes the other, in another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rar import SQLiteMemory
from tests.fake_openai import FakeOpenAI

QUESTIONS = ["Which river flows through Paris?", "What is the capital of France?"]


def ask(framework: str, url: str, memory: Path, *questions: str) -> list[tuple[str, str]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.asker", framework, url, str(memory), *questions],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [(model, reason) for model, reason in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.parametrize(("teacher", "user"), [("langchain", "llama_index"), ("llama_index", "langchain")])
def test_what_one_framework_learned_routes_the_other_in_another_process(
    fake_openai: FakeOpenAI, tmp_path: Path, teacher: str, user: str
) -> None:
    fake_openai.script("small", "The Seine")
    fake_openai.script("big", "The Seine")
    memory = tmp_path / "rar.db"

    taught = ask(teacher, fake_openai.url, memory, *QUESTIONS)
    used = ask(user, fake_openai.url, memory, *QUESTIONS, "Which ocean is the deepest of all?")

    assert [model for model, _ in taught] == ["strong", "strong"]
    assert used[:2] == [("weak", "memory_weak")] * 2
    assert used[2][0] == "strong"
    with SQLiteMemory(memory) as known:
        assert known.stats().experiences == 3
        assert {known.decisions()[0].facts["pair"][0]} == {"small"}
