"""Runs every recipe offline, as a reader would; a recipe's own claims make it fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = sorted(Path(__file__).parent.glob("[0-9]*.py"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_runs_offline_and_keeps_its_claims(
    recipe: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name == "RAR_MINILM" or not name.startswith(("OPENAI_", "RAR_"))
    }
    kept = {"TMPDIR": str(tmp_path_factory.mktemp("scratch"))}

    done = subprocess.run(  # noqa: S603 - our own scripts
        [sys.executable, recipe],
        cwd=tmp_path,
        env=environment | kept,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "was never awaited" not in done.stderr
    assert not list(tmp_path.iterdir()), "a recipe leaves nothing where it is run"
