"""Need: an agent that calls tools, without paying the expensive model for every simple tool call.

Shows: a RouterChatModel as the agent's model, and RARMiddleware for an agent whose model object you cannot replace.
A turn stays with the model that began it, for half-done plans do not mix; tool calls are judged by their arguments.

Run: python cookbook/04_agent_with_tools.py
"""

from typing import Any

from _models import LARGE, SMALL, Reply, expect, play, scratch_file, show
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from langchain_rar import RARMiddleware, RouterChatModel


@tool
def stock(product: str) -> str:
    """How many of a product are in stock."""
    return f"{len(product)} {product}s on the shelf"


QUESTION = "How many lamps do we have?"
for name in (SMALL, LARGE):
    play(name, {"on the shelf": "There are four lamps.", QUESTION: Reply(tool_calls=[("stock", {"product": "lamp"})])})


def run(agent: Any) -> list[str]:
    """One turn of the user: the model asks for the tool, is told its result, and answers."""
    messages = agent.invoke({"messages": [("user", QUESTION)]})["messages"]
    answers = [message for message in messages if isinstance(message, AIMessage)]
    for answer in answers:
        show(QUESTION, answer.content or answer.tool_calls[0]["name"] + "(…)", answer.response_metadata["rar"])
    return [answer.response_metadata["rar"]["model"] for answer in answers]


weak, strong = ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE)

print("-- RouterChatModel as the model --")
model = RouterChatModel(weak, strong, memory=scratch_file(), audit_rate=0.0)
agent = create_agent(model, [stock])
expect(run(agent) == ["strong", "strong"])
model.router.flush()
expect(run(agent) == ["weak", "weak"])

print("\n-- RARMiddleware around the model that is there --")
middleware = RARMiddleware(weak, strong, memory=scratch_file(), audit_rate=0.0)
agent = create_agent(strong, [stock], middleware=[middleware])
expect(run(agent) == ["strong", "strong"])
middleware.router.flush()
expect(run(agent) == ["weak", "weak"])
