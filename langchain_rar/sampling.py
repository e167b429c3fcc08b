"""A `Sampling` in the words of each provider's chat model: one table, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel

from langchain_rar.children import Binding, Child, map_models, model_id
from rar.sampling import Sampling, SettingNames, accepted, names_among, spoken_of

# By class, and by the package that it comes from. Subclasses are known by their bases.
TABLE: Mapping[str, SettingNames] = {
    "langchain_openai.BaseChatOpenAI": SettingNames("temperature", "max_tokens", "seed", "logprobs", "+timeout"),
    "langchain_anthropic.ChatAnthropic": SettingNames("temperature", "max_tokens", timeout="+timeout"),
    "langchain_google_genai.ChatGoogleGenerativeAI": SettingNames(
        "temperature", "max_output_tokens", "seed", "", "+timeout"
    ),
    "langchain_google_vertexai.ChatVertexAI": SettingNames("temperature", "max_output_tokens", "seed", "logprobs"),
    "langchain_ollama.ChatOllama": SettingNames("temperature", "num_predict", "seed", "logprobs"),
    "langchain_community.ChatOllama": SettingNames("temperature", "num_predict"),
    "langchain_community.ChatLlamaCpp": SettingNames("temperature", "max_tokens", "seed"),
    "langchain_mistralai.ChatMistralAI": SettingNames("temperature", "max_tokens", "random_seed"),
    "langchain_groq.ChatGroq": SettingNames("temperature", "max_tokens", "+seed"),
    "langchain_aws.ChatBedrockConverse": SettingNames("temperature", "max_tokens"),
}
RESPONSES = SettingNames("temperature", "max_tokens", timeout="+timeout")  # OpenAI's other protocol


def names_of(model: Any) -> SettingNames:
    """What `model` calls each setting."""
    if getattr(model, "use_responses_api", None):
        return RESPONSES
    for base in type(model).__mro__:
        known = TABLE.get(f"{base.__module__.partition('.')[0]}.{base.__name__}")
        if known is not None:
            return known
    own = type(model).model_fields if isinstance(model, BaseChatModel) else {}
    return names_among(own)


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
    said = spoken_of(sampling)
    return {name: value for name, value in arguments.items() if name not in said}
