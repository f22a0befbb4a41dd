"""The way to one Redis, however it is deployed: alone, behind Sentinels, as a cluster, over TLS.

Everything that a store of ours asks is a script, so a verb is one round trip and atomic. Nobody waits longer than the bound,
nothing is tried twice by the client, and a Redis that does not answer is left alone for a moment.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from prodkit.core.exceptions import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class RedisLink:
    """Connections to one Redis; see the module."""

    def __init__(self, url: str, *, timeout_seconds: float = 0.1) -> None:
        """Open nothing yet."""
        self.url = url
        self.timeout_seconds = timeout_seconds
        self.is_cluster = False
        self._clients: dict[asyncio.AbstractEventLoop, Any] = {}

    @staticmethod
    def shared(url: str, *, timeout_seconds: float = 0.1) -> RedisLink:
        """Return this process's one link for *url* and *timeout_seconds*, made at the first call."""
        return RedisLink(url, timeout_seconds=timeout_seconds)

    def node_of(self, key: str) -> str:
        """Which server *key* is on: what is asked of one server can travel together."""
        del key
        return ""

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[str | bytes | int] = (),
        *,
        timeout_seconds: float | None = None,
    ) -> Any:  # what the script returns: int, bytes, None or a list of such
        """Run *script* and return what it returns: whole numbers, bytes, None, or lists of them.

        Raises:
            StoreUnavailableError: no answer in time, or an error that may pass.
            redis.exceptions.ResponseError: the script itself failed; a mistake of ours.
        """
        client = self._client()
        try:
            async with asyncio.timeout(timeout_seconds or self.timeout_seconds):
                try:
                    return await client.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
                except NoScriptError:
                    return await client.execute_command("EVAL", script.text, len(keys), *keys, *args)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailableError(str(error)) from error

    async def check(self) -> None:
        """Return if it answers, reads and writes; see `prodkit.stores.Store.check`."""

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _client(self) -> Any:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = redis.from_url(
                self.url, socket_timeout=self.timeout_seconds, retry=Retry(NoBackoff(), 0), protocol=2
            )
        return client
