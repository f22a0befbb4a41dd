"""Chat completions, driven by OpenAI's own client against the real process."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI, AuthenticationError, OpenAI, UnprocessableEntityError
from pydantic import BaseModel

QUESTION = "What does the nonlocal statement do?"
SOURCES = {
    "sources": [
        {"n": 3, "url": "document:a", "title": "Velkor", "text": "Velkor Dynamics employs 340 people."},
        {"n": 7, "url": "document:b", "title": "Morvik", "text": "Morvik Systems was founded in 1987."},
    ]
}


def test_openais_client_gets_an_answer_with_its_basis(openai: OpenAI) -> None:
    """Each `[n]` of the text has an entry that says where it is from; what Parallel ignores is ignored."""
    answer = openai.chat.completions.create(
        model="base",
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}],
        temperature=0.3,
        max_tokens=100,
        tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
    )
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.model == "base"
    assert answer.usage is None
    choice = answer.choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant"
    assert "previously bound variables" in (choice.message.content or "")
    assert "[1]" in (choice.message.content or "")
    more = answer.model_extra
    assert more is not None
    assert more["interaction_id"].startswith("interaction_")
    assert more["basis"][0]["field"] == "[1]"
    assert more["basis"][0]["citations"][0]["url"] == "pydoc:nonlocal"


@pytest.mark.parametrize("path", ["", "/v1", "/v1beta"])
def test_a_stream_is_the_same_text_in_pieces(openai: OpenAI, faulty_url: str, path: str) -> None:
    """On each of the three paths; the last chunk carries the basis, and no chunk counts tokens."""
    client = openai.with_options(base_url=f"{faulty_url}{path}")
    whole = client.chat.completions.create(model="core", messages=[{"role": "user", "content": QUESTION}])
    stream = client.chat.completions.create(
        model="core",
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert len(chunks) > 3
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert all(chunk.usage is None for chunk in chunks)
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert (chunks[-1].model_extra or {})["basis"] == (whole.model_extra or {})["basis"]


async def test_the_async_client_streams_too(async_openai: AsyncOpenAI) -> None:
    """And several at once keep apart."""

    async def ask(topic: str) -> str:
        stream = await async_openai.chat.completions.create(
            model="speed",
            messages=[{"role": "user", "content": f"What does the {topic} statement do?"}],
            stream=True,
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    topics = ["nonlocal", "global", "assert", "del"]
    answers = await asyncio.gather(*(ask(topic) for topic in topics))
    for topic, answer in zip(topics, answers, strict=True):
        assert topic in answer


def test_the_stream_ends_as_openai_ends_it(provider: Any) -> None:
    """`[DONE]`, and each line is an event that any reader of server-sent events understands."""
    body = {"model": "speed", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    answer = provider.post("/chat/completions", body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-local-engine"] == "extractive"
    assert answer.text.endswith("data: [DONE]\n\n")
    events = answer.text.split("\n\n")[:-2]
    assert all(json.loads(one.removeprefix("data: "))["object"] == "chat.completion.chunk" for one in events)


@pytest.mark.parametrize("form", ["```json\n{}\n```", "{}", "Use these.\n{}\nThank you."])
def test_sources_in_a_message_are_cited_by_their_numbers(openai: OpenAI, form: str) -> None:
    """Whether the object stands in a fence, alone, or between words."""
    answer = openai.chat.completions.create(
        model="base",
        messages=[
            {"role": "system", "content": form.replace("{}", json.dumps(SOURCES))},
            {"role": "user", "content": "How many people does Velkor Dynamics employ?"},
        ],
    )
    content = answer.choices[0].message.content or ""
    assert "Velkor Dynamics employs 340 people. [3]" in content
    entry = next(one for one in (answer.model_extra or {})["basis"] if one["field"] == "[3]")
    assert entry["citations"][0]["url"] == "document:a"


def test_what_the_corpus_adds_is_numbered_after_the_given_sources(openai: OpenAI) -> None:
    """A number never means two things."""
    request = f"How many people does Velkor Dynamics employ, and what does the nonlocal statement do?\n{json.dumps(SOURCES)}"
    answer = openai.chat.completions.create(model="core", messages=[{"role": "user", "content": request}])
    fields = {one["citations"][0]["url"]: one["field"] for one in (answer.model_extra or {})["basis"]}
    assert fields["document:a"] == "[3]"
    assert fields["pydoc:nonlocal"] == "[8]"


def test_documents_come_before_the_corpus(openai: OpenAI) -> None:
    """The same object as in a task."""
    given = {"question": "How many people does Velkor Dynamics employ?", "documents": SOURCES["sources"]}
    answer = openai.chat.completions.create(
        model="base", messages=[{"role": "user", "content": json.dumps(given)}]
    )
    assert "340 people" in (answer.choices[0].message.content or "")
    assert (answer.model_extra or {})["basis"][0]["citations"][0]["url"] == "document:a"


def test_what_nothing_tells_is_said_to_be_not_found(openai: OpenAI) -> None:
    """With an empty basis."""
    answer = openai.chat.completions.create(
        model="core", messages=[{"role": "user", "content": "Who won the football world cup in 2018?"}]
    )
    assert "not found" in (answer.choices[0].message.content or "").lower()
    assert (answer.model_extra or {})["basis"] == []


def test_json_is_answered_by_its_schema(openai: OpenAI) -> None:
    """The official client parses it into the caller's class."""

    class Verdict(BaseModel):
        verdict: str
        reasoning: str

    given = {"claim": "Velkor Dynamics employs 340 people.", "documents": SOURCES["sources"]}
    answer = openai.chat.completions.parse(
        model="core", messages=[{"role": "user", "content": json.dumps(given)}], response_format=Verdict
    )
    assert answer.choices[0].message.parsed is not None
    assert answer.choices[0].message.parsed.verdict == "supported"


def test_parts_of_a_message_are_read(openai: OpenAI) -> None:
    """Text parts only; a picture is nothing this server could look at."""
    answer = openai.chat.completions.create(
        model="speed",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": QUESTION},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                ],
            }
        ],
    )
    assert "nonlocal" in (answer.choices[0].message.content or "")


def test_errors_are_exceptions_of_the_client(openai: OpenAI) -> None:
    """A wrong key, an unknown model, nothing asked."""
    asked = [{"role": "user", "content": QUESTION}]
    with pytest.raises(AuthenticationError):
        openai.with_options(api_key="wrong").chat.completions.create(model="base", messages=asked)
    with pytest.raises(APIStatusError) as caught:
        openai.chat.completions.create(model="gpt-9", messages=asked)
    assert caught.value.status_code == 403
    for messages in ([{"role": "assistant", "content": "Hello."}], [{"role": "user", "content": "  "}], []):
        with pytest.raises(UnprocessableEntityError):
            openai.chat.completions.create(model="base", messages=messages)
