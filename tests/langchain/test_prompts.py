"""Every prompt of LangChain's chains, agents, retrievers and evaluators: what its key is, and what its work."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.prompts import BasePromptTemplate, PromptTemplate

from langchain_rar.keys import find_key
from langchain_rar.messages import to_engine
from rar.keys import Key

langchain_classic = pytest.importorskip("langchain_classic")

PACKAGES = ("agents", "chains", "evaluation", "indexes", "memory", "output_parsers", "retrievers")
ASKED = "Which lamp has seven watts and costs the least?"
QUESTIONS = ("question", "query", "input", "QUESTION", "user_input", "Claim", "PASSAGE", "TOPIC")
EMPTY = ("agent_scratchpad", "response")  # of an agent's or a draft's first step

# Work, and the key: "asked" for the user's question alone, "whole" for all that the last message says, "-" for none,
# where nothing is learned.
TABLE = """
answer     whole  agents.react.base.TEXTWORLD_PROMPT
answer     whole  agents.react.base.WIKI_PROMPT
answer     asked  agents.self_ask_with_search.base.PROMPT
answer     asked  agents.xml.base.agent_instructions
query      whole  chains.api.base.API_RESPONSE_PROMPT
query      asked  chains.api.base.API_URL_PROMPT
rephrase   asked  chains.chat_vector_db.prompts.CONDENSE_QUESTION_PROMPT
answer     asked  chains.chat_vector_db.prompts.QA_PROMPT
answer     whole  chains.combine_documents.base.DEFAULT_DOCUMENT_PROMPT
evaluate   -      chains.constitutional_ai.base.CRITIQUE_PROMPT
evaluate   -      chains.constitutional_ai.base.REVISION_PROMPT
evaluate   whole  chains.constitutional_ai.prompts.critique_example
answer     whole  chains.constitutional_ai.prompts.revision_example
answer     asked  chains.conversation.base.PROMPT
extract    asked  chains.conversation.prompt.ENTITY_EXTRACTION_PROMPT
answer     asked  chains.conversation.prompt.ENTITY_MEMORY_CONVERSATION_TEMPLATE
summarise  asked  chains.conversation.prompt.ENTITY_SUMMARIZATION_PROMPT
extract    asked  chains.conversation.prompt.KNOWLEDGE_TRIPLE_EXTRACTION_PROMPT
summarise  -      chains.conversation.prompt.SUMMARY_PROMPT
rephrase   asked  chains.conversational_retrieval.base.CONDENSE_QUESTION_PROMPT
answer     asked  chains.elasticsearch_database.base.ANSWER_PROMPT
query      asked  chains.elasticsearch_database.base.DSL_PROMPT
answer     asked  chains.flare.base.PROMPT
expand     -      chains.flare.base.QUESTION_GENERATOR_PROMPT
expand     -      chains.hyde.prompts.arguana
expand     asked  chains.hyde.prompts.dbpedia_entity
expand     asked  chains.hyde.prompts.fiqa
expand     asked  chains.hyde.prompts.mr_tydi
expand     -      chains.hyde.prompts.sci_fact
expand     asked  chains.hyde.prompts.trec_covid
expand     -      chains.hyde.prompts.trec_news
expand     asked  chains.hyde.prompts.web_search
extract    -      chains.llm_checker.base.CHECK_ASSERTIONS_PROMPT
answer     asked  chains.llm_checker.base.CREATE_DRAFT_ANSWER_PROMPT
extract    -      chains.llm_checker.base.LIST_ASSERTIONS_PROMPT
answer     whole  chains.llm_checker.base.REVISED_ANSWER_PROMPT
query      asked  chains.llm_math.base.PROMPT
classify   -      chains.llm_summarization_checker.base.ARE_ALL_TRUE_PROMPT
extract    -      chains.llm_summarization_checker.base.CHECK_ASSERTIONS_PROMPT
extract    -      chains.llm_summarization_checker.base.CREATE_ASSERTIONS_PROMPT
classify   -      chains.llm_summarization_checker.base.REVISED_SUMMARY_PROMPT
answer     -      chains.natbot.base.PROMPT
answer     whole  chains.openai_functions.extraction._EXTRACTION_TEMPLATE
answer     whole  chains.openai_functions.tagging._TAGGING_TEMPLATE
expand     whole  chains.qa_generation.prompt.CHAT_PROMPT
expand     -      chains.qa_generation.prompt.PROMPT
answer     asked  chains.qa_with_sources.base.COMBINE_PROMPT
answer     whole  chains.qa_with_sources.base.EXAMPLE_PROMPT
extract    asked  chains.qa_with_sources.base.QUESTION_PROMPT
answer     asked  chains.qa_with_sources.loading.MAP_RERANK_PROMPT
answer     asked  chains.qa_with_sources.refine_prompts.DEFAULT_REFINE_PROMPT
answer     asked  chains.qa_with_sources.refine_prompts.DEFAULT_TEXT_QA_PROMPT
query      -      chains.query_constructor.base.DEFAULT_SCHEMA_PROMPT
answer     whole  chains.query_constructor.base.EXAMPLE_PROMPT
query      -      chains.query_constructor.base.SCHEMA_WITH_LIMIT_PROMPT
answer     whole  chains.query_constructor.base.USER_SPECIFIED_EXAMPLE_PROMPT
answer     asked  chains.question_answering.map_reduce_prompt.CHAT_COMBINE_PROMPT
extract    asked  chains.question_answering.map_reduce_prompt.CHAT_QUESTION_PROMPT
answer     asked  chains.question_answering.map_reduce_prompt.COMBINE_PROMPT
answer     asked  chains.question_answering.refine_prompts.CHAT_QUESTION_PROMPT
answer     asked  chains.question_answering.refine_prompts.CHAT_REFINE_PROMPT
answer     asked  chains.question_answering.refine_prompts.DEFAULT_REFINE_PROMPT
answer     asked  chains.question_answering.refine_prompts.DEFAULT_TEXT_QA_PROMPT
answer     asked  chains.question_answering.stuff_prompt.CHAT_PROMPT
query      asked  chains.sql_database.prompt.CLICKHOUSE_PROMPT
query      asked  chains.sql_database.prompt.CRATEDB_PROMPT
select     asked  chains.sql_database.prompt.DECIDER_PROMPT
query      asked  chains.sql_database.prompt.DUCKDB_PROMPT
query      asked  chains.sql_database.prompt.GOOGLESQL_PROMPT
query      asked  chains.sql_database.prompt.MARIADB_PROMPT
query      asked  chains.sql_database.prompt.MSSQL_PROMPT
query      asked  chains.sql_database.prompt.MYSQL_PROMPT
query      asked  chains.sql_database.prompt.ORACLE_PROMPT
query      asked  chains.sql_database.prompt.POSTGRES_PROMPT
query      asked  chains.sql_database.prompt.PRESTODB_PROMPT
query      asked  chains.sql_database.prompt.PROMPT
query      asked  chains.sql_database.prompt.SQLITE_PROMPT
summarise  -      chains.summarize.map_reduce_prompt.PROMPT
summarise  -      chains.summarize.refine_prompts.REFINE_PROMPT
evaluate   whole  evaluation.agents.trajectory_eval_chain.EVAL_CHAT_PROMPT
evaluate   whole  evaluation.agents.trajectory_eval_chain.TOOL_FREE_EVAL_CHAT_PROMPT
evaluate   whole  evaluation.comparison.eval_chain.COMPARISON_TEMPLATE
evaluate   whole  evaluation.comparison.eval_chain.COMPARISON_TEMPLATE_WITH_REFERENCE
evaluate   -      evaluation.criteria.eval_chain.PROMPT
evaluate   -      evaluation.criteria.eval_chain.PROMPT_WITH_REFERENCES
evaluate   asked  evaluation.qa.eval_chain.CONTEXT_PROMPT
evaluate   asked  evaluation.qa.eval_chain.COT_PROMPT
evaluate   -      evaluation.qa.eval_chain.PROMPT
evaluate   asked  evaluation.qa.eval_prompt.SQL_PROMPT
expand     -      evaluation.qa.generate_chain.PROMPT
evaluate   whole  evaluation.scoring.eval_chain.SCORING_TEMPLATE
evaluate   whole  evaluation.scoring.eval_chain.SCORING_TEMPLATE_WITH_REFERENCE
extract    -      indexes.prompts.knowledge_triplet_extraction.KNOWLEDGE_TRIPLE_EXTRACTION_PROMPT
other      -      output_parsers.fix.NAIVE_FIX_PROMPT
other      -      output_parsers.retry.NAIVE_RETRY_PROMPT
other      -      output_parsers.retry.NAIVE_RETRY_WITH_ERROR_PROMPT
classify   asked  retrievers.document_compressors.chain_filter.prompt_template
rank       asked  retrievers.document_compressors.listwise_rerank._DEFAULT_PROMPT
expand     asked  retrievers.multi_query.DEFAULT_QUERY_PROMPT
rephrase   asked  retrievers.re_phraser.DEFAULT_QUERY_PROMPT
"""
ROWS = {name: (work, key) for work, key, name in map(str.split, TABLE.strip().splitlines())}

# Texts that only ever are a part of a prompt in the table, or of a system message beside a user's.
PARTS = {
    "agents.chat.base.FORMAT_INSTRUCTIONS",
    "agents.conversational.base.FORMAT_INSTRUCTIONS",
    "agents.conversational.base.SUFFIX",
    "agents.conversational_chat.base.SUFFIX",
    "agents.conversational_chat.base.TEMPLATE_TOOL_RESPONSE",
    "agents.conversational_chat.output_parser.FORMAT_INSTRUCTIONS",
    "agents.json_chat.base.TEMPLATE_TOOL_RESPONSE",
    "agents.mrkl.base.FORMAT_INSTRUCTIONS",
    "agents.structured_chat.base.FORMAT_INSTRUCTIONS",
    "chains.elasticsearch_database.prompts.DEFAULT_DSL_TEMPLATE",
    "chains.elasticsearch_database.prompts.PROMPT_SUFFIX",
    "chains.qa_generation.prompt.templ2",
    "chains.query_constructor.base.DEFAULT_PREFIX",
    "chains.query_constructor.base.DEFAULT_SUFFIX",
    "chains.query_constructor.base.PREFIX_WITH_DATA_SOURCE",
    "chains.query_constructor.base.SUFFIX_WITHOUT_DATA_SOURCE",
    "chains.question_answering.map_reduce_prompt.system_template",
    "chains.question_answering.refine_prompts.chat_qa_prompt_template",
    "chains.question_answering.refine_prompts.refine_template",
    "chains.question_answering.stuff_prompt.system_template",
    "chains.router.multi_prompt.MULTI_PROMPT_ROUTER_TEMPLATE",
    "chains.router.multi_retrieval_prompt.MULTI_RETRIEVAL_ROUTER_TEMPLATE",
    "chains.sql_database.prompt.PROMPT_SUFFIX",
    "chains.sql_database.prompt._DEFAULT_TEMPLATE",
    "chains.sql_database.prompt._clickhouse_prompt",
    "chains.sql_database.prompt._cratedb_prompt",
    "chains.sql_database.prompt._duckdb_prompt",
    "chains.sql_database.prompt._googlesql_prompt",
    "chains.sql_database.prompt._mariadb_prompt",
    "chains.sql_database.prompt._mssql_prompt",
    "chains.sql_database.prompt._mysql_prompt",
    "chains.sql_database.prompt._oracle_prompt",
    "chains.sql_database.prompt._postgres_prompt",
    "chains.sql_database.prompt._prestodb_prompt",
    "chains.sql_database.prompt._sqlite_prompt",
    "evaluation.agents.trajectory_eval_prompt.EVAL_TEMPLATE",
    "evaluation.agents.trajectory_eval_prompt.TOOL_FREE_EVAL_TEMPLATE",
    "memory.vectorstore_token_buffer_memory.DEFAULT_HISTORY_TEMPLATE",
    "output_parsers.format_instructions.PANDAS_DATAFRAME_FORMAT_INSTRUCTIONS",
    "output_parsers.format_instructions.PYDANTIC_FORMAT_INSTRUCTIONS",
    "output_parsers.format_instructions.STRUCTURED_FORMAT_INSTRUCTIONS",
    "output_parsers.format_instructions.YAML_FORMAT_INSTRUCTIONS",
    "retrievers.document_compressors.chain_extract.prompt_template",
    "retrievers.document_compressors.listwise_rerank._default_system_tmpl",
}


def _modules() -> Iterator[ModuleType]:
    for name in PACKAGES:
        package = importlib.import_module(f"langchain_classic.{name}")
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=lambda _: None):
            try:
                yield importlib.import_module(found.name)
            except Exception:
                continue  # a module that needs a package which is not installed


def _prompts() -> dict[str, BasePromptTemplate[str]]:
    """Each once, by the module in which it was first found."""
    prompts: dict[str, BasePromptTemplate[str]] = {}
    texts: dict[str, BasePromptTemplate[str]] = {}
    for module in _modules():
        place = module.__name__.removeprefix("langchain_classic.")
        for name, value in sorted(vars(module).items()):
            if isinstance(value, BasePromptTemplate) and value not in prompts.values():
                prompts[f"{place}.{name}"] = value
            elif isinstance(value, str) and len(value) > 60 and not name.startswith("__"):
                try:
                    texts[f"{place}.{name}"] = PromptTemplate.from_template(value)
                except ValueError:
                    continue  # documentation of some API, with braces of its own
    known = {getattr(prompt, "template", None) for prompt in prompts.values()}
    for name, prompt in texts.items():
        if prompt.input_variables and prompt.template not in known:
            known.add(prompt.template)
            prompts[name] = prompt
    return prompts


PROMPTS = _prompts()


def _key(prompt: BasePromptTemplate[str]) -> Key:
    filled = {name: "" if name in EMPTY else f"Some {name} of a text." for name in prompt.input_variables}
    value = prompt.format_prompt(**{**filled, **{name: ASKED for name in QUESTIONS if name in filled}})
    return find_key(value, to_engine(value.to_messages()))


def test_there_is_a_row_for_every_prompt() -> None:
    assert sorted(set(PROMPTS) - set(ROWS) - PARTS) == []


@pytest.mark.parametrize("name", sorted(set(PROMPTS) & set(ROWS)))
def test_key_and_work(name: str) -> None:
    work, known_as = ROWS[name]

    key = _key(PROMPTS[name])

    assert (key.work.partition(":")[0], "-" if key.text is None else "asked" if key.text == ASKED else "whole") == (
        work,
        known_as,
    )


def _found(*messages: SystemMessage | HumanMessage | AIMessage) -> Key:
    return find_key(ChatPromptValue(messages=list(messages)), to_engine(messages))


def test_the_summarizing_middleware_summarizes_and_leaves_no_key() -> None:
    summarization = pytest.importorskip("langchain.agents.middleware.summarization")
    prompt = summarization.DEFAULT_SUMMARY_PROMPT.format(messages=f"Human: hi\nAI: hello\nHuman: {ASKED}")

    key = _found(HumanMessage(prompt))

    assert key.text is None
    assert key.work in {"summarise", "extract"}


def test_the_tool_selecting_middleware_selects() -> None:
    selection = pytest.importorskip("langchain.agents.middleware.tool_selection")

    key = _found(SystemMessage(selection.DEFAULT_SYSTEM_PROMPT), HumanMessage(ASKED))

    assert key == Key(ASKED, "last_user_message", "select")


def test_a_tool_that_is_emulated_is_no_question() -> None:
    emulated = (
        "You are emulating a tool call for testing purposes.\n\nTool: search\nDescription: Finds pages.\n"
        "Arguments: {}\n\nGenerate a realistic response that this tool would return given these arguments."
    )

    assert _found(HumanMessage(emulated)).text is None


MIDDLEWARE = {
    # module and name: what it is
    "factory.DYNAMIC_TOOL_ERROR_TEMPLATE": "an error",
    "middleware.auto_mode._DEFAULT_INSTRUCTIONS": "for a decision model",
    "middleware.auto_mode._DEFAULT_BLOCKED_MESSAGE": "a tool's result",
    "middleware.auto_mode._DEFAULT_TRUE_CRITERIA": "for a decision model",
    "middleware.auto_mode._DEFAULT_FALSE_CRITERIA": "for a decision model",
    "middleware.human_in_the_loop._EDIT_NOTICE": "a tool's result",
    "middleware.shell_tool.DEFAULT_TOOL_DESCRIPTION": "a tool",
    "middleware.summarization.DEFAULT_SUMMARY_PROMPT": "a prompt",
    "middleware.todo.WRITE_TODOS_TOOL_DESCRIPTION": "a tool",
    "middleware.todo.WRITE_TODOS_SYSTEM_PROMPT": "beside tools",
    "middleware.tool_selection.DEFAULT_SYSTEM_PROMPT": "a prompt",
}


def test_the_agents_of_langchain_have_no_other_prompts() -> None:
    agents = pytest.importorskip("langchain.agents")
    found = set()
    for entry in pkgutil.walk_packages(agents.__path__, "langchain.agents."):
        module = importlib.import_module(entry.name)
        texts = {name for name, value in vars(module).items() if isinstance(value, str) and len(value) > 60}
        found |= {
            f"{entry.name.removeprefix('langchain.agents.')}.{name}" for name in texts if not name.startswith("__")
        }

    assert sorted(found - set(MIDDLEWARE)) == []
