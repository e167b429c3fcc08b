"""Two ordinary applications: a LangChain chain and a LlamaIndex query engine. Only their model objects are RAR's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from llama_index.core import PromptTemplate, VectorStoreIndex
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import LLM
from llama_index.core.schema import TextNode
from llama_index.llms.openai_like import OpenAILike
from pydantic import SecretStr

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar.demo.documents import DOCUMENTS
from rar.demo.questions import Question
from rar.embedding.base import Embedder
from rar.local.server import LocalServer
from rar.router import Router

_PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer in one short sentence."),
        ("user", "{question}"),
    ]
)
_QA = PromptTemplate(
    "Context:\n{context_str}\n\nAnswer the question from the context, in one short sentence.\nQuestion: {query_str}"
)
_MAX_TOKENS = 256  # enough for a guide; answers are far shorter


@dataclass(frozen=True)
class Apps:
    """A chain for questions of any kind, and a query engine over the documents."""

    chain: Runnable[dict[str, str], str]
    engine: BaseQueryEngine

    def ask(self, question: Question) -> str:
        """The answer that a user of the question's application gets."""
        if question.app == "langchain":
            return self.chain.invoke({"question": question.text})
        return str(self.engine.query(question.text))


def routed(weak: LocalServer, strong: LocalServer, router: Router, index: VectorStoreIndex) -> Apps:
    """The applications with `router` between the two models."""
    model = RouterChatModel(weak=_chat(weak), strong=_chat(strong), router=router)
    llm = RouterLLM(weak=_llm(weak), strong=_llm(strong), router=router)
    return _apps(model, llm, index)


def alone(server: LocalServer, index: VectorStoreIndex) -> Apps:
    """The same applications as they were before: on one model."""
    return _apps(_chat(server), _llm(server), index)


def document_index(embedder: Embedder) -> VectorStoreIndex:
    """The documents, embedded."""
    nodes = [TextNode(text=text) for text in DOCUMENTS]
    return VectorStoreIndex(nodes, embed_model=_Embedding(embedder))


def _apps(model: Runnable[Any, Any], llm: LLM, index: VectorStoreIndex) -> Apps:
    return Apps(
        _PROMPT | model | StrOutputParser(),
        index.as_query_engine(llm=llm, similarity_top_k=2, text_qa_template=_QA),
    )


def _chat(server: LocalServer) -> ChatOpenAI:
    return ChatOpenAI(
        model=server.model_id,
        base_url=server.url,
        api_key=SecretStr("none"),
        temperature=0,
        max_completion_tokens=_MAX_TOKENS,
        seed=1,
    )


def _llm(server: LocalServer) -> OpenAILike:
    return OpenAILike(
        model=server.model_id,
        api_base=server.url,
        api_key="none",
        is_chat_model=True,
        context_window=4096,
        temperature=0,
        max_tokens=_MAX_TOKENS,
    )


class _Embedding(BaseEmbedding):
    """An `Embedder` of RAR as LlamaIndex wants one."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(model_name=embedder.id)
        self._embedder = embedder

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        embeddings: list[list[float]] = self._embedder.embed(texts).tolist()
        return embeddings

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)
