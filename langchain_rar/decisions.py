"""`RARDecisionModel`: a classifier for LangChain's own `ModelRouterMiddleware` that learns from what was answered."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeVar

from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import ensure_config
from pydantic import PrivateAttr
from typing_extensions import Unpack

from langchain_rar.chat_model import RouterChatModel
from langchain_rar.children import Child
from langchain_rar.options import RouterChatModelOptions
from langchain_rar.serving import ChatServing
from rar.errors import ConfigurationError, MissingDependencyError
from rar.followups import digest
from rar.forking import Lock
from rar.keys import with_work
from rar.naming import shown
from rar.router import Router
from rar.strategies import RAR, Threshold
from rar.strategy import innermost
from rar.turn import Turn
from rar.values import STRONG, WEAK, Decision, Request

try:
    from langchain.agents.middleware import AgentMiddleware, ModelChoice
    from langchain.agents.middleware.types import ModelRequest, ModelResponse
    from langchain_core.decisions import BaseDecisionModel, Choice, ChoiceAnswer, ClassifierResponse, Question, State
except ImportError as error:
    raise MissingDependencyError(
        "A langchain with ModelRouterMiddleware (1.5, which needs Python 3.11)", "agents"
    ) from error

from langchain_rar.middleware import AgentTarget, answer_of, finished, serving_of, with_messages

_STATE = "model_route"  # where the middleware keeps the answer of its classifier
_MOST = 1_000  # decisions, and conversations, that wait for their model call

T = TypeVar("T")


class RoutedChoice(ChoiceAnswer):
    """A model's name, with the decision that it comes from."""

    decision_id: str


class RARDecisionModel(BaseDecisionModel):
    """Decides which model answers a run of an agent, and learns from what that model said.

        decisions = RARDecisionModel(weak, strong)
        router = ModelRouterMiddleware(choices=decisions.choices(), instructions="Which model?", classifier=decisions)
        agent = create_agent(strong, tools, middleware=[decisions.learning, router])

    The middleware shows its classifier no answer and, of the conversation, only the last message. `learning` sees the
    rest. Without it the decision rests on what the memory holds, and nothing is learned.

    `confidence` is the lower bound of the chance that the chosen model is good enough; 1 of the strong one.

    Args:
        weak, strong, models: As of `RARMiddleware`. Their names are the labels of the choice.
        options: Those of `RouterChatModel`.

    Raises:
        ConfigurationError: The strategy makes drafts. `RARMiddleware` works with those.
    """

    model: str = "rar"
    _planner: RouterChatModel = PrivateAttr()
    _given: dict[str, Any] = PrivateAttr()
    _learning: DecisionLearning = PrivateAttr()
    _waiting: _Few[tuple[Decision, bool]] = PrivateAttr()

    def __init__(
        self,
        weak: Child | str | None = None,
        strong: Child | str | None = None,
        *,
        models: Mapping[str, Child | str] | None = None,
        **options: Unpack[RouterChatModelOptions],
    ) -> None:
        super().__init__(model="rar")
        self._planner = RouterChatModel(weak, strong, models=models, **options)
        strategy = innermost(self.router.strategy)
        if not isinstance(strategy, (RAR, Threshold)):
            raise ConfigurationError(
                f"strategy={shown(strategy)} may answer by a draft, which ModelRouterMiddleware cannot serve. Use "
                "RARMiddleware, or the default strategy."
            )
        self._given = {WEAK: weak, STRONG: strong, **(models or {})}
        self._waiting = _Few()
        self._learning = DecisionLearning(self)

    @property
    def router(self) -> Router:
        return self._planner.router

    @property
    def learning(self) -> DecisionLearning:
        """The middleware that learns. It stands before `ModelRouterMiddleware`."""
        return self._learning

    def choices(self, **criteria: str) -> dict[str, ModelChoice]:
        """The models for `ModelRouterMiddleware(choices=...)`.

        Args:
            criteria: What each is for, by name. They are for people: what is learned decides.

        Raises:
            ConfigurationError: A model is only named by an environment variable.
        """
        if missing := [name for name, model in self._given.items() if model is None]:
            raise ConfigurationError(f"choices() needs the models themselves. Pass {missing} to RARDecisionModel.")
        return {name: ModelChoice(model, criteria.get(name, f"{name} model")) for name, model in self._given.items()}

    @property
    def _provider(self) -> str:
        return "rar"

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        asked = {name: self._asked(state, question) for name, question in questions.items()}
        models = self._planner.models()
        decided = {name: self.router.decide(request, models) for name, (request, _) in asked.items()}
        return self._response({name: (decision, asked[name][1]) for name, decision in decided.items()})

    async def _aclassify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        asked = {name: self._asked(state, question) for name, question in questions.items()}
        models = self._planner.models()
        decided = {name: await self.router.adecide(request, models) for name, (request, _) in asked.items()}
        return self._response({name: (decision, asked[name][1]) for name, decision in decided.items()})

    def _asked(self, state: State, question: Question) -> tuple[Request, bool]:
        """What is to be decided, and whether the whole conversation is known."""
        names = self._planner.children.keys()
        if not isinstance(question, Choice) or question.criteria.keys() != names:
            raise ConfigurationError(
                f"RARDecisionModel chooses among {sorted(names)} and answers nothing else. Give ModelRouterMiddleware "
                "choices=decisions.choices()."
            )
        if isinstance(state, str):
            state = BaseMessage(content=state, type="human")
        if not isinstance(state, BaseMessage):
            raise ConfigurationError("RARDecisionModel decides about a text or a message, and about no other state.")
        known = self._learning.conversation(state)
        prompt = ChatPromptValue(messages=[state] if known is None else known)
        request = self._planner.serving(prompt, ensure_config(), {}).request
        # Nobody says here which tools an agent has. One question is put to one agent.
        form = digest(json.dumps(question.instructions, sort_keys=True), *sorted(map(str, question.criteria)))
        return replace(request, task=with_work(f"route:{form}", request.task)), known is not None

    def _response(self, decided: Mapping[str, tuple[Decision, bool]]) -> ClassifierResponse:
        answers = {}
        for name, (decision, whole) in decided.items():
            self._waiting.put(decision.id, (decision, whole))
            answers[name] = self._answer(decision)
        return ClassifierResponse(
            model=self.model, answers=dict(answers), request_id=next(iter(answers.values())).decision_id
        )

    def _answer(self, decision: Decision) -> RoutedChoice:
        confidence = 1.0 if decision.model == STRONG else decision.choice.confidence
        return RoutedChoice(
            type="choice",
            choice=decision.model,
            probabilities={name: float(name == decision.model) for name in self._planner.children},
            confidence=0.0 if confidence is None else min(max(confidence, 0.0), 1.0),
            decision_id=decision.id,
        )

    # --- for the middleware that learns -----------------------------------------------------------------------------

    def serving(self, request: ModelRequest[Any]) -> ChatServing:
        """The agent's model call, as the router's own."""
        return serving_of(self._planner, request)

    def decision_of(self, answer: object, serving: ChatServing) -> Decision | None:
        """The decision of a run, at its first model call; None at later ones.

        Raises:
            ConfigurationError: `learning` stands behind `ModelRouterMiddleware`.
        """
        waiting = self._waiting.take(answer.decision_id) if isinstance(answer, RoutedChoice) else None
        if waiting is None:
            return None
        decision, whole = waiting
        if not whole:
            raise ConfigurationError("Put decisions.learning before ModelRouterMiddleware in middleware=[...].")
        sent = serving.request
        return replace(
            decision,
            request=replace(
                decision.request, messages=sent.messages, options=sent.options, arguments=sent.arguments,
                learn=decision.request.learn and sent.learn,
            ),
        )  # fmt: skip


class DecisionLearning(AgentMiddleware[Any, Any, Any]):
    """Shows a `RARDecisionModel` the conversation before it decides, and the answer afterwards.

    As in `RARMiddleware`, the model gets its guide, and the next dearer one answers where it fails.
    """

    def __init__(self, decisions: RARDecisionModel) -> None:
        super().__init__()
        self._decisions = decisions
        self._known: _Few[list[BaseMessage]] = _Few()

    def conversation(self, last: BaseMessage) -> list[BaseMessage] | None:
        """The conversation that ends with this very message; None of one that was not seen."""
        known = self._known.take(id(last))
        return known if known is not None and any(message is last for message in known) else None

    def before_agent(self, state: Any, runtime: Any) -> None:
        messages = list(state["messages"])
        last = next((message for message in reversed(messages) if message.type == "human"), None)
        if last is not None:
            self._known.put(id(last), messages)  # kept with the message, so that its id is not used again

    async def abefore_agent(self, state: Any, runtime: Any) -> None:
        self.before_agent(state, runtime)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        serving = self._decisions.serving(request)
        decision = self._decisions.decision_of(_choice(request), serving)
        if decision is None:
            if not _goes_on(request, serving):
                return handler(request)
            decision = serving.router.decide(serving.request, serving.models)
        turn = Turn(serving.router, decision)
        response = turn.whole(partial(_LabelledTarget, serving, request, handler))
        serving.learn(turn.decision, answer_of(response))
        return finished(response, serving, turn.decision)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        serving = self._decisions.serving(request)
        decision = self._decisions.decision_of(_choice(request), serving)
        if decision is None:
            if not _goes_on(request, serving):
                return await handler(request)
            decision = await serving.router.adecide(serving.request, serving.models)
        turn = Turn(serving.router, decision)
        response = await turn.awhole(partial(_LabelledTarget, serving, request, handler))
        await serving.alearn(turn.decision, answer_of(response))
        return finished(response, serving, turn.decision)


class _LabelledTarget(AgentTarget):
    """The model whose label `ModelRouterMiddleware` finds in the state."""

    def sent(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        answer = _choice(request)
        assert answer is not None
        state: Any = {**request.state, _STATE: answer.model_copy(update={"choice": self.decision.model})}
        return with_messages(request, self.serving, self.decision).override(state=state)


def _choice(request: ModelRequest[Any]) -> ChoiceAnswer | None:
    found = request.state.get(_STATE)
    return found if isinstance(found, ChoiceAnswer) else None


def _goes_on(request: ModelRequest[Any], serving: ChatServing) -> bool:
    """Whether a call is of a tool loop whose model this router chose."""
    return _choice(request) is not None and serving.request.sticky is not None


class _Few(Generic[T]):
    """The last things that were put here and not taken yet. Any thread may use it."""

    def __init__(self) -> None:
        self._held: OrderedDict[Any, T] = OrderedDict()
        self._lock = Lock()

    def put(self, key: Any, value: T) -> None:
        with self._lock:
            self._held[key] = value
            if len(self._held) > _MOST:
                self._held.popitem(last=False)

    def take(self, key: Any) -> T | None:
        with self._lock:
            return self._held.pop(key, None)
