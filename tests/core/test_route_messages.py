"""A strategy's own messages: sent instead of the request's, while all that is learned is about the request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from rar import Call, Guide, Message, Reply, Request, Route, Router, Steps, ask
from rar.injection import messages_of
from rar.values import Choice, Decision, Usage, question
from tests.core.world import Scripted, serve, strong_answer, weak_answer

QUESTION = question("Which river flows through Paris?")
PRICES = {"weak": (1.0, 2.0), "strong": (10.0, 20.0)}
GUIDE = Guide("g1", "default", "answer", "Count on your fingers.", np.ones(2, np.float32), "big-1", "e1", "active")
TOLD = (Message("system", "Fuse."), Message("user", "Drafts: a, b"))


@dataclass
class Noting:
    """A model that keeps what it was sent, and reports ten tokens a message."""

    id: str
    sent: list[list[str]] = field(default_factory=list)

    def call(self, call: Call) -> Reply:
        messages = messages_of(call)
        self.sent.append([message.text + message.suffix for message in messages])
        return Reply(call.model, f"by {self.id}", usage=Usage(10 * len(messages), 5), model_id=self.id)

    async def acall(self, call: Call) -> Reply:
        return self.call(call)


def models() -> dict[str, Noting]:
    return {"weak": Noting("small-1"), "strong": Noting("big-1")}


def router(choice: Any, **options: Any) -> Router:
    return Router(strategy=lambda _: choice, **{"memory": None, "prices": PRICES, **options})


def test_they_are_sent_in_place_of_the_requests() -> None:
    given = models()

    decision, _ = serve_by(router(Route("strong", messages=TOLD)), given)

    assert given["strong"].sent == [["Fuse.", "Drafts: a, b"]]
    assert decision.request.messages == QUESTION.messages


def serve_by(router: Router, models: dict[str, Noting]) -> tuple[Decision, Reply]:
    decision = router.decide(QUESTION, models)
    reply = models[decision.model].call(decision.call)
    router.learn(decision, reply, models)
    return decision, reply


def test_a_guide_goes_into_what_is_sent() -> None:
    given = models()

    serve_by(router(Route("weak", guide=GUIDE, messages=TOLD)), given)

    (system, user) = given["weak"].sent[0]
    assert system == "Fuse."
    assert user.startswith("Drafts: a, b")
    assert "Count on your fingers." in user


def test_drafts_may_have_their_own_too() -> None:
    def steps(request: Request) -> Steps[Choice]:
        draft = yield from ask("weak", request, messages=[Message("user", "In short?")])
        return Route("strong", messages=(*request.messages, Message("user", draft.text)))

    class Asks:
        def steps(self, request: Request) -> Steps[Choice]:
            return (yield from steps(request))

    given = models()
    serve_by(Router(strategy=Asks(), memory=None), given)

    assert given["weak"].sent == [["In short?"]]
    assert given["strong"].sent == [["Which river flows through Paris?", "by small-1"]]


def test_the_model_that_stands_in_gets_the_request_itself() -> None:
    given = models()
    made = router(Route("weak", messages=TOLD))

    after = made.failover(made.decide(QUESTION, given), ConnectionError("down"))

    assert (after.model, messages_of(after.call)) == ("strong", QUESTION.messages)


@pytest.mark.parametrize("wrong", [(), "Fuse.", [{"role": "user"}], 5])
def test_what_is_no_message_is_refused_and_the_strong_model_answers(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    decision, _ = serve_by(router(Route("weak", messages=wrong)), models())

    assert (decision.model, decision.choice.reason) == ("strong", "strategy_failed")
    assert "messages" in caplog.text


def test_a_list_of_messages_will_do() -> None:
    decision, _ = serve_by(router(Route("weak", messages=list(TOLD))), models())  # type: ignore[arg-type]

    assert isinstance(decision.choice, Route)
    assert decision.choice.messages == TOLD


def test_what_is_learned_is_about_the_request() -> None:
    made = Router(
        strategy=lambda request: Route("strong", messages=TOLD), memory=":memory:", embedder="hashing",
        learning="inline", learning_budget=None, guides=False,
    )  # fmt: skip
    given = {"weak": Scripted("small-1", weak_answer), "strong": Scripted("big-1", strong_answer)}

    serve(made, given, question("Please repeat this number after me without any change: 5"))

    assert made.memory is not None
    (seen,) = made.memory.experiences(namespace="default", task="answer")
    assert seen.text == "Please repeat this number after me without any change: 5"
    assert [(tally.guide_id, tally.ok) for tally in seen.tallies] == [(None, 1)]
    made.close()


def test_only_the_requests_own_tokens_count_as_what_the_strong_model_would_have_cost() -> None:
    long = (Message("user", "word " * 400), *QUESTION.messages)
    made, given = router(Route("strong", messages=long)), models()

    decision, reply = serve_by(made, given)

    stats, costs = made.stats(), made.costs(decision, reply, given)
    assert (stats.savings.served, stats.savings.strong_calls) == (1, 1)
    assert costs["usd"] == pytest.approx(stats.savings.spent_usd) == pytest.approx((20 * 10 + 5 * 20) / 1e6)
    assert costs["strong_usd"] == pytest.approx(stats.savings.always_strong_usd)
    assert costs["strong_usd"] < 0.6 * costs["usd"]
    assert sum(spend.input_tokens for spend in stats.spending) == 20


def test_a_route_shows_no_text() -> None:
    route: Callable[[], str] = Route("weak", messages=TOLD).__repr__

    assert "Drafts" not in route()
    assert "Drafts" not in str(Decision("d", QUESTION, Route("weak", messages=TOLD), 0.0).as_dict())
