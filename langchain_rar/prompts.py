"""LangChain's own prompts that begin with worked examples, whose questions are not the user's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Final

_MODULES: Final = (
    ("langchain_classic.chains.qa_with_sources.map_reduce_prompt", "combine_prompt_template"),
    ("langchain_classic.chains.question_answering.map_reduce_prompt", "combine_prompt_template"),
    ("langchain_classic.agents.self_ask_with_search.prompt", "_DEFAULT_TEMPLATE"),
)


def without_examples(text: str) -> str:
    """`text` without the examples of the prompt of LangChain's that made it; as it is, if none did."""
    for head, examples, lead in _known(tuple(name for name, _ in _MODULES if name in sys.modules)):
        if text.startswith(examples):
            return f"{head}\n\n{lead}{text[len(examples) :]}"
    return text


@cache
def _known(loaded: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    """Of each prompt: its first paragraph, all that stands before its first variable, and the last line of that."""
    templates = [getattr(sys.modules[module], name, "") for module, name in _MODULES if module in loaded]
    fixed = [template.partition("{")[0] for template in templates if isinstance(template, str)]
    return tuple((_instructions(text), text, text[text.rfind("\n") + 1 :]) for text in fixed if text)


def _instructions(text: str) -> str:
    first = text.partition("\n\n")[0]
    return "" if first.startswith("Question:") else first  # that one begins with its examples
