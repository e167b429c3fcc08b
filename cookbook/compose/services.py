"""Two services, one on LangChain and one on LlamaIndex, and the models that their worker takes.

All three share one memory in PostgreSQL. `compose.yaml` starts them; see the page on PostgreSQL in `docs`.
"""

import os
from collections.abc import Awaitable, Callable
from functools import partial

from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM

MEMORY = os.environ["DATABASE_URL"]  # without the password, which is in PGPASSWORD
WEAK, STRONG = os.environ.get("WEAK_MODEL", "gpt-4o-mini"), os.environ.get("STRONG_MODEL", "gpt-4o")


def langchain_model(memory: str = MEMORY) -> RouterChatModel:
    """What the LangChain service makes, and the worker too."""
    return RouterChatModel(ChatOpenAI(model=WEAK), ChatOpenAI(model=STRONG), memory=memory, learning="queue")


def llama_index_llm(memory: str = MEMORY) -> RouterLLM:
    return RouterLLM(OpenAI(model=WEAK), OpenAI(model=STRONG), memory=memory, learning="queue")


async def by_langchain(model: RouterChatModel, request: Request) -> JSONResponse:
    message = await model.ainvoke((await request.json())["question"])
    return JSONResponse({"answer": message.content, "rar": message.response_metadata["rar"]})


async def by_llama_index(llm: RouterLLM, request: Request) -> JSONResponse:
    response = await llm.achat([ChatMessage((await request.json())["question"])])
    return JSONResponse({"answer": response.message.content, "rar": response.additional_kwargs["rar"]})


async def health(_: Request) -> JSONResponse:
    return JSONResponse({"ok": True})


def app(answer: Callable[[Request], Awaitable[JSONResponse]]) -> Starlette:
    return Starlette(routes=[Route("/ask", answer, methods=["POST"]), Route("/health", health)])


def langchain_app() -> Starlette:
    return app(partial(by_langchain, langchain_model()))


def llama_index_app() -> Starlette:
    return app(partial(by_llama_index, llama_index_llm()))
