"""The framework's components through a router: what answers the user is learned, steps on the way are kept apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import (
    Document,
    DocumentSummaryIndex,
    KeywordTableIndex,
    PropertyGraphIndex,
    SQLDatabase,
    SummaryIndex,
    TreeIndex,
    get_response_synthesizer,
)
from llama_index.core.evaluation import GuidelineEvaluator
from llama_index.core.graph_stores import SimplePropertyGraphStore
from llama_index.core.indices.property_graph import (
    CypherTemplateRetriever,
    LLMSynonymRetriever,
    SimpleLLMPathExtractor,
    TextToCypherRetriever,
)
from llama_index.core.indices.query.query_transform import HyDEQueryTransform, StepDecomposeQueryTransform
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatSummaryMemoryBuffer, FactExtractionMemoryBlock
from llama_index.core.postprocessor import LLMRerank, PIINodePostprocessor
from llama_index.core.postprocessor.rankGPT_rerank import RankGPTRerank
from llama_index.core.program import LLMTextCompletionProgram
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import (
    CitationQueryEngine,
    MultiStepQueryEngine,
    NLSQLTableQueryEngine,
    RetryGuidelineQueryEngine,
)
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from pydantic import BaseModel
from sqlalchemy import create_engine, text

from llama_index_rar import RouterLLM
from tests.fake_openai import FakeOpenAI
from tests.llama_index.conftest import Observer

QUESTION = "Which colour has the lamp in the hall?"
DOCUMENTS = [Document(text="The lamp has a colour."), Document(text="The hall has a lamp.")]
NODES = [NodeWithScore(node=TextNode(text=f"text {number}"), score=1.0) for number in range(2)]

Call = tuple[str | None, str, bool]  # key, task, learned
ANSWERED: Call = (QUESTION, "answer", True)


class Lamp(BaseModel):
    colour: str


class Graph(SimplePropertyGraphStore):
    supports_structured_queries: bool = True

    def structured_query(self, query: str, param_map: Any = None) -> Any:
        return [{"colour": "red"}]

    def get_schema(self, refresh: bool = False) -> Any:
        return "(Lamp)-[has]->(Colour)"

    def get_schema_str(self, refresh: bool = False) -> str:
        return "(Lamp)-[has]->(Colour)"


def property_graph(llm: RouterLLM) -> None:
    index = PropertyGraphIndex.from_documents(
        DOCUMENTS[:1],
        llm=llm,
        kg_extractors=[SimpleLLMPathExtractor(llm=llm)],
        property_graph_store=SimplePropertyGraphStore(),
        embed_kg_nodes=False,
    )
    index.as_query_engine(llm=llm, sub_retrievers=[LLMSynonymRetriever(index.property_graph_store, llm=llm)]).query(
        QUESTION
    )


def sql(llm: RouterLLM, **prompts: PromptTemplate) -> None:
    database = create_engine("sqlite://")
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE lamps (colour text)"))
    engine = NLSQLTableQueryEngine(SQLDatabase(database), tables=["lamps"], llm=llm, **prompts)
    engine.query(QUESTION)
    database.dispose()


def sql_by_own_prompts(llm: RouterLLM) -> None:
    sql(
        llm,
        text_to_sql_prompt=PromptTemplate("Be a {dialect} wizard. {schema}\nHelp with: {query_str}"),
        response_synthesis_prompt=PromptTemplate("{query_str}\n{sql_query} gave {context_str}. Put it into words."),
    )


def hyde(llm: RouterLLM, prompt: PromptTemplate | None = None) -> None:
    HyDEQueryTransform(llm=llm, hyde_prompt=prompt).run(QUESTION)


def hyde_by_own_prompt(llm: RouterLLM) -> None:
    hyde(llm, PromptTemplate("Write a paragraph of a manual that answers this question: {context_str}"))


def document_summary(llm: RouterLLM) -> None:
    index = DocumentSummaryIndex.from_documents(
        DOCUMENTS[:1], llm=llm, response_synthesizer=get_response_synthesizer(llm=llm), embed_summaries=False
    )
    index.as_query_engine(llm=llm, retriever_mode="llm").query(QUESTION)


def tree(llm: RouterLLM) -> None:
    TreeIndex.from_documents(DOCUMENTS * 2, llm=llm, num_children=2).as_query_engine(llm=llm).query(QUESTION)


def keywords(llm: RouterLLM) -> None:
    KeywordTableIndex.from_documents(DOCUMENTS[:1], llm=llm).as_query_engine(llm=llm).query(QUESTION)


def rank_gpt(llm: RouterLLM, prompt: PromptTemplate | None = None) -> None:
    reranker = RankGPTRerank(llm=llm, rankgpt_rerank_prompt=prompt)
    reranker.postprocess_nodes(NODES, QueryBundle(QUESTION))


def rank_gpt_by_own_prompt(llm: RouterLLM) -> None:
    rank_gpt(llm, PromptTemplate("Now put these {num} in order for {query}"))


def pii(llm: RouterLLM, **prompts: str) -> None:
    PIINodePostprocessor(llm=llm, **prompts).postprocess_nodes(NODES[:1], query_str=QUESTION)


def pii_by_own_prompt(llm: RouterLLM) -> None:
    pii(llm, pii_str_tmpl="Text: {context_str}\nDo this: {query_str}\n")


def steps(llm: RouterLLM) -> None:
    MultiStepQueryEngine(
        SummaryIndex.from_documents(DOCUMENTS[:1]).as_query_engine(llm=llm),
        StepDecomposeQueryTransform(llm=llm),
        index_summary="lamps",
        num_steps=1,
        response_synthesizer=get_response_synthesizer(llm=llm),
    ).query(QUESTION)


def retried(llm: RouterLLM) -> None:
    engine = SummaryIndex.from_documents(DOCUMENTS[:1]).as_query_engine(llm=llm)
    RetryGuidelineQueryEngine(engine, GuidelineEvaluator(llm=llm), max_retries=2).query(QUESTION)


def citations(llm: RouterLLM) -> None:
    CitationQueryEngine.from_args(SummaryIndex.from_documents(DOCUMENTS[:1]), llm=llm).query(QUESTION)


def facts(llm: RouterLLM) -> None:
    said = [ChatMessage(QUESTION), ChatMessage("It is red.", role="assistant")]
    asyncio.get_event_loop().run_until_complete(FactExtractionMemoryBlock(llm=llm, max_facts=1).aput(said))


def chat_summary(llm: RouterLLM) -> None:
    memory = ChatSummaryMemoryBuffer.from_defaults(llm=llm, token_limit=4)
    for _ in range(3):
        memory.put(ChatMessage(QUESTION))
        memory.put(ChatMessage("It is red.", role="assistant"))
    memory.get()


def program(llm: RouterLLM) -> None:
    template = "Context: the lamp is red.\nQuestion: {query_str}\nAnswer:"
    made = LLMTextCompletionProgram.from_defaults(output_cls=Lamp, prompt_template_str=template, llm=llm)
    assert made(query_str=QUESTION) == Lamp(colour="red")


def rerank(llm: RouterLLM) -> None:
    LLMRerank(llm=llm).postprocess_nodes(NODES, query_str=QUESTION)


@pytest.mark.parametrize(
    ("use", "replies", "calls"),
    [
        (property_graph, ["(Lamp, has, colour)", "lamp^light", "red"], ["extract", "expand", ANSWERED]),
        (sql, ["SELECT colour FROM lamps", "red"], ["query", ANSWERED]),
        (sql_by_own_prompts, ["SELECT colour FROM lamps", "red"], ["query", ANSWERED]),
        (hyde, ["It is red."], ["expand"]),
        (hyde_by_own_prompt, ["It is red."], ["answer"]),
        (document_summary, ["About lamps.", "Doc: 1, Relevance: 9", "red"], ["summarise", "rank", ANSWERED]),
        (tree, ["Lamps.", "Halls.", "ANSWER: 1", "ANSWER: 1", "red"], ["select", "select", ANSWERED]),
        (keywords, ["KEYWORDS: lamp", "KEYWORDS: lamp", "red"], ["extract", "expand", ANSWERED]),
        (rerank, ["Doc: 1, Relevance: 9"], ["rank"]),
        (rank_gpt, ["[1] > [2]"], ["rank"]),
        (rank_gpt_by_own_prompt, ["[1] > [2]"], ["rank"]),
        (pii, ["[NAME] Output Mapping: {}"], ["redact"]),
        (pii_by_own_prompt, ["[NAME] Output Mapping: {}"], ["redact"]),
        (steps, ["Is there a lamp?", "yes", "red"], ["decompose", ("Is there a lamp?", "answer", True), ANSWERED]),
        (citations, ["red [1]"], [ANSWERED]),
        (facts, ["<facts><fact>a</fact><fact>b</fact></facts>"] * 2, ["extract", "extract"]),
        (chat_summary, ["Lamps were spoken of."], ["summarise"]),
    ],
)
def test_what_is_learned_of_a_component(
    use: Callable[[RouterLLM], None],
    replies: list[str],
    calls: list[str | Call],
    router: RouterLLM,
    observer: Observer,
    fake_openai: FakeOpenAI,
) -> None:
    """A call is given by its work, if nothing is learned from it; the last calls are looked at."""
    fake_openai.script("small", *replies)
    use(router)

    seen = [(request.key, request.task, request.learn) for request in observer.requests]
    assert [call if call[2] else call[1] for call in seen][-len(calls) :] == calls
    assert all(not learn or task == "answer" for _, task, learn in seen)


def test_a_second_try_adds_nothing_and_is_keyed_by_the_question(
    router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
) -> None:
    from llama_index.core import Settings

    Settings.llm = router  # with which the framework rephrases
    fake_openai.script(
        "small", "red", '{"passing": false, "feedback": "Say more."}', "It is red.", '{"passing": true, "feedback": ""}'
    )
    retried(router)

    first, judged, second = observer.requests[:3]
    assert (first.key, first.task, first.learn) == ANSWERED
    assert (judged.key, judged.learn) == (QUESTION, False)
    assert (second.key, second.task, second.learn) == (QUESTION, "answer", False)


def test_a_program_whose_parser_asks_for_json_has_the_question_and_a_form(
    router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", '{"colour": "red"}')
    program(router)

    assert observer.last.key == QUESTION
    assert observer.last.task.startswith("schema:")


def test_graph_queries_are_steps_and_their_results_answers(
    router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", "MATCH (l:Lamp) RETURN l", "red")
    TextToCypherRetriever(Graph(), llm=router, summarize_response=True).retrieve(QUESTION)
    CypherTemplateRetriever(Graph(), Lamp, "MATCH (l {colour: $colour}) RETURN l", llm=router).retrieve(QUESTION)

    asked, told, filled = observer.requests
    assert (asked.key, asked.task, asked.learn) == (QUESTION, "query", False)
    assert (told.task, told.learn) == ("answer", True)
    assert (filled.key, filled.task.startswith("schema:")) == (QUESTION, True)


def test_a_step_leaves_no_verdict_for_the_users_question(openai: Callable[..., Any], fake_openai: FakeOpenAI) -> None:
    """Both models know the same synonyms; only the strong one knows the colour."""
    router = RouterLLM(
        openai("small"), openai("large"), memory=":memory:", embedder="hashing", judge="exact", learning="inline",
        learning_budget=None, guides=False, audit_rate=0.0,
    )  # fmt: skip
    fake_openai.script("small", lambda body: "lamp^light" if "KEYWORDS:" in str(body) else "violet")
    fake_openai.script("large", lambda body: "lamp^light" if "KEYWORDS:" in str(body) else "red")
    index = SummaryIndex.from_documents(DOCUMENTS)
    synonyms = LLMSynonymRetriever(SimplePropertyGraphStore(), llm=router)

    for _ in range(4):
        synonyms.retrieve(QUESTION)
        assert str(index.as_query_engine(llm=router).query(QUESTION)) == "red"
