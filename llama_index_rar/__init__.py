"""LLM routing for LlamaIndex: `RouterLLM` takes the place of an LLM and sends each call to a weak or a strong one."""

from llama_index_rar.llm import RouterLLM

__all__ = ["RouterLLM"]
