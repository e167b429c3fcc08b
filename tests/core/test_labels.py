"""Labels: what grades say of a judge, how gaps are corrected by them, and how little by few."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rar import Router
from rar.cli.commands import app
from rar.errors import ClosedError, ConfigurationError, UnknownDecisionError
from rar.evidence import Evidence, Standing
from rar.labelling import Line, lines_of, read_sheet, weak_first, write_sheet
from rar.learning.labels import LOOK, NONE, Corrections, correction, errors, reference_quality
from rar.learning.pairs import Pair, Pairs, pair_of
from rar.learning.policy import FloorPolicy, Judged
from rar.memory import SQLiteMemory
from rar.memory.base import Batch, DecisionRecord, Label
from rar.memory.forgetting import Gone
from rar.values import STRONG, WEAK, Arm, Experience, Match, Route, Tally
from tests.core.test_facts import STORED
from tests.core.test_policy import NOWHERE
from tests.core.world import Scripted, easy, harbour, pair, serve


def label(judged: float, weak: float, strong: float, *, n: int = 0, **fields: object) -> Label:
    whole = Label(f"d{n}", "default", "e", "small-1", "big-1", "letter", judged, weak, strong, float(n))
    return replace(whole, **fields)  # type: ignore[arg-type]


def world(count: int, passes: float, refuses: float, *, seed: int = 0, odd: float = 2.0) -> list[Label]:
    """Labels of a judge that errs by chance. Refusals are labelled more often, and weighted less."""
    chance, found = random.Random(seed), []
    while len(found) < count:
        expected = chance.uniform(0.0, 0.5)
        worse = chance.random() < expected
        refused = chance.random() < (1.0 - passes if worse else refuses)
        if refused or chance.random() < 1.0 / odd:
            seen = (1.0 - passes) * expected + refuses * (1.0 - expected)
            weight = 1.0 if refused else odd
            found.append(label(float(refused), 1.0 - worse, 1.0, n=len(found), expected=seen, weight=weight))
    return found


# --- the correction ---------------------------------------------------------------------------------------------------


def test_without_labels_a_gap_is_what_the_judge_says() -> None:
    assert correction([]) == NONE
    assert [NONE(gap) for gap in (-1.0, 0.3, 1.0)] == [NONE.given(gap) for gap in (-1.0, 0.3, 1.0)] == [-1.0, 0.3, 1.0]
    assert reference_quality([], 0.9) == 0.9


@pytest.mark.parametrize(("passes", "refuses"), [(0.1, 0.1), (0.2, 0.0), (0.0, 0.2)])
@pytest.mark.parametrize("true", [0.05, 0.25, 0.45])
def test_many_labels_undo_what_a_judge_does(passes: float, refuses: float, true: float) -> None:
    found = correction(world(4_000, passes, refuses))

    assert found((1.0 - passes) * true + refuses * (1.0 - true)) == pytest.approx(true, abs=0.06)


def test_a_judge_that_is_right_is_left_alone() -> None:
    found = correction(world(500, 0.0, 0.0))

    assert all(found(gap) == pytest.approx(gap, abs=0.01) for gap in (0.0, 0.2, 0.5))
    assert found.given(1.0) == pytest.approx(1.0, abs=0.01)


def test_few_labels_correct_little() -> None:
    refused_good = [label(1.0, 1.0, 1.0, n=n) for n in range(3)]

    assert -0.3 < correction(refused_good)(1.0) - 1.0 < -0.1
    assert 0.8 < reference_quality([label(0.0, 0.0, 0.0, n=n) for n in range(2)], 1.0) < 0.9


def test_a_refusal_that_is_mostly_wrong_is_no_more_one() -> None:
    tallies = (Tally(None, "small-1", "big-1", 0, 1, False, 0.0),)
    same = Match(Experience("e", "default", "answer", "q", "s", NOWHERE, tallies), 1.0, same=True)
    believed = Standing(WEAK, "small-1", learned=0.4)
    both = [label(0.0, 1.0, 1.0, n=n, expected=0.4) for n in range(30)]
    better = correction(both + [label(1.0, 1.0, 0.0, n=n, expected=0.4) for n in range(30, 50)])
    known = Evidence("big-1", (believed,), matches=(same,), start=0.85)

    assert FloorPolicy().choose(known).reason == "memory_strong"
    told = replace(known, standings=(replace(believed, correction=better),))
    assert FloorPolicy().choose(told).model == WEAK


def test_what_is_served_loses_what_people_say_and_not_what_the_judge_does() -> None:
    passed = correction(world(2_000, 0.5, 0.0))
    standing = Standing(WEAK, "small-1", learned=0.1)
    route = Route(WEAK, reason="likely_weak", expected=0.1, guess=True)
    plain, told = (Evidence("big-1", (replace(standing, correction=one),), start=0.5) for one in (NONE, passed))

    assert FloorPolicy().expected.alone(told.standings[0], told)[0] == pytest.approx(0.2, abs=0.03)
    residuals = [
        FloorPolicy()
        .steps("default", known, replace(route, instead_of=Arm(WEAK), model=STRONG), Judged(1.0))[1]
        .residual
        for known in (plain, told)
    ]
    assert residuals[0] == pytest.approx(0.9)
    assert residuals[1] == pytest.approx(passed(1.0) - 0.1)


# --- what is said of the judge ----------------------------------------------------------------------------------------


def test_a_judges_errors_are_told_each_way_with_intervals() -> None:
    passed = [label(0.0, n < 9, 1.0, n=n) for n in range(10)]
    refused = [label(1.0, n < 4, 1.0, n=n) for n in range(10)] + [label(1.0, 1.0, 0.0)] * 10

    found = errors(passed + refused)

    assert found.labels == 30
    assert found.wrong_agreements is not None and found.wrong_agreements.value == pytest.approx(0.1)
    assert found.wrong_differences is not None and found.wrong_differences.value == pytest.approx(0.7)
    assert found.wrong_differences.low < 0.55 < 0.7 < found.wrong_differences.high
    assert found.strong is not None and found.strong.value == pytest.approx(2 / 3)
    assert found.better is not None and found.better.value == pytest.approx(1 / 3)
    assert errors([]).wrong_agreements is None


def test_weights_say_what_a_label_stands_for() -> None:
    labels = [label(0.0, 0.0, 1.0, weight=3.0), label(0.0, 1.0, 1.0, weight=1.0)]

    assert errors(labels).wrong_agreements.value == pytest.approx(0.75)  # type: ignore[union-attr]


def test_labels_of_another_process_count_before_long(tmp_path: Path) -> None:
    now = [0.0]
    with SQLiteMemory(tmp_path / "rar.db") as memory:
        found = Corrections(memory, lambda: now[0])
        assert found.of("default", "small-1", "big-1") == NONE
        memory.write(Batch(labels=tuple(label(1.0, 1.0, 0.5, n=n) for n in range(20))))

        assert found.of("default", "small-1", "big-1") == NONE
        now[0] = LOOK
        assert found.of("default", "small-1", "big-1").labels == 20
        assert found.of("default", "other", "big-1") == found.of("elsewhere", "small-1", "big-1") == NONE
        assert found.reference("default", "big-1", 1.0) == pytest.approx((20 * 0.5 + 10) / 30)
        assert found.reference("default", "other", 1.0) == 1.0


# --- pairs at hand ----------------------------------------------------------------------------------------------------


def a_pair(id: str, judged: float, *, drawn: bool = True, **fields: object) -> Pair:
    whole = Pair(id, "default", f"e{id}", WEAK, "small-1", "big-1", "letter", judged, 0.2, drawn, question="q")
    return replace(whole, **fields)  # type: ignore[arg-type]


def test_a_sample_has_both_verdicts_and_weights_that_add_up_to_what_was_judged() -> None:
    pairs = Pairs(seed=0)
    for n in range(80):
        pairs.add(a_pair(f"a{n}", 0.0))
    for n in range(20):
        pairs.add(a_pair(f"d{n}", 1.0))

    found = pairs.sample("default", 20)

    assert len(found) == len({pair.decision_id for pair in found}) == 20
    assert sum(pair.agreed for pair in found) == 10
    assert sum(pair.weight for pair in found if pair.agreed) == pytest.approx(0.8 * 20)
    assert pairs.sample("elsewhere", 20) == pairs.sample("default", 0) == []
    assert len(pairs.sample("default", 1_000)) == 100


def test_pairs_that_were_graded_or_deleted_are_let_go() -> None:
    pairs = Pairs(seed=0)
    for id in ("a", "b", "c"):
        pairs.add(a_pair(id, 0.0))

    pairs.drop("a")
    pairs.forget(Gone(b"s", frozenset(["eb"])))

    assert [pair.decision_id for pair in pairs.sample("default", 9)] == ["c"]
    assert pairs.get("a") is None


# --- through the router -----------------------------------------------------------------------------------------------


def always(id: str, text: str) -> Scripted:
    return Scripted(id, lambda call: text)


def router_of(tmp_path: Path, **options: object) -> Router:
    given = {"memory": tmp_path / "rar.db", "embedder": "hashing", "learning": "inline", "judge": "number", "seed": 0}
    return Router(**{**given, **options})  # type: ignore[arg-type]


def test_a_person_grades_what_is_at_hand_and_the_memory_keeps_the_grades_alone(tmp_path: Path) -> None:
    models = pair()
    with router_of(tmp_path) as router:
        for n in range(3):
            serve(router, models, easy(n))
        serve(router, models, harbour(7))
        pairs = router.to_label(2)
        assert {one.judged for one in pairs} == {0.0, 1.0}
        for one in pairs:
            router.label(one.decision_id, weak=1.0, strong=0.5, weight=one.weight)

        kept = router.memory.labels()  # type: ignore[union-attr]
        assert [(one.weak, one.strong, one.judge) for one in kept] == [(1.0, 0.5, "number")] * 2
        assert {one.judged for one in kept} == {0.0, 1.0}
        assert all(one.decision_id not in {pair.decision_id for pair in pairs} for one in router.to_label(9))


def test_a_decision_of_another_process_is_labelled_by_its_id(tmp_path: Path) -> None:
    models = pair()
    with router_of(tmp_path) as router:
        decision, _ = serve(router, models, harbour(7))

    with router_of(tmp_path) as router:
        assert router.to_label() == []
        router.label(decision.id, weak=1.0, strong=1.0)
        (kept,) = router.memory.labels()  # type: ignore[union-attr]

    assert (kept.weak_id, kept.strong_id, kept.judged, kept.gap) == ("small-1", "big-1", 1.0, 0.0)
    assert kept.experience_id


def test_what_cannot_be_labelled_is_said(tmp_path: Path) -> None:
    models = pair()
    with router_of(tmp_path, learning="off") as router:
        decision, _ = serve(router, models, easy(1))
        with pytest.raises(ConfigurationError, match="was not judged"):
            router.label(decision.id, weak=1.0, strong=1.0)
        with pytest.raises(ConfigurationError, match="weak="):
            router.label(decision.id, weak=2.0, strong=1.0)
        with pytest.raises(UnknownDecisionError):
            router.label("nothing", weak=1.0, strong=1.0)
    with pytest.raises(ClosedError):
        router.label(decision.id, weak=1.0, strong=1.0)
    with router_of(tmp_path, memory=None) as router, pytest.raises(ConfigurationError, match="memory"):
        router.label(decision.id, weak=1.0, strong=1.0)


def test_nothing_is_at_hand_where_no_text_may_be_kept(tmp_path: Path) -> None:
    with router_of(tmp_path, store_text=False) as router:
        serve(router, pair(), easy(1))

        assert router.to_label() == []


def test_labels_go_with_the_question_that_they_are_about(tmp_path: Path) -> None:
    with router_of(tmp_path) as router:
        serve(router, pair(), easy(1))
        (one,) = router.to_label()
        router.label(one.decision_id, weak=1.0, strong=1.0)
        serve(router, pair(), easy(2))
        (other,) = router.to_label()

        router.memory.delete(ids=[one.experience_id, other.experience_id])  # type: ignore[union-attr]

        assert router.memory.labels() == []  # type: ignore[union-attr]
        assert router.to_label() == []


def test_a_weak_model_that_is_better_is_used(tmp_path: Path) -> None:
    """Where the strong model is wrong, a judge that compares refuses the right answer."""
    models = {"weak": always("small-1", "4"), "strong": always("big-1", "5")}
    with router_of(tmp_path, guides=False, audit_rate=0.0) as router:
        served = [serve(router, models, easy(n))[0].model for n in range(60)]
        assert set(served) == {STRONG}
        for one in router.to_label(40):
            router.label(one.decision_id, weak=1.0, strong=0.0, weight=one.weight)

        served = [serve(router, models, easy(n))[0].model for n in range(100, 140)]

    assert served.count(WEAK) > 30


def test_statistics_tell_the_judges_errors_and_what_they_make_of_the_quality_that_was_kept(tmp_path: Path) -> None:
    models = {"weak": always("small-1", "4"), "strong": always("big-1", "4")}
    with router_of(tmp_path, guides=False, audit_rate=0.5, judge=["json", "number"]) as router:
        for n in range(80):
            serve(router, models, easy(n))
        before = router.stats().judge
        for one in router.to_label(30):
            router.label(one.decision_id, weak=0.0, strong=1.0, weight=one.weight)
        after = router.stats().judge
        served = router.stats().savings

    assert before is not None and after is not None
    assert before.kept == before.kept_corrected == after.kept == 1.0
    assert (before.undecided, before.errors.labels, after.errors.labels) == (0.0, 0, 30)
    weak = 1.0 - served.served_strong / served.served
    assert after.kept_corrected == pytest.approx(1.0 - weak, abs=0.3 * weak)
    assert after.errors.wrong_agreements is not None and after.errors.wrong_agreements.value == 1.0


# --- the command line -------------------------------------------------------------------------------------------------


def test_a_person_grades_a_sheet_at_the_prompt_and_the_memory_learns_it(tmp_path: Path) -> None:
    models = pair()
    with router_of(tmp_path) as router:
        for n in range(3):
            serve(router, models, easy(n))
        write_sheet(tmp_path / "sheet.csv", lines_of(router.to_label(3)))
    command = ["judge", "label", str(tmp_path / "sheet.csv"), str(tmp_path / "rar.db")]

    half = CliRunner().invoke(app, command, input="what\nb\nq\n")
    assert half.exit_code == 0, half.output
    assert "that is none of these" in half.output
    assert "1 of 3 pairs" in half.output
    rest = CliRunner().invoke(app, [*command, "--json"], input="1\n0.5 0.25\n")
    assert rest.exit_code == 0, rest.output

    grades = [line.grades for line in read_sheet(tmp_path / "sheet.csv")]
    assert grades == [(1.0, 1.0), (1.0, 0.0), (0.5, 0.25)]
    with SQLiteMemory(tmp_path / "rar.db") as memory:
        kept = {one.decision_id: (one.weak, one.strong) for one in memory.labels()}
    lines = read_sheet(tmp_path / "sheet.csv")
    assert kept == {line.decision_id: line.weak_and_strong for line in lines}
    shown = CliRunner().invoke(app, ["judge", "show", str(tmp_path / "rar.db")])
    assert "says good, weak is worse" in shown.output and "of 3" in shown.output


def test_a_sheet_that_was_filled_in_is_read_without_asking(tmp_path: Path) -> None:
    with router_of(tmp_path) as router:
        serve(router, pair(), easy(1))
        (line,) = lines_of(router.to_label())
    strange = replace(line, decision_id="of another memory", grades=(1.0, 1.0))
    write_sheet(tmp_path / "sheet.csv", [replace(line, grades=(1.0, 0.0)), strange])

    found = CliRunner().invoke(
        app, ["judge", "label", "--read", "--json", str(tmp_path / "sheet.csv"), str(tmp_path / "rar.db")]
    )

    assert found.exit_code == 0
    assert json.loads(found.stdout)["stored"] == json.loads(found.stdout)["errors"]["labels"] == 1
    assert "1 pairs are of decisions that" in found.stderr


# --- sheets -----------------------------------------------------------------------------------------------------------


def test_a_sheet_is_read_back_as_it_was_filled_in(tmp_path: Path) -> None:
    lines = lines_of([a_pair("a", 0.0, weak='w,\n"w"', strong="s", weight=0.5), a_pair("b", 1.0, weak="w", strong="s")])
    assert [set(line.answers) for line in lines] == [{'w,\n"w"', "s"}, {"w", "s"}]
    lines[1] = replace(lines[1], grades=(1.0, 0.25))

    write_sheet(tmp_path / "sheet.csv", lines)

    assert read_sheet(tmp_path / "sheet.csv") == lines
    assert lines[1].weak_and_strong == ((1.0, 0.25) if weak_first("b") else (0.25, 1.0))
    assert lines[0].weak_and_strong is None


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "-1", "@a", "'quoted'", "'", "", "'=1"])
def test_no_answer_is_a_formula_to_a_spreadsheet(tmp_path: Path, text: str) -> None:
    (line,) = lines_of([a_pair("a", 0.0, weak=text, strong=text)])
    write_sheet(tmp_path / "sheet.csv", [line])

    written = (tmp_path / "sheet.csv").read_text().splitlines()[1].split(",")[3]
    assert not written.startswith(("=", "-", "@"))
    assert read_sheet(tmp_path / "sheet.csv") == [line]


def test_which_answer_comes_first_is_chance() -> None:
    assert 40 < sum(Line(str(n), 1.0, "", ("", "")).weak_first for n in range(100)) < 60


@pytest.mark.parametrize("grades", ["1,", ",0", "2,1", "yes,no", "nan,1"])
def test_a_grade_that_is_none_is_named_by_its_line(tmp_path: Path, grades: str) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(
        f"decision_id,weight,question,first answer,second answer,first grade,second grade\nd,1,q,a,b,{grades}\n"
    )

    with pytest.raises(ConfigurationError, match="line 2: a grade is a number from 0 to 1"):
        read_sheet(sheet)


def test_a_file_that_is_no_sheet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")

    with pytest.raises(ConfigurationError, match="is no sheet of pairs"):
        read_sheet(tmp_path / "other.csv")


def test_a_stored_decision_of_an_older_version_tells_its_pair() -> None:

    found = pair_of(DecisionRecord("d", "default", 1.0, "e", None, "weak", STORED))

    assert found is not None
    assert (found.weak_id, found.strong_id, found.judged, found.drawn) == ("small", "large", 0.0, False)
