"""Routers on the Hugging Face Hub: pushed with a model card, and read back. `HF_ENDPOINT` names another hub."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rar.errors import HubError
from rar.routers.base import LearnedRouter
from rar.routers.registry import load
from rar.routers.saving import ABOUT, FILES

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TAGS = ("rar-llm", "llm-routing")

_CARD = """---
{about}
---

# {repo_id}

Scores a text by the chance, from 0 to 1, that an answer of `{strong}` beats one of `{weak}`; {tie}.
Made with [rar-llm](https://pypi.org/project/rar-llm/), which routes LangChain and LlamaIndex calls between models.

| | |
|---|---|
{table}
{unmeasured}
## Use

```python
from rar.routers import from_hub
from rar.strategies import Threshold

router = from_hub("{repo_id}")
print(router.score(["Which river flows through Paris?"]))

{how}
strategy = Threshold(router)  # or static_router=router, as one feature of what RAR learns
```

Pass either to `langchain_rar.RouterChatModel` or `llama_index_rar.RouterLLM`, whose models should be those named above.

## Limits

The score holds for texts like those it was fitted to, and for these models. Calibrate the threshold on your own
requests.
No licence was chosen: its owner adds `license:` to the metadata of this card.
"""


def push_to_hub(
    router: LearnedRouter,
    repo_id: str,
    *,
    private: bool = True,
    token: str | None = None,
    commit_message: str = "Upload router",
    data: str | None = None,
    metrics: Mapping[str, float] | None = None,
) -> str:
    """Save a router into a repository of the Hugging Face Hub, with a model card, and return the repository's address.

    Args:
        repo_id: `"user/name"`. It is made where it is missing; its `README.md` and older router are replaced.
        private: Of a repository that is made. Some routers keep what they were fitted to, as embeddings.
        token: None: that of the environment or of `hf auth login`.
        data: For the card: what it was fitted to.
        metrics: For the card, by name; None: those that `rar fit` measured.

    Raises:
        HubError: The hub is down, or refuses.
    """
    api = _api(token)
    with TemporaryDirectory() as folder:
        saved = router.save(folder)
        (saved / "README.md").write_text(card(router, repo_id, data=data, metrics=metrics), "utf-8")
        with _blamed(f"The router was not pushed to {repo_id!r}", "write", api):
            api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repo_id,
                folder_path=saved,
                commit_message=commit_message,
                allow_patterns=[*FILES, "README.md"],
            )
    return f"{api.endpoint}/{repo_id}"


def from_hub(repo_id: str, *, revision: str | None = None, token: str | None = None, **options: Any) -> LearnedRouter:
    """Load a router of any class from a hub; what was fetched before is used where the hub is down.

    Args:
        repo_id: `"user/name"`.
        revision: A branch, tag or commit; pin a commit to get the same router always.
        token: None: that of the environment or of `hf auth login`.
        options: As of `rar.routers.load`.

    Raises:
        HubError: The hub is down, or refuses, or has no such repository, or that holds no router.
        RouterFileError: What is there cannot be used.
    """
    return load(fetched(repo_id, revision=revision, token=token), **options)


def fetched(repo_id: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """The folder in the user's cache that holds the files of a repository's router."""
    api = _api(token)
    with _blamed(f"The router {repo_id!r} was not loaded", "read", api):
        found = api.snapshot_download(repo_id, revision=revision, allow_patterns=list(FILES))  # and nothing else
    if not (Path(found) / ABOUT).is_file():
        raise HubError(f"The repository {repo_id!r} holds no router: there is no {ABOUT} in it. Check its name.")
    return Path(found)


def card(
    router: LearnedRouter, repo_id: str, *, data: str | None = None, metrics: Mapping[str, float] | None = None
) -> str:
    """A router's model card, Markdown with metadata. The licence is left to its owner.

    Args:
        data: What it was fitted to; None: the name that the data had.
        metrics: By name; None: those that `rar fit` measured, if it did.
    """
    from huggingface_hub import ModelCardData  # noqa: PLC0415 - slow to import, and seldom needed

    kind = type(router).__name__
    about = ModelCardData(library_name="rar-llm", tags=[*TAGS, router.name], pipeline_tag="text-classification")
    measured = metrics if metrics is not None else router.facts.get("metrics", {})
    weak, strong = (getattr(router, role, None) or router.models[at] for role, at in (("weak", 0), ("strong", -1)))
    settings = ", ".join(f"`{name}={value!r}`" for name, value in router.settings.items()) or "none"
    rows = [
        ("Router", f"`{kind}` (`{router.name}`)"),
        ("Settings", settings),
        ("Models, weak to strong" if router.pair else "Models", ", ".join(f"`{model}`" for model in router.models)),
        ("Fitted to", f"{data or router.facts.get('data', 'unknown data')}, {router.facts.get('rows', '?')} rows"),
        *((name, f"{value:.4g}") for name, value in measured.items()),
        *_calibrated(router),
    ]
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows)
    tie = "a tie counts a half" if router.tie == 0.5 else "a tie counts for the latter"
    how = "router.calibrate(your_requests, strong_share=0.3)  # a list of texts"
    if router.calibration is not None:
        how = f"# It has a threshold. For one of your own: {how}"
    unmeasured = "" if measured else "\nNo metric was given: measure it on your own outcomes before you rely on it.\n"
    return _CARD.format(
        about=about.to_yaml(), repo_id=repo_id, strong=strong, weak=weak, tie=tie, table=table, unmeasured=unmeasured,
        how=how,
    )  # fmt: skip


def _api(token: str | None) -> HfApi:
    from huggingface_hub import HfApi  # noqa: PLC0415 - slow to import, and seldom needed

    return HfApi(os.environ.get("HF_ENDPOINT"), token=token)


@contextmanager
def _blamed(failed: str, to_do: str, api: HfApi) -> Iterator[None]:
    """What goes wrong between here and the hub, whatever HTTP library raised it, as `HubError` with a remedy."""
    from huggingface_hub import get_token  # noqa: PLC0415 - imported before, by who made `api`

    try:
        yield
    except Exception as error:
        text = f"{failed}: {_reason(error, to_do, api.endpoint)}"
        secrets = [secret for secret in (api.token, get_token()) if isinstance(secret, str) and secret]
        for secret in secrets:  # it may be part of what was given as a name
            text = text.replace(secret, "***")
        raise HubError(text) from (None if any(secret in str(error) for secret in secrets) else error)


def _reason(error: BaseException, to_do: str, endpoint: str) -> str:
    from huggingface_hub import errors  # noqa: PLC0415 - imported before, by who made `api`

    seen: BaseException | None = error
    telling = (errors.HfHubHTTPError, errors.HFValidationError)
    # A failed look into the cache hides why there was need of it.
    while seen is not None and (isinstance(seen, errors.LocalEntryNotFoundError) or not isinstance(seen, telling)):
        seen = seen.__cause__
    if isinstance(seen, errors.HFValidationError):
        return "that is no name of a repository. Write `user/name`."
    if isinstance(seen, errors.RevisionNotFoundError):
        return "it has no such revision. Name a branch, tag or commit of it."
    status = seen.response.status_code if seen is not None and seen.response is not None else None
    if isinstance(seen, errors.RepositoryNotFoundError) or status in (401, 403, 404):
        return (
            f"there is no such repository at {endpoint}, or this token may not {to_do} it. Check the name, "
            "log in with `hf auth login`, or pass token=."
        )
    said = f"status {status}" if status is not None else type(error).__name__
    return f"{endpoint} cannot be reached, or fails ({said}). Check the connection, or try again later."


def _calibrated(router: LearnedRouter) -> list[tuple[str, str]]:
    """The row of a card on the threshold that the router has."""
    if router.threshold is None or router.calibration is None:
        return []
    found = router.calibration
    asked = ", ".join(f"{name}={value:g}" for name, value in found.asked.items())
    share = f"{found.strong_share:.1%} of {found.rows:,} rows of {found.data} to the strong model"
    return [("Threshold", f"{found.threshold:.6g}, for {asked}: {share}")]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
