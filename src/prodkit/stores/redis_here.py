"""A Redis as one event loop sees it: its servers, and who is asked for which key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from redis.exceptions import ResponseError

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.redis_node import Node
from prodkit.stores.redis_resp import Reply, code_of, encode
from prodkit.stores.redis_topology import Topology, discover

if TYPE_CHECKING:
    from prodkit.stores.redis_connection import Address
    from prodkit.stores.redis_urls import Target

__all__ = ["Here"]

# From server to server of a cluster; more than two happen only while slots are being moved about.
_HOPS: Final = 5
# Where the servers are is asked at most so often, however much fails.
_LOOK_SECONDS: Final = 0.25
_CONNECT_SECONDS: Final = 1.0
_ASKING: Final = encode("ASKING")

_PASSING: Final = frozenset({
    "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOPERM", "NOREPLICAS", "OOM", "READONLY",
    "TRYAGAIN", "UNKILLABLE", "WRONGPASS",
})  # fmt: skip

_CURES: Final = {
    "NOAUTH": "give user and password in the URL",
    "NOPERM": "allow the user +eval +evalsha and the commands of the scripts, on the keys pk:*",
    "OOM": "raise maxmemory",
    "MISCONF": "look at why the server cannot write to its disk",
}


class Here:
    """Servers, connections and background tasks of one event loop."""

    def __init__(self, target: Target, timeout_seconds: float) -> None:
        """Open nothing yet."""
        self.loop = asyncio.get_running_loop()
        self.topology = Topology(target.addresses[0]) if target.kind == "alone" else None
        self.nodes: dict[Address, Node] = {}
        self._target = target
        self._connect_seconds = max(_CONNECT_SECONDS, timeout_seconds)
        self._looking: asyncio.Task[None] | None = None
        self._look_at = 0.0
        self._failure: StoreUnavailableError | None = None

    async def ask(self, key: str, commands: tuple[bytes, bytes], deadline: float) -> Reply:
        """Ask whoever has *key*, and return the answer.

        Args:
            key: empty for any server.
            commands: what is asked, and what instead of a server that does not know the script.
            deadline: in the time of the event loop; all redirections are within it.

        Raises:
            StoreUnavailableError: no answer in time, or an error that may pass.
            ResponseError: any other error.
        """
        node = self._node_of(key) if self.topology is not None else await self._found(key, deadline)
        command, asking = commands[0], b""
        for _ in range(_HOPS):
            try:
                answer = await node.ask(asking + command, deadline, 2 if asking else 1)
            except StoreUnavailableError:
                self.look_again()
                raise
            if not isinstance(answer, ResponseError):
                return answer
            code = code_of(answer)
            if code == "NOSCRIPT" and command is not commands[1]:
                command = commands[1]
            elif code in {"MOVED", "ASK"}:
                node = self._redirected(answer, node)
                asking = _ASKING if code == "ASK" else b""
            else:
                raise self._refusal(answer, code, node)
        message = f"{self._target.name}: one server sends to the next, and none answers"
        raise StoreUnavailableError(message)

    async def everybody(self, deadline: float) -> list[Node]:
        """Every server that is written to."""
        if self.topology is None:
            await self._found("", deadline)
        topology = self.topology
        assert topology is not None  # noqa: S101  found, or it would have raised
        return [self.node_at(address) for address in topology.masters]

    def node_at(self, address: Address) -> Node:
        """The server there; made at first mention."""
        node = self.nodes.get(address)
        if node is None:
            node = self.nodes[address] = Node(
                address,
                self._target.credentials,
                connect_seconds=self._connect_seconds,
                master=self._target.kind == "sentinel",
            )
        return node

    def look_again(self) -> None:
        """Ask in the background where the servers are, unless that was done a moment ago."""
        if self._target.kind == "alone" or self._looking is not None or self.loop.time() < self._look_at:
            return
        self._looking = self.loop.create_task(self._look())
        self._looking.add_done_callback(self._looked)

    async def aclose(self) -> None:
        """Close everything; who waits is answered."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait([looking])
        for node in self.nodes.values():
            await node.aclose()
        self.nodes.clear()

    def forget(self) -> None:
        """See `Connection.forget`."""
        for node in self.nodes.values():
            node.forget()

    def bury(self) -> None:
        """See `Connection.bury`."""
        for node in self.nodes.values():
            node.bury()

    def _node_of(self, key: str) -> Node:
        assert self.topology is not None  # noqa: S101  asked by every caller
        address = self.topology.address_of(key)
        if address is None:
            self.look_again()
            message = f"{self._target.name}: no server has this part of the keys"
            raise StoreUnavailableError(message)
        return self.nodes.get(address) or self.node_at(address)

    async def _found(self, key: str, deadline: float) -> Node:
        self.look_again()
        looking = self._looking
        if looking is not None:
            await asyncio.wait([looking], timeout=max(0.0, deadline - self.loop.time()))
        if self.topology is None:
            known = self._failure
            message = str(known) if known else f"{self._target.name}: nobody said in time where the master is"
            raise StoreUnavailableError(message)
        return self._node_of(key)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(self._connect_seconds):
                found = await discover(
                    self._target, list(self.nodes) if self._target.kind == "cluster" else []
                )
        except StoreUnavailableError as error:
            self._failure = error  # what was known before is used on
            return
        except TimeoutError:
            return
        self._failure = None
        self.topology = found
        wanted = set(found.masters)
        for address, node in list(self.nodes.items()):
            if address not in wanted:
                node.renew()
                if node.is_closed:
                    del self.nodes[address]

    def _looked(self, looking: asyncio.Task[None]) -> None:
        if self._looking is looking:
            self._looking = None
        self._look_at = self.loop.time() + _LOOK_SECONDS
        if not looking.cancelled():
            looking.result()  # a mistake of ours is told to the event loop

    def _redirected(self, answer: ResponseError, node: Node) -> Node:
        # "MOVED 3999 host:6381", where an empty host is the one that said so.
        code, slot, place = str(answer).split(" ")[:3]
        host, _, port = place.rpartition(":")
        address = (host or node.address[0], int(port))
        if code == "MOVED":
            if self.topology is not None and self.topology.master is None:
                self.topology.amend(int(slot), address)
            self.look_again()
        return self.node_at(address)

    def _refusal(self, answer: ResponseError, code: str, node: Node) -> Exception:
        if code not in _PASSING:
            return answer
        self.look_again()
        if code == "READONLY":
            node.renew()  # a name may have come to mean another server
        cure = f"; {_CURES[code]}" if code in _CURES else ""
        return StoreUnavailableError(f"{node.name} answered {code}{cure}")
