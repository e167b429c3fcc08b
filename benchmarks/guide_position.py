"""Does a guide help as much in the user's message as it would in the system message?

40 questions of four kinds that nobody can answer untold, asked to the local 0.5B
model: without a guide, with a helpful one in the system message, and with the same one as a note in the user's message,
which is what `rar.injection` does. Greedy decoding; an answer is right if it holds the number that the guide tells.

    python benchmarks/guide_position.py [--questions 40] [--model weak] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
from openai import OpenAI

from rar.injection import messages_of, render
from rar.local.server import LocalServer
from rar.values import Call, Guide, Message, Request

# A question, and the step of a guide that tells what nobody can know untold: `{n}` is drawn anew for each question.
KINDS = (
    (
        "What does the port of {name} charge for a day at its quay, in euros?",
        "Recall that a day at a quay costs {n} euros.",
    ),
    ("For how many days does the library of {name} lend a book?", "Recall that books are lent for {n} days."),
    ("How many points is a stone worth in the game {name}?", "Recall that each stone counts {n} points."),
    ("How many baskets does a tree yield in the orchard of {name}?", "Recall that a tree yields {n} baskets."),
)
NAMES = ("Lund", "Ahl", "Tarn", "Vale", "Orrin", "Keld", "Sund", "Brae", "Fenn", "Holm")
GUIDE = "Use when: {kind}\n1. Read what is asked for.\n2. {fact}\n3. Answer with that number.\nAvoid: guessing."
SYSTEM = Message("system", "You answer questions briefly.")
POSITIONS = ("no guide", "system message", "user's message")


def asked(text: str, guide: str, position: str) -> list[dict[str, str]]:
    note = Guide("g", "default", "answer", guide, np.zeros(0, np.float32), "", "", "active")
    request = Request((SYSTEM, Message("user", text)))
    messages = messages_of(Call("weak", request, None if position != "user's message" else note))
    if position == "system message":
        messages = (replace(SYSTEM, suffix=f"\n\n{render(note)}"), *messages[1:])
    return [{"role": message.role, "content": message.text + message.suffix} for message in messages]


def questions(count: int, chance: random.Random) -> list[tuple[str, str, int]]:
    """Question, guide and right number."""
    found = []
    for at in range(count):
        template, fact = KINDS[at % len(KINDS)]
        number = chance.randint(11, 99)
        guide = GUIDE.format(kind="a question of this kind is asked.", fact=fact.format(n=number))
        found.append((template.format(name=chance.choice(NAMES)), guide, number))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--model", choices=("weak", "tiny"), default="weak")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    right = Counter[str]()
    chosen = questions(args.questions, random.Random(args.seed))
    with LocalServer(args.model) as server:
        client = OpenAI(base_url=server.url, api_key="local", timeout=600.0)
        for text, guide, number in chosen:
            for position in POSITIONS:
                answer = client.chat.completions.create(
                    model=args.model,
                    messages=asked(text, guide, position),  # type: ignore[arg-type]
                    max_tokens=24,
                    temperature=0.0,
                    seed=1,
                )
                right[position] += str(number) in (answer.choices[0].message.content or "")
    if args.json:
        json.dump({"questions": args.questions, "right": dict(right)}, sys.stdout)
        return
    for position in POSITIONS:
        print(f"{position:<16} {right[position]:>3} of {args.questions}")


if __name__ == "__main__":
    main()
