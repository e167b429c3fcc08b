"""The form of the answer that an agent's model call wants, for calls that the agent does not make itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain.agents import factory
from langchain.agents.structured_output import AutoStrategy, OutputToolBinding, ProviderStrategy, ToolStrategy

from langchain_rar.children import Child
from langchain_rar.forms import BoundTools

Strategy = AutoStrategy[Any] | ToolStrategy[Any] | ProviderStrategy[Any]


class AgentForm(BoundTools):
    """Tools and the schema of the final answer, bound to each child as `create_agent` binds them.

    A model whose provider can hold its answers to a schema has it so, others have it as one more tool.

    Args:
        tools, tool_choice, response_format, settings: Those of the agent's `ModelRequest`.
    """

    def __init__(
        self, tools: Sequence[Any], tool_choice: Any, response_format: Any, settings: Mapping[str, Any]
    ) -> None:
        self._strategy, self._tools = _strategy(response_format), list(tools)
        outputs = [OutputToolBinding.from_schema_spec(spec).tool for spec in _specs(self._strategy)]
        super().__init__([*tools, *outputs], "any" if outputs else tool_choice, settings)

    def _bound(self, model: Any) -> Child:
        provider = self._provider(model)
        if provider is None:
            return super()._bound(model)
        options = {**provider.to_model_kwargs(), **self.options}
        if _has_strict_tools(model):
            options["strict"] = True
        return model.bind_tools(self._tools, **options)  # type: ignore[no-any-return]

    def _provider(self, model: Any) -> ProviderStrategy[Any] | None:
        if isinstance(self._strategy, ProviderStrategy):
            return self._strategy
        if isinstance(self._strategy, AutoStrategy) and factory._supports_provider_strategy(model, self._tools):  # noqa: SLF001
            return ProviderStrategy(schema=self._strategy.schema)
        return None


def _strategy(response_format: Any) -> Strategy | None:
    if response_format is None or isinstance(response_format, (AutoStrategy, ToolStrategy, ProviderStrategy)):
        return response_format
    return AutoStrategy(schema=response_format)


def _specs(strategy: Strategy | None) -> Sequence[Any]:
    """The schemas among which the answer may choose."""
    if strategy is None:
        return ()
    if isinstance(strategy, ProviderStrategy):
        return (strategy.schema_spec,)
    return (strategy if isinstance(strategy, ToolStrategy) else ToolStrategy(schema=strategy.schema)).schema_specs


def _has_strict_tools(model: Any) -> bool:
    """Whether the agent asks for strict tools beside a provider's schema; older releases always do."""
    is_compatible = getattr(factory, "_is_openai_compatible_model", None)
    return is_compatible is None or (is_compatible(model) and not getattr(model, "use_responses_api", False))
