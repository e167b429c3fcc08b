"""Best of many: who is chosen, what the decision says, and what is refused when it is made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from rar import Router
from rar.errors import ConfigurationError, MissingModelError, NotFittedError, UnknownModelError
from rar.linear import Array
from rar.routers import LengthRouter, RankingRouter, RewardDistilledRouter
from rar.strategies import BestOf, Cascade
from rar.values import Call, Message, Reply, Request, Route, Vector, question
from tests.core.topics import CODE, POEM, SUM, ranking

NAMES = ("weak", "strong", "coder")


def route(strategy: BestOf, text: str) -> Route:
    steps = strategy.steps(question(text))
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert isinstance(stop.value.value, Route)
    return stop.value.value


def small(messages: Sequence[Message]) -> str:
    return "small"


def large(messages: Sequence[Message]) -> str:
    return "large"


def special(messages: Sequence[Message]) -> str:
    return "special"


def broken(messages: Sequence[Message]) -> str:
    raise ConnectionError("gone")


class Fixed(RankingRouter):
    """Prefers the second model, and knows no costs."""

    models = ("a", "b")

    def scores(self, texts: Sequence[str], vectors: Vector | None = None) -> Array:
        return np.tile([0.3, 0.7], (len(texts), 1))


def test_each_request_goes_to_the_model_that_is_best_for_it() -> None:
    strategy = BestOf(NAMES, ranking(*NAMES))

    assert [route(strategy, text).model for text in (POEM, SUM, CODE)] == ["weak", "strong", "coder"]


def test_the_route_tells_why_and_how_sure_it_is() -> None:
    fitted = ranking(*NAMES)
    found = route(BestOf(NAMES, fitted), CODE)

    assert found.reason == "best_of"
    assert found.confidence == pytest.approx(fitted.scores([CODE])[0, 2])


def test_models_may_be_known_to_the_ranking_by_other_names() -> None:
    strategy = BestOf({"tiny-1b": "weak", "huge": "strong", "code-7b": "coder"}, ranking("tiny-1b", "huge", "code-7b"))

    assert [route(strategy, text).model for text in (POEM, SUM, CODE)] == ["weak", "strong", "coder"]


def test_costs_are_weighed_where_the_router_can() -> None:
    fitted = ranking(*NAMES, prices={"weak": 0.0, "strong": 1.0, "coder": 1.0}, cost_weight=5.0)

    assert route(BestOf(NAMES, fitted), CODE).model == "weak"
    assert route(BestOf(("a", "b"), Fixed()), CODE) == Route("b", reason="best_of", confidence=0.7)


def test_a_request_without_a_question_is_judged_by_its_messages() -> None:
    request = Request((Message("system", "You are brief."), Message("user", CODE)))
    steps = BestOf(NAMES, ranking(*NAMES)).steps(request)
    with pytest.raises(StopIteration) as stop:
        next(steps)

    assert stop.value.value.model == "coder"


async def test_a_router_of_functions_serves_by_name_in_both_modes() -> None:
    strategy = BestOf(NAMES, ranking(*NAMES))
    with Router(small, large, models={"coder": special}, memory=None, strategy=strategy) as router:
        decision = router.decide(question(CODE))
        later = await router.adecide(question(CODE))

    assert (decision.model, decision.choice.reason) == ("coder", "best_of")
    assert decision.as_dict()["confidence"] == pytest.approx(decision.choice.confidence, abs=1e-4)
    assert later.model == "coder"


def test_a_draft_may_be_asked_of_a_named_model() -> None:
    cascade = Cascade(lambda request, reply: True, ("coder", "strong"))
    with Router(small, large, models={"coder": special}, memory=None, strategy=cascade) as router:
        assert router.decide(question(CODE)).choice.reply.text == "special"  # type: ignore[union-attr]


def test_the_strong_model_answers_when_the_chosen_one_fails() -> None:
    with Router(small, large, models={"coder": broken}, memory=None, strategy=BestOf(NAMES, ranking(*NAMES))) as router:
        decision = router.failover(router.decide(question(CODE)), ConnectionError("gone"))

    assert (decision.model, decision.choice.reason) == ("strong", "coder_failed")


def test_nothing_is_learned_about_named_models_but_what_they_cost() -> None:
    strategy = BestOf(NAMES, ranking(*NAMES))
    with Router(
        small, large, models={"coder": special}, memory=":memory:", embedder="hashing", strategy=strategy,
        learning="inline",
    ) as router:  # fmt: skip
        decision = router.decide(question(CODE))
        router.learn(decision, Reply("coder", "special"))
        stats = router.stats()

    assert stats.memory is not None and stats.memory.experiences == 0
    assert [(spend.role, spend.purpose, spend.calls) for spend in stats.spending] == [("coder", "serve", 1)]


def test_a_model_that_the_engine_lacks_is_refused_when_it_is_made() -> None:
    strategy = BestOf(NAMES, ranking(*NAMES))
    with pytest.raises(UnknownModelError, match="'coder'.*'strong', 'weak'"):
        Router(small, large, memory=None, strategy=strategy)
    with Router(memory=None, strategy=strategy) as router, pytest.raises(UnknownModelError, match="coder"):
        router.pair({"weak": _Named("a"), "strong": _Named("b")})
    with pytest.raises(UnknownModelError, match="'coder'"):
        BestOf(("weak", "strong"), ranking(*NAMES))


def test_what_cannot_choose_among_the_models_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"not fitted to \['painter'\]"):
        BestOf((*NAMES, "painter"), ranking(*NAMES))
    with pytest.raises(ConfigurationError, match="cannot rank"):
        BestOf(NAMES, LengthRouter())  # type: ignore[arg-type]
    with pytest.raises(NotFittedError):
        BestOf(NAMES, RewardDistilledRouter(embedder="hashing"))


def test_a_ranking_of_no_numbers_leaves_the_strong_model() -> None:
    class Broken(Fixed):
        models = ("weak", "strong")

        def scores(self, texts: Sequence[str], vectors: Vector | None = None) -> Array:
            return np.full((len(texts), 2), np.nan)

    with Router(small, large, memory=None, strategy=BestOf(("weak", "strong"), Broken())) as router:
        assert router.decide(question(POEM)).model == "strong"


def test_names_that_the_ranking_does_not_know_are_answered_with_those_it_does() -> None:
    with pytest.raises(ConfigurationError, match=r"only to \['a', 'b'\].*BestOf\(\{'a': ..., 'b': ...\}, router\)"):
        BestOf(["weak", "strong"], Fixed())


def test_the_pair_is_given_by_its_own_names() -> None:
    with pytest.raises(ConfigurationError, match="`weak=`"):
        Router(small, large, models={"weak": special}, memory=None)
    with pytest.raises(MissingModelError):
        Router(models={"coder": special}, memory=None)


class _Named:
    def __init__(self, id: str) -> None:
        self.id = id

    def call(self, call: Call) -> Reply:
        return Reply(call.model, self.id)

    async def acall(self, call: Call) -> Reply:
        return self.call(call)
