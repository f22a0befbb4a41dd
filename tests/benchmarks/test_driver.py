"""Driving an application without a server: what is measured must be the request that was meant."""

from __future__ import annotations

import pytest

from benchmarks.driver import Driver, UnexpectedAnswerError


def answering(status: int, seen: list[dict] | None = None, told: list[str] | None = None):
    """An ASGI application that answers *status* and writes down what it was given."""

    async def app(scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                message = await receive()
                if told is not None:
                    told.append(message["type"])
                await send({"type": f"lifespan.{kind}.complete"})
            return
        if seen is not None:
            seen.append(scope)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


async def test_refusals_are_not_measured() -> None:
    """An application that refuses is cheap; its figure would look like a success."""
    async with Driver(answering(429), (), "/") as driver:
        with pytest.raises(UnexpectedAnswerError, match="429"):
            await driver.requests(1)


async def test_lifespan_runs_around_the_requests() -> None:
    """Start-up before, shutdown after: features start their work there."""
    told: list[str] = []
    async with Driver(answering(200, told=told), (), "/") as driver:
        assert told == ["lifespan.startup"]
        await driver.requests(1)
    assert told == ["lifespan.startup", "lifespan.shutdown"]


async def test_headers_are_new_objects_for_each_request() -> None:
    """A `bytes` keeps its hash, so headers of an earlier request would be cheaper to look up than a socket's."""
    seen: list[dict] = []
    async with Driver(answering(200, seen), ((b"x-api-key", b"secret"),), "/") as driver:
        await driver.requests(2)
    (first_name, first_value), (second_name, second_value) = seen[0]["headers"][0], seen[1]["headers"][0]
    assert (first_name, first_value) == (second_name, second_value) == (b"x-api-key", b"secret")
    assert first_name is not second_name
    assert first_value is not second_value
