"""`RouterChatModel`: a chat model that sends each call to a weak or a strong one, and learns which will do."""

from __future__ import annotations

import asyncio
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast

from langchain_core.callbacks import Callbacks
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SerializeAsAny, model_serializer, model_validator
from typing_extensions import Self, Unpack

from langchain_rar._version import __version__
from langchain_rar.batches import CONCATENATE, Batches
from langchain_rar.children import Child, NamedModel, as_child, bare, inheriting, provider, shared_profile
from langchain_rar.forms import PLAIN, BoundTools, Form, Schema
from langchain_rar.generations import configs, result
from langchain_rar.keys import QueryExtractor, find_key, recorder
from langchain_rar.options import RouterChatModelOptions
from langchain_rar.ports import ChildModel
from langchain_rar.requests import request_of
from langchain_rar.serving import ChatServing, RunSettings
from langchain_rar.steering import thread_of, trusted
from langchain_rar.structured import StructuredRouter
from langchain_rar.turns import OpenTurn
from rar.errors import ConfigurationError, SameModelError
from rar.models import named_models
from rar.options import DEFAULTS, check_near_misses, check_options, shows_options
from rar.overrides import overrides_of, without_overrides
from rar.router import Router
from rar.values import GUIDE_MODEL, STRONG, WEAK, Request
from rar.wrapping import namespace_of, router_of, router_options

_INHERITED = ("cache", "disable_streaming", "output_version", "rate_limiter", "streaming")


@shows_options
class RouterChatModel(Batches):
    """A chat model that sends each call to a weak model where that is known to be good enough, else to a strong one.

    It may replace any chat model: tools, structured output, streaming and agents work as they do with its models. The
    decision is in each answer's `response_metadata["rar"]`. Any number of threads and event loops may call it.

    Steer one call by keyword arguments or by `config["configurable"]`. They are `rar_force` (`"weak"`, `"strong"` or a
    name of `models`), `rar_query` (the user's question), `rar_namespace`, and `rar_learn` (False keeps it out of the
    memory). `rar_user` says who asks, `rar_thread` in which conversation (LangGraph's own otherwise), and `rar_limits`
    what it may use. Clients of a deployed graph can write its whole config, so there `trust_metadata` must allow it.

    Args:
        weak, strong: Chat models, names for `init_chat_model`, or other runnables of messages. If left out, the
            environment variables `RAR_WEAK_MODEL` and `RAR_STRONG_MODEL` name them.
        models: Further models by name. The router learns about each as about the weak one. A strategy may choose among
            them, too.
        router: A `rar.Router` to share with others. Its options cannot be given beside it.
        query_extractor: Finds the user's question in a prompt's messages, where nothing else names it. Returns None
            where it does not know.
        record_queries: Take the question from the input and the retriever of the chain around the router. Watches every
            LangChain run of the process.
        trust_metadata: Let `config["metadata"]` steer calls too, and the whole config of a deployed graph.
        namespaces: `"fixed"`: no call may name another namespace than the constructor's.
        usage: `"all"`: the tokens of a strategy's drafts are part of each answer's `usage_metadata`, and tracers see
            these calls as runs of their own. `"served"`: neither.
        tools_to_strong: Send calls with tools or a schema to the strong model if another cannot take them.
        options: Those of `rar.options.RouterOptions`; `help(RouterChatModel)` shows them here.
        temperature, max_tokens, stop: Go with every call.
        cache, rate_limiter, streaming, disable_streaming, output_version: Passed on to models without their own. Other
            fields of `BaseChatModel` work too. Anything else goes to `init_chat_model` for models given by name.

    Raises:
        MissingModelError, SameModelError: Two different models are needed.
        ConfigurationError: Another argument cannot work.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be a model with an API key

    weak: SerializeAsAny[Runnable[LanguageModelInput, Any]] = Field(exclude=True)
    strong: SerializeAsAny[Runnable[LanguageModelInput, Any]] = Field(exclude=True)
    named: dict[str, SerializeAsAny[Runnable[LanguageModelInput, Any]]] = Field(default_factory=dict, exclude=True)
    router: Router = Field(exclude=True, repr=False)  # a field, for `configurable_fields` makes a new model per call
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    streaming: bool = False
    namespace: str = "default"
    query_extractor: QueryExtractor | None = Field(default=None, exclude=True, repr=False)
    record_queries: bool = False
    tools_to_strong: bool = False
    trust_metadata: bool = False
    namespaces: Literal["any", "fixed"] = "any"
    usage: Literal["served", "all"] = "served"

    _models: tuple[tuple[Any, ...], Mapping[str, ChildModel]] | None = PrivateAttr(default=None)

    def __init__(
        self,
        weak: Child | str | None = None,
        strong: Child | str | None = None,
        *,
        models: Mapping[str, Child | str] | None = None,
        **options: Unpack[RouterChatModelOptions],
    ) -> None:
        owner, given, known = type(self).__name__, cast("dict[str, Any]", options), type(self).model_fields
        others = {name: value for name, value in given.items() if name not in known and name not in DEFAULTS}
        check_near_misses(owner, others, ("models", *DEFAULTS, *known))
        check_options({WEAK: weak, STRONG: strong, "models": models, **given})
        children = {WEAK: as_child(weak, WEAK, others), STRONG: as_child(strong, STRONG, others)}
        if children[WEAK] is children[STRONG]:
            raise SameModelError(ChildModel(WEAK, children[WEAK]).id)
        # A copy with other settings is made from the fields, in which further models have their own name.
        named = named_models(models, lambda model, name: as_child(model, name, others)) or given.get("named", {})
        named_ones = [*(children | named).values(), given.get(GUIDE_MODEL)]
        if others and not any(isinstance(child, (NamedModel, str)) for child in named_ones):
            ignored = f"{owner} ignores {sorted(others)}: give these to the weak and the strong model."
            warnings.warn(ignored, stacklevel=2)
        ports = {role: ChildModel(role, child) for role, child in (children | named).items()}
        engine = router_options(given, lambda model: ChildModel(GUIDE_MODEL, as_child(model, GUIDE_MODEL, others)))
        router = router_of(ports, engine, given.get("router"))
        fields = {name: value for name, value in given.items() if name in known}
        fields |= {**children, "named": named, "router": router, "namespace": namespace_of(engine, router)}
        super().__init__(**fields)
        if self.record_queries:
            recorder.start()

    @model_validator(mode="after")
    def _set_rar_version(self) -> Self:
        self._add_version("rar-llm", __version__)
        return self

    # --- calling ----------------------------------------------------------------------------------------------------

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        message: AIMessage = self.serving(input, config, kwargs, stop=stop).invoke()
        return message

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        message: AIMessage = await self.serving(input, config, kwargs, stop=stop).ainvoke()
        return message

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        yield from self.serving(input, config, kwargs, stop=stop).stream()

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        async with aclosing(self.serving(input, config, kwargs, stop=stop).astream()) as chunks:
            async for chunk in chunks:
                yield chunk

    def stream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2", "v3"] = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        if version != "v3":
            return super().stream_events(input, config, version=version, stop=stop, **kwargs)
        from langchain_rar.events import stream_events  # noqa: PLC0415 - a beta protocol, which older cores lack

        return stream_events(self.serving(input, config, kwargs, stop=stop))

    def astream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2", "v3"] = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        if version != "v3":
            return super().astream_events(input, config, version=version, stop=stop, **kwargs)
        from langchain_rar.events import astream_events  # noqa: PLC0415 - as above

        return astream_events(self.serving(input, config, kwargs, stop=stop))

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: uuid.UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        calls = configs(
            len(messages), callbacks=callbacks, tags=tags, metadata=metadata, run_name=run_name, run_id=run_id
        )
        served = [
            self.invoke(one, config, stop=stop, **kwargs) for one, (config, _) in zip(messages, calls, strict=True)
        ]
        return result(served, calls, self.children)

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: uuid.UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        calls = configs(
            len(messages), callbacks=callbacks, tags=tags, metadata=metadata, run_name=run_name, run_id=run_id
        )
        waiting = [
            self.ainvoke(one, config, stop=stop, **kwargs) for one, (config, _) in zip(messages, calls, strict=True)
        ]
        return result(await asyncio.gather(*waiting), calls, self.children)

    def serving(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None,
        kwargs: Mapping[str, Any],
        *,
        stop: list[str] | None = None,
        form: Form = PLAIN,
    ) -> ChatServing:
        """One call, ready to be served in any mode: what this package's other entry points build on."""
        config = ensure_config(config)
        request = self.request(self._convert_input(input), config, kwargs, stop=stop, form=form)
        settings = RunSettings(self.callbacks, self.tags, self.metadata, self.verbose, self.usage)
        return ChatServing(self.router, request, self.models(), config, self.get_name(), settings)

    def request(
        self,
        prompt: PromptValue,
        config: RunnableConfig,
        kwargs: Mapping[str, Any],
        *,
        stop: list[str] | None = None,
        form: Form = PLAIN,
    ) -> Request:
        """A call in the engine's words."""
        arguments = without_overrides({**self._standing(stop), **kwargs})
        arguments.pop(CONCATENATE, None)  # a chain that binds it may be invoked with one input, too
        if isinstance(tools := arguments.get("tools"), BoundTools):
            form = tools
            del arguments["tools"]
        given = overrides_of(kwargs, *trusted(config, metadata=self.trust_metadata))
        namespace = given.namespace_in(self.namespace, fixed=self.namespaces == "fixed")
        root = getattr(config.get("callbacks"), "parent_run_id", None) if self.record_queries else None
        return request_of(
            prompt,
            form,
            arguments,
            replace(given, thread=given.thread or thread_of(config)),
            namespace=namespace,
            find=partial(find_key, prompt, given=given.query, root=root, extractor=self.query_extractor),
            decided=partial(self._decided, namespace),
            only_strong=self._beyond_others(form),
        )

    def models(self) -> Mapping[str, ChildModel]:
        """The children as the engine's models, with the settings that they take over from the router."""
        settings = {name: value for name in _INHERITED if (value := getattr(self, name)) not in (None, False)}
        given = self.children
        state = (*given.values(), *(settings.get(name) for name in _INHERITED))
        known = self._models
        if (
            known is None
            or known[1].keys() != given.keys()
            or any(old is not new for old, new in zip(known[0], state, strict=True))
        ):
            ports = {role: ChildModel(role, inheriting(child, settings)) for role, child in given.items()}
            known = self._models = state, ports
        return known[1]

    @property
    def children(self) -> dict[str, Child]:
        """The models as they were given, by the names that decisions use."""
        return {WEAK: self.weak, STRONG: self.strong, **self.named}

    def _standing(self, stop: list[str] | None) -> dict[str, Any]:
        """The call arguments that the router was constructed with, where the call does not say otherwise."""
        standing = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": self.stop if stop is None else stop,
        }
        return {name: value for name, value in standing.items() if value is not None}

    def _decided(self, namespace: str, turn: OpenTurn) -> Mapping[str, Any]:
        """The decision that a turn began with; empty where its stamp is lost, or no router of this memory made it."""
        facts = turn.facts or {}
        known = facts.get("model") in tuple(self.children) and self.router.stamped(facts, turn.seal, namespace)
        return facts if known else {}

    # --- binding ----------------------------------------------------------------------------------------------------
    # `RunnableWithFallbacks` resolves these return types at run time to find out that it must bind its fallbacks too.

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to both models, to each by its own `bind_tools`.

        Raises:
            ConfigurationError: A model cannot bind tools.
        """
        bound = BoundTools(tools, tool_choice, kwargs)
        self._check(bound)
        return self.bind(tools=bound)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Have both models give structured output, each by its own `with_structured_output` with these arguments.

        Raises:
            ConfigurationError: A model cannot give structured output.
        """
        form = Schema(schema, include_raw=include_raw, options=kwargs)
        self._check(form)
        return StructuredRouter(model=self, form=form)

    def _check(self, form: Form) -> None:
        """Fail when a form is bound, not when a call happens to need it."""
        for role, model in self.models().items():
            if role == STRONG or not self._beyond_others(form):
                form.serving(model.child, {})

    def _beyond_others(self, form: Form) -> bool:
        """Whether the user allowed that only the strong model may be able to take a form, and another one is not."""
        if form is PLAIN or not self.tools_to_strong:
            return False
        try:
            for role, model in self.models().items():
                if role != STRONG:
                    form.serving(model.child, {})
        except ConfigurationError:
            return True
        return False

    # --- what the model says of itself ------------------------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "rar-router"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {**{role: model.id for role, model in self.models().items()}, **self._standing(None)}

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for role, child in self.children.items():
            yield role, ChildModel(role, child).id  # not the child itself, whose repr may show its API key
        yield "router", self.router

    @model_serializer(mode="wrap")
    def _dumped(self, handler: Any) -> dict[str, Any]:
        """Children by name only: their own dumps may hold API keys."""
        names = {
            role: {"class_name": type(child).__name__, "model": ChildModel(role, child).id}
            for role, child in self.children.items()
        }
        return {**handler(self), **names}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        # What compares a message's provider with its model's finds them equal, where all models are of one provider.
        providers = {provider(child) for child in self.children.values()}
        name = providers.pop() if len(providers) == 1 else None
        return {**params, "ls_provider": name or "rar", "ls_model_name": params.get("ls_model_name", "rar")}

    def _resolve_model_profile(self) -> ModelProfile | None:
        return shared_profile(self.children.values())

    def get_token_ids(self, text: str) -> list[int]:
        return self._counting.get_token_ids(text)

    def get_num_tokens_from_messages(
        self,
        messages: list[BaseMessage],
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
    ) -> int:
        return self._counting.get_num_tokens_from_messages(messages, tools)

    @property
    def _counting(self) -> BaseChatModel:
        """The model whose way of counting tokens stands for both."""
        for child in (self.strong, self.weak):
            model = bare(child)
            if isinstance(model, BaseChatModel):
                return model
        raise ConfigurationError("Neither model can count tokens. Give the router a chat model.")
