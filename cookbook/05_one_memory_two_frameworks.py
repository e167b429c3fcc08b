"""Need: one service on LangChain, another on LlamaIndex, and the same questions in both.

Shows: both learn into one file. What LangChain traffic taught is used by a LlamaIndex query in the next call, through a
router of its own, and the reverse; two processes would do the same.

Run: python cookbook/05_one_memory_two_frameworks.py
"""

from _models import LARGE, SMALL, expect, play, scratch_file, show, show_savings
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar import Router

BOIL, FREEZE = "At how many degrees Celsius does water boil?", "At how many degrees Celsius does water freeze?"
for name in (SMALL, LARGE):
    play(name, {BOIL: "100", FREEZE: "0"})

MEMORY = scratch_file()
model = RouterChatModel(ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE), memory=MEMORY, audit_rate=0.0)
llm = RouterLLM(OpenAI(model=SMALL), OpenAI(model=LARGE), memory=MEMORY, audit_rate=0.0)


def ask_langchain(question: str) -> str:
    message = model.invoke(question)
    show(f"LangChain:  {question}", message.content, message.response_metadata["rar"])
    model.router.flush()
    return message.response_metadata["rar"]["model"]


def ask_llama_index(question: str) -> str:
    response = llm.chat([ChatMessage(question)])
    show(f"LlamaIndex: {question}", response.message.content, response.additional_kwargs["rar"])
    llm.router.flush()
    return response.additional_kwargs["rar"]["model"]


expect(ask_langchain(BOIL) == "strong")
expect(ask_llama_index(BOIL) == "weak")  # taught by LangChain
expect(ask_llama_index(FREEZE) == "strong")  # near to what is known, and yet another question
expect(ask_langchain(FREEZE) == "weak")  # taught by LlamaIndex

experience = model.router.memory.stats()
print(f"\none file: {experience.experiences} questions, {experience.trials} trials, embedder {experience.embedder_id}")

# Within one process, both may share one Router as well: one worker, one ledger.
with Router(memory=MEMORY, audit_rate=0.0) as router:
    model = RouterChatModel(ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE), router=router)
    llm = RouterLLM(OpenAI(model=SMALL), OpenAI(model=LARGE), router=router)
    expect(ask_langchain(BOIL) == ask_llama_index(BOIL) == "weak")
    show_savings(router)
