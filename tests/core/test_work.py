"""The kind of work that instructions ask for, whatever their wording."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar.work import Work, label_of, work_of

ANSWERING = [
    "",
    "Answer briefly.",
    "You are a helpful assistant.",
    "You are a helpful assistant. Today is Saturday, 28 November 2026, 09:14.",
    "Answer from: The lamp has 7 W. Summarise the dispute with the supplier.",
    "Use the pieces of context below to answer the user's question. If you do not know the answer, say so.",
    "You are an assistant for question-answering tasks. Be concise and use three sentences at most.",
    "You are a customer support agent of Acme. Summarise the customer's issue before you propose a solution.",
    "You are Lumo's support bot. Summarise long answers in three bullets. Translate your answer into Spanish.",
    "You are a travel assistant. Translate prices to EUR. Never answer questions on politics.",
    "You are a helpful bot. Extract the order number first, then answer the question.",
    "You are a helpful agent. If the user asks for a summary, summarise the text.",
    "You are a legal assistant. Evaluate options carefully before answering. Rank your suggestions by price.",
    "Given an input question, synthesize a response from the query results.",
    "Given the user question, the SQL query and its result, answer the user question.",
    "Context information is below. Given the context information and not prior knowledge, answer the query.",
    "You are a coding agent. Write clean code. Explain what you did.",
    "Write like a pirate.",
    "Respond in French.",
    "Beantworte die Frage anhand der Dokumente. Fasse dich kurz.",
    "Réponds à la question à partir du contexte.",
    "You have access to tools. You can break a question down into smaller ones.",
    "Summarize this response to answer the original question.",
    "You check facts and answer questions about history.",
    "You are a math tutor. Order the steps clearly.",
    "You answer questions about our products. Pull out the relevant facts from the context before you answer.",
]

OTHER_WORK: list[tuple[Work, str]] = [
    ("extract", "Pull out all names of persons and places from the text as JSON."),
    ("rank", "Order the passages from most to least relevant for the user's query."),
    ("evaluate", "You check whether an answer is supported by the source. Reply with PASS or FAIL."),
    ("rephrase", "Rephrase so that it stands alone."),
    (
        "rephrase",
        "Given the chat and the latest user question, formulate a standalone question. Do NOT answer the question.",
    ),
    ("rephrase", "Generate a search query that finds information relevant to the conversation."),
    ("rephrase", "Your task is to rewrite the user's question for a search engine. Today is 2026-11-28."),
    ("expand", "You are an AI assistant. Your task is to generate five different versions of the given user question."),
    ("expand", "Please write a passage to answer the question"),
    ("expand", "You are a helpful assistant that generates multiple search queries from a single one."),
    ("decompose", "Break the question down into smaller sub-questions."),
    ("decompose", "You are a helpful assistant that generates sub-questions related to an input question."),
    ("summarise", "Write a concise summary of the following text"),
    ("summarise", "Progressively summarize the lines of conversation provided."),
    ("summarise", "Fasse den folgenden Text zusammen."),
    ("translate", "You are a helpful assistant that translates English to French."),
    ("translate", "Translate the following text from English into Italian."),
    ("translate", "Übersetze den folgenden Text ins Englische."),
    ("query", "You are an expert at converting user questions to SQL."),
    ("query", "Given an input question, create a syntactically correct sqlite query to run, then return the answer."),
    ("query", "Write a Cypher statement to query a graph database."),
    ("evaluate", "You are a grader assessing the relevance of a document to a user question."),
    ("evaluate", "Determine whether the answer is grounded in the facts."),
    ("select", "You are an expert at routing a user question to a vectorstore or to a web search."),
    ("select", "Your goal is to select the most relevant tools for answering the user's query."),
    ("plan", "For the given objective, come up with a simple step by step plan."),
    ("classify", "Classify the sentiment of the following review."),
    ("redact", "Replace all personal data in the text by placeholders."),
    ("redact", "Mask any PII in the message."),
    ("extract", "You are an expert extraction algorithm. Only extract relevant information from the text."),
    ("extract", "See if any text is relevant to answer the question. Return any relevant text verbatim."),
    ("rank", "Sort the documents by their relevance to the query."),
    ("other", "Turn the text below into emojis."),
]  # fmt: skip


@pytest.mark.parametrize("instructions", ANSWERING)
def test_answering_is_answering_in_any_wording(instructions: str) -> None:
    assert work_of(instructions) == "answer"


@pytest.mark.parametrize(("work", "instructions"), OTHER_WORK)
def test_other_work_is_told_by_what_is_ordered(work: Work, instructions: str) -> None:
    assert work_of(instructions) == work


@pytest.mark.parametrize("label", ["Standalone question:", "SUMMARY:", "SQL query:", "Relevant facts:"])
def test_a_prompt_for_completion_is_told_by_its_last_line(label: str) -> None:
    assert work_of(f"Some material.\n\n{label}") != "answer"


def test_unknown_work_has_a_name_of_its_own_that_no_number_changes() -> None:
    emojis = label_of("Turn the text below into at most 3 emojis.")

    assert re.fullmatch("other:[0-9a-f]{12}", emojis)
    assert label_of("Turn the text below into at most 5 emojis.") == emojis
    assert label_of("Turn the text below into a limerick.") != emojis
    assert label_of("Rank the passages.") == "rank"


@given(st.text(max_size=400))
def test_any_text_has_a_work(text: str) -> None:
    assert label_of(text).partition(":")[0] == work_of(text)


@given(st.dates(), st.text(alphabet="abcdefgh ", max_size=40))
def test_a_date_or_a_name_in_a_system_prompt_splits_nothing(day: object, name: str) -> None:
    assert label_of(f"You are {name}, a helpful assistant. The date is {day}. Answer the question.") == "answer"


def test_what_lies_between_the_ends_of_long_instructions_is_material() -> None:
    material = "Rank the passages. " * 500

    assert work_of(f"Answer the question.\n{material}") == "answer"
    assert work_of(f"Extract the names from the text.\n{material}") == "extract"
