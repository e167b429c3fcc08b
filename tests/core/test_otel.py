"""OpenTelemetry: every name is pinned, spans are in their places, and no text is told unless asked for."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import context, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

from rar import Router
from rar.integrations.otel import NAMES
from rar.strategies import Cascade
from rar.turn import Turn
from rar.values import Usage
from tests.core.world import easy, harbour, pair, serve, teach_harbours
from tests.otel import Telemetry, attributes

MakeRouter = Callable[..., Router]

GENAI = {  # the GenAI conventions of 2026, github.com/open-telemetry/semantic-conventions-genai
    "gen_ai.operation.name",
    "gen_ai.memory.store.id",
    "gen_ai.memory.record.id",
    "gen_ai.memory.record.count",
    "gen_ai.memory.query.text",
    "gen_ai.evaluation.name",
    "gen_ai.evaluation.score.value",
    "gen_ai.evaluation.score.label",
}
OURS = {
    "rar.decision_id", "rar.namespace", "rar.task", "rar.model", "rar.arm", "rar.guide_id", "rar.reason", "rar.audit",
    "rar.drafts", "rar.confidence", "rar.needed", "rar.quality.floor", "rar.policy", "rar.policy.version",
    "rar.cost.expected_usd", "rar.saving.expected_usd", "rar.cost.usd", "rar.cost.strong_usd", "rar.saving.usd",
    "rar.failed_over", "rar.evaluation.of", "rar.judge",
}  # fmt: skip


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.close()


@pytest.fixture
def router(tmp_path: Path, telemetry: Telemetry) -> Iterator[MakeRouter]:
    made: list[Router] = []

    def make(**options: Any) -> Router:
        usual: dict[str, Any] = {
            "memory": tmp_path / "rar.db", "embedder": "hashing", "learning": "inline", "learning_budget": None,
            "seed": 1, "near": 0.3, "prices": {"weak": (1.0, 1.0), "strong": (10.0, 10.0)},
            "observers": [telemetry.observer],
        }  # fmt: skip
        made.append(Router(**{**usual, **options}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_what_is_expected_follows_the_calls_before(router: MakeRouter, telemetry: Telemetry) -> None:
    asked = router(learning="off")
    for number in range(3):
        request = replace(easy(number), force="strong")
        decision = asked.decide(request, pair())
        expected = asked.ledger.expected_usd("default", "strong", "")
        asked.learn(
            decision, replace(pair()["strong"].call(decision.call), usage=Usage(1_000 * (number + 1), 10)), pair()
        )
        telemetry.observer.flush()

        (*_, span) = telemetry.named("rar.decide")
        assert span.attributes["rar.cost.expected_usd"] == pytest.approx(expected)


def test_a_deletion_is_a_trace_of_its_own_wherever_it_came_from(router: MakeRouter, telemetry: Telemetry) -> None:
    asked, beside = router(), router()  # two routers of one file, as two processes have it
    serve(asked, pair(), easy(1))
    assert asked.memory is not None and beside.memory is not None
    beside.memory.delete(namespace="default")
    serve(asked, pair(), easy(2))

    spans = telemetry.named("delete_memory")
    assert [span.attributes["gen_ai.operation.name"] for span in spans] == ["delete_memory"] * 2
    assert {span.attributes["gen_ai.memory.store.id"] for span in spans} == {asked.memory.where}
    assert all(span.parent is None for span in spans)


def test_every_name_is_one_of_these(router: MakeRouter, telemetry: Telemetry) -> None:
    asked = router()
    teach_harbours(asked, pair())  # type: ignore[arg-type]
    turn = Turn(asked, asked.decide(replace(easy(3), key=None), pair()))
    turn.router.failed(turn.decision, TimeoutError())
    turn.router.learn(turn.decision, pair()["strong"].call(turn.decision.call), pair())

    told = [*map(attributes, telemetry.spans), *map(attributes, telemetry.events)]
    names = {name for one in told for name in one}
    assert set(NAMES) == OURS
    assert names <= GENAI | OURS
    assert {span.name for span in telemetry.spans} == {"rar.decide", "search_memory", "upsert_memory", "create_memory"}
    assert {event.event_name for event in telemetry.events} == {"gen_ai.evaluation.result", "rar.served"}


def test_the_names_are_those_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")

    assert (
        set(re.findall(r"`(rar\.[a-z_.]+)`", page[: page.index("## Prometheus")])) - {"rar.decide", "rar.served"}
        == OURS
    )


def test_the_conventions_own_names_are_known_to_the_installed_package() -> None:
    known = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    values = {value for value in vars(known).values() if isinstance(value, str)}

    # Memory is newer than the last release of this package.
    assert {name for name in GENAI if not name.startswith("gen_ai.memory")} <= values


def test_a_decision_without_a_framework_is_a_span_with_the_search_under_it(
    router: MakeRouter, telemetry: Telemetry
) -> None:
    asked = router()
    decision, _ = serve(asked, pair(), harbour(3))  # type: ignore[arg-type]

    (decide,), (search,) = telemetry.named("rar.decide"), telemetry.named("search_memory")
    known = attributes(decide)
    assert known["rar.decision_id"] == decision.id
    assert (known["rar.model"], known["rar.arm"], known["rar.reason"]) == ("strong", "strong", "no_evidence")
    assert (known["rar.policy"], known["rar.quality.floor"]) == ("FloorPolicy", 0.95)
    assert known["rar.policy.version"] == asked.policy_version
    assert known["rar.cost.expected_usd"] > 0.0
    assert known["rar.saving.expected_usd"] == 0.0
    assert search.parent is not None and search.parent.span_id == decide.context.span_id
    assert decide.start_time <= search.start_time < search.end_time <= decide.end_time  # type: ignore[operator]
    assert attributes(search) == {
        "gen_ai.operation.name": "search_memory",
        "gen_ai.memory.store.id": asked.memory.where,  # type: ignore[union-attr]
        "gen_ai.memory.record.count": 0,
    }


def test_what_is_learned_is_told_in_the_trace_of_its_call(router: MakeRouter, telemetry: Telemetry) -> None:
    serve(router(), pair(), harbour(3))  # type: ignore[arg-type]

    (decide,), (upsert,), (create,) = map(telemetry.named, ("rar.decide", "upsert_memory", "create_memory"))
    for span in (upsert, create):
        assert span.parent is not None and span.parent.span_id == decide.context.span_id
        assert attributes(span)["gen_ai.memory.record.count"] == 1
    assert attributes(create)["gen_ai.memory.record.id"]
    served, *results = map(attributes, telemetry.events)
    assert served["rar.saving.usd"] == 0.0
    assert [(one["gen_ai.evaluation.score.label"], one["rar.arm"]) for one in results] == [
        ("fail", "weak"), ("pass", "weak+guide"), ("pass", "weak+guide"),
    ]  # fmt: skip
    assert {one["gen_ai.evaluation.name"] for one in results} == {"agreement"}
    assert {event.span_id for event in telemetry.events} == {decide.context.span_id}


def test_an_audit_is_a_result_of_the_served_answer(router: MakeRouter, telemetry: Telemetry) -> None:
    asked = router(audit_rate=1.0)
    for _ in range(4):
        serve(asked, pair(), easy(3))  # type: ignore[arg-type]

    served = [one for event in telemetry.events if (one := attributes(event)).get("rar.evaluation.of") == "served"]
    assert served
    assert all(one["rar.model"] == "weak" and one["gen_ai.evaluation.score.value"] == 1.0 for one in served)


def test_nothing_learned_is_no_write(router: MakeRouter, telemetry: Telemetry) -> None:
    asked = router(learning="off")
    serve(asked, pair(), harbour(3))  # type: ignore[arg-type]
    asked.flush()

    assert telemetry.named("upsert_memory") == []
    assert [event.event_name for event in telemetry.events] == ["rar.served"]


def test_without_a_memory_nothing_is_searched(router: MakeRouter, telemetry: Telemetry) -> None:
    serve(router(memory=None), pair(), harbour(3))  # type: ignore[arg-type]

    assert [span.name for span in telemetry.spans] == ["rar.decide"]


def test_a_span_of_the_users_own_is_described(router: MakeRouter) -> None:
    telemetry = Telemetry(span=trace.get_current_span)
    asked = router(memory=None, strategy=Cascade(lambda *_: False), observers=[telemetry.observer])
    with telemetry.provider.get_tracer("app").start_as_current_span("chat"):
        serve(asked, pair(), easy(3))  # type: ignore[arg-type]

    (span,) = telemetry.spans
    known = attributes(span)
    assert (known["rar.drafts"], known["rar.model"]) == (1, "strong")
    draft = known["rar.cost.usd"] - known["rar.cost.strong_usd"]
    assert draft > 0.0
    assert known["rar.saving.usd"] == pytest.approx(-draft)
    telemetry.close()


def test_who_answers_after_a_failure_is_told(router: MakeRouter) -> None:
    telemetry = Telemetry(span=trace.get_current_span)
    asked = router(memory=None, strategy=lambda _: "weak", observers=[telemetry.observer])
    with telemetry.provider.get_tracer("app").start_as_current_span("chat"):
        turn = Turn(asked, asked.decide(easy(3), pair()))
        for attempt in turn:
            with attempt:
                if attempt.decision.model == "weak":
                    raise TimeoutError
                reply = pair()["strong"].call(attempt.decision.call)
        asked.learn(turn.decision, reply, pair())

    known = attributes(telemetry.spans[0])
    assert (known["rar.model"], known["rar.failed_over"], known["rar.reason"]) == ("strong", ("weak",), "function")
    telemetry.close()


def test_no_text_is_told(router: MakeRouter, telemetry: Telemetry) -> None:
    asked = router()
    teach_harbours(asked, pair())  # type: ignore[arg-type]

    assert len(telemetry.spans) >= 10
    for word in ("harbour", "Use when", "Avoid"):
        assert word not in telemetry.told


def test_questions_are_told_where_they_are_asked_for(router: MakeRouter) -> None:
    telemetry = Telemetry(questions=True)
    asked = router(observers=[telemetry.observer], redact=lambda text: text.replace("harbour", "[place]"))
    serve(asked, pair(), harbour(3))  # type: ignore[arg-type]

    (search,) = telemetry.named("search_memory")
    assert "[place]" in attributes(search)["gen_ai.memory.query.text"]
    assert "harbour" not in telemetry.told
    telemetry.close()


def test_where_instrumentation_is_suppressed_nothing_is_told(router: MakeRouter, telemetry: Telemetry) -> None:
    asked = router(learning="off")
    token = context.attach(context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        serve(asked, pair(), harbour(3))  # type: ignore[arg-type]
    finally:
        context.detach(token)

    assert telemetry.spans == []


def test_a_policy_of_other_settings_has_another_version(router: MakeRouter) -> None:
    one, same, other = (router(memory=None, quality=quality) for quality in (0.9, 0.9, 0.95))

    assert one.policy_version == same.policy_version != other.policy_version


def test_it_is_shared_by_copies_and_made_anew_where_it_is_unpickled(telemetry: Telemetry) -> None:
    assert copy.deepcopy(telemetry.observer) is telemetry.observer
    assert isinstance(pickle.loads(pickle.dumps(telemetry.observer)), type(telemetry.observer))
