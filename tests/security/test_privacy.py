"""What is kept of a text, who may read it, and where the key is with which guesses could be tested."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from rar import SQLiteMemory
from rar.errors import SecretError
from rar.learning.judges import Verdict
from rar.memory.identity import experience_id
from rar.memory.secrets import lock, unlock
from rar.values import Message, Reply, Request
from tests.security.common import GUIDE, SECRET, WAIT, ask, models, on_disk, router

QUESTION = f"what does {SECRET} mean"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="rights of files are those of POSIX")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rar.db"


class QuotingJudge:
    """Says why by quoting both answers."""

    name = "quoting"

    def __init__(self, agrees: bool | None) -> None:
        self.agrees = agrees

    def steps(self, request: Request, reference: Reply, candidate: Reply):  # type: ignore[no-untyped-def]
        return Verdict(self.agrees, self.name, f"{reference.text} / {candidate.text}")
        yield []


def strong(messages: Sequence[Message]) -> str:
    return f"{GUIDE} {SECRET}" if "short guides" in messages[0].text else f"{SECRET} indeed"


@pytest.mark.parametrize("agrees", [True, False, None])
@pytest.mark.parametrize("learning", ["background", "inline"])
def test_without_text_nothing_of_a_question_or_an_answer_is_on_disk(
    agrees: bool | None, learning: str, file: Path
) -> None:
    given = models(lambda messages: f"{SECRET} perhaps", strong)
    asked = router(file, store_text=False, judge=QuotingJudge(agrees), learning=learning)
    ids = [ask(asked, QUESTION, given).id for _ in range(3)]
    ids.append(ask(asked, QUESTION, given, force="weak").id)
    asked.feedback(ids[0], False)
    assert asked.flush(WAIT)
    assert on_disk(file) == []
    assert SECRET not in str(asked.explain(ids[0]))
    asked.close()
    assert on_disk(file) == []


def test_with_text_a_judges_reasons_are_kept(file: Path) -> None:
    with router(file, judge=QuotingJudge(None)) as asked:
        ask(asked, QUESTION, models(lambda messages: "perhaps", strong))
        assert asked.flush(WAIT)
        assert asked.decisions()[0]["learned"]["stopped"].endswith("indeed / perhaps")


@pytest.mark.parametrize(
    ("options", "writes"),
    [
        ({}, True),
        ({"guides": False}, False),
        ({"store_text": False}, False),
        ({"store_text": False, "guides": True}, True),
    ],
)
def test_guides_are_text_and_are_written_where_text_may_be_stored(
    options: dict[str, bool], writes: bool, file: Path
) -> None:
    asked_for: list[bool] = []

    def answers(messages: Sequence[Message]) -> str:
        asked_for.append("short guides" in messages[0].text)
        return GUIDE if asked_for[-1] else "red"

    with router(file, **options) as asked:
        ask(asked, QUESTION, models(lambda messages: "blue", answers))
        assert asked.flush(WAIT)
    assert any(asked_for) == writes


def test_the_files_are_their_owners_alone(file: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with router(file) as asked:
            ask(asked, QUESTION)
            assert asked.flush(WAIT)
            kept = {part.name: stat.S_IMODE(part.stat().st_mode) for part in tmp_path.iterdir()}
            assert kept == {"rar.db": 0o600, "rar.db-wal": 0o600, "rar.db-shm": 0o600}
        out = tmp_path / "export.jsonl"
        command = [sys.executable, "-c", "from rar.cli import main; main()", "export", str(file), str(out)]
        subprocess.run(command, check=True, timeout=WAIT, capture_output=True)
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    finally:
        os.umask(before)


# ── the key of the hashes ──


def guess(file: Path, key: bytes) -> bool:
    """Whether a question can be found by whoever has the file and `key`."""
    return experience_id(key, "default", "answer", QUESTION).encode() in file.read_bytes()


def test_a_secret_kept_elsewhere_opens_the_file_and_nothing_else_does(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SQLiteMemory(file, secret="long and random") as memory, router(memory) as asked:
        ask(asked, QUESTION)
        assert asked.flush(WAIT)
        key = memory.secret
    assert guess(file, key)
    assert key not in file.read_bytes()
    assert b"long and random" not in file.read_bytes()
    for wrong in (None, "another", b"long and rando"):
        with pytest.raises(SecretError, match="RAR_SECRET"):
            SQLiteMemory(file, secret=wrong)
    for right in ("long and random", b"long and random"):
        with SQLiteMemory(file, secret=right) as memory:
            assert memory.secret == key
    with SQLiteMemory(file, secret=right, read_only=True) as memory:
        assert memory.secret == key
    monkeypatch.setenv("RAR_SECRET", "long and random")
    with router(file) as asked:
        assert ask(asked, QUESTION).model == "weak"


@pytest.mark.parametrize("used", [True, False])
def test_a_file_with_its_key_inside_is_locked_and_goes_on(used: bool, file: Path) -> None:
    with router(file) as asked:
        if used:
            ask(asked, QUESTION)
            assert asked.flush(WAIT)
        assert asked.memory is not None
        key = asked.memory.secret
    assert key in file.read_bytes()

    with SQLiteMemory(file, secret="s3cret") as memory, router(memory) as asked:
        assert memory.secret == key
        assert ask(asked, QUESTION).model == ("weak" if used else "strong")
        assert not any(key in part.read_bytes() for part in file.parent.iterdir())
    with pytest.raises(SecretError):
        SQLiteMemory(file)


def test_a_locked_key_needs_its_secret() -> None:
    key = bytes(range(32))
    held = lock(key, b"one")
    assert unlock(held, b"one") == key
    assert unlock(held, b"other") is None
    assert key not in (held.salt, held.locked, held.check)
    assert lock(key, b"one") != held  # its own salt each time


def test_no_repr_or_error_holds_the_secret(file: Path) -> None:
    with SQLiteMemory(file, secret="hush-hush") as memory:
        assert "hush" not in repr(memory)
    with pytest.raises(SecretError) as error:
        SQLiteMemory(file, secret="hush-other")
    assert "hush" not in str(error.value)
