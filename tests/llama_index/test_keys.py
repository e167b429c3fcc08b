"""The ladder that finds the user's question, and the turns of a tool loop."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.prompts import PromptTemplate, PromptType
from llama_index.core.prompts.default_prompts import DEFAULT_REFINE_PROMPT, DEFAULT_TEXT_QA_PROMPT
from llama_index.core.selectors.prompts import DEFAULT_SINGLE_PYD_SELECT_PROMPT_TMPL

from llama_index_rar.keys import ANSWER, REFINE, _known, prompted, react_tools, recognise
from rar.values import Message


def origin(template: str, prompt_type: str = PromptType.CUSTOM, **values: Any) -> Any:
    return prompted(PromptTemplate(template, prompt_type=prompt_type), values, {})


def conversation(*turns: tuple[Any, str]) -> list[Message]:
    return [Message(role, text) for role, text in turns]


class TestTemplates:
    def test_partials_hold_the_query_too(self) -> None:
        template = DEFAULT_TEXT_QA_PROMPT.partial_format(query_str="Why?")

        assert prompted(template, {"context_str": "Because."}, {}).query == "Why?"

    @pytest.mark.parametrize(
        ("kind", "task", "learn"),
        [
            (PromptType.QUESTION_ANSWER, None, True),
            (PromptType.SUMMARY, None, True),
            (PromptType.SIMPLE_INPUT, None, True),
            (PromptType.REFINE, None, False),
            (PromptType.SINGLE_SELECT, "llama_index:single_select", False),
            (PromptType.TEXT_TO_SQL, "llama_index:text_to_sql", False),
            ("someones own", "llama_index:someones own", False),
        ],
    )
    def test_a_prompts_type_says_what_it_is_for(self, kind: str, task: str | None, learn: bool) -> None:
        purpose = origin("{query_str}", kind, query_str="Why?").purpose

        assert (purpose.task, purpose.learn) == (task, learn)

    def test_prompts_of_no_type_are_known_by_their_variables(self) -> None:
        assert origin("{context_str} {query_str}", context_str="c", query_str="q").purpose is ANSWER
        assert origin("{existing_answer} {query_str}", existing_answer="a", query_str="q").purpose is REFINE
        assert origin("{query} {response}", query="q", response="r").purpose.task == "llama_index:custom"

    def test_a_prompt_about_a_text_is_no_question(self) -> None:
        assert origin("Keywords of {context_str}", context_str="c").boilerplate
        assert not origin("Tell me about {topic}", topic="llamas").boilerplate


class TestRecognition:
    def test_every_template_of_the_framework_is_recognised_with_its_query(self) -> None:
        for known in _known():
            filled = "".join(
                literal + (f"<{variable}>" if variable else "")
                for literal, variable in zip(known.literals, (*known.variables, ""), strict=True)
            )
            found = recognise(filled)
            assert found is not None
            assert found.purpose == known.purpose
            assert found.query in {"<query_str>", "<query>", "<question>"}

    def test_context_that_looks_like_the_template_does_not_confuse_it(self) -> None:
        context = "Query: is this it?\nAnswer: \n---------------------\nno"
        text = DEFAULT_TEXT_QA_PROMPT.format(context_str=context, query_str="Why?\nOr why not?")

        assert recognise(text).query == "Why?\nOr why not?"  # type: ignore[union-attr]

    def test_text_after_the_template_does_not_matter(self) -> None:
        """Output parsers append their instructions."""
        text = DEFAULT_TEXT_QA_PROMPT.format(context_str="c", query_str="Why?") + "\nHere's a JSON schema to follow: {}"

        assert recognise(text).query == "Why?"  # type: ignore[union-attr]

    def test_refining_is_recognised(self) -> None:
        text = DEFAULT_REFINE_PROMPT.format(query_str="Why?", existing_answer="a", context_msg="c")

        assert recognise(text).purpose is REFINE  # type: ignore[union-attr]

    def test_a_quote_in_the_question_of_a_selector_is_kept(self) -> None:
        text = DEFAULT_SINGLE_PYD_SELECT_PROMPT_TMPL.format(num_choices=1, context_list="x", query_str="Who's who?")

        assert recognise(text).query == "Who's who?"  # type: ignore[union-attr]

    @pytest.mark.parametrize("text", ["", "Why?", "Context information is below.", "x" * 10_000])
    def test_what_users_write_is_not_recognised(self, text: str) -> None:
        assert recognise(text) is None

    def test_react_tools_are_read_from_the_system_message(self) -> None:
        header = "## Tools\n> Tool Name: add\nTool Description: x\n> Tool Name: multiply\nAction Input: {}"

        assert react_tools(conversation(("system", header), ("user", "q"))) == ["add", "multiply"]
        assert react_tools(conversation(("user", header))) == []
