"""The counter of function calls: everything else in the yardstick rests on its being exact."""

from __future__ import annotations

from benchmarks.calls import Call, beyond, calls_of, count_calls, garbage_of, render
from benchmarks.driver import Driver

HEADERS = ((b"host", b"test"),)


def application(extra_calls: int = 0, garbage: int = 0):
    """An ASGI application that makes twice so many calls, and so many cycles, beyond what it must."""
    numbers = [1]

    def nothing() -> None:
        pass

    async def app(scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        for _ in range(extra_calls):
            nothing()
            len(numbers)
        for _ in range(garbage):
            cycle: list[object] = []
            cycle += [cycle]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * len(numbers)})

    return app


async def counts(**made: int) -> list[int]:
    async with Driver(application(**made), HEADERS, "/") as driver:
        return await count_calls(driver, 5)


async def test_counts_every_call() -> None:
    """Seven calls of a function and seven of a built-in one are fourteen, in each request alike."""
    plain, more = await counts(), await counts(extra_calls=7)
    assert len(set(plain)) == len(set(more)) == 1
    assert more[0] - plain[0] == 14


async def test_listing_has_as_many_calls_as_were_counted_more() -> None:
    """What `--profile` prints is the difference, no more and no less."""
    async with (
        Driver(application(), HEADERS, "/") as bare,
        Driver(application(extra_calls=2), HEADERS, "/") as ours,
    ):
        listed = beyond(await calls_of(ours), await calls_of(bare))
        difference = (await count_calls(ours, 1))[0] - (await count_calls(bare, 1))[0]
    assert len(listed) == difference == 4
    assert "nothing" in render(listed)


def test_call_from_another_place_is_not_additional() -> None:
    """A framework function that a middleware now calls in the framework's place was called before as well."""
    moved = Call("Router.__call__", "pipeline.py", 7)
    new = Call("guard", "pipeline.py", 8)
    assert beyond([moved, new], [Call("Router.__call__", "applications.py", 3)]) == [new]


async def test_garbage_is_found() -> None:
    """A cycle a request is found, and none is none."""
    async with Driver(application(garbage=1), HEADERS, "/") as driver:
        assert await garbage_of(driver, 10) == 10
    async with Driver(application(), HEADERS, "/") as driver:
        assert await garbage_of(driver, 10) == 0
