"""What may import what, read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import rar

ROOT = Path(rar.__file__).parent.parent
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in (ROOT / "rar").rglob("*.py")
}


def imports(module: str) -> set[str]:
    """The modules of the engine that this one imports when it is loaded or at work, but not for types alone."""
    found: set[str] = set()
    for node in statements(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in MODULES else node.module for name in names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return (found & MODULES.keys()) - {module}


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from statements(node)


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module: imports(module) for module in MODULES}
    while True:
        done = {module for module, needs in left.items() if not needs & left.keys()}
        if not done:
            break
        left = {module: needs for module, needs in left.items() if module not in done}

    assert sorted(left) == []


def test_a_memory_knows_nothing_of_learning() -> None:
    of_memory = [module for module in MODULES if module.startswith("rar.memory")]

    assert not [(one, other) for one in of_memory for other in imports(one) if other.startswith("rar.learning")]


def test_the_engine_does_without_the_evaluation_the_command_line_and_the_demo() -> None:
    outside = tuple(
        f"rar.{name}" for name in ("evaluation", "cli", "demo", "integrations", "logs", "server", "dashboard")
    )
    engine = [module for module in MODULES if not module.startswith(outside)]

    assert not [(one, other) for one in engine for other in imports(one) if other.startswith(outside)]


def test_the_page_on_architecture_names_every_part_and_no_other() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text("utf-8")
    tables = page[page.index("## The parts") : page.index("## The plugins")]
    rows = [line.split("|")[1] for line in tables.splitlines() if line.startswith("| `")]
    named = {name.rpartition(".")[2] for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    in_one_row = {
        "cli", "dashboard", "demo", "embedding", "evaluation", "integrations", "local", "logs", "report", "routers",
        "server", "strategies",
    }  # fmt: skip
    row_by_row = {"learning", "memory"}
    parts = [module.split(".")[1:] for module in MODULES if module.count(".")]
    ours = {part[-1] for part in parts if part[0] not in in_one_row or len(part) == 1} - row_by_row

    assert named == ours


def test_the_page_on_architecture_names_every_module_of_the_plugins_and_no_other() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text("utf-8")
    table = page[page.index("## The plugins") : page.index("## Where do I put")]
    rows = [line.split("|")[2:4] for line in table.splitlines() if line.startswith("| ")]
    for column, plugin in enumerate(("langchain_rar", "llama_index_rar")):
        named = {name for row in rows for name in re.findall(r"`(\w+)`", row[column])} - {plugin}

        assert named == {file.stem for file in (ROOT.parent / plugin).glob("*.py") if file.stem[0] != "_"}
