"""A `Sampling` in the words of each provider's chat model: one table, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel

from langchain_rar.children import Binding, Child, map_models, model_id
from rar.sampling import Sampling, accepted


@dataclass(frozen=True, slots=True)
class ChatNames:
    """What a model calls each setting: a field of it, or with a `+` an argument of its calls; empty where it has none.

    A field that a model's version lacks is left out.
    """

    temperature: str = ""
    max_tokens: str = ""
    seed: str = ""
    logprobs: str = ""
    timeout: str = ""


# By class, and by the package that it comes from. Subclasses are known by their bases.
TABLE: Mapping[str, ChatNames] = {
    "langchain_openai.BaseChatOpenAI": ChatNames("temperature", "max_tokens", "seed", "logprobs", "+timeout"),
    "langchain_anthropic.ChatAnthropic": ChatNames("temperature", "max_tokens", timeout="+timeout"),
    "langchain_google_genai.ChatGoogleGenerativeAI": ChatNames(
        "temperature", "max_output_tokens", "seed", "", "+timeout"
    ),
    "langchain_google_vertexai.ChatVertexAI": ChatNames("temperature", "max_output_tokens", "seed", "logprobs"),
    "langchain_ollama.ChatOllama": ChatNames("temperature", "num_predict", "seed", "logprobs"),
    "langchain_community.ChatOllama": ChatNames("temperature", "num_predict"),
    "langchain_community.ChatLlamaCpp": ChatNames("temperature", "max_tokens", "seed"),
    "langchain_mistralai.ChatMistralAI": ChatNames("temperature", "max_tokens", "random_seed"),
    "langchain_groq.ChatGroq": ChatNames("temperature", "max_tokens", "+seed"),
    "langchain_aws.ChatBedrockConverse": ChatNames("temperature", "max_tokens"),
}
RESPONSES = ChatNames("temperature", "max_tokens", timeout="+timeout")  # OpenAI's other protocol

# What a setting is called anywhere, likeliest first: an unknown model has it if it has a field of such a name.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "max_tokens": ("max_tokens", "max_output_tokens", "num_predict", "max_new_tokens", "max_completion_tokens"),
    "seed": ("seed", "random_seed"),
    "logprobs": ("logprobs",),
    "timeout": (),
}


def names_of(model: Any) -> ChatNames:
    """What `model` calls each setting."""
    if getattr(model, "use_responses_api", None):
        return RESPONSES
    for base in type(model).__mro__:
        known = TABLE.get(f"{base.__module__.partition('.')[0]}.{base.__name__}")
        if known is not None:
            return known
    own = type(model).model_fields if isinstance(model, BaseChatModel) else {}
    return ChatNames(**{setting: next(filter(own.__contains__, names), "") for setting, names in SYNONYMS.items()})


def settings_of(model: Any, sampling: Sampling) -> tuple[dict[str, Any], dict[str, Any]]:
    """`sampling` as fields of `model`, and as arguments of its calls; without what it would refuse."""
    names = names_of(model)
    own: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    taken = accepted(sampling, model_id(model) or "", getattr(model, "thinking", None))
    for setting, value in taken.settings.items():
        name = getattr(names, setting)
        if name.startswith("+"):
            arguments[name[1:]] = value
        elif name in type(model).model_fields:
            own[name] = value
    return own, arguments


def sampled(child: Child, sampling: Sampling) -> Child:
    """`child` without caches, and with what was asked for in place of its own settings."""

    def change(model: Child) -> Child:
        if not isinstance(model, BaseChatModel):
            return model
        own, arguments = settings_of(model, sampling)
        copy = model.model_copy(update={**own, "cache": False})
        return copy.bind(**arguments) if arguments else copy

    def rebind(binding: Binding) -> Child:
        return binding.model_copy(update={"kwargs": without(binding.kwargs, sampling)})

    return map_models(child, change, rebind)


def without(arguments: Mapping[str, Any], sampling: Sampling) -> dict[str, Any]:
    """Call arguments without those that `sampling` speaks of, by whatever name."""
    said = {name for setting in sampling.settings for name in (setting, *SYNONYMS[setting])}
    return {name: value for name, value in arguments.items() if name not in said}
