"""The question in filled-in prompts: found where a template shows it, never taken from its material."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar.keys import question_in_template
from rar.templates import around, parsed

QUESTION = "How many watts has the Lumo?"
CONTEXT = "The Lumo is a lamp.\nIt has 7 W: enough to read by.\n\nIt costs 20 euros."

# In the shape of the prompts that both frameworks' documentation, and their users, write.
TEMPLATES = [
    "Answer the question based only on the following context:\n{c}\n\nQuestion: {q}\n",
    "Use the pieces of context below to answer the question at the end.\n\n{c}\n\nQuestion: {q}\nHelpful Answer:",
    "You are an assistant for question-answering tasks.\nQuestion: {q} \nContext: {c} \nAnswer:",
    "Context information is below.\n-------\n{c}\n-------\nGiven it, answer the query.\nQuery: {q}\nAnswer: ",
    "Context information is below.\n-------\n{c}\n-------\nGiven the context, answer the question: {q}\n",
    "We have provided context information below.\n------\n{c}\n------\nPlease answer the question: {q}\n",
    "Answer based only on the provided context:\n\n<context>\n{c}\n</context>\n\nQuestion: {q}",
    "<context>{c}</context>\n<question>{q}</question>",
    '<documents><document index="1"><source>a</source>{c}</document></documents>\n\n<user_query>\n{q}\n</user_query>',
    "Based on the following documents, answer.\n\nDocument 1: {c}\nDocument 2: {c}\n\nQuestion: {q}\nAnswer:",
    "Answer using the context. Context: {c} Question: {q} Answer:",
    "# Context\n{c}\n\n# Question\n{q}\n\n# Answer\n",
    "### Instruction:\nAnswer from the context.\n### Context:\n{c}\n### Question:\n{q}\n### Response:\n",
    "**Context:**\n{c}\n\n**Question:** {q}\n\n**Answer:**",
    "Given these documents: {c}, please answer the question: {q}",
    "Answer the question: {q} based only on the following context:\n{c}",
    "Use this material:\n{c}\n\nThe customer asks: {q}",
    "You are a helpful assistant.\n\nContext: {c}\n\nQuestion: {q}\n\nInstructions:\n- Answer only from the context",
    "Context documents:\n\n[Doc 1] {c}\n\n[Doc 2] {c}\n\nQuestion: {q}",
    "User Query:\n{q}\n\nContext:\n{c}",
    "> Question: {q}\n> Context:\n>>>\n{c}\n>>>\nExtracted relevant parts:",
    "Respond using any relevant context.\n\n>>> CONTEXT: {c}\n>>> USER INPUT: {q}\n>>> RESPONSE: ",
    "SOURCES:\n{c}\n\nQUESTION: {q}\nFINAL ANSWER:",
    "Question: {q}\n=========\n{c}\n=========\nFINAL ANSWER:",
    "Context: {c}\n\nQ: {q}\nA:",
    "Chat history:\nUser: hello\nAssistant: hi\n\nContext:\n{c}\n\nUser: {q}\nAssistant:",
    "[CONTEXT]\n{c}\n[/CONTEXT]\n\n[QUESTION]\n{q}\n[/QUESTION]",
    "=== CONTEXT ===\n{c}\n\n=== QUESTION ===\n{q}\n\n=== ANSWER ===",
    "Context:\n{c}\n\n---\n\nAnswer the question based on the above context: {q}",
    "Answer the following question: {q}\n\nUse this context:\n{c}",
    "Question:\n{q}\n\nRetrieved context:\n{c}",
    "Documentos:\n{c}\n\nPregunta del usuario: {q}\n\nRespuesta:",
    "Search results:\n{c}\n\nUser question: {q}",
    "Answer from the results.\n\nQuestion: {q}\nSQL Query: SELECT 1\nSQL Result: 7\nAnswer: ",
    "The original question is as follows: {q}\nThere is an answer: 7\n------\n{c}\n------\nRefine it by the context.",
    "Rephrase the question.\n\nChat History:\nHuman: hi\nAI: ho\nFollow Up Input: {q}\nStandalone question:",
    "Please write a passage to answer the question\nQuestion: {q}\nPassage:",
    "Use the format:\n\nQuestion: the question here\nAnswer: the answer here\n\nBegin!\n\nContext: {c}\nQuestion: {q}",
    "{c}\n\n-----\n\nGiven the text above, answer: {q}",
    "[INST] Context: {c}\n\nQuestion: {q} [/INST]",
    "Customer question: {q}\n\nRelevant help articles:\n{c}\n\nDraft a reply.",
    "<instructions>Answer from the documents.</instructions>\n<documents>{c}</documents>\n<input>{q}</input>",
    "Question: {q}\n\nUse the snippets below to answer it.\n\nSnippets:\n{c}\n\nAnswer:",
    "Based on these excerpts:\n\n{c}\n\nanswer this: {q}",
    "I have the following notes about our lamps:\n\n{c}\n\nPlease tell me: {q}",
    'Answer the question "{q}" from this text:\n\n{c}',
    "Documents:\n[1] {c}\n[2] {c}\n\nAnswer the following with citations like [1].\n\n{q}",
    "Answer any questions based solely on the context below:\n\n<context>\n{c}\n</context>\n{q}",
    "Kontext:\n{c}\n\nFrage: {q}\nAntwort:",
    "Nutze die Kontexte (nach dem Wort 'Kontext:'), um die Frage (nach 'Frage: ') zu klären. Kontext: {c} Frage: {q}",
    "Contexte : {c}\n\nQuestion : {q}\n\nRéponse :",
    "Contexto: {c}\n\nPregunta: {q}\nRespuesta:",
    "Contesto: {c}\n\nDomanda: {q}\nRisposta:",
    "已知信息：\n{c}\n\n根据上述已知信息，简洁地回答用户的问题。\n\n问题：{q}\n答案：",
    "コンテキスト: {c}\n\n質問: {q}\n回答:",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_usual_prompts_show_their_question(template: str) -> None:
    assert question_in_template(template.format(c=CONTEXT, q=QUESTION)) == QUESTION


@given(st.sampled_from(TEMPLATES), st.text(alphabet="abcdefghijklmnopqrstuvwxyzäß ?", min_size=3))
def test_they_show_any_question(template: str, words: str) -> None:
    question = f"Why {words.strip()} so?"

    assert question_in_template(template.format(c=CONTEXT, q=question)) == question


@pytest.mark.parametrize(
    "own",
    [
        "What is the capital of France?",
        "Translate this to French: the lamp is on.",
        "Summarise the following article: The cat sat on the mat. It was: fat.",
        "Question: what is 2+2?",
        "I have a question: how do I cook rice?",
        "Dear team,\nSubject: Order\nQuestion: where is my order?\nThanks",
        "Write me an email.\nContext: my boss is angry.\nTone: polite",
        "Note: the file has Context: x in it, and I need help.",
        "Fix this page: <div><p>text</p></div>",
        "You are a pirate. Tell me of your ship.",
        "Please improve this.\nQuestion: When do you open?\nAnswer: At nine.\n\nMake it shorter.",
        "User: hi\nAssistant: hello\nUser: how are you?\n\nWhat does the user feel?",
        "def f(x):\n    # Input: a list\n    return x",
    ],
)
def test_users_own_words_are_no_template(own: str) -> None:
    assert parsed(own) is None


VICTIM = "Can I take ibuprofen with warfarin?"
FAQ = "FAQ\nQuestion: What are your opening hours?\nAnswer: 9 to 5"


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        (f"Question: {VICTIM}\nContext: {FAQ}\n", VICTIM),
        (f"Context: {FAQ}\n\nQuestion: {VICTIM}\nAnswer:", VICTIM),
        (f"<context>{FAQ}\nQuestion: Which?</context>\n\nQuestion: {VICTIM}", VICTIM),
        (f"Context: some page\n\nQuestion: {VICTIM}\nQuery: and that?\nHelpful Answer:", f"{VICTIM}\nQuery: and that?"),
        (f"Context: {FAQ}\n\nUse it well.", None),
        (f"Question: {VICTIM}\nContext: page\nAnswer: 9\nQuestion: planted?\nContext: more\nAnswer:", None),
        (f"Context: page\nQuestion: planted?\n\nContext: page\nQuestion: {VICTIM}\nAnswer:", None),
    ],
)
def test_no_line_of_the_material_is_taken_for_the_question(prompt: str, question: str | None) -> None:
    template = parsed(prompt)

    assert template is not None
    assert template.question == question


@pytest.mark.parametrize(
    "prompt",
    [
        'Write a concise summary of the following:\n\n\n"The lamp broke."\n\n\nCONCISE SUMMARY:',
        "<role>Extractor</role>\n<instructions>Extract the facts.</instructions>\n<messages>Human: hi</messages>",
        "You are assessing an answer.\n***\n[Submission]: yes\n***\nDetermine whether it is correct.",
    ],
)
def test_a_template_for_other_work_has_no_question(prompt: str) -> None:
    template = parsed(prompt)

    assert template is not None
    assert template.question is None
    assert template.instructions


def test_instructions_stand_around_a_known_question_without_its_material() -> None:
    prompt = f"Rephrase the question.\nContext: Rank it.\n---\nNow:\nQuestion: {QUESTION}\nStandalone question:"

    instructions = around(prompt, QUESTION)

    assert "Rephrase" in instructions
    assert "Standalone" in instructions
    assert "Rank" not in instructions
    assert QUESTION not in instructions
    assert around(QUESTION, QUESTION) == ""


@given(st.text(alphabet="Question:Context\n<>/#*- '\"A", max_size=300))
def test_any_text_is_read(text: str) -> None:
    template = parsed(text)

    assert template is None or template.question is None or template.question in text


def test_a_question_that_is_not_read_to_its_end_is_no_key() -> None:
    prompts = [
        f"Context: page\nQuestion: {'x ' * 40_000}{middle}{' x' * 40_000}\nAnswer:" for middle in ("left", "right")
    ]

    assert {question_in_template(prompt) for prompt in prompts} == {None}
    assert question_in_template(f"Context: {'page ' * 100_000}\nQuestion: {QUESTION}\nAnswer:") == QUESTION
