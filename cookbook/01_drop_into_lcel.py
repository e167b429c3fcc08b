"""Need: an LCEL chain on an expensive model, most of whose questions a cheap model could answer.

Shows: replace the model object, change nothing else. The first time a question comes, the strong model answers and the
weak one is tried in the background; once it was seen to agree, it answers.

Run: python cookbook/01_drop_into_lcel.py
"""

from _models import LARGE, SMALL, expect, play, scratch_file, show, show_savings
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from langchain_rar import RouterChatModel

RIVER, POET = "Which river flows through Paris?", "Which poet wrote the Iliad?"
play(LARGE, {RIVER: "The Seine.", POET: "Homer."})
play(SMALL, {RIVER: "It is the Seine.", POET: "I believe it was Virgil."})

model = RouterChatModel(
    weak=ChatOpenAI(model=SMALL),
    strong=ChatOpenAI(model=LARGE),  # the model that was here before
    memory=scratch_file(),
    audit_rate=0.0,  # so that every run prints the same; leave it out to keep weak answers under watch
)
prompt = ChatPromptTemplate.from_messages([("system", "Answer in one sentence."), ("user", "{question}")])
chain = prompt | model


def ask(question: str) -> str:
    message = chain.invoke({"question": question})
    show(question, message.content, message.response_metadata["rar"])
    return message.response_metadata["rar"]["model"]


first = ask(RIVER), ask(POET)
model.router.flush()  # a recipe waits for what is learned in the background; your program does not have to
print("\n-- again, after learning --")
second = ask(RIVER), ask(POET)

expect(first == ("strong", "strong"))
expect(second == ("weak", "strong"))  # it learned whom to trust with what

# Streams, batches and async need nothing special.
print("\nstreamed:", "".join(chunk.content for chunk in chain.stream({"question": RIVER})))
chain.batch([{"question": RIVER}] * 30)
show_savings(model.router)  # it looked for ways to have the poet answered cheaply too: that cost is counted

# One call can be steered, here to the strong model.
forced = chain.invoke({"question": RIVER}, config={"configurable": {"rar_force": "strong"}})
print("forced:", forced.content, forced.response_metadata["rar"]["model"])
