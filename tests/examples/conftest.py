"""The local server as a process, servers on real sockets, and an upstream that misbehaves on demand."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from examples.research_agents.local_parallel.corpus import passages
from examples.research_agents.local_parallel.index import CorpusIndex
from examples.research_agents.serving import bind
from examples.research_agents.settings import ResearchSettings
from tests.support.local_server import local_server
from tests.support.research import bearer, research_app

TOKEN = "token-of-the-local-server-in-tests"


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> CorpusIndex:
    """The real corpus of this machine, indexed once."""
    built = CorpusIndex(tmp_path_factory.mktemp("corpus") / "corpus.db")
    built.build(passages())
    return built


@pytest.fixture(scope="session")
def local_url() -> Iterator[str]:
    """The local Parallel server, as `make demo` starts it."""
    with local_server(TOKEN) as url:
        yield url


@pytest.fixture
def settings(local_url: str) -> ResearchSettings:
    return ResearchSettings(parallel_api_key=TOKEN, parallel_base_url=local_url)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: pytest keeps its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
def serve() -> Callable[[Any], contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]:
    """`async with serve(app) as client`: *app* on a real socket, with its lifespan."""

    @contextlib.asynccontextmanager
    async def serving(app: Any) -> AsyncIterator[httpx.AsyncClient]:
        with bind("127.0.0.1", 0) as listener:
            server = _Server(
                uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2)
            )
            task = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:
                assert not task.done(), "the application did not start"
                await asyncio.sleep(0.01)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=url, timeout=15, trust_env=False) as client:
                yield client
            server.should_exit = True
            await task

    return serving


@dataclass
class Upstream:
    """A server in place of Parallel.

    Attributes:
        url: where it listens.
        calls: requests that arrived whole.
        arrived: set when the first one has.
        left: set when a client closed its connection before it had an answer.
    """

    url: str = ""
    calls: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture
def open_research(
    serve: Any, settings: ResearchSettings, tmp_path: Path
) -> Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]:
    """`async with open_research() as ada`: the whole application on a socket, called by ada of acme.

    Keyword arguments go to prodkit's settings; `settings=` takes the place of the usual `ResearchSettings`.
    """

    @contextlib.asynccontextmanager
    async def opened(
        *, settings: ResearchSettings = settings, **sections: Any
    ) -> AsyncIterator[httpx.AsyncClient]:
        async with serve(research_app(tmp_path, settings, **sections)) as client:
            client.headers.update(bearer("ada"))
            yield client

    return opened


@pytest.fixture
async def upstream() -> AsyncIterator[Callable[..., Awaitable[Upstream]]]:
    """`await upstream(status, body, headers)` starts one that answers so; `hang=True` one that never answers."""
    servers: list[asyncio.Server] = []
    open_writers: set[asyncio.StreamWriter] = set()

    async def start(
        status: int = 200, body: bytes = b"", headers: str = "", *, hang: bool = False, cut: bool = False
    ) -> Upstream:
        state = Upstream()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            open_writers.add(writer)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                state.calls += 1
                state.arrived.set()
                if hang:
                    if await reader.read(1) == b"":
                        state.left.set()
                elif not cut:
                    writer.write(
                        f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}"
                        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
                        + body
                    )
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                state.left.set()
            finally:
                open_writers.discard(writer)
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return state

    yield start
    for server in servers:
        server.close()
    for writer in list(open_writers):
        writer.close()


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    name: str
    id: str
    data: dict[str, Any]


@pytest.fixture
def read_events() -> Callable[[str], list[Event]]:
    """Parses a whole event stream; comments are dropped."""

    def parse(text: str) -> list[Event]:
        found = []
        for block in text.split("\n\n"):
            fields = dict(
                line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":")
            )
            if fields:
                found.append(Event(fields["event"], fields["id"], json.loads(fields["data"])))
        return found

    return parse
