"""The ladder that finds the user's question, and the turns of a tool loop."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.agent.workflow.prompts import DEFAULT_STATE_PROMPT
from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    VideoBlock,
)
from llama_index.core.indices.document_summary.base import DEFAULT_SUMMARY_QUERY
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate, PromptType, RichPromptTemplate
from llama_index.core.prompts.default_prompts import DEFAULT_REFINE_PROMPT, DEFAULT_TEXT_QA_PROMPT
from llama_index.core.schema import QueryBundle
from llama_index.core.selectors.prompts import DEFAULT_SINGLE_PYD_SELECT_PROMPT_TMPL
from pydantic import BaseModel

from llama_index_rar.keys import Found, agent_tools, find, prompted
from llama_index_rar.messages import to_engine
from llama_index_rar.prompts import ANSWER, REFINE, Purpose, recognise
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
        "name", ["query_str", "question", "query", "user_query", "user_input", "user_msg", "input"]
    )
    def test_a_variable_that_holds_the_query_is_known_by_its_name(self, name: str) -> None:
        assert origin(f"{{{name}}}", **{name: "Why?"}).query == "Why?"

    @pytest.mark.parametrize("given", [QueryBundle("Why?"), ChatMessage("Why?"), [ChatMessage("Why?")]])
    def test_queries_are_given_as_bundles_and_messages_too(self, given: Any) -> None:
        assert origin("{query_str}", query_str=given).query == "Why?"

    def test_mapped_variables_hold_the_query_by_both_names(self) -> None:
        template = PromptTemplate("{my_question}", template_var_mappings={"query_str": "my_question"})

        assert prompted(template, {"query_str": "Why?"}, {}).query == "Why?"
        assert prompted(template, {"my_question": "Why?"}, {}).query == "Why?"

    def test_functions_of_a_template_are_not_called_a_second_time(self) -> None:
        calls = []
        template = PromptTemplate(
            "{context_str} {query_str}", function_mappings={"context_str": lambda **given: calls.append(given)}
        )
        assert prompted(template, {"query_str": "Why?"}, {}).query == "Why?"
        assert calls == []

    @pytest.mark.parametrize(
        ("kind", "work", "learn"),
        [
            (PromptType.QUESTION_ANSWER, "answer", True),
            (PromptType.SUMMARY, "answer", True),
            (PromptType.SIMPLE_INPUT, "answer", True),
            (PromptType.SQL_RESPONSE_SYNTHESIS, "answer", True),
            (PromptType.SQL_RESPONSE_SYNTHESIS_V2, "answer", True),
            (PromptType.REFINE, "answer", False),
            (PromptType.SINGLE_SELECT, "select", False),
            (PromptType.CHOICE_SELECT, "rank", False),
            (PromptType.TEXT_TO_SQL, "query", False),
            (PromptType.DECOMPOSE, "decompose", False),
            (PromptType.QUERY_KEYWORD_EXTRACT, "expand", False),
            ("someones own", "other:someones own", False),
        ],
    )
    def test_a_prompts_type_says_what_it_is_for(self, kind: str, work: str, learn: bool) -> None:
        assert origin("{query_str}", kind, query_str="Why?").purpose == Purpose(work, learn)

    def test_every_type_of_the_framework_has_a_purpose(self) -> None:
        works = {kind: origin("{query_str}", kind, query_str="Why?").purpose.work for kind in PromptType}

        assert not [kind for kind, work in works.items() if work.startswith("other")]

    def test_a_summary_without_a_question_is_of_a_document(self) -> None:
        summary = origin("Sum it up: {context_str}", PromptType.SUMMARY, context_str="A long text.")

        assert (summary.purpose, summary.boilerplate) == (Purpose("summarise", learn=False), True)

    @pytest.mark.parametrize(
        ("template", "work", "learn"),
        [
            ("{context_str} {query_str}", "answer", True),
            ("Documents:\n- {context_str}\n\nQuery: {query_str}", "answer", True),
            ("You are a helpful assistant.\n{query_str}", "answer", True),
            ("Today is 2026-11-28. {query_str}", "answer", True),
            ("Answer in one sentence: {question}", "answer", True),
            ("Beantworte die Frage aus dem Kontext.\n{context_str}\nFrage: {query_str}\nAntwort:", "answer", True),
            ("{chat_history}\nUser: {question}\nAssistant:", "answer", True),
            ("{existing_answer} {query_str}", "answer", False),
            # What a user's own words order, of whatever component they are the prompt.
            ("Translate this into French: {query_str}", "translate", True),
            ("Rephrase the question so that it stands alone.\n{chat_history}\n{question}", "rephrase", False),
            ("Rank these passages by their relevance to {query_str}:\n{context_str}", "rank", False),
            ("Extract all that matters to {query_str} from this text:\n{context_str}", "extract", False),
            ("{query} {response}", "evaluate", False),
            # What only some component fills in, whatever the words.
            ("One statement of {dialect}, please, over {schema}: {query_str}", "query", False),
            ("{context_list}\nWhich of these {num_choices} is about {query_str}?", "select", False),
            ("At most {max_keywords} other words for {query_str}", "expand", False),
            ("{num_queries} more like {query}", "expand", False),
            ("{tools_str} {query_str}", "decompose", False),
            ("Put {sql_response_str} into words for {query_str}", "answer", True),
        ],
    )
    def test_a_prompt_of_no_type_is_known_by_variables_and_words(self, template: str, work: str, learn: bool) -> None:
        variables = PromptTemplate(template).template_vars

        assert origin(template, **dict.fromkeys(variables, "something")).purpose == Purpose(work, learn)

    @pytest.mark.parametrize(
        "template", ["Write a poem about {query}", "How hard is this, 1 to 10?\nQuestion: {query}"]
    )
    def test_an_unknown_order_is_a_task_of_its_own(self, template: str) -> None:
        purpose = origin(template, query="llamas").purpose

        assert purpose.work.startswith("other:") and purpose.learn
        assert purpose == origin(template, query="lamps").purpose
        assert purpose != origin("Draw a picture of {query}", query="llamas").purpose

    def test_the_same_words_are_one_task_in_every_kind_of_template(self) -> None:
        plain = origin("Write a poem about {query}", query="llamas")
        rich = prompted(RichPromptTemplate("Write a poem about {{ query }}"), {"query": "llamas"}, {})
        messages = [ChatMessage("Write a poem about {query}")]
        chat = prompted(ChatPromptTemplate(messages), {"query": "llamas"}, {})

        assert plain.purpose == rich.purpose == chat.purpose
        assert plain.query == rich.query == chat.query == "llamas"

    def test_what_was_said_before_orders_nothing(self) -> None:
        """Chat engines keep the conversation in their templates, before the query."""
        messages = [
            ChatMessage("Answer the user.", role="system"),
            ChatMessage("Translate this into French: hello"),
            ChatMessage("bonjour", role="assistant"),
            ChatMessage("{query_str}"),
        ]
        assert prompted(ChatPromptTemplate(messages), {"query_str": "Why?"}, {}).purpose == ANSWER

    def test_a_prompt_about_a_text_is_no_question(self) -> None:
        assert origin("Keywords of {context_str}", context_str="c").boilerplate
        assert not origin("Tell me about {topic}", topic="llamas").boilerplate


def asked(*messages: ChatMessage, origin: Any = None) -> Found:
    return find(to_engine(messages), origin)


class TestRecognition:
    def test_context_that_looks_like_the_template_does_not_confuse_it(self) -> None:
        context = "Query: is this it?\nAnswer: \n---------------------\nno"
        text = DEFAULT_TEXT_QA_PROMPT.format(context_str=context, query_str="Why?\nOr why not?")

        assert recognise(text).query == "Why?\nOr why not?"  # type: ignore[union-attr]

    def test_refining_is_recognised(self) -> None:
        text = DEFAULT_REFINE_PROMPT.format(query_str="Why?", existing_answer="a", context_msg="c")

        assert recognise(text).purpose is REFINE  # type: ignore[union-attr]

    def test_a_quote_in_the_question_of_a_selector_is_kept(self) -> None:
        text = DEFAULT_SINGLE_PYD_SELECT_PROMPT_TMPL.format(num_choices=1, context_list="x", query_str="Who's who?")

        assert recognise(text).query == "Who's who?"  # type: ignore[union-attr]

    @pytest.mark.parametrize(
        "text", ["", "Why?", "Context information is below.", "x" * 10_000, "user: ", "Question: "]
    )
    def test_what_users_write_is_not_recognised(self, text: str) -> None:
        assert recognise(text) is None

    def test_a_framework_prompt_as_the_query_of_another_says_what_it_is_for(self) -> None:
        summary = DEFAULT_TEXT_QA_PROMPT.format(context_str="A text.", query_str=DEFAULT_SUMMARY_QUERY)
        found = asked(ChatMessage(summary))

        assert (found.key.text, found.purpose) == (None, Purpose("summarise", learn=False))

    def test_instructions_of_an_output_parser_are_a_form_and_no_question(self) -> None:
        class Lamp(BaseModel):
            watts: int

        class Hinge(BaseModel):
            size: float

        plain = asked(ChatMessage("How bright is it?"))
        lamp, hinge = (asked(ChatMessage(PydanticOutputParser(of).format("How bright is it?"))) for of in (Lamp, Hinge))

        assert plain.key.text == lamp.key.text == hinge.key.text == "How bright is it?"
        assert len({plain.format, lamp.format, hinge.format}) == 3

    def test_what_memory_puts_before_a_message_is_no_question(self) -> None:
        remembered = TextBlock(text="\n<memory>\n<facts>\nTranslate all I say.\n</facts>\n</memory>\n")
        found = asked(
            ChatMessage(role="user", blocks=[remembered, TextBlock(text="How bright is the lamp in the hall?")])
        )

        assert (found.key.text, found.purpose) == ("How bright is the lamp in the hall?", ANSWER)
        beside = asked(
            ChatMessage(role="system", blocks=[remembered]), ChatMessage("How bright is the lamp in the hall?")
        )
        assert (beside.key.text, beside.purpose) == ("How bright is the lamp in the hall?", ANSWER)

    @pytest.mark.parametrize(
        "prompt",
        ["[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nQuestion: {q} [/INST]", "<|user|>\nQuestion: {q}</s>\n<|assistant|>\n"],
    )
    def test_marks_of_a_models_own_format_are_no_question(self, prompt: str) -> None:
        context = "Context: the lamp is red.\n"

        assert asked(ChatMessage(prompt.replace("Question", f"{context}Question").format(q="Why?"))).key.text == "Why?"

    def test_the_tools_of_agents_are_read_from_the_system_message(self) -> None:
        header = "## Tools\n> Tool Name: add\nTool Description: x\n> Tool Name: multiply\nAction Input: {}"
        code = "Write <execute>print(1)</execute>. You have:\ndef add(a: int) -> int:\n  ..."

        assert agent_tools(conversation(("system", header), ("user", "q"))) == ["add", "multiply"]
        assert agent_tools(conversation(("system", code), ("user", "q"))) == ["execute", "add"]
        assert agent_tools(conversation(("user", header))) == []


# Prompts as users write them for `complete` and `chat`, in the forms of the framework's guides.
RAG_PROMPTS = [
    "Some context is below.\n-----\n{context_str}\n-----\nGiven it, please answer the question: {query_str}\n",
    "Context is below.\n-----\n{context_str}\n-----\nAnswer the query like a sailor.\nQuery: {query_str}\nAnswer: ",
    "Use the following context to answer the question.\nQuestion: {query_str} \nContext: {context_str} \nAnswer:",
    "This was found:\n\n<context>\n{context_str}\n</context>\n\nUsing it, answer the question:\n{query_str}",
    "You advise lawyers.\n\nLegal Documents:\n{context_str}\n\nUser Question: {query_str}\nYour advice:",
    "{context_str}\n\nBased on the above context, please answer the following question: {query_str}",
    "## Context\n{context_str}\n\n## Question\n{query_str}\n",
    "We have context:\n{context_str}\nInstruction: Answer from it.\nUser query: {query_str}\nResponse:",
    "<documents>\n{context_str}\n</documents>\n<question>{query_str}</question>\nAnswer in one sentence.",
    "Kontext:\n{context_str}\n\nFrage: {query_str}\nAntwort:",
    "Some pages:\n###\n{context_str}\n###\nWith these, reply to a customer.\nQuestion: {query_str}\nYour reply:",
    "Context from many sources:\n-----\n{context_str}\n-----\nQ: {query_str}\nA:",
]


@pytest.mark.parametrize("template", RAG_PROMPTS)
def test_a_rag_prompt_has_the_same_key_and_task_on_every_road(template: str) -> None:
    values = {
        "query_str": "How long is the hinge under warranty?",
        "context_str": "One year.\n\nIt is made in Ulm.\nAll.",
    }
    prompt = PromptTemplate(template)
    rich = RichPromptTemplate(template.replace("{", "{{").replace("}", "}}"))

    roads = [
        asked(*prompt.format_messages(**values), origin=prompted(prompt, values, {})),
        asked(*rich.format_messages(**values), origin=prompted(rich, values, {})),
        asked(*rich.format_messages(**values)),
        asked(ChatMessage(prompt.format(**values))),
        asked(ChatMessage("You are a kind assistant.", role="system"), ChatMessage(prompt.format(**values))),
    ]
    assert {(found.key.text, found.purpose) for found in roads} == {(values["query_str"], ANSWER)}


class TestConversations:
    def test_a_short_turn_is_another_in_another_conversation(self) -> None:
        def yes(answer: str) -> str | None:
            return asked(ChatMessage("Which lamp?"), ChatMessage(answer, role="assistant"), ChatMessage("yes")).key.text

        assert yes("The red one?") == yes("The red one?") != yes("The blue one?")

    def test_a_short_turn_of_a_template_is_too(self) -> None:
        def yes(answer: str) -> str | None:
            chat = ChatPromptTemplate(
                [ChatMessage("Which lamp?"), ChatMessage(answer, role="assistant"), ChatMessage("{query_str}")]
            )
            values = {"query_str": "yes"}
            return asked(*chat.format_messages(**values), origin=prompted(chat, values, {})).key.text

        assert yes("The red one?") == yes("The red one?") != yes("The blue one?")

    def test_a_conversation_in_a_variable_is_one_too(self) -> None:
        def yes(history: str) -> str | None:
            template = PromptTemplate("Answer the user.\n{chat_history}\nUser: {query_str}")
            values = {"query_str": "yes", "chat_history": history}
            return asked(*template.format_messages(**values), origin=prompted(template, values, {})).key.text

        assert yes("assistant: The red one?") == yes("assistant: The red one?") != yes("assistant: The blue one?")

    @pytest.mark.parametrize(
        "block",
        [
            ImageBlock(url="https://example.com/a.png"), AudioBlock(url="https://example.com/a.mp3"),
            VideoBlock(url="https://example.com/a.mp4"), DocumentBlock(url="https://example.com/a.pdf"),
        ],
    )  # fmt: skip
    def test_a_turn_without_text_has_no_key_and_with_text_one_of_its_own(self, block: Any) -> None:
        earlier = [ChatMessage("Which colour has the lamp?"), ChatMessage("red", role="assistant")]
        other = type(block)(url="https://example.com/b")
        what = TextBlock(text="What can you tell me about all of this?")

        assert asked(ChatMessage(role="user", blocks=[block])).key.text is None
        assert asked(*earlier, ChatMessage(role="user", blocks=[block])).key.text is None
        assert asked(*earlier, ChatMessage(role="user", blocks=[block, TextBlock(text=" ")])).key.text is None
        keys = {
            asked(ChatMessage(role="user", blocks=blocks)).key.text for blocks in ([what], [block, what], [other, what])
        }
        assert len(keys) == 3 and None not in keys

    def test_a_state_beside_the_message_is_none_of_it(self) -> None:
        for prompt in (
            DEFAULT_STATE_PROMPT,
            "Current state: {state}. User message: {msg}",
            "The state of things:\n{state}\n\nThe user's request:\n{msg}",
        ):
            found = asked(
                ChatMessage(prompt.format(state={"visits": 3, "user": "Ann"}, msg="Which colour has the lamp?"))
            )
            assert (found.key.text, found.purpose) == ("Which colour has the lamp?", ANSWER)
