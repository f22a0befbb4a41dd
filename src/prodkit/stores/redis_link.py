"""The way to one Redis, however it is deployed: alone, behind Sentinels, as a cluster, over TLS.

Everything that a store of ours asks is a script, so a verb is one round trip and atomic. Nobody waits longer than the bound,
nothing is tried twice by the client, and a server that does not answer is left alone for a moment, without the others.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.extras import require
from prodkit.stores.forking import survive_fork
from prodkit.stores.redis_here import Here
from prodkit.stores.redis_inspection import inspect, worst
from prodkit.stores.redis_library import ResponseError
from prodkit.stores.redis_urls import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.features import HealthResult
    from prodkit.stores.redis_connection import Command
    from prodkit.stores.redis_node import Node

__all__ = ["RedisLink", "Script"]


@dataclass(frozen=True, slots=True)
class Script:
    """One of our Lua files.

    Attributes:
        name: of the file, without its ending.
        text: what is in it.
        sha: what Redis calls it.
    """

    name: str
    text: str
    sha: str

    @staticmethod
    @cache
    def load(name: str) -> Script:
        """Read `stores/lua/<name>.lua`."""
        text = files("prodkit.stores").joinpath("lua", f"{name}.lua").read_text("utf-8")
        return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_CHECK: Final = Script.load("link_check")

# Each is in another slot, more or less; a server with fewer than a hundredth of the slots may be missed.
_TRIED: Final = 2000


class RedisLink:
    """Connections to one Redis; see the module.

    The connections are redis-py's, a few for each server and event loop (`prodkit.stores.redis_node.MOST_CONNECTIONS`). Event
    loops may come and go, and the process may fork: a child opens its own.

    Args:
        url: see `prodkit.stores.redis_urls.parse`.
        timeout_seconds: how long one call may take, in all: connecting, waiting, redirections. 0.1: a healthy server answers in
            under 1 ms.
        allow_unverified_tls: whether the URL may say `ssl_cert_reqs=none`. For development only.

    Attributes:
        name: the URL without credentials.
        timeout_seconds: as given.
        is_cluster: whether keys are on several servers.

    Raises:
        MissingExtraError: redis-py is not installed.
        SettingsError: the URL cannot be used.
        ValueError: *timeout_seconds* is not above 0.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 0.1, allow_unverified_tls: bool = False) -> None:
        """Open nothing yet."""
        require("redis", extra="redis", purpose="A store in Redis")
        if not timeout_seconds > 0:
            message = f"timeout_seconds must be above 0, not {timeout_seconds}"
            raise ValueError(message)
        self._target = parse(url, allow_unverified_tls=allow_unverified_tls)
        self.name = self._target.name
        self.timeout_seconds = timeout_seconds
        self.is_cluster = self._target.kind == "cluster"
        self._places: dict[asyncio.AbstractEventLoop, Here] = {}
        self._last: Here | None = None
        self._left: list[Here] = []
        survive_fork(self)

    def __repr__(self) -> str:
        return f"RedisLink({self.name!r})"

    @staticmethod
    def shared(url: str, *, timeout_seconds: float = 0.1) -> RedisLink:
        """Return this process's one link for *url* and *timeout_seconds*, made at the first call."""
        link = _SHARED.get((url, timeout_seconds))
        if link is None:
            link = _SHARED[url, timeout_seconds] = RedisLink(url, timeout_seconds=timeout_seconds)
        return link

    def node_of(self, key: str) -> str:
        """Which server *key* is on, as far as is known yet: what is asked of one server can travel together with `run_many`."""
        place = self._last
        address = place.topology.address_of(key) if place is not None and place.topology is not None else None
        return f"{address[0]}:{address[1]}" if address else ""

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[str | bytes | int] = (),
        *,
        timeout_seconds: float | None = None,
    ) -> Any:  # what the script returns: int, bytes, None or a list of such
        """Run *script* and return what it returns: whole numbers, bytes, None, or lists of them.

        An error that the script returns inside of a list (`redis.pcall`) is a `ResponseError` in that list, not raised.

        Args:
            script: what to run.
            keys: all of one slot, where it is a cluster.
            args: what else it is told.
            timeout_seconds: instead of the link's.

        Raises:
            StoreUnavailableError: no answer in time, or an error that may pass. It may have been carried out nevertheless.
            redis.exceptions.ResponseError: the script itself failed; a mistake of ours.
        """
        place = self._here()
        deadline = place.loop.time() + (timeout_seconds or self.timeout_seconds)
        return await place.ask(*_call(script, keys, args), deadline)

    async def run_many(
        self,
        calls: Sequence[tuple[Script, Sequence[str], Sequence[str | bytes | int]]],
        *,
        timeout_seconds: float | None = None,
    ) -> list[Any]:  # as of `run`
        """Run several at the same time, each where its keys are; return an answer or an exception for each."""
        place = self._here()
        deadline = place.loop.time() + (timeout_seconds or self.timeout_seconds)
        try:
            return await place.ask_many([_call(*call) for call in calls], deadline)
        except StoreUnavailableError as error:
            return [StoreUnavailableError(*error.args) for _ in calls]

    async def check(self, *, durable: bool = False) -> HealthResult:
        """Ask every server whether it answers, can be written and is fit for what we keep there.

        Args:
            durable: whether what is kept has to stay, as keys, sessions and money do. Then a server that evicts is refused, and
                one without a log is `degraded`; for limits eviction is `degraded` and a log is not needed.

        Raises:
            StoreUnavailableError: it does not answer, does not let us in, or cannot be written.
            StoreIncompatibleError: it is too old, or would lose what has to stay; with the cure.
        """
        place = self._here()
        seconds = self.timeout_seconds
        nodes = await place.everybody(place.loop.time() + seconds)
        results = []
        for node in nodes:
            await self._write_at(place, node)
            results.append(await inspect(node, place.loop.time() + seconds, durable=durable))
        return worst(results)

    async def aclose(self) -> None:
        """Close the connections of this event loop; who waits is answered with an error. The next use opens again."""
        place = self._places.pop(asyncio.get_running_loop(), None)
        if self._last is place:
            self._last = None
        if place is not None:
            await place.aclose()

    def before_fork(self) -> None:
        """See `ForkAware`."""

    def after_fork_in_parent(self) -> None:
        """See `ForkAware`."""

    def after_fork_in_child(self) -> None:
        """See `ForkAware`: what is open belongs to the parent."""
        # Kept, because tasks and connections that nobody ends complain when they are collected.
        self._left += self._places.values()
        self._places = {}
        self._last = None

    def _here(self) -> Here:
        loop = asyncio.get_running_loop()
        place = self._last
        if place is None or place.loop is not loop:
            place = self._places.get(loop)
            if place is None:
                self._forget_ended()
                place = self._places[loop] = Here(self._target, self.timeout_seconds)
            self._last = place
        return place

    def _forget_ended(self) -> None:
        for loop in [loop for loop in self._places if loop.is_closed()]:
            del self._places[loop]

    async def _write_at(self, place: Here, node: Node) -> None:
        key = "pk:check" if not self.is_cluster else _key_on(place, node)
        try:
            written = await place.ask(*_call(_CHECK, (key,), ()), place.loop.time() + self.timeout_seconds)
        except ResponseError as error:
            message = f"{node.name} cannot be written: {error}"
            raise StoreUnavailableError(message) from error
        if written != 1:
            message = f"{node.name} did not keep what was written"
            raise StoreUnavailableError(message)


_SHARED: WeakValueDictionary[tuple[str, float], RedisLink] = WeakValueDictionary()


def _call(
    script: Script, keys: Sequence[str], args: Sequence[str | bytes | int]
) -> tuple[str, Command, Command]:
    """The key it goes by; the command by the script's name, and with its text for a server that does not know it."""
    tail = (len(keys), *keys, *args)
    return keys[0] if keys else "", ("EVALSHA", script.sha, *tail), ("EVAL", script.text, *tail)


def _key_on(place: Here, node: Node) -> str:
    """A key of ours that is on *node* of a cluster."""
    topology = place.topology
    names = (f"pk:check:{number}" for number in range(_TRIED))
    found = next((key for key in names if topology and topology.address_of(key) == node.address), None)
    if found is None:
        message = f"{node.name} has none of the slots that were tried"
        raise StoreUnavailableError(message)
    return found
