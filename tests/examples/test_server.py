"""The local server speaks Parallel's protocol: seen with the official SDK, and without it."""

from __future__ import annotations

import httpx
import pytest
from parallel import AsyncParallel, AuthenticationError, NotFoundError, Parallel, UnprocessableEntityError

from examples.research_agents.local_parallel.server import create_server

TOKEN = "token-of-the-local-server-in-tests"


@pytest.fixture
def client(local_url: str):
    with Parallel(api_key=TOKEN, base_url=local_url, max_retries=0) as client:
        yield client


def test_the_sdk_searches_it_unchanged(client: Parallel) -> None:
    """Results, ids, session and usage arrive as the SDK's own types."""
    found = client.search(
        search_queries=["What does the nonlocal statement do?"], mode="fast", session_id="s-1"
    )
    assert found.results[0].url == "pydoc:nonlocal"
    assert found.results[0].title
    assert "previously bound variables" in found.results[0].excerpts[0]
    assert found.search_id.startswith("search_")
    assert found.session_id == "s-1"
    assert found.usage is not None
    assert [(item.name, item.count) for item in found.usage] == [("sku_search", 1)]
    assert found.warnings is None


def test_nothing_found_is_an_empty_list_with_a_warning(client: Parallel) -> None:
    """And it is still a search that is counted."""
    found = client.search(search_queries=["Who won the football world cup in 2018?"])
    assert found.results == []
    assert found.warnings is not None
    assert "covers" in found.warnings[0].message
    assert found.session_id.startswith("session_")


def test_the_async_sdk_works_too_and_options_are_honoured(local_url: str) -> None:
    """`max_results`, lengths and source policies do what they say."""

    async def ask() -> None:
        async with AsyncParallel(api_key=TOKEN, base_url=local_url, max_retries=0) as client:
            found = await client.search(
                search_queries=["How are exceptions handled?", "What is a generator function?"],
                mode="advanced",
                max_chars_total=500,
                advanced_settings={
                    "max_results": 40,
                    "excerpt_settings": {"max_chars_per_result": 120},
                    "source_policy": {"include_domains": ["pydoc"]},
                },
            )
            assert found.results
            assert all(result.url.startswith("pydoc:") for result in found.results)
            assert all(len(excerpt) <= 120 for result in found.results for excerpt in result.excerpts)
            assert sum(len(excerpt) for result in found.results for excerpt in result.excerpts) <= 500
            outside = await client.search(
                search_queries=["What is a generator function?"],
                advanced_settings={"source_policy": {"exclude_domains": ["pydoc", "package", "docs"]}},
            )
            assert outside.results == []

    import asyncio

    asyncio.run(ask())


def test_results_beyond_ten_are_counted_apart(client: Parallel) -> None:
    """As Parallel prices them."""
    found = client.search(
        search_queries=["string", "class", "object", "function"],
        mode="advanced",
        advanced_settings={"max_results": 15},
    )
    assert found.usage is not None
    usage = {item.name: item.count for item in found.usage}
    assert len(found.results) == 15
    assert usage["sku_search_additional_results"] == 5


def test_pages_are_extracted_by_url(client: Parallel) -> None:
    """Known ones with excerpts and full content, unknown ones as errors; only the known are counted."""
    read = client.extract(
        urls=["pydoc:nonlocal", "pydoc:nothing-of-this-name"],
        objective="collide with bindings",
        advanced_settings={"full_content": True},
    )
    assert [result.url for result in read.results] == ["pydoc:nonlocal"]
    assert "nonlocal_stmt" in (read.results[0].full_content or "")
    assert "must not collide" in read.results[0].excerpts[0]
    assert [(error.url, error.error_type) for error in read.errors] == [
        ("pydoc:nothing-of-this-name", "not_found")
    ]
    assert read.usage is not None
    assert [(item.name, item.count) for item in read.usage] == [("sku_extract_excerpts", 1)]


def test_a_wrong_key_is_401_in_the_wire_format(local_url: str) -> None:
    """Neither header alone nor a prefix of the token is enough."""
    with (
        Parallel(api_key=TOKEN[:-1], base_url=local_url, max_retries=0) as client,
        pytest.raises(AuthenticationError) as caught,
    ):
        client.search(search_queries=["x"])
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert set(body["error"]) == {"ref_id", "message", "detail"}


def test_a_bearer_token_is_taken_too(local_url: str) -> None:
    """OpenAI's SDK sends one."""
    answer = httpx.post(
        f"{local_url}/v1/search",
        json={"search_queries": ["nonlocal"]},
        headers={"Authorization": f"Bearer {TOKEN}"},
        trust_env=False,
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"search_queries": []},
        {"search_queries": ["x"], "colour": "vermilion"},
        {"search_queries": ["x"], "mode": "turbo2"},
        {"search_queries": ["x"], "advanced_settings": {"max_result": 3}},
        {"search_queries": [""]},
    ],
)
def test_a_bad_request_is_422(client: Parallel, body: dict[str, object]) -> None:
    """Unknown fields included; the answer names the place and does not repeat the value."""
    with pytest.raises(UnprocessableEntityError) as caught:
        client.post("/v1/search", body=body, cast_to=object)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["detail"]["errors"]
    assert "vermilion" not in str(caught.value.body)


def test_unknown_paths_and_large_bodies_are_errors_in_the_wire_format(
    client: Parallel, local_url: str
) -> None:
    """The SDK turns them into its own exceptions."""
    with pytest.raises(NotFoundError):
        client.post("/v1/nothing", body={}, cast_to=object)
    answer = httpx.post(
        f"{local_url}/v1/search", content=b" " * 600_000, headers={"x-api-key": TOKEN}, trust_env=False
    )
    assert answer.status_code == 413
    assert answer.json()["type"] == "error"
    assert httpx.get(f"{local_url}/health", trust_env=False).json()["passages"] > 500


def test_a_guessable_token_is_refused() -> None:
    """The server is reachable by every user of the machine; its token is all that protects it."""
    with pytest.raises(ValueError, match="16 characters"):
        create_server("short")
