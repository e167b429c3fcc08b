"""Which calls belong to one turn, and how it is known again: pure functions of conversations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core.agent.workflow.prompts import DEFAULT_EARLY_STOPPING_PROMPT, DEFAULT_STATE_PROMPT
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock

from llama_index_rar.messages import to_engine
from llama_index_rar.recent import Recent
from llama_index_rar.turns import asked, continues, left_by, question_at, traces
from rar.values import Message, Route

EARLY = DEFAULT_EARLY_STOPPING_PROMPT.format(max_iterations=3)


def talk(*lines: tuple[str, str]) -> tuple[Message, ...]:
    return to_engine([ChatMessage(text, role=role) for role, text in lines])


def call(call_id: str, **arguments: Any) -> ChatMessage:
    return ChatMessage(
        role="assistant", blocks=[ToolCallBlock(tool_call_id=call_id, tool_name="look", tool_kwargs=arguments)]
    )


def result(text: str = "red") -> ChatMessage:
    return ChatMessage(text, role="tool")


def conversation(*messages: ChatMessage) -> tuple[Message, ...]:
    return to_engine(messages)


QUESTION = ChatMessage("Which colour?", role="user")


class TestContinuing:
    @pytest.mark.parametrize(
        "after",
        [
            [],
            [ChatMessage("Be quick.", role="system")],
            [ChatMessage("<reminder>Be quick.</reminder>", role="user")],
            [ChatMessage(role="user", blocks=[TextBlock(text="The screenshot.")])],
            [ChatMessage("One.", role="user"), ChatMessage("Two.", role="system")],
        ],
        ids=["result", "system", "reminder", "screenshot", "both"],
    )
    def test_whatever_follows_a_tools_result_goes_on_with_its_turn(self, after: list[ChatMessage]) -> None:
        messages = conversation(QUESTION, call("1"), result(), *after)

        assert continues(messages)
        assert question_at(messages) == 0

    def test_a_reminder_of_an_earlier_step_is_no_question(self) -> None:
        reminder = ChatMessage("<reminder/>", role="user")
        messages = conversation(QUESTION, call("1"), result(), reminder, call("2"), result())

        assert continues(messages)
        assert [message.text for message in asked(messages)] == ["Which colour?"]

    def test_a_question_after_an_answer_is_a_new_one(self) -> None:
        answer = ChatMessage("It is red.", role="assistant")
        messages = conversation(QUESTION, call("1"), result(), answer, ChatMessage("And now?", role="user"))

        assert not continues(messages)
        assert question_at(messages) == len(messages) - 1

    @pytest.mark.parametrize(
        ("said", "reported"),
        [
            ("Thought: look.\nAction: look\nAction Input: {}", "Observation: red"),
            ("no action", "Error while parsing the output: Could not parse output.\n\nThe output should be…"),
            ("", "FAILURE: Your previous response was empty.\nYou must output a thought and an action/answer."),
            ("<execute>print(1)</execute>", "Result of executing the code given:\n\n1"),
        ],
    )
    def test_what_agents_report_as_the_user_is_no_question(self, said: str, reported: str) -> None:
        messages = talk(("user", "Which colour?"), ("assistant", said), ("user", reported))

        assert continues(messages)
        assert question_at(messages) == 0

    def test_a_user_who_writes_like_an_agent_asks(self) -> None:
        messages = talk(("user", "Observation: it rains. Why?"))

        assert not continues(messages)
        assert question_at(messages) == 0

    def test_the_last_word_of_an_agent_that_ran_out_of_steps_belongs_to_its_turn(self) -> None:
        assert continues(talk(("user", "Which colour?"), ("system", EARLY)))
        assert not continues(talk(("user", "Which colour?"), ("system", "Answer in French.")))

    def test_what_goes_on_with_a_models_own_words_belongs_to_their_turn(self) -> None:
        messages = talk(("user", "Which colour?"), ("assistant", "It is"))

        assert continues(messages)
        assert [message.text for message in asked(messages)] == ["Which colour?"]

    def test_instructions_after_a_question_are_seen_with_it(self) -> None:
        messages = talk(("user", "Which colour?"), ("system", "Answer in French."))

        assert asked(messages) == messages

    def test_without_a_user_there_is_no_question(self) -> None:
        assert question_at(talk(("system", "s"))) is None
        assert traces(talk(("system", "s")), "n") == ()


def known_again(first: Sequence[Message], step: ChatMessage | None, later: Sequence[Message], **spaces: str) -> bool:
    taken = to_engine([step])[0] if step is not None else None
    left = left_by(first, taken, spaces.get("left", "n"))
    return bool(set(left) & set(traces(later, spaces.get("looked", "n"))))


class TestKnownAgain:
    @pytest.mark.parametrize("call_id", ["1", "look"])
    def test_by_the_conversation(self, call_id: str) -> None:
        step = call(call_id)

        assert known_again(conversation(QUESTION), step, conversation(QUESTION, step, result()))

    def test_where_the_steps_were_written_anew(self) -> None:
        later = talk(("user", "Which colour?"), ("assistant", "Thought: other words"), ("user", "Observation: red"))

        assert known_again(talk(("user", "Which colour?")), ChatMessage("Thought: words", role="assistant"), later)

    def test_where_an_agents_state_was_put_around_the_question(self) -> None:
        rendered = DEFAULT_STATE_PROMPT.format(state={"visits": 1}, msg="Which colour?")
        step = ChatMessage("<execute>1</execute>", role="assistant")
        later = talk(("user", "Which colour?"), ("assistant", "1"), ("user", "Result of executing the code given: 1"))

        assert known_again(talk(("user", rendered)), step, later)
        assert asked(talk(("user", rendered)))[-1].text == "Which colour?"

    @pytest.mark.parametrize(
        "before",
        [[ChatMessage("a summary", role="system")], [ChatMessage("earlier", role="user"), call("0"), result()], []],
    )
    def test_where_what_came_before_was_trimmed_or_rendered_another_way(self, before: list[ChatMessage]) -> None:
        step = call("call_7")
        rendered = ChatMessage("<state>{}</state> Which colour?", role="user")

        assert known_again(conversation(rendered), step, conversation(*before, QUESTION, step, result()))

    def test_where_a_retry_repeats_the_question(self) -> None:
        later = talk(("user", "q"), ("user", "q"), ("assistant", "no"), ("user", "Error while parsing the output: no"))

        assert known_again(talk(("user", "q")), ChatMessage("other", role="assistant"), later)

    def test_not_in_another_namespace(self) -> None:
        step = call("1")
        later = conversation(QUESTION, step, result())

        assert not known_again(conversation(QUESTION), step, later, left="a", looked="b")

    @pytest.mark.parametrize(
        "other",
        [
            (("user", "other"),),
            (("user", "p"), ("assistant", "a"), ("user", "Which colour?")),
            (("system", "Which colour?"), ("user", "Which colour?")),
        ],
    )
    def test_not_by_another_conversation(self, other: tuple[tuple[str, str], ...]) -> None:
        later = (*talk(*other), *conversation(call("2"), result()))

        assert not known_again(conversation(QUESTION), call("1"), later)

    def test_lone_surrogates_are_told_apart(self) -> None:
        assert traces(talk(("user", "\ud83d")), "n") != traces(talk(("user", "\ud83c")), "n")


def test_the_least_recently_used_is_forgotten() -> None:
    recent: Recent[Route] = Recent(limit=2)
    recent.put("a", Route("weak"))
    recent.put("b", Route("weak"))
    assert recent.get("a") == Route("weak")
    recent.put("c", Route("strong"))

    assert [recent.get(key) for key in "abc"] == [Route("weak"), None, Route("strong")]
    assert recent.first(["b", "c", "a"]) == Route("strong")
    assert recent.first(["b"]) is None
