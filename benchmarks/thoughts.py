"""Tree of Thoughts on the game of 24: recorded searches repeated, and a model that knows all.

First the recorded search of GPT-4: what it proposed and how it valued that is given back, and each step must go on from
the states that were gone on from. Then a model that proposes every legal line and values exactly plays every hand of
four numbers from 1 to 13, within the calls that this takes at most. Last, what was right: quoted figures often count
a puzzle where any of the five answers is right, and a user gets the first.

    RAR_DATA=... python benchmarks/thoughts.py
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

from _data import records, versions
from _game24 import GameOf24, left, moves, numbers_of, solvable

from rar.strategies import TreeOfThoughts
from rar.strategies.thoughts import Node
from rar.values import Answer, Call, Choice, Reply, Request, question

B = 5


def play(strategy: TreeOfThoughts, request: Request, say: Any) -> tuple[Choice, int]:
    """What is decided, and after how many calls, where `say` answers each."""
    steps, made = strategy.steps(request), 0
    try:
        batch = next(steps)
        while True:
            made += len(batch)
            batch = steps.send([Reply(call.model, say(call)) for call in batch])
    except StopIteration as stop:
        return stop.value, made


class Recorded(GameOf24):
    """The recorded search: a prompt is the state itself, and nothing is solved before the last of four steps."""

    def __init__(self) -> None:
        super().__init__(depth=4)

    def proposing(self, request: Request, state: str) -> str:
        return state

    def proposed(self, request: Request, state: str, said: str) -> Sequence[str]:
        return said.split("\x00")[:-1]

    def solved(self, request: Request, state: str) -> bool:
        return False


def repeated(row: dict[str, Any]) -> int:
    """How many of the recorded selections are made again, out of four."""
    following, values = dict[str, list[str]](), dict[str, float]()
    for step in row["tot_steps"]:
        for state in step["ys"]:
            following[state] = [new for new in step["new_ys"] if new.startswith(state)]
        for new, value in zip(step["new_ys"], step["values"], strict=True):
            values.setdefault(new, value)
    seen: list[Node] = []
    strategy = TreeOfThoughts(
        Recorded(), b=B, evaluate=lambda _, state: values[state], max_calls=1_000,
        trace=lambda _, nodes: seen.extend(nodes),
    )  # fmt: skip

    def say(call: Call) -> str:
        assert call.messages is not None
        return "\x00".join([*following[call.messages[0].text], "end"])

    play(strategy, question(row["puzzle"]), say)
    same = 0
    for at, step in enumerate(row["tot_steps"], 1):
        kept = sorted((node for node in seen if node.step == at and node.kept), key=lambda node: -node.value)
        same += [node.state for node in kept] == step["select_new_ys"]
    return same


def knows_all(call: Call) -> str:
    assert call.messages is not None
    prompt = call.messages[0].text
    if call.purpose == "judge":
        numbers = numbers_of(prompt.removeprefix("Can ").partition(" reach")[0])
        return "sure" if solvable(numbers) else "impossible"
    numbers = numbers_of(prompt.removeprefix("Numbers: ").partition(".")[0])
    return "\n".join(line for line, _ in moves(numbers))


def perfect(search: Any, most: int) -> None:
    hands = [hand for hand in combinations_with_replacement(range(1, 14), 4) if solvable(numbers_of(_text(hand)))]
    won, calls = 0, []
    for hand in hands:
        request = question(_text(hand))
        strategy = TreeOfThoughts(GameOf24(), b=B, samples=1, search=search, prune=0.5, max_calls=most)
        choice, made = play(strategy, request, knows_all)
        calls.append(made)
        won += isinstance(choice, Answer) and left(request, f"{choice.reply.text}\n").split() == ["24"]
    verdict = "met" if won == len(hands) and max(calls) <= most else "MISSED"
    mean = sum(calls) / len(calls)
    print(f"a model that knows all, {search}: {won} of {len(hands)} solvable hands solved: {verdict}")
    print(f"  {mean:.0f} calls on average, {max(calls)} at most, {most} allowed")


def _text(hand: Sequence[int]) -> str:
    return " ".join(map(str, hand))


def main() -> None:
    print(versions())
    rows = records("strategies/game24_gpt4.jsonl.gz")
    same, of = sum(repeated(row) for row in rows), 4 * len(rows)
    print(f"recorded selections made again: {same} of {of}: {'met' if same == of else 'MISSED'}")
    # A proposal for each of at most 1 + 5 + 5 states, and a value for each state that these lead to: at most 36 lines
    # of four numbers, 18 of three and 6 of two.
    most = (1 + B + B) + 36 + B * 18 + B * 6
    for search in ("bfs", "dfs"):
        perfect(search, most)
    first, any_of = (sum(rule(row["tot_correct"]) for row in rows) / len(rows) for rule in (lambda r: r[0], any))
    mean = sum(sum(row["cot_correct"]) / len(row["cot_correct"]) for row in rows) / len(rows)
    best = sum(any(row["cot_correct"]) for row in rows) / len(rows)
    print(f"GPT-4 on {len(rows)} puzzles: the first answer is right in {first:.1%}, any of five in {any_of:.1%}")
    print(f"one chain of thought {mean:.1%}, any of a hundred {best:.1%}")


if __name__ == "__main__":
    main()
