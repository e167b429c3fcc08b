"""Run other projects' own agent tests with a router in place of their fake model, beside a run without.

    python -m tests.compat.run                               # downloads the sources of the installed releases
    python -m tests.compat.run --source deepagents=PATH      # a checkout, where a release has no tests in it

Prints, for each project and kind of routing, which tests fail that pass without a router.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECTS = {
    "langchain": ("tests/unit_tests/agents",),
    "langgraph-prebuilt": ("tests",),
    "deepagents": ("tests/unit_tests",),
}
KINDS = ("weak", "strong", "learning")
_ROOT = Path(__file__).resolve().parents[2]
_OUTCOME = re.compile(r"^(FAILED|ERROR|PASSED) ([^\s]+(?:\[.*?\])?)", re.MULTILINE)
_SECONDS = 900


def main() -> None:
    options = _options()
    given = dict(source.split("=", 1) for source in options.source)
    with tempfile.TemporaryDirectory() as folder:
        for project in options.projects or PROJECTS:
            source = Path(given[project]) if project in given else _downloaded(project, Path(folder))
            if source is None or not all((source / tests).is_dir() for tests in PROJECTS[project]):
                print(f"{project}: its release has no tests in it; give a checkout with --source {project}=PATH")
                continue
            _compare(project, source)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="*", choices=[*PROJECTS, []], help="all by default")
    parser.add_argument("--source", action="append", default=[], metavar="PROJECT=PATH")
    return parser.parse_args()


def _downloaded(project: str, folder: Path) -> Path | None:
    """The unpacked source of the installed release."""
    try:
        release = f"{project}=={version(project)}"
    except PackageNotFoundError:
        return None
    into = folder / project
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(into)]
    subprocess.run([*command, release], check=True)
    (archive,) = into.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(into, filter="data")
    return next(path for path in into.iterdir() if path.is_dir())


def _compare(project: str, source: Path) -> None:
    before = _outcomes(project, source, "")
    print(f"{project} {source.name}: {_counts(before)} without a router")
    for kind in KINDS:
        after = _outcomes(project, source, kind)
        print(f"  {kind}: {_counts(after)}")
        for test, outcome in sorted(after.items()):
            if outcome != "PASSED" and before.get(test) == "PASSED":
                print(f"    {outcome} {test}")


def _outcomes(project: str, source: Path, kind: str) -> dict[str, str]:
    paths = os.pathsep.join([str(_ROOT / "shared"), str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # The tests' package is called `tests`, as ours is, so that the plugin is known by its file.
    environment = {**os.environ, "RAR_COMPAT": kind, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), paths])}
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "-p", "plugin", "-p", "no:cacheprovider"]
    command += ["-W", "ignore", "-o", "addopts=", "-o", "asyncio_mode=auto", *PROJECTS[project]]
    done = subprocess.run(
        command, check=False, cwd=source, env=environment, capture_output=True, text=True, timeout=_SECONDS
    )
    found = {test: outcome for outcome, test in _OUTCOME.findall(done.stdout)}
    if not found:
        raise SystemExit(f"{project}: no test ran.\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return found


def _counts(outcomes: dict[str, str]) -> str:
    failed = sum(outcome != "PASSED" for outcome in outcomes.values())
    return f"{len(outcomes) - failed} passed, {failed} failed"


if __name__ == "__main__":
    main()
