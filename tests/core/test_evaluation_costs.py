"""What replays cost: prices, recorded costs, weak calls; the curve of floors; windows; runs that were interrupted."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from rar.cli.evaluation import eval_app
from rar.errors import ConfigurationError
from rar.evaluation import (
    CallPrice,
    Checkpoint,
    Online,
    Run,
    Table,
    priced,
    read_table,
    replay_online,
    stages,
    static,
    stream,
)
from rar.evaluation.checkpoint import FOLDER
from rar.evaluation.compare import FloorsSummary, Window, summarise_online, summarise_static
from rar.evaluation.metrics import over_time, window_of, worst_window
from rar.evaluation.prices import engine_prices, tokens_of
from rar.evaluation.report import own_notes, sheets
from rar.evaluation.runs import OwnRows
from rar.outcomes import Replies
from rar.routers import TfidfRouter, load, saving
from rar.values import STRONG, WEAK
from tests.core.test_evaluation_replay import WORLD

COLUMNS = ("--weak", "small_correct", "--strong", "large_correct", "--embedder", "hashing")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "world.csv")


def written(path: Path, table: Table = WORLD, **columns: Any) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["question", "small_correct", "large_correct", *columns])
        rows.writerows(zip(table.texts, table.weak, table.strong, *columns.values(), strict=True))
    return path


def invoke(*args: object) -> Result:
    return CliRunner().invoke(eval_app, [str(arg) for arg in args])


def test_further_models_are_replayed_between_the_two(tmp_path: Path) -> None:
    n = len(WORLD)
    columns = {"mid_correct": WORLD.strong, "mid_cost": np.full(n, 0.01)}
    file = written(tmp_path / "a.csv", small_cost=np.full(n, 0.001), large_cost=np.full(n, 1.0), **columns)

    options = (*COLUMNS, "--model", "mid_correct", "--quality", "0.9", "--shuffles", "1", "--json")
    found = json.loads(run("online", file, *options, "--out", tmp_path / "report"))

    assert list((tmp_path / "report").glob("*.png"))
    alone = {rival["name"]: rival for rival in found["rivals"]}
    assert alone["mid_correct only"]["quality"] == 1.0
    assert alone["mid_correct only"]["net_saved"] == pytest.approx(0.99)
    assert any(calls for name, calls in found["calls"].items() if name.startswith("mid_correct"))
    prior = json.loads(run("online", file, *options, "--router", "tfidf"))
    assert prior["facts"]["questions"] == n // 2


def run(*args: object) -> str:
    result = invoke(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def facts_of(*args: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*args, "--json"))
    return found


def refused(*args: object) -> str:
    result = invoke(*args)
    assert isinstance(result.exception, ConfigurationError), result.output
    return str(result.exception)


# --- prices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "price"),
    [
        ("weak=0.0002", ("weak", CallPrice(usd=0.0002))),
        ("strong=2.5/10", ("strong", CallPrice(tokens=(2.5, 10.0)))),
        ("a=b=0/1", ("a=b", CallPrice(tokens=(0.0, 1.0)))),
    ],
)
def test_a_price_is_of_a_call_or_of_tokens(option: str, price: tuple[str, CallPrice]) -> None:
    assert CallPrice.parse(option) == price


@pytest.mark.parametrize(
    "option", ["weak", "=1", "weak=", "weak=cheap", "weak=1/2/3", "weak=-1", "weak=inf", "weak=nan"]
)
def test_what_is_no_price_is_refused_with_an_example(option: str) -> None:
    with pytest.raises(ConfigurationError, match=r"for example weak=0\.0002 or strong=2\.5/10"):
        CallPrice.parse(option)


@pytest.mark.parametrize("name", ["strong", "large_correct", "large"])
def test_a_model_is_priced_by_its_role_its_column_or_its_name(name: str) -> None:
    table = replace(WORLD, models=("small_correct", "large_correct"))

    found = priced(table, {"weak": CallPrice(usd=0.5), name: CallPrice(usd=4.0)})

    assert [cost.mean() for cost in found.call_costs.T] == [0.5, 4.0]
    assert found.in_usd


def test_tokens_are_those_that_were_recorded_else_estimated_from_texts() -> None:
    price = {"weak": CallPrice(tokens=(1.0, 2.0)), "strong": CallPrice(tokens=(10.0, 20.0))}
    recorded = replace(WORLD, replies=Replies(tokens=np.tile([[100.0, 10.0], [200.0, 20.0]], (len(WORLD), 1, 1))))
    answered = replace(WORLD, replies=Replies(np.array([["x" * 40, "x" * 80]] * len(WORLD))))

    weak, strong = priced(recorded, price).call_costs.T
    assert weak == pytest.approx((100 + 2 * 10) / 1e6)
    assert strong == pytest.approx((10 * 200 + 20 * 20) / 1e6)
    assert tokens_of(answered, 1)[:, 1].tolist() == [20.0] * len(WORLD)
    assert tokens_of(WORLD, 0)[0].tolist() == [len(WORLD.texts[0]) // 4, 200]
    assert "recorded tokens" in priced(recorded, price).cost_from
    assert "estimated tokens" in priced(WORLD, price).cost_from


def test_a_given_price_counts_before_a_recorded_cost_and_that_before_a_public_price() -> None:
    public = replace(WORLD, models=("gpt-4o-mini", "gpt-4o"))
    recorded = replace(public, costs=np.tile([0.5, 4.0], (60, 1)))

    assert priced(recorded, {"weak": CallPrice(usd=0.1)}).call_costs[:, 0].mean() == pytest.approx(0.1)
    assert priced(recorded).call_costs[:, 0].mean() == 0.5
    assert priced(public).in_usd and "public price" in priced(public).cost_from
    assert not priced(WORLD).in_usd


def test_one_price_alone_or_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"one model only.*'l'"):
        priced(WORLD, {"weak": CallPrice(usd=1.0)})
    with pytest.raises(ConfigurationError, match=r"'tiny'.*weak, s, strong, l"):
        priced(WORLD, {"tiny": CallPrice(usd=1.0)})


def test_one_recorded_cost_goes_with_a_price_of_the_other_model(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", large_cost=[4.0] * 60)
    table = read_table(path, weak="small_correct", strong="large_correct")

    found = priced(table, {"small": CallPrice(usd=1.0)})

    assert [cost.mean() for cost in found.call_costs.T] == [1.0, 4.0]
    assert found.cost_from == "weak: given; strong: recorded"
    assert not priced(table).in_usd
    assert priced(table).cost_from == "no price of small is known"


def test_free_models_are_compared_in_strong_calls() -> None:
    found = priced(WORLD, {"weak": CallPrice(usd=0.0), "strong": CallPrice(usd=0.0)})

    assert not found.in_usd
    assert found.cost_from == "the strong model is free"
    assert summarise_online(replay_online(found, shuffles=1), samples=10).facts.cost_unit == "strong calls"


def test_tokens_are_read_beside_scores(tmp_path: Path) -> None:
    counts = {f"{model}_{way}": range(60) for model in ("small", "large") for way in ("prompt_tokens", "output_tokens")}

    table = read_table(written(tmp_path / "t.csv", **counts), weak="small_correct", strong="large_correct")

    assert table.replies is not None and table.replies.tokens is not None
    assert table.replies.tokens.shape == (60, 2, 2)
    assert table.replies.tokens[7].tolist() == [[7.0, 7.0], [7.0, 7.0]]
    assert stream(replace(table, vectors=WORLD.vectors, embedder_id=WORLD.embedder_id)).of(STRONG).sum() > 0


def test_a_weak_call_costs_a_tenth_of_a_strong_one_where_no_price_is_known() -> None:
    found = stream(WORLD, quality=0.5, static_router=lambda text: 0.0, learning_budget=None, audit_rate=0.0)

    assert found.costs.tolist() == [0.1] * 60
    assert found.net_saved() == pytest.approx(0.9)
    assert found.saved() == 1.0
    assert replace(found, table=replace(found.table, weak_ratio=0.4)).net_saved() == pytest.approx(0.6)


def test_the_learning_budget_of_a_replay_is_that_of_its_costs() -> None:
    dear = replace(WORLD, costs=np.tile([3.0, 4.0], (60, 1)))

    assert engine_prices(WORLD) == {WEAK: (0.1, 0.1), STRONG: (1.0, 1.0)}
    ratio = engine_prices(dear)[WEAK][0] / engine_prices(dear)[STRONG][0]
    assert ratio == pytest.approx(3.0 / 4.0, rel=0.01)
    shadows = [stream(table).calls[WEAK, "shadow"].sum() for table in (WORLD, dear)]
    assert shadows[1] < shadows[0], "a dear weak model is tried less often"


def test_net_saving_pays_every_call(file: Path) -> None:
    options = ("online", file, *COLUMNS, "--shuffles", "2", "--quality", "0.9")
    flat = facts_of(*options, "--price", "weak=1", "--price", "large=4")
    calls = {name: 60 * count for name, count in flat["calls"].items()}
    spent = sum(count * (1.0 if name.startswith("weak") else 4.0) for name, count in calls.items())

    assert flat["facts"]["cost_unit"] == "USD"
    assert flat["always_strong"] == pytest.approx(240.0)
    assert flat["spent"] == pytest.approx(spent)
    assert flat["net_saved"]["value"] == pytest.approx(1.0 - spent / 240.0)
    assert flat["net_cost"]["value"] == pytest.approx(spent / 240.0)
    rivals = {rival["name"]: rival["net_saved"] for rival in flat["rivals"]}
    assert rivals["weak only"] == pytest.approx(0.75)
    assert rivals["strong only"] == pytest.approx(0.0)
    assert "USD spent" in run(*options, "--price", "weak=1", "--price", "large=4")


def test_a_ratio_stands_in_for_prices(file: Path) -> None:
    options = ("online", file, *COLUMNS, "--shuffles", "1")

    assert "0.25 of a strong call" in run(*options, "--weak-ratio", "0.25")
    assert facts_of(*options, "--weak-ratio", "0.25")["facts"]["weak_cost"] == 0.25
    assert "either --price" in refused(*options, "--weak-ratio", "0.25", "--price", "weak=1")


def test_stages_and_memories_pay_weak_calls_too() -> None:
    found = stages(WORLD, stages=2, shuffles=1, policy="paper", learning_budget=None).runs[0]

    for each in found:
        weak, strong = each.of(WEAK).sum(), each.of(STRONG).sum()
        assert each.net_saved() == pytest.approx(1.0 - (strong + 0.1 * weak) / 60.0)


# --- models that are exchanged --------------------------------------------------------------------------------------


def test_a_weak_model_that_is_the_better_one_is_warned_of(file: Path, tmp_path: Path) -> None:
    exchanged = ("--weak", "large_correct", "--strong", "small_correct", "--embedder", "hashing", "--shuffles", "1")

    result = invoke("online", file, *exchanged, "--json")

    assert "rar: warning: The weak model 'large_correct' scores better (1.000)" in result.stderr
    assert json.loads(result.stdout)["facts"]["warnings"] != []
    assert "Warning: The weak model" in run("online", file, *exchanged)
    assert facts_of("online", file, *COLUMNS, "--shuffles", "1")["facts"]["warnings"] == []


def test_a_weak_model_that_is_dearer_is_warned_of(file: Path) -> None:
    shown = run("online", file, *COLUMNS, "--shuffles", "1", "--price", "weak=2", "--price", "strong=1")

    assert "costs more (2) than one of the strong model (1)" in shown


# --- floors ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_several_floors_are_one_table_and_one_curve(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    options = ("online", file, *COLUMNS, "--shuffles", "1", "--quality", "0.95,0.8", "--quality", "0.9")

    shown = run(*options, "--out", tmp_path / "out")
    floors = facts_of(*options)["floors"]

    assert [floor["floor"] for floor in floors] == [0.8, 0.9, 0.95]
    for part in ("asked for", "80.0%", "90.0%", "95.0%", "net saving"):
        assert part in shown
    assert "Beside other routers" not in shown, "that is in the report"
    assert (tmp_path / "out" / "floors.png").read_bytes().startswith(b"\x89PNG")
    report = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert report.count("Beside other routers") == 3
    assert "(floors.png)" in report
    assert (tmp_path / "out" / "learning_curve_0.8.png").is_file()
    assert json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))["floors"][0]["floor"] == 0.8
    each = facts_of("online", file, *COLUMNS, "--shuffles", "1", "--quality", "0.8")
    assert {**each, "rivals": None} == {**floors[0], "rivals": None}, "a floor is as it would be alone"


def test_static_tells_the_calls_of_each_floor(file: Path) -> None:
    options = ("static", file, *COLUMNS, "--splits", "1", "--quality", "0.9,0.99")

    assert "calls for 99.0%" in run(*options)
    rows = {row["name"]: row["to_keep"] for row in facts_of(*options)["halves"]}
    assert rows["oracle"][0] < rows["oracle"][1]


def test_static_says_what_a_score_saves_net(file: Path) -> None:
    options = ("static", file, *COLUMNS, "--splits", "1", "--quality", "1", "--price", "weak=1", "--price", "strong=4")

    (row,) = [row for row in facts_of(*options)["halves"] if row["name"] == "oracle"]

    calls = row["to_keep"][0]
    assert 0.3 < calls < 0.7, "the riddles"
    assert row["net_saved"][0] == pytest.approx(1.0 - (4.0 * calls + (1.0 - calls)) / 4.0)


@pytest.mark.parametrize("quality", ["95%", "95", "0", "high", "0.9,"])
def test_what_is_no_share_is_refused_before_anything_is_read(quality: str, tmp_path: Path) -> None:
    said = refused("online", tmp_path / "none.csv", *COLUMNS, "--quality", quality)

    assert "--quality" in said and quality.strip(",") in said


def test_stages_take_one_floor(file: Path) -> None:
    assert "takes one --quality" in refused("stages", file, *COLUMNS, "--quality", "0.9,0.95")


# --- windows --------------------------------------------------------------------------------------------------------


def fallen(n: int = 1_200, start: int = 300, end: int = 450) -> Online:
    """A stream whose second half is perfect, and in which the weak model failed for a while before."""
    rows = np.arange(n)
    weak = ((rows < start) | (rows >= end)).astype(float)
    table = Table.of_scores(tuple(map(str, rows)), weak, np.ones(n))
    counts = {(WEAK, "serve"): np.ones(n, np.int64)}
    served = Run(table, rows, np.full(n, WEAK), counts, np.full(n, 0.9), ("likely_weak",) * n)
    return Online(table, 0.95, (served,))


def test_a_floor_that_broke_before_the_second_half_is_not_kept() -> None:
    result = fallen()

    found = summarise_online(result, samples=20)

    assert result.second_half.min() == 1.0
    assert not found.floor_kept
    assert found.worst_window.shuffle == 1
    assert (found.worst_window.first, found.worst_window.last) == (301, 450)
    assert found.worst_window.quality.value == 0.0
    text = "\n".join(cell for sheet in sheets(found) for row in sheet.rows for cell in row)
    assert "questions 301 to 450 of shuffle 1" in text
    assert "NOT kept, in the worst window" in text


def test_a_few_bad_answers_are_chance() -> None:
    result = fallen(start=300, end=309)

    assert result.second_half.min() == 1.0
    assert Window.worst(result).kept
    assert Window.worst(result).quality.value < 0.95
    assert summarise_online(result, samples=20).floor_kept


def test_a_window_is_an_eighth_of_a_stream_within_bounds() -> None:
    assert [window_of(n) for n in (3, 60, 500, 4_000, 100_000)] == [3, 60, 100, 500, 1_000]


def test_the_worst_window_is_that_of_the_worst_run() -> None:
    values = np.ones((3, 500))
    values[1, 40:60] = 0.0

    run, end, quality = worst_window(values, np.ones((3, 500)), 100)

    assert run == 1
    assert 60 <= end <= 139
    assert quality.value == pytest.approx(0.8)
    plain = over_time(values[1], np.ones(500), 100)
    assert quality.high > plain.high[end - 1], "the interval holds for all windows together"


def test_a_stream_of_one_question_has_a_window() -> None:
    run, end, quality = worst_window(np.ones((1, 1)), np.ones((1, 1)), window_of(1))

    assert (run, end, quality.value) == (0, 1, 1.0)


# --- interruption ---------------------------------------------------------------------------------------------------


def interrupted(after: int, patch: pytest.MonkeyPatch) -> list[str]:
    """Let the replay stop as by Ctrl-C after so many streams; what was streamed by then on."""
    from rar.evaluation import replay

    real: Callable[..., Run] = replay.stream
    streamed: list[str] = []

    def stop(*args: Any, **options: Any) -> Run:
        if len(streamed) == after:
            raise KeyboardInterrupt
        streamed.append(options["what"])
        return real(*args, **options)

    patch.setattr(replay, "stream", stop)
    return streamed


@pytest.mark.slow
def test_an_interrupted_replay_goes_on_where_it_was(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    options = ("online", file, *COLUMNS, "--shuffles", "3", "--quality", "0.8,0.9", "--out", tmp_path / "out", "--json")
    whole = run(*options[:-3], "--json")
    with monkeypatch.context() as patch:
        interrupted(4, patch)
        stopped = invoke(*options)
    assert stopped.exit_code == 130
    assert "4 finished parts are kept" in stopped.stderr
    assert "The same command goes on from there" in stopped.stderr

    with monkeypatch.context() as patch:
        streamed = interrupted(99, patch)
        resumed = invoke(*options)

    assert len(streamed) == 9 - 4
    assert "4 of 9 parts were finished before" in resumed.stderr
    assert resumed.stdout == whole
    assert not (tmp_path / "out" / FOLDER).exists()


@pytest.mark.slow
def test_parts_of_other_rows_or_options_are_not_taken(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    options = ("--shuffles", "2", "--out", tmp_path / "out")
    changed = written(tmp_path / "changed.csv", replace(WORLD, scores=np.stack([1.0 - WORLD.weak, WORLD.strong], 1)))
    for args, again in (
        ((file, "--quality", "0.9"), 4),
        ((file, "--seed", "7"), 4),
        ((file, "--weak-ratio", "0.5"), 4),
        ((changed,), 4),
        ((file,), 1),
    ):
        with monkeypatch.context() as patch:
            interrupted(3, patch)
            assert invoke("online", file, *COLUMNS, *options).exit_code == 130
        with monkeypatch.context() as patch:
            streamed = interrupted(99, patch)
            assert invoke("online", args[0], *COLUMNS, *options, *args[1:]).exit_code == 0
        assert len(streamed) == again, args


def test_a_damaged_part_is_made_anew(tmp_path: Path) -> None:
    first = Checkpoint(tmp_path / "parts", "x")
    first.part(("a",), lambda: {"n": np.arange(3)})
    (file,) = (tmp_path / "parts").iterdir()
    file.write_bytes(file.read_bytes()[:40])

    again = Checkpoint(tmp_path / "parts", "x")

    assert again.part(("a",), lambda: {"n": np.arange(4)})["n"].tolist() == [0, 1, 2, 3]
    assert again.resumed == 0


@pytest.mark.parametrize("kind", ["online", "stages", "static"])
def test_what_is_read_from_a_checkpoint_is_what_was_found(kind: str, tmp_path: Path) -> None:
    def found(checkpoint: Checkpoint) -> Any:
        if kind == "static":
            table = replace(WORLD, groups=WORLD.groups)
            return summarise_static(static(table, splits=2, checkpoint=checkpoint), samples=10).as_dict()
        if kind == "stages":
            runs = stages(WORLD, stages=2, shuffles=2, checkpoint=checkpoint).runs
            return [run.arrays() for shuffle in runs for run in shuffle]
        return summarise_online(replay_online(WORLD, shuffles=2, checkpoint=checkpoint), samples=10).as_dict()

    first, second = Checkpoint(tmp_path / "parts"), Checkpoint(tmp_path / "parts")

    np.testing.assert_equal(found(first), found(second))
    assert (first.resumed, second.resumed) == (0, second.kept)
    assert second.kept > 0
    np.testing.assert_equal(found(Checkpoint()), found(second))


def test_without_out_an_interruption_says_how_to_be_able_to_go_on(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(1, monkeypatch)

    stopped = invoke("online", file, *COLUMNS)

    assert stopped.exit_code == 130
    assert "With --out DIR" in stopped.stderr


def test_out_is_checked_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "notes").write_text("mine", "utf-8")
    missing = tmp_path / "none.csv"

    for command in ("online", "static", "stages"):
        asked = (command, missing, *COLUMNS, "--out")
        assert "is a file" in refused(*asked, tmp_path / "notes")
        assert "is a file" in refused(*asked, tmp_path / "notes" / "deep")
        assert "named like a file" in refused(*asked, tmp_path / "report.html")
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "not writable" in refused("memory", missing, "--out", tmp_path / "out")
    assert (tmp_path / "notes").read_text("utf-8") == "mine"


# --- a router on its own rows ---------------------------------------------------------------------------------------


@pytest.fixture
def half(file: Path, tmp_path: Path) -> Path:
    """A router that was fitted to every other row."""
    table = read_table(file, weak="small_correct", strong="large_correct")
    return TfidfRouter().fit(table.take(range(0, 60, 2))).save(tmp_path / "half")


@pytest.mark.slow
def test_a_router_on_its_own_rows_is_said_so_everywhere(file: Path, half: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for command, options in (("static", ("--splits", "1")), ("online", ("--shuffles", "1"))):
        asked = (command, file, *COLUMNS, *options, "--router", half)
        facts, shown = facts_of(*asked), run(*asked, "--out", tmp_path / "out")
        (own,) = facts["own_rows"] if command == "static" else [facts["own_rows"]]

        assert own["share"] == 0.5
        assert str(half) in own["router"]
        for text in (shown, (tmp_path / "out" / "report.md").read_text("utf-8")):
            assert "was fitted to 50.0% of these questions" in text
    assert "(own rows)" in run("static", file, *COLUMNS, "--splits", "1", "--router", half)
    several = run("online", file, *COLUMNS, "--shuffles", "1", "--router", half, "--quality", "0.8,0.9")
    assert "was fitted to 50.0% of these questions" in several


def test_a_router_on_other_rows_is_not_spoken_of(file: Path, tmp_path: Path) -> None:
    other = TfidfRouter().fit(replace(WORLD, texts=tuple(f"Other {n}" for n in range(60)))).save(tmp_path / "other")

    shown = run("static", file, *COLUMNS, "--splits", "1", "--router", other, "--router", "tfidf")

    assert "own rows" not in shown.lower()


def test_an_older_router_says_that_nobody_knows(file: Path, half: Path) -> None:
    with np.load(half / "weights.npz") as arrays:
        older = {name: arrays[name] for name in arrays.files if name != saving.SKETCH}
    np.savez(half / "weights.npz", **older)

    assert load(half).saw(WORLD.texts) is None
    asked = ("static", file, *COLUMNS, "--splits", "1", "--router", half)
    assert "does not say which rows it was fitted to" in run(*asked)
    assert facts_of(*asked)["own_rows"] == [{"router": f"tfidf of {half}", "share": None}]


def test_a_router_fitted_to_the_half_that_is_not_asked_saw_no_question(file: Path) -> None:
    assert facts_of("online", file, *COLUMNS, "--shuffles", "1", "--router", "tfidf")["own_rows"]["share"] == 0.0


def test_notes_are_for_those_who_saw_or_may_have() -> None:
    found = own_notes([None, OwnRows("a", 0.0), OwnRows("b", 0.25), OwnRows("c", None)])

    assert [note.split()[2] for note in found] == ["b", "c"]


def test_several_floors_have_the_facts_of_one() -> None:
    one = summarise_online(replay_online(WORLD, shuffles=1), samples=10)

    assert FloorsSummary((one, one)).facts == one.facts
