"""The models that a router is given, whatever they are wrapped in: named, told apart, and configured from outside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, reduce
from importlib.util import find_spec
from typing import Any, TypeAlias

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase

from langchain_rar.messages import as_chunk
from rar.errors import ConfigurationError, MissingDependencyError, MissingModelError
from rar.models import advice
from rar.naming import shown
from rar.values import STRONG, WEAK

Child: TypeAlias = Runnable[LanguageModelInput, Any]
Binding: TypeAlias = RunnableBindingBase[LanguageModelInput, Any]

_ENVIRONMENT = {WEAK: "RAR_WEAK_MODEL", STRONG: "RAR_STRONG_MODEL"}
_ID_FIELDS = ("model_name", "model", "model_id", "deployment_name")


class NamedModel(Runnable[LanguageModelInput, AIMessage]):
    """A chat model given by name, made by `init_chat_model` when it is first needed.

    Raises:
        MissingDependencyError: `langchain` is not installed.
    """

    def __init__(self, model: str, options: Mapping[str, Any]) -> None:
        if find_spec("langchain") is None:
            raise MissingDependencyError(f"langchain, which makes the model {model!r} from its name,", "agents")
        self.model, self.options = model, dict(options)

    def __repr__(self) -> str:
        return f"NamedModel({self.model!r})"  # the options may hold an API key

    @cached_property
    def made(self) -> BaseChatModel:
        from langchain.chat_models import init_chat_model  # noqa: PLC0415 - an extra

        made: BaseChatModel = init_chat_model(self.model, **self.options)
        return made

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        return self.made.invoke(input, config, **kwargs)


class PlaybackModel(BaseChatModel):
    """Gives a message that a model made before, so that it has its one LLM run like any other answer."""

    message: AIMessage
    params: LangSmithParams

    @property
    def _llm_type(self) -> str:
        return "rar-playback"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.message.model_copy())])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=as_chunk(self.message))

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return self.params

    def bind_tools(self, tools: Any, *, tool_choice: str | None = None, **kwargs: Any) -> Child:
        return self  # the message was made with the tools at hand


def playback(message: AIMessage, child: Child) -> PlaybackModel:
    """A model that gives `message` in the name of `child`, which made it."""
    model = bare(child)
    # The tracing parameters, which are how a run says whose it is, are to be had from no public method.
    params = LangSmithParams(ls_model_type="chat")
    if isinstance(model, BaseChatModel):
        params = model._get_ls_params()  # noqa: SLF001
    # No cache: an answer that is had already must neither be looked up nor stored under this model's name.
    return PlaybackModel(message=message, params=params, cache=False)


def map_models(
    child: Child,
    change: Callable[[Child], Child],
    rebind: Callable[[Binding], Child] = lambda binding: binding,
) -> Child:
    """A copy of `child` in which `change` was applied to each chat model under its bindings, fallbacks and steps.

    Args:
        child: A model, in whatever it is wrapped.
        change: Anything in the tree that is no chat model is left as it is.
        rebind: Applied to each binding on the way, after what is under it was changed.
    """

    def inner(part: Child) -> Child:
        return map_models(part, change, rebind)

    if isinstance(child, NamedModel):
        return inner(child.made)
    if isinstance(child, RunnableBindingBase):
        return rebind(child.model_copy(update={"bound": inner(child.bound)}))
    if isinstance(child, RunnableWithFallbacks):
        fallbacks = [inner(fallback) for fallback in child.fallbacks]
        return child.model_copy(update={"runnable": inner(child.runnable), "fallbacks": fallbacks})
    if isinstance(child, RunnableSequence):
        middle = [inner(step) for step in child.middle]
        return child.model_copy(update={"first": inner(child.first), "middle": middle, "last": inner(child.last)})
    if isinstance(child, RunnableParallel):
        steps = {name: inner(step) for name, step in child.steps__.items()}
        return child.model_copy(update={"steps__": steps})
    return change(child) if is_model(child) else child


def is_model(child: Child) -> bool:
    """Whether `child` is a chat model, or stands for one that is configured at run time."""
    return isinstance(child, BaseChatModel) or hasattr(child, "bind_tools")


def model_id(child: Child) -> str | None:
    """The provider's name of the model under `child`'s wrappings; None where none is to be found."""
    if isinstance(child, NamedModel):
        return child.model.partition(":")[2] or child.model
    if isinstance(child, RunnableBindingBase):
        bound = child.kwargs.get("model")
        return bound if isinstance(bound, str) else model_id(child.bound)
    if isinstance(child, RunnableWithFallbacks):
        return model_id(child.runnable)
    if isinstance(child, RunnableSequence):
        return next((name for step in child.steps if (name := model_id(step))), None)
    # A model of `init_chat_model` that is chosen at run time would be made by asking it for an attribute.
    chosen_later: Mapping[str, Any] | None = vars(child).get("_default_config")
    for attribute in _ID_FIELDS:
        name = getattr(child, attribute, None) if chosen_later is None else chosen_later.get(attribute)
        if isinstance(name, str) and name:
            return name.removeprefix("models/")
    return None


def bare(child: Child) -> Child:
    """The model under `child`'s bindings and fallbacks, which knows how it counts tokens and what it can do."""
    if isinstance(child, NamedModel):
        return child.made
    if isinstance(child, RunnableBindingBase):
        return bare(child.bound)
    return bare(child.runnable) if isinstance(child, RunnableWithFallbacks) else child


def provider(child: Child) -> str | None:
    """The name under which traces know the provider of `child`'s model; None where there is none to be found."""
    try:
        model = bare(child)
    except Exception:  # a model by name that cannot be made yet, for want of a key
        return None
    # To be had from no public method.
    return model._get_ls_params().get("ls_provider") if isinstance(model, BaseChatModel) else None  # noqa: SLF001


def inheriting(child: Child, settings: Mapping[str, Any]) -> Child:
    """`child` with the router's settings in each model that was not given its own."""

    def change(model: Child) -> Child:
        if not isinstance(model, BaseChatModel):
            return model
        known = type(model).model_fields.keys() - model.model_fields_set
        missing = {name: value for name, value in settings.items() if name in known}
        return model.model_copy(update=missing) if missing else model

    return map_models(child, change) if settings else child


def silent(child: Child) -> Child:
    """`child` without the callbacks and listeners that were given to it, so that nobody sees its calls."""

    def change(model: Child) -> Child:
        return model.model_copy(update={"callbacks": None}) if isinstance(model, BaseChatModel) else model

    def unheard(binding: Binding) -> Child:
        factories = [_without_callbacks(factory) for factory in binding.config_factories]
        update = {"config": {**binding.config, "callbacks": None}, "config_factories": factories}
        return binding.model_copy(update=update)

    return map_models(child, change, unheard)


def _without_callbacks(
    factory: Callable[[RunnableConfig], RunnableConfig],
) -> Callable[[RunnableConfig], RunnableConfig]:
    def made(config: RunnableConfig) -> RunnableConfig:
        own = factory(config).copy()
        own.pop("callbacks", None)
        return own

    return made


def as_child(given: Any, role: str, options: Mapping[str, Any]) -> Child:
    variable = _ENVIRONMENT.get(role, "")
    given = given or os.environ.get(variable)
    if isinstance(given, str):
        return NamedModel(given, options)
    if isinstance(given, Runnable):
        return given
    if given is None:
        raise MissingModelError(role, variable and f"or set {variable} to a name for `init_chat_model`")
    hint = advice(given) or "Pass a chat model, its name, or a runnable of messages."
    raise ConfigurationError(f"{role}={shown(given)} is no model. {hint}")


def shared_profile(children: Iterable[Child]) -> ModelProfile | None:
    """What all models can do; None where that is not known of all."""
    profiles: list[Any] = [getattr(bare(child), "profile", None) for child in children]
    if not all(profiles):
        return None
    names = set.intersection(*(set(profile) for profile in profiles))
    shared = {name: reduce(_lesser, (profile[name] for profile in profiles)) for name in names}
    return ModelProfile(**{name: value for name, value in shared.items() if value is not None})  # type: ignore[typeddict-item]


def _lesser(weak: Any, strong: Any) -> Any:
    """What two models have in common of one capability."""
    if isinstance(weak, bool) and isinstance(strong, bool):
        return weak and strong
    if isinstance(weak, int) and isinstance(strong, int):
        return min(weak, strong)
    return weak if weak == strong else None
