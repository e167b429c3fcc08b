"""What the framework builds around an LLM, with a router in its place: it works, and the key is what the user asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import Document, Settings, SummaryIndex
from llama_index.core.base.response.schema import Response
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    CondenseQuestionChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.evaluation import CorrectnessEvaluator, FaithfulnessEvaluator, RelevancyEvaluator
from llama_index.core.llms.llm import LLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.selectors import LLMSingleSelector, PydanticMultiSelector, PydanticSingleSelector
from llama_index.core.tools import QueryEngineTool

from llama_index_rar import RouterLLM
from tests.contract.llama_index_llm import City
from tests.fake_openai import FakeOpenAI
from tests.llama_index.conftest import Observer

QUESTION = "Which city has 130000 inhabitants?"
MODES = ["compact", "refine", "tree_summarize", "accumulate", "simple_summarize"]
DOCUMENTS = [
    Document(text="Ulm has 130000 inhabitants. Query: this is context, not a question.\nAnswer: neither."),
    Document(text="Question: is this one? Context: no, it is context too."),
]


@pytest.fixture
def index() -> SummaryIndex:
    return SummaryIndex.from_documents(DOCUMENTS)


def asked_only(observer: Observer, question: str = QUESTION) -> None:
    """Every call was keyed by the user's question, as an answer to it."""
    assert observer.requests
    assert set(observer.keys) == {question}
    assert {request.task for request in observer.requests} == {"answer"}


class TestQueryEngines:
    @pytest.mark.parametrize("mode", MODES)
    def test_query_is_keyed_by_the_question(
        self, mode: str, index: SummaryIndex, router: RouterLLM, observer: Observer
    ) -> None:
        response = index.as_query_engine(llm=router, response_mode=mode).query(QUESTION)

        assert isinstance(response, Response) and response.response
        asked_only(observer)
        assert {request.key_source for request in observer.requests} == {"template_variable"}

    @pytest.mark.parametrize("mode", MODES)
    async def test_async_query_is_keyed_by_the_question(
        self, mode: str, index: SummaryIndex, router: RouterLLM, observer: Observer
    ) -> None:
        response = await index.as_query_engine(llm=router, response_mode=mode, use_async=True).aquery(QUESTION)

        assert isinstance(response, Response) and response.response
        asked_only(observer)

    @pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "accumulate"])
    def test_streamed_query_is_keyed_by_the_question(
        self, mode: str, index: SummaryIndex, router: RouterLLM, observer: Observer
    ) -> None:
        response: Any = index.as_query_engine(llm=router, response_mode=mode, streaming=True).query(QUESTION)

        assert "".join(response.response_gen)
        asked_only(observer)

    @pytest.mark.parametrize("mode", ["compact", "tree_summarize", "simple_summarize"])
    async def test_async_streamed_query_is_keyed_by_the_question(
        self, mode: str, index: SummaryIndex, router: RouterLLM, observer: Observer
    ) -> None:
        response: Any = await index.as_query_engine(llm=router, response_mode=mode, streaming=True).aquery(QUESTION)

        assert "".join([token async for token in response.async_response_gen()])
        asked_only(observer)

    @pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "accumulate"])
    def test_output_class_is_predicted_and_keyed_by_the_question(
        self, mode: str, index: SummaryIndex, router: RouterLLM, observer: Observer
    ) -> None:
        index.as_query_engine(llm=router, response_mode=mode, output_cls=City).query(QUESTION)

        assert set(observer.keys) == {QUESTION}
        assert all(request.task.startswith("schema:") for request in observer.requests)

    async def test_output_class_is_predicted_async(
        self, index: SummaryIndex, router: RouterLLM, observer: Observer
    ) -> None:
        await index.as_query_engine(llm=router, response_mode="tree_summarize", output_cls=City).aquery(QUESTION)

        assert set(observer.keys) == {QUESTION}

    def test_structured_llm_in_an_engine_is_keyed_by_the_question(
        self, index: SummaryIndex, router: RouterLLM, observer: Observer
    ) -> None:
        """It formats the prompt itself, so that only the text is left to tell the question from its context."""
        index.as_query_engine(llm=router.as_structured_llm(City)).query(QUESTION)

        assert set(observer.keys) == {QUESTION}
        assert observer.last.key_source == "template"

    def test_refining_uses_what_is_known_and_teaches_nothing(
        self, index: SummaryIndex, router: RouterLLM, observer: Observer
    ) -> None:
        index.as_query_engine(llm=router, response_mode="refine").query(QUESTION)

        assert [request.learn for request in observer.requests] == [True, False]

    def test_users_own_template_is_keyed_by_its_variable(
        self, index: SummaryIndex, router: RouterLLM, observer: Observer
    ) -> None:
        template = PromptTemplate("As a pirate, from {context_str}, tell: {query_str}")
        index.as_query_engine(llm=router, text_qa_template=template).query(QUESTION)

        asked_only(observer)
        assert observer.last.learn

    def test_router_as_the_default_llm(self, index: SummaryIndex, router: RouterLLM, observer: Observer) -> None:
        Settings.llm = router

        index.as_query_engine().query(QUESTION)
        assert Settings.llm is router
        asked_only(observer)

    def test_prompts_are_packed_for_the_smaller_window(
        self, openai: Callable[..., LLM], observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("small", "Ulm")
        weak = openai("small").model_copy(update={"context_window": 2000})
        router = RouterLLM(weak, openai("large"), memory=None, strategy=observer)
        index = SummaryIndex.from_documents([Document(text="word " * 100) for _ in range(30)])
        assert router.metadata.context_window == 2000

        index.as_query_engine(llm=router, response_mode="compact").query(QUESTION)
        assert len(observer.requests) > 1
        assert max(sum(len(m.text.split()) for m in request.messages) for request in observer.requests) <= 2000


class TestChatEngines:
    def test_simple(self, router: RouterLLM, observer: Observer) -> None:
        engine = SimpleChatEngine.from_defaults(llm=router, memory=ChatMemoryBuffer.from_defaults(llm=router))

        assert engine.chat(QUESTION).response
        asked_only(observer)

    def test_simple_streams(self, router: RouterLLM, observer: Observer) -> None:
        engine = SimpleChatEngine.from_defaults(llm=router, memory=ChatMemoryBuffer.from_defaults(llm=router))

        assert "".join(engine.stream_chat(QUESTION).response_gen)
        asked_only(observer)

    def test_a_follow_up_brings_the_question_before_it(self, router: RouterLLM, observer: Observer) -> None:
        engine = SimpleChatEngine.from_defaults(llm=router, memory=ChatMemoryBuffer.from_defaults(llm=router))
        answer = engine.chat(QUESTION).response
        engine.chat("And the second largest?")

        assert observer.last.key is not None
        assert observer.last.key.startswith(f"{QUESTION}\n{answer}\nAnd the second largest?\n[conversation ")
        assert observer.last.key_source == "last_user_message+history"

    def test_context(self, index: SummaryIndex, router: RouterLLM, observer: Observer) -> None:
        engine = ContextChatEngine.from_defaults(
            retriever=index.as_retriever(), llm=router, memory=ChatMemoryBuffer.from_defaults(llm=router)
        )

        assert engine.chat(QUESTION).response
        asked_only(observer)
        assert observer.requests[0].learn

    async def test_context_streams_async(self, index: SummaryIndex, router: RouterLLM, observer: Observer) -> None:
        engine = ContextChatEngine.from_defaults(
            retriever=index.as_retriever(), llm=router, memory=ChatMemoryBuffer.from_defaults(llm=router)
        )

        response = await engine.astream_chat(QUESTION)
        assert "".join([token async for token in response.async_response_gen()])
        asked_only(observer)

    def test_condense_question(self, index: SummaryIndex, router: RouterLLM, observer: Observer) -> None:
        engine = CondenseQuestionChatEngine.from_defaults(
            query_engine=index.as_query_engine(llm=router),
            llm=router,
            memory=ChatMemoryBuffer.from_defaults(llm=router),
            verbose=False,
        )
        engine.chat(QUESTION)
        asked_only(observer)

        engine.chat("And the second largest?")
        condensing = observer.requests[1]
        assert condensing.key == "And the second largest?"
        assert (condensing.task, condensing.learn) == ("rephrase", False)

    def test_condense_plus_context(self, index: SummaryIndex, router: RouterLLM, observer: Observer) -> None:
        engine = CondensePlusContextChatEngine.from_defaults(
            retriever=index.as_retriever(), llm=router, memory=ChatMemoryBuffer.from_defaults(llm=router)
        )
        answer = engine.chat(QUESTION).response
        asked_only(observer)
        answering = len(observer.requests)

        engine.chat("And the second largest?")
        condensing, *rest = observer.requests[answering:]
        assert condensing.key == "And the second largest?"
        assert (condensing.task, condensing.learn) == ("rephrase", False)
        # What "the second largest" is of, only the conversation says.
        key = rest[-1].key
        assert key is not None and key.startswith(f"{QUESTION}\n{answer}\nAnd the second largest?\n[conversation ")
        assert {request.key for request in rest} == {key}


class TestTheFrameworksOwnWork:
    """Prompts by which the framework works must not be taken for the user's questions."""

    @pytest.fixture
    def tools(self, index: SummaryIndex, router: RouterLLM) -> list[QueryEngineTool]:
        return [
            QueryEngineTool.from_defaults(index.as_query_engine(llm=router), name=name, description=f"About {name}")
            for name in ("cities", "rivers")
        ]

    def test_llm_selector(
        self, tools: list[QueryEngineTool], router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("small", '[{"choice": 1, "reason": "cities"}]', "Ulm")
        selector = LLMSingleSelector.from_defaults(llm=router)

        assert str(RouterQueryEngine(selector, tools, llm=router).query(QUESTION)) == "Ulm"
        selecting, answering = observer.requests
        assert (selecting.key, selecting.learn) == (QUESTION, False)
        assert selecting.task.startswith("select/schema:")  # the parser's instructions say the form
        assert (answering.key, answering.task, answering.learn) == (QUESTION, "answer", True)

    @pytest.mark.parametrize("selector", [PydanticSingleSelector, PydanticMultiSelector])
    def test_pydantic_selector(
        self, selector: Any, tools: list[QueryEngineTool], router: RouterLLM, observer: Observer
    ) -> None:
        from llama_index.core.base.base_selector import SelectorResult

        selected = selector.from_defaults(llm=router).select([tool.metadata for tool in tools], QUESTION)

        assert isinstance(selected, SelectorResult)
        assert (observer.last.key, observer.last.learn) == (QUESTION, False)
        assert observer.last.task.startswith("select/tools:")

    async def test_pydantic_selector_async(
        self, tools: list[QueryEngineTool], router: RouterLLM, observer: Observer
    ) -> None:
        await PydanticSingleSelector.from_defaults(llm=router).aselect([tool.metadata for tool in tools], QUESTION)

        assert (observer.last.key, observer.last.learn) == (QUESTION, False)

    def test_sub_questions(
        self, tools: list[QueryEngineTool], router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("small", '[{"sub_question": "How large is Ulm?", "tool_name": "cities"}]', "130000", "Ulm")
        engine = SubQuestionQueryEngine.from_defaults(
            tools,
            llm=router,
            question_gen=LLMQuestionGenerator.from_defaults(llm=router),
            use_async=False,
            verbose=False,
        )

        assert str(engine.query(QUESTION)) == "Ulm"
        splitting, sub, whole = observer.requests
        assert (splitting.key, splitting.task, splitting.learn) == (QUESTION, "decompose", False)
        assert (sub.key, sub.task) == ("How large is Ulm?", "answer")
        assert (whole.key, whole.task) == (QUESTION, "answer")

    async def test_correctness(self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI) -> None:
        fake_openai.script("small", "4.5\nIt is right.")
        result = await CorrectnessEvaluator(llm=router).aevaluate(QUESTION, "Ulm", reference="Ulm")

        assert result.score == 4.5
        assert (observer.last.key, observer.last.learn) == (QUESTION, False)
        assert observer.last.task == "evaluate"

    @pytest.mark.parametrize("evaluator", [FaithfulnessEvaluator, RelevancyEvaluator])
    async def test_evaluators_through_query_engines(
        self, evaluator: Any, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("small", "YES")
        contexts = [document.text for document in DOCUMENTS]
        result = await evaluator(llm=router).aevaluate(QUESTION, "Ulm", contexts=contexts)

        assert result.passing
        assert {request.task for request in observer.requests} == {"evaluate"}
        assert not any(request.learn for request in observer.requests)

    def test_query_rewriting(self, index: SummaryIndex, router: RouterLLM, observer: Observer) -> None:
        fusion = QueryFusionRetriever([index.as_retriever()], llm=router, num_queries=2, use_async=False)
        fusion.retrieve(QUESTION)

        assert (observer.last.key, observer.last.task, observer.last.learn) == (QUESTION, "expand", False)

    def test_prompts_without_a_question_have_no_key(self, router: RouterLLM, observer: Observer) -> None:
        router.predict(PromptTemplate("{context_str}. Give a title for this document."), context_str="A long text")

        assert observer.last.key is None
        assert observer.last.key_source == "none"
