"""Asks questions by one framework, in a process of its own: `python -m tests.e2e.asker NAME URL MEMORY QUESTION …`.

Prints, as JSON, which model answered each, and why.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def langchain(url: str, memory: str, questions: list[str]) -> list[tuple[str, str]]:
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI

    from langchain_rar import RouterChatModel

    weak, strong = (ChatOpenAI(model=name, base_url=url, api_key="none") for name in ("small", "big"))  # type: ignore[arg-type]
    model = RouterChatModel(weak, strong, memory=memory, embedder="hashing", audit_rate=0.0)
    chain = ChatPromptTemplate.from_messages([("system", "Answer briefly."), ("user", "{question}")]) | model
    decisions = []
    with model.router:
        for question in questions:
            decisions.append(chain.invoke({"question": question}).response_metadata["rar"])
            model.router.flush()
    return [(decision["model"], decision["reason"]) for decision in decisions]


def llama_index(url: str, memory: str, questions: list[str]) -> list[tuple[str, str]]:
    from llama_index.core import Document, Settings, SummaryIndex
    from llama_index.llms.openai_like import OpenAILike

    from llama_index_rar import RouterLLM

    Settings.tokenizer = str.split
    weak, strong = (
        OpenAILike(model=name, api_base=url, api_key="none", is_chat_model=True) for name in ("small", "big")
    )
    llm = RouterLLM(weak, strong, memory=memory, embedder="hashing", audit_rate=0.0)
    engine = SummaryIndex.from_documents([Document(text="The Seine flows through Paris.")]).as_query_engine(llm=llm)
    decisions: list[dict[str, Any]] = []
    with llm.router:
        for question in questions:
            engine.query(question)
            decisions += llm.router.decisions(limit=1)
    return [(decision["model"], decision["reason"]) for decision in decisions]


if __name__ == "__main__":
    framework, url, memory, *questions = sys.argv[1:]
    print(json.dumps({"langchain": langchain, "llama_index": llama_index}[framework](url, memory, questions)))
