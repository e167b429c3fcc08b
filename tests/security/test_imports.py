"""Exports and router folders from anybody: what they claim is checked before it is believed, and errors are ours."""

from __future__ import annotations

import base64
import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar import Router, SQLiteMemory
from rar.embedding.hashing import HashingEmbedder
from rar.errors import ImportFormatError, RouterFileError
from rar.routers import arrays
from rar.routers.saving import read
from tests.security.common import WAIT, router

HASHING = HashingEmbedder()
HEADER = {"kind": "header", "format": "rar-memory", "version": 1, "embedder_id": HASHING.id, "dim": HASHING.dim}
EMBEDDING = base64.b64encode(HASHING.embed(["a question"])[0].astype("<f4").tobytes()).decode()
TALLY = {
    "guide_id": None, "weak_id": "w", "strong_id": "s", "ok": 1, "bad": 0, "last_ok": True, "at": 9e8, "gap": None,
    "weight": 1.0,
}  # fmt: skip
EXPERIENCE = {
    "kind": "experience", "id": "x", "namespace": "default", "task": "answer", "text": "a question", "signature": "s",
    "created_at": 0.0, "updated_at": 1e9, "source": "", "tallies": [TALLY], "embedding": EMBEDDING,
}  # fmt: skip
GUIDE = {
    "kind": "guide", "id": "g", "namespace": "default", "task": "answer", "text": "steps", "author": "s", "origin": "x",
    "state": "candidate", "helpful": 1, "harmful": 0, "created_at": 0.0, "pinned": False, "embedding": EMBEDDING,
}  # fmt: skip
DECISION = {
    "kind": "decision", "id": "d", "namespace": "default", "at": 1.0, "experience_id": "x", "guide_id": None,
    "model": "weak", "facts": {"question": "q", "pair": ["w", "s"], "neighbours": [{"experience_id": "x"}]},
}  # fmt: skip
POLICY = {
    "kind": "policy", "namespace": "default", "threshold": 0.5, "audits": 0, "errors": 0, "bias": 0.0, "reference": 1.0,
    "calls": 0, "drift": 0.0, "quiet": 0.0, "since": 0.0,
}  # fmt: skip
SPEND = {
    "kind": "spend", "day": 0, "namespace": "default", "purpose": "guide", "role": "strong", "model_id": "s",
    "calls": 1, "input_tokens": 1, "output_tokens": 1, "usd": 0.1, "unpriced": 0,
}  # fmt: skip


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def all_of(number: float) -> str:
    return base64.b64encode(np.full(HASHING.dim, number, "<f4").tobytes()).decode()


HOSTILE: dict[str, dict[str, Any]] = {
    "a time of 400 digits": {**EXPERIENCE, "updated_at": 10**400},
    "a time in the far future": {**EXPERIENCE, "created_at": 10**30},
    "a time that is no number": {**EXPERIENCE, "created_at": float("nan")},
    "a text of 5 MB": {**EXPERIENCE, "text": "x" * 5_000_000},
    "a negative weight": {**EXPERIENCE, "tallies": [{**TALLY, "weight": -1e300}]},
    "a weight that outvotes all": {**EXPERIENCE, "tallies": [{**TALLY, "weight": 1e9}]},
    "a gap that no trial has": {**EXPERIENCE, "tallies": [{**TALLY, "gap": -1e9}]},
    "more trials than can be": {**EXPERIENCE, "tallies": [{**TALLY, "ok": 2**63 - 1}]},
    "an embedding of another length": {**EXPERIENCE, "embedding": EMBEDDING[:400]},
    "a huge embedding": {**EXPERIENCE, "embedding": EMBEDDING * 1_000},
    "an embedding of NaN": {**EXPERIENCE, "embedding": all_of(np.nan)},
    "an embedding of infinity": {**EXPERIENCE, "embedding": all_of(np.inf)},
    "a guide of 5 MB": {**GUIDE, "text": "x" * 5_000_000},
    "a guide longer than any": {**GUIDE, "text": "x" * 20_000},
    "deep facts": {**DECISION, "facts": nested(900)},
    "facts deeper than Python's stack": {**DECISION, "facts": nested(100_000)},
    "long facts": {**DECISION, "facts": {"question": "q" * 300_000}},
    "neighbours that are a number": {**DECISION, "facts": {"neighbours": 5}},
    "neighbours without ids": {**DECISION, "facts": {"neighbours": [{}]}},
    "a pair that is a text": {**DECISION, "facts": {"pair": "ab"}},
    "a pair of three": {**DECISION, "facts": {"pair": ["a", "b", "c"]}},
    "a threshold that lets all through": {**POLICY, "threshold": -1e9},
    "a bias beyond all gaps": {**POLICY, "bias": -1e9},
    "an alarm in the far future": {**POLICY, "since": 1e300},
    "spending that eats the budget": {**SPEND, "input_tokens": 2**62},
    "a sum beyond all money": {**SPEND, "usd": 1e300},
    "a negative sum": {**SPEND, "usd": -5.0},
    "a kind that is none": {"kind": ["experience"]},
}  # fmt: skip


@pytest.mark.parametrize("record", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_record_is_named_and_nothing_is_imported(record: dict[str, Any], tmp_path: Path) -> None:
    with SQLiteMemory(tmp_path / "rar.db") as memory:
        with pytest.raises(ImportFormatError, match="record 3") as error:
            memory.load([HEADER, {**EXPERIENCE, "id": "fine", "text": "fine"}, record])
        assert len(str(error.value)) < 500
        assert memory.stats().experiences == 0


@pytest.mark.parametrize("header", [{"dim": 10**9}, {"dim": -1}, {"dim": 2**70}, {"version": 10**400}])
def test_a_hostile_header_is_refused(header: dict[str, Any], tmp_path: Path) -> None:
    with SQLiteMemory(tmp_path / "rar.db") as memory, pytest.raises(ImportFormatError, match="record 1"):
        memory.load([{**HEADER, **header}])


def test_what_is_fine_is_imported_and_can_be_used(tmp_path: Path) -> None:
    with SQLiteMemory(tmp_path / "rar.db") as memory:
        assert memory.load([HEADER, EXPERIENCE, GUIDE, DECISION, POLICY, SPEND]) == 5
        asked: Router = router(memory)
        asked.feedback("d", True)
        assert asked.explain("d")["neighbours"]
        assert asked.stats().spending[0].usd == 0.1


@pytest.mark.parametrize("facts", [{}, {"question": "q"}, {"task": None}])
def test_facts_that_lack_what_ours_have_break_nothing(facts: dict[str, Any], tmp_path: Path) -> None:
    with SQLiteMemory(tmp_path / "rar.db") as memory:
        memory.load([HEADER, EXPERIENCE, {**DECISION, "facts": facts}])
        asked = router(memory)
        asked.feedback("d", True)
        asked.explain("d")
        assert len(asked.decisions()) == 1


LINES = {
    "deep nesting": "[" * 100_000,
    "a number of 5,000 digits": f'{{"kind":"header","version":{"9" * 5_000}}}',
    "no JSON": "\x00\xff",
    "a line without end": '{"text": "' + "x" * (33 * 2**20),
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_the_command_says_which_line_cannot_be_read(line: str, tmp_path: Path) -> None:
    file = tmp_path / "hostile.jsonl"
    file.write_text(f"{json.dumps(HEADER)}\n{line}\n", "utf-8")
    command = [sys.executable, "-c", "from rar.cli import main; main()", "import", str(tmp_path / "m.db"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)
    assert done.returncode == 1
    assert "line 2: " in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 1_000


# ── router folders ──


def header_of(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": kind, "fortran_order": False, "shape": shape})
    return content.getvalue()


def folder_with(tmp_path: Path, members: dict[str, bytes], about: str | None = None) -> Path:
    folder = tmp_path / "hostile"
    folder.mkdir()
    known = {"format": "rar-router", "schema": 1, "router": "elo", "config": {}}
    (folder / "router.json").write_text(about if about is not None else json.dumps(known), "utf-8")
    with zipfile.ZipFile(folder / "weights.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return folder


class Exploit:
    def __reduce__(self) -> Any:
        return print, ("unpickled",)


def pickled() -> bytes:
    return header_of((1,), "|O") + pickle.dumps([Exploit()])


WEIGHTS = {
    "a claim of terabytes": {"a.npy": header_of((10**12,)) + b"\0" * 8},
    "a claim beyond all integers": {"a.npy": header_of((2**40, 2**40)) + b"\0" * 8},
    "a pickle": {"a.npy": pickled()},
    "no array": {"a.npy": b"rubbish"},
    "a path out of the folder": {"../../evil.npy": b"rubbish"},
    "nothing": {"a.npy": b""},
}


@pytest.mark.parametrize("members", WEIGHTS.values(), ids=WEIGHTS)
def test_hostile_weights_are_refused(
    members: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_with(tmp_path, members)
    with pytest.raises(RouterFileError, match=r"weights\.npz"):
        read(folder)
    assert "unpickled" not in capsys.readouterr().out
    assert not (tmp_path.parent / "evil.npy").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MOST_BYTES", 1_000_000)
    folder = folder_with(tmp_path, {"a.npy": header_of((500_000,)) + b"\0" * 4_000_000})
    assert (folder / "weights.npz").stat().st_size < 10_000
    with pytest.raises(RouterFileError, match="unpacks"):
        read(folder)


def test_an_archive_of_too_many_arrays_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MOST_ARRAYS", 10)
    folder = folder_with(tmp_path, {f"{n}.npy": header_of((1,)) + b"\0" * 8 for n in range(11)})
    with pytest.raises(RouterFileError, match="limit is 10"):
        read(folder)


@pytest.mark.parametrize("about", ["[" * 100_000, "{" * 10, '{"schema": ' + "9" * 5_000 + "}", "[]", "\x00", "5"])
def test_hostile_descriptions_are_refused(about: str, tmp_path: Path) -> None:
    with pytest.raises(RouterFileError):
        read(folder_with(tmp_path, {"a.npy": header_of((1,)) + b"\0" * 8}, about))


def test_honest_arrays_are_read(tmp_path: Path) -> None:
    kept = {"a": np.arange(10.0), "b": np.array(["x", "yy"]), "c": np.empty((0, 3), np.float32)}
    np.savez_compressed(tmp_path / "weights.npz", **kept)  # type: ignore[arg-type]
    found = arrays.load(tmp_path / "weights.npz")
    assert found.keys() == kept.keys()
    assert all(np.array_equal(found[name], kept[name]) for name in kept)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"a.npy": header_of((1,)) + b"\0" * 8})
    private = tmp_path / "id_rsa"
    private.write_text("private")
    (folder / "tokenizer.json").symlink_to(private)
    with pytest.raises(RouterFileError, match=r"tokenizer\.json is a link"):
        read(folder)


def test_the_links_of_a_hubs_cache_are_followed(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "blobs").mkdir()
    folder = folder_with(tmp_path / "snapshots", {"a.npy": header_of((1,)) + b"\0" * 8})
    for file in list(folder.iterdir()):
        file.rename(tmp_path / "blobs" / file.name)
        file.symlink_to(Path("../../blobs", file.name))
    assert read(folder).arrays["a"].tolist() == [0.0]
