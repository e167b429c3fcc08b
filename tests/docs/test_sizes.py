"""Modules and functions stay small enough to be read at once; what may be longer is listed with its reason."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

LINES, FUNCTION = 450, 40
MODULES = sorted(
    path for top in ("shared/rar", "langchain_rar", "llama_index_rar") for path in (ROOT / top).rglob("*.py")
)

LONGER_MODULES = {
    "shared/rar/errors.py": "one tree of exceptions, drawn and documented in one place",
    "shared/rar/router.py": "the public face of the engine; half of it documents arguments and errors",
    "shared/rar/templates.py": "a table of the prompts that frameworks ship",
}
LONGER_FUNCTIONS = {
    "shared/rar/cli/routers.py:calibrate": "declares a command's options",
    "shared/rar/demo/run.py:run": "tells a demo's story from top to bottom",
    "shared/rar/evaluation/compare.py:summarise_online": "fills one record",
    "shared/rar/evaluation/data.py:read_outcomes": "documents its arguments",
    "shared/rar/evaluation/replay.py:stages": "documents its arguments",
    "shared/rar/evaluation/replay.py:static": "documents its arguments",
    "shared/rar/report/facts.py:gather": "fills one record",
    "shared/rar/report/sections.py:quality": "lays out one section",
    "shared/rar/routers/base.py:calibrate": "documents its arguments",
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_are_short(path: Path) -> None:
    name, source = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    functions = [
        found.name
        for found in ast.walk(ast.parse(source))
        if isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (found.end_lineno or 0) - found.lineno + 1 > FUNCTION
    ]

    assert name in LONGER_MODULES or len(source.splitlines()) <= LINES
    assert {f"{name}:{function}" for function in functions} <= LONGER_FUNCTIONS.keys()


def test_the_plugins_have_no_class_of_the_same_name() -> None:
    langchain, llama_index = (
        {
            found.name
            for path in (ROOT / plugin).glob("*.py")
            for found in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(found, ast.ClassDef) and not found.name.startswith("_")
        }
        for plugin in ("langchain_rar", "llama_index_rar")
    )

    assert langchain & llama_index == set()
