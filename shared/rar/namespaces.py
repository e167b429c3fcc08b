"""What a namespace has come to: its money, its floor, its budgets, and its models' drift. Reads a memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rar.ledger import Ledger
from rar.memory.base import AGAIN, ALARM, Memory, PolicyState, Spend, state_of
from rar.savings import Savings, savings
from rar.values import GUIDE_MODEL, STRONG


@dataclass(frozen=True, slots=True)
class ModelStats:
    """What is known of a cheaper model in one namespace.

    Args:
        drift: How near the alarm is that it changed under its name, from 0 to 1.
        changed: When it last changed so, seconds since the epoch; 0 if it never did.
    """

    audits: int
    errors: int
    drift: float
    changed: float


@dataclass(frozen=True, slots=True)
class NamespaceStats:
    """One namespace of a router.

    Args:
        floor: The share of the strong model's quality to keep; None where the policy states none.
        threshold: What confidence is held against; None before it has moved.
        budget_left: The part of each learning budget that is left, from 0 to 1; none of what has no limit, or earned
            nothing yet.
        models: Cheaper models by id.
    """

    savings: Savings
    floor: float | None
    threshold: float | None
    budget_left: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, ModelStats] = field(default_factory=dict)


def namespace_stats(
    memory: Memory, name: str, spending: Sequence[Spend], ledger: Ledger, floor: float | None, now: float
) -> NamespaceStats:
    """Look at `name`.

    Args:
        spending: Of this namespace alone.
    """
    cheaper = {spend.model_id for spend in spending if spend.role not in (STRONG, GUIDE_MODEL)}
    return NamespaceStats(
        savings(spending, ledger.prices),
        floor,
        memory.policy_state(name).threshold,
        ledger.budgets_left(name, now),
        {id: _model(memory.policy_state(name, id)) for id in sorted(cheaper) if id},
    )


def _model(state: PolicyState) -> ModelStats:
    return ModelStats(state.audits, state.errors, min(state.drift / ALARM, 1.0), state.since)


def whole_state(memory: Memory, namespace: str) -> PolicyState:
    """A namespace's own state, with the audits of repeats among its audits."""
    new, again = (memory.policy_state(namespace, state_of("", kind)) for kind in ("", AGAIN))
    return replace(new, audits=new.audits + again.audits, errors=new.errors + again.errors)
