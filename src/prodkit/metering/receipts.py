"""What one answer cost: a view of an envelope that notes the calls made through it, and what is kept of an answer."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from prodkit.core.money import MOST_NANO
from prodkit.stores.ledger import ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.metering.calls import Call

__all__ = ["Kept", "Paying", "Receipt"]

# What an answer is, and nothing about whose it was.
_TOLD: Final = ("provider", "model", "sku", "price_book")
_FORM: Final = 1


class Paying(Protocol):
    """What pays for a question: `prodkit.metering.Envelope`."""

    async def call(
        self,
        estimate_nano: int,
        *,
        attributes: Mapping[str, str | None] | None = None,
        units: Mapping[str, int] | None = None,
    ) -> Call:
        """See `Envelope.call`."""

    def unpriced(self, provider: str) -> None:
        """See `Envelope.unpriced`."""

    def save(
        self,
        saved_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        attributes: Mapping[str, str | None] | None = None,
    ) -> None:
        """See `Envelope.save`."""


class Receipt:
    """Given to whoever buys an answer: pays from the envelope of the one who asked, and adds up what it came to.

    Attributes:
        is_kept: whether the answer may be kept. Set it to False where it turned out to be one that should not be, e.g. only
            part of one; whoever waits for it now is given it all the same.
    """

    def __init__(self, envelope: Paying | None) -> None:
        self.is_kept = True
        self._envelope = envelope
        self._calls: list[Call] = []
        self._paid_nano = 0
        self._units: Counter[str] = Counter()
        self._attributes: dict[str, str] = {}

    async def call(
        self,
        estimate_nano: int,
        *,
        attributes: Mapping[str, str | None] | None = None,
        units: Mapping[str, int] | None = None,
    ) -> Call:
        """As `Envelope.call`, which it draws from.

        Raises:
            LookupError: there is no envelope; say what it cost with `paid`.
        """
        if self._envelope is None:
            message = "there is no envelope to pay from: give one to get_or_call, or use receipt.paid"
            raise LookupError(message)
        call = await self._envelope.call(estimate_nano, attributes=attributes, units=units)
        self._calls.append(call)
        return call

    def unpriced(self, provider: str) -> None:
        """As `Envelope.unpriced`."""
        if self._envelope is not None:
            self._envelope.unpriced(provider)

    def paid(
        self,
        amount_nano: int,
        *,
        units: Mapping[str, int] | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Note what was paid elsewhere, or what was delivered for what was paid with `call`: nothing is charged by it.

        Args:
            amount_nano: nano-USD beside those of the calls, at least 0.
            units: what was delivered.
            attributes: what it was, names of `prodkit.stores.ledger.ATTRIBUTES`.

        Raises:
            ValueError: the amount is negative.
        """
        if amount_nano < 0:
            message = f"nobody pays {amount_nano} nano-USD"
            raise ValueError(message)
        self._paid_nano += amount_nano
        self._units.update(units or {})
        self._attributes |= attributes or {}

    @property
    def cost_nano(self) -> int:
        """What it came to, as far as is known, estimates included."""
        return self._paid_nano + sum(call.charged_nano for call in self._calls)

    @property
    def units(self) -> dict[str, int]:
        """What was delivered."""
        delivered = Counter(self._units)
        for call in self._calls:
            delivered.update(call.units)
        return dict(delivered)

    @property
    def attributes(self) -> dict[str, str]:
        """What it was; of the last call, where there are several."""
        known: dict[str, str] = {}
        for one in (*(call.attributes for call in self._calls), self._attributes):
            known |= {name: one[name] for name in _TOLD if one.get(name)}
        return known


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of an answer, as bytes and as it is read.

    Attributes:
        text: what is stored.
        cost_nano: what it cost when it was bought.
        units: what was delivered then.
        attributes: what it was.
    """

    text: bytes
    cost_nano: int
    units: Mapping[str, int]
    attributes: Mapping[str, str]

    @classmethod
    def of(cls, value: Any, receipt: Receipt) -> Kept | None:  # Any: JSON, checked here
        """Of *value*; None where it is no JSON, so that it cannot be given to anybody else."""
        cost, units, attributes = receipt.cost_nano, receipt.units, receipt.attributes
        # Amounts as texts, as everywhere outside of Python.
        document = {
            "form": _FORM,
            "cost_nano": str(cost),
            "units": units,
            "attributes": attributes,
            "value": value,
        }
        try:
            text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError):
            return None
        return cls(text, cost, units, attributes)

    @classmethod
    def read(cls, text: bytes) -> Kept | None:
        """What `of` made; None where it is something else, e.g. of another release."""
        try:
            document = json.loads(text)
            if document["form"] != _FORM or "value" not in document:
                return None
            cost = int(document["cost_nano"])
            units = {str(name): int(count) for name, count in document["units"].items()}
            attributes = {name: str(document["attributes"][name]) for name in document["attributes"]}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        if not 0 <= cost <= MOST_NANO or not set(attributes) <= set(ATTRIBUTES):
            return None
        return cls(text, cost, units, attributes)

    @property
    def value(self) -> Any:  # JSON
        """The answer: each time another object, so that nobody changes what others are given."""
        return json.loads(self.text)["value"]
