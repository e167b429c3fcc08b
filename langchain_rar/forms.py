"""The form of the answer that a call wants, and how a model is brought to give it: plainly, by tools, by a schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.retry import RunnableRetry
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import TypeAdapter

from langchain_rar.children import Binding, Child, map_models
from langchain_rar.raw import WithRaw
from rar.errors import ConfigurationError
from rar.keys import named_tool, task_of, with_work

_KEPT = 16
_TOOL_ARGUMENTS = ("tools", "tool_choice", "functions", "function_call")


class Form(Protocol):
    """How a child is prepared for a call.

    `parsed` says that what it then gives is something made of the model's message, which must be caught on its way.
    """

    parsed: bool

    @property
    def task(self) -> str:
        """The namespace of what is learned from such calls (`rar.keys.task_of`)."""
        ...

    def serving(self, child: Child, arguments: Mapping[str, Any]) -> Child:
        """The runnable that gives the user what they asked for, called with their `arguments`."""
        ...

    def asking(self, child: Child, arguments: Mapping[str, Any]) -> Child:
        """The runnable whose output holds the model's own message, where `message_in` finds it."""
        ...

    def message_in(self, output: Any) -> Any: ...


class Plain:
    """A chat model as it is."""

    task = "answer"
    parsed = False

    def serving(self, child: Child, arguments: Mapping[str, Any]) -> Child:
        return child.bind(**arguments) if arguments else child

    asking = serving

    def message_in(self, output: Any) -> Any:
        return output


PLAIN = Plain()


class _Kept:
    """What was made of a few children, so that a second call does not make it again."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Child, Child]] = {}

    def __call__(self, child: Child, make: Callable[[Child], Child]) -> Child:
        known = self._made.get(id(child))
        if known is None:
            if len(self._made) >= _KEPT:
                self._made.clear()
            # The child is kept too, for an id may be used again once its object is gone.
            known = self._made[id(child)] = child, make(child)
        return known[1]


class BoundTools(list[dict[str, Any]]):
    """Tools in OpenAI's form, as other code reads them, which are bound to each child in that child's own form."""

    parsed = False

    def __init__(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] = (),
        tool_choice: Any = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(_shown(tool) for tool in tools)
        self.originals, self.tool_choice, self.options = tools, tool_choice, dict(options or {})
        self.task = task_of(tools=[named_tool(tool) for tool in self], schema=format_of(self.options))
        self._kept = _Kept()

    def serving(self, child: Child, arguments: Mapping[str, Any]) -> Child:
        bound = self._kept(child, self._bind)
        return bound.bind(**arguments) if arguments else bound

    asking = serving

    @property
    def final(self) -> frozenset[str]:
        """Names of the tools whose result is the answer, so that it ends the turn."""
        return frozenset(tool.name for tool in self.originals if isinstance(tool, BaseTool) and _is_final(tool))

    def message_in(self, output: Any) -> Any:
        return output

    def _bind(self, child: Child) -> Child:
        if isinstance(child, RunnableRetry):
            raise ConfigurationError(
                "A model wrapped by `.with_retry()` cannot bind tools. Give the router the model itself, and call "
                "`.with_retry()` on the router."
            )
        return _mapped(child, self._bound, "bind tools")

    def _bound(self, model: Any) -> Child:
        options = self.options if self.tool_choice is None else {**self.options, "tool_choice": self.tool_choice}
        return model.bind_tools(self.originals, **options)  # type: ignore[no-any-return]


class Schema:
    """Structured output: `with_structured_output` of each child, with the user's own arguments."""

    parsed = True

    def __init__(self, schema: Any, include_raw: bool, options: Mapping[str, Any]) -> None:
        self.schema, self.include_raw, self.options = schema, include_raw, dict(options)
        tools = [named_tool(_shown(tool)) for tool in self.options.get("tools") or ()]
        self.task = task_of(tools=tools, schema=_schema_shown(schema))
        self._served, self._asked = _Kept(), _Kept()

    def serving(self, child: Child, arguments: Mapping[str, Any]) -> Child:
        return with_arguments(self._served(child, lambda child: self._make(child, self.include_raw)), arguments)

    def asking(self, child: Child, arguments: Mapping[str, Any]) -> Child:
        made = self._asked(child, self._make_with_raw)
        return (
            WithRaw(with_arguments(made.child, arguments))
            if isinstance(made, WithRaw)
            else with_arguments(made, arguments)
        )

    def message_in(self, output: Any) -> Any:
        return output["raw"]

    def _make(self, child: Child, include_raw: bool) -> Child:
        options = {**self.options, "include_raw": True} if include_raw else self.options
        what = "give structured output"
        return _mapped(child, lambda model: model.with_structured_output(self.schema, **options), what)

    def _make_with_raw(self, child: Child) -> Child:
        try:
            return self._make(child, True)
        except (TypeError, ValueError, NotImplementedError):  # it knows no `include_raw`
            return WithRaw(self._make(child, False))


def _mapped(child: Child, change: Callable[[Any], Child], what: str) -> Child:
    """`child` with each model in it changed.

    Raises:
        ConfigurationError: There is no model in it that can be.
    """
    changed = []

    def checked(model: Child) -> Child:
        if isinstance(model, BaseChatModel) and type(model).bind_tools is BaseChatModel.bind_tools:
            raise _unable(model, what)
        changed.append(model)
        return change(model)

    made = map_models(child, checked, _rebound)
    if not changed:
        raise _unable(child, what)
    return made


def _unable(child: Child, what: str) -> ConfigurationError:
    name = type(child).__name__
    return ConfigurationError(
        f"{name} cannot {what}. Pass a chat model that can, or `tools_to_strong=True` to send such calls to the strong "
        "model alone."
    )


def _rebound(binding: Binding) -> Child:
    """The binding with its arguments moved to the models under it, where these get them past any parser around them.

    Tools that were bound before are replaced.
    """
    kwargs = {name: value for name, value in binding.kwargs.items() if name not in _TOOL_ARGUMENTS}
    return binding.model_copy(update={"bound": with_arguments(binding.bound, kwargs), "kwargs": {}})


def with_arguments(runnable: Child, kwargs: Mapping[str, Any]) -> Child:
    """`runnable` whose models get `kwargs`, also where a parser or an `include_raw` map around them drops these."""
    return map_models(runnable, lambda model: model.bind(**kwargs)) if kwargs else runnable


def with_model(runnable: Child, model: Child) -> Child:
    """`runnable` with `model` in place of its own, or `model` itself where it has none."""
    found = []

    def change(own: Child) -> Child:
        found.append(own)
        return model

    changed = map_models(runnable, change)
    return changed if found else model


def _is_final(tool: BaseTool) -> bool:
    # An agent declares the schema of its answer as a tool that does nothing.
    does_nothing = isinstance(tool, StructuredTool) and tool.func is None and tool.coroutine is None
    return tool.return_direct or does_nothing


def _shown(tool: Any) -> dict[str, Any]:
    if isinstance(tool, dict) and "function" not in tool:
        try:
            return convert_to_openai_tool(tool)
        except Exception:
            return tool  # a provider's own built-in tool, which only its model understands
    return convert_to_openai_tool(tool)


def _schema_shown(schema: Any) -> Any:
    """What tells a schema from others, in any process."""
    try:
        return named_tool(convert_to_openai_tool(schema))
    except Exception:
        return schema if isinstance(schema, dict) else _json_schema(schema)


def _json_schema(schema: Any) -> Any:
    try:
        return TypeAdapter(schema).json_schema()  # unions, lists, literals
    except Exception:
        return {"named": schema}


def format_of(arguments: Mapping[str, Any]) -> Any:
    """The form that call arguments want an answer in without a schema of LangChain's own; None for plain text."""
    wanted = arguments.get("response_format")
    wanted = arguments.get("format") if wanted is None else wanted  # as Ollama calls it
    if wanted is None or wanted == {"type": "text"}:
        return None
    return wanted if isinstance(wanted, (Mapping, str)) else _schema_shown(wanted)


def task_of_call(form: Form, arguments: Mapping[str, Any], work: str) -> str:
    """What a call wants, by what was bound before, by its own arguments, and by the work of its prompt.

    With tools to use, a model is an agent, whatever else its long instructions speak of, and its tools tell its task.
    """
    tools = [] if form is not PLAIN else [*(arguments.get("tools") or ()), *(arguments.get("functions") or ())]
    own = task_of(tools=[named_tool(_known(tool)) for tool in tools], schema=format_of(arguments))
    task = form.task if own == "answer" else with_work(own, form.task)
    return task if task.startswith("tools:") else with_work(task, work)


def _known(tool: Any) -> Mapping[str, Any]:
    try:
        return _shown(tool)
    except Exception:
        return {"named": tool}  # the model will say what is wrong with it
