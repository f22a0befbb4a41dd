"""The open connections of one server process: how many, of whom, and which of them keep us waiting.

One timer looks at all of them about once a second. Nothing is done for a request: whether a connection waits for a
request, has one under way or is idle is read from what the server's protocol keeps anyway.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from prodkit.core.features import Sample
from prodkit.serving.taking import forget_unsent, taking

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from prodkit.serving.limits import ConnectionLimits
    from prodkit.serving.lingering import LingeringTransport

__all__ = ["Connection", "Connections"]

LOGGER = logging.getLogger("prodkit.serve")

_SWEEP_SECONDS: Final = 1.0
# Looking at one takes a microsecond: requests wait at most a millisecond for it.
_AT_ONCE: Final = 1000
# An overflow looks for what may be ended at most this often, since it looks at everything.
_OVERFLOW_SWEEP_SECONDS: Final = 0.1
# What one customer gets at least. Source: RFC 6177; a host may choose among all its addresses (RFC 8981).
_IPV6_PREFIX: Final = 64

# policy -> what became of the connection
_POLICIES: Final = {
    "head_time": "denied",
    "head_size": "denied",
    "malformed": "denied",
    "pipelining": "denied",
    "write_rate": "denied",
    "total": "denied",
    "address": "denied",
    "reuse": "degraded",
}


class Cycle(Protocol):
    """One request and its response, as uvicorn keeps them."""

    response_complete: bool


class Connection(Protocol):
    """What is read of a protocol of uvicorn, and what it does for us.

    Attributes:
        cycle: the latest request, a `Cycle`, also when it is answered; None before the first.
    """

    transport: LingeringTransport
    client: tuple[str, int] | None
    timeout_keep_alive_task: asyncio.TimerHandle | None
    cycle: Any  # each implementation has its own class

    def has_begun(self) -> bool:
        """Whether something of the next request has arrived."""

    def look_for_end(self) -> None:
        """Notice that the client is gone, where nothing is read because requests wait."""

    def refuse(self, status: int, detail: str) -> None:
        """Answer *status* where that cannot be taken for something else, and close."""


@dataclass(slots=True)
class _Write:
    """Since when something waits to be taken, and what was taken since."""

    since: float
    confirmed: int | None
    size: int
    taken: int = 0


@dataclass(slots=True)
class _Watched:
    """What is remembered of an open connection.

    Attributes:
        address: by which it is counted, or None.
        transport: outlives the HTTP protocol after an upgrade.
        since: when it was first seen waiting for (the rest of) a request.
        after: the request that was the latest then. Another one means that it has not waited all along: it waits again
            only when a further request is answered.
        is_encrypted: whether what waits to be taken is not in the buffer of *transport* but in one under it.
        write: None while nothing waits to be taken.
        is_upgraded: whether another protocol has it now.
    """

    address: str | None
    transport: LingeringTransport
    since: float
    is_encrypted: bool
    after: Cycle | None = None
    write: _Write | None = None
    is_upgraded: bool = False


class Connections:
    """Counts the connections of one server, and ends those that break its limits.

    Args:
        limits: see there.
        loop: its clock and timers.
    """

    def __init__(self, limits: ConnectionLimits, loop: asyncio.AbstractEventLoop) -> None:
        self.limits = limits
        self.counts = dict.fromkeys(_POLICIES, 0)
        self._head_seconds = limits.head_seconds
        self._write_seconds = limits.write_seconds
        self._least = limits.write_seconds * limits.min_write_bytes_per_second
        self._loop = loop
        self._open: dict[Connection, _Watched] = {}
        self._of_address: dict[str, int] = {}
        self._reusable: deque[Connection] = deque()
        self._interval = max(0.05, min(_SWEEP_SECONDS, limits.head_seconds / 10, limits.write_seconds / 10))
        self._due: float | None = None
        self._swept_at = float("-inf")
        # How long the loop has been blocked: no time of the client's.
        self._blocked = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def samples(self) -> Iterable[Sample]:
        """Open connections, and what was decided about them."""
        yield Sample("prodkit_serve_connections", {}, len(self._open), "gauge", "Open connections.")
        documentation = (
            "Connections ended or refused by the server before or beside the application, by limit."
        )
        for policy, count in self.counts.items():
            labels = {"policy": policy, "outcome": _POLICIES[policy]}
            yield Sample("prodkit_serve_decisions_total", labels, count, "counter", documentation)

    def opened(self, connection: Connection) -> bool:
        """Count *connection* in; False when it was refused for the number of them."""
        address = self._address(connection)
        if address is not None and self._of_address.get(address, 0) >= (
            self.limits.max_connections_per_address or 0
        ):
            self._end(connection, "address", 503, "Too many connections from this address.")
            return False
        if len(self._open) >= self.limits.max_connections and not self._make_room():
            self._end(connection, "total", 503, "Too many connections.")
            return False
        transport = connection.transport
        is_encrypted = transport.get_extra_info("sslcontext") is not None
        self._open[connection] = _Watched(address, transport, self._now(), is_encrypted)
        if address is not None:
            self._of_address[address] = self._of_address.get(address, 0) + 1
        if self._due is None:
            self._schedule()
        return True

    def closed(self, connection: Connection) -> None:
        """Count *connection* out; nothing when it is not counted."""
        watched = self._open.pop(connection, None)
        if watched is None or watched.address is None:
            return
        left = self._of_address[watched.address] - 1
        if left:
            self._of_address[watched.address] = left
        else:
            del self._of_address[watched.address]

    def upgraded(self, connection: Connection) -> None:
        """Another protocol has the transport of *connection* now, and nobody will tell us of its end."""
        watched = self._open.get(connection)
        if watched is not None:
            watched.is_upgraded = True

    def is_upgraded(self, connection: Connection) -> bool:
        """Whether another protocol has it."""
        watched = self._open.get(connection)
        return watched is not None and watched.is_upgraded

    def end(self, connection: Connection, policy: str, status: int, detail: str) -> None:
        """Refuse what breaks *policy*, which the protocol itself has seen."""
        self._end(connection, policy, status, detail)

    def sweep(self) -> None:
        """Look at every connection once, now."""
        self._look_at(list(self._open), 0, deque(), len(self._open))

    def _look_at(
        self, connections: list[Connection], start: int, reusable: deque[Connection], most: int
    ) -> None:
        """Look at *most* of *connections* from *start* on, and at the others when the loop has done what else waits."""
        end = start + most
        now = self._now()
        for connection in connections[start:end]:
            watched = self._open.get(connection)
            if watched is not None and self._is_reusable(connection, watched, now):
                reusable.append(connection)
        if end < len(connections):
            self._loop.call_soon(self._look_at, connections, end, reusable, most)
        else:
            self._reusable = reusable
            self._swept_at = now

    def _is_reusable(self, connection: Connection, watched: _Watched, now: float) -> bool:
        """End *connection* when its time is over; whether it is open and has no request under way."""
        transport = watched.transport
        size = transport.get_write_buffer_size()
        if not size and watched.is_encrypted and (known := taking(transport)) is not None:
            size = known.unsent
        if size:
            if self._is_stalled(watched, size, now):
                self.counts["write_rate"] += 1
                forget_unsent(transport)
                transport.abort()
                return False
        else:
            watched.write = None
            if transport.is_gone():
                self.closed(connection)
                return False
        latest: Cycle | None = connection.cycle
        is_under_way = latest is not None and not latest.response_complete
        if is_under_way:
            connection.look_for_end()
        if watched.is_upgraded or is_under_way:
            return False
        if connection.timeout_keep_alive_task is not None and not connection.has_begun():
            # Idle, with a timer of the server's own. It is also set behind an answer before which the next head began.
            return True
        if watched.after is not latest:
            watched.since, watched.after = now, latest
        elif now - watched.since >= self._head_seconds and not transport.is_closing():
            self._end(connection, "head_time", 408, "The request did not arrive in time.")
            return False
        return True

    def _end(self, connection: Connection, policy: str, status: int, detail: str) -> None:
        self.counts[policy] += 1
        connection.refuse(status, detail)

    def _is_stalled(self, watched: _Watched, size: int, now: float) -> bool:
        known = taking(watched.transport)
        confirmed = None if known is None else known.confirmed
        write = watched.write
        if write is None:
            watched.write = _Write(now, confirmed, size)
            return False
        if confirmed is not None and write.confirmed is not None:
            write.taken = confirmed - write.confirmed
        else:
            # Too little where something was written meanwhile; more than that is not known.
            write.taken += max(0, write.size - size)
        write.size = size
        if now - write.since < self._write_seconds:
            return False
        if write.taken < self._least:
            return True
        watched.write = _Write(now, confirmed, size)
        return False

    def _make_room(self) -> bool:
        """End the oldest connection that has no request under way; False when there is none, and nobody has gone either."""
        if not self._reusable and self._now() - self._swept_at >= _OVERFLOW_SWEEP_SECONDS:
            self.sweep()
            if len(self._open) < self.limits.max_connections:
                return True  # a WebSocket has ended, which nobody tells
        while self._reusable:
            connection = self._reusable.popleft()
            watched = self._open.get(connection)
            latest: Cycle | None = connection.cycle
            if (
                watched is None
                or watched.is_upgraded
                or (latest is not None and not latest.response_complete)
            ):
                continue
            self.counts["reuse"] += 1
            self.closed(connection)
            watched.transport.abort()
            return True
        return False

    def _address(self, connection: Connection) -> str | None:
        if self.limits.max_connections_per_address is None or connection.client is None:
            return None
        host = connection.client[0]
        if ":" not in host:
            return host
        address = ipaddress.IPv6Address(host)
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(address), _IPV6_PREFIX), strict=False))

    def _now(self) -> float:
        return self._loop.time() - self._blocked

    def _schedule(self) -> None:
        self._due = self._loop.time() + self._interval
        self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        due, self._due = self._due, None
        late = 0.0 if due is None else self._loop.time() - due
        if late > self._interval:
            # While the loop was blocked it has read nothing: clients may have sent all that we wait for.
            self._blocked += late
        if self._open:
            self._schedule()
            self._look_at(list(self._open), 0, deque(), _AT_ONCE)
        else:
            self._reusable.clear()
