"""How much of a model's window is left for a prompt, by the framework's own reckoning (`PromptHelper`)."""

from __future__ import annotations

from functools import lru_cache

from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.llm import LLM
from llama_index.core.utilities.token_counting import TokenCounter

UNLIMITED = -1  # how integrations say that no limit of the output is known


def room_for_prompt(child: LLM) -> int:
    """The child's window, less its own output and its own system prompt, in tokens."""
    metadata = child.metadata
    output = DEFAULT_NUM_OUTPUTS if metadata.num_output == UNLIMITED else metadata.num_output
    return metadata.context_window - output - (_tokens(child.system_prompt) if child.system_prompt else 0)


@lru_cache(maxsize=64)
def _tokens(text: str) -> int:
    return TokenCounter().get_string_tokens(text)
