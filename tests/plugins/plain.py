"""A plugin for models that are plain functions, as the guide to plugins builds it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from functools import partial

from typing_extensions import Unpack

from rar import Answer, Reply, Router
from rar.injection import messages_of
from rar.options import RouterOptions
from rar.turn import Attempt, Target, Turn
from rar.values import Call, question

Writer = Callable[[Sequence[str]], Iterator[str]]  # from the messages' texts to the answer, piece by piece


def to_native(call: Call) -> list[str]:
    """What a call sends: a guide, if there is one, stands after the question."""
    return [message.text + message.suffix for message in messages_of(call)]


class Port:
    """A writer as the engine calls it: for drafts and for learning, seen by nobody."""

    def __init__(self, role: str, writer: Writer) -> None:
        self.role, self.writer, self.id = role, writer, writer.__name__

    def call(self, call: Call) -> Reply:
        return Reply(self.role, "".join(self.writer(to_native(call))), model_id=self.id)

    async def acall(self, call: Call) -> Reply:
        return self.call(call)


class WriterTarget(Target):
    """The chosen writer as the user's call reaches it."""

    def __init__(self, ports: Mapping[str, Port], attempt: Attempt) -> None:
        super().__init__(attempt)
        self.port = ports[self.decision.model]

    def chunks(self) -> Iterator[str]:
        if isinstance(self.decision.choice, Answer):  # a draft was accepted: it is played back
            return iter([self.decision.choice.reply.text])
        return self.port.writer(to_native(self.decision.call))

    async def achunks(self) -> AsyncGenerator[str, None]:
        return _as_async(self.chunks())

    def call(self) -> str:
        return "".join(self.chunks())

    def whole(self, chunks: list[str]) -> str:
        return "".join(chunks)

    def reply(self, output: str) -> Reply:
        return Reply(self.decision.model, output, model_id=self.port.id)


async def _as_async(chunks: Iterator[str]) -> AsyncGenerator[str, None]:
    for chunk in chunks:
        yield chunk


class PlainRouter:
    """Routes questions between two writers, and learns which is good enough."""

    def __init__(self, weak: Writer, strong: Writer, **options: Unpack[RouterOptions]) -> None:
        self.ports = {"weak": Port("weak", weak), "strong": Port("strong", strong)}
        self.router, self.target = Router(**options), partial(WriterTarget, self.ports)

    def ask(self, text: str) -> str:
        return "".join(self.stream(text))

    async def aask(self, text: str) -> str:
        turn = Turn(self.router, await self.router.adecide(question(text), self.ports))
        output: str = await turn.awhole(self.target)
        await self.router.alearn(turn.decision, turn.target.reply(output), self.ports)
        return output

    def batch(self, texts: Sequence[str]) -> list[str]:
        return [self.ask(text) for text in texts]

    def stream(self, text: str) -> Generator[str, None, None]:
        turn, passed = Turn(self.router, self.router.decide(question(text), self.ports)), list[str]()
        for chunk in turn.stream(self.target):
            passed.append(chunk)
            yield chunk
        self.router.learn(turn.decision, turn.target.reply("".join(passed)), self.ports)

    async def astream(self, text: str) -> AsyncGenerator[str, None]:
        turn, passed = Turn(self.router, await self.router.adecide(question(text), self.ports)), list[str]()
        async for chunk in turn.astream(self.target):
            passed.append(chunk)
            yield chunk
        await self.router.alearn(turn.decision, turn.target.reply("".join(passed)), self.ports)
