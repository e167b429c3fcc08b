"""The site of the documentation has every page and every public name. Nothing here needs MkDocs."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.docs.blocks import ROOT

DOCS = ROOT / "docs"


class Loader(yaml.SafeLoader):
    """Passes over the Python objects that extensions of Markdown are given."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
SITE: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)


def entries(nav: Any) -> Iterator[str]:
    """The pages of a `nav`, with or without titles, at any depth."""
    if isinstance(nav, str):
        yield nav
    else:
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(inner)


def documented() -> set[str]:
    return set(re.findall(r"^::: ([\w.]+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE))


def test_every_page_is_in_the_navigation_once_and_every_entry_exists() -> None:
    assert sorted(entries(SITE["nav"])) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_the_first_page_names_every_other() -> None:
    linked = set(re.findall(r"\]\(([\w/]+\.md)", (DOCS / "index.md").read_text(encoding="utf-8")))

    assert linked == set(entries(SITE["nav"])) - {"index.md"}


@pytest.mark.parametrize("package", ["rar", "langchain_rar", "llama_index_rar"])
def test_every_public_name_has_an_entry_in_the_reference(package: str) -> None:
    names = {f"{package}.{name}" for name in importlib.import_module(package).__all__ if name != "__version__"}

    assert names <= documented()


@pytest.mark.parametrize("module", sorted({entry.rpartition(".")[0] for entry in documented()}))
def test_every_entry_of_the_reference_exists(module: str) -> None:
    if module == "langchain_rar.decisions":
        pytest.importorskip("langchain_core.decisions", reason="this LangChain has no decision models")
    found = importlib.import_module(module)

    names = [name for entry in documented() for of, _, name in [entry.rpartition(".")] if of == module]
    assert [name for name in names if not hasattr(found, name)] == []
