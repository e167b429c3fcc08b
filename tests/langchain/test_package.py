"""The package as it is imported and installed."""

from __future__ import annotations

import subprocess
import sys
import typing
from pathlib import Path

import pytest
from langchain_core.runnables import Runnable

import langchain_rar
from langchain_rar import RouterChatModel


def run(code: str, blocked: set[str]) -> subprocess.CompletedProcess[str]:
    script = f"import sys\nsys.modules |= dict.fromkeys({blocked!r})\n{code}"  # None there makes an import fail
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)


def test_all_names_are_there() -> None:
    assert langchain_rar.__all__ == sorted(langchain_rar.__all__, key=str)
    assert set(langchain_rar.__all__) == {"RARMiddleware", "RouterChatModel", "__version__", "tag_query"}
    assert all(hasattr(langchain_rar, name) for name in langchain_rar.__all__)


def test_it_is_typed() -> None:
    assert (Path(langchain_rar.__file__).parent / "py.typed").exists()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = langchain_rar.Nothing


def test_the_return_types_of_binding_resolve_at_run_time() -> None:
    for method in (RouterChatModel.bind_tools, RouterChatModel.with_structured_output):
        assert issubclass(typing.get_origin(typing.get_type_hints(method)["return"]), Runnable)


def test_it_imports_without_llama_index_and_without_langchain_itself() -> None:
    done = run(
        "from langchain_rar import RouterChatModel, tag_query\n"
        "from rar.errors import MissingDependencyError\n"
        "import langchain_rar\n"
        "for ask in (lambda: langchain_rar.RARMiddleware, lambda: RouterChatModel('openai:a', 'openai:b')):\n"
        "    try:\n"
        "        ask()\n"
        "    except MissingDependencyError as error:\n"
        "        print(error)\n",
        {"langchain", "llama_index", "langchain_openai", "langgraph"},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pip install 'rar-llm[agents]'") == 2
