"""Questions that share a call: each answer reaches its own question, or its question is asked alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from rar import Answer, Decision, Reply, Route, Router
from rar.joining import Joined, groups, join, joint_call, may_join, settle, shares, split
from rar.learning.obstacles import obstacle
from rar.replies import ToolCall
from rar.values import Guide, Message, Request, Usage, question
from tests.core.hostile import BROKEN, answer_to, asked, questions, replied


def decision(text: str = "What is it?", route: Route | None = None, **fields: Any) -> Decision:
    request = replace(question(text), **fields)
    return Decision(text, request, route or Route("weak", reason="told"), 0.0)


def test_a_thousand_hostile_batches_mix_no_answers_up() -> None:
    rng, whole, kept, seen = random.Random(0), 0, 0, 0
    for _ in range(1_000):
        texts = questions(rng, rng.randint(2, 8))
        joined = join([question(text) for text in texts])
        assert list(asked(joined.messages[-1].text).values()) == texts or any("[[" in text for text in texts)
        reply, finish = replied(rng, joined, texts)
        answers = split(joined, Reply("weak", reply, finish=finish))
        seen, kept = seen + len(texts), kept + sum(answer is not None for answer in answers)
        for text, answer in zip(texts, answers, strict=True):
            assert answer in (None, answer_to(text).strip(), "Something else."), reply
            whole += answer == "Something else."
    assert not whole  # nobody knows which of two answers was meant
    assert kept / seen > 0.5


@pytest.mark.parametrize("kind", ["whole", "out of order", "with talk"])
def test_replies_that_keep_the_frame_are_read_whole(kind: str) -> None:
    rng = random.Random(1)
    for _ in range(50):
        texts = questions(rng, 5)
        joined = join([question(text) for text in texts])
        blocks = [
            f"[[answer {id}]]\n{answer_to(text)}\n[[end of answer {id}]]"
            for id, text in zip(joined.ids, texts, strict=True)
        ]
        reply = "\n".join(BROKEN[kind](rng, blocks, 0, joined, texts))
        assert split(joined, Reply("weak", reply)) == [answer_to(text) for text in texts]


def joined_of(count: int) -> Joined:
    return Joined(tuple(letter * 4 for letter in "abcdefgh"[:count]), (Message("user", ""),))


def blocks(answers: dict[str, str]) -> str:
    """A reply with these answers, by their ids; one letter stands for four of it."""
    ids = {id: id * 4 if len(id) == 1 else id for id in answers}
    return "\n".join(f"[[answer {ids[id]}]]\n{text}\n[[end of answer {ids[id]}]]" for id, text in answers.items())


def test_one_that_left_no_trace_may_stand_within_its_neighbours() -> None:
    said = blocks({"a": "1", "b": "2, and 3", "d": "4", "e": "5"})

    assert split(joined_of(5), Reply("weak", said)) == ["1", None, None, None, "5"]
    assert split(joined_of(5), Reply("weak", said, finish="length")) == ["1", "2, and 3", None, "4", "5"]


def test_the_text_of_an_answer_is_kept_as_it_is() -> None:
    code = "```python\nprint('[[answer]]')\n```\n\n* a **list**"
    assert split(
        joined_of(1), Reply("weak", f"<think>[[answer aaaa]] x [[end of answer aaaa]]</think>{blocks({'a': code})}")
    ) == [code]


def test_ids_are_new_each_time_and_stand_in_no_question() -> None:
    requests = [question("a"), question("b")]
    ids = {id for _ in range(50) for id in join(requests).ids}
    assert len(ids) == 100
    assert all(len(id) == 10 for id in ids)


# --- which may share a call ---------------------------------------------------------------------------------------

PLAIN = decision()
GUIDE = Guide("g", "default", "answer", "Count.", question("x").embedding, "large", "o")  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [
    decision(task="tools:abc"), decision(task="schema:abc"), decision(sticky=Route("weak")),
    decision(route=Route("weak", guide=GUIDE)), decision(route=Route("weak", check=True)),
    decision(route=Route("weak", messages=(Message("user", "other"),))),
    replace(PLAIN, choice=Answer(Reply("weak", "kept"))),
    decision(messages=(Message("user", " "),)), decision(messages=()),
    decision(messages=(Message("user", "a"), Message("assistant", "b"), Message("user", "c"))),
    decision(messages=(Message("user", "a"), Message("user", "b"))),
])  # fmt: skip
def test_what_depends_on_being_asked_alone_is(other: Decision) -> None:
    assert may_join(PLAIN, {})
    assert may_join(PLAIN, {"temperature": 0.0})
    assert not may_join(other, {})


@pytest.mark.parametrize("arguments", [{"max_tokens": 5}, {"stop": ["x"]}, {"tools": []}, {"n": 2}])
def test_arguments_that_would_mean_something_else_keep_it_alone(arguments: dict[str, Any]) -> None:
    assert not may_join(PLAIN, arguments)


@pytest.mark.parametrize("other", [
    decision(namespace="b"), decision(user="somebody"), decision(thread="t"), decision(arguments="abc"),
    decision(route=Route("strong")), decision(messages=(Message("system", "Be brief."), Message("user", "a"))),
])  # fmt: skip
def test_only_what_is_alike_is_joined(other: Decision) -> None:
    assert groups([PLAIN, other], 8) == []
    assert groups([PLAIN, other, PLAIN, other], 8) == [[0, 2], [1, 3]]


def test_groups_are_no_larger_than_was_said() -> None:
    assert groups([PLAIN, None, *[PLAIN] * 4], 2) == [[0, 2], [3, 4]]  # the last one stays alone
    assert [len(one) for one in groups([PLAIN] * 10, 4)] == [4, 4, 2]


# --- what is counted and learned ----------------------------------------------------------------------------------


@pytest.mark.parametrize("usage", [Usage(101, 37), Usage(3, 1, cached_tokens=2), Usage(1_000, 999, True, 10, 7)])
@pytest.mark.parametrize("answers", [["a", None, "a much longer answer than that"], [None, None, None]])
def test_shares_add_up(usage: Usage, answers: Sequence[str | None]) -> None:
    parts = shares(usage, ["one", "another", "a third question, longer"], answers)

    assert sum(parts[1:], parts[0]) == usage
    assert all(part.output_tokens >= 0 for part in parts)
    if answers[2]:
        assert parts[2].output_tokens == max(part.output_tokens for part in parts)


def settled(answers: dict[int, str], reply: dict[str, Any] | None = None) -> tuple[Router, list[Decision]]:
    def small(messages: object) -> str:
        return ""

    def large(messages: object) -> str:
        return ""

    router = Router(small, large, memory=None, strategy=lambda _: "weak", prices={"small": (10.0, 10.0)})
    made = [router.decide(question(f"Question {n}?")) for n in range(3)]
    joined, call = joint_call(made)
    said = blocks({joined.ids[at]: text for at, text in answers.items()})
    models = router._models_of(None)
    back = Reply("weak", said, usage=Usage(90, 30), finish="length", seconds=1.0, **(reply or {}))
    return router, settle(router, made, joined, call, back, models)


def test_each_answer_is_served_with_its_share_of_the_cost() -> None:
    router, after = settled({0: "one", 1: "two", 2: "three"})

    assert [one.choice.reply.text for one in after if isinstance(one.choice, Answer)] == ["one", "two", "three"]
    assert [one.joined for one in after] == [3, 3, 3]
    assert all(one.as_dict()["joined"] == 3 and one.choice.reason == "function" for one in after)
    (spend,) = router.stats().spending
    assert (spend.purpose, spend.calls, spend.input_tokens, spend.output_tokens) == ("serve", 3, 90, 30)
    assert sum(one.calls[0].usd or 0.0 for one in after) == pytest.approx(120 * 10e-6)


def test_an_answer_that_was_lost_costs_its_share_and_is_asked_for_alone() -> None:
    router, after = settled({0: "one", 2: "three"})

    assert after[1].choice == Route("weak", reason="function")
    assert after[1].joined is None
    assert [(call.purpose, call.failed) for call in after[1].calls] == [("draft", True)]
    spent = {spend.purpose: spend.calls for spend in router.stats().spending}
    assert spent == {"serve": 2, "draft": 1}
    assert sum(spend.input_tokens for spend in router.stats().spending) == 90


def test_tool_calls_answer_nothing() -> None:
    _, after = settled({0: "one", 1: "two", 2: "three"}, {"tool_calls": (ToolCall("x", {}),)})
    assert not any(isinstance(one.choice, Answer) for one in after)


def test_nothing_is_learned_from_an_answer_to_several_questions() -> None:
    router, after = settled({0: "one", 1: "two", 2: "three"})
    for one in after:
        assert isinstance(one.choice, Answer)
        assert obstacle(one, one.choice.reply) == "joined"
        router.learn(one, one.choice.reply)
    (spend,) = router.stats().spending
    assert spend.calls == 3  # counted when it was made


def test_a_request_without_a_user_message_stays_alone() -> None:
    assert not may_join(Decision("x", Request((Message("system", "Be brief."),)), Route("weak"), 0.0), {})
