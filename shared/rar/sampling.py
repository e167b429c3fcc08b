"""How a call samples: what may be asked for, and what models are known to refuse."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

from rar.errors import ConfigurationError
from rar.naming import shown
from rar.options import Number, named_arguments

_CHECKS = {
    "temperature": Number(0.0, 2.0, optional=True),
    "max_tokens": Number(1, whole=True, optional=True),
    "seed": Number(-math.inf, whole=True, optional=True),
    "timeout": Number(above=True, optional=True),
}


@named_arguments
@dataclass(frozen=True, slots=True)
class Sampling:
    """What a call asks of its model beside the request. No cache answers such a call.

    What a model has no setting for, or is known to refuse, is left out. None leaves a setting as it is.

    Args:
        temperature: Makes the reply a sample of its own.
        max_tokens: Of the reply.
        logprobs: Whether to ask for the log-probability of each token (`Reply.logprobs`).
        timeout: Seconds after which the call counts as failed.

    Raises:
        ConfigurationError: A value cannot work.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    logprobs: bool = False
    timeout: float | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            check(name, getattr(self, name))
        if not isinstance(self.logprobs, bool):
            raise ConfigurationError(f"logprobs={shown(self.logprobs)} is not True or False.")

    @property
    def settings(self) -> dict[str, float | int | bool]:
        """What is asked for, by name."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None and value is not False}


@dataclass(frozen=True, slots=True)
class SettingNames:
    """What a model calls each setting: a field of it, or with a `+` an argument of its calls; empty where it has none.

    Each plugin has one table of them. A field that a model's version lacks is left out.
    """

    temperature: str = ""
    max_tokens: str = ""
    seed: str = ""
    logprobs: str = ""
    timeout: str = ""


Synonyms: TypeAlias = Mapping[str, tuple[str, ...]]
# What a setting is called anywhere, likeliest first.
SYNONYMS: Synonyms = {
    "temperature": ("temperature",),
    "max_tokens": ("max_tokens", "max_output_tokens", "num_predict", "max_new_tokens", "max_completion_tokens"),
    "seed": ("seed", "random_seed"),
    "logprobs": ("logprobs",),
    "timeout": (),
}


def names_among(fields: Container[str], synonyms: Synonyms = SYNONYMS) -> SettingNames:
    """What a model that stands in no table calls each setting: it has it if it has a field of such a name."""
    return SettingNames(**{name: next(filter(fields.__contains__, said), "") for name, said in synonyms.items()})


def spoken_of(sampling: Sampling, synonyms: Synonyms = SYNONYMS) -> set[str]:
    """All names of the settings that `sampling` speaks of."""
    return {name for setting in sampling.settings for name in (setting, *synonyms[setting])}


FRESH = Sampling(temperature=0.7)  # another try of a model that may have been set to give one answer only

# Models that sample in one way of their own: their providers refuse a temperature, and OpenAI's log-probabilities too.
_FIXED = re.compile(
    r"(?:^|[/.:])(?:o\d(?:$|-)|gpt-5(?!.*chat)|claude-(?:opus-4-7|fable-5|sonnet-5-5)|gemini-3\.(?:5-flash-lite|6-flash))"
)


def accepted(sampling: Sampling, model_id: str, thinking: object = None) -> Sampling:
    """`sampling` without what the model of this name is known to refuse.

    Args:
        thinking: How the model was set to think, in Anthropic's form: then it takes no temperature, and no fewer tokens
            than its thoughts may have.
    """
    if _FIXED.search(model_id.lower()):
        return replace(sampling, temperature=None, logprobs=False)
    if isinstance(thinking, Mapping) and thinking.get("type") not in (None, "disabled"):
        enough = (sampling.max_tokens or 0) > (thinking.get("budget_tokens") or 0)
        return replace(sampling, temperature=None, max_tokens=sampling.max_tokens if enough else None)
    return sampling
