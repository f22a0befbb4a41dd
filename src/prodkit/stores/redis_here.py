"""A Redis as one event loop sees it: its servers, and who is asked for which key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.stores.redis_connection import Reply, code_of
from prodkit.stores.redis_library import AskError, MovedError, RedisError
from prodkit.stores.redis_node import Node
from prodkit.stores.redis_topology import Topology, discover

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from prodkit.stores.redis_connection import Address, Command
    from prodkit.stores.redis_urls import Target

__all__ = ["Here"]

# From server to server of a cluster; more than two happen only while slots are being moved about.
_HOPS: Final = 5
# Where the servers are is asked at most so often, however much fails.
_LOOK_SECONDS: Final = 0.25
_CONNECT_SECONDS: Final = 1.0
_ASKING: Final = ("ASKING",)
_CLOSED: Final = "the store was closed"
# Nothing was carried out, and somebody else, or a second try, can do it.
_ELSEWHERE: Final = frozenset({"ASK", "MOVED", "NOSCRIPT"})

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
        self._renewing: set[asyncio.Task[None]] = set()
        self._end: AsyncGenerator[None] | None = None
        self._was_closed = False

    async def ask(self, key: str, known: Command, whole: Command, deadline: float) -> Reply:
        """Ask whoever has *key*, and return the answer.

        Args:
            key: empty for any server.
            known: what is asked.
            whole: what is asked of a server that does not know the script.
            deadline: in the time of the event loop; all redirections are within it.

        Raises:
            StoreUnavailableError: no answer in time, or an error that may pass.
            ResponseError: any other error.
        """
        await self._begin()
        node = self._node_of(key) if self.topology is not None else await self._found(key, deadline)
        commands = [known]
        for _ in range(_HOPS):
            answer = (await self._ask(node, commands, deadline))[-1]
            if not isinstance(answer, RedisError):
                return answer
            if isinstance(answer, AskError):
                node = self._redirected(answer, node)
                is_asking = not isinstance(answer, MovedError)
                commands = [_ASKING, commands[-1]] if is_asking else [commands[-1]]
            elif code_of(answer) == "NOSCRIPT" and commands[-1] is known:
                commands = [*commands[:-1], whole]
            else:
                raise self._refusal(answer, node)
        message = f"{self._target.name}: one server sends to the next, and none answers"
        raise StoreUnavailableError(message)

    async def ask_many(
        self, calls: Sequence[tuple[str, Command, Command]], deadline: float
    ) -> list[Reply | Exception]:
        """Ask several at the same time; what is asked of one server is sent together. See `ask` for what a call is."""
        await self._begin()
        if self.topology is None:
            await self._found("", deadline)
        by_node: dict[Node, list[int]] = {}
        for index, (key, _, _) in enumerate(calls):
            by_node.setdefault(self._node_of(key), []).append(index)
        answers: list[Reply | Exception] = [None] * len(calls)

        async def together(node: Node, indexes: list[int]) -> None:
            try:
                found = await self._ask(node, [calls[index][1] for index in indexes], deadline)
            except StoreUnavailableError as error:
                for index in indexes:
                    answers[index] = StoreUnavailableError(*error.args)
                return
            for index, answer in zip(indexes, found, strict=True):
                if not isinstance(answer, RedisError):
                    answers[index] = answer
                elif code_of(answer) not in _ELSEWHERE:
                    answers[index] = self._refusal(answer, node)
                else:
                    try:
                        answers[index] = await self.ask(*calls[index], deadline)
                    except (StoreUnavailableError, RedisError) as error:
                        answers[index] = error

        await asyncio.gather(*(together(node, indexes) for node, indexes in by_node.items()))
        return answers

    async def everybody(self, deadline: float) -> list[Node]:
        """Every server that is written to."""
        await self._begin()
        if self.topology is None:
            await self._found("", deadline)
        topology = self.topology
        assert topology is not None  # noqa: S101  found, or it would have raised
        return [self.node_at(address) for address in topology.masters]

    def node_at(self, address: Address) -> Node:
        """The server there; made at first mention, if this was not closed."""
        node = self.nodes.get(address)
        if node is None:
            if self._was_closed:
                raise StoreUnavailableError(_CLOSED)
            node = self.nodes[address] = Node(
                address,
                self._target.credentials,
                connect_seconds=self._connect_seconds,
                master=self._target.kind == "sentinel",
            )
        return node

    def look_again(self) -> None:
        """Ask in the background where the servers are, unless that was done a moment ago."""
        if (
            self._was_closed
            or self._target.kind == "alone"
            or self._looking is not None
            or self.loop.time() < self._look_at
        ):
            return
        self._looking = self.loop.create_task(self._look())
        self._looking.add_done_callback(self._looked)

    async def aclose(self) -> None:
        """Close everything for good; who waits is answered."""
        if self._end is None:
            await self._close()
        else:
            await self._end.aclose()

    async def _begin(self) -> None:
        """Have everything closed when the event loop ends, also if nobody says so: test clients make many of them.

        Raises:
            StoreUnavailableError: it was closed meanwhile; what is opened now, nobody would close.
        """
        if self._was_closed:
            raise StoreUnavailableError(_CLOSED)
        if self._end is None:
            self._end = self._until_the_end()
            await anext(self._end)

    async def _until_the_end(self) -> AsyncGenerator[None]:
        # What `asyncio.run` and its like do at the end: they close the generators that were begun on the loop.
        try:
            yield
        finally:
            await self._close()

    async def _close(self) -> None:
        self._was_closed = True
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait([looking])
        nodes, self.nodes = self.nodes, {}
        for node in nodes.values():
            await node.aclose()

    async def _ask(self, node: Node, commands: Sequence[Command], deadline: float) -> list[Reply]:
        try:
            return await node.ask(commands, deadline)
        except StoreUnavailableError:
            self.look_again()
            raise

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
                await node.renew()
                if node.is_closed:
                    del self.nodes[address]

    def _looked(self, looking: asyncio.Task[None]) -> None:
        if self._looking is looking:
            self._looking = None
        self._look_at = self.loop.time() + _LOOK_SECONDS
        if not looking.cancelled():
            looking.result()  # a mistake of ours is told to the event loop

    def _redirected(self, answer: AskError, node: Node) -> Node:
        # Where there is no host, it is the one that said so.
        address = (answer.host or node.address[0], answer.port)
        if isinstance(answer, MovedError):
            if self.topology is not None and self.topology.master is None:
                self.topology.amend(answer.slot_id, address)
            self.look_again()
        return self.node_at(address)

    def _refusal(self, answer: RedisError, node: Node) -> Exception:
        code = code_of(answer)
        if code not in _PASSING:
            return answer
        self.look_again()
        if code == "READONLY":  # a name may have come to mean another server
            renewing = self.loop.create_task(node.renew())
            self._renewing.add(renewing)
            renewing.add_done_callback(self._renewing.discard)
        cure = f"; {_CURES[code]}" if code in _CURES else ""
        return StoreUnavailableError(f"{node.name} answered {code}{cure}")
