"""`RARMiddleware`: the router inside an agent that `create_agent` made, without replacing its model object."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import get_async_callback_manager_for_config, get_callback_manager_for_config
from typing_extensions import Unpack

from langchain_rar.chat_model import RouterChatModel
from langchain_rar.children import Child, NamedModel, playback
from langchain_rar.messages import message_of, stamped
from langchain_rar.options import RouterChatModelOptions
from langchain_rar.serving import ChatServing
from rar.errors import ConfigurationError, MissingDependencyError
from rar.forking import Lock
from rar.router import Router
from rar.turn import Attempt, Target, Turn
from rar.values import Answer, Decision, Reply

try:
    from langchain.agents.middleware import AgentMiddleware
    from langchain.agents.middleware.types import ModelRequest, ModelResponse
except ModuleNotFoundError as error:
    raise MissingDependencyError("langchain, which RARMiddleware needs,", "agents") from error

from langchain_rar.agents import AgentForm  # after it is known that there is a langchain


class RARMiddleware(AgentMiddleware[Any, Any, Any]):
    """Decides who answers each model call of an agent, and learns from it. A tool loop keeps its model and guide.

        agent = create_agent(strong, tools, middleware=[RARMiddleware(weak=weak, strong=strong)])

    Args:
        weak, strong: Chat models, or names for `init_chat_model`. They replace the agent's own model.
        models: Further models by name.
        options: Those of `RouterChatModel`.

    Raises:
        ConfigurationError: A model is not a chat model, the only kind that agents work with.
    """

    def __init__(
        self,
        weak: Child | str | None = None,
        strong: Child | str | None = None,
        *,
        models: Mapping[str, Child | str] | None = None,
        **options: Unpack[RouterChatModelOptions],
    ) -> None:
        super().__init__()
        self._planner = RouterChatModel(weak, strong, models=models, **options)
        self._failures = _Failures()
        for role, child in self._planner.children.items():
            if not isinstance(child, (BaseChatModel, NamedModel)):
                raise ConfigurationError(
                    f"{role}={type(child).__name__} is no chat model. Give the middleware the model itself."
                )

    @property
    def router(self) -> Router:
        return self._planner.router

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        if self._failures.has_backup(request):
            return handler(request)
        serving = self._serving(request)
        drafting = serving.drafting(callbacks_of(get_callback_manager_for_config))
        turn = Turn(self.router, self.router.decide(serving.request, drafting))
        with self._failures.noting(request):
            response = turn.whole(partial(AgentTarget, serving, request, handler))
        serving.learn(turn.decision, answer_of(response))
        return finished(response, serving, turn.decision)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        if self._failures.has_backup(request):
            return await handler(request)
        serving = self._serving(request)
        drafting = serving.drafting(callbacks_of(get_async_callback_manager_for_config))
        turn = Turn(self.router, await self.router.adecide(serving.request, drafting))
        with self._failures.noting(request):
            response = await turn.awhole(partial(AgentTarget, serving, request, handler))
        await serving.alearn(turn.decision, answer_of(response))
        return finished(response, serving, turn.decision)

    def _serving(self, request: ModelRequest[Any]) -> ChatServing:
        return serving_of(self._planner, request)


def serving_of(planner: RouterChatModel, request: ModelRequest[Any]) -> ChatServing:
    """A model call of an agent, as one that the planner would serve."""
    system = [] if request.system_message is None else [request.system_message]
    settings = request.model_settings
    arguments = dict(settings)
    if request.tools or request.response_format is not None:
        arguments = {"tools": AgentForm(request.tools, request.tool_choice, request.response_format, settings)}
    prompt = ChatPromptValue(messages=[*system, *request.messages])
    return planner.serving(prompt, ensure_config(), arguments)


class _Failures:
    """The last model requests that could not be answered, for a fallback around the middleware. Any thread may use it.

    A context variable would not do: the framework runs each middleware in a context of its own.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit, self._lock = limit, Lock()
        self._requests: OrderedDict[int, ModelRequest[Any]] = OrderedDict()  # kept, so that no id is used again

    @contextmanager
    def noting(self, request: ModelRequest[Any]) -> Iterator[None]:
        try:
            yield
        except Exception:
            with self._lock:
                self._requests[id(request.state)] = request
                if len(self._requests) > self._limit:
                    self._requests.popitem(last=False)
            raise

    def has_backup(self, request: ModelRequest[Any]) -> bool:
        """Whether somebody around us asks again with another model, after both of ours had failed."""
        with self._lock:
            failed = self._requests.get(id(request.state))
        return failed is not None and failed.state is request.state and failed.model is not request.model


def callbacks_of(manager: Callable[[RunnableConfig], BaseCallbackManager]) -> Callable[[str], BaseCallbackManager]:
    """What makes the callbacks of a draft: they belong to the node of the agent."""
    return lambda _: manager(ensure_config())


class AgentTarget(Target):
    """What the middleware stands around, asked for the chosen model's answer."""

    def __init__(
        self,
        serving: ChatServing,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Any],
        attempt: Attempt,
    ) -> None:
        super().__init__(attempt)
        self.serving, self.handler = serving, handler
        self.routed = self.sent(request)

    def sent(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """The agent's request, to the decision's model and with its guide."""
        return _routed(request, self.serving, self.decision)

    def call(self) -> Any:
        return self.handler(self.routed)

    async def acall(self) -> Any:
        return await self.handler(self.routed)

    def flaw(self, output: ModelResponse[Any]) -> Exception | None:
        """As of any answer; a structured response without text is none."""
        answer = answer_of(output)
        if output.structured_response is not None or answer is None:
            return None
        return self.serving.flaw(self.decision, answer)

    def reply(self, output: ModelResponse[Any]) -> Reply | None:
        answer = answer_of(output)
        return None if answer is None else self.serving.reply(self.decision, answer)


def _routed(request: ModelRequest[Any], serving: ChatServing, decision: Decision) -> ModelRequest[Any]:
    chosen = serving.models[decision.model]
    model: Any = chosen.child
    if isinstance(decision.choice, Answer):
        model = playback(message_of(decision.choice.reply), chosen.child)
    return with_messages(request, serving, decision).override(model=model)


def with_messages(request: ModelRequest[Any], serving: ChatServing, decision: Decision) -> ModelRequest[Any]:
    """The request with what the decision's model is sent, a guide among it."""
    messages: list[Any] = serving.models[decision.model].messages(decision.call)
    if messages and isinstance(messages[0], SystemMessage):
        return request.override(system_message=messages[0], messages=messages[1:])
    return request.override(system_message=None, messages=messages)


def answer_of(response: ModelResponse[Any]) -> AIMessage | None:
    return next((message for message in reversed(response.result) if isinstance(message, AIMessage)), None)


def finished(response: ModelResponse[Any], serving: ChatServing, decision: Decision) -> ModelResponse[Any]:
    answer = answer_of(response)
    facts = serving.facts(decision, answer)
    result: list[BaseMessage] = [
        serving.shown(stamped(message, facts), decision) if message is answer else message
        for message in response.result
    ]
    return replace(response, result=result)
