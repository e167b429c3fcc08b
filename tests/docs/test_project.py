"""What the package index shows of the project, and on which Pythons it is tested."""

from __future__ import annotations

import re

from tests.docs.test_pages import PROJECT, ROOT

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def test_the_index_can_show_who_made_it_where_it_lives_and_what_it_runs_on() -> None:
    project = PROJECT["project"]

    assert project["authors"]
    assert {"Repository", "Documentation", "Changelog", "Issues"} <= project["urls"].keys()
    assert project["requires-python"] == f">={PYTHONS[0]}"
    named = "Programming Language :: Python :: "
    assert [c.removeprefix(named) for c in project["classifiers"] if c.startswith(f"{named}3.")] == PYTHONS


def test_the_newest_release_that_the_changelog_tells_of_is_this_one() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)

    assert released[0] == PROJECT["project"]["version"]


def test_the_continuous_integration_looks_for_each_of_these_pythons() -> None:
    searched = re.search(r"for v in ([\d. ]+); do", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))

    assert searched is not None
    assert searched[1].split() == PYTHONS


def test_all_brings_every_extra() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    named = set(everything.partition("[")[2].rstrip("]").split(","))
    inside = {extra for name in named for one in extras[name] if one.startswith("rar-llm[")
              for extra in one.partition("[")[2].rstrip("]").split(",")}  # fmt: skip

    assert named | inside | {"all"} == extras.keys()
