"""Fixtures over `tests.support.valkey`; import them into the module that uses them.

A server of one's own, to stop or kill, is made in the test with `running_valkey`, `running_cluster` or `running_sentinel`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.valkey import SentinelSet, running_sentinel, shared_cluster, shared_redis, shared_valkey

__all__ = ["redis_server", "sentinel", "valkey", "valkey_cluster"]


@pytest.fixture
def valkey() -> str:
    """URL of an empty Valkey."""
    server = shared_valkey()
    server.ask("FLUSHALL")
    return server.url


@pytest.fixture
def redis_server() -> str:
    """URL of an empty Redis."""
    server = shared_redis()
    server.ask("FLUSHALL")
    return server.url


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
