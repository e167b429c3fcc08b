"""`rar fit`, `rar calibrate` and `rar eval static --router`: from outcomes to a router that is measured and saved."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rar import Router
from rar.cli import routers as commands
from rar.cli.commands import app
from rar.cli.output import progress
from rar.cli.scorers import scorers
from rar.errors import ConfigurationError
from rar.routers import ROUTERS, LengthRouter, TfidfRouter, load, saving
from rar.strategies import Threshold
from tests.core.world import easy, harbour, pair, serve

PNG = b"\x89PNG"
COLOURS = ["red", "blue", "green", "white", "black", "grey", "pink", "brown"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def log(path: Path, rows: int = 60, start: int = 0) -> Path:
    """Half sums, which the small model knows, half riddles, which it does not. Both are as long."""
    lines = ["question,kind,colour,small,middle,large"]
    for n in range(start, start + rows):
        text, colour = "sum of the apples" if n % 2 else "riddle of the keys", COLOURS[n % 7]
        lines.append(f"What is the {text} {colour} {n:03d}?,{'sum' if n % 2 else 'riddle'},{colour},{n % 2},,1")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return log(tmp_path / "log.csv")


@pytest.fixture
def others(tmp_path: Path) -> Path:
    return log(tmp_path / "others.csv", start=100)


@pytest.fixture
def saved(file: Path, tmp_path: Path) -> Path:
    run("fit", "tfidf", file, *PAIR, "--out", tmp_path / "router")
    return tmp_path / "router"


PAIR = ("--weak", "small", "--strong", "large")


@dataclass
class Ran:
    code: int
    out: str
    err: str


def invoke(*args: object) -> Ran:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def run(*args: object) -> str:
    ran = invoke(*args)
    assert ran.code == 0, ran.err
    return ran.out


def refused(*args: object) -> str:
    """One line that says why, and no traceback."""
    ran = invoke(*args)
    assert ran.code == 1
    assert ran.out == ""
    assert ran.err.startswith("rar: ")
    assert ran.err.count("\n") == 1
    return ran.err


# --- fit ------------------------------------------------------------------------------------------------------------


def test_a_fitted_router_is_measured_beside_length_and_saved(file: Path, tmp_path: Path) -> None:
    shown = run("fit", "tfidf", file, *PAIR, "--out", tmp_path / "router")

    for part in ("60", "small, large", "APGR, held out", "of prompt length", "fitted in", "kB", "rar calibrate"):
        assert part in shown
    router = load(tmp_path / "router")
    assert isinstance(router, TfidfRouter)
    assert router.models == ("small", "large")
    assert np.diff(router.score(["A sum of apples", "A riddle of keys"])) > 0.0


def test_json_is_nothing_else_and_held_out_rows_were_not_seen(file: Path, tmp_path: Path) -> None:
    facts = json.loads(run("fit", "tfidf", file, *PAIR, "--out", tmp_path / "router", "--json"))

    assert facts["rows"] == 60
    assert facts["models"] == ["small", "large"]
    assert facts["bytes"] == sum(path.stat().st_size for path in (tmp_path / "router").iterdir())
    assert facts["metrics"]["APGR, held out"] > 0.7, "words tell the two kinds apart"
    assert load(tmp_path / "router").facts["metrics"] == facts["metrics"]


def test_what_was_held_out_is_measured_by_a_fit_that_did_not_see_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[set[str]] = []

    class Spy(TfidfRouter):
        def fit(self, data: Any, **options: Any) -> Any:
            fits.append(set(data.texts))
            return super().fit(data, **options)

        def score(self, texts: Any, vectors: Any = None) -> Any:
            assert not fits[-1] & set(texts)
            return super().score(texts, vectors)

    monkeypatch.setitem(ROUTERS, "tfidf", Spy)
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([header, *rows, *rows[::-1]]), encoding="utf-8")  # each question was asked twice
    run("fit", "tfidf", file, *PAIR, "--out", tmp_path / "router")

    assert [len(seen) for seen in fits] == [48, 60]


def test_who_learned_nothing_is_told_so(file: Path, tmp_path: Path) -> None:
    assert "does not beat the prompt's length" in run("fit", "length", file, *PAIR, "--out", tmp_path / "router")


def test_settings_reach_the_router(file: Path, tmp_path: Path) -> None:
    run("fit", "tfidf", file, *PAIR, "--set", "penalty=9", "--out", tmp_path / "router")

    assert load(tmp_path / "router").penalty == 9  # type: ignore[attr-defined]


def test_an_embedding_router_uses_the_embedder_that_is_named(file: Path, tmp_path: Path) -> None:
    run("fit", "knn", file, *PAIR, "--embedder", "hashing", "--out", tmp_path / "router")

    assert load(tmp_path / "router").embedder.id.startswith("hashing")  # type: ignore[attr-defined]
    assert list((tmp_path / "cache" / "embeddings").glob("hashing*")), "each text is embedded once"


def test_a_router_of_many_models_is_measured_on_the_two_that_it_compares(tmp_path: Path) -> None:
    rows = [
        f"{'riddle' if n % 3 else 'sum'} {COLOURS[n % 7]} {n},{int(n % 3 == 0)},{int(n % 3 > 0)},1" for n in range(60)
    ]
    for name in ("log", "others"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,sums,riddles,both", *rows]))
    options = ("--models", "sums,riddles,both", "--embedder", "hashing", "--out", tmp_path / "router", "--json")

    facts = json.loads(run("fit", "elo", tmp_path / "log.csv", *options, "--set", "strong=riddles"))
    told = json.loads(run("calibrate", tmp_path / "router", tmp_path / "others.csv", "--strong-share", "0.5", "--json"))

    assert facts["models"] == ["sums", "riddles", "both"]
    assert facts["metrics"]["APGR, held out"] > 0.7
    assert (told["weak_quality"], told["strong_quality"]) == (20 / 60, 40 / 60), "those of sums and riddles"
    assert told["quality"] > 0.8


def test_a_memory_teaches_without_columns(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"embedder": "hashing", "learning": "inline", "learning_budget": None, "guides": False}
    with Router(memory=tmp_path / "rar.db", audit_rate=0.0, **settings) as router:
        models = pair()
        for n in range(20):
            serve(router, models, easy(n) if n % 2 else harbour(n))

    shown = run("fit", "tfidf", tmp_path / "rar.db", "--out", tmp_path / "router")

    assert "small-1, big-1" in shown
    assert "threshold" in run("calibrate", tmp_path / "router", tmp_path / "rar.db", "--strong-share", "0.5")


def test_few_rows_are_fitted_though_none_can_be_held_out(file: Path, tmp_path: Path) -> None:
    facts = json.loads(run("fit", "tfidf", file, *PAIR, "--limit", "10", "--out", tmp_path / "router", "--json"))

    assert facts["metrics"]["APGR, held out"] is None
    assert "unknown" in run("fit", "tfidf", file, *PAIR, "--limit", "10", "--out", tmp_path / "router")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("nope",), "There is no router 'nope'. There are "),
        (("tfidf", *PAIR, "--set", "depth=3"), "has these settings: penalty"),
        (("tfidf", *PAIR, "--set", "penalty"), "is not KEY=VALUE"),
        (("tfidf", *PAIR, "--set", "penalty=high"), "of type float, usually 3.0"),
        (("tfidf", *PAIR, "--set", "penalty=true"), "of type float, usually 3.0"),
        (("length", *PAIR, "--set", "a=1"), "has these settings: none"),
        (("tfidf", *PAIR, "--set", "penalty=Infinity"), "a finite number is needed"),
        (("stacked", *PAIR, "--embedder", "hashing", "--set", "seed=-1"), "a seed is 0 or more"),
        (("distilled", *PAIR, "--embedder", "hashing", "--set", "prices=3"), "a number of 0 or more for each model"),
        (("tfidf", *PAIR, "--embedder", "hashing"), "looks at no embeddings"),
        (("tfidf", "--weak", "small"), "both --weak and --strong"),
        (("tfidf", *PAIR, "--models", "small,large"), "either --models, or --weak and --strong"),
        (("tfidf", "--models", "small,huge"), "column 'huge'"),
        (("tfidf",), "name the columns of scores with models"),
        (("tfidf", "--models", "small,middle,large"), "outcomes.pair(weak, strong)"),
        (("tfidf", *PAIR, "--limit", "5"), "5 rows are too few"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_fitted_is_said_in_one_line(
    args: tuple[str, ...], said: str, file: Path, tmp_path: Path
) -> None:
    assert said in refused("fit", args[0], file, *args[1:], "--out", tmp_path / "router")
    assert not (tmp_path / "router").exists()


@pytest.mark.parametrize(
    ("missing", "router"),
    [
        ("torch", ("mf", "--embedder", "hashing")),
        ("onnxscript", ("encoder", "--set", "encoder=nowhere")),
        ("gguf", ("causal", "--set", "model={log}")),
    ],
)
def test_a_missing_extra_is_said_in_one_line_before_anything_is_loaded_or_trained(
    missing: str, router: tuple[str, ...], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing != "torch":
        pytest.importorskip("transformers", reason="what lacks PyTorch says so first")
        pytest.importorskip("torch", reason="what lacks PyTorch says so first")
    monkeypatch.setitem(sys.modules, missing, None)
    name, *options = (part.format(log=file) for part in router)

    said = refused("fit", name, file, *PAIR, *options, "--out", tmp_path / "router")

    assert ("PyTorch" if missing == "torch" else missing) in said
    assert "pip install 'rar-llm[transformers]'" in said


def test_a_missing_file_is_said_in_one_line(tmp_path: Path) -> None:
    assert "none.csv" in refused("fit", "tfidf", tmp_path / "none.csv", *PAIR, "--out", tmp_path / "router")


def test_a_file_where_the_folder_should_be_is_said_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "router").write_text("notes", "utf-8")

    said = refused("fit", "tfidf", tmp_path / "none.csv", *PAIR, "--out", tmp_path / "router")

    assert "--out" in said and "is a file" in said


# --- calibrate ------------------------------------------------------------------------------------------------------


def test_the_share_that_is_asked_for_is_realised(saved: Path, others: Path) -> None:
    facts = json.loads(run("calibrate", saved, others, "--strong-share", "0.5", "--json"))

    assert facts["strong_share"] <= 0.5
    assert (
        load(saved).score([line.split(",")[0] for line in others.read_text().splitlines()[1:]]) >= facts["threshold"]
    ).mean() == facts["strong_share"]
    assert facts["weak_quality"] == 0.5
    assert facts["strong_quality"] == 1.0
    assert facts["quality"] > 0.9, "the riddles go to the strong model"
    assert facts["seen"] is False


def test_no_more_is_lost_than_allowed(saved: Path, others: Path) -> None:
    facts = json.loads(run("calibrate", saved, others, "--max-drop", "0.2", "--json"))

    assert facts["quality"] >= 0.8
    assert facts["strong_share"] <= 0.5
    assert json.loads(run("calibrate", saved, others, "--max-drop", "1", "--json"))["strong_share"] == 0.0


def test_rows_that_it_was_fitted_to_are_warned_of(saved: Path, file: Path) -> None:
    assert "calibrate on other rows" in run("calibrate", saved, file, "--strong-share", "0.5")


def test_texts_alone_are_enough_for_a_share(saved: Path, tmp_path: Path) -> None:
    requests = tmp_path / "requests.csv"
    requests.write_text("text\n" + "\n".join(f"{'sum' if n % 4 else 'riddle'} {n}" for n in range(40)))

    shown = json.loads(run("calibrate", saved, requests, "--texts-only", "--strong-share", "0.25", "--json"))

    assert 0.0 < shown["strong_share"] <= 0.25
    assert "quality" not in shown
    assert "texts" in refused("calibrate", saved, requests, "--texts-only", "--max-drop", "0.1")


def test_the_choice_is_drawn(saved: Path, others: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    run("calibrate", saved, others, "--strong-share", "0.4", "--plot", tmp_path / "curve.png")

    assert (tmp_path / "curve.png").read_bytes().startswith(PNG)


def test_what_cannot_be_calibrated_is_said_in_one_line(saved: Path, others: Path, tmp_path: Path) -> None:
    assert "either --strong-share or --max-drop" in refused("calibrate", saved, others)
    assert "router.json" in refused("calibrate", tmp_path, others, "--strong-share", "0.5")
    assert ".png, .svg" in refused("calibrate", saved, others, "--strong-share", "0.5", "--plot", tmp_path / "curve")
    (saved / "weights.npz").write_bytes(b"broken")
    assert "fit it again or fetch it again" in refused("calibrate", saved, others, "--strong-share", "0.5")


def test_the_threshold_is_saved_with_the_router(saved: Path, others: Path) -> None:
    weights = (saved / "weights.npz").read_bytes()
    facts = json.loads(run("calibrate", saved, others, "--max-drop", "0.1", "--json"))

    router = load(saved)
    assert facts["saved"] is True
    assert router.threshold == facts["threshold"] == Threshold(router).threshold
    assert router.calibration is not None
    assert router.calibration.data == "others.csv"
    assert router.calibration.asked == {"max_drop": 0.1}
    assert router.calibration.models == ("small", "large")
    assert (saved / "weights.npz").read_bytes() == weights
    assert "Saved with the router" in run("calibrate", saved, others, "--max-drop", "0.1")


def test_a_dry_run_saves_nothing(saved: Path, others: Path) -> None:
    before = (saved / "router.json").read_bytes()

    assert "Not saved" in run("calibrate", saved, others, "--max-drop", "0.1", "--dry-run")
    assert (saved / "router.json").read_bytes() == before
    assert load(saved).threshold is None
    assert Threshold(load(saved)).threshold == 0.5


def test_a_new_fit_forgets_the_threshold(saved: Path, others: Path, file: Path) -> None:
    run("calibrate", saved, others, "--max-drop", "0.1")
    run("fit", "tfidf", file, *PAIR, "--out", saved)

    assert load(saved).threshold is None


@pytest.fixture
def ranking(tmp_path: Path) -> Path:
    """A router of three models, which compares the first and the last."""
    rows = [f"{'riddle' if n % 3 else 'sum'} {COLOURS[n % 7]} {n},{n % 2},{int(n % 3 > 0)},1" for n in range(60)]
    for name in ("log", "newer"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,a,b,c", *rows]))
    run("fit", "elo", tmp_path / "log.csv", "--models", "a,b,c", "--embedder", "hashing", "--out", tmp_path / "ranking")
    return tmp_path / "ranking"


def test_a_threshold_for_another_pair_is_refused(ranking: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer.csv"
    said = refused("calibrate", ranking, newer, "--weak", "b", "--strong", "c", "--strong-share", "0.3")
    assert "compares 'a' and 'c'" in said
    assert "the other way round" in refused(
        "calibrate", ranking, newer, "--weak", "c", "--strong", "a", "--strong-share", "0.3"
    )

    run("calibrate", ranking, newer, "--strong-share", "0.3")

    assert Threshold(load(ranking)).threshold == load(ranking).threshold
    with pytest.raises(ConfigurationError, match="chosen for 'a' and 'c', and its score compares 'b' and 'c'"):
        Threshold(load(ranking, weak="b"))
    assert Threshold(load(ranking, weak="b"), 0.4).threshold == 0.4


def test_columns_of_other_names_are_the_routers_models(saved: Path, others: Path) -> None:
    header, *rows = others.read_text().splitlines()
    others.write_text("\n".join([header.replace("small", "s2").replace("large", "l2"), *rows]))

    run("calibrate", saved, others, "--weak", "s2", "--strong", "l2", "--strong-share", "0.5")

    assert Threshold(load(saved)).threshold == load(saved).threshold


@pytest.mark.parametrize("plot", ["nowhere/curve.png", "curve"])
def test_a_plot_that_cannot_be_written_is_refused_before_anything_is_read(
    plot: str, saved: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    options = ("--strong-share", "0.5", "--plot", tmp_path / plot)

    assert "--plot" in refused("calibrate", saved, tmp_path / "none.csv", *options)


def test_own_rows_are_known_by_their_texts_not_by_the_name_of_the_file(saved: Path, file: Path, others: Path) -> None:
    renamed = file.rename(file.with_name("renamed.csv"))
    others.rename(file)  # the name of what it was fitted to

    seen = json.loads(run("calibrate", saved, renamed, "--strong-share", "0.5", "--json"))
    unseen = json.loads(run("calibrate", saved, file, "--strong-share", "0.5", "--json"))

    assert (seen["seen"], seen["seen_share"]) == (True, 1.0)
    assert (unseen["seen"], unseen["seen_share"]) == (False, 0.0)


def test_rows_of_an_older_router_are_unknown(saved: Path, others: Path) -> None:
    with np.load(saved / "weights.npz") as arrays:
        older = {name: arrays[name] for name in arrays.files if name != saving.SKETCH}
    np.savez(saved / "weights.npz", **older)

    assert json.loads(run("calibrate", saved, others, "--strong-share", "0.5", "--json"))["seen"] is None
    assert "does not say which rows" in run("calibrate", saved, others, "--strong-share", "0.5")


# --- exchanged models -----------------------------------------------------------------------------------------------

EXCHANGED = ("--weak", "large", "--strong", "small")


def test_a_weak_model_that_is_the_better_one_is_warned_of(file: Path, others: Path, tmp_path: Path) -> None:
    fitted = invoke("fit", "tfidf", file, *EXCHANGED, "--out", tmp_path / "router", "--json")
    calibrated = invoke("calibrate", tmp_path / "router", others, "--strong-share", "0.5", "--json")

    for ran in (fitted, calibrated):
        assert ran.code == 0
        assert "rar: warning: The weak model 'large' scores better (1.000) than the strong one, 'small'" in ran.err
        assert "Are they exchanged?" in json.loads(ran.out)["warning"]
    assert "not measured" in run("fit", "tfidf", file, *EXCHANGED, "--out", tmp_path / "router")


def test_models_in_their_order_are_not_warned_of(saved: Path, others: Path, tmp_path: Path, file: Path) -> None:
    fitted = invoke("fit", "tfidf", file, *PAIR, "--out", tmp_path / "other", "--json")
    calibrated = invoke("calibrate", saved, others, "--strong-share", "0.5", "--json")

    assert [ran.err for ran in (fitted, calibrated)] == ["", ""]
    assert [json.loads(ran.out)["warning"] for ran in (fitted, calibrated)] == [None, None]


# --- progress -------------------------------------------------------------------------------------------------------


def test_long_work_says_a_line_now_and_then_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with progress(clock=lambda: now[0]) as told:
        for step in range(1, 101):
            now[0] += 0.5
            told("training", step, 100)

    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"rar: training: {step} of 100" for step in (20, 40, 60, 80, 100)]


def test_quick_or_quiet_work_says_nothing(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke("fit", "tfidf", file, *PAIR, "--out", tmp_path / "router").err == ""
    now = [0.0]
    with progress(quiet=True, clock=lambda: now[0]) as told:
        now[0] = 1_000.0
        told("training", 1, 2)
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_both_fits_to_their_end(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, int, int]] = []

    @contextmanager
    def spy(**_: Any) -> Iterator[Any]:
        yield lambda *step: steps.append(step)

    monkeypatch.setattr(commands, "progress", spy)
    run("fit", "tfidf", file, *PAIR, "--out", tmp_path / "router")

    assert [step for step in steps if step[1] == step[2]] == [("fit to four fifths", 1, 1), ("fit to all rows", 1, 1)]


def test_bars_go_to_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress() as told:
        told("training", 3, 3)

    shown = capsys.readouterr()
    assert "training" in shown.err and "3/3" in shown.err
    assert shown.out == ""


# --- eval static ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_routers_are_rows_of_the_static_evaluation(saved: Path, others: Path) -> None:
    options = ("--embedder", "hashing", "--splits", "1", "--json", "--router", "tfidf", "--router", saved)
    facts = json.loads(run("eval", "static", others, *PAIR, "--group", "colour", *options))

    areas = {row["name"]: row["apgr"]["value"] for row in facts["halves"]}
    assert {"RAR", "prompt length", "tfidf", f"tfidf of {saved}"} <= set(areas)
    assert areas["tfidf"] > areas["prompt length"]
    assert areas[f"tfidf of {saved}"] > areas["prompt length"]
    assert {"tfidf", f"tfidf of {saved}"} <= {row["name"] for row in facts["left_out"]}


def test_who_cannot_learn_from_what_was_seen_scores_at_random(others: Path) -> None:
    options = ("--embedder", "hashing", "--splits", "1", "--json", "--router", "tfidf", "--group", "kind")
    ran = invoke("eval", "static", others, *PAIR, *options)

    (row,) = [row for row in json.loads(ran.out)["left_out"] if row["name"] == "tfidf"]
    assert row["apgr"]["value"] == pytest.approx(0.5)
    assert "tfidf scored at random in a part: others.csv: on every row" in ran.err


def test_a_router_that_was_saved_is_taken_as_it_is(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TfidfRouter, "fit", None)
    (scorer,) = scorers([str(saved)], "hashing").values()

    asked: Any = type("Asked", (), {"texts": ("a sum",), "vectors": None, "embedder_id": ""})

    assert scorer(asked, asked) == load(saved).score(["a sum"])


def test_an_unknown_router_is_refused_before_anything_is_embedded(others: Path, tmp_path: Path) -> None:
    assert "neither a router" in refused("eval", "static", others, *PAIR, "--router", "nope")
    assert not (tmp_path / "cache").exists()


def test_routers_of_the_evaluation_need_no_settings() -> None:
    assert isinstance(LengthRouter(), ROUTERS["length"])
    assert set(scorers(["length", "tfidf"], "hashing")) == {"length", "tfidf"}
