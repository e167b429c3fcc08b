"""The public API's types, as strict mypy infers them for users."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_users_get_precise_types_and_mistakes_are_found() -> None:
    api = pytest.importorskip("mypy.api")

    report, errors, _ = api.run(
        ["--config-file", str(ROOT / "pyproject.toml"), str(Path(__file__).with_name("public_api.py"))]
    )

    assert (report, errors) == ("Success: no issues found in 1 source file\n", "")
