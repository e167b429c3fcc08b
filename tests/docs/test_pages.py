"""Every block of the README and the guides runs as printed, against a fake provider and on files as described."""

from __future__ import annotations

import csv
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import typer

from rar import Router
from rar.cli.commands import app
from rar.labelling import lines_of, write_sheet
from tests.core.sums import sums
from tests.core.world import Scripted, easy, serve, strong_answer, weak_answer
from tests.docs.blocks import PAGES, ROOT, blocks, commands_of, script_of
from tests.fake_openai import FakeOpenAI

tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")  # pytest brings the latter

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
LANGUAGES = {"python", "bash", "text", "toml", "mermaid", "sql", "yaml"}
RUN_ELSEWHERE = "test command"  # the README's own, which `.ci/run` takes from the page
LONG = {  # pages whose commands or programs take more than some seconds
    "commands": {"docs/evaluation.md", "docs/strategies/index.md", "docs/training.md"},
    "python": {
        "docs/evaluation.md", "docs/strategies/experts.md", "docs/strategies/fusing.md",
        "docs/strategies/without_a_model.md", "docs/strategies/writing.md",
    },
}  # fmt: skip
NEEDS = {"docs/model_router.md": "langchain_core.decisions"}  # pages about what not every Python can install


def marked(names: Iterable[str], what: str) -> list[Any]:
    assert LONG[what] <= set(NAMES)
    return [pytest.param(name, marks=[pytest.mark.slow] if name in LONG[what] else []) for name in names]


@cache
def commands() -> Any:
    return typer.main.get_command(app)


def page(name: str) -> Path:
    return ROOT / name


@pytest.fixture
def surroundings(fake_openai: FakeOpenAI, tmp_path: Path) -> dict[str, str]:
    """The environment of a reader with a key, whose provider is the fake one; nothing of this machine's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "RAR_"))}
    if "RAR_MINILM" in os.environ:
        kept["RAR_MINILM"] = os.environ["RAR_MINILM"]
    scripts = str(Path(sys.executable).parent)
    return kept | {
        "OPENAI_API_KEY": "none",
        "OPENAI_API_BASE": fake_openai.url,
        "OPENAI_BASE_URL": fake_openai.url,
        "RAR_CACHE": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path),
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "shared"), str(ROOT)]),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the pages name, in the form that they describe."""
    folder = tmp_path / "reader"
    folder.mkdir()
    for name in ("log.csv", "newer.csv", "mine.csv"):
        asked = [f"{'What is the sum of' if n % 2 else 'Who wrote the ballad'} {name[0]} {n}?" for n in range(40)]
        rows = [f"{text},{n % 2},1,{'sums' if n % 2 else 'ballads'}" for n, text in enumerate(asked)]
        (folder / name).write_text("\n".join(["text,mixtral,gpt4,topic", *rows]), encoding="utf-8")
    rows = [f"{text},{n % 2},1,1,{'sums' if n % 2 else 'ballads'}" for n, text in enumerate(asked)]
    (folder / "guided.csv").write_text("\n".join(["text,mixtral,mixtral_guided,gpt4,topic", *rows]), encoding="utf-8")
    steps = "1. Divide the percentage by 100.\n2. Multiply the number by it.\nAvoid: adding it to the number."
    (folder / "percent.txt").write_text(f"Use when: a percentage is asked for.\n{steps}\n", encoding="utf-8")
    rows = [f"Question {n} of {'code' if n % 3 else 'life'}?,{n % 2},1,{int(n % 3 > 0)}" for n in range(40)]
    _keep_replies(folder / "replies.csv")
    (folder / "models.csv").write_text("\n".join(["text,gpt-small,gpt-large,coder-7b", *rows]), encoding="utf-8")
    return folder


def _keep_replies(file: Path) -> None:
    """A log with what each model scored, answered and cost."""
    names = {"small": "gpt-small", "middle": "coder-7b", "large": "gpt-large"}
    data = sums(160)
    assert data.replies is not None and data.replies.texts is not None and data.costs is not None
    with file.open("w", newline="", encoding="utf-8") as opened:
        log = csv.writer(opened)
        columns = [f"{name}{ending}" for ending in ("", "_answer", "_cost") for name in names.values()]
        log.writerow(["text", *columns])
        for row, text in enumerate(data.texts):
            log.writerow([text, *data.scores[row], *data.replies.texts[row], *data.costs[row] / 1_000.0])


def remember(folder: Path) -> None:
    """A memory as `rar.db` with some days' calls in it, and a sheet of its pairs that a person filled in."""
    priced = {"weak": (0.1, 0.4), "strong": (2.0, 8.0)}
    models = {"weak": Scripted("small-1", weak_answer), "strong": Scripted("big-1", strong_answer)}
    path = folder / "rar.db"
    with Router(memory=path, learning="inline", prices=priced, learning_budget=None, store_answers=True) as router:
        for n in range(30):
            serve(router, models, easy(n % 20))
        filled_in = [replace(line, grades=(1.0, 1.0)) for line in lines_of(router.to_label(5))]
    write_sheet(folder / "sheet.csv", filled_in)


@pytest.mark.parametrize("name", marked((name for name in NAMES if script_of(page(name))), "python"))
def test_the_python_of_a_page_runs_from_top_to_bottom(name: str, surroundings: dict[str, str], folder: Path) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="what the page is about needs a newer Python")
    script = folder / f"page_{Path(name).stem.lower()}.py"
    tests_it_defines = (
        "\nfor _name, _test in list(globals().items()):\n    if _name.startswith('test_'):\n        _test()\n"
    )
    script.write_text(script_of(page(name)) + tests_it_defines, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, script.name],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name", marked((name for name in NAMES if any(c.startswith("rar ") for c in commands_of(page(name)))), "commands")
)
def test_the_commands_of_a_page_run(name: str, surroundings: dict[str, str], folder: Path) -> None:
    remember(folder)
    for command in commands_of(page(name)):
        if command.startswith("rar "):
            rar = f"{shlex.quote(sys.executable)} -m rar.cli {command.removeprefix('rar ')}"
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", rar], cwd=folder, env=surroundings, capture_output=True, text=True,
                timeout=110, check=False,
            )  # fmt: skip

            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("name", NAMES)
def test_a_block_says_what_it_is_and_why_it_is_not_run(name: str) -> None:
    for block in blocks(page(name)):
        where = f"{name}:{block.line}"
        assert block.language in {"python", "bash", "text", "toml", "mermaid", "sql", "yaml"}, (
            f"{where} is of no known language"
        )
        if block.why_not_run is not None:
            assert len(block.why_not_run.split()) >= 3, f"{where} gives no reason"
        elif block.language == "bash" and RUN_ELSEWHERE not in block.note:
            for command in commands_of(page(name)):
                known = ("rar ", "pip install ", "python cookbook/", "python -m venv ", "ruff check ", "mkdocs build ")
                assert command.startswith(known), f"{where}: nothing runs {command!r}"


def test_few_blocks_are_not_run() -> None:
    all_blocks = [block for page in PAGES for block in blocks(page) if block.language in {"python", "bash"}]

    assert sum(block.why_not_run is not None for block in all_blocks) <= 5 < len(all_blocks)


def installs() -> list[tuple[str, str]]:
    """Each requirement of each `pip install` of the pages, in blocks and in running text."""
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for line in re.findall(r"pip install ([^`\n#&]+)", text):
            words = [
                word for word in shlex.split(line) if not word.startswith("-") and word not in ("pip", "dev", "test")
            ]
            found += [(path.relative_to(ROOT).as_posix(), word) for word in words]
    return found


@pytest.mark.parametrize(("name", "requirement"), sorted(set(installs())))
def test_what_is_installed_exists(name: str, requirement: str) -> None:
    package, _, extras = requirement.rstrip("]").partition("[")
    if package in ("rar-llm", "."):
        assert set(filter(None, extras.split(","))) <= PROJECT["project"]["optional-dependencies"].keys()
        return
    try:
        assert distribution(package)
    except PackageNotFoundError:
        pytest.fail(f"{name} installs {package}, which the test group lacks, so that nothing shows that it works")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_page_imports_it_installs(name: str) -> None:
    """A reader who typed the page's `pip install` lines has all that its Python imports."""
    imported = set(
        re.findall(
            r"^(?:from|import) (langchain_\w+|langchain|llama_index\.\w+\.\w+|langgraph)",
            script_of(page(name)),
            re.MULTILINE,
        )
    )
    given = {requirement for where, requirement in installs() if where == name}
    extras = {extra for one in given for extra in one.partition("[")[2].rstrip("]").split(",")}
    needs = {"langchain_core": "langchain", "langchain_rar": "langchain", "langchain": "agents"}
    for module in imported:
        if module in needs:
            assert needs[module] in extras, f"{name} imports {module}, and installs {sorted(given)}"
        elif module.startswith("llama_index.core"):
            assert "llama-index" in extras
        else:
            package = module.replace(".", "-").replace("_", "-")
            assert package in given, f"{name} imports {module}, and installs {sorted(given)}"


def mentioned() -> list[tuple[str, str]]:
    """Commands in running text: `rar stats rar.db`."""
    pages = [*PAGES, ROOT / "SECURITY.md"]
    return [
        (path.name, command)
        for path in pages
        for command in re.findall(r"`(rar [a-z][^`\n]*)`", path.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(("name", "command"), sorted(set(mentioned())))
def test_commands_in_running_text_exist_with_their_options(name: str, command: str) -> None:
    found = commands()
    words = command.split()[1:]
    while words and hasattr(found, "commands") and words[0] in found.commands:
        found = found.commands[words.pop(0)]
    rest = [word for word in words if re.fullmatch(r"[a-z]+", word)]
    assert not hasattr(found, "commands") or not rest, f"{name}: there is no `{command}`"
    options = {option for parameter in getattr(found, "params", ()) for option in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"{name}: `{command}` takes no {word}"


def test_links_of_the_readme_work_on_the_package_index() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    source = PROJECT["project"]["urls"]["Repository"]
    links = re.findall(r"\]\(([^)]+)\)", readme)

    assert links
    for link in links:
        assert link.startswith("https://"), link
        if link.startswith(source):
            path = link.removeprefix(f"{source}/blob/main/").partition("#")[0]
            assert (ROOT / path).exists(), link


@pytest.mark.parametrize("name", NAMES)
def test_links_between_pages_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", page(name).read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page(name).parent / path if path else page(name)
        assert target.exists(), f"{name}: {link}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, link
