"""A rollout in steps: who has a part, when it goes on, when it goes back."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rar import Rollout, Router
from rar.cli.commands import app
from rar.errors import ConfigurationError
from rar.facts import AttemptFact, DecisionFacts, LearnedFacts
from rar.memory import open_memory
from rar.report import quality
from rar.rollout import STATE, move, seen_of, stage_in, verdict
from rar.values import question
from rar.words import AUDIT, DECIDED_CHEAPER, DECIDED_STRONG
from tests.core.world import Scripted, easy, pair, serve

QUICK = Rollout(stages=(0.0, 0.5, 1.0), audits=15, looks=1.0)


def router(memory: Any, rollout: Rollout = QUICK, **options: Any) -> Router:
    usual = {"embedder": "hashing", "learning": "inline", "seed": 0, "learning_budget": None, "quality": 0.8}
    return Router(memory=memory, rollout=rollout, **{**usual, **options})


def served(router: Router, models: Any, numbers: Any, **fields: Any) -> list[Any]:
    asked = (question(easy(n).key or "", **{name: value(n) for name, value in fields.items()}) for n in numbers)
    return [serve(router, models, one)[0] for one in asked]


def test_at_first_the_strong_model_answers_and_the_other_is_tried(tmp_path: Path) -> None:
    models = pair()
    with router(tmp_path / "rar.db", Rollout(audits=10_000, looks=1.0)) as asked:
        decisions = served(asked, models, [n % 12 for n in range(60)])

    assert {decision.model for decision in decisions} == {"strong"}
    held = [decision for decision in decisions if decision.choice.reason == "rollout"]
    assert len(held) >= 30
    assert all(decision.choice.instead_of is not None for decision in held)
    assert models["weak"].calls["audit"] + models["weak"].calls["shadow"] >= len(held)


def test_it_goes_on_as_audits_allow_and_stays_for_who_restarts(tmp_path: Path) -> None:
    models = pair()
    with router(tmp_path / "rar.db") as asked:
        served(asked, models, [n % 20 for n in range(300)])
        assert asked.memory is not None
        assert stage_in(asked.memory, "default", QUICK).share == 1.0

    with router(tmp_path / "rar.db") as asked:
        assert served(asked, models, [3])[0].model == "weak"


def test_it_goes_back_when_audits_fall_below_the_floor(tmp_path: Path) -> None:
    good, bad = pair(), {**pair(), "weak": Scripted("small-1", lambda call: "-1")}
    with router(tmp_path / "rar.db", audit_rate=0.5) as asked:
        assert asked.memory is not None
        move(asked.memory, "default", 1.0, 1.0)
        served(asked, good, range(12))
        served(asked, bad, [n % 12 for n in range(60)])
        assert stage_in(asked.memory, "default", QUICK).share == 1.0  # the policy keeps this floor by itself

    with router(tmp_path / "rar.db", quality=0.99) as stricter:
        served(stricter, good, range(100, 130))
        assert stricter.memory is not None
        assert stage_in(stricter.memory, "default", QUICK).share == 0.5


def test_a_conversation_keeps_its_part(tmp_path: Path) -> None:
    models = pair()
    half = Rollout(stages=(0.5, 1.0), audits=10_000, looks=0.0)
    with router(tmp_path / "rar.db", half) as asked:
        served(asked, models, range(10), thread=lambda n: "teacher")
        found: dict[int, set[str]] = {}
        for _ in range(3):
            for n in range(40):
                (decision,) = served(asked, models, [n % 10], thread=lambda _, n=n: f"thread {n}")
                if decision.choice.reason == "rollout" or decision.model == "weak":
                    found.setdefault(n, set()).add(decision.model)
    assert len(found) >= 35
    assert all(len(one) == 1 for one in found.values())
    assert 8 <= sum("weak" in one for one in found.values()) <= 32


def test_no_answer_of_a_strategy_slips_through(tmp_path: Path) -> None:
    from rar.strategies import Cascade

    models = pair()
    with router(tmp_path / "rar.db", strategy=Cascade(accept=lambda request, reply: True)) as asked:
        decision = served(asked, models, [1])[0]

    assert (decision.model, decision.choice.reason) == ("strong", "rollout")


async def test_an_event_loop_does_not_wait_for_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    with router(tmp_path / "rar.db") as asked:
        memory, models = asked.memory, pair()
        assert memory is not None
        known = memory.policy_state

        def looking(namespace: str, model: str = "") -> Any:
            looked.extend([threading.get_ident()] if model == STATE else [])
            return known(namespace, model)

        monkeypatch.setattr(memory, "policy_state", looking)
        for n in range(3):
            await asked.adecide(easy(n), models)

    assert len(looked) == 1  # and is kept for some seconds
    assert threading.get_ident() not in looked


def test_who_forces_a_model_gets_it(tmp_path: Path) -> None:
    models = pair()
    with router(tmp_path / "rar.db") as asked:
        (decision,) = served(asked, models, [1], force=lambda n: "weak")

    assert decision.model == "weak"


# ── what audits say ──


def facts(model: str, reason: str, gap: float | None = None, ok: bool | None = None) -> DecisionFacts:
    if model == "weak":
        learned = None if ok is None else LearnedFacts(audit_agreed=ok)
    else:
        learned = None if ok is None else LearnedFacts((AttemptFact("weak", None, ok, "exact", gap, drawn=True),))
    return DecisionFacts("d", model, reason=reason, audit=ok is not None, learned=learned)


def test_the_quality_is_that_of_all_if_all_had_a_part() -> None:
    # Half would get cheaper answers, of which a tenth are bad.
    stage = [facts("strong", "below_threshold")] * 100
    stage += [facts("strong", "rollout", ok=True)] * 45 + [facts("strong", "rollout", ok=False)] * 5
    stage += [facts("weak", "likely_weak")] * 50 + [facts("weak", "forced")] * 30

    seen = seen_of(stage)

    assert (seen.audits, seen.decided) == (50, 200)
    assert seen.quality is not None
    assert seen.quality.value == pytest.approx(0.95)
    assert seen.quality.low < 0.95 < seen.quality.high
    assert seen_of([]).quality is None


def test_the_report_and_the_rollout_speak_of_the_same_decisions() -> None:
    assert set(quality._KIND) - {AUDIT} == DECIDED_CHEAPER
    assert seen_of([facts("weak", reason) for reason in DECIDED_CHEAPER]).decided == len(DECIDED_CHEAPER)
    assert seen_of([facts("strong", reason) for reason in DECIDED_STRONG]).decided == len(DECIDED_STRONG)


def test_grades_count_as_what_they_say() -> None:
    seen = seen_of([facts("strong", "rollout", gap=0.25, ok=False)] * 80)

    assert seen.quality is not None
    assert seen.quality.value == pytest.approx(0.75)


def test_a_stage_is_judged_by_the_bounds_of_its_quality() -> None:
    good = seen_of([facts("strong", "rollout", ok=True)] * 200)
    bad = seen_of([facts("strong", "rollout", ok=False)] * 200)

    assert verdict(good, 0.95, 100, changed=False) == "promote"
    assert verdict(good, 0.95, 1_000, changed=False) == "stay"
    assert verdict(good, 0.95, 100, changed=True) == "back"
    assert verdict(bad, 0.95, 100, changed=False) == "back"
    assert verdict(seen_of([]), 0.95, 100, changed=False) == "stay"


@pytest.mark.parametrize(
    "wrong",
    [{"stages": ()}, {"stages": (0.5, 0.1)}, {"stages": (0.0, 2.0)}, {"audits": 0}, {"looks": -1.0}],
)
def test_what_cannot_work_is_said(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Rollout(**wrong)


def test_people_move_it_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "rar.db"
    with router(file, Rollout(audits=10_000)) as asked:
        served(asked, pair(), range(5))
        assert asked.memory is not None
    run = CliRunner()

    moved = run.invoke(app, ["rollout", str(file), "-n", "default", "--to", "0.25"])
    shown = json.loads(run.invoke(app, ["rollout", str(file), "--json"]).stdout)

    assert moved.exit_code == 0, moved.output
    assert "25%" in moved.output
    assert shown["default"]["share"] == 0.25
    assert run.invoke(app, ["rollout", str(file), "--to", "1"]).exit_code == 1
    memory = open_memory(file)
    move(memory, "default", 0.0, 10**10)
    assert stage_in(memory, "default", Rollout()).share == 0.0
    memory.close()
