"""The reference application behind compression: its streams of events stay streams of the same events."""

from __future__ import annotations

from typing import Any

QUESTION = {"message": "What is nonlocal for?"}


def kinds(text: str) -> list[str]:
    """The kinds of events in *text*, each where it came first."""
    names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    return list(dict.fromkeys(names))


async def test_compressed_and_plain_streams_tell_the_same(open_research: Any) -> None:
    """Where events are compressed: the same kinds in the same order, to the last one."""
    told = {}
    async with open_research(compression={"encodings": ["gzip"], "event_streams": True}) as ada:
        for accept, encoding in (("gzip", "gzip"), ("identity", None)):
            headers = {"Accept-Encoding": accept}
            answer = await ada.post("/v1/agents/search/stream", json=QUESTION, headers=headers, timeout=60)
            told[accept] = kinds(answer.text)
            assert answer.headers.get("content-encoding") == encoding
    assert told["gzip"][-1] == "run.completed"
    assert told["gzip"] == told["identity"]


async def test_events_are_not_compressed_by_default(open_research: Any) -> None:
    """Switched on for the rest, streams of events are as they were."""
    async with open_research(compression={"encodings": ["gzip"]}) as ada:
        answer = await ada.post("/v1/agents/search/stream", json=QUESTION, timeout=60)
        assert "content-encoding" not in answer.headers
        assert kinds(answer.text)[-1] == "run.completed"
        assert (await ada.get("/openapi.json")).headers["content-encoding"] == "gzip"
