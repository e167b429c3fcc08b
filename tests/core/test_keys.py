"""The key: one question's own, with as much of the conversation as it needs to mean one thing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar.followups import stands_alone
from rar.keys import Key, known_question, last_question, task_of, with_work
from rar.values import Message

DEPENDENT = [
    "yes", "continue", "why?", "go on", "and the second one?", "the same for Paris", "What about it?", "Explain that.",
    "How many watts has it?", "Can you give me one more?", "What did you mean?", "Is there a cheaper one there?",
    "ja, bitte", "und der zweite?", "Und für Paris?", "Warum ist dieser so teuer?", "weiter", "et pour Lyon ?",
    "Pourquoi cela coûte-t-il si cher ?", "oui", "¿y el segundo?", "sí", "¿Por qué es eso así de caro?", "e a segunda?",
    "How much does that cost?", "Why did that happen in the first place?", "What about the red one there?",
    "How about olive oil instead?", "Could you tell me whether that's allowed?", "Which one of the two?",
    "Make the text shorter, please", "Rewrite the answer in a formal tone", "Add a joke at the end",
    "Remove the last paragraph from the mail", "Give me three more examples", "Tell me more about the first book",
    "Kannst du das bitte kürzen?", "Was ist der Unterschied der beiden?", "¿Cuánto cuesta el que dijiste?",
    "继续", "那第二个呢", "为什么它这么贵？能详细说明一下吗", "続けて", "それはなぜですか教えてください",
]  # fmt: skip
ALONE = [
    "What is the capital of France?",
    "Can I take ibuprofen together with warfarin?",
    "Write a poem about spring in Japanese",
    "Is it possible to run Postgres on a Raspberry Pi?",
    "What happened to the company that the board sold in 2019?",
    "I want to know how one resets a valve",
    "Which oil should I use instead of butter?",
    "The problem is that my car won't start. What can I do?",
    "Translate the following text into French: I am a lamp",
    "How do I add a column to the table in Postgres?",
    "Wie viele Einwohner hat die Stadt Berlin?",
    "Combien d'habitants vivent dans la ville de Lyon ?",
    "法国的首都是哪里？请简单回答",
]


@pytest.mark.parametrize("turn", DEPENDENT)
def test_a_turn_that_points_back_does_not_stand_alone(turn: str) -> None:
    assert not stands_alone(turn)


@pytest.mark.parametrize("turn", ALONE)
def test_a_whole_question_stands_alone(turn: str) -> None:
    assert stands_alone(turn)


def test_what_answers_a_question_of_the_assistants_does_not_stand_alone() -> None:
    turn = "We run PostgreSQL 15 on Kubernetes with the Zalando operator"

    assert not stands_alone(turn, "Which database do you use?")
    assert stands_alone(turn, "Hello! How can I help you today?")
    assert stands_alone(f"{turn}, how do I upgrade?", "Which database do you use?")


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str) -> Message:
    return Message("assistant", text)


def key_of(*messages: Message) -> str:
    text = last_question(messages).text
    assert text is not None
    return text


def test_a_whole_question_is_the_same_in_every_conversation() -> None:
    first = last_question([user("Hi"), assistant("Hello."), user(ALONE[0])])

    assert first == last_question([user(ALONE[0])]) == Key(ALONE[0], "last_user_message")


def test_a_short_turn_brings_both_sides_of_the_conversation() -> None:
    key = last_question([user("What is a lumo?"), assistant("A lamp of 7 W."), user("And the Luma?")])

    assert key.source == "last_user_message+history"
    assert key.text is not None
    assert key.text.startswith("What is a lumo?\nA lamp of 7 W.\nAnd the Luma?\n[conversation ")


def test_a_row_of_short_turns_brings_what_they_are_about() -> None:
    key = key_of(user(ALONE[1]), assistant("No."), user("Why?"), assistant("It bleeds."), user("And with food?"))

    assert key.startswith(f"{ALONE[1]}\nWhy?\nIt bleeds.\nAnd with food?")


_turns = st.lists(st.text(alphabet="ab x", min_size=1, max_size=5).map(str.strip).filter(bool), min_size=2, max_size=5)


@given(_turns, _turns, st.sampled_from(DEPENDENT))
def test_two_conversations_never_share_a_key(one: list[str], other: list[str], turn: str) -> None:
    def told(texts: list[str]) -> list[Message]:
        return [assistant(text) if at % 2 else user(text) for at, text in enumerate(texts)]

    assert (key_of(*told(one), user(turn)) == key_of(*told(other), user(turn))) == (one == other)


def test_not_even_where_they_differ_only_in_what_is_not_quoted() -> None:
    shared = "x" * 5_000

    keys = [key_of(user(f"{shared}{middle}{shared}"), assistant("OK"), user("yes")) for middle in ("left", "right")]

    assert keys[0] != keys[1]
    assert max(map(len, keys)) < 1_000


def test_the_key_of_a_short_turn_is_bounded() -> None:
    long = [user("word " * 20_000), assistant("word " * 20_000)] * 20

    assert len(key_of(*long, user("yes"))) < 1_000


@dataclass(frozen=True)
class Picture:
    digest: str


def attached(message: Message) -> str:
    return message.native.digest if isinstance(message.native, Picture) else ""


def test_a_turn_of_an_image_alone_has_no_key() -> None:
    turns = [user("Write code"), assistant("Of what?"), Message("user", "", Picture("aa"))]

    assert last_question(turns, attached) == Key(None, "none")


def test_the_same_words_about_another_image_are_another_key() -> None:
    keys = [
        last_question([Message("user", "What is this?", Picture(name))], attached).text for name in ("aa", "bb", "aa")
    ]

    assert keys[0] == keys[2] == "What is this?\n[attached aa]"
    assert keys[0] != keys[1]


def test_a_question_on_an_earlier_image_is_about_that_one() -> None:
    def asked(name: str) -> str | None:
        turns = [
            Message("user", "Look", Picture(name)),
            assistant("Yes."),
            user("Which colour has the car in the picture?"),
        ]
        return last_question(turns, attached).text

    assert asked("aa") == asked("aa") != asked("bb")


def test_two_chains_that_do_different_things_with_a_question_have_different_work() -> None:
    rephrasing = [Message("system", "Rephrase so that it stands alone."), user(ALONE[0])]
    answering = [Message("system", "You are a helper. Today is Monday."), user(ALONE[0])]

    assert last_question(rephrasing) == Key(ALONE[0], "last_user_message", "rephrase")
    assert last_question(answering) == last_question([user(ALONE[0])])


@pytest.mark.parametrize(
    "own", ["Translate this to French: the lamp is on.", "Summarise the following article: It rains."]
)
def test_users_own_orders_are_their_question(own: str) -> None:
    assert last_question([Message("system", "You are helpful."), user(own)]) == Key(own, "last_user_message")
    assert known_question(Key(own, "given"), [user(own)]).work == "answer"


def test_a_template_behind_the_users_words_is_an_instruction() -> None:
    order = "Given the above conversation, generate a search query to look up."
    keys = [last_question([user(question), user(order)]) for question in ALONE[:2]]

    assert {key.work for key in keys} == {"rephrase"}
    assert keys[0].text != keys[1].text


def test_a_known_question_has_the_work_of_what_stands_around_it() -> None:
    prompt = user(f"Break the question down into sub-questions.\n\n{ALONE[0]}")

    assert known_question(Key(ALONE[0], "recorded"), [prompt]) == Key(ALONE[0], "recorded", "decompose")
    summary = user("Write a concise summary of the following:\n\nA page.")
    assert known_question(Key(ALONE[0], "recorded"), [summary]).work == "summarise"


def test_a_draft_and_new_material_are_about_the_question_before() -> None:
    turns = [
        user(ALONE[0]),
        assistant("Lyon"),
        user("Refine the existing answer with more context.\n----\nParis is the capital.\n----"),
    ]

    assert last_question(turns) == Key(ALONE[0], "template")


@pytest.mark.parametrize(
    "template",
    [
        "Rephrase the question.\n\nChat History:\n{history}\nFollow Up Input: {turn}\nStandalone question:",
        "A friendly conversation.\n\nCurrent conversation:\n{history}\nHuman: {turn}\nAI:",
        "Rephrase it.\n<chat_history>\n{history}\n</chat_history>\n\nQuestion: {turn}\nStandalone question:",
    ],
)
def test_a_short_turn_in_a_template_brings_its_history(template: str) -> None:
    def key(history: str, turn: str) -> Key:
        return last_question([user(template.format(history=history, turn=turn))])

    lumo, luma = (key(f"Human: What is a {lamp}?\nAI: A lamp.", "And how dear?") for lamp in ("Lumo", "Luma"))

    assert lumo.text != luma.text
    assert lumo.source == "template+history"
    assert "And how dear?" in str(lumo.text)
    assert key("Human: Hi\nAI: Hello.", ALONE[0]).text == key("", ALONE[0]).text == ALONE[0]


def test_a_short_turn_that_is_known_from_elsewhere_brings_its_conversation_unless_it_is_given() -> None:
    said = [[user(question), assistant("Yes."), user("Why?")] for question in ALONE[:2]]

    assert len({known_question(Key("Why?", "recorded"), turns, attached).text for turns in said}) == 2
    assert {known_question(Key("Why?", "given"), turns).text for turns in said} == {"Why?"}


def test_tasks_say_work_and_form() -> None:
    schema = task_of(schema={"title": "A"})

    assert task_of() == "answer"
    assert task_of(work="rephrase") == "rephrase"
    assert task_of(schema={"title": "A"}, work="rephrase") == f"rephrase/{schema}"
    assert task_of(tools=["a"], schema={"title": "A"}) == f"{task_of(tools=['a'])}/{schema}"
    assert with_work(schema, "answer") == schema


def test_tasks_are_the_same_in_every_process() -> None:
    program = (
        "from rar.keys import task_of\n"
        "class A: ...\n"
        "def f(): ...\n"
        "print(task_of(schema={'a': {1, 2}, 'b': A, 'c': A(), 'd': f, 3: (None, 1.5)}, tools=[f, A]))"
    )
    runs = {subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in range(2)}

    assert len(runs) == 1
