"""The game of 24 as a task of thoughts: join two numbers by an operation, three times, so that 24 is left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import combinations

from rar.answers import question_of
from rar.strategies.thoughts import VALUES
from rar.values import Request

_LEFT = re.compile(r"\(left: ([^)]*)\)")
Numbers = tuple[Fraction, ...]


class GameOf24:
    """States are the lines so far, each with the numbers that are left, as in the paper's own records."""

    def __init__(self, depth: int = 3) -> None:
        self.depth = depth

    def start(self, request: Request) -> str | None:
        return "" if len(question_of(request).split()) == 4 else None

    def proposing(self, request: Request, state: str) -> str:
        return (
            f"Numbers: {left(request, state)}. Join two of them by + - * /. List next lines as 'a + b = c (left: …)'."
        )

    def proposed(self, request: Request, state: str, said: str) -> Sequence[str]:
        return [f"{state}{line.strip()}\n" for line in said.splitlines() if line.strip()]

    def valuing(self, request: Request, state: str) -> str:
        return f"Can {left(request, state)} reach 24? Answer sure, likely or impossible."

    def value(self, said: Sequence[str]) -> float:
        return sum(VALUES.get(text.split()[-1], 0.0) for text in said if text.strip())

    def solved(self, request: Request, state: str) -> bool:
        return left(request, state).split() == ["24"]

    def answer(self, request: Request, state: str) -> str:
        return state.strip()


def left(request: Request, state: str) -> str:
    found = _LEFT.findall(state)
    return str(found[-1]) if found else question_of(request)


def moves(numbers: Numbers) -> list[tuple[str, Numbers]]:
    """All legal lines, and what is left after each."""
    found: dict[str, Numbers] = {}
    for one, other in combinations(range(len(numbers)), 2):
        rest = [n for at, n in enumerate(numbers) if at not in {one, other}]
        for (a, b), sign in [((one, other), "+"), ((one, other), "*")] + [
            (pair, sign) for pair in ((one, other), (other, one)) for sign in "-/"
        ]:
            x, y = numbers[a], numbers[b]
            if sign == "/" and y == 0:
                continue
            result = {"+": x + y, "-": x - y, "*": x * y, "/": x / y if y else x}[sign]
            after = tuple(sorted([*rest, result]))
            found[f"{x} {sign} {y} = {result} (left: {' '.join(map(str, after))})"] = after
    return list(found.items())


@cache
def solvable(numbers: Numbers) -> bool:
    if len(numbers) == 1:
        return numbers[0] == 24
    return any(solvable(after) for _, after in moves(numbers))


def numbers_of(text: str) -> Numbers:
    return tuple(sorted(Fraction(number) for number in text.split()))
