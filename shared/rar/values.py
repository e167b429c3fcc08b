"""The engine's values: frozen, shared freely between threads, and free of any framework.

Times are seconds since the epoch, money is USD, similarities are cosines from -1.0 to 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from rar.facts import stamp_of
from rar.replies import CallRecord as CallRecord  # noqa: PLC0414
from rar.replies import Failure as Failure  # noqa: PLC0414 - these belong to the same vocabulary
from rar.replies import Reply as Reply  # noqa: PLC0414
from rar.replies import ToolCall as ToolCall  # noqa: PLC0414
from rar.replies import Usage as Usage  # noqa: PLC0414
from rar.sampling import Sampling as Sampling  # noqa: PLC0414
from rar.stamps import seal

if TYPE_CHECKING:
    from rar.evidence import Evidence, Expected
    from rar.limits import Limits
    from rar.metering import Meter

Vector: TypeAlias = npt.NDArray[np.float32]
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
Purpose: TypeAlias = Literal["serve", "draft", "shadow", "guide", "judge", "audit"]
GuideState: TypeAlias = Literal["candidate", "active", "retired", "quarantined"]

GuideStyle: TypeAlias = Literal["steps", "example"]

WEAK = "weak"
STRONG = "strong"
GUIDE_MODEL = "guide_model"  # the role of a third model that writes guides


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message as the engine sees it.

    `native` is the framework's own object and is sent back untouched; a message that the engine wrote has none.
    `suffix` is text that the engine appends: the plugin sends a *copy* of `native` that ends with it.
    """

    role: Role
    text: str
    native: Any = field(default=None, compare=False, repr=False)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Guide:
    """Steps or a worked example that somebody wrote for a kind of request, and how they fared on the weak model.

    Args:
        embedding: The embedding of the request it was written for, shape `(dim,)`, float32, unit norm.
        author: Id of the model that wrote it; `"person"` of what a person added.
        origin: Id of the experience it was written for; empty where a person said what it is for.
        helpful: Trials in which the weak model agreed with the strong one by its help.
        harmful: Trials in which it did not.
        pinned: A person set its state, which no count moves.
        anyway: A person let it be used although the checks refuse its text.
        style: What it gives: steps, or an example with its steps and its result.
    """

    id: str
    namespace: str
    task: str
    text: str
    embedding: Vector = field(compare=False, repr=False)
    author: str
    origin: str
    state: GuideState = "candidate"
    helpful: int = 0
    harmful: int = 0
    created_at: float = 0.0
    pinned: bool = False
    anyway: bool = False
    style: GuideStyle = "steps"

    @property
    def approved(self) -> bool:
        """Whether a person let it be used."""
        return self.pinned and self.state == "active"


@dataclass(frozen=True, slots=True)
class Origin:
    """Trials made in one context of use (`rar.context`) by one user, both known by keyed digests.

    An empty context is a plain question's; an empty user is not known.
    """

    context: str
    user: str
    ok: int
    bad: int
    last_ok: bool
    at: float


@dataclass(frozen=True, slots=True)
class Tally:
    """How the weak model `weak_id`, with the guide or alone (`guide_id` None), did against `strong_id` on a request."""

    guide_id: str | None
    weak_id: str
    strong_id: str
    ok: int
    bad: int
    last_ok: bool
    at: float
    gap: float | None = None  # sum of the trials' gaps; None: as many as were bad
    weight: float = 1.0  # requests that this one stands for: above 1 where it was judged by chance
    origins: tuple[Origin, ...] = ()  # where the trials were made, a bounded number; none: plain questions, all of them

    @property
    def mean_gap(self) -> float:
        """How much better the strong model's answers were on average, from -1 to 1."""
        return (self.bad if self.gap is None else self.gap) / (self.ok + self.bad)


@dataclass(frozen=True, slots=True)
class Experience:
    """A request that was seen, and what is known about answering it.

    Args:
        id: Keyed hash of namespace, task and text. The same request is one record in every process.
        text: What was asked; None where the memory stores no text.
        signature: Keyed hash of what makes similar requests different ones (`rar.sameness`).
        embedding: Shape `(dim,)`, float32, unit norm. Empty where the reader did not ask for it.
        source: Who wrote it, for example `"langchain"`.
    """

    id: str
    namespace: str
    task: str
    text: str | None
    signature: str
    embedding: Vector = field(compare=False, repr=False)
    tallies: tuple[Tally, ...] = ()
    created_at: float = 0.0
    updated_at: float = 0.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A judged attempt of the weak model: `Memory.write` adds it to an experience's tallies and its guide's counts."""

    experience_id: str
    guide_id: str | None
    weak_id: str
    strong_id: str
    ok: bool
    at: float
    gap: float | None = None  # strong less weak quality, -1 to 1; None: 0 if `ok`, else 1
    weight: float = 1.0  # one over the chance that this answer was judged
    context: str = ""  # label of the context of use
    user: str = ""  # and of the user


@dataclass(frozen=True, slots=True)
class Match:
    """A past experience near a request. `same` says that it is the same request, not merely a similar one."""

    experience: Experience
    similarity: float
    same: bool = False


@dataclass(frozen=True, slots=True)
class GuideMatch:
    """A guide whose origin is near a request."""

    guide: Guide
    similarity: float


class Labelled(Protocol):
    """What can be known again by a keyed label."""

    def label(self, secret: bytes) -> str: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the user, in the engine's words.

    Args:
        messages: At least one.
        key: The user's question, which is what is embedded; None when there is none to be found.
        key_source: Which rung of the plugin's ladder found the key, for example `"last_user_message"`.
        namespace: Tenant or app; nothing learned crosses it.
        task: Form of the answer (`"answer"`, or a fingerprint of tools or schema); nothing learned crosses it either.
        options: The framework's own call arguments. Opaque to the engine, handed back in every `Call`.
        force: Name of the model that the caller insists on.
        sticky: The route of the turn that this call continues (a tool loop keeps its model and guide).
        sticky_guide: Id of that turn's guide, where only the id is known. It is used if it is active in `namespace`.
        learn: False keeps this request out of the memory.
        context: What stands around the question (a `rar.context.Context`); None: nothing does.
        user: Who asks, by any name; kept as a keyed digest only.
        thread: The conversation that it belongs to, by any id, for spending ceilings.
        limits: What it may use; None: what the router was given.
        source: Framework that sent it, for example `"langchain"`.
        arguments: A fingerprint of the call's own arguments, empty where there are none.
        embedding: The key's embedding, once recalled.
        kept: What the strategy found among kept answers, where it looks there (`rar.keeping`).
    """

    messages: tuple[Message, ...]
    key: str | None = None
    key_source: str = "none"
    namespace: str = "default"
    task: str = "answer"
    options: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    force: str | None = None
    sticky: Route | None = None
    sticky_guide: str | None = None
    learn: bool = True
    context: Labelled | None = None
    user: str | None = field(default=None, repr=False)
    thread: str | None = field(default=None, repr=False)
    limits: Limits | None = None
    source: str = ""
    arguments: str = field(default="", repr=False)
    embedding: Vector | None = field(default=None, compare=False, repr=False)
    evidence: Evidence | None = field(default=None, compare=False, repr=False)
    kept: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A model call that a strategy, the learning ladder or a judge wants made.

    Args:
        sampling: Settings of this call alone, which then no cache answers; None: as the user set the model.
        messages: Sent instead of the request's; its tools, schema and other options stay.
    """

    model: str
    request: Request
    guide: Guide | None = None
    purpose: Purpose = "serve"
    sampling: Sampling | None = None
    messages: tuple[Message, ...] | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to answer: a model, alone or with a guide."""

    model: str
    guide: Guide | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A reply that a strategy looked at, of a model that is compared with the reference.

    Args:
        expected: What was expected of it then; None while nothing was learned of drafts.
    """

    reply: Reply
    expected: Expected | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A strategy's decision to pass the call on to `model`, which is not asked yet. So its answer can stream.

    Args:
        confidence: Lower bound of the chance that the weak model is good enough; None where no chance was estimated.
        similarity: Cosine to the experience or guide that decided; None where none did.
        check: Check this answer against the strong model's afterwards.
        instead_of: What was preferred, where the strong answer is served to see what that would have been worth.
        chance: The chance with which `check` or `instead_of` was drawn.
        expected: The expected gap of the weak answer, strong less weak quality.
        needed: What `confidence` was held against; None where nothing was.
        guess: It rests on what similar requests showed, not on this very one.
        again: It rests on what was found of this very request.
        messages: Sent instead of the request's, whose tools, schema and other options stay. What is learned is about
            the request.
        then: Names of the models that are tried if it fails, in this order, before those that are tried anyway.
        drafts: What cheaper models said before: they are judged by the answer, and need not be tried once more.
        spares: It is not worth the price of a trial, so that none is made of any model.
    """

    model: str
    guide: Guide | None = None
    reason: str = ""
    confidence: float | None = None
    similarity: float | None = None
    check: bool = False
    instead_of: Arm | None = None
    chance: float = 0.0
    expected: float | None = None
    needed: float | None = None
    guess: bool = False
    again: bool = False
    messages: tuple[Message, ...] | None = field(default=None, repr=False)
    then: tuple[str, ...] = ()
    drafts: tuple[Draft, ...] = field(default=(), repr=False)
    spares: bool = False

    @property
    def arm(self) -> Arm:
        return Arm(self.model, self.guide)

    @property
    def audit(self) -> bool:
        """Whether what comes of it is to be judged, afterwards or beside it."""
        return self.check or self.instead_of is not None


@dataclass(frozen=True, slots=True)
class Answer:
    """A strategy's decision to give a reply that it already has.

    Args:
        draft: The reply of a model that `reply` was made from, where it is not given as it is.
        by: What its model is taken to be routed to by, where the router's policy is to go on from that.
    """

    reply: Reply
    reason: str = ""
    confidence: float | None = None
    draft: Reply | None = field(default=None, repr=False)
    by: Route | None = field(default=None, repr=False)

    @property
    def needed(self) -> float | None:
        """What `confidence` was held against; None where nothing was."""
        return None if self.by is None else self.by.needed


Choice: TypeAlias = Route | Answer


@dataclass(frozen=True, slots=True)
class Decision:
    """What the router decided for one request, and why. `as_dict` is what users see on every response.

    Args:
        floor: The share of the strong model's quality that the router keeps; None where its policy states none.
        epoch: The memory's, when the decision was made.
        key: Seals what is stamped on responses (`rar.stamps`); None: nothing is sealed.
        seconds: How long the call that serves took, once it is over; of a stream, its reader's time is part of it.
        meter: What the request has used; None where nothing limits it.
        calls: All that were made so far: by the strategy, and those for serving that failed or were refused.
        joined: Requests that one call answered together; None: this one was asked alone.
    """

    id: str
    request: Request
    choice: Choice
    at: float
    drafts: int = 0  # calls that the strategy made before it decided
    failed: tuple[Failure, ...] = ()  # models that were tried for serving and raised
    floor: float | None = None
    epoch: int | None = None
    key: bytes | None = field(default=None, compare=False, repr=False)
    seconds: float | None = field(default=None, compare=False)
    meter: Meter | None = field(default=None, compare=False, repr=False)
    calls: tuple[CallRecord, ...] = field(default=(), compare=False)
    joined: int | None = None

    @property
    def model(self) -> str:
        return self.choice.model if isinstance(self.choice, Route) else self.choice.reply.model

    @property
    def drafted(self) -> list[Reply]:
        """What cheaper models said before one was routed to, where that is to be judged."""
        return [draft.reply for draft in self.choice.drafts] if isinstance(self.choice, Route) else []

    @property
    def route(self) -> Route | None:
        """What was decided as policies see it; None for an answer that follows none."""
        return self.choice if isinstance(self.choice, Route) else self.choice.by

    @property
    def guide(self) -> Guide | None:
        return self.choice.guide if isinstance(self.choice, Route) else None

    @property
    def call(self) -> Call:
        """The call that serves the user; meaningless for an `Answer`, which was already made."""
        messages = self.choice.messages if isinstance(self.choice, Route) else None
        return Call(self.model, self.request, self.guide, messages=messages)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts, with no text of the request or of a guide in them."""
        return stamp_of(self)

    @property
    def seal(self) -> str | None:
        """What proves the facts to be a router's, where a client sends them back; None where there is no key."""
        if self.key is None:
            return None
        facts = {
            "decision_id": self.id, "model": self.model, "guide_id": self.guide.id if self.guide else None,
        }  # fmt: skip
        return seal(self.key, facts, self.request.namespace)


def question(text: str, **fields: Any) -> Request:
    """A request of one user message, keyed by its text: what tests and plain Python callers need."""
    return Request((Message("user", text),), key=text, key_source="given", **fields)


def as_text(messages: Sequence[Message]) -> str:
    """The messages' text, one after the other, for prompts that quote a conversation."""
    return "\n\n".join(f"{message.role}: {message.text}" for message in messages)
