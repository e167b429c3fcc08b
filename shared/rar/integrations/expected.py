"""What calls are expected to cost and to save, reckoned between calls and not within them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from rar.values import STRONG, Decision, Route

if TYPE_CHECKING:
    from rar.router import Router

_MOST = 1_000  # that are kept
_OLD = 60.0  # seconds after which others' calls and new prices count as well

_Key: TypeAlias = tuple[int, str, str, str]  # router, namespace, model, and the strong model's own name


class Expectations:
    """Attributes that say what a call is expected to cost, and the policy that chose it. Any thread may call it."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, tuple[float, Mapping[str, Any]]] = OrderedDict()

    def of(self, router: Router, decision: Decision, now: float) -> Mapping[str, Any]:
        """What was found after the last such call, unless that is long ago."""
        evidence, choice = decision.request.evidence, decision.choice
        if evidence is not None and isinstance(choice, Route):  # as `_key` has it, but calls wait for this
            found = self._known.get((id(router), decision.request.namespace, choice.model, evidence.reference_id))
            if found is not None and abs(now - found[0]) < _OLD:
                return found[1]
        return self.renew(router, decision, now)

    def renew(self, router: Router, decision: Decision, now: float) -> Mapping[str, Any]:
        found = _expected(router, decision)
        self._known[_key(router, decision)] = now, found
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return found

    def forget(self, router: Router) -> None:
        """Drop what is known of another router, which was in the same place before this one."""
        for key in [key for key in list(self._known) if key[0] == id(router)]:
            self._known.pop(key, None)


def strong_id_of(decision: Decision) -> str:
    """The provider's name of the strong model; empty where nothing was looked up."""
    evidence = decision.request.evidence
    return "" if evidence is None else evidence.reference_id


def _key(router: Router, decision: Decision) -> _Key:
    return id(router), decision.request.namespace, decision.model, strong_id_of(decision)


def _expected(router: Router, decision: Decision) -> Mapping[str, Any]:
    ledger, evidence, strong_id = router.ledger, decision.request.evidence, strong_id_of(decision)
    namespace, model, model_id = decision.request.namespace, decision.model, strong_id
    if model != STRONG:
        standing = None if evidence is None else evidence.of(model)
        model_id = "" if standing is None else standing.model_id
    strong = usd = ledger.expected_usd(namespace, model, model_id)
    if model != STRONG:
        strong = ledger.expected_usd(namespace, STRONG, strong_id)
    known = {
        "rar.policy": type(router.policy).__name__,
        "rar.policy.version": router.policy_version,
        "rar.cost.expected_usd": usd,
        "rar.saving.expected_usd": None if usd is None or strong is None else strong - usd,
    }
    return {name: value for name, value in known.items() if value is not None}
