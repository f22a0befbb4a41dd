"""Texts of the Chat API: pieces as they arrive, a true end, and one charge."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from examples.research_agents.upstream import Basis, Citation, ParallelChat, Upstream, UpstreamError
from prodkit.metering import EnvelopeExhaustedError, PriceBook
from tests.support.paid_provider import Provider, Reply, books, events, provider
from tests.support.research import settings_for

PRICES = PriceBook.load("parallel")
SPEED = 5_000_000
MESSAGES = [{"role": "user", "content": "write"}]


def chunk(text: str, **more: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}], **more}


END = {
    "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    "model": "speed",
    "interaction_id": "inter_1",
    "basis": [
        {"field": "[1]", "reasoning": "", "citations": [{"url": "u", "title": "T", "excerpts": ["e"]}]}
    ],
}


async def text_of(
    reply: Reply, *, amount_nano: int = 10**9, timeout_seconds: float = 5.0
) -> tuple[list[str], Any, ParallelChat, Provider, list[tuple[str, int, bool]]]:
    """The pieces, the error if any, the chat, the provider and the entries with an amount."""
    async with (
        provider(reply) as other,
        books(amount_nano) as book,
        Upstream(settings_for(other.url), PRICES) as upstream,
    ):
        chat = upstream.for_run(book.envelope).chat(
            MESSAGES, model="speed", previous_interaction_id="inter_0", timeout_seconds=timeout_seconds
        )
        pieces, failed = [], None
        try:
            async for piece in chat:
                pieces.append(piece)  # noqa: PERF401 - what had come before a failure counts
        except Exception as error:
            failed = error
        return pieces, failed, chat, other, [entry for entry in await book.closed() if entry[1]]


async def test_pieces_arrive_and_the_basis_follows() -> None:
    """Text in order, then what it rests on and how to go on; paid per request."""
    pieces, error, chat, other, entries = await text_of(events(chunk("one "), chunk("two"), END, done=True))
    assert (pieces, error) == (["one ", "two"], None)
    assert chat.basis == (Basis("[1]", "", (Citation("u", "T", ("e",)),)),)
    assert (chat.interaction_id, chat.model) == ("inter_1", "speed")
    [seen] = other.seen
    assert (seen.path, seen.headers["authorization"]) == (
        "/v1beta/chat/completions",
        "Bearer key-of-the-tests".lower(),
    )
    assert seen.body == {
        "model": "speed",
        "messages": MESSAGES,
        "stream": True,
        "previous_interaction_id": "inter_0",
    }
    assert entries == [("settled", SPEED, False)]


async def test_an_answer_that_is_not_streamed_is_read_too() -> None:
    """Some stand-ins for the API do not stream."""
    whole = {**END, "choices": [{"message": {"content": "all"}, "finish_reason": "stop"}]}
    pieces, error, chat, _, entries = await text_of(Reply(body=whole))
    assert (pieces, error, chat.interaction_id) == (["all"], None, "inter_1")
    assert entries == [("settled", SPEED, False)]


@pytest.mark.parametrize("cut", [0, 20, 120, 200, None])
async def test_a_text_that_breaks_off_does_not_look_whole(cut: int | None) -> None:
    """Without its end it is an error, also where the connection closes politely; charged, and flagged where that is true."""
    pieces, error, _, _, entries = await text_of(
        events(chunk("one "), chunk("two "), chunk("three"), cut=cut)
    )
    assert len(pieces) < 3 or cut is None
    assert isinstance(error, UpstreamError)
    assert (error.status, error.billable) == (502, True)
    assert [entry[:2] for entry in entries] == [("settled", SPEED)]


async def test_an_end_without_the_last_line_is_an_end() -> None:
    """`finish_reason` says it as well as `[DONE]`."""
    pieces, error, _, _, _ = await text_of(events(chunk("one"), END))
    assert (pieces, error) == (["one"], None)


@pytest.mark.parametrize(
    "reply",
    [
        events(chunk("one"), {"error": {"message": "secret"}}),
        Reply(body=b"data: {broken\n\n", headers={"content-type": "text/event-stream"}),
        Reply(body=b"data: [1]\n\n", headers={"content-type": "text/event-stream"}),
        Reply(body=b"data: " + b"x" * 5_000_000, headers={"content-type": "text/event-stream"}),
        Reply(body=b"{broken"),
        Reply(500, b"secret"),
        Reply(None),
    ],
    ids=lambda reply: str(reply)[:60],
)
async def test_a_failure_is_told_without_their_words(reply: Reply) -> None:
    """502 and no more; what was begun is charged."""
    _, error, _, other, entries = await text_of(reply)
    assert isinstance(error, UpstreamError)
    assert (error.status, error.billable) == (502, True)
    assert "secret" not in str(error)
    assert len(other.seen) == 1
    assert [entry[1] for entry in entries] == [SPEED]


async def test_a_refusal_costs_nothing() -> None:
    """Busy is 503 with the time to wait."""
    _, error, _, _, entries = await text_of(Reply(429, {}, {"retry-after": "3"}))
    assert isinstance(error, UpstreamError)
    assert (error.status, error.retry_after_seconds, entries) == (503, 3, [])


async def test_what_does_not_fit_is_not_sent() -> None:
    """Told as it is."""
    _, error, _, other, _ = await text_of(events(END), amount_nano=1)
    assert isinstance(error, EnvelopeExhaustedError)
    assert other.seen == []


@pytest.mark.parametrize(
    "reply", [Reply(hang=-1), events(chunk("one"), hang=100), events(chunk("x"), END, drip=0.05)]
)
async def test_the_whole_text_is_bounded(reply: Reply) -> None:
    """A server that hangs or drips does not hold us for ever."""
    _, error, _, _, entries = await text_of(reply, timeout_seconds=0.2)
    assert isinstance(error, UpstreamError)
    assert (error.status, error.billable) == (504, True)
    assert [entry[1] for entry in entries] == [SPEED]


async def test_nothing_is_sent_before_it_is_read() -> None:
    """A chat that nobody reads costs nothing."""
    async with provider(events(END)) as other, books() as book:
        async with Upstream(settings_for(other.url), PRICES) as upstream:
            await upstream.for_run(book.envelope).chat(MESSAGES, model="speed").aclose()
        assert (other.seen, await book.closed()) == ([], [])


async def test_a_reader_may_leave() -> None:
    """Closing the chat closes the connection, and what was begun is charged."""
    async with (
        provider(events(chunk("one"), chunk("two"), hang=110)) as other,
        books() as book,
        Upstream(settings_for(other.url), PRICES) as upstream,
    ):
        async with aclosing(upstream.for_run(book.envelope).chat(MESSAGES, model="speed")) as chat:
            async for piece in chat:
                assert piece == "one"
                break
        await asyncio.wait_for(other.left.wait(), 2)
        assert await book.closed() == [("settled", SPEED, True)]


async def test_a_reader_may_be_cancelled() -> None:
    """While it waits for the next piece."""
    async with (
        provider(events(chunk("one"), hang=110)) as other,
        books() as book,
        Upstream(settings_for(other.url), PRICES) as upstream,
    ):
        chat = upstream.for_run(book.envelope).chat(MESSAGES, model="speed")
        first = asyncio.Event()

        async def read() -> None:
            async for _ in chat:
                first.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(first.wait(), 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(other.left.wait(), 2)
        assert await book.closed() == [("settled", SPEED, True)]
