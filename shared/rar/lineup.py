"""Which models take part in a decision: their ids, their order, and the floor that they are to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rar import order
from rar.drive import Models
from rar.evidence import Standing
from rar.ledger import Ledger
from rar.models import check_pair
from rar.notices import Notices
from rar.order import CostOrder
from rar.strategy import Strategy, check_models, drafters, keeps_floor
from rar.values import STRONG, WEAK


@dataclass(frozen=True)
class Floors:
    """The shares of the strong model's quality to keep.

    Args:
        usual: None where the policy states none.
        named: Those of single namespaces.
    """

    usual: float | None
    named: Mapping[str, float]

    def of(self, namespace: str | None) -> float | None:
        return self.usual if namespace is None else self.named.get(namespace, self.usual)

    def kept(self, namespace: str) -> float:
        """The share to keep in a namespace: all where none is stated."""
        floor = self.of(namespace)
        return 1.0 if floor is None else floor


class Lineup:
    """The models of a router's decisions. Any thread may use it.

    Args:
        weak_id, strong_id: Ids to use in place of the models' own.
    """

    def __init__(
        self, weak_id: str | None, strong_id: str | None, strategy: Strategy, ledger: Ledger, notices: Notices
    ) -> None:
        self._weak_id, self._strong_id, self._strategy = weak_id, strong_id, strategy
        self._prices, self._tell, self._order = ledger.prices, notices, CostOrder(ledger)
        # Whether the strategy chooses by what is learned of models: of all, or of those whose drafts it looks at.
        self._chooses = keeps_floor(strategy)
        self.drafters = drafters(strategy)
        self._compared: set[tuple[str, str]] = set()

    def checked(self, models: Models) -> tuple[str, str]:
        """The ids under which this pair's verdicts are kept.

        Raises:
            SameModelError: They are equal.
            UnknownModelError: The strategy lists a model that is not among `models`.
        """
        pair = self.pair(models)
        check_pair(*pair)
        check_models(self._strategy, models.keys())
        return pair

    def pair(self, models: Models) -> tuple[str, str]:
        """The ids of the weak and the strong model."""
        return self._weak_id or models[WEAK].id, self._strong_id or models[STRONG].id

    def standings(self, namespace: str, models: Models) -> tuple[Standing, ...]:
        """The models that may answer instead of the strong one, the cheapest first.

        Other models than the weak one take part where the strategy chooses by what is learned.
        """
        if not self._chooses or (len(models) == 2 and not self.drafters):
            return (Standing(WEAK, self.pair(models)[0]),)
        if self.drafters:
            models = {name: model for name, model in models.items() if name in (*self.drafters, WEAK, STRONG)}
        ids = dict(zip((WEAK, STRONG), self.pair(models), strict=True))
        for name, model in models.items():
            if name not in ids and model.id in ids.values():
                self._tell(f"same:{name}", "Two models are named %r, so nothing is learned about %r.", model.id, name)
            ids.setdefault(name, model.id)
        one_each = {id: name for name, id in reversed(ids.items())}  # the first of each id
        return self._order(namespace, {name: id for name, id in ids.items() if one_each[id] == name})

    def check_prices(self, models: Models) -> None:
        """Tell once of each pair whose weak model is the dearer one."""
        ids = models[WEAK].id, models[STRONG].id
        if ids not in self._compared:
            self._compared.add(ids)
            if (warning := order.by_price(self._prices, *ids)) is not None:
                self._tell(f"order:{ids}", "%s", warning, advice=True)
