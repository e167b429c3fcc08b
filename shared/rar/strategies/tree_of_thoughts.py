"""Tree of Thoughts: a model proposes next steps, values where they lead, and goes on with the best (2305.10601)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from rar.answers import find_number, said
from rar.errors import ConfigurationError
from rar.keys import has_form
from rar.naming import fields_repr, shown
from rar.options import COUNT, Name, Number, named_arguments
from rar.sampling import FRESH
from rar.strategies.thoughts import Node, Task, best
from rar.strategy import Outcome, Steps, ask_all
from rar.values import STRONG, WEAK, Answer, Call, Choice, Message, Purpose, Reply, Request, Route, Sampling

Evaluate: TypeAlias = Literal["value", "vote"] | Callable[[Request, str], float]
_VOTE = """\
Below are several attempts at the same problem, which may be unfinished. Compare how far each leads to a right answer. \
End with the number of the most promising one."""


@named_arguments
@dataclass(frozen=True)
class TreeOfThoughts:
    """Search for an answer through partial solutions, of which the model proposes next ones and values them.

    Where the calls are used up, the best solution so far is the answer. Without any, the strong model answers. Requests
    with tools or a schema, and those that are no such problem, go to `model` as they are.

    Args:
        task: What states are and how they are asked about, such as a `PromptTask`.
        b: How many states are gone on from: at each step (`"bfs"`), or from each state (`"dfs"`).
        evaluate: `"value"` asks about each state by itself, `"vote"` asks which is the best of all; a function of a
            request and a state asks nobody.
        samples: How often each question about states is asked.
        search: `"bfs"` goes on from the best states of a step together; `"dfs"` follows the best one and comes back.
        max_calls: Of proposals and evaluations, for one request.
        prune: States valued at most this are not gone on from; None: any may be.
        trace: Told the request and all states of the search when it is over.
    """

    task: Task
    model: str = WEAK
    b: int = 5
    evaluate: Evaluate = "value"
    samples: int = 3
    search: Literal["bfs", "dfs"] = "bfs"
    max_calls: int = 100
    prune: float | None = None
    sampling: Sampling = FRESH
    trace: Callable[[Request, Sequence[Node]], None] | None = None

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task) or isinstance(self.task, type):
            raise ConfigurationError(f"task={shown(self.task)} is no task. Pass one, such as PromptTask().")
        for name in ("b", "samples", "max_calls"):
            COUNT(name, getattr(self, name))
        Number(optional=True)("prune", self.prune)
        Name(("bfs", "dfs"))("search", self.search)
        if not callable(self.evaluate):
            Name(("value", "vote"))("evaluate", self.evaluate)

    @property
    def models(self) -> Sequence[str]:
        return (self.model, STRONG)

    def steps(self, request: Request) -> Steps[Choice]:
        start = None if has_form(request.task) else self.task.start(request)
        if start is None:
            return Route(self.model, reason="no_search")
        tree = _Tree(self, request)
        yield from tree.broad(start) if self.search == "bfs" else tree.deep(start, 0)
        if self.trace is not None:
            self.trace(request, tuple(tree.nodes))
        found = tree.solution()
        if found is None:
            return Route(STRONG, reason="no_solution")
        draft = tree.drafts[found.state]
        text = self.task.answer(request, found.state)
        return Answer(replace(draft, text=text, native=None), "thoughts", draft=draft)


@dataclass
class _Tree:
    """One search. Lives as long as its request."""

    rules: TreeOfThoughts
    request: Request
    calls: int = 0
    nodes: list[Node] = field(default_factory=list)
    drafts: dict[str, Reply] = field(default_factory=dict)  # what first proposed each state
    known: dict[str, float] = field(default_factory=dict)  # values by prompt

    def broad(self, start: str) -> Steps[None]:
        frontier = [start]
        for step in range(1, self.rules.task.depth + 1):
            nodes = yield from self.expand(frontier, step)
            if not nodes:
                return
            frontier = [node.state for node in nodes if node.kept]
            if all(self.rules.task.solved(self.request, state) for state in frontier):
                return

    def deep(self, state: str, step: int) -> Steps[bool]:
        """Whether a solution was found from this state on, which ends the search."""
        nodes = yield from self.expand([state], step + 1)
        for node in sorted((node for node in nodes if node.kept), key=lambda node: -node.value):
            if self.is_solution(node):
                return True
            if self.left > 0 and (yield from self.deep(node.state, step + 1)):
                return True
        return False

    def expand(self, states: Sequence[str], step: int) -> Steps[list[Node]]:
        """The states that follow these, valued, the best `b` marked as kept; none where the calls are used up."""
        task, parents = self.rules.task, list[tuple[str, str]]()
        open_ = [state for state in states if not task.solved(self.request, state)]
        outcomes = yield from self.ask([task.proposing(self.request, state) for state in open_], "draft")
        replies = dict(zip(open_, outcomes, strict=False))  # of as many as there were calls for
        for state in states:
            reply = replies.get(state)
            if task.solved(self.request, state):
                parents.append((state, state))
            elif isinstance(reply, Reply):
                for following in task.proposed(self.request, state, said(reply)):
                    parents.append((following, state))
                    self.drafts.setdefault(following, reply)
        values = yield from self.valued([following for following, _ in parents])
        places = best(values, self.rules.b)
        kept = {at for at in places if self.rules.prune is None or values[at] > self.rules.prune}
        found = [
            Node(step, following, parent, values[at], at in kept) for at, (following, parent) in enumerate(parents)
        ]
        self.nodes += found
        return [found[at] for at in places] if found else []

    def valued(self, states: Sequence[str]) -> Steps[list[float]]:
        """A value for each state; 0 of one that is there already."""
        if callable(self.rules.evaluate):
            values = [self.rules.evaluate(self.request, state) for state in states]
        elif self.rules.evaluate == "vote":
            values = yield from self.voted(states)
        else:
            values = yield from self.asked_about(states)
        return [value if states.index(states[at]) == at else 0.0 for at, value in enumerate(values)]

    def asked_about(self, states: Sequence[str]) -> Steps[list[float]]:
        prompts = [self.rules.task.valuing(self.request, state) for state in states]
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.known]
        new = new[: self.left // self.rules.samples]
        outcomes = yield from self.ask([prompt for prompt in new for _ in range(self.rules.samples)], "judge")
        for at, prompt in enumerate(new):
            mine = outcomes[at * self.rules.samples : (at + 1) * self.rules.samples]
            self.known[prompt] = self.rules.task.value([said(one) for one in mine if isinstance(one, Reply)])
        return [self.known.get(prompt, 0.0) for prompt in prompts]

    def voted(self, states: Sequence[str]) -> Steps[list[float]]:
        if len(states) < 2:
            return [1.0] * len(states)
        listed = "\n\n".join(f"Attempt {n}:\n{state.strip()}" for n, state in enumerate(states, 1))
        problem = self.rules.task.proposing(self.request, "").strip()
        outcomes = yield from self.ask([f"{problem}\n\n{_VOTE}\n\n{listed}"] * self.rules.samples, "judge")
        named = (find_number(said(one)) for one in outcomes if isinstance(one, Reply))
        votes = Counter(int(number.value) for number in named if number is not None)
        return [float(votes[n]) for n in range(1, len(states) + 1)]

    def ask(self, prompts: Sequence[str], purpose: Purpose) -> Steps[list[Outcome]]:
        """The outcomes of as many prompts as there are calls left for."""
        asked = prompts[: self.left]
        self.calls += len(asked)
        sampling, model = self.rules.sampling, self.rules.model
        calls = [Call(model, self.request, None, purpose, sampling, (Message("user", prompt),)) for prompt in asked]
        return (yield from ask_all(calls)) if calls else []

    @property
    def left(self) -> int:
        return self.rules.max_calls - self.calls

    def is_solution(self, node: Node) -> bool:
        return node.step >= self.rules.task.depth or self.rules.task.solved(self.request, node.state)

    def solution(self) -> Node | None:
        """The best solution: a stated answer before none, of the last step, by value, equals in their order."""

        def merit(node: Node) -> tuple[bool, int, float]:
            return self.rules.task.solved(self.request, node.state), node.step, node.value

        return max((node for node in self.nodes if node.kept and self.is_solution(node)), key=merit, default=None)
