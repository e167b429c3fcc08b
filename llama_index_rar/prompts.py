"""The prompts of LlamaIndex itself: what each is for, where it holds the user's question, and how to know it again.

The table names every prompt of `llama-index-core` that reaches a model. A prompt that the installed version lacks is
left out; one that it has more is treated like a user's own (`llama_index_rar.keys`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import (
    BasePromptTemplate,
    PromptTemplate,
    RichPromptTemplate,
)

QUERY_VARIABLES = (
    "query_str", "question", "query", "user_query", "user_question", "orig_query_str", "original_query", "query_bundle",
    "user_input", "user_msg", "user_message", "msg", "input", "input_str",
)  # fmt: skip
_ANY = "*"  # the question is in whichever of the variables above there is


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a prompt is for.

    Args:
        work: The kind of work (`rar.work`), which stands in the task. Answers of all prompts share what is learned.
        learn: Whether a verdict belongs to the question. It does not where it hangs on a draft, a document or choices.
    """

    work: str = "answer"
    learn: bool = True


ANSWER = Purpose()
REFINE = Purpose(learn=False)  # the same question again, about a draft: it uses what is known and adds nothing


def own_work(work: str) -> Purpose:
    """A step that the framework takes for itself. What it gives depends on more than the question."""
    return Purpose(work, learn=False)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Prompts of one module that are for the same. `question` is a variable, `_ANY`, or None where no user asks."""

    purpose: Purpose
    module: str
    names: str
    question: str | None = _ANY


_EXPAND, _QUERY, _RANK, _SELECT = map(own_work, ("expand", "query", "rank", "select"))
_EXTRACT, _SUMMARISE, _EVALUATE, _REPHRASE = map(own_work, ("extract", "summarise", "evaluate", "rephrase"))
_DECOMPOSE, _PLAN, _REDACT = map(own_work, ("decompose", "plan", "redact"))

PROMPTS: Sequence[Prompt] = (
    # What answers the user.
    Prompt(ANSWER, "prompts.default_prompts", "DEFAULT_TEXT_QA_PROMPT_TMPL DEFAULT_TREE_SUMMARIZE_TMPL"),
    Prompt(ANSWER, "prompts.default_prompts", "DEFAULT_SIMPLE_INPUT_TMPL"),
    Prompt(ANSWER, "prompts.chat_prompts", "CHAT_TEXT_QA_PROMPT CHAT_TREE_SUMMARIZE_PROMPT CHAT_SIMPLE_INPUT_PROMPT"),
    Prompt(ANSWER, "prompts.chat_prompts", "CHAT_CONTENT_QA_PROMPT CHAT_CONTENT_TREE_SUMMARIZE_PROMPT"),
    Prompt(ANSWER, "query_engine.citation_query_engine", "CITATION_QA_TEMPLATE CITATION_CHAT_CONTENT_QA_TEMPLATE"),
    Prompt(ANSWER, "chat_engine.context", "DEFAULT_CONTEXT_TEMPLATE"),
    Prompt(ANSWER, "chat_engine.condense_plus_context", "DEFAULT_CONTEXT_PROMPT_TEMPLATE"),
    Prompt(ANSWER, "agent.workflow.prompts", "DEFAULT_STATE_PROMPT"),
    Prompt(ANSWER, "indices.struct_store.sql_query", "DEFAULT_RESPONSE_SYNTHESIS_PROMPT_TMPL"),
    Prompt(ANSWER, "indices.struct_store.sql_query", "DEFAULT_RESPONSE_SYNTHESIS_PROMPT_TMPL_V2"),
    Prompt(ANSWER, "indices.struct_store.json_query", "DEFAULT_RESPONSE_SYNTHESIS_PROMPT_TMPL"),
    Prompt(ANSWER, "indices.property_graph.sub_retrievers.text_to_cypher", "DEFAULT_SUMMARY_TEMPLATE"),
    Prompt(ANSWER, "query_engine.knowledge_graph_query_engine", "DEFAULT_KG_RESPONSE_ANSWER_PROMPT_TMPL"),
    Prompt(ANSWER, "query_engine.sql_join_query_engine", "DEFAULT_SQL_JOIN_SYNTHESIS_PROMPT_TMPL"),
    Prompt(ANSWER, "query_engine.sql_vector_query_engine", "DEFAULT_SQL_VECTOR_SYNTHESIS_PROMPT_TMPL"),
    Prompt(ANSWER, "indices.query.query_transform.prompts", "DEFAULT_IMAGE_OUTPUT_TMPL"),
    # What answers the user a second time, from a draft.
    Prompt(REFINE, "prompts.default_prompts", "DEFAULT_REFINE_PROMPT_TMPL"),
    Prompt(REFINE, "prompts.chat_prompts", "CHAT_REFINE_PROMPT CHAT_CONTENT_REFINE_PROMPT"),
    Prompt(REFINE, "query_engine.citation_query_engine", "CITATION_REFINE_TEMPLATE"),
    Prompt(REFINE, "query_engine.citation_query_engine", "CITATION_CHAT_CONTENT_REFINE_TEMPLATE"),
    Prompt(REFINE, "chat_engine.context", "DEFAULT_REFINE_TEMPLATE"),
    Prompt(REFINE, "chat_engine.condense_plus_context", "DEFAULT_CONTEXT_REFINE_PROMPT_TEMPLATE"),
    Prompt(REFINE, "agent.workflow.prompts", "DEFAULT_EARLY_STOPPING_PROMPT"),
    # Questions made into other questions, and into what finds something.
    Prompt(_REPHRASE, "chat_engine.condense_plus_context", "DEFAULT_CONDENSE_PROMPT_TEMPLATE"),
    Prompt(_REPHRASE, "chat_engine.condense_question", "DEFAULT_TEMPLATE"),
    Prompt(_REPHRASE, "indices.query.query_transform.feedback_transform", "DEFAULT_RESYNTHESIS_PROMPT_TMPL"),
    Prompt(_REPHRASE, "query_engine.sql_join_query_engine", "DEFAULT_SQL_AUGMENT_TRANSFORM_PROMPT_TMPL"),
    Prompt(_DECOMPOSE, "indices.query.query_transform.prompts", "DEFAULT_DECOMPOSE_QUERY_TRANSFORM_TMPL"),
    Prompt(_DECOMPOSE, "indices.query.query_transform.prompts", "DEFAULT_STEP_DECOMPOSE_QUERY_TRANSFORM_TMPL"),
    Prompt(_DECOMPOSE, "question_gen.prompts", "DEFAULT_SUB_QUESTION_PROMPT_TMPL"),
    Prompt(_EXPAND, "retrievers.fusion_retriever", "QUERY_GEN_PROMPT"),
    Prompt(_EXPAND, "prompts.default_prompts", "HYDE_TMPL", "context_str"),
    Prompt(_EXPAND, "prompts.default_prompts", "DEFAULT_QUERY_KEYWORD_EXTRACT_TEMPLATE_TMPL"),
    Prompt(_EXPAND, "indices.knowledge_graph.retrievers", "DEFAULT_SYNONYM_EXPAND_TEMPLATE"),
    Prompt(_EXPAND, "indices.property_graph.sub_retrievers.llm_synonym", "DEFAULT_SYNONYM_EXPAND_TEMPLATE"),
    Prompt(_QUERY, "prompts.default_prompts", "DEFAULT_TEXT_TO_SQL_TMPL DEFAULT_TEXT_TO_SQL_PGVECTOR_TMPL"),
    Prompt(_QUERY, "prompts.default_prompts", "DEFAULT_JSON_PATH_TMPL DEFAULT_JSONALYZE_PROMPT_TMPL"),
    Prompt(_QUERY, "graph_stores.prompts", "DEFAULT_CYPHER_TEMPALTE_STR"),
    Prompt(_QUERY, "indices.vector_store.retrievers.auto_retriever.prompts", "DEFAULT_VECTOR_STORE_QUERY_PROMPT_TMPL"),
    Prompt(_PLAN, "query_engine.flare.base", "DEFAULT_INSTRUCT_PROMPT_TMPL"),
    Prompt(_PLAN, "query_engine.flare.answer_inserter", "DEFAULT_ANSWER_INSERT_PROMPT_TMPL", None),
    # Choices, ranks and marks: their verdict belongs to all that was chosen from.
    Prompt(_SELECT, "selectors.prompts", "DEFAULT_SINGLE_SELECT_PROMPT_TMPL DEFAULT_MULTI_SELECT_PROMPT_TMPL"),
    Prompt(_SELECT, "selectors.prompts", "DEFAULT_SINGLE_PYD_SELECT_PROMPT_TMPL DEFAULT_MULTI_PYD_SELECT_PROMPT_TMPL"),
    Prompt(_SELECT, "prompts.default_prompts", "DEFAULT_QUERY_PROMPT_TMPL DEFAULT_QUERY_PROMPT_MULTIPLE_TMPL"),
    Prompt(_SELECT, "prompts.default_prompts", "DEFAULT_INSERT_PROMPT_TMPL", None),
    Prompt(_SELECT, "postprocessor.node", "DEFAULT_INFER_PREV_NEXT_TMPL DEFAULT_REFINE_INFER_PREV_NEXT_TMPL"),
    Prompt(_SELECT, "indices.struct_store.container_builder", "DEFAULT_CONTEXT_QUERY_TMPL"),
    Prompt(_RANK, "prompts.default_prompts", "DEFAULT_CHOICE_SELECT_PROMPT_TMPL STRUCTURED_CHOICE_SELECT_PROMPT_TMPL"),
    Prompt(_RANK, "prompts.default_prompts", "RANKGPT_RERANK_PROMPT_TMPL"),
    Prompt(_RANK, "postprocessor.llm_rerank", "CHAT_CONTENT_CHOICE_SELECT_PROMPT"),
    Prompt(_EVALUATE, "evaluation.correctness", "DEFAULT_EVAL_TEMPLATE"),
    Prompt(_EVALUATE, "evaluation.pairwise", "DEFAULT_EVAL_TEMPLATE"),
    Prompt(_EVALUATE, "evaluation.answer_relevancy", "DEFAULT_EVAL_TEMPLATE"),
    Prompt(_EVALUATE, "evaluation.context_relevancy", "DEFAULT_EVAL_TEMPLATE DEFAULT_REFINE_TEMPLATE"),
    Prompt(_EVALUATE, "evaluation.guideline", "DEFAULT_EVAL_TEMPLATE"),
    # Here "query_str" is the answer that is looked into, with its question or without.
    Prompt(_EVALUATE, "evaluation.faithfulness", "DEFAULT_EVAL_TEMPLATE DEFAULT_REFINE_TEMPLATE", None),
    Prompt(_EVALUATE, "evaluation.faithfulness", "LLAMA3_8B_EVAL_TEMPLATE", None),
    Prompt(_EVALUATE, "evaluation.relevancy", "DEFAULT_EVAL_TEMPLATE DEFAULT_REFINE_TEMPLATE", None),
    Prompt(_EVALUATE, "evaluation.multi_modal.faithfulness", "DEFAULT_EVAL_TEMPLATE DEFAULT_REFINE_TEMPLATE", None),
    Prompt(_EVALUATE, "evaluation.multi_modal.relevancy", "DEFAULT_EVAL_TEMPLATE DEFAULT_REFINE_TEMPLATE", None),
    # Work on documents, conversations and tables, in which no user asks.
    Prompt(_SUMMARISE, "prompts.default_prompts", "DEFAULT_SUMMARY_PROMPT_TMPL DEFAULT_TABLE_CONTEXT_TMPL", None),
    Prompt(_SUMMARISE, "prompts.default_prompts", "DEFAULT_REFINE_TABLE_CONTEXT_TMPL", None),
    Prompt(_SUMMARISE, "prompts.chat_prompts", "CHAT_REFINE_TABLE_CONTEXT_PROMPT", None),
    Prompt(_SUMMARISE, "indices.common.struct_store.base", "DEFAULT_TABLE_CONTEXT_QUERY", None),
    Prompt(_SUMMARISE, "indices.document_summary.base", "DEFAULT_SUMMARY_QUERY", None),
    Prompt(_SUMMARISE, "node_parser.relational.base_element", "DEFAULT_SUMMARY_QUERY_STR", None),
    Prompt(_SUMMARISE, "extractors.metadata_extractors", "DEFAULT_SUMMARY_EXTRACT_TEMPLATE", None),
    Prompt(_SUMMARISE, "memory.chat_summary_memory_buffer", "SUMMARIZE_PROMPT", None),
    Prompt(_EXTRACT, "extractors.metadata_extractors", "DEFAULT_TITLE_NODE_TEMPLATE", None),
    Prompt(_EXTRACT, "extractors.metadata_extractors", "DEFAULT_TITLE_COMBINE_TEMPLATE", None),
    Prompt(_EXTRACT, "extractors.metadata_extractors", "DEFAULT_KEYWORD_EXTRACT_TEMPLATE", None),
    Prompt(_EXTRACT, "extractors.metadata_extractors", "DEFAULT_QUESTION_GEN_TMPL DEFAULT_EXTRACT_TEMPLATE_STR", None),
    Prompt(_EXTRACT, "evaluation.dataset_generation", "DEFAULT_QUESTION_GENERATION_PROMPT", None),
    Prompt(_EXTRACT, "prompts.default_prompts", "DEFAULT_KEYWORD_EXTRACT_TEMPLATE_TMPL", None),
    Prompt(_EXTRACT, "prompts.default_prompts", "DEFAULT_SCHEMA_EXTRACT_TMPL DEFAULT_KG_TRIPLET_EXTRACT_TMPL", None),
    Prompt(_EXTRACT, "prompts.default_prompts", "DEFAULT_DYNAMIC_EXTRACT_TMPL", None),
    Prompt(_EXTRACT, "prompts.default_prompts", "DEFAULT_DYNAMIC_EXTRACT_PROPS_TMPL", None),
    Prompt(_EXTRACT, "indices.property_graph.transformations.schema_llm", "DEFAULT_SCHEMA_PATH_EXTRACT_PROMPT", None),
    Prompt(_EXTRACT, "memory.memory_blocks.fact", "DEFAULT_FACT_EXTRACT_PROMPT DEFAULT_FACT_CONDENSE_PROMPT", None),
    Prompt(_REDACT, "postprocessor.pii", "DEFAULT_PII_TMPL", None),
)  # fmt: skip


_LITERAL_PROMPTS: Sequence[tuple[Purpose, str, str | None]] = (
    # What the framework writes in the middle of its code, as it reads when it is filled in.
    (_SUMMARISE, "Here is the chunk we want to situate within the whole document:\n<chunk>{chunk}", None),
    (_EXTRACT, "<current_conversation>{messages}Given the conversation, format the output according to the", None),
    (_EXTRACT, "You are a Teacher/Professor. Your task is to setup {number} questions for an upcoming", None),
    (_RANK, "You are RankGPT, an intelligent assistant that can rank passages", None),
    (_REDACT, "Mask out the PII, replace each PII with a tag, and return the text.", None),
    (
        REFINE,
        "Here is a previous bad answer.\n{feedback}\nNow answer the question.\n{query_str}",
        _ANY,
    ),
)


@dataclass(frozen=True, slots=True)
class Recognised:
    """A prompt that was known again.

    Args:
        asks: Whether it stands for a user's question.
        query: That question; None where it is not in this text, but beside it in the conversation.
    """

    purpose: Purpose
    asks: bool
    query: str | None = None


def recognise(text: str) -> Recognised | None:
    """What made `text`, if it was one of the framework's own prompts. Linear in the length of `text`."""
    text = text.lstrip()
    candidates = (*_BY_START.get(text[:_INDEXED], ()), *_OTHERS)
    return next((found for known in candidates if (found := known.match(text)) is not None), None)


# --- cutting templates ------------------------------------------------------------------------------------------------

_OPEN, _CLOSE = "\ue000", "\ue001"  # private use: no template holds them
_INDEXED = 8  # first characters by which a template is looked up


@dataclass(frozen=True, slots=True)
class Known:
    """A template of the framework, cut at its variables: `variables[i]` stands behind `literals[i]`."""

    literals: tuple[str, ...]
    variables: tuple[str, ...]
    purpose: Purpose
    question: str | None = None

    def match(self, text: str) -> Recognised | None:
        """What the template was filled in with, if it made the start of `text`."""
        if not text.startswith(self.literals[0]):
            return None
        places = [len(text)]  # of the literals, from the end: what may hold anything (context) mostly comes first
        for literal in reversed(self.literals[1:]):
            places.append(text.rfind(literal, len(self.literals[0]), places[-1]))
            if places[-1] < 0:
                return None
        starts = [0, *places[:0:-1]]
        for at, name in enumerate(self.variables):
            if name == self.question:
                end = starts[at + 1]
                return Recognised(self.purpose, True, text[starts[at] + len(self.literals[at]) : end].strip() or None)
        behind = text[starts[-1] + len(self.literals[-1]) :].strip() if self.question == _ANY else ""
        return Recognised(self.purpose, self.question is not None, behind or None)


def _cut(text: str, purpose: Purpose, question: str | None) -> Known:
    pieces = [piece.partition(_CLOSE) for piece in text.strip().split(_OPEN)]
    literals = (pieces[0][0], *(behind for _, _, behind in pieces[1:]))
    variables = tuple(name for name, _, _ in pieces[1:])
    if question == _ANY:
        question = next((name for name in QUERY_VARIABLES if name in variables), _ANY)
    return Known(literals, variables, purpose, question)


def known_prompts() -> Iterator[Known]:
    """All prompts of the installed version, cut. What is all variable, and would match any text, is left out."""
    for prompt in PROMPTS:
        try:
            module = importlib.import_module(f"llama_index.core.{prompt.module}")
        except ModuleNotFoundError:
            continue
        for name in prompt.names.split():
            for text in _filled(getattr(module, name, None)):
                yield _cut(text, prompt.purpose, prompt.question)
    for purpose, text, question in _LITERAL_PROMPTS:
        yield _cut(next(_filled(text)), purpose, question)


def _filled(template: Any) -> Iterator[str]:
    """What `template` makes of variables that hold their own names, as one text and as the last message of a chat."""
    if isinstance(template, str):
        template = PromptTemplate(template)
    if not isinstance(template, BasePromptTemplate):
        return
    values: dict[str, Any] = {name: f"{_OPEN}{name}{_CLOSE}" for name in template.template_vars}
    if isinstance(template, RichPromptTemplate):
        values |= {name: [ChatMessage(value)] for name, value in values.items() if name.endswith("messages")}
    messages = template.format_messages(**values)
    texts = [messages[-1].content or ""]
    if not isinstance(template, PromptTemplate):
        texts.append(template.format(**values))
    yield from (text for text in texts if text.strip(f"{_OPEN}{_CLOSE}\n") not in template.template_vars)


def _index() -> tuple[dict[str, tuple[Known, ...]], tuple[Known, ...]]:
    """The templates by how they begin, and those that begin too shortly for that."""
    indexed: dict[str, tuple[Known, ...]] = {}
    others: list[Known] = []
    for known in sorted(known_prompts(), key=lambda known: -sum(map(len, known.literals))):  # the most telling first
        start = known.literals[0][:_INDEXED]
        if len(start) == _INDEXED:
            indexed[start] = (*indexed.get(start, ()), known)
        else:
            others.append(known)
    return indexed, tuple(others)


# Once, at import: reading modules must not block an event loop.
_BY_START, _OTHERS = _index()
