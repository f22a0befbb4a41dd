"""A local server whose misbehaviour can be ordered, as a process, and clients of every kind for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from openai import AsyncOpenAI, OpenAI
from parallel import AsyncParallel, Parallel

from tests.support.local_server import Provider, local_server

TOKEN = "token-of-the-faulty-server-in-tests"


@pytest.fixture(scope="session")
def faulty_url() -> Iterator[str]:
    """The process, started with LOCAL_PARALLEL_FAULTS=1."""
    with local_server(TOKEN, LOCAL_PARALLEL_FAULTS="1") as url:
        yield url


@pytest.fixture
def provider(faulty_url: str) -> Iterator[Provider]:
    provider = Provider(faulty_url, TOKEN)
    yield provider
    provider.close()


@pytest.fixture
def client(faulty_url: str) -> Iterator[Parallel]:
    with Parallel(api_key=TOKEN, base_url=faulty_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(faulty_url: str) -> AsyncIterator[AsyncParallel]:
    async with AsyncParallel(api_key=TOKEN, base_url=faulty_url, max_retries=0) as client:
        yield client


@pytest.fixture
def openai(faulty_url: str) -> Iterator[OpenAI]:
    """As Parallel's documentation sets it up: the base URL without a path."""
    with OpenAI(api_key=TOKEN, base_url=faulty_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_openai(faulty_url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=TOKEN, base_url=f"{faulty_url}/v1beta", max_retries=0) as client:
        yield client
