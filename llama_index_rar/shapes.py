"""What tools and schemas look like to a task: names and parameters, the same in every process and provider's format.

Nothing here raises: a tool or schema that cannot be read is known by its name. The model says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from llama_index.core.bridge.pydantic import BaseModel
from pydantic import TypeAdapter

_WRAPPERS = ("function", "toolSpec", "tool_spec")
_PARAMETERS = ("parameters", "input_schema", "inputSchema", "parameter_definitions", "parameters_json_schema")
# What a model's fields say; a schema without fields (a union, a list, a root model) is told by all that it says.
_FIELDS = ("type", "properties", "required", "$defs")
# The arguments by which providers are told of the form of an answer.
_FORMAT_ARGUMENTS = (
    "response_format", "response_schema", "response_mime_type", "response_json_schema", "json_mode", "format",
    "text_format", "text", "output_config", "output_format", "grammar", "guided_json", "guided_regex", "guided_choice",
)  # fmt: skip
_NESTED_ARGUMENTS = ("extra_body", "generation_config", "additional_kwargs", "options")


def tool_shape(tool: Any) -> Any:
    """A tool's name and parameters, as they are known through other frameworks too."""
    if isinstance(tool, str):
        return {"name": tool}
    if isinstance(tool, Mapping):
        return _mapped_tool(tool)
    if isinstance(tool, type) and issubclass(tool, BaseModel):
        return schema_shape(tool)
    metadata = getattr(tool, "metadata", None)
    if metadata is not None and hasattr(metadata, "get_name"):
        return {"name": _tried(metadata.get_name), "parameters": _tried(lambda: _tool_parameters(metadata))}
    if isinstance(tool, BaseModel):  # a provider's own tool object
        return _mapped_tool(_tried(lambda: tool.model_dump(mode="json", exclude_none=True)) or {"name": named(tool)})
    return {"name": named(tool)}


def _mapped_tool(tool: Mapping[str, Any]) -> Any:
    """A tool in a provider's own format; one without a name is built into the model and stands for itself."""
    declared = tool.get("function_declarations") or tool.get("functionDeclarations")
    if isinstance(declared, Sequence) and not isinstance(declared, str):
        return [tool_shape(one) for one in declared]
    tool = next((tool[name] for name in _WRAPPERS if isinstance(tool.get(name), Mapping)), tool)
    if not isinstance(tool.get("name"), str):
        return dict(tool)
    parameters = next((tool[name] for name in _PARAMETERS if name in tool), None)
    if isinstance(parameters, Mapping) and isinstance(parameters.get("json"), Mapping):
        parameters = parameters["json"]
    if parameters is None and tool.keys() - {"name", "description", "type", "strict"}:
        return dict(tool)
    return {
        "name": tool["name"],
        "parameters": schema_fields(parameters) if isinstance(parameters, Mapping) else parameters,
    }


def _tool_parameters(metadata: Any) -> Any:
    schema = metadata.fn_schema
    return metadata.get_parameters_dict() if schema is None else _parameters(schema)


def format_shape(arguments: Mapping[str, Any]) -> Any:
    """The form of the answer that a call's arguments ask for; None for free text."""
    nested = [arguments[name] for name in _NESTED_ARGUMENTS if isinstance(arguments.get(name), Mapping)]
    found = {
        name: shape
        for given in (arguments, *nested)
        for name in _FORMAT_ARGUMENTS
        if name in given and (shape := schema_shape(given[name])) is not None
    }
    return found["response_format"] if found.keys() == {"response_format"} else found or None


def schema_shape(schema: Any) -> Any:
    """A schema of any kind: a class, a union or another type, a JSON schema, a mode's name; None for none."""
    if schema is None or schema is False or (isinstance(schema, str) and schema in {"", "text"}):
        return None
    if isinstance(schema, Mapping):
        return None if schema.get("type") == "text" else _untitled(dict(schema))
    if isinstance(schema, str | int | float | list | tuple):
        return schema
    try:
        hash(schema)
    except TypeError:
        return named(schema)
    return {"name": named(schema), "parameters": _parameters(schema)}


@lru_cache(maxsize=512)
def _parameters(schema: Any) -> Any:
    """The fields of a class, or what else a type says; None where Pydantic can make no JSON schema of it."""
    of_model = isinstance(schema, type) and issubclass(schema, BaseModel)
    return _tried(lambda: schema_fields(schema.model_json_schema() if of_model else TypeAdapter(schema).json_schema()))


def schema_fields(schema: Mapping[str, Any]) -> dict[str, Any]:
    names = _FIELDS if "properties" in schema else [name for name in schema if name != "description"]
    return {name: _untitled(schema[name]) for name in names if name in schema and name != "title"}


def _untitled(schema: Any) -> Any:
    """`schema` without the titles that Pydantic makes of names; a property of the name "title" is no string."""
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _untitled(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}


def named(given: Any) -> str:
    """A name that is the same in every process: a repr may hold an address."""
    if isinstance(given, type) and issubclass(given, BaseModel) and isinstance(given.model_config.get("title"), str):
        return str(given.model_config["title"])
    if getattr(given, "__args__", None):  # a union, `list[A]`
        inner = ", ".join(named(argument) for argument in given.__args__)
        return f"{getattr(given, '__name__', None) or type(given).__name__}[{inner}]"
    name = getattr(given, "__name__", None)
    return name if isinstance(name, str) else type(given).__qualname__


def _tried(make: Any) -> Any:
    try:
        return make()
    except Exception:
        return None
