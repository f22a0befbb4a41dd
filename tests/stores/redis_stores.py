"""What the tests of stores in Redis share."""

from __future__ import annotations

import asyncio
import contextlib
import traceback

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError


async def answering(store):
    """Until the server is asked again: one that failed is left alone for a moment."""
    for _ in range(400):
        try:
            await store.find("k")
        except StoreUnavailableError:
            await asyncio.sleep(0.02)
        else:
            return
    raise AssertionError("it does not come back")


@contextlib.asynccontextmanager
async def silent_server():
    """The port of something that takes connections and never answers."""
    ends = []

    async def silent(reader, writer):
        ends.append(writer)

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for writer in ends:
            writer.close()
        await listening.wait_closed()


async def complaint(act):
    """What *act* says of data that is not ours, a traceback with it; empty when it says nothing."""
    try:
        await act()
    except StoreIncompatibleError as error:
        return "".join(traceback.format_exception(error))
    return ""
