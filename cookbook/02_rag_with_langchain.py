"""Need: a retrieval chain whose prompts are long and differ each time, since they carry what was retrieved.

Shows: the memory's key is the user's question, not the prompt around it, so that the same question is recognised when
the retrieved context has changed. Its verdict counts for any context once it was found in two. A community loader,
vector store and cache work as they do with any chat model.

Run: python cookbook/02_rag_with_langchain.py
"""

from operator import itemgetter
from pathlib import Path

from _models import LARGE, SMALL, called, expect, play, scratch_file, show
from langchain_community.cache import SQLiteCache
from langchain_community.document_loaders import TextLoader
from langchain_community.vectorstores import FAISS
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_text_splitters import MarkdownTextSplitter

from langchain_rar import RouterChatModel, tag_query

WARRANTY, CLEANING = "How long is the hinge under warranty?", "May I clean the lamp with solvents?"
for name in (SMALL, LARGE):
    play(name, {WARRANTY: "One year.", CLEANING: "No, use a dry cloth."})

loaded = TextLoader(str(Path(__file__).parent / "data" / "lamp.md")).load()
pieces = MarkdownTextSplitter(chunk_size=200, chunk_overlap=0).split_documents(loaded)
store = FAISS.from_documents(pieces, OpenAIEmbeddings(check_embedding_ctx_length=False))

model = RouterChatModel(ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE), memory=scratch_file(), audit_rate=0.0)
prompt = ChatPromptTemplate.from_template("Answer by the context.\n\nContext: {context}\n\nQuestion: {question}")
context = itemgetter("question") | store.as_retriever() | (lambda found: "\n".join(d.page_content for d in found))
chain = {"context": context, "question": itemgetter("question")} | prompt | model


def ask(question: str) -> dict:
    message = chain.invoke({"question": question})
    show(question, message.content, message.response_metadata["rar"])
    return message.response_metadata["rar"]


first = ask(WARRANTY)
model.router.flush()
store.add_documents([Document("The hinge was made stronger in 2024; its warranty stays one year.")])
second = ask(WARRANTY)
model.router.flush()
store.add_documents([Document("The warranty of the hinge is printed on its box, too.")])
third = ask(WARRANTY)

known_as = model.router.explain(third["decision_id"])["question"]
print(f"\nthe prompt had new context, the key was still: {known_as!r}, found in the {third['key_source']}\n")
expect(known_as == WARRANTY)
expect((first["model"], second["model"], third["model"]) == ("strong", "strong", "weak"))

# "Question: … Context: …" prompts are recognised. For others, say which variable holds the question.
unusual = ChatPromptTemplate.from_template("Material:\n{context}\n\nA customer wants to know: {question}\nBe brief.")
chain = {"context": context, "question": itemgetter("question")} | tag_query(unusual, "question") | model
expect(ask(CLEANING)["key_source"] == "tagged_prompt")
model.router.flush()

# A cache answers identical prompts for nothing; both models take it over, and nothing is learned from cached answers.
model.cache = SQLiteCache(scratch_file("cache.db"))
ask(CLEANING)
before = called(SMALL)
ask(CLEANING)
expect(called(SMALL) == before)
