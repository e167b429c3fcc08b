"""`RouterLLM`: a LlamaIndex LLM that routes each call between a weak and a strong one.

It has no `llm_chat_callback`: only the child that answers reports an LLM event. Each provider call counts once.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr, SerializeAsAny, model_serializer
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.program.utils import FlexibleModel
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import Model
from typing_extensions import Unpack

from llama_index_rar import packing as packing  # noqa: PLC0414 - makes its messages known to lessons
from llama_index_rar.authors import Audience
from llama_index_rar.batches import SeveralCalls
from llama_index_rar.calls import Chat, Complete, Kind, Structured, Tools, can_call_tools
from llama_index_rar.filled import Filled, wraps_prompts
from llama_index_rar.keys import (
    Prompted,
    PromptedMessages,
    PromptedText,
    QueryExtractor,
    agent_tools,
    find,
    prompted,
)
from llama_index_rar.messages import model_name, to_engine
from llama_index_rar.options import RouterLLMOptions
from llama_index_rar.ports import AUDIENCE, KIND, Port
from llama_index_rar.rooms import UNLIMITED, room_for_prompt
from llama_index_rar.serving import LLMServing, Seen
from llama_index_rar.turns import asked, continues, traces
from rar.errors import ConfigurationError, MissingModelError, RequestError
from rar.keys import arguments_of
from rar.models import advice, named_models
from rar.naming import shown
from rar.options import DEFAULTS, check_arguments, check_options, shows_options
from rar.overrides import NAMES, overrides_of, without_overrides
from rar.router import Router
from rar.values import GUIDE_MODEL, STRONG, WEAK, Request
from rar.wrapping import namespace_of, router_of, router_options


@shows_options
class RouterLLM(SeveralCalls):
    """Sends each call to `weak` or `strong`, and learns which is good enough.

    The decision is in `additional_kwargs["rar"]` of every response, whole or streamed. Steer one call by keyword
    arguments. They are `rar_force` (`"weak"`, `"strong"` or a name of `models`), `rar_query` (the user's question),
    `rar_namespace`, and `rar_learn` (False keeps it out of the memory). `rar_user` says who asks, `rar_thread` in which
    conversation, and `rar_limits` what it may use. None of these reaches a model.

    Args:
        weak, strong: Any LlamaIndex LLMs. If only one can call tools, calls with tools go to it.
        models: Further LLMs by name, for strategies that choose among more than two, such as `BestOf`.
        query_extractor: Finds the user's question in messages where no template variable names it. Returns None where
            it does not know.
        usage: `"all"`: each response counts the tokens of a strategy's drafts too, in `additional_kwargs`.
        namespaces: `"fixed"`: no call may name another namespace than the constructor's.
        router: A `rar.Router` to share with others, of either framework. Its options cannot be given beside it.
        options: Those of `rar.options.RouterOptions`; `help(RouterLLM)` shows them here.
        system_prompt, callback_manager, rate_limiter, ...: As of any LlamaIndex LLM.

    Raises:
        MissingModelError, SameModelError: Two different models are needed.
        ConfigurationError: Another argument cannot work.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be a model with an API key

    weak: SerializeAsAny[LLM] = Field(exclude=True, description="Answers what it is known to answer well.")
    strong: SerializeAsAny[LLM] = Field(exclude=True, description="Answers the rest.")
    named: dict[str, SerializeAsAny[LLM]] = Field(
        default_factory=dict, exclude=True, description="Answer what a strategy sends them."
    )
    router: Router = Field(exclude=True, repr=False, description="Decides and learns.")
    namespace: str = Field(default="default", description="What is learned stays in it.")
    namespaces: Literal["any", "fixed"] = Field(default="any", description="Whether a call may name another one.")
    usage: Literal["served", "all"] = Field(default="served", description="Whether responses count drafts' tokens too.")
    query_extractor: QueryExtractor | None = Field(default=None, exclude=True, repr=False)

    _ports: dict[str, tuple[LLM, Port]] = PrivateAttr(default_factory=dict)
    _reporting: dict[str, LLM] = PrivateAttr(default_factory=dict)

    def __init__(
        self,
        weak: LLM | None = None,
        strong: LLM | None = None,
        *,
        models: Mapping[str, LLM] | None = None,
        **options: Unpack[RouterLLMOptions],
    ) -> None:
        given, known = cast("dict[str, Any]", options), type(self).model_fields
        check_arguments(type(self).__name__, given, ("models", *DEFAULTS, *known))
        check_options({WEAK: weak, STRONG: strong, "models": models, **given})
        children = {WEAK: _checked(weak, WEAK), STRONG: _checked(strong, STRONG)}
        named = named_models(models, _checked) or given.get("named", {})  # a field, from which copies are made
        engine = router_options(given, lambda model: Port(_checked(model, GUIDE_MODEL)))
        ports = {role: Port(child) for role, child in (children | named).items()}
        router = router_of(ports, engine, given.get("router"))
        fields = {name: value for name, value in given.items() if name in known}
        fields |= {**children, "named": named, "router": router, "namespace": namespace_of(engine, router)}
        super().__init__(**fields)

    @classmethod
    def class_name(cls) -> str:
        return "RouterLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What all children can do at least; tools and chat are there if any has them.

        The window less the output is the room for a prompt, which is that of the child with the least.
        """
        children = self._children.values()
        each = [child.metadata for child in children]
        window = min(one.context_window for one in each)
        room = min(map(room_for_prompt, children))
        unlimited = all(one.num_output == UNLIMITED for one in each) and window - room == DEFAULT_NUM_OUTPUTS
        same_role = len({one.system_role for one in each}) == 1
        return LLMMetadata(
            context_window=window,
            num_output=UNLIMITED if unlimited else window - room,
            is_chat_model=any(one.is_chat_model for one in each),
            is_function_calling_model=any(map(can_call_tools, children)),
            model_name=f"rar({', '.join(map(model_name, children))})",
            system_role=each[0].system_role if same_role else MessageRole.SYSTEM,
        )

    @property
    def _children(self) -> dict[str, LLM]:
        return {WEAK: self.weak, STRONG: self.strong, **self.named}

    # --- the framework's calls --------------------------------------------------------------------------------------

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self._serving(self._chat_request(messages, kwargs)).call()  # type: ignore[no-any-return]

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return await self._serving(self._chat_request(messages, kwargs)).acall()  # type: ignore[no-any-return]

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return self._serving(self._chat_request(messages, kwargs)).stream()

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        return await self._serving(self._chat_request(messages, kwargs)).astream()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return self._serving(self._completion_request(prompt, formatted, kwargs)).call()  # type: ignore[no-any-return]

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return await self._serving(self._completion_request(prompt, formatted, kwargs)).acall()  # type: ignore[no-any-return]

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        return self._serving(self._completion_request(prompt, formatted, kwargs)).stream()

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        return await self._serving(self._completion_request(prompt, formatted, kwargs)).astream()

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        return self._serving(self._structured_request(output_cls, prompt, llm_kwargs, prompt_args)).call()  # type: ignore[no-any-return]

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        return await self._serving(self._structured_request(output_cls, prompt, llm_kwargs, prompt_args)).acall()  # type: ignore[no-any-return]

    def stream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Model | FlexibleModel, None, None]:
        return self._serving(self._structured_request(output_cls, prompt, llm_kwargs, prompt_args)).stream()

    async def astream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Model | FlexibleModel, None]:
        return await self._serving(self._structured_request(output_cls, prompt, llm_kwargs, prompt_args)).astream()

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[Any],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Put the tools by until `chat` has chosen a child, which then prepares them in its provider's format."""
        messages = list(chat_history or [])
        if user_msg is not None:
            messages.append(
                ChatMessage(role=MessageRole.USER, content=user_msg) if isinstance(user_msg, str) else user_msg
            )
        how = {
            "verbose": verbose,
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            "tool_required": tool_required,
        }
        return {"messages": messages, "rar_tools": (list(tools), how), **kwargs}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Read by the child that answered, which knows its provider's format."""
        role = response.additional_kwargs.get("rar", {}).get("model")
        if role not in self._children:
            role = WEAK if can_call_tools(self.weak) else STRONG
        child = self._children[role]
        if not isinstance(child, FunctionCallingLLM):
            if error_on_no_tool_call:
                raise RequestError(f"The {role} model answered, which cannot call tools. There are no tool calls.")
            return []
        return child.get_tool_calls_from_response(response, error_on_no_tool_call=error_on_no_tool_call, **kwargs)

    def _get_messages(self, prompt: BasePromptTemplate, **prompt_args: Any) -> PromptedMessages:
        overrides, values = _overrides(prompt_args)
        messages = super()._get_messages(prompt, **values)
        filled = Filled(prompt, values, messages, self)
        return PromptedMessages(messages, replace(prompted(prompt, values, overrides), filled=filled))

    def _get_prompt(self, prompt: BasePromptTemplate, **prompt_args: Any) -> PromptedText:
        overrides, values = _overrides(prompt_args)
        text = super()._get_prompt(prompt, **values)
        if wraps_prompts(self):
            filled = Filled(None, values, [_user(text)], self)
        else:
            filled = Filled(prompt, values, super()._get_messages(prompt, **values), self)
        return PromptedText(text, replace(prompted(prompt, values, overrides), filled=filled))

    # --- requests ---------------------------------------------------------------------------------------------------

    def _chat_request(self, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> Request:
        arguments = dict(kwargs)
        tools, how = arguments.pop("rar_tools", ((), {}))
        overrides, arguments = _overrides(arguments)
        origin = messages.prompted if isinstance(messages, PromptedMessages) else None
        if tools:
            return self._request(Tools(tools, {**how, **arguments}), messages, origin, overrides)
        if how:
            arguments.pop("tool_choice", None)  # of no tools
        return self._request(Chat(arguments, origin.filled if origin else None), messages, origin, overrides)

    def _completion_request(self, prompt: str, formatted: bool, kwargs: Mapping[str, Any]) -> Request:
        overrides, arguments = _overrides(kwargs)
        origin = prompt.prompted if isinstance(prompt, PromptedText) else None
        filled = origin.filled if origin else None
        messages = filled.messages if filled else [_user(str(prompt))]
        return self._request(Complete(formatted, arguments, filled), messages, origin, overrides)

    def _structured_request(
        self, output_cls: Any, prompt: Any, llm_kwargs: Mapping[str, Any] | None, prompt_args: dict[str, Any]
    ) -> Request:
        overrides, arguments = _overrides(llm_kwargs or {})
        messages = self._get_messages(prompt, **prompt_args)
        return self._request(Structured(output_cls, arguments), messages, messages.prompted, overrides)

    def _request(
        self,
        kind: Kind,
        messages: Sequence[ChatMessage],
        origin: Prompted | None,
        overrides: Mapping[str, Any],
    ) -> Request:
        """What the engine is told of a call, the same for all modes."""
        steer = overrides_of(overrides, origin.overrides if origin is not None else {})
        mapped = to_engine(messages)
        found = find(
            asked(mapped) if kind.has_turns else mapped,
            origin,
            given=steer.query,
            extractor=self.query_extractor,
            has_tools=bool(kind.shapes),
        )
        namespace = steer.namespace_in(self.namespace, fixed=self.namespaces == "fixed")
        seen, again = Seen.through(self.router), kind.has_turns and continues(mapped)
        return Request(
            messages=mapped,
            key=found.key.text,
            key_source=found.key.source,
            namespace=namespace,
            task=kind.task_of(found.purpose.work, agent_tools(mapped), found.format),
            options={KIND: kind, AUDIENCE: Audience(seen.authors, tuple(self._children.values()))},
            force=steer.force or self._only_able(kind),
            sticky=seen.turns.first(traces(mapped, namespace)) if again else None,
            # What a tool loop does later depends on more than the question.
            learn=steer.learn is not False and found.purpose.learn and not again,
            context=found.key.use(mapped),
            user=steer.user,
            thread=steer.thread,
            limits=steer.limits,
            source="llama_index",
            arguments=arguments_of(kind.arguments),
        )

    def _only_able(self, kind: Kind) -> str | None:
        """The child for a call with tools where not all can make it: the strong one if it can; else None."""
        if not kind.needs_tools:
            return None
        able = [role for role, child in self._children.items() if can_call_tools(child)]
        if not able:
            raise RequestError("Neither model can call tools. Use one that can as weak or strong.")
        if len(able) == len(self._children):
            return None
        return STRONG if STRONG in able else able[0]

    # --- making the call --------------------------------------------------------------------------------------------

    def serving_of(self, asked: str | Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> LLMServing:
        if isinstance(asked, str):
            return self._serving(self._completion_request(asked, False, kwargs))
        return self._serving(self._chat_request(asked, kwargs))

    def _serving(self, request: Request) -> LLMServing:
        models = self.models()
        seen, counts_all = Seen.through(self.router), self.usage == "all"
        return LLMServing(self.router, request, models, self._child, seen, self.rate_limiter, counts_all)

    def _child(self, role: str) -> LLM:
        """The child that serves. One without callback handlers of its own reports to this LLM's, set at any time."""
        child, ours = self._children[role], self.callback_manager.handlers
        theirs = child.callback_manager.handlers  # a global handler is in both
        if len(theirs) >= len(ours) or any(handler not in ours for handler in theirs):
            return child
        known = self._reporting.get(role)
        if known is None or not _up_to_date(known, child, self.callback_manager):
            # Kept, because a copy that has not called yet opens a connection of its own.
            known = child.model_copy(update={"callback_manager": self.callback_manager})
            self._reporting[role] = known
        return known

    def models(self) -> dict[str, Port]:
        """The engine's own access to the children."""
        return {role: self._port(role, child) for role, child in self._children.items()}

    def _port(self, role: str, child: LLM) -> Port:
        known = self._ports.get(role)
        if known is None or known[0] is not child:
            known = self._ports[role] = (child, Port(child))
        return known[1]

    # --- copies and looks -------------------------------------------------------------------------------------------

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield "weak", model_name(self.weak)  # not the child itself, whose repr may show its API key
        yield "strong", model_name(self.strong)
        yield "router", self.router

    @model_serializer(mode="wrap")
    def custom_model_dump(self, handler: Any, info: Any) -> dict[str, Any]:
        """Children by name only: their own dumps hold API keys."""
        names = {
            role: {"class_name": child.class_name(), "model": model_name(child)}
            for role, child in self._children.items()
        }
        others = {"models": {name: names.pop(name) for name in self.named}} if self.named else {}
        return {**handler(self), **names, **others, "class_name": self.class_name()}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> RouterLLM:
        """Make a router again from its dump and both models.

        Raises:
            ConfigurationError: Always, unless both models are given: a dump holds no models and no keys.
        """
        if not {WEAK, STRONG} <= kwargs.keys():
            raise ConfigurationError(
                "A dumped RouterLLM holds no models and no keys. Pass them: `from_dict(data, weak=..., strong=...)`."
            )
        return super().from_dict(data, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> RouterLLM:
        """Copies the children; the router goes on being shared."""
        return self.model_copy(
            update={name: copy.deepcopy(getattr(self, name), memo) for name in (WEAK, STRONG, "named")}
        )

    def __getstate__(self) -> dict[str, Any]:
        # The base class leaves out what cannot be pickled, and would then make a router with a default memory.
        pickle.dumps((self.weak, self.strong, self.named, self.router))
        state = super().__getstate__()
        state["__pydantic_private__"] = None
        return state


def _checked(child: LLM | None, role: str) -> LLM:
    if child is None:
        raise MissingModelError(role)
    if not isinstance(child, LLM):
        hint = advice(child) or "Pass a LlamaIndex LLM."
        raise ConfigurationError(f"{role}={shown(child)} is no model. {hint}")
    return child


def _overrides(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments for the router, and the rest."""
    overrides_of(arguments)  # a misspelt one is refused where it is given
    return {name: arguments[name] for name in NAMES if name in arguments}, without_overrides(arguments)


def _user(text: str) -> ChatMessage:
    return ChatMessage(text, role=MessageRole.USER)


def _up_to_date(known: LLM, child: LLM, manager: Any) -> bool:
    """Whether `known` is still `child` with `manager`: people change a model's settings after they passed it on."""
    if type(known) is not type(child) or known.callback_manager is not manager:
        return False
    ours, theirs = known.__dict__, child.__dict__
    return all(ours.get(name) is value for name, value in theirs.items() if name != "callback_manager")
