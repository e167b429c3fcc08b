"""Observers: told of all that happens, in order, in no lock, and unable to cost anybody an answer."""

from __future__ import annotations

import json
import logging
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rar import Router, SQLiteMemory
from rar.errors import ConfigurationError, MemoryFullError
from rar.memory.base import ALARM, Batch, PolicyStep
from rar.observers import EVENTS, Alarmed, Called, Decided, Event, JsonLines, Learned, Moved, Observers, Stored, as_dict
from rar.strategies import Cascade
from rar.turn import Turn
from rar.values import question
from tests.core.world import Scripted, easy, harbour, pair, serve, teach_harbours
from tests.security.test_forks import in_child

MakeRouter = Callable[..., Router]


class Notebook:
    """Hears everything."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def decided(self, event: Decided) -> None:
        self.events.append(event)

    def called(self, event: Called) -> None:
        self.events.append(event)

    def learned(self, event: Learned) -> None:
        self.events.append(event)

    def stored(self, event: Stored) -> None:
        self.events.append(event)

    def moved(self, event: Moved) -> None:
        self.events.append(event)

    def alarmed(self, event: Alarmed) -> None:
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def router(tmp_path: Path, notebook: Notebook) -> Any:
    options: dict[str, Any] = {
        "embedder": "hashing", "learning": "inline", "learning_budget": None, "seed": 1, "near": 0.3,
        "prices": {"weak": (1.0, 1.0), "strong": (10.0, 10.0)}, "observers": [notebook],
    }  # fmt: skip
    made: list[Router] = []

    def make(**other: Any) -> Router:
        made.append(Router(**{"memory": tmp_path / "rar.db", **options, **other}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_one_request_is_told_in_its_order(router: MakeRouter, notebook: Notebook) -> None:
    decision, _ = serve(router(), pair(), harbour(3))  # type: ignore[arg-type]

    decided, served, *learning, learned, stored, moved = notebook.events
    assert isinstance(decided, Decided) and decided.facts.decision_id == decision.id
    assert isinstance(served, Called)
    assert (served.purpose, served.model, served.model_id, served.decision_id) == (
        "serve", "strong", "big-1", decision.id,
    )  # fmt: skip
    assert served.usage is not None and (served.usage.total, served.usd) == (120, pytest.approx(0.0012))
    assert {event.purpose for event in learning if isinstance(event, Called)} == {"shadow", "guide"}
    assert isinstance(learned, Learned) and learned.facts.learned is not None
    assert [attempt.ok for attempt in learned.facts.learned.attempts] == [False, True, True]
    assert isinstance(stored, Stored) and stored.decisions == (decision.id,)
    assert (stored.experiences, stored.guides, stored.trials) == (1, 1, 3) and stored.seconds > 0.0
    assert isinstance(moved, Moved) and moved.state.calls == 1


def test_what_recall_the_strategy_calls_and_lessons_take_is_told(router: MakeRouter, notebook: Notebook) -> None:
    asked = router()
    turn = Turn(asked, asked.decide(harbour(3), pair()))
    for attempt in turn:
        with attempt:
            reply = pair()["strong"].call(attempt.decision.call)
    asked.learn(turn.decision, reply, pair())

    (decided,), (served, *_), (learned,) = notebook.of(Decided), notebook.of(Called), notebook.of(Learned)
    assert decided.recall_seconds > 0.0 and decided.strategy_seconds > 0.0
    assert served.seconds is not None and served.seconds > 0.0
    assert learned.seconds > 0.0
    assert all(event.seconds is not None for event in notebook.of(Called))


def test_drafts_are_told_before_the_decision_and_an_accepted_one_is_what_is_served(
    router: MakeRouter, notebook: Notebook
) -> None:
    asked = router(memory=None, strategy=Cascade(lambda request, draft: draft.text != "-1"))

    asked.decide(harbour(3), pair())
    asked.decide(easy(3), pair())

    assert [(event.name, getattr(event, "purpose", None)) for event in notebook.events] == [
        ("called", "draft"), ("decided", None), ("called", "serve"), ("decided", None),
    ]  # fmt: skip
    assert notebook.events[0].decision_id == notebook.events[1].facts.decision_id  # type: ignore[union-attr]


def test_a_model_that_fails_is_told_and_so_is_an_empty_answer(router: MakeRouter, notebook: Notebook) -> None:
    asked = router(memory=None, strategy=lambda _: "weak")
    turn = Turn(asked, asked.decide(easy(3), pair()))
    for attempt in turn:
        with attempt:
            if attempt.decision.model == "weak":
                raise TimeoutError

    failed = notebook.of(Called)[0]
    assert (failed.model, failed.error, failed.usage, failed.usd) == ("weak", "TimeoutError", None, None)
    assert asked.stats().spending == ()

    turn = Turn(asked, asked.decide(easy(4), pair()))
    for attempt in turn:
        with attempt:
            reply = Scripted("small-1", lambda _: "").call(attempt.decision.call)
            attempt.refuse(ValueError() if attempt.decision.model == "weak" else None, lambda: reply)  # noqa: B023

    empty = notebook.of(Called)[1]
    assert (empty.model, empty.purpose, empty.error) == ("weak", "draft", None)
    assert empty.seconds is not None


def fail(router: Router) -> None:
    for attempt in Turn(router, router.decide(easy(3), pair())):
        with attempt:
            raise TimeoutError


def test_an_error_that_ends_the_call_is_told_too(router: MakeRouter, notebook: Notebook) -> None:
    with pytest.raises(TimeoutError):
        fail(router(memory=None))

    assert [event.error for event in notebook.of(Called)] == ["TimeoutError"]


@pytest.mark.parametrize("kind", EVENTS)
def test_an_observer_hears_what_it_has_a_method_for(kind: type[Event], router: MakeRouter) -> None:
    heard: list[Event] = []
    observer = type("Observer", (), {kind.name: lambda _, event: heard.append(event)})()
    asked = router(observers=[observer], learning_budget=0.0)

    serve(asked, pair(), harbour(3))  # type: ignore[arg-type]

    assert {type(event) for event in heard} == {kind}


def test_what_an_observer_raises_is_logged_once_a_method_and_reaches_nobody(
    router: MakeRouter, notebook: Notebook, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def decided(self, event: Decided) -> None:
            raise BaseException("of a native library, with SECRET words")  # noqa: TRY002

        def called(self, event: Called) -> None:
            raise ValueError

    asked = router(observers=[Broken(), notebook, Broken()])
    with caplog.at_level(logging.WARNING, logger="rar"):
        for number in (3, 4):
            serve(asked, pair(), harbour(number))  # type: ignore[arg-type]

    logged = [record.getMessage() for record in caplog.records if "Broken" in record.getMessage()]
    assert len(logged) == 4  # two observers, two methods
    assert "SECRET" not in str(logged)
    assert len(notebook.of(Decided)) == 2  # those after a broken one hear all the same
    assert asked.stats().memory.experiences == 2  # type: ignore[union-attr]


def test_a_signal_that_arrives_in_an_observer_goes_through() -> None:
    class Interrupted:
        def alarmed(self, event: Alarmed) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Observers([Interrupted()]).alarm("budget")


class Asynchronous:
    async def called(self, event: Called) -> None: ...


@pytest.mark.parametrize(
    ("observers", "message"),
    [
        ([Notebook], "class Notebook"),
        ([object()], "none of the methods `decided`"),
        ([Asynchronous()], "async"),
        (Notebook(), "not a list of observers"),
    ],
)
def test_what_cannot_observe_is_refused(observers: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Router(memory=None, observers=observers)


def test_no_event_holds_words_of_a_prompt_an_answer_or_a_guide(router: MakeRouter, notebook: Notebook) -> None:
    asked = router(redact=lambda text: text)
    teach_harbours(asked, pair())  # type: ignore[arg-type]

    told = repr(notebook.events) + json.dumps([as_dict(event) for event in notebook.events])
    assert set(notebook.names) == {"decided", "called", "learned", "stored", "moved"}
    for words in ("harbour fee", "cargo", "tonnage", "port's rate"):
        assert words not in told


def test_learning_goes_on_in_threads_of_its_own_and_is_told_there(router: MakeRouter) -> None:
    threads: dict[str, set[str]] = {}

    class Where:
        def decided(self, event: Decided) -> None:
            threads.setdefault("decided", set()).add(threading.current_thread().name)

        def learned(self, event: Learned) -> None:
            threads.setdefault("learned", set()).add(threading.current_thread().name)

    asked = router(observers=[Where()], learning="background")
    serve(asked, pair(), harbour(3))  # type: ignore[arg-type]
    assert asked.flush(30.0)

    assert threads == {"decided": {threading.current_thread().name}, "learned": {"rar-learning"}}


class TestAlarms:
    def test_a_budget_that_is_spent_rings_once_until_learning_went_on(
        self, router: MakeRouter, notebook: Notebook
    ) -> None:
        asked = router(learning_budget=0.0)
        for number in (3, 4, 5):
            serve(asked, pair(), harbour(number))  # type: ignore[arg-type]

        assert [(event.kind, event.namespace) for event in notebook.of(Alarmed)] == [("budget", "default")]

    def test_a_memory_that_cannot_be_written_rings_when_no_lock_is_held(
        self, tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        memory = SQLiteMemory(tmp_path / "rar.db")

        class Looks(Notebook):
            def alarmed(self, event: Alarmed) -> None:
                super().alarmed(event)
                router.flush(1.0)  # takes the locks of writing

        looks = Looks()
        router = Router(memory=memory, embedder="hashing", learning="inline", observers=[looks])

        def full(self: object, batch: Batch) -> None:
            raise MemoryFullError("rar.db")

        monkeypatch.setattr(SQLiteMemory, "write", full)
        done = threading.Thread(target=lambda: [serve(router, pair(), harbour(n)) for n in (3, 4)], daemon=True)  # type: ignore[arg-type]
        done.start()
        done.join(30.0)

        assert not done.is_alive()
        assert [(event.kind, event.about) for event in looks.of(Alarmed)] == [("unwritable", "MemoryFullError")]
        monkeypatch.undo()
        router.close()
        memory.close()

    def test_a_model_that_changed_under_its_name_rings_once(self, router: MakeRouter, notebook: Notebook) -> None:
        asked = router()
        assert asked.memory is not None
        step = PolicyStep("default", 0.0, surprise=ALARM + 1.0, at=5.0, model="small-1")
        asked.memory.write(Batch(steps=(PolicyStep("default", 0.0, at=4.0, model="small-1"), step)))

        for number in (3, 4):
            asked.decide(harbour(number), pair())

        assert [(event.kind, event.about) for event in notebook.of(Alarmed)] == [("drift", "small-1")]

    def test_a_guide_that_may_no_longer_be_used_rings_once(
        self, router: MakeRouter, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = router()
        teach_harbours(asked, pair())  # type: ignore[arg-type]
        monkeypatch.setattr("rar.learning.screen.guide_flaw", lambda text: "a reason")

        for number in (6, 7):
            asked.decide(harbour(number), pair())

        (alarm,) = notebook.of(Alarmed)
        assert alarm.kind == "quarantined"
        assert asked.memory is not None and asked.memory.guide(alarm.about) is not None


class TestJsonLines:
    def lines(self, path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    def test_each_event_is_a_line_at_once(self, router: MakeRouter, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        asked = router(observers=[JsonLines(path)])

        decision, _ = serve(asked, pair(), harbour(3))  # type: ignore[arg-type]

        found = self.lines(path)
        assert [line["event"] for line in found[:2]] == ["decided", "called"]
        assert [line["event"] for line in found[-3:]] == ["learned", "stored", "moved"]
        assert found[0]["facts"]["decision_id"] == found[1]["decision_id"] == decision.id
        assert (found[1]["usage"]["input_tokens"], found[1]["usage"]["output_tokens"]) == (100, 20)

    def test_threads_write_whole_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        observers = Observers([JsonLines(path)])
        about = "x" * 5_000
        threads = [
            threading.Thread(target=lambda: [observers.alarm("spent", about=about) for _ in range(50)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [line["about"] for line in self.lines(path)] == [about] * 400

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    def test_a_forked_child_writes_to_the_same_file(self, router: MakeRouter, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        asked = router(observers=[JsonLines(path)], memory=None)
        asked.decide(easy(1), pair())

        assert in_child(lambda: asked.decide(easy(2), pair())) == 0
        asked.decide(easy(3), pair())

        assert [line["event"] for line in self.lines(path)] == ["decided"] * 3

    def test_it_adds_to_a_file_and_can_be_pickled(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        first = JsonLines(path)
        first.alarmed(Alarmed(1.0, "budget"))
        first.close()
        first.alarmed(Alarmed(2.0, "budget"))  # dropped
        pickle.loads(pickle.dumps(JsonLines(path))).alarmed(Alarmed(3.0, "budget"))

        assert [line["at"] for line in self.lines(path)] == [1.0, 3.0]

    def test_a_path_that_cannot_be_written_is_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="cannot write"):
            JsonLines(tmp_path / "no" / "events.jsonl")


def test_a_request_that_nobody_can_learn_from_is_decided_all_the_same(router: MakeRouter, notebook: Notebook) -> None:
    serve(router(learning="off"), pair(), question("7", learn=False))  # type: ignore[arg-type]

    assert notebook.names == ["decided", "called"]


class Attached(Notebook):
    def __init__(self) -> None:
        super().__init__()
        self.routers: list[Router] = []

    def attached(self, router: Router) -> None:
        assert not self.events
        self.routers.append(router)

    def detached(self, router: Router) -> None:
        self.routers.remove(router)


def test_who_asks_for_it_is_given_the_router(router: MakeRouter) -> None:
    observer = Attached()
    made = [router(observers=[observer]), router(observers=[observer], memory=None)]

    assert observer.routers == made
    assert made[0].stats().spending == ()
    made[0].close()
    made[0].close()
    assert observer.routers == made[1:]


def test_who_fails_to_take_the_router_costs_nothing(router: MakeRouter, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Notebook):
        def attached(self, router: Router) -> None:
            raise OSError("no port")

    asked = router(observers=[observer := Broken()])

    assert "Broken failed in `attached`" in caplog.text
    serve(asked, pair(), easy(3))  # type: ignore[arg-type]
    assert observer.events


def test_spending_alone_is_not_told_as_stored(router: MakeRouter, notebook: Notebook) -> None:
    asked = router(learning="off")
    decision, _ = serve(asked, pair(), easy(1))  # type: ignore[arg-type]
    asked.flush()

    assert [(event.decisions, event.experiences, event.trials) for event in notebook.of(Stored)] == [
        ((decision.id,), 0, 0)
    ]
