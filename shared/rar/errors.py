"""Every error that the package raises by design.

    RarError
    ├── ConfigurationError (ValueError)      what was given cannot work
    │   ├── UnknownNameError (LookupError)   a name that stands for nothing
    │   ├── UnknownArgumentError (TypeError) an argument that is not taken, misspelt perhaps
    │   ├── UnknownModelError (LookupError)  a strategy named a model that the router was not given
    │   ├── MissingModelError                no weak or no strong model
    │   └── SameModelError                   weak and strong are one model
    ├── RequestError (ValueError)            one call's input cannot be answered
    │   ├── OverrideError                    a `rar_…` argument of a call that there is not, or of a wrong type
    │   └── FixedNamespaceError              a call named another namespace than the only one allowed
    ├── MissingDependencyError (ImportError) an extra is not installed
    ├── WeightsError (OSError)               model weights are missing or damaged
    ├── EmbeddingError (ValueError)          an embedder returned what are no embeddings
    ├── EvaluationDataError (ValueError)     recorded outcomes cannot be read
    ├── TrainingDataError (ValueError)       a router cannot learn from these outcomes
    ├── NotFittedError (RuntimeError)        a router was asked before it was fitted
    ├── StrategyError (TypeError)            a strategy returned what is no decision
    ├── ScoreError (ValueError)              a static router's score is not a number
    ├── RouterFileError (ValueError)         a saved router cannot be used
    ├── HubError (OSError)                   a model hub is down, or refused
    ├── ReplayError (RuntimeError)           the engine failed while outcomes were replayed
    ├── MemoryStoreError                     the memory cannot be used
    │   ├── AddressError (ValueError)        it is an address of a server, no path
    │   │   └── UnreadableAddressError       the address cannot be read
    │   ├── UnreachableMemoryError           its server does not answer, or lets this role not in
    │   ├── MissingMemoryError               there is no such file to read
    │   ├── NotAMemoryError                  the file is something else
    │   ├── CorruptMemoryError               the file is damaged
    │   ├── NewerMemoryError                 the file is from a newer version
    │   ├── ReadOnlyMemoryError              the file cannot be written
    │   ├── MemoryFullError                  the disk is full
    │   ├── EmbedderMismatchError            the memory was made with another embedder
    │   ├── RecordError                      one record cannot be stored
    │   ├── SecretError                      the memory's key is kept elsewhere
    │   ├── DimensionError (ValueError)      an embedding has another length
    │   ├── CopyError                        a copy differs from what it was made of
    │   └── ImportFormatError (ValueError)   a line of an export cannot be read
    ├── UnknownDecisionError (LookupError)   no decision of that id is known
    ├── UnknownGuideError (LookupError)      no guide of that id is known
    ├── GuideRefusedError (ValueError)       the checks refuse a guide's text
    ├── ClosedError (RuntimeError)           the router or memory was closed
    ├── EmptyReplyError (RuntimeError)       a model returned nothing
    ├── UnparsedReplyError (RuntimeError)    a model returned no structured output
    ├── ModelTimeoutError (TimeoutError)     a model said nothing for too long
    ├── BudgetExceededError (RuntimeError)   a call would go over a limit that the user set
    └── BudgetError (RuntimeError)           the learning budget is spent (never reaches a user's call)

Arguments are plain values kept as fields, so that errors can be pickled and caught by what they say. Objects that a
user passed are kept and shown by their names only (`rar.naming`): their reprs may hold API keys.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection

from rar.naming import plain, shown, without_credentials

_NAMES_ONLY = ("learning", "model")  # options that take no object


class RarError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(RarError, ValueError):
    """What was given to a constructor cannot work."""


class UnknownNameError(ConfigurationError, LookupError):
    """A string option names nothing that exists."""

    def __init__(self, option: str, given: object, known: Collection[str]) -> None:
        self.option, self.given, self.known = option, plain(given), sorted(known)
        super().__init__(self.option, self.given, self.known)

    def __str__(self) -> str:
        return (
            f"{self.option}={shown(self.given)} is not known.{_did_you_mean(self.given, self.known)} "
            f"Use one of {self.known}{'' if self.option in _NAMES_ONLY else ', or pass an object'}."
        )


class UnknownArgumentError(ConfigurationError, TypeError):
    """A constructor was given an argument that it does not take."""

    def __init__(self, owner: str, argument: str, known: Collection[str]) -> None:
        super().__init__(owner, argument, sorted(known))
        self.owner, self.argument, self.known = owner, argument, sorted(known)

    def __str__(self) -> str:
        hint = _did_you_mean(self.argument, self.known) or f" It takes {self.known}."
        return f"{self.owner} takes no argument {self.argument!r}.{hint}"


class UnknownModelError(ConfigurationError, LookupError):
    """A strategy or an override named a model that the router was not given."""

    def __init__(self, model: str, known: Collection[str]) -> None:
        self.model, self.known = plain(model), sorted(known)
        super().__init__(self.model, self.known)

    def __str__(self) -> str:
        meant = _did_you_mean(self.model, self.known)
        return f"Model {shown(self.model)} was chosen, the router has {self.known}.{meant} Add it, or choose one."


class MissingModelError(ConfigurationError):
    """A router needs a weak and a strong model."""

    def __init__(self, role: str, hint: str = "") -> None:
        super().__init__(role, hint)
        self.role, self.hint = role, hint

    def __str__(self) -> str:
        return f"No {self.role} model was given. Pass `{self.role}=`{self.hint and ', ' + self.hint}."


class SameModelError(ConfigurationError):
    """Weak and strong are the same model. Routing could save nothing."""

    def __init__(self, model_id: str) -> None:
        super().__init__(model_id)
        self.model_id = model_id

    def __str__(self) -> str:
        return (
            f"weak and strong are both {self.model_id!r}. Pass two different models, or tell them apart with "
            "`weak_id=` and `strong_id=` if one name stands for two deployments."
        )


class RequestError(RarError, ValueError):
    """One call's input cannot be answered by any model."""


class OverrideError(RequestError):
    """A call was steered by a name that does not exist, or by a value of a wrong type."""

    def __init__(self, name: str, known: Collection[str], found: str = "") -> None:
        super().__init__(name, sorted(known), found)
        self.name, self.known, self.found = name, sorted(known), found

    def __str__(self) -> str:
        if self.found:
            return f"{self.name}={self.found}."
        return f"{self.name!r} is no override.{_did_you_mean(self.name, self.known)} Use one of {self.known}."


class FixedNamespaceError(RequestError):
    """A call was steered to another namespace than the one that the router was constructed with."""

    def __init__(self, own: str) -> None:
        super().__init__(own)
        self.own = own

    def __str__(self) -> str:
        return (
            f"`rar_namespace` names another namespace than {self.own!r}, and this router was made with "
            'namespaces="fixed". Leave it out, or construct a router for that namespace.'
        )


class MissingDependencyError(RarError, ImportError):
    """An optional package is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(what, extra)
        self.what, self.extra = what, extra

    def __str__(self) -> str:
        return f"{self.what} is not installed. Run `pip install 'rar-llm[{self.extra}]'`."


class WeightsError(RarError, OSError):
    """Model weights are missing or damaged."""


class EmbeddingError(RarError, ValueError):
    """An embedder returned what are no embeddings."""

    def __init__(self, embedder_id: str, found: str) -> None:
        super().__init__(embedder_id, found)
        self.embedder_id, self.found = embedder_id, found

    def __str__(self) -> str:
        return (
            f"Embedder {self.embedder_id!r} returned {self.found}. It must return one finite vector per text, all of "
            "one length and none zero; mend it or pass another `embedder=`."
        )


class EvaluationDataError(RarError, ValueError):
    """Recorded outcomes cannot be read. `line` counts from 1 (of a Parquet file: rows); None: the file as a whole."""

    def __init__(self, where: str, found: str, line: int | None = None, column: str | None = None) -> None:
        super().__init__(where, found, line, column)
        self.where, self.found, self.line, self.column = where, found, line, column

    def __str__(self) -> str:
        line = "" if self.line is None else f", line {self.line}"
        column = "" if self.column is None else f", column {self.column!r}"
        return f"{self.where}{line}{column}: {self.found}. Mend it, or name other columns; see docs/evaluation.md."


class TrainingDataError(RarError, ValueError):
    """Outcomes from which a router cannot learn: too few, all alike, or of other models than it is asked about."""


class NotFittedError(RarError, RuntimeError):
    """A router was asked, updated or saved before it was fitted."""

    def __init__(self, router: str) -> None:
        super().__init__(router)
        self.router = router

    def __str__(self) -> str:
        return f"{self.router} was not fitted yet. Call `fit(outcomes)` first, or `load` a saved router."


class StrategyError(RarError, TypeError):
    """A strategy returned no `Route` and no `Answer`, or one of the wrong parts; the strong model answers."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found

    def __str__(self) -> str:
        return (
            f"The strategy returned {self.found}. It must return a `Route`, whose messages, if any, are "
            "`rar.Message`s, an `Answer` of a `Reply`, or a model's name."
        )


class ScoreError(RarError, ValueError):
    """A static router's score of a text is NaN. It says nothing, and the strong model answers."""

    def __init__(self, router: str, row: int = 0) -> None:
        super().__init__(router, row)
        self.router, self.row = router, row

    def __str__(self) -> str:
        return (
            f"{self.router} scored text {self.row} (from 0) as NaN. It must give a number from 0 to 1; check what it "
            "looks at: an embedder must return finite vectors."
        )


class RouterFileError(RarError, ValueError):
    """A saved router cannot be used: missing, damaged, of a newer version, or made for another embedder."""

    def __init__(self, where: str, found: str) -> None:
        super().__init__(where, found)
        self.where, self.found = where, found

    def __str__(self) -> str:
        return f"The saved router {self.where} cannot be loaded: {self.found}."


class HubError(RarError, OSError):
    """A model hub could not be reached, or refused."""


class ReplayError(RarError, RuntimeError):
    """The engine failed while outcomes were replayed. Nothing was measured. `found` is its first warning."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found

    def __str__(self) -> str:
        return f"The engine failed during the replay: {self.found.rstrip('.')}. Mend that first."


class MemoryStoreError(RarError):
    """The memory cannot be used. `where` is its path or address, without secrets."""

    problem = "cannot be used"
    remedy = "Pass another `memory=`."

    def __init__(self, where: str, found: str = "") -> None:
        self.where, self.found = without_credentials(where), found
        super().__init__(self.where, found)

    def __str__(self) -> str:
        return f"Memory {self.where!r} {self.problem}{self.found and ': ' + self.found}. {self.remedy}"


class AddressError(MemoryStoreError, ConfigurationError):
    """An address of a server or a URL was given where a path is wanted; nothing was made of it.

    `where` is its scheme alone, for the rest may hold a password.
    """

    def __str__(self) -> str:
        return f"memory='{self.where}://…' is no path. {self.found}"


class UnreadableAddressError(AddressError):
    """An address of a server cannot be read."""

    def __str__(self) -> str:
        return f"memory='{self.where}://…' cannot be read. {self.found}"


class UnreachableMemoryError(MemoryStoreError):
    """The server of a memory does not answer, or lets this role not in. Routing goes on with the strong model."""

    problem = "cannot be reached"
    remedy = "Check the address, the role and its password, and that the server runs."


class MissingMemoryError(MemoryStoreError):
    """There is no such file, and reading makes none."""

    problem = "does not exist"
    remedy = "Check the path; a router with `memory=` makes the file."


class NotAMemoryError(MemoryStoreError):
    """The file is something other than a RAR memory; it was left untouched."""

    problem = "is not a RAR memory"
    remedy = "It was left untouched; pass the path of a new file or of a memory."


class CorruptMemoryError(MemoryStoreError):
    """The file was a memory and is damaged."""

    problem = "is damaged"
    remedy = "Restore a backup, or move the file away to start a new memory."


class NewerMemoryError(MemoryStoreError):
    """The file was written by a newer version of this package."""

    problem = "was written by a newer version"
    remedy = "Upgrade rar-llm, or use another file."


class ReadOnlyMemoryError(MemoryStoreError):
    """The file or database cannot be written; reading goes on."""

    problem = "cannot be written"
    remedy = "Give this user or role the right to write it (a file and its folder, the tables), or use another memory."


class MissingExtensionError(MemoryStoreError):
    """The memory is to be searched with pgvector, which its database does not have."""

    problem = "cannot be searched with pgvector"
    remedy = (
        "Install pgvector 0.8 or newer on the server. Then have a superuser, or a managed server's administrator, run "
        "`CREATE EXTENSION vector` in this database (or `ALTER EXTENSION vector UPDATE`). Or leave out "
        '`index="pgvector"`.'
    )


class MemoryFullError(MemoryStoreError):
    """The disk is full; nothing of the last write was stored."""

    problem = "could not grow, the disk is full"
    remedy = "Free some space; nothing that was stored before is lost."


class EmbedderMismatchError(MemoryStoreError):
    """Another embedder made the memory's embeddings. Similarities would mean nothing."""

    problem = "was made with another embedder"
    remedy = "Use that embedder, or another memory; `rar export` and `rar import` move texts to a new one."


class RecordError(MemoryStoreError):
    """A record holds what cannot be stored. Nothing of its batch was."""

    problem = "cannot hold a record"
    remedy = "Others can be stored without it."


class SecretError(MemoryStoreError):
    """The memory's key is kept outside its file, and was not given, or another was."""

    problem = "cannot be opened"
    remedy = "Pass the `secret=` it was made with, or set RAR_SECRET."


class DimensionError(MemoryStoreError, ValueError):
    """An embedding has another length than the memory's. Nothing was stored."""

    problem = "holds embeddings of another length"
    remedy = "Use the embedder that the memory was made with."


class ImportFormatError(MemoryStoreError, ValueError):
    """A line of an export cannot be read. Nothing was imported."""

    problem = "could not import"
    remedy = "Nothing was imported; mend or remove the line."


class CopyError(MemoryStoreError):
    """A copy does not hold what it is to be a copy of."""

    problem = "is no copy"
    remedy = "Copy again while nothing writes to either, or into an empty memory."


class UnknownDecisionError(RarError, LookupError):
    """No decision of that id is known: it is too old, or was made with another memory."""

    def __init__(self, decision_id: str) -> None:
        super().__init__(decision_id)
        self.decision_id = decision_id

    def __str__(self) -> str:
        return f"No decision {self.decision_id!r} is known. Use the `decision_id` of a recent response."


class UnknownGuideError(RarError, LookupError):
    """No guide of that id is known."""

    def __init__(self, guide_id: str) -> None:
        super().__init__(guide_id)
        self.guide_id = guide_id

    def __str__(self) -> str:
        return f"No guide {self.guide_id!r} is known. `rar guides list` shows those of a memory."


class GuideRefusedError(RarError, ValueError):
    """A guide is to be approved or added whose text the checks refuse. `guide_id` is empty for one that is added."""

    def __init__(self, guide_id: str, flaw: str) -> None:
        super().__init__(guide_id, flaw)
        self.guide_id, self.flaw = guide_id, flaw

    def __str__(self) -> str:
        if not self.guide_id:
            return (
                f"The guide would be shown to all users of its namespace, and {self.flaw}. A guide has a first line "
                '"Use when: …", two to seven numbered steps that begin with a verb, and a last line "Avoid: …". Mend '
                "it, or pass anyway=True (--anyway) to use it as it is."
            )
        return (
            f"Guide {self.guide_id!r} would be shown to other users, and {self.flaw}. Read it with `rar guides show`; "
            "approve it with --anyway if you want it so."
        )


class LessonFailedError(RarError, RuntimeError):
    """A call that a lesson needs failed before anything was learned. It can be studied again."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"The lesson was not learned: {self.problem}."


class LessonFormatError(RarError, ValueError):
    """A lesson that waited for a worker cannot be read: another version wrote it, or something is wrong with it."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"The lesson cannot be studied here: {self.problem}. A worker of the version that wrote it can."


class OtherModelsError(RarError, ValueError):
    """A lesson is about models that the worker does not have."""

    def __init__(self, role: str, wanted: str, found: str | None) -> None:
        super().__init__(role, wanted, found)
        self.role, self.wanted, self.found = role, wanted, found

    def __str__(self) -> str:
        return (
            f"The lesson is about {self.wanted!r} as {self.role!r}, and the worker has {self.found or 'none'}. "
            "Give it the models of the processes that serve."
        )


class ClosedError(RarError, RuntimeError):
    """The router or memory was closed before."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"This {self.what} is closed. Make a new one."


class EmptyReplyError(RarError, RuntimeError):
    """A model returned neither text nor a tool call."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"The {self.model} model returned neither text nor a tool call."


class UnparsedReplyError(RarError, RuntimeError):
    """A model was asked for structured output and gave none."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"The {self.model} model returned no structured output."


class ModelTimeoutError(RarError, TimeoutError):
    """A model said nothing for longer than `timeout=` allows."""

    def __init__(self, model: str, seconds: float) -> None:
        super().__init__(model, seconds)
        self.model, self.seconds = model, seconds

    def __str__(self) -> str:
        return f"The {self.model} model said nothing for {self.seconds:g} s. A larger `timeout=` gives it more time."


class BudgetExceededError(RarError, RuntimeError):
    """A call would go over a limit: of its request, of a conversation, a namespace or a day.

    Args:
        limit: In words.
        expected_usd, left_usd: What the call would need, and what is left; None of a limit on calls or time.
    """

    def __init__(self, limit: str, expected_usd: float | None = None, left_usd: float | None = None) -> None:
        super().__init__(limit, expected_usd, left_usd)
        self.limit, self.expected_usd, self.left_usd = limit, expected_usd, left_usd

    def __str__(self) -> str:
        if self.expected_usd is None or self.left_usd is None:
            return f"The limit of {self.limit} is used up. Raise it, or ask less of a request."
        return (
            f"A call may cost {self.expected_usd:.6f} USD, and {self.left_usd:.6f} are left of {self.limit}. Raise the "
            "limit, or pass over_limit='cheaper' or 'strong'."
        )


class BudgetError(RarError, RuntimeError):
    """The learning budget is spent. Learning pauses on it; it never reaches a user's call."""


def near_name(name: object, known: Collection[str], alike: float = 0.6) -> str | None:
    """The one of `known` that `name` was probably meant to be. `alike`: from 0 (any) to 1 (equal)."""
    if not isinstance(name, str):
        return None
    found = difflib.get_close_matches(name.lower().replace("-", "_"), list(known), 1, alike)
    return found[0] if found else None


def _did_you_mean(name: object, known: Collection[str]) -> str:
    near = near_name(name, known)
    return "" if near is None else f" Did you mean {near!r}?"
