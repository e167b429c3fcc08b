"""Runs every recipe offline and as a reader would. `tests/docs` runs the pages of the guides."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RECIPES = sorted(HERE.glob("[0-9]*.py"))


def run(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `script` in `folder`, with its temporary files there too, and without the settings of this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "RAR_"))}
    if "RAR_MINILM" in os.environ:
        kept["RAR_MINILM"] = os.environ["RAR_MINILM"]
    return subprocess.run(  # noqa: S603 - our own scripts
        [sys.executable, script],
        cwd=folder,
        env={**kept, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_runs_offline_and_keeps_its_claims(recipe: Path, tmp_path: Path) -> None:
    done = run(recipe, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "strong " in done.stdout
    assert "weak " in done.stdout
    assert not (tmp_path / "rar.db").exists(), "a recipe leaves nothing where it is run"


def test_the_page_of_the_guide_to_routers_learns_what_its_log_says(tmp_path: Path) -> None:
    guide = (HERE.parent / "docs" / "routers.md").read_text(encoding="utf-8")
    page = re.findall(r"## On one page\n\n```python\n(.*?)```", guide, re.DOTALL)[0]
    for name in ("log.csv", "newer.csv"):
        rows = [f"{'What is the sum of' if n % 2 else 'Who wrote the ballad'} {name} {n}?,{n % 2},1" for n in range(40)]
        (tmp_path / name).write_text("\n".join(["text,mixtral,gpt4", *rows]), encoding="utf-8")
    script = tmp_path / "page.py"
    script.write_text(page + 'print(router.score(["Who wrote the ballad?", "What is the sum?"]))', encoding="utf-8")

    done = run(script, tmp_path)

    assert done.returncode == 0, done.stderr
    ballad, total = map(float, done.stdout.strip(" []\n").split())
    assert ballad > total
