"""A `Sampling` in the words of each provider's LLM: one table, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llama_index.core.llms.llm import LLM

from llama_index_rar.messages import model_name
from rar.sampling import Sampling, accepted


@dataclass(frozen=True, slots=True)
class LLMNames:
    """What an LLM calls each setting: a field of it, or with a `+` an argument of its calls; empty where it has none.

    After a dot stands the key in a field or argument that is a mapping. A field that an LLM's version lacks is left
    out.
    """

    temperature: str = ""
    max_tokens: str = ""
    seed: str = ""
    logprobs: str = ""
    timeout: str = ""


# By class, and by the integration that it comes from. Subclasses are known by their bases.
TABLE: Mapping[str, LLMNames] = {
    "openai.OpenAI": LLMNames("temperature", "max_tokens", "+seed", "+logprobs", "+timeout"),
    "openai.OpenAIResponses": LLMNames("temperature", "max_output_tokens", timeout="+timeout"),
    "anthropic.Anthropic": LLMNames("temperature", "max_tokens", timeout="+timeout"),
    "google_genai.GoogleGenAI": LLMNames(
        "+generation_config.temperature", "+generation_config.max_output_tokens", "+generation_config.seed",
        "+generation_config.response_logprobs",
    ),
    "ollama.Ollama": LLMNames("temperature", "additional_kwargs.num_predict", "additional_kwargs.seed"),
    "llama_cpp.LlamaCPP": LLMNames("generate_kwargs.temperature", "generate_kwargs.max_tokens", "generate_kwargs.seed"),
    "mistralai.MistralAI": LLMNames("temperature", "max_tokens", "random_seed"),
    "groq.Groq": LLMNames("temperature", "max_tokens", "+seed", timeout="+timeout"),
    "bedrock_converse.BedrockConverse": LLMNames("temperature", "max_tokens"),
}  # fmt: skip

# What a setting is called anywhere, likeliest first: an unknown LLM has it if it has a field of such a name.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "max_tokens": ("max_tokens", "max_output_tokens", "num_predict", "max_new_tokens", "max_completion_tokens"),
    "seed": ("seed", "random_seed"),
    "logprobs": ("logprobs", "response_logprobs"),
    "timeout": (),
}
_MAPPINGS = (
    "additional_kwargs",
    "generate_kwargs",
    "generation_config",
)  # fields and arguments that hold such settings


def names_of(child: LLM) -> LLMNames:
    """What `child` calls each setting."""
    for base in type(child).__mro__:
        integration = base.__module__.removeprefix("llama_index.llms.")
        if integration != base.__module__:
            known = TABLE.get(f"{integration.partition('.')[0]}.{base.__name__}")
            if known is not None:
                return known
    own = type(child).model_fields
    return LLMNames(**{setting: next(filter(own.__contains__, names), "") for setting, names in SYNONYMS.items()})


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
    said = _said(sampling)
    held = {name: getattr(child, name) for name in _MAPPINGS if isinstance(getattr(child, name, None), dict)}
    freed = {name: {key: old for key, old in given.items() if key not in said} for name, given in held.items()}
    bare = child.model_copy(update=freed)
    return bare.model_copy(update=settings_of(bare, sampling)[0])


def arguments_for(child: LLM, arguments: Mapping[str, Any], sampling: Sampling) -> dict[str, Any]:
    """The user's call arguments with this sampling's in place of theirs."""
    kept = {name: value for name, value in arguments.items() if name not in _said(sampling)}
    for name, value in settings_of(child, sampling)[1].items():
        before = kept.get(name)
        kept[name] = {**before, **value} if isinstance(before, Mapping) and isinstance(value, dict) else value
    return kept


def _said(sampling: Sampling) -> set[str]:
    """All names of the settings that `sampling` speaks of."""
    return {name for setting in sampling.settings for name in (setting, *SYNONYMS[setting])}
