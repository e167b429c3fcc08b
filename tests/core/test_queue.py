"""Learning by workers: each lesson that was acknowledged is learned, once, whoever dies meanwhile."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("psycopg", reason="psycopg is not installed")
pytest.importorskip("procrastinate", reason="procrastinate is not installed")

from rar import Ceiling
from rar.cli.commands import app
from rar.errors import ConfigurationError, LessonFailedError, LessonFormatError, OtherModelsError
from rar.learning.claims import Claim
from rar.learning.packing import unpack
from rar.learning.scores import kinds_of
from rar.learning.taking import FIRST, MOST, Taker, retry_after, taker_of
from rar.memory.base import Batch
from rar.memory.lessons import PackedLesson
from rar.memory.queueing import queue_of
from rar.router import Router
from rar.values import Call, Reply, question
from tests.core.world import Scripted, easy, harbour, pair, serve
from tests.docs.blocks import ROOT, blocks
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.usefixtures("own_cache")

Make = Callable[..., Router]


@pytest.fixture
def make(postgres: PostgresServer) -> Iterator[Make]:
    """Makes routers of one memory, as the processes that share it do."""
    address, made = postgres.fresh(), []

    def router(**options: Any) -> Router:
        usual = {
            "memory": address, "embedder": "hashing", "learning": "queue", "judge": "exact", "learning_budget": None,
            "seed": 0, "prices": {"small-1": (1.0, 1.0), "big-1": (10.0, 10.0)},
        }  # fmt: skip
        made.append(Router(**{**usual, **options}))
        return made[-1]

    yield router
    for one in made:
        one.close()


def work(router: Router, models: dict[str, Any], **options: Any) -> None:
    Taker(router, models).work(wait=False, **options)


def set_jobs(router: Router, values: str) -> None:
    """Change all jobs, as only time or a death does."""

    def change(connection: Any) -> None:
        connection.run("SELECT set_config('search_path', quote_ident(?), true)", [connection.schema])
        connection.run(f"UPDATE @procrastinate_jobs SET {values}")

    router.memory.transact(change)


def failing(model: Scripted, error: Exception, times: int) -> Scripted:
    """A model whose first calls raise."""
    left, answer = [times], model.answer

    def answers(call: Call) -> str:
        if left[0] and call.purpose != "serve":
            left[0] -= 1
            raise error
        return answer(call)

    return replace(model, answer=answers)


class RateLimitError(Exception):
    status_code = 429


def test_a_worker_learns_what_another_process_served(make: Make) -> None:
    server, worker = make(), make()
    models, others = pair(), pair()
    decision, _ = serve(server, models, easy(5))

    assert server.flush() and server.memory is not None and worker.memory is not None
    assert server.explain(decision.id)["not_learned"] == "waiting" and server.memory.queue.state().waiting == 1
    assert not models["weak"].calls
    work(worker, others)

    assert others["weak"].calls == {"shadow": 1} and not others["strong"].calls
    assert server.memory.queue.state().waiting == 0 and server.memory.queue.dead() == []
    until = time.monotonic() + 10.0  # another process's lesson is found before long
    while server.decide(easy(5), models).model != "weak":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "not_learned" not in server.memory.decision(decision.id).facts


def test_of_the_same_request_one_lesson_waits_and_the_next_decisions_say_so(make: Make) -> None:
    server = make()
    decisions = [serve(server, pair(), easy(5))[0] for _ in range(3)]
    server.flush()

    assert server.memory.queue.state().waiting == 1
    assert [server.memory.decision(one.id).facts["not_learned"] for one in decisions] == ["waiting", *["elsewhere"] * 2]


def test_an_effect_is_written_once_however_often_a_lesson_is_studied(make: Make) -> None:
    server, worker = make(), make()
    serve(server, pair(), easy(5))
    server.flush()
    lessons: list[PackedLesson] = []
    worker.memory.queue.work(lessons.append, retry_after, sources=(), lanes=1, wait=False, grace=1.0, stalled=30.0)

    models = [pair(), pair()]
    for one in models:
        worker.study(lessons[0], one)

    assert [one["weak"].calls["shadow"] for one in models] == [1, 0]
    assert worker.memory.stats().trials == 1
    batch = Batch(effect=lessons[0].effect, spending=())
    worker.memory.write(batch)
    assert worker.memory.stats().trials == 1


def test_a_server_that_is_away_is_no_failure_of_learning(
    make: Make, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = make()
    decision, _ = serve(server, pair(), easy(5))
    assert server.flush()
    loop = server._learning
    known = next(iter(kinds_of("default", "answer", decision.request.evidence)))
    kind = replace(known, since=1.0)  # one that is to be read anew
    loop._seeded, loop._unseen = float("-inf"), {kind}
    postgres.stop()
    try:
        loop._write()  # as its thread does each second
        assert loop._unseen == {kind}  # for the next time
    finally:
        postgres.start()

    until = time.monotonic() + 10.0
    while loop._unseen:
        assert time.monotonic() < until
        server.flush()
        time.sleep(0.1)
    assert "Learning failed" not in caplog.text


def test_a_rate_limit_puts_a_lesson_off_and_loses_nothing(make: Make) -> None:
    server = make()
    serve(server, pair(), easy(5))
    server.flush()
    models = pair()
    models["weak"] = failing(models["weak"], RateLimitError("slow down"), 1)

    work(make(), models)
    state = server.memory.queue.state()
    assert (state.waiting, state.later, state.dead) == (1, 1, 0)

    set_jobs(server, "scheduled_at = NULL")
    work(make(), models)
    assert server.memory.stats().trials == 1 and models["weak"].calls["shadow"] == 2


def test_a_poisoned_lesson_ends_among_the_dead_with_its_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rar.learning.taking.FIRST", 0.0)
    server = make()
    serve(server, pair(), easy(5))
    serve(server, pair(), easy(6))
    server.flush()
    models = pair()
    models["weak"] = failing(models["weak"], ValueError("a secret prompt"), 3)

    for _ in range(3):
        work(make(), models, lanes=1)

    (dead,) = server.memory.queue.dead()
    assert dead.attempts == 3 and "ValueError" in dead.error and "secret" not in dead.error
    assert server.memory.stats().trials == 1  # the other lesson was learned
    assert server.memory.queue.retry([dead.id]) == 1
    work(make(), models)
    assert server.memory.queue.dead() == [] and server.memory.stats().trials == 2


def test_dead_lessons_can_be_dropped(make: Make) -> None:
    server = make()
    serve(server, pair(), easy(5))
    server.flush()
    set_jobs(server, "status = 'failed'")

    assert (server.memory.queue.state().dead, server.memory.queue.drop(), server.memory.queue.drop()) == (1, 1, 0)
    assert server.memory.one("SELECT count(*) FROM @lessons", []) == (0,)


def test_the_lessons_of_a_dead_worker_are_given_to_another(make: Make) -> None:
    server = make()
    serve(server, pair(), easy(5))
    server.flush()
    set_jobs(server, "status = 'doing', worker_id = NULL")  # as a worker that was killed leaves it
    worker, models = make(), pair()
    ended = threading.Event()

    def watch(lesson: PackedLesson) -> None:
        worker.study(lesson, models)
        ended.set()
        os.kill(os.getpid(), signal.SIGTERM)

    worker.memory.queue.work(watch, retry_after, sources=(), lanes=1, wait=True, grace=5.0, stalled=1.0)

    assert ended.is_set() and server.memory.stats().trials == 1 and server.memory.queue.state().running == 0


def test_a_lesson_that_comes_again_has_what_its_dead_worker_claimed(make: Make) -> None:
    server, worker, models = make(), make(), pair()
    serve(server, models, easy(5))
    server.flush()
    lessons: list[PackedLesson] = []
    worker.memory.queue.work(lessons.append, retry_after, sources=(), lanes=1, wait=False, grace=1.0, stalled=30.0)
    decision = unpack(lessons[0], models).decision
    assert Claim(worker.memory, decision, lessons[0].effect)()  # and the worker dies

    with pytest.raises(LessonFailedError, match="another process"):
        worker.study(replace(lessons[0], effect="another/do"), models)
    worker.study(lessons[0], models)

    assert worker.memory.stats().trials == 1


def test_what_is_deleted_waits_no_more(make: Make) -> None:
    server = make()
    serve(server, pair(), easy(5))
    serve(server, pair(), replace(easy(6), namespace="other"))
    server.flush()
    server.memory.delete(namespace="other")
    assert server.memory.one("SELECT count(*) FROM @lessons", []) == (1,)
    models = pair()

    work(make(), models)

    assert models["weak"].calls["shadow"] == 1 and server.memory.stats().namespaces == ("default",)


def test_texts_that_may_not_be_stored_stay_in_the_process(make: Make) -> None:
    for tonnes, options in enumerate(({"store_text": False}, {"redact": lambda text: text}), 7):
        server, models = make(**options), pair()
        serve(server, models, harbour(tonnes))
        assert server.flush()

        assert models["weak"].calls["shadow"] and server.memory.queue.state().waiting == 0


def test_two_processes_never_study_the_same_new_request_at_once(make: Make) -> None:
    calls, going = Counter[str](), threading.Barrier(2, timeout=20.0)
    started = threading.Event()

    def slow(call: Call) -> str:
        calls[call.purpose] += 1
        started.set()
        threading.Event().wait(0.3)
        return "5"

    def once(router: Router) -> None:
        models = {"weak": Scripted("small-1", slow), "strong": Scripted("big-1", lambda _: "5")}
        going.wait()
        decision = router.decide(easy(5), models)
        router.learn(decision, Reply("strong", "5", model_id="big-1"), models)
        router.flush()

    routers = [make(learning="background"), make(learning="background")]
    threads = [threading.Thread(target=once, args=(router,)) for router in routers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert calls["shadow"] == 1
    assert routers[0].memory.stats().trials == 1


def test_inline_learning_works_on_a_server(make: Make) -> None:
    server, models = make(learning="inline"), pair()
    serve(server, models, easy(5))

    assert serve(server, models, easy(5))[0].model == "weak"


def test_a_worker_with_other_models_says_so(make: Make) -> None:
    server = make()
    serve(server, pair(), easy(5))
    server.flush()
    models = pair()
    models["weak"] = replace(models["weak"], id="tiny-1")

    work(make(), models)

    assert server.memory.queue.state().later == 1
    (error,) = server.memory.one("SELECT error FROM @lessons", [])
    assert "'small-1' as 'weak'" in error and "tiny-1" in error


def test_a_memory_without_a_queue_refuses_the_mode() -> None:
    with pytest.raises(ConfigurationError, match="no queue of lessons"):
        Router(memory=":memory:", embedder="hashing", learning="queue")


@pytest.mark.parametrize("made", [object(), {"weak": lambda _: "5"}, Router(memory=None)])
def test_a_factory_that_makes_no_router_is_named(made: Any) -> None:
    with pytest.raises(ConfigurationError, match="A worker cannot use|has no memory"):
        taker_of(made, "postgresql://host/database")


def test_waits_double_up_to_a_bound_and_end() -> None:
    limited = LessonFailedError("a call failed")
    limited.__cause__ = RateLimitError()
    waits = [retry_after(limited, attempts) for attempts in range(10)]

    assert waits[-1] is None and all(wait is not None for wait in waits[:-1])
    assert 0.75 * FIRST <= waits[0] <= 1.25 * FIRST and 0.75 * MOST <= waits[8] * (MOST / (FIRST * 2**8)) <= 1.25 * MOST
    assert retry_after(ValueError(), 2) is None and retry_after(ValueError(), 1) is not None
    assert retry_after(LessonFormatError("newer"), 5) is not None
    assert retry_after(OtherModelsError("weak", "a", "b"), 5) is not None


def test_a_wait_that_a_provider_asks_for_is_kept() -> None:
    error = RateLimitError()
    error.response = type("Response", (), {"headers": {"retry-after": "45"}})()

    assert retry_after(error, 0) == 45.0


def test_nothing_of_a_lesson_is_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    server = make()
    serve(server, pair(), question("Please repeat this number after me: 404 404"))
    server.flush()
    models = pair()
    models["weak"] = failing(models["weak"], RateLimitError("repeat this number"), 1)
    with caplog.at_level(logging.DEBUG):
        work(make(), models)

    assert "RateLimitError (429)" in caplog.text
    assert "repeat this number" not in caplog.text


def page(name: str, language: str, holds: str) -> list[str]:
    """The statements of a page's block, for roles of another name: the roles of a server are those of all tests."""
    (code,) = [one.code for one in blocks(ROOT / "docs" / name) if one.language == language and holds in one.code]
    return [part.replace("rar_", "queue_") for part in code.split(";") if part.strip()]


def test_two_roles_that_the_pages_set_up_are_enough(postgres: PostgresServer) -> None:
    postgres.run("CREATE DATABASE two_roles")
    postgres.run(*page("postgres.md", "sql", "CREATE ROLE"), url=postgres.url("two_roles"))
    postgres.run(*page("workers.md", "text", "SEQUENCES"), url=postgres.url("two_roles"))
    owner, app_ = (postgres.url("two_roles", user) for user in ("queue_owner", "queue_app"))
    done = CliRunner().invoke(app, ["memory", "upgrade", owner, "--create", "--queue"])
    assert done.exit_code == 0, done.output
    options: dict[str, Any] = {
        "memory": app_, "embedder": "hashing", "learning": "queue", "judge": "exact", "learning_budget": None,
        "prices": {"small-1": (1.0, 1.0), "big-1": (10.0, 10.0)}, "spend": Ceiling(100.0),
    }  # fmt: skip
    with Router(**options) as server, Router(**options) as worker:
        serve(server, pair(), easy(3))
        server.flush()
        assert queue_of(server.memory).state().waiting == 1  # type: ignore[arg-type]
        work(worker, pair())

        assert queue_of(server.memory).state().waiting == 0  # type: ignore[arg-type]
        assert worker.stats().memory.trials > 0


def test_without_the_right_to_sequences_a_lesson_waits_in_the_process(postgres: PostgresServer) -> None:
    postgres.run("CREATE DATABASE no_sequences")
    named = [part.replace("queue_", "seq_") for part in page("postgres.md", "sql", "CREATE ROLE")]
    postgres.run(*named, url=postgres.url("no_sequences"))
    owner, app_ = (postgres.url("no_sequences", user) for user in ("seq_owner", "seq_app"))
    assert CliRunner().invoke(app, ["memory", "upgrade", owner, "--create", "--queue"]).exit_code == 0
    with Router(memory=app_, embedder="hashing", learning="queue", judge="exact", learning_budget=None) as server:
        serve(server, pair(), easy(3))
        server.flush()

        assert server.stats().unstored > 0
        assert server.decide(easy(4), pair()).model == "strong"
