"""What each package imports, and what it must live without, in fresh interpreters."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import rar.memory

HEAVY = {"langchain_core", "llama_index", "onnxruntime", "tokenizers", "torch", "transformers"}


def loaded_by(module: str, blocked: Iterable[str] = ()) -> set[str]:
    """The modules that a fresh interpreter has after `import module`, where importing any of `blocked` fails."""
    code = (
        f"import sys; sys.modules |= dict.fromkeys({list(blocked)}); import {module}; "
        "print(*filter(sys.modules.get, sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_engine_needs_no_framework_and_loads_no_runtime() -> None:
    assert not HEAVY & loaded_by("rar")
    assert "rar.router" in loaded_by("rar", blocked=HEAVY)


@pytest.mark.parametrize(("plugin", "other"), [("langchain_rar", "llama_index"), ("llama_index_rar", "langchain_core")])
def test_a_plugin_needs_only_its_own_framework(plugin: str, other: str) -> None:
    loaded = loaded_by(plugin, blocked=[other, "langchain", "langchain_community"])

    assert {"langchain_rar", "llama_index_rar"} & loaded == {plugin}


def test_no_memory_imports_what_learns() -> None:
    sources = Path(rar.memory.__file__).parent.glob("*.py")

    assert [source.name for source in sources if "rar.learning" in source.read_text("utf-8")] == []


@pytest.mark.parametrize("package", ["rar", "langchain_rar", "llama_index_rar"])
def test_every_public_name_is_there_and_listed_once(package: str) -> None:
    module = importlib.import_module(package)
    names = module.__all__

    assert [name for name in names if not hasattr(module, name)] == []
    assert len(set(names)) == len(names) > 0
