"""Need: some questions must not leave the house, and what is remembered must not become a second copy of user data.

Shows: a local weak model with `rar_force="weak"` for what is confidential (no failover, no audit, no learning: the
strong model never sees it); `redact=` for names and numbers; `store_text=False` for a memory without questions.

Run: python cookbook/06_privacy.py
"""

import re
from pathlib import Path

from _models import LARGE, LOCAL, LOCAL_URL, called, expect, play, scratch_file, show
from langchain_openai import ChatOpenAI

from langchain_rar import RouterChatModel

SECRET, MAIL = "Summarise the diagnosis of patient 4711.", "Write to anna@example.com that her lamp has shipped."
play(LOCAL, {"diagnosis": "A broken wrist.", "lamp": "Your lamp has shipped."})
play(LARGE, {"lamp": "Your lamp has shipped."})


def without_mails(text: str) -> str:
    """Every question and guide goes through this before it is embedded or stored."""
    return re.sub(r"\S+@\S+", "[mail]", text)


path = scratch_file()
model = RouterChatModel(
    weak=ChatOpenAI(model=LOCAL, base_url=LOCAL_URL),  # Ollama, vLLM, llama.cpp: whatever speaks this protocol
    strong=ChatOpenAI(model=LARGE),
    memory=path,
    redact=without_mails,
    store_text=False,
    audit_rate=0.0,
)

# 1. Confidential: only the local model is asked, now and in the background.
message = model.invoke(SECRET, rar_force="weak")
show(SECRET, message.content, message.response_metadata["rar"])
model.router.flush()
expect(called(LARGE) == 0)
print("        calls that left the house:", called(LARGE))

# 2. Not confidential, but not to be kept either: routed and learned, under a redacted key.
for _ in range(2):
    message = model.invoke(MAIL)
    show(MAIL, message.content, message.response_metadata["rar"])
    model.router.flush()
expect(message.response_metadata["rar"]["model"] == "weak")

# 3. What the file holds: embeddings, keyed hashes, counts. `*.db-wal` is SQLite's log beside it.
model.router.close()
stored = b"".join(file.read_bytes() for file in Path(path).parent.iterdir())
for word in (b"4711", b"anna@example.com", b"shipped"):
    expect(word not in stored)
    print(f"        {word.decode()!r} in the memory file: {word in stored}")

# Redaction concerns the memory: the model that answers is sent the question as it is. Of a call with `rar_learn=False`
# only its cost and its decision are kept, without the question. `rar delete rar.db --namespace NAME` forgets a tenant.
