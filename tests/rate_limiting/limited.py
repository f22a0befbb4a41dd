"""A small application behind limits, with its clock and its clients."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.core.clock import FakeClock
from prodkit.core.features import Layer
from prodkit.core.identity import Principal
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.proxies import Proxies
from tests.support.recording import Recorder, guarding

ADDRESS = ("203.0.113.7", 50_000)


def identify(context: Any) -> None:
    """Stands for authentication: believes a header."""
    given = context.headers.get(b"x-caller", b"").decode()
    if given:
        context.principal = Principal(id=given, kind="test", tenant=given[0])


class App:
    """A small application behind *features*, with its clock and its clients."""

    def __init__(self, *features: Any, app: FastAPI | None = None) -> None:
        self.clock = FakeClock()
        self.app = app or FastAPI()
        self.recorder = Recorder()
        identity = guarding(Layer.IDENTITY, identify, "identity")
        self.kit = install(
            self.app, Proxies(), Correlation(), identity, self.recorder, *features, clock=self.clock
        )

        @self.app.get("/")
        async def root() -> str:
            return "ok"

    def client(self, address: str | None = None) -> TestClient:
        client = ADDRESS if address is None else (address, 50_000)
        return TestClient(self.app, client=client, raise_server_exceptions=False)

    def statuses(
        self, times: int, path: str = "/", caller: str = "", address: str | None = None
    ) -> list[int]:
        client = self.client(address)
        headers = {"X-Caller": caller} if caller else {}
        return [client.get(path, headers=headers).status_code for _ in range(times)]
