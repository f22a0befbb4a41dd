"""Sessions and documents over HTTP, where something is missing: a key, a scope, a sane id, the disk."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.research import bearer

HEX = "0123456789abcdef" * 2
CALLS = [
    ("POST", "/v1/sessions", {"agent": "search"}),
    ("GET", "/v1/sessions", None),
    ("GET", f"/v1/sessions/ses_{HEX}", None),
    ("PATCH", f"/v1/sessions/ses_{HEX}", {"title": "x"}),
    ("GET", f"/v1/sessions/ses_{HEX}/messages", None),
    ("DELETE", f"/v1/sessions/ses_{HEX}", None),
    ("POST", "/v1/documents", {"title": "T", "text": "A text."}),
    ("GET", "/v1/documents", None),
    ("GET", f"/v1/documents/doc_{HEX}", None),
    ("DELETE", f"/v1/documents/doc_{HEX}", None),
]


async def test_each_call_needs_a_key_and_the_scope(open_research: Any) -> None:
    """401 without a key, 403 with one that may do something else; neither says whether there is such a thing."""
    async with open_research() as ada:
        for method, path, body in CALLS:
            without = await ada.request(method, path, json=body, headers={"Authorization": ""})
            idle = await ada.request(method, path, json=body, headers=bearer("idle"))
            assert (without.status_code, idle.status_code) == (401, 403), (method, path)
            assert "agents:run" in idle.text
        assert (await ada.get("/v1/sessions")).json()["sessions"] == []
        assert (await ada.get("/v1/documents")).json()["documents"] == []


async def test_a_database_that_is_away_is_a_problem_that_passes(open_research: Any, tmp_path: Path) -> None:
    """Each call is answered with 503 and when to come back; nothing of the inside is told, and it ends by itself."""
    path = tmp_path / "research.db"
    async with open_research() as ada:
        kept = (await ada.post("/v1/sessions", json={"agent": "search", "title": "Kept"})).json()
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            tables = ("sessions", "messages", "documents", "passages", "libraries")
            for table in tables:
                connection.execute(f"ALTER TABLE {table} RENAME TO away_{table}")
            for method, where, body in CALLS:
                answer = await ada.request(method, where, json=body)
                assert answer.status_code == 503, (method, where, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["retry-after"] == "5"
                assert answer.json()["detail"] == "Sessions and documents cannot be reached at the moment."
                assert "SELECT" not in answer.text
                assert "table" not in answer.text
            for table in tables:
                connection.execute(f"ALTER TABLE away_{table} RENAME TO {table}")
        assert (await ada.get(f"/v1/sessions/{kept['id']}")).json() == kept


@pytest.mark.parametrize(
    "wrong",
    [
        HEX,
        f"ses_{HEX}x",
        f"SES_{HEX}",
        f"ses_{HEX.upper()}",
        f"ses_{HEX}%0A",
        f"doc_{HEX}",
        f"run_{HEX}",
        "%00",
        "ses_%",
        "'%20OR%201=1--",
        "x" * 3000,
        "%F0%9F%92%A9",
        "..%2Fses",
    ],
    ids=lambda value: value[:20],
)
async def test_what_is_no_id_is_not_found(open_research: Any, wrong: str) -> None:
    """404, or 400 for what no path can hold, for whatever stands in its place, in every call that takes one, before anything is looked up."""
    async with open_research() as ada:
        for method, path, body in CALLS:
            if HEX not in path:
                continue
            kind = "ses" if "sessions" in path else "doc"
            there = path.replace(f"{kind}_{HEX}", wrong)
            if wrong.startswith(f"{kind}_{HEX}") and wrong == f"{kind}_{HEX}":
                continue
            answer = await ada.request(method, there, json=body)
            expected = 400 if wrong.endswith(("%0A", "%00")) else 404
            assert answer.status_code == expected, (method, there, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=many",
        "after=",
        "after=MTIz",
        "after=%00",
        f"after={'A' * 201}",
        "after=%F0%9F%92%A9",
    ],
)
async def test_pages_that_there_are_not(open_research: Any, query: str) -> None:
    """422 that says which part of the query is wrong, for both lists alike."""
    async with open_research() as ada:
        for path in ("/v1/sessions", "/v1/documents"):
            answer = await ada.get(f"{path}?{query}")
            assert answer.status_code == 422, answer.text
            assert query.partition("=")[0] in json.dumps(answer.json()["errors"])


@pytest.mark.parametrize("after", ["-1", "x", str(2**31), "1.5", "9" * 400])
async def test_positions_that_there_are_not(open_research: Any, after: str) -> None:
    """422, also for a number that no database column holds; the largest that one holds is an empty page."""
    async with open_research() as ada:
        path = (await ada.post("/v1/sessions", json={"agent": "search"})).headers["location"]
        assert (await ada.get(f"{path}/messages", params={"after": after})).status_code == 422
        empty = await ada.get(f"{path}/messages", params={"after": 2**31 - 1})
    assert empty.json() == {"messages": [], "next": None}


@pytest.mark.parametrize("version", [0, -1, 2**31, 1.5, "one", True])
async def test_versions_that_there_are_not(open_research: Any, version: object) -> None:
    """422, and the session stays as it is."""
    async with open_research() as ada:
        path = (await ada.post("/v1/sessions", json={"agent": "search"})).headers["location"]
        answer = await ada.patch(path, json={"title": "x", "version": version})
        found = (await ada.get(path)).json()
    assert answer.status_code == 422, answer.text
    assert (found["title"], found["version"]) == ("", 1)


async def test_half_a_surrogate_pair_is_no_text(open_research: Any) -> None:
    """JSON can say one, and no database and no digest can take it: 422, in every text that callers give."""
    half = '"a\\ud800b"'
    bodies = [
        ("POST", "/v1/documents", f'{{"title": "T", "text": {half}}}'),
        ("POST", "/v1/documents", f'{{"title": {half}, "text": "A text."}}'),
        (
            "POST",
            "/v1/documents",
            f'{{"title": "T", "text": "A text.", "source_url": "https://x.example/{half[1:-1]}"}}',
        ),
        ("POST", "/v1/sessions", f'{{"agent": "search", "title": {half}}}'),
        ("POST", "/v1/sessions", f'{{"agent": {half}}}'),
        ("POST", "/v1/agents/search/chat", f'{{"message": {half}}}'),
    ]
    async with open_research() as ada:
        for method, path, body in bodies:
            answer = await ada.request(
                method, path, content=body.encode(), headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 422, (path, answer.text)
        assert (await ada.get("/v1/documents")).json()["documents"] == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.example/",
        "//x.example/",
        "https://",
        "data:text/html,x",
        "JavaScript:alert(1)//https://",
        'https://x.example/"onclick=',
        "https://x.example/<b>",
        "https://x.example/\n",
        "\nhttps://x.example/",
        f"https://x.example/{'a' * 2000}",
    ],
    ids=lambda value: value[:30],
)
async def test_addresses_that_would_be_no_plain_link(open_research: Any, url: str) -> None:
    """It is shown as a link on somebody's page: anything that is not plainly one is refused."""
    async with open_research() as ada:
        answer = await ada.post("/v1/documents", json={"title": "T", "text": "A.", "source_url": url})
    assert answer.status_code == 422, answer.text
    assert [one["pointer"] for one in answer.json()["errors"]] == ["#/source_url"]


async def test_who_may_use_what_is_dear_can_choose_it(open_research: Any) -> None:
    """With the scope, a session may have a premium processor; somebody without it cannot change it to one, nor ask in it."""
    async with open_research() as ada:
        root = bearer("root")
        made = await ada.post("/v1/sessions", json={"agent": "critic", "processor": "ultra"}, headers=root)
        path = made.headers["location"]
        cheaper = await ada.patch(path, json={"processor": "core"})
        dearer = await ada.patch(path, json={"processor": "ultra"})
        allowed = await ada.patch(path, json={"processor": "ultra"}, headers=root)
        body = {"message": "Water is dry.", "session_id": made.json()["id"]}
        asked = await ada.post("/v1/agents/critic/chat", json=body)
        spent = (await ada.get("/v1/usage")).json()["total_usd"]
    statuses = [one.status_code for one in (made, cheaper, dearer, allowed, asked)]
    assert statuses == [201, 200, 403, 200, 403]
    assert "agents:premium" in dearer.json()["detail"]
    assert spent == "0"


async def test_a_session_with_an_agent_of_an_older_release(open_research: Any, tmp_path: Path) -> None:
    """It can be read, renamed and deleted; its processor cannot be changed, because nobody knows any."""
    async with open_research() as ada:
        path = (await ada.post("/v1/sessions", json={"agent": "search"})).headers["location"]
        with closing(sqlite3.connect(tmp_path / "research.db")) as connection, connection:
            connection.execute("UPDATE sessions SET agent = 'oracle'")
        changed = await ada.patch(path, json={"processor": "fast"})
        renamed = await ada.patch(path, json={"title": "Old"})
        found = await ada.get(path)
        deleted = await ada.delete(path)
    assert (changed.status_code, renamed.status_code) == (409, 200)
    assert "oracle is not offered" in changed.json()["detail"]
    assert (found.json()["agent"], found.json()["title"]) == ("oracle", "Old")
    assert deleted.status_code == 204


async def test_all_documents_together_have_a_limit(open_research: Any) -> None:
    """Two million characters: the eleventh of the longest is refused with 409 that counts; a smaller one is not lost."""
    async with open_research() as ada:
        for number in range(10):
            body = {"title": f"Long {number}", "text": f"{number}" * 199_000}
            assert (await ada.post("/v1/documents", json=body)).status_code == 201
        full = await ada.post("/v1/documents", json={"title": "Long", "text": "x" * 10_001})
        last = await ada.post("/v1/documents", json={"title": "Last", "text": "x" * 10_000})
    problem = full.json()
    assert full.status_code == 409
    assert (problem["unit"], problem["limit"], problem["used"]) == ("total_characters", 2_000_000, 1_990_000)
    assert last.status_code == 201
