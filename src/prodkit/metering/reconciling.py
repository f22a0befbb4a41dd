"""The ledger and a provider's invoice, side by side: what one has and the other has not.

Lines that name a hold (the reference that the provider was given with the call) are compared hold by hold, all others by SKU
and day, or by SKU alone where the invoice tells no days. What differs can be written into the ledger as manual entries; they
then count where they belong, so the same invoice shows no difference any more.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from prodkit.core.calendar_windows import first_second
from prodkit.core.money import NANO_PER_USD
from prodkit.metering.reports import scan
from prodkit.metering.shares import PRICERS, shares_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import tzinfo

    from prodkit.metering.invoices import InvoiceLine
    from prodkit.metering.pricing import PriceBook
    from prodkit.metering.shares import UnitPricer
    from prodkit.stores.ledger import Entry, LedgerStore

__all__ = ["Difference", "DifferenceKind", "Key", "Reconciliation", "Side", "adjust", "reconcile"]

DifferenceKind: TypeAlias = Literal["missing", "extra", "mismatch"]
"""`missing`: the ledger has it and the invoice has not. `extra`: the other way round. `mismatch`: they disagree."""

_PREFIX: Final = "reconcile"


class Key(NamedTuple):
    """What is compared.

    Attributes:
        day: as a date, or empty where the invoice tells none.
        sku: what was bought, or empty.
        reference: the hold, or empty.
    """

    day: str
    sku: str
    reference: str


@dataclass(slots=True)
class Side:
    """What one of them says of a key.

    Attributes:
        nano: the cost.
        quantity: how many; None where it does not tell.
        line: of the invoice, the first there is; 0 in the ledger.
    """

    nano: Fraction = Fraction(0)
    quantity: Fraction | None = Fraction(0)
    line: int = 0

    def add(self, nano: Fraction | int, quantity: Fraction | int | None) -> None:
        """Count one more."""
        self.nano += nano
        self.quantity = None if self.quantity is None or quantity is None else self.quantity + quantity


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that they do not agree about.

    Attributes:
        kind: see `DifferenceKind`.
        key: what it is about.
        ledger_nano, invoice_nano: the costs.
        ledger_quantity, invoice_quantity: how many, or None where one of them does not tell.
        line: of the invoice, or 0.
    """

    kind: DifferenceKind
    key: Key
    ledger_nano: int
    invoice_nano: int
    ledger_quantity: Fraction | None
    invoice_quantity: Fraction | None
    line: int

    @property
    def nano(self) -> int:
        """What the invoice asks for above what was written down; negative where it asks for less."""
        return self.invoice_nano - self.ledger_nano

    @property
    def quantity(self) -> Fraction | None:
        """Likewise; None where it is not known."""
        if self.ledger_quantity is None or self.invoice_quantity is None:
            return None
        return self.invoice_quantity - self.ledger_quantity


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The outcome.

    Attributes:
        provider: whose invoice.
        since: unix seconds at which the period begins.
        keys: how many were compared.
        ledger_nano, invoice_nano: the sums.
        differences: by day, SKU and reference.
    """

    provider: str
    since: float
    keys: int
    ledger_nano: int
    invoice_nano: int
    differences: Sequence[Difference] = field(default_factory=tuple)


class _Invoice:
    """What an invoice asks for, by key; and how finely it tells."""

    def __init__(self, lines: Iterable[InvoiceLine]) -> None:
        self.sides: dict[Key, Side] = {}
        plain, referenced, self.tells_days, self.tells_skus = 0, 0, False, True
        for line in lines:
            if line.reference:
                referenced += 1
                self.tells_skus = self.tells_skus and bool(line.sku)
            else:
                plain += 1
                self.tells_days = bool(line.day)
            key = Key("" if line.reference else line.day, line.sku, line.reference)
            side = self.sides.setdefault(key, Side(line=line.line))
            quantity = None if line.quantity is None else Fraction(line.quantity)
            side.add(Fraction(line.cost_usd) * NANO_PER_USD, quantity)
        self.references = {key.reference for key in self.sides if key.reference}
        self.is_by_reference = bool(referenced) and not plain
        self.sides = _coarsened(self.sides, self.key)

    def key(self, found: Key) -> Key:
        """*found* as finely as this invoice tells."""
        if self.is_by_reference or found.reference in self.references:
            return Key("", found.sku if self.tells_skus else "", found.reference)
        return Key(found.day if self.tells_days else "", found.sku, "")


async def reconcile(
    ledger: LedgerStore,
    lines: Iterable[InvoiceLine],
    *,
    provider: str,
    prices: PriceBook,
    since: float,
    until: float,
    tolerance_nano: int = 0,
    zone: tzinfo = UTC,
    pricers: Sequence[UnitPricer] = PRICERS,
    on_page: Callable[[int], None] | None = None,
) -> Reconciliation:
    """Compare what *provider* asks for with what was written down of a period.

    Both sides are kept by key: memory grows with holds where the invoice names them, else with SKUs and days.

    Args:
        ledger: what was written down.
        lines: of the invoice; see `read_invoice`.
        provider: the attribute `provider` of the entries that count.
        prices: tells what units are sold as.
        since: unix seconds, included.
        until: unix seconds, not included.
        tolerance_nano: by how much a cost may differ. A quantity may not.
        zone: whose days the invoice has.
        pricers: see `UnitPricer`.
        on_page: told how many entries there are in each page.

    Raises:
        InvoiceError: a line of the invoice cannot be read.
    """
    invoice = _Invoice(lines)
    ours: dict[Key, Side] = {}
    # All of the history: what was adjusted later belongs to the day it is about.
    async for entries in scan(ledger, where={"provider": provider}):
        for entry in entries:
            for key, nano, quantity in _told(entry, prices, pricers, since=since, until=until, zone=zone):
                ours.setdefault(invoice.key(key), Side()).add(nano, quantity)
        if on_page is not None:
            on_page(len(entries))
    keys = sorted(invoice.sides.keys() | {key for key, side in ours.items() if side.nano or side.quantity})
    compared = (_compared(key, ours.get(key), invoice.sides.get(key), tolerance_nano) for key in keys)
    return Reconciliation(
        provider=provider,
        since=since,
        keys=len(keys),
        ledger_nano=sum(int(side.nano) for side in ours.values()),
        invoice_nano=sum(round(side.nano) for side in invoice.sides.values()),
        differences=[difference for difference in compared if difference is not None],
    )


async def adjust(
    ledger: LedgerStore, found: Reconciliation, *, reason: str, zone: tzinfo = UTC
) -> Sequence[Entry]:
    """Write what differs into the ledger, as one manual entry for each; again is as once.

    They count in no budget: whose window it was, an invoice does not tell. Those of a hold have its attributes, all others
    only the provider and the SKU.

    Args:
        ledger: where to.
        found: what `reconcile` returned.
        reason: of every entry.
        zone: as it was given there.
    """
    begin = datetime.fromtimestamp(found.since, zone).date().isoformat()
    return [await _adjusted(ledger, found.provider, one, begin, reason) for one in found.differences]


async def _adjusted(ledger: LedgerStore, provider: str, one: Difference, begin: str, reason: str) -> Entry:
    key = one.key if one.key.day else one.key._replace(day=begin)
    hold = await ledger.find(key.reference) if key.reference else None
    attributes = {} if hold is None else dict(hold.attributes)
    attributes["provider"] = provider
    if key.sku:
        attributes["sku"] = key.sku
    quantity = one.quantity
    units = {}
    if key.sku and quantity is not None and quantity.denominator == 1 and quantity:
        units[key.sku] = int(quantity)
    return await ledger.adjust(
        _entry_id(provider, key, one), one.nano, reason=reason, attributes=attributes, units=units
    )


def _entry_id(provider: str, key: Key, one: Difference) -> str:
    """The same for the same difference, and it tells where the entry belongs."""
    content = [provider, *key, one.ledger_nano, one.invoice_nano]
    content += [str(one.ledger_quantity), str(one.invoice_quantity)]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    return f"{_PREFIX}:{key.day}:{digest}:{key.reference}"


def _told(
    entry: Entry,
    prices: PriceBook,
    pricers: Sequence[UnitPricer],
    *,
    since: float,
    until: float,
    zone: tzinfo,
) -> Iterator[tuple[Key, int, int | None]]:
    """What *entry* says of which keys, if it is of the period."""
    if entry.kind == "manual" and entry.hold.startswith(f"{_PREFIX}:"):
        _, day, _, reference = entry.hold.split(":", 3)
        begin = first_second(datetime.fromisoformat(day).date(), zone)
        # The day on which the period begins counts from its beginning: what was adjusted is about all of it.
        if first_second(datetime.fromtimestamp(since, zone).date(), zone) <= begin < until:
            sku = entry.attributes.get("sku", "")
            yield Key(day, sku, reference), entry.amount_nano, entry.units.get(sku, 0)
        return
    if not since <= entry.at < until:
        return
    day = datetime.fromtimestamp(entry.at, zone).date().isoformat()
    for share in shares_of(entry, prices, pricers):
        if share.amount_nano or share.quantity:
            yield Key(day, share.sku, entry.hold), share.amount_nano, share.quantity


def _coarsened(sides: dict[Key, Side], key_of: Callable[[Key], Key]) -> dict[Key, Side]:
    found: dict[Key, Side] = {}
    for key, side in sides.items():
        found.setdefault(key_of(key), Side(line=side.line)).add(side.nano, side.quantity)
    return found


def _compared(key: Key, ours: Side | None, theirs: Side | None, tolerance_nano: int) -> Difference | None:
    here, there = ours or Side(), theirs or Side()
    # Of several SKUs together, a number of them says nothing.
    counts = bool(key.sku)
    found = Difference(
        kind="extra" if ours is None else "missing" if theirs is None else "mismatch",
        key=key,
        ledger_nano=int(here.nano),
        # Once, at the end: what a provider charges for a token may be finer than a nano-dollar.
        invoice_nano=round(there.nano),
        ledger_quantity=here.quantity if counts else None,
        invoice_quantity=there.quantity if counts else None,
        line=there.line,
    )
    return None if abs(found.nano) <= tolerance_nano and not found.quantity else found
