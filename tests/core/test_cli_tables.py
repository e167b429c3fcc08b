"""What reading commands print: at 80 columns, in a pipe, from the usual path, filtered; and the report they write."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from rar import Router, SQLiteMemory
from rar.cli.commands import app
from rar.cli.layout import Column, Facts, Grid, show
from rar.cli.moments import moment
from rar.errors import ConfigurationError
from rar.memory.base import Batch, DecisionRecord
from rar.strategies import Cascade
from rar.values import question
from tests.core.world import GUIDES, easy, harbour, pair, serve

NOW = 1_800_000_000.0
BOXES = set("─│┌┐└┘├┤┬┴┼━┃┏┓┗┛┡┩╇╭╮╰╯")
LONG = "Please repeat this number after me without any change, however long the question may be that it ends: 5"


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Easy questions, guides, a long question and another namespace's, an hour apart, the last one at `NOW`."""
    path = tmp_path_factory.mktemp("taught") / "rar.db"
    requests = [easy(41), easy(41), harbour(3), harbour(3), question(LONG), replace(easy(7), namespace="other")]
    clock = [NOW - 3_600.0 * len(requests)]
    memory = SQLiteMemory(path, clock=lambda: clock[0])
    options: dict[str, Any] = {"learning_budget": None, "audit_rate": 0.0, "seed": 1, "clock": lambda: clock[0]}
    with Router(memory=memory, embedder="hashing", learning="inline", **options) as router:
        models = pair()
        for request in requests:
            clock[0] += 3_600.0
            serve(router, models, request)
            for guide in memory.guides():  # one request alone does not prove it
                memory.set_guide_state(guide.id, "active")
    memory.close()
    return path


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(time, "time", lambda: NOW)


def rar(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def commands(memory: Path) -> Iterator[tuple[object, ...]]:
    (listed,) = json.loads(rar("guides", "list", memory, "--json"))
    decision = json.loads(rar("decisions", memory, "--json"))[2]["decision_id"]
    yield "stats", memory
    yield "stats", memory, "--price", "strong=2/8", "--price", "weak=0.1/0.4"
    yield "decisions", memory
    yield "guides", "list", memory
    yield "guides", "show", memory, listed["id"]
    yield "explain", memory, decision


class TestWidth:
    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_every_table_keeps_to_the_terminal(self, taught: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
        monkeypatch.setenv("COLUMNS", str(width))
        for command in commands(taught):
            lines = rar(*command).splitlines()

            assert max(map(len, lines)) <= width, command
            assert not BOXES & set("".join(lines))

    def test_one_line_a_row_at_80_columns(self, taught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        lines = rar("decisions", taught).splitlines()

        assert lines[0] == "6 decisions, newest first"
        assert len(lines) == 2 + 6
        assert lines[1].split()[:1] == ["id"] and lines[1].split()[-1] == "question"
        assert lines[3].rstrip().endswith("…")

    def test_a_pipe_gets_everything_on_one_line_each(self, taught: Path) -> None:
        lines = rar("decisions", taught).splitlines()

        assert len(lines) == 2 + 6
        assert lines[1].split() == [
            "id",
            "at",
            "namespace",
            "model",
            "reason",
            "confidence",
            "similarity",
            "guide",
            "question",
        ]
        assert lines[3].endswith(LONG)
        assert [line for line in lines if line != line.rstrip()] == []
        assert GUIDES["harbour"].replace("\n", " ") in rar("guides", "list", taught)

    def test_columns_line_up_in_a_pipe(self, taught: Path) -> None:
        _, head, *rows = rar("decisions", taught).splitlines()

        for name in ("model", "reason", "question"):
            at = head.index(name)
            assert {row[at - 2 : at] for row in rows} == {"  "}

    def test_a_real_pipe_is_no_terminal(self, taught: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
        command = [sys.executable, "-m", "rar.cli", "decisions", str(taught)]
        found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)

        assert LONG in found.stdout
        assert not BOXES & set(found.stdout) and "\x1b" not in found.stdout

    @pytest.mark.skipif(sys.platform == "win32", reason="a terminal of its own")
    def test_a_real_terminal_of_80_columns(self, taught: Path) -> None:
        import fcntl
        import pty
        import struct
        import termios

        main, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {**os.environ, "TERM": "dumb"}
        environment.pop("COLUMNS", None)
        command = [sys.executable, "-m", "rar.cli", "stats", str(taught)]
        with subprocess.Popen(command, stdout=terminal, stderr=terminal, stdin=terminal, env=environment) as process:
            os.close(terminal)
            said = b""
            while chunk := _read(main):
                said += chunk
        os.close(main)

        assert process.returncode == 0
        assert b"Namespaces" in said
        assert max(map(len, said.decode().splitlines())) <= 80


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # how Linux says that the other side is closed
        return b""


class TestLayout:
    def printed(self, what: Any, width: int | None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        if width is not None:
            monkeypatch.setenv("COLUMNS", str(width))
        file = io.StringIO()
        show(what, console=Console(file=file, width=width))
        return file.getvalue().splitlines()

    def test_columns_go_before_the_text_is_cut_short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        columns = Column("id"), Column("when", spare=1), Column("score", right=True, spare=2), Column("text", cut=True)
        grid = Grid("", columns, (("a1", "2026-11-28", "0.5", "word " * 10),))

        assert self.printed(grid, 80, monkeypatch)[1].split()[:3] == ["a1", "2026-11-28", "0.5"]
        assert self.printed(grid, 45, monkeypatch)[1].startswith("a1  2026-11-28  word word")
        assert self.printed(grid, 30, monkeypatch)[0].split() == ["id", "text"]
        assert self.printed(grid, 30, monkeypatch)[1].endswith("…")

    def test_names_break_before_cells_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        grid = Grid("", (Column("a long name"), Column("another")), (("1", "two words"),))

        assert self.printed(grid, 20, monkeypatch) == ["a long     another", "name", "1          two words"]
        assert self.printed(grid, 13, monkeypatch)[-2:] == ["1     two", "      words"]

    def test_wide_signs_count_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        grid = Grid("", (Column("text", cut=True), Column("n")), (("東京" * 10, "1"), ("ab", "2")))
        lines = self.printed(grid, 20, monkeypatch)

        assert lines[1].endswith("  1") and "…" in lines[1]
        assert lines[2].rstrip().endswith("2")

    def test_a_column_that_tells_nothing_is_left_out_of_terminals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def grid(*names: str) -> Grid:
            return Grid("", (Column("namespace", varies=True), Column("n")), tuple((name, "1") for name in names))

        assert self.printed(grid("a", "a"), 80, monkeypatch)[0] == "n"
        assert self.printed(grid("a", "b"), 80, monkeypatch)[0].split() == ["namespace", "n"]
        monkeypatch.delenv("COLUMNS")
        assert self.printed(grid("a", "a"), None, monkeypatch)[0].split() == ["namespace", "n"]

    def test_nothing_that_moves_the_cursor_is_printed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        evil = "a\x1b[2J\x07b\u202ec\rd"

        for what in (Grid("", (Column("text"),), ((evil,),)), Facts({"text": evil})):
            assert not set("\x1b\x07\u202e\r") & set("".join(self.printed(what, 80, monkeypatch)))

    def test_markup_is_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.printed(Facts({"text": "[bold]x[/]"}), 80, monkeypatch) == ["text  [bold]x[/]"]


class TestFilters:
    def models(self, *args: object) -> list[str]:
        return [facts["reason"] for facts in json.loads(rar("decisions", *args, "--json"))]

    def test_by_model_reason_and_namespace(self, taught: Path) -> None:
        assert self.models(taught, "--model", "weak") == ["memory_guided", "memory_weak"]
        assert self.models(taught, "--reason", "memory_weak") == ["memory_weak"]
        both = self.models(taught, "--reason", "memory_weak", "--reason", "memory_guided")
        assert both == ["memory_guided", "memory_weak"]
        assert len(self.models(taught, "-n", "other")) == 1
        assert self.models(taught, "--not-learned", "budget") == []
        assert "'nobody'" in rar("decisions", taught, "-n", "nobody", code=1)

    def test_by_time(self, taught: Path) -> None:
        assert len(self.models(taught, "--since", "90m")) == 2
        assert len(self.models(taught, "--until", "90m")) == 4
        assert len(self.models(taught, "--since", "4h", "--until", "1h")) == 4
        assert self.models(taught, "--since", "2030-01-01") == []
        assert len(self.models(taught, "--until", "2030-01-01")) == 6
        assert "is no time" in rar("decisions", taught, "--since", "yesterday", code=1)

    def test_the_limit_is_of_what_is_wanted(self, taught: Path) -> None:
        assert self.models(taught, "--model", "weak", "--limit", 1) == ["memory_guided"]

    def test_a_rare_reason_is_found_behind_many_others(self, tmp_path: Path) -> None:
        rows = tuple(
            DecisionRecord(f"d{n}", "n", NOW + n, "", None, "weak", {"reason": "audit" if n == 3 else "sticky"})
            for n in range(1_000)
        )
        with SQLiteMemory(tmp_path / "rar.db") as memory:
            memory.write(Batch(decisions=rows))

        assert self.models(tmp_path / "rar.db", "--reason", "audit") == ["audit"]
        assert len(self.models(tmp_path / "rar.db", "--limit", 1_000)) == 1_000

    def test_ages_and_dates(self) -> None:
        assert moment("--since", None, NOW) is None
        assert moment("--since", "30s", NOW) == NOW - 30
        assert moment("--since", "1.5h", NOW) == NOW - 5_400
        assert moment("--since", "2w", NOW) == NOW - 14 * 86_400
        assert moment("--since", "2026-11-01T12:30+00:00", NOW) == 1_793_536_200
        for wrong in ("", "5", "2y", "-1h", "2026-13-01"):
            with pytest.raises(ConfigurationError, match="--until"):
                moment("--until", wrong, NOW)


class TestUsualPath:
    @pytest.mark.parametrize("command", [("stats",), ("guides", "list"), ("decisions",), ("export",), ("report",)])
    def test_is_rar_db_in_this_folder(
        self, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        error = rar(*command, code=1)
        assert "'rar.db' does not exist" in error and error.count("\n") == 1
        assert list(tmp_path.iterdir()) == []

        (tmp_path / "rar.db").write_bytes(taught.read_bytes())
        assert rar(*command)

    def test_an_id_alone_is_enough(self, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "rar.db").write_bytes(taught.read_bytes())
        monkeypatch.chdir(tmp_path)
        (guide,) = json.loads(rar("guides", "list", "--json"))
        decision = json.loads(rar("decisions", "--json"))[0]["decision_id"]

        assert GUIDES["harbour"] in rar("guides", "show", guide["id"][:8])
        assert decision in rar("explain", decision[:10])
        assert "is retired now" in rar("guides", "retire", guide["id"])
        assert "is active now" in rar("guides", "approve", "rar.db", guide["id"])
        assert "3 words" in rar("explain", "a", "b", "c", code=1)


class TestOlderMemory:
    def test_is_read_as_it_is_and_not_upgraded(self, tmp_path: Path) -> None:
        path = tmp_path / "rar.db"
        script = Path(__file__).with_name("memory_schema_2.sql").read_text(encoding="utf-8")
        with closing(sqlite3.connect(path)) as file:
            file.executescript(script)
        before = path.read_bytes()

        for command in (("stats",), ("guides", "list"), ("decisions",), ("export",)):
            assert rar(*command, path)
        facts = json.loads(rar("report", path, "--json"))
        assert facts["memory"] == str(path)
        assert facts["calls"] == sum(one["calls"] for one in facts["outcomes"]) > 0
        assert path.read_bytes() == before
        assert sorted(tmp_path.iterdir()) == [path]


class TestStats:
    def test_a_namespace_has_a_row_with_its_troubles(self, taught: Path) -> None:
        lines = rar("stats", taught).splitlines()
        head = next(line for line in lines if line.startswith("namespace ") and "threshold" in line)

        assert head.split()[-6:] == ["threshold", "audits", "failed", "undecided", "paused", "drift"]
        assert [line.split()[:2] for line in lines[lines.index(head) + 1 :][:2]] == [["default", "5"], ["other", "1"]]
        for name in ("unpriced",):
            assert any(line.startswith(f"{name} ") for line in lines)

    def test_json_is_as_it_was_and_more(self, taught: Path) -> None:
        facts = json.loads(rar("stats", taught, "--json"))

        assert facts.keys() >= {"memory", "namespace", "experiences", "policy", "spending", "savings", "not_learned"}
        assert facts["savings"].keys() >= {"served", "served_strong", "net_usd", "net_share"}


class TestReport:
    def test_writes_a_page_and_sums_it_up(self, taught: Path, tmp_path: Path) -> None:
        out = tmp_path / "page.html"
        said = rar("report", taught, "--out", out, "--price", "strong=2/8", "--price", "weak=0.1/0.4")

        assert "6, 67% sent to the strong model" in said
        assert "<h1>rar.db</h1>" in out.read_text(encoding="utf-8")
        assert rar("report", taught, "--out", out)

    def test_a_pipe_gets_the_page(self, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

        assert rar("report", taught, "--out", "-").startswith("<!doctype html>")
        assert list(tmp_path.iterdir()) == []

    def test_json_is_the_facts_and_writes_nothing(self, taught: Path, tmp_path: Path) -> None:
        facts = json.loads(rar("report", taught, "--out", tmp_path / "page.html", "-n", "other", "--json"))

        assert (facts["calls"], facts["namespace"]) == (1, "other")
        assert list(tmp_path.iterdir()) == []

    def test_days_quality_and_image(self, taught: Path, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        image = tmp_path / "report.png"
        facts = json.loads(rar("report", taught, "--days", 1, "--quality", 0.5, "--png", image, "--json"))

        assert facts["quality"]["floor"] == 0.5
        assert image.read_bytes().startswith(b"\x89PNG")

    def test_a_file_that_is_no_report_is_left_alone(self, taught: Path, tmp_path: Path) -> None:
        notes = tmp_path / "notes.html"
        notes.write_text("mine")

        assert "is no report" in rar("report", taught, "--out", notes, code=1)
        nowhere = tmp_path / "none" / "report.html"
        assert (
            rar("report", taught, "--out", nowhere, code=1)
            .strip()
            .endswith("No such file or directory. Check the path.")
        )
        assert "'nobody'" in rar("report", taught, "-n", "nobody", "--out", tmp_path / "x.html", code=1)
        assert notes.read_text() == "mine"


def test_an_explanation_lists_the_calls_where_there_were_several(tmp_path: Path) -> None:
    path, models = tmp_path / "rar.db", pair()
    with Router(memory=path, embedder="hashing", strategy=Cascade(lambda request, draft: False)) as router:
        decision, _ = serve(router, models, easy(41))
    with Router(memory=path, embedder="hashing", strategy=lambda _: "strong") as router:
        single, _ = serve(router, models, easy(42))

    table = rar("explain", path, decision.id).partition("Calls, in their order")[2].splitlines()

    assert [line.split()[:4] for line in table if line.startswith(("weak", "strong"))][:2] == [
        ["weak", "draft", "100", "20"],
        ["strong", "serve", "100", "20"],
    ]
    assert "Calls, in their order" not in rar("explain", path, single.id)
