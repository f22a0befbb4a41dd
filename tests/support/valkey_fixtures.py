"""Fixtures over `tests.support.valkey`; import them into the module that uses them.

A server of one's own, to stop or kill, is made in the test with `running_valkey`, `running_cluster` or `running_sentinel`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.valkey import SentinelSet, running_sentinel, shared_cluster, shared_redis, shared_valkey

__all__ = ["redis_server", "sentinel", "server", "valkey", "valkey_cluster"]


@pytest.fixture
def valkey() -> str:
    """URL of an empty Valkey."""
    one = shared_valkey()
    one.ask("FLUSHALL")
    return one.url


@pytest.fixture
def server(valkey: str) -> Iterator[Any]:  # a client of redis-py
    """The server of `valkey` as any other program sees it."""
    with shared_valkey().client() as client:
        yield client


@pytest.fixture
def redis_server() -> str:
    """URL of an empty Redis."""
    one = shared_redis()
    one.ask("FLUSHALL")
    return one.url


@pytest.fixture
def valkey_cluster() -> str:
    """URL of an empty cluster of three masters."""
    cluster = shared_cluster()
    cluster.flush()
    return cluster.url


@pytest.fixture
def sentinel() -> Iterator[SentinelSet]:
    """A master, a replica and a Sentinel of the test's own; it may kill any of them."""
    with running_sentinel() as group:
        yield group
