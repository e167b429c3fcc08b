"""Every prompt of llama-index-core: its work, whether it is learned, and where the user's question is in it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from typing import Any

import llama_index.core
import pytest
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate, RichPromptTemplate

from llama_index_rar.keys import Found, find, prompted
from llama_index_rar.messages import to_engine
from llama_index_rar.prompts import recognise

QUESTION = "Which colour has the lamp?"

# The work, then the prompts' names under `llama_index.core`, each with the variable that holds the user's question.
# Of "answer" all is learned; of "refine", which answers too, and of the rest nothing is.
TABLE = {
    "answer": """
        prompts.default_prompts.DEFAULT_TEXT_QA_PROMPT_TMPL query_str
        prompts.default_prompts.DEFAULT_TREE_SUMMARIZE_TMPL query_str
        prompts.default_prompts.DEFAULT_SIMPLE_INPUT_TMPL query_str
        prompts.chat_prompts.CHAT_TEXT_QA_PROMPT query_str
        prompts.chat_prompts.CHAT_TREE_SUMMARIZE_PROMPT query_str
        prompts.chat_prompts.CHAT_SIMPLE_INPUT_PROMPT query_str
        prompts.chat_prompts.CHAT_CONTENT_QA_PROMPT query_str
        prompts.chat_prompts.CHAT_CONTENT_TREE_SUMMARIZE_PROMPT query_str
        query_engine.citation_query_engine.CITATION_QA_TEMPLATE query_str
        query_engine.citation_query_engine.CITATION_CHAT_CONTENT_QA_TEMPLATE query_str
        chat_engine.context.DEFAULT_CONTEXT_TEMPLATE -
        chat_engine.condense_plus_context.DEFAULT_CONTEXT_PROMPT_TEMPLATE -
        agent.workflow.prompts.DEFAULT_STATE_PROMPT msg
        indices.struct_store.sql_query.DEFAULT_RESPONSE_SYNTHESIS_PROMPT_TMPL query_str
        indices.struct_store.sql_query.DEFAULT_RESPONSE_SYNTHESIS_PROMPT_TMPL_V2 query_str
        indices.struct_store.json_query.DEFAULT_RESPONSE_SYNTHESIS_PROMPT_TMPL query_str
        indices.property_graph.sub_retrievers.text_to_cypher.DEFAULT_SUMMARY_TEMPLATE question
        query_engine.knowledge_graph_query_engine.DEFAULT_KG_RESPONSE_ANSWER_PROMPT_TMPL query_str
        query_engine.sql_join_query_engine.DEFAULT_SQL_JOIN_SYNTHESIS_PROMPT_TMPL query_str
        query_engine.sql_vector_query_engine.DEFAULT_SQL_VECTOR_SYNTHESIS_PROMPT_TMPL query_str
        indices.query.query_transform.prompts.DEFAULT_IMAGE_OUTPUT_TMPL query_str
    """,
    "refine": """
        prompts.default_prompts.DEFAULT_REFINE_PROMPT_TMPL query_str
        prompts.chat_prompts.CHAT_REFINE_PROMPT query_str
        prompts.chat_prompts.CHAT_CONTENT_REFINE_PROMPT query_str
        query_engine.citation_query_engine.CITATION_REFINE_TEMPLATE query_str
        query_engine.citation_query_engine.CITATION_CHAT_CONTENT_REFINE_TEMPLATE query_str
        chat_engine.context.DEFAULT_REFINE_TEMPLATE -
        chat_engine.condense_plus_context.DEFAULT_CONTEXT_REFINE_PROMPT_TEMPLATE -
        agent.workflow.prompts.DEFAULT_EARLY_STOPPING_PROMPT -
    """,
    "rephrase": """
        chat_engine.condense_plus_context.DEFAULT_CONDENSE_PROMPT_TEMPLATE question
        chat_engine.condense_question.DEFAULT_TEMPLATE question
        indices.query.query_transform.feedback_transform.DEFAULT_RESYNTHESIS_PROMPT_TMPL query_str
        query_engine.sql_join_query_engine.DEFAULT_SQL_AUGMENT_TRANSFORM_PROMPT_TMPL query_str
    """,
    "decompose": """
        indices.query.query_transform.prompts.DEFAULT_DECOMPOSE_QUERY_TRANSFORM_TMPL query_str
        indices.query.query_transform.prompts.DEFAULT_STEP_DECOMPOSE_QUERY_TRANSFORM_TMPL query_str
        question_gen.prompts.DEFAULT_SUB_QUESTION_PROMPT_TMPL query_str
    """,
    "expand": """
        retrievers.fusion_retriever.QUERY_GEN_PROMPT query
        prompts.default_prompts.HYDE_TMPL context_str
        prompts.default_prompts.DEFAULT_QUERY_KEYWORD_EXTRACT_TEMPLATE_TMPL question
        indices.knowledge_graph.retrievers.DEFAULT_SYNONYM_EXPAND_TEMPLATE question
        indices.property_graph.sub_retrievers.llm_synonym.DEFAULT_SYNONYM_EXPAND_TEMPLATE query_str
    """,
    "query": """
        prompts.default_prompts.DEFAULT_TEXT_TO_SQL_TMPL query_str
        prompts.default_prompts.DEFAULT_TEXT_TO_SQL_PGVECTOR_TMPL query_str
        prompts.default_prompts.DEFAULT_JSON_PATH_TMPL query_str
        prompts.default_prompts.DEFAULT_JSONALYZE_PROMPT_TMPL question
        graph_stores.prompts.DEFAULT_CYPHER_TEMPALTE_STR question
        indices.vector_store.retrievers.auto_retriever.prompts.DEFAULT_VECTOR_STORE_QUERY_PROMPT_TMPL query_str
    """,
    "plan": """
        query_engine.flare.base.DEFAULT_INSTRUCT_PROMPT_TMPL query_str
        query_engine.flare.answer_inserter.DEFAULT_ANSWER_INSERT_PROMPT_TMPL -
    """,
    "select": """
        selectors.prompts.DEFAULT_SINGLE_SELECT_PROMPT_TMPL query_str
        selectors.prompts.DEFAULT_MULTI_SELECT_PROMPT_TMPL query_str
        selectors.prompts.DEFAULT_SINGLE_PYD_SELECT_PROMPT_TMPL query_str
        selectors.prompts.DEFAULT_MULTI_PYD_SELECT_PROMPT_TMPL query_str
        prompts.default_prompts.DEFAULT_QUERY_PROMPT_TMPL query_str
        prompts.default_prompts.DEFAULT_QUERY_PROMPT_MULTIPLE_TMPL query_str
        prompts.default_prompts.DEFAULT_INSERT_PROMPT_TMPL -
        postprocessor.node.DEFAULT_INFER_PREV_NEXT_TMPL query_str
        postprocessor.node.DEFAULT_REFINE_INFER_PREV_NEXT_TMPL query_str
        indices.struct_store.container_builder.DEFAULT_CONTEXT_QUERY_TMPL orig_query_str
    """,
    "rank": """
        prompts.default_prompts.DEFAULT_CHOICE_SELECT_PROMPT_TMPL query_str
        prompts.default_prompts.STRUCTURED_CHOICE_SELECT_PROMPT_TMPL query_str
        prompts.default_prompts.RANKGPT_RERANK_PROMPT_TMPL query
        postprocessor.llm_rerank.CHAT_CONTENT_CHOICE_SELECT_PROMPT query_str
    """,
    "evaluate": """
        evaluation.correctness.DEFAULT_EVAL_TEMPLATE query
        evaluation.pairwise.DEFAULT_EVAL_TEMPLATE query
        evaluation.answer_relevancy.DEFAULT_EVAL_TEMPLATE query
        evaluation.context_relevancy.DEFAULT_EVAL_TEMPLATE query_str
        evaluation.context_relevancy.DEFAULT_REFINE_TEMPLATE query_str
        evaluation.guideline.DEFAULT_EVAL_TEMPLATE query
        evaluation.faithfulness.DEFAULT_EVAL_TEMPLATE -
        evaluation.faithfulness.DEFAULT_REFINE_TEMPLATE -
        evaluation.faithfulness.LLAMA3_8B_EVAL_TEMPLATE -
        evaluation.relevancy.DEFAULT_EVAL_TEMPLATE -
        evaluation.relevancy.DEFAULT_REFINE_TEMPLATE -
        evaluation.multi_modal.faithfulness.DEFAULT_EVAL_TEMPLATE -
        evaluation.multi_modal.faithfulness.DEFAULT_REFINE_TEMPLATE -
        evaluation.multi_modal.relevancy.DEFAULT_EVAL_TEMPLATE -
        evaluation.multi_modal.relevancy.DEFAULT_REFINE_TEMPLATE -
    """,
    "summarise": """
        prompts.default_prompts.DEFAULT_SUMMARY_PROMPT_TMPL -
        prompts.default_prompts.DEFAULT_TABLE_CONTEXT_TMPL -
        prompts.default_prompts.DEFAULT_REFINE_TABLE_CONTEXT_TMPL -
        prompts.chat_prompts.CHAT_REFINE_TABLE_CONTEXT_PROMPT -
        indices.common.struct_store.base.DEFAULT_TABLE_CONTEXT_QUERY -
        indices.document_summary.base.DEFAULT_SUMMARY_QUERY -
        node_parser.relational.base_element.DEFAULT_SUMMARY_QUERY_STR -
        extractors.metadata_extractors.DEFAULT_SUMMARY_EXTRACT_TEMPLATE -
        memory.chat_summary_memory_buffer.SUMMARIZE_PROMPT -
    """,
    "extract": """
        extractors.metadata_extractors.DEFAULT_TITLE_NODE_TEMPLATE -
        extractors.metadata_extractors.DEFAULT_TITLE_COMBINE_TEMPLATE -
        extractors.metadata_extractors.DEFAULT_KEYWORD_EXTRACT_TEMPLATE -
        extractors.metadata_extractors.DEFAULT_QUESTION_GEN_TMPL -
        extractors.metadata_extractors.DEFAULT_EXTRACT_TEMPLATE_STR -
        evaluation.dataset_generation.DEFAULT_QUESTION_GENERATION_PROMPT -
        prompts.default_prompts.DEFAULT_KEYWORD_EXTRACT_TEMPLATE_TMPL -
        prompts.default_prompts.DEFAULT_SCHEMA_EXTRACT_TMPL -
        prompts.default_prompts.DEFAULT_KG_TRIPLET_EXTRACT_TMPL -
        prompts.default_prompts.DEFAULT_DYNAMIC_EXTRACT_TMPL -
        prompts.default_prompts.DEFAULT_DYNAMIC_EXTRACT_PROPS_TMPL -
        indices.property_graph.transformations.schema_llm.DEFAULT_SCHEMA_PATH_EXTRACT_PROMPT -
        memory.memory_blocks.fact.DEFAULT_FACT_EXTRACT_PROMPT -
        memory.memory_blocks.fact.DEFAULT_FACT_CONDENSE_PROMPT -
    """,
    "redact": """
        postprocessor.pii.DEFAULT_PII_TMPL -
    """,
}

# Texts that look like prompts, and reach a model within another one, as a tool's description, or never.
PARTS = """
    agent.react.formatter.CONTEXT_REACT_CHAT_SYSTEM_HEADER agent.react.formatter.REACT_CHAT_SYSTEM_HEADER
    agent.react.prompts.__BASE_REACT_CHAT_SYSTEM_HEADER agent.workflow.codeact_agent.DEFAULT_CODE_ACT_PROMPT
    agent.workflow.multi_agent_workflow.DEFAULT_HANDOFF_PROMPT
    agent.workflow.multi_agent_workflow.DEFAULT_HANDOFF_OUTPUT_PROMPT composability.joint_qa_summary.DEFAULT_QA_TEXT
    evaluation.benchmarks.hotpotqa.DEV_DISTRACTOR_URL evaluation.correctness.DEFAULT_SYSTEM_TEMPLATE
    evaluation.correctness.DEFAULT_USER_TEMPLATE evaluation.guideline.DEFAULT_GUIDELINES
    evaluation.pairwise.DEFAULT_SYSTEM_TEMPLATE evaluation.pairwise.DEFAULT_USER_TEMPLATE
    extractors.document_context.ORIGINAL_CONTEXT_PROMPT extractors.document_context.SUCCINCT_CONTEXT_PROMPT
    extractors.interface.DEFAULT_NODE_TEXT_TEMPLATE
    indices.property_graph.sub_retrievers.text_to_cypher.DEFAULT_RESPONSE_TEMPLATE
    indices.struct_store.json_query.IMPORT_ERROR_MSG
    indices.vector_store.retrievers.auto_retriever.prompts.PREFIX
    indices.vector_store.retrievers.auto_retriever.prompts.EXAMPLES
    indices.vector_store.retrievers.auto_retriever.prompts.SUFFIX llms.chatml_utils.DEFAULT_SYSTEM_PROMPT
    memory.memory.DEFAULT_MEMORY_BLOCKS_TEMPLATE memory.memory_blocks.vector.DEFAULT_RETRIEVED_TEXT_TEMPLATE
    memory.simple_composable_memory.DEFAULT_INTRO_HISTORY_MESSAGE output_parsers.pydantic.PYDANTIC_FORMAT_TMPL
    output_parsers.selection.FORMAT_STR postprocessor.node_recency.DEFAULT_QUERY_EMBEDDING_TMPL
    prompts.system.SHAKESPEARE_WRITING_ASSISTANT prompts.system.IRS_TAX_CHATBOT
    prompts.system.MARKETING_WRITING_ASSISTANT prompts.system.XBOX_CUSTOMER_SUPPORT_AGENT
    prompts.system.HIKING_RECOMMENDATION_CHATBOT prompts.system.JSON_FORMATTER_ASSISTANT prompts.system.DEFAULT
    query_engine.flare.base.DEFAULT_EXAMPLES query_engine.flare.base.DEFAULT_FIRST_SKILL
    query_engine.flare.base.DEFAULT_SECOND_SKILL query_engine.flare.base.DEFAULT_END question_gen.prompts.PREFIX
    question_gen.prompts.EXAMPLES question_gen.prompts.SUFFIX
    retrievers.recursive_retriever.DEFAULT_QUERY_RESPONSE_TMPL schema.SAMPLE_TEXT schema.DEFAULT_TEXT_NODE_TMPL
    schema.DEFAULT_METADATA_TMPL tools.eval_query_engine.DEFAULT_DESCRIPTION
    tools.eval_query_engine.FAILED_TOOL_OUTPUT_TEMPLATE tools.query_plan.QUERYNODE_QUERY_STR_DESC
    tools.query_plan.QUERYNODE_TOOL_NAME_DESC tools.query_plan.QUERYNODE_DEPENDENCIES_DESC
    tools.query_plan.DEFAULT_DESCRIPTION_PREFIX tools.retriever_tool.DEFAULT_DESCRIPTION
"""


def named(path: str) -> Any:
    """What stands under a dotted name; None where this version of the framework has it not."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"llama_index.core.{module}"), name, None)


def rows() -> Iterator[tuple[str, str, str | None]]:
    for work, lines in TABLE.items():
        for line in lines.split("\n"):
            if line.strip():
                name, variable = line.split()
                yield work, name, None if variable == "-" else variable


def text_of(given: Any) -> str:
    return given.get_template() if isinstance(given, BasePromptTemplate) else given


def prompts_of_the_framework() -> dict[str, str]:
    """All texts in the package that may be prompts, and where each is: constants, defaults of fields and arguments."""
    for module in pkgutil.walk_packages(llama_index.core.__path__, "llama_index.core."):
        try:
            importlib.import_module(module.name)
        except ImportError:
            continue  # needs a package that is not installed
    found: dict[str, str] = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("llama_index.core."):
            for place, value in _values(module):
                found.setdefault(text_of(value).strip(), f"{name}.{place}".removeprefix("llama_index.core."))
    return found


def _values(module: Any) -> Iterator[tuple[str, Any]]:
    telling = re.compile("TMPL|PROMPT|TEMPLATE|TEMPALTE|QUERY|HEADER")
    for name, value in list(vars(module).items()):
        constant = isinstance(value, str) and name.isupper() and (len(value) >= 60 or telling.search(name))
        if constant or isinstance(value, BasePromptTemplate):
            yield name, value
        elif inspect.isclass(value) and value.__module__ == module.__name__:
            fields = getattr(value, "model_fields", {})
            yield from ((f"{name}.{field}", info.default) for field, info in fields.items() if long(info.default))
            for method, defined in vars(value).items():
                function = getattr(defined, "__func__", defined)
                if inspect.isfunction(function):
                    given = (parameter.default for parameter in inspect.signature(function).parameters.values())
                    yield from ((f"{name}.{method}", default) for default in given if long(default))


def long(value: Any) -> bool:
    return isinstance(value, BasePromptTemplate) or (isinstance(value, str) and len(value) >= 60)


def test_every_prompt_of_the_framework_is_in_the_table() -> None:
    known = {text_of(given).strip() for _, name, _ in rows() if (given := named(name)) is not None}
    parts = {text_of(given).strip() for name in PARTS.split() if (given := named(name)) is not None}

    unknown = {name: text[:80] for text, name in prompts_of_the_framework().items() if text not in known | parts}
    assert unknown == {}


# --- the roads on which a prompt reaches the LLM --------------------------------------------------------------------


def filled(template: BasePromptTemplate, variable: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {name: f"some {name}\nof two lines" for name in template.template_vars}
    if isinstance(template, RichPromptTemplate):
        nodes = [ChatMessage("one node"), ChatMessage("another\nnode")]
        values |= {name: nodes for name in values if name.endswith("messages")}
    return values if variable is None else {**values, variable: QUESTION}


def by_template(template: BasePromptTemplate, values: dict[str, Any]) -> Found:
    return find(to_engine(template.format_messages(**values)), prompted(template, values, {}))


def by_template_as_text(template: BasePromptTemplate, values: dict[str, Any]) -> Found:
    return find(to_engine([ChatMessage(template.format(**values))]), prompted(template, values, {}))


def by_partial(template: BasePromptTemplate, values: dict[str, Any]) -> Found:
    if not values:
        return by_template(template, values)
    name, *others = values
    return by_template(template.partial_format(**{name: values[name]}), {other: values[other] for other in others})


def by_messages(template: BasePromptTemplate, values: dict[str, Any]) -> Found:
    return find(to_engine(template.format_messages(**values)), None)


def by_text(template: BasePromptTemplate, values: dict[str, Any]) -> Found:
    return find(to_engine([ChatMessage(template.format(**values))]), None)


def by_text_with_format(template: BasePromptTemplate, values: dict[str, Any]) -> Found:
    instructions = "\n\nHere's a JSON schema to follow:\n{}\n\nOutput a valid JSON object but do not repeat the schema."
    return find(to_engine([ChatMessage(template.format(**values) + instructions)]), None)


ROADS = (by_template, by_template_as_text, by_partial, by_messages, by_text, by_text_with_format)


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize(("work", "name", "variable"), list(rows()))
def test_a_prompt_is_known_on_every_road(road: Any, work: str, name: str, variable: str | None) -> None:
    given = named(name)
    if given is None:
        pytest.skip("not in this version of llama-index-core")
    template = PromptTemplate(given) if isinstance(given, str) else given
    answers = work in {"answer", "refine"}
    if answers and variable is None:
        return  # a system message, which has a test of its own

    found = road(template, filled(template, variable))
    assert found.purpose.work == ("answer" if answers else work)
    assert found.purpose.learn == (work == "answer")
    assert found.key.text == (None if variable is None else QUESTION)


@pytest.mark.parametrize(("work", "name"), [(work, name) for work, name, variable in rows() if variable is None])
def test_a_prompt_beside_the_question_is_known_too(work: str, name: str) -> None:
    """As a system message: around a conversation, or before the material that is to be worked on."""
    template = PromptTemplate(given) if isinstance(given := named(name), str) else given
    messages = [
        ChatMessage(template.format(**filled(template, None)), role=MessageRole.SYSTEM),
        ChatMessage(QUESTION),
    ]
    found = find(to_engine(messages), None)

    answers = work in {"answer", "refine"}
    assert (found.purpose.work, found.purpose.learn) == ("answer" if answers else work, work == "answer")
    assert found.key.text == (QUESTION if answers else None)


def test_a_text_of_millions_of_characters_is_read_at_once() -> None:
    """Its worst are a template's own literals over and over: a search that goes back would not come to an end."""
    template = PromptTemplate(named("prompts.default_prompts.DEFAULT_TEXT_QA_PROMPT_TMPL"))
    text = template.format(context_str="x", query_str="y")[:-12]

    assert recognise(text * 20_000 + "\nAnswer") is None
