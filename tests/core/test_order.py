"""Weak and strong given the wrong way round are warned about, by price and by score."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rar import Router
from rar.cli.commands import app
from rar.order import by_price, by_score
from rar.prices import Prices
from tests.core.world import Scripted, easy, pair, serve, strong_answer, weak_answer


class TestByPrice:
    @pytest.mark.parametrize(
        ("prices", "warned"),
        [
            ({"weak": (10.0, 30.0), "strong": (1.0, 2.0)}, True),
            ({"a": (10.0, 30.0), "b": (1.0, 2.0)}, True),
            ({"weak": (1.0, 2.0), "strong": (10.0, 30.0)}, False),
            ({"weak": (1.0, 2.0), "strong": (1.0, 2.0)}, False),
            ({"weak": (0.0, 0.0), "strong": (0.0, 0.0)}, False),
            ({"weak": (1.0, 20.0), "strong": (4.0, 16.0)}, False),  # dearer by its output alone
            ({"weak": (4.0, 16.0), "strong": (1.0, 20.0)}, True),
            ({"weak": (10.0, 30.0)}, False),
            ({}, False),
        ],
    )
    def test_a_dearer_weak_model_is_told(self, prices: dict[str, tuple[float, float]], warned: bool) -> None:
        assert (by_price(Prices(prices), "a", "b") is not None) == warned

    def test_public_prices_are_known(self) -> None:
        said = by_price(Prices(), "gpt-4o", "gpt-4o-mini")

        assert said is not None and "'gpt-4o' costs more (USD 2.5 and 10 per million" in said
        assert by_price(Prices(), "gpt-4o-mini", "gpt-4o") is None

    def test_a_router_says_it_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        options: dict[str, Any] = {"memory": tmp_path / "rar.db", "embedder": "hashing", "learning_budget": None}
        with Router(**options, prices={"weak": (3, 3), "strong": (1, 1)}) as router, caplog.at_level(logging.WARNING):
            for n in range(3):
                serve(router, pair(), easy(n))
            other = {"weak": Scripted("other", weak_answer), "strong": Scripted("big-1", strong_answer)}
            serve(router, other, easy(1))

        assert [record.getMessage().split(" costs more")[0] for record in caplog.records] == [
            "The weak model 'small-1'",
            "The weak model 'other'",
        ]

    def test_a_router_whose_weak_model_is_cheaper_says_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        with Router(memory=None, prices={"weak": (1, 1), "strong": (3, 3)}) as router, caplog.at_level(logging.WARNING):
            serve(router, pair(), easy(1))

        assert caplog.records == []


class TestByScore:
    def test_a_better_weak_model_is_told(self) -> None:
        said = by_score(np.array([[1.0, 0.0]] * 30 + [[0.0, 1.0]] * 5), "a", "b")

        assert said == (
            "The weak model 'a' scores better (0.857) than the strong one, 'b' (0.143), on these 35 rows. Are "
            "they exchanged? If not, the weak model alone is cheaper and better."
        )

    @pytest.mark.parametrize(
        "scores",
        [
            [[0.0, 1.0]] * 30,
            [[1.0, 1.0]] * 30,
            [[1.0, 0.0]] * 11 + [[0.0, 1.0]] * 10,  # by chance
            [[1.0, np.nan]] * 30,
            [[1.0, 0.0]],
        ],
    )
    def test_otherwise_nothing_is_said(self, scores: list[list[float]]) -> None:
        assert by_score(np.array(scores), "a", "b") is None


@pytest.fixture
def swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Outcomes whose column `small` is the better one."""
    monkeypatch.setenv("RAR_CACHE", str(tmp_path / "cache"))
    rows = [f"What is {n} and {n % 7}?,1,{n % 3 == 0:d}" for n in range(60)]
    file = tmp_path / "log.csv"
    file.write_text("\n".join(["text,small,large", *rows]))
    return file


@pytest.mark.parametrize("named", [("small", "large"), ("large", "small")])
def test_commands_warn_of_columns_in_the_wrong_order(swapped: Path, named: tuple[str, str], tmp_path: Path) -> None:
    weak, strong = named
    columns = ["--weak", weak, "--strong", strong]
    out = str(tmp_path / "router")
    for command in (
        ["fit", "tfidf", str(swapped), "--out", out, *columns],
        ["calibrate", out, str(swapped), "--strong-share", "0.3"],
        ["eval", "online", str(swapped), "--embedder", "hashing", "--shuffles", "1", *columns],
        ["eval", "static", str(swapped), "--embedder", "hashing", "--splits", "1", *columns],
        ["eval", "stages", str(swapped), "--embedder", "hashing", "--shuffles", "1", *columns],
    ):
        done = CliRunner().invoke(app, [*command, "--json"])

        assert done.exit_code == 0, done.output
        assert (f"The weak model '{weak}' scores better" in done.stderr) == (weak == "small"), command
        assert done.stdout.startswith("{")
