"""Beginnings of prompts that providers still have cached, and what a change of model costs by that.

A provider that read a long prompt a moment ago reads its beginning again for less. Another model reads all of it at
full price, so that a cheaper one may cost more than the dear one that knows the conversation.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rar.evidence import Evidence, Standing
from rar.forking import Lock
from rar.ledger import Ledger
from rar.tokens import message_length, sent
from rar.values import STRONG, Call, Decision, Message, Reply

LEAST = 1_024  # tokens from which providers cache
KEPT = 300.0  # seconds that they keep a beginning without use, at least
_MOST = 20_000  # beginnings that are known
_CHARS = 700  # of which no text has LEAST tokens


@dataclass(frozen=True, slots=True)
class Offer:
    """What a call of one model would cost.

    Args:
        usd: Without any cache.
        kept_usd: What the provider's cache takes off.
    """

    usd: float
    kept_usd: float = 0.0


def switching(offers: Mapping[str, Offer], reference: str) -> dict[str, float]:
    """What a switch to each model costs, where 1 is what the cheapest saves while nothing is cached (`Standing.cost`).

    It is what the reference's cache takes off, less what the model's own does. From 1 less its cost on, a model saves
    nothing. Empty where there is nothing to save anyway.
    """
    span = offers[reference].usd - min(offer.usd for offer in offers.values())
    if span <= 0.0:
        return {}
    kept = offers[reference].kept_usd
    return {name: (kept - offer.kept_usd) / span for name, offer in offers.items() if name != reference}


class Prefixes:
    """Which beginnings of prompts were sent to which models of late, by this process. Any thread may use it.

    Only a model whose provider once reported cached tokens counts as one that caches.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._lock = ledger, Lock()
        self._sent: OrderedDict[tuple[bytes, str], float] = OrderedDict()  # when, by beginning and model id
        self._caching: set[str] = set()

    def served(self, decision: Decision, reply: Reply, model_id: str, now: float) -> None:
        """Note what a model has read."""
        if reply.cached:
            return
        if reply.usage.cached_tokens > 0:
            self._caching.add(model_id)
        call = decision.call
        if call.messages is not None or not self._saves(decision.model, model_id):
            return
        # A guide stands in the last message, which the next call sends without it.
        messages = call.request.messages[: -1 if call.guide is not None else None]
        with self._lock:
            for beginning, _ in _beginnings(call.request.namespace, messages):
                self._sent[beginning, model_id] = now
                self._sent.move_to_end((beginning, model_id))
            while len(self._sent) > _MOST:
                self._sent.popitem(last=False)

    def charged(self, evidence: Evidence, call: Call, ids: Mapping[str, str]) -> Evidence:
        """The evidence with what a switch of the model costs.

        Args:
            call: Of the reference.
            ids: The models' own ids by name, the reference among them.
        """
        request, reference = call.request, ids[STRONG]
        if reference not in self._caching or not self._saves(STRONG, reference):
            return evidence
        beginnings = _beginnings(request.namespace, request.messages)
        if not beginnings:
            return evidence
        length = sent(call)
        offers = {}
        for name in (STRONG, *(one.model for one in evidence.standings)):
            offer = self._offer(
                replace(call, model=name), ids[name], length, self._warm(beginnings, [ids[name]], evidence.now)
            )
            if offer is None:
                return evidence
            offers[name] = offer
        costs = switching(offers, STRONG)
        standings = tuple(_charged(one, costs.get(one.model, 0.0)) for one in evidence.standings)
        prefix = self._warm(beginnings, ids.values(), evidence.now)
        missed = prefix - self._warm(beginnings, [reference], evidence.now)
        return replace(evidence, standings=standings, prefix=prefix, missed=missed)

    def _offer(self, call: Call, model_id: str, length: int, warm: int) -> Offer | None:
        rates = self._ledger.prices.rates(call.model, model_id)
        if rates is None:
            return None
        usd, _ = self._ledger.expects(call, model_id, length, call.request.namespace)
        return Offer(usd, warm * (rates.into - rates.cached) / 1e6 if model_id in self._caching else 0.0)

    def _warm(self, beginnings: Sequence[tuple[bytes, int]], ids: Iterable[str], now: float) -> int:
        """Tokens of the longest beginning that one of these models read of late."""
        ids = list(ids)
        for beginning, tokens in reversed(beginnings):
            if any(now - self._sent.get((beginning, id), -KEPT) < KEPT for id in ids):
                return tokens
        return 0

    def _saves(self, role: str, model_id: str) -> bool:
        rates = self._ledger.prices.rates(role, model_id)
        return rates is not None and rates.cached < rates.into


def _charged(standing: Standing, switch: float) -> Standing:
    return replace(standing, cost=min(max(standing.cost + switch, 0.0), 1.0), switch=switch) if switch else standing


def _beginnings(namespace: str, messages: Sequence[Message]) -> list[tuple[bytes, int]]:
    """Digests of what stands before each message's end, with its tokens, where that is long enough to be cached."""
    if sum(len(message.text) for message in messages) < _CHARS:
        return []
    found, tokens = [], 0
    hashed = hashlib.blake2b(namespace.encode("utf-8", "surrogatepass"), digest_size=16)
    for message in messages:
        data = message.text.encode("utf-8", "surrogatepass")
        hashed.update(f"\0{message.role}\0{len(data)}\0".encode())
        hashed.update(data)
        tokens += message_length(message)
        if tokens >= LEAST:
            found.append((hashed.digest(), tokens))
    return found
