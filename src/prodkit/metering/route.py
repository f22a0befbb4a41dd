"""`metered`: a route whose budget is asked before its body is read, and whose cost the caller is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI resolves the annotation of __call__

from prodkit.core.context import RequestContext, context_of
from prodkit.core.exceptions import InstallationError
from prodkit.core.money import MOST_NANO, format_usd, parse_usd
from prodkit.metering.envelope import Envelope
from prodkit.metering.meter import Meter
from prodkit.metering.refusals import REFUSAL_RESPONSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.core.features import Kit

__all__ = ["CurrentEnvelope", "MeteredRule", "metered", "usage_event"]


class MeteredRule:
    """A `RouteRule` that opens an envelope; made by `metered`."""

    responses: Mapping[str, Mapping[str, object]] = {
        str(status): response for status, response in REFUSAL_RESPONSES.items()
    }
    # Of two, the one nearer to the route says what the route costs.
    replaces_outer = True

    def __init__(self, most_nano: int, attributes: Mapping[str, str], units: Mapping[str, int]) -> None:
        self.most_nano = most_nano
        self._attributes = dict(attributes)
        self._units = dict(units)

    def __repr__(self) -> str:
        return f"metered({format_usd(self.most_nano)!r})"

    def idle_because(self, kit: Kit) -> str | None:
        """See `ChecksKit`."""
        if kit.one(Meter) is None:
            return "metered(...) needs metering, which is not installed: add Metering() to install(app, ...)"
        return None

    async def enforce(self, context: RequestContext) -> None:
        """Reserve the most the request may cost; what it does not spend comes back when the response is over.

        Raises:
            Problem: see `Meter.open`.
        """
        meter = _meter_of(context)
        # A correlation id may be the caller's own choice, and sent twice.
        envelope = await meter.open(
            None,
            amount_nano=self.most_nano,
            attributes=self._attributes,
            units=self._units,
            context=context,
        )
        if context.scope is None:
            await envelope.aclose()  # the request ended while the ledger was asked, and nobody else would
            return
        context.put(envelope)
        context.on_end(envelope.aclose)

    async def __call__(self, connection: HTTPConnection) -> None:
        """Enforce it where no body was read, e.g. for GET and for WebSockets."""
        await context_of(connection).enforce(self)


def _meter_of(context: RequestContext) -> Meter:
    """Of applications inside one another: of the innermost that has budgets, else of the outermost."""
    meters = context.provided(Meter)
    if not meters:
        message = "metered(...) needs metering: add Metering() to install(app, ...)"
        raise InstallationError(message)
    return next((meter for meter in reversed(meters) if meter.has_budgets), meters[0])


def metered(
    most_usd: str,
    *,
    units: Mapping[str, int] | None = None,
    **attributes: str,
) -> Any:  # Any: what Depends() returns is typed so by FastAPI, to stand as a parameter's default
    """A dependency that reserves what one request of the route may cost, in every budget that applies, or refuses it.

    ```python
    @app.post("/ask", dependencies=[metered("0.05", agent="ask")])
    async def ask(envelope: CurrentEnvelope) -> str: ...
    ```

    Args:
        most_usd: the most one request may cost, a decimal string. Where it depends on the request, call `Meter.open`.
        units: likewise, of each unit that a quota counts.
        attributes: what it is for, e.g. `agent="ask"`; names of `prodkit.stores.ledger.ATTRIBUTES`.

    Raises:
        ValueError: *most_usd* is no amount, or larger than any.
    """
    nano = parse_usd(most_usd)
    if nano > MOST_NANO:
        message = f"nothing may cost more than {format_usd(MOST_NANO)} USD"
        raise ValueError(message)
    return Depends(MeteredRule(nano, attributes, units or {}))


async def _envelope(connection: HTTPConnection) -> Envelope:
    envelope = context_of(connection).get(Envelope)
    if envelope is None:
        message = "no envelope is open for this request: declare metered(...) on its route"
        raise InstallationError(message)
    return envelope


CurrentEnvelope = Annotated[Envelope, Depends(_envelope)]
"""Annotate a parameter with it to be given the `Envelope` that `metered` opened."""


def usage_event(envelope: Envelope, *, name: str = "usage") -> bytes:
    """The last event of a stream, as server-sent events are written: what the request has cost, which no header could say.

    Its data: `{"cost_usd": "0.012", "estimated": false, "calls": 2, "units": {"search.fast": 1}, "saved_usd": "0"}`,
    the last of what answers would have cost that had been bought before.

    Args:
        envelope: whose calls have ended.
        name: of the event.
    """
    data = {
        "cost_usd": format_usd(envelope.charged_nano),
        "estimated": envelope.presumed_nano != 0,
        "calls": envelope.calls,
        "units": dict(sorted(envelope.units.items())),
        "saved_usd": format_usd(envelope.saved_nano),
    }
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
