"""A `Sampling` in the words of each provider's LLM: one table, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.llms.llm import LLM

from llama_index_rar.messages import model_name
from rar.sampling import SYNONYMS, Sampling, SettingNames, Synonyms, accepted, names_among, spoken_of

# By class, and by the integration that it comes from. Subclasses are known by their bases. After a dot stands the key
# in a field or argument that is a mapping.
TABLE: Mapping[str, SettingNames] = {
    "openai.OpenAI": SettingNames("temperature", "max_tokens", "+seed", "+logprobs", "+timeout"),
    "openai.OpenAIResponses": SettingNames("temperature", "max_output_tokens", timeout="+timeout"),
    "anthropic.Anthropic": SettingNames("temperature", "max_tokens", timeout="+timeout"),
    "google_genai.GoogleGenAI": SettingNames(
        "+generation_config.temperature", "+generation_config.max_output_tokens", "+generation_config.seed",
        "+generation_config.response_logprobs",
    ),
    "ollama.Ollama": SettingNames("temperature", "additional_kwargs.num_predict", "additional_kwargs.seed"),
    "llama_cpp.LlamaCPP": SettingNames(
        "generate_kwargs.temperature", "generate_kwargs.max_tokens", "generate_kwargs.seed"
    ),
    "mistralai.MistralAI": SettingNames("temperature", "max_tokens", "random_seed"),
    "groq.Groq": SettingNames("temperature", "max_tokens", "+seed", timeout="+timeout"),
    "bedrock_converse.BedrockConverse": SettingNames("temperature", "max_tokens"),
}  # fmt: skip

_SYNONYMS: Synonyms = {**SYNONYMS, "logprobs": ("logprobs", "response_logprobs")}
_MAPPINGS = (
    "additional_kwargs",
    "generate_kwargs",
    "generation_config",
)  # fields and arguments that hold such settings


def names_of(child: LLM) -> SettingNames:
    """What `child` calls each setting."""
    for base in type(child).__mro__:
        integration = base.__module__.removeprefix("llama_index.llms.")
        if integration != base.__module__:
            known = TABLE.get(f"{integration.partition('.')[0]}.{base.__name__}")
            if known is not None:
                return known
    return names_among(type(child).model_fields, _SYNONYMS)


def settings_of(child: LLM, sampling: Sampling) -> tuple[dict[str, Any], dict[str, Any]]:
    """`sampling` as fields of `child`, and as arguments of its calls; without what it would refuse."""
    names = names_of(child)
    own: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    taken = accepted(sampling, model_name(child), getattr(child, "thinking_dict", None))
    for setting, value in taken.settings.items():
        name, _, key = getattr(names, setting).removeprefix("+").partition(".")
        # Protocols that complete text take the number of tokens to weigh at each place.
        given = 1 if setting == "logprobs" and not child.metadata.is_chat_model else value
        if getattr(names, setting).startswith("+"):
            _put(arguments, name, key, given)
        elif name in type(child).model_fields:
            if key:
                own.setdefault(name, dict(getattr(child, name) or {}))
            _put(own, name, key, given)
    return own, arguments


def _put(settings: dict[str, Any], name: str, key: str, value: Any) -> None:
    if key:
        settings.setdefault(name, {})[key] = value
    else:
        settings[name] = value


def sampled(child: LLM, sampling: Sampling) -> LLM:
    """A copy of `child` with what was asked for in place of its own; the rest goes with the call (`arguments_for`)."""
    said = spoken_of(sampling, _SYNONYMS)
    held = {name: getattr(child, name) for name in _MAPPINGS if isinstance(getattr(child, name, None), dict)}
    freed = {name: {key: old for key, old in given.items() if key not in said} for name, given in held.items()}
    bare = child.model_copy(update=freed)
    return bare.model_copy(update=settings_of(bare, sampling)[0])


def arguments_for(child: LLM, arguments: Mapping[str, Any], sampling: Sampling) -> dict[str, Any]:
    """The user's call arguments with this sampling's in place of theirs."""
    said = spoken_of(sampling, _SYNONYMS)
    kept = {name: value for name, value in arguments.items() if name not in said}
    for name, value in settings_of(child, sampling)[1].items():
        before = kept.get(name)
        kept[name] = {**before, **value} if isinstance(before, Mapping) and isinstance(value, dict) else value
    return kept
