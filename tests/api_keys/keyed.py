"""A small application behind managed keys, and a store that can be broken."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.api_keys import APIKeys
from prodkit.authentication import Authentication, public
from prodkit.core.clock import FakeClock
from prodkit.core.context import CurrentPrincipal, RequestContext
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.identity import Principal
from prodkit.core.problems import Problem
from prodkit.installation import install
from prodkit.stores import KeyRecord
from prodkit.stores.memory import MemoryKeyStore
from tests.support.asgi import http_scope
from tests.support.recording import Contributes

PEPPERS = {"2026-11": "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778"}
ALREADY = 1_750_000_000.0  # where a FakeClock begins


class Breakable(MemoryKeyStore):
    """Counts what it is asked, and answers nothing while it is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.is_broken = False
        self.asked: list[str] = []

    def _ask(self, verb: str) -> None:
        self.asked.append(verb)
        if self.is_broken:
            raise StoreUnavailableError("it is broken")

    def count(self, verb: str) -> int:
        return self.asked.count(verb)

    async def find(self, key_id: str) -> KeyRecord | None:
        self._ask("find")
        await asyncio.sleep(0)  # as every real store does, it lets others run meanwhile
        return await super().find(key_id)

    async def changes_since(self, cursor: int | None) -> Any:
        self._ask("look")
        await asyncio.sleep(0)
        return await super().changes_since(cursor)

    async def touch(self, key_id: str, at: float) -> None:
        self._ask("touch")
        await super().touch(key_id, at)

    async def redigest(self, key_id: str, **how: Any) -> bool:
        self._ask("redigest")
        return await super().redigest(key_id, **how)

    async def put(self, record: KeyRecord) -> None:
        self._ask("put")
        await super().put(record)

    async def revoke(self, key_id: str, at: float) -> bool:
        self._ask("revoke")
        return await super().revoke(key_id, at)


class Keyed:
    """One process: its application, its feature, its clock and its store."""

    def __init__(
        self,
        store: Any = None,
        clock: FakeClock | None = None,
        *features: Any,
        routers: Any = (),
        authenticators: Any = (),
        **options: Any,
    ) -> None:
        self.app = FastAPI()
        self.clock = clock or FakeClock()
        self.store: Any = store if store is not None else Breakable()
        self.feature = APIKeys(**{"peppers": PEPPERS} | options)
        self.keys = self.feature.registry
        self.authenticator = self.feature.authenticator
        self.kit = install(
            self.app,
            Contributes("store", provides=[self.store]),
            Authentication(*authenticators, failures_per_minute=0),
            self.feature,
            *features,
            clock=self.clock,
        )
        for router in routers:
            self.app.include_router(router)

        @self.app.get("/me")
        async def me(principal: CurrentPrincipal) -> dict[str, Any]:
            return {
                "id": principal.id,
                "kind": principal.kind,
                "tenant": principal.tenant,
                "plan": principal.plan,
                "scopes": sorted(principal.scopes),
                "expires_at": principal.expires_at,
                "claims": dict(principal.claims),
            }

        @self.app.get("/open")
        @public
        async def anybody() -> str:
            return "hello"

        self.client = TestClient(self.app, raise_server_exceptions=False)

    async def use(self, key: str | bytes, address: str = "127.0.0.1", **more: Any) -> Principal | None:
        """Whom *key* makes its holder."""
        context = self.context(key, address, **more)
        found = self.authenticator.authenticate(context)
        return await found if inspect.isawaitable(found) else found

    def context(self, key: str | bytes, address: str = "127.0.0.1", **more: Any) -> RequestContext:
        raw = key.encode() if isinstance(key, str) else key
        scope = http_scope("/me", headers=[(b"authorization", b"Bearer " + raw)], client=(address, 5000))
        return RequestContext(self.kit, scope | more, self.clock.monotonic())

    async def status(self, key: str | bytes, **how: Any) -> int:
        """200, or how it is refused."""
        try:
            return 200 if await self.use(key, **how) is not None else 0
        except Problem as problem:
            return problem.status_code

    async def settle(self) -> None:
        """Until everything in the background is done."""
        for task in self.authenticator.background:
            await task


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def changed(key: str, index: int, sign: str) -> str:
    """*key* with another sign in one place."""
    return key[:index] + sign + key[index + 1 :]


def forged(key_format: Any) -> str:
    """A key that nobody issued, and that only a store can tell from one that somebody did."""
    return key_format.issue()[1]
