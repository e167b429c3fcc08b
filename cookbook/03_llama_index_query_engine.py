"""Need: a LlamaIndex query engine on an expensive LLM.

Shows: pass a RouterLLM where the LLM was. The key is the query, whatever the response mode puts around it; the prompts
by which the framework does its own work (refining, condensing) are routed too, and teach nothing.

Run: python cookbook/03_llama_index_query_engine.py
"""

from pathlib import Path
from typing import Any

from _models import LARGE, SMALL, expect, play, scratch_file, show, show_savings
from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.llms.openai import OpenAI

from llama_index_rar import RouterLLM
from rar.embedding import MiniLMEmbedder

HINGE, BOX = "How long is the hinge under warranty?", "How is a lamp sent back?"
for name in (SMALL, LARGE):
    play(name, {HINGE: "One year.", BOX: "In its own box, within 30 days."})


class LocalEmbedding(BaseEmbedding):
    """Runs offline. Your index keeps the embedding model that it has."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return MINILM.embed([text])[0].tolist()

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query: str) -> Any:
        return self._get_query_embedding(query)


MINILM = MiniLMEmbedder()
llm = RouterLLM(OpenAI(model=SMALL), OpenAI(model=LARGE), memory=scratch_file(), audit_rate=0.0)

documents = SimpleDirectoryReader(str(Path(__file__).parent / "data")).load_data()
index = VectorStoreIndex.from_documents(documents, embed_model=LocalEmbedding())


def ask(question: str, **engine: Any) -> dict:
    """A query engine's response has no room for the decision: it is looked up in the memory."""
    response = index.as_query_engine(llm=llm, **engine).query(question)
    llm.router.flush()
    decision = dict(llm.router.memory.decisions(limit=1)[0].facts)
    show(question, response, decision)
    return decision


first = ask(HINGE)
second = ask(HINGE)
third = ask(HINGE, response_mode="tree_summarize")  # another prompt, the same question: a second context vouches for it
fourth = ask(HINGE, response_mode="simple_summarize")
expect([first["model"], second["model"], third["model"], fourth["model"]] == ["strong", "weak", "strong", "weak"])
expect(first["question"] == HINGE and first["key_source"] == "template_variable")

print("\nstreamed: ", end="")
index.as_query_engine(llm=llm, streaming=True).query(BOX).print_response_stream()
print()
show_savings(llm.router)
