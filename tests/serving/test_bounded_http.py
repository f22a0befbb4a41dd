"""The setting `http` of uvicorn: its options, what it is handed to, and what it needs."""

from __future__ import annotations

import gc
import pickle
import sys
import weakref

import pytest
import uvicorn

import prodkit.serving
from prodkit.core.exceptions import MissingExtraError, SettingsError
from prodkit.serving import BoundedHTTP, protocols
from prodkit.serving.limits import ConnectionLimits
from tests.serving.harness import FakeServer, hello


@pytest.mark.parametrize(
    "options",
    [
        {"head_seconds": 0},
        {"head_seconds": float("inf")},
        {"max_head_bytes": 10},
        {"write_seconds": -1},
        {"min_write_bytes_per_second": 0},
        {"max_connections": 0},
        {"max_connections_per_address": 0},
    ],
)
def test_impossible_limits_are_refused(options):
    """At construction, by name."""
    with pytest.raises(SettingsError) as caught:
        BoundedHTTP(**options)
    assert f"BoundedHTTP({next(iter(options))}=...)" in str(caught.value)


def test_defaults_are_those_of_the_limits():
    """A limit has one default, wherever it is asked for."""
    assert BoundedHTTP().limits == ConnectionLimits()
    assert prodkit.serving.http.limits == ConnectionLimits()


def test_it_may_be_handed_to_a_worker_process():
    """uvicorn pickles its configuration; what a process has open stays there."""
    copy = pickle.loads(pickle.dumps(BoundedHTTP(parser="h11", head_seconds=3)))  # noqa: S301 - our own
    assert (copy.parser, copy.limits.head_seconds) == ("h11", 3)


async def test_uvicorn_finds_it_by_name():
    """As in `uvicorn --http prodkit.serving:http`."""
    config = uvicorn.Config(hello, http="prodkit.serving:http", log_config=None)
    config.load()
    found: object = config.http_protocol_class
    assert found is prodkit.serving.http


async def test_httptools_is_taken_where_it_is_installed(monkeypatch):
    """As uvicorn does itself; where it is absent, h11 is."""
    assert "BoundedHttpTools" in type(FakeServer(hello, "auto").connect().protocol).__name__
    protocols._with_httptools.cache_clear()
    monkeypatch.delitem(sys.modules, "uvicorn.protocols.http.httptools_impl")
    monkeypatch.setitem(sys.modules, "httptools", None)
    try:
        assert type(FakeServer(hello, "auto").connect().protocol).__name__ == "BoundedH11"
        with pytest.raises(MissingExtraError, match=r"httptools: pip install 'fastapi-prodkit\[server\]'"):
            FakeServer(hello, "httptools").connect()
    finally:
        protocols._with_httptools.cache_clear()


async def test_two_servers_in_a_process_count_for_themselves():
    """What is shared is shared by the connections of one server."""
    first, second = FakeServer(hello), FakeServer(hello)
    first.connect()
    assert (len(first.connections), len(second.connections)) == (1, 0)


async def test_a_server_that_is_gone_leaves_nothing():
    """What is kept for it is kept by what it owns, not the other way round."""
    server = FakeServer(hello)
    clients = [server.connect() for _ in range(3)]
    server.loop.advance(3)
    for client in clients:
        client.end()
    server.loop.advance(3)
    kept = weakref.ref(server.state)
    del server, client, clients
    gc.collect()
    assert kept() is None
