"""Sessions over HTTP: begun, found, changed, deleted; never another tenant's."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from tests.support.research import bearer

NONLOCAL = {"message": "What does the nonlocal statement do?"}


async def test_a_session_is_made_and_found(open_research: Any) -> None:
    """201 with its place; the agent's default processor unless another is named; the title in one line."""
    title = f"On  scopes\n{secrets.token_hex(4)}"
    async with open_research() as ada:
        made = await ada.post("/v1/sessions", json={"agent": "search", "title": title})
        other = await ada.post("/v1/sessions", json={"agent": "analyst", "processor": "base"})
        found = await ada.get(made.headers["location"])
    body = made.json()
    assert made.status_code == 201
    assert made.headers["location"] == f"/v1/sessions/{body['id']}"
    assert (body["agent"], body["processor"], body["version"]) == ("search", "fast", 1)
    assert body["title"] == " ".join(title.split())
    assert other.json()["processor"] == "base"
    assert found.json() == body


async def test_it_is_changed_by_those_who_have_seen_it(open_research: Any) -> None:
    """Processor and title change, the version rises; a change that was based on an older version is refused with 409."""
    async with open_research() as ada:
        path = (await ada.post("/v1/sessions", json={"agent": "search"})).headers["location"]
        first = await ada.patch(path, json={"processor": "turbo", "version": 1})
        stale = await ada.patch(path, json={"title": "Too late", "version": 1})
        second = await ada.patch(path, json={"title": "Scopes"})
        found = (await ada.get(path)).json()
        session = path.rpartition("/")[2]
        answer = await ada.post("/v1/agents/search/chat", json={**NONLOCAL, "session_id": session})
    assert (first.status_code, first.json()["version"]) == (200, 2)
    assert (stale.status_code, stale.json()["version"]) == (409, 2)
    assert (second.json()["title"], second.json()["processor"], second.json()["version"]) == (
        "Scopes",
        "turbo",
        3,
    )
    assert found == second.json()
    assert answer.json()["processor"] == "turbo"


async def test_of_changes_at_once_one_wins(open_research: Any) -> None:
    """Ten that saw the same version: one changes it, nine are told."""
    async with open_research() as ada:
        path = (await ada.post("/v1/sessions", json={"agent": "search"})).headers["location"]
        asked = [ada.patch(path, json={"title": f"Title {n}", "version": 1}) for n in range(10)]
        statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
    assert sorted(statuses) == [200] + [409] * 9


async def test_what_was_said_is_listed_in_order_and_in_pages(open_research: Any) -> None:
    """Questions and answers by position, each answer with its citations and cost; the title is the first question."""
    async with open_research() as ada:
        first = (await ada.post("/v1/agents/search/chat", json=NONLOCAL)).json()
        again = {"message": "What does the global statement do?", "session_id": first["session_id"]}
        second = (await ada.post("/v1/agents/search/chat", json=again)).json()
        path = f"/v1/sessions/{first['session_id']}"
        whole = (await ada.get(f"{path}/messages")).json()
        page = (await ada.get(f"{path}/messages?limit=3")).json()
        rest = (await ada.get(f"{path}/messages?limit=3&after={page['next']}")).json()
        session = (await ada.get(path)).json()
    said = whole["messages"]
    assert [one["position"] for one in said] == [1, 2, 3, 4]
    assert [one["content"] for one in said] == [
        NONLOCAL["message"],
        first["answer"],
        again["message"],
        second["answer"],
    ]
    assert said[0]["detail"] is None
    assert (said[1]["detail"]["cost_usd"], said[1]["run_id"]) == ("0.001", first["run_id"])
    assert said[1]["detail"]["citations"] == first["citations"]
    assert page["messages"] + rest["messages"] == said
    assert (whole["next"], rest["next"]) == (None, None)
    assert session["title"] == NONLOCAL["message"]


async def test_sessions_are_listed_newest_first_and_in_pages(open_research: Any) -> None:
    """Those of the tenant, or only the caller's own; what is made meanwhile shifts no page."""
    async with open_research() as ada:
        made = [(await ada.post("/v1/sessions", json={"agent": "search"})).json()["id"] for _ in range(3)]
        theirs = (await ada.post("/v1/sessions", json={"agent": "search"}, headers=bearer("bob"))).json()[
            "id"
        ]
        await ada.post("/v1/sessions", json={"agent": "search"}, headers=bearer("eve"))
        whole = (await ada.get("/v1/sessions")).json()
        mine = (await ada.get("/v1/sessions?mine=true")).json()
        page = (await ada.get("/v1/sessions?limit=2")).json()
        await ada.post("/v1/sessions", json={"agent": "writer"})
        rest = (await ada.get("/v1/sessions", params={"limit": 2, "after": page["next"]})).json()
        broken = await ada.get("/v1/sessions?after=nonsense")
    listed = [one["id"] for one in whole["sessions"]]
    assert set(listed) == {*made, theirs}
    assert whole["sessions"] == sorted(whole["sessions"], key=lambda one: one["created_at"], reverse=True)
    assert {one["id"] for one in mine["sessions"]} == set(made)
    assert [one["id"] for one in page["sessions"] + rest["sessions"]] == listed
    assert rest["next"] is None
    assert broken.status_code == 422


async def test_a_deleted_session_is_gone_with_what_was_said(open_research: Any) -> None:
    """204, then 404 for itself, its messages, its runs, and whoever wants to go on in it."""
    async with open_research() as ada:
        answer = (await ada.post("/v1/agents/search/chat", json=NONLOCAL)).json()
        path = f"/v1/sessions/{answer['session_id']}"
        deleted = await ada.delete(path)
        after = [
            await ada.get(path),
            await ada.get(f"{path}/messages"),
            await ada.patch(path, json={"title": "x"}),
            await ada.delete(path),
            await ada.get(f"/v1/runs/{answer['run_id']}"),
            await ada.post("/v1/agents/search/chat", json={**NONLOCAL, "session_id": answer["session_id"]}),
        ]
        listed = (await ada.get("/v1/sessions")).json()["sessions"]
        usage = (await ada.get("/v1/usage", params={"session": answer["session_id"]})).json()
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert [one.status_code for one in after] == [404] * 6
    assert listed == []
    assert usage["total_usd"] == "0.001"  # what was spent stays in the books


async def test_deleting_ends_what_is_being_answered(open_research: Any, upstream: Any, settings: Any) -> None:
    """The run is cancelled at once, who waits is told 410, and the call that had left is paid for."""
    silent = await upstream(hang=True)
    slow = settings.model_copy(update={"parallel_base_url": silent.url})
    async with open_research(settings=slow) as ada:
        session = (await ada.post("/v1/sessions", json={"agent": "search"})).json()["id"]
        body = {**NONLOCAL, "session_id": session}
        waiting = asyncio.create_task(ada.post("/v1/agents/search/chat", json=body))
        await asyncio.wait_for(silent.arrived.wait(), 10)
        deleted = await ada.delete(f"/v1/sessions/{session}")
        answer = await waiting
        usage = (await ada.get("/v1/usage")).json()
    assert deleted.status_code == 204
    assert answer.status_code == 410
    assert usage["total_usd"] == "0.001"


async def test_another_tenants_session_does_not_exist(open_research: Any) -> None:
    """The same 404, word for word, as for one that never was; it stays as it is. A colleague sees it."""
    async with open_research() as ada:
        answer = (await ada.post("/v1/agents/search/chat", json=NONLOCAL)).json()
        path, unknown = f"/v1/sessions/{answer['session_id']}", f"/v1/sessions/ses_{secrets.token_hex(16)}"
        eve = bearer("eve")
        refused = [
            [
                await ada.get(one, headers=eve),
                await ada.get(f"{one}/messages", headers=eve),
                await ada.patch(one, json={"title": "mine"}, headers=eve),
                await ada.delete(one, headers=eve),
            ]
            for one in (path, unknown)
        ]
        listed = (await ada.get("/v1/sessions", headers=eve)).json()
        usage = await ada.get("/v1/usage", params={"session": answer["session_id"]}, headers=eve)
        seen = await ada.get(path, headers=bearer("bob"))
    told = [[(one.status_code, one.json()["detail"]) for one in several] for several in refused]
    assert told[0] == told[1] == [(404, "There is no such session.")] * 4
    assert listed["sessions"] == []
    assert usage.status_code == 404
    assert (seen.status_code, seen.json()["title"]) == (200, NONLOCAL["message"])


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({}, 422, "#/agent"),
        ({"agent": "oracle"}, 422, "#/agent"),
        ({"agent": "search", "processor": "ultra"}, 422, "#/processor"),
        ({"agent": "search", "title": "x" * 301}, 422, "#/title"),
        ({"agent": "search", "title": "a\x00b"}, 422, "#/title"),
        ({"agent": "search", "tenant": "rivals"}, 422, "#"),
        ({"agent": "critic", "processor": "ultra"}, 403, None),
    ],
)
async def test_what_cannot_be_begun_is_refused(
    open_research: Any, body: dict[str, str], status: int, pointer: str | None
) -> None:
    """With the place of the fault; nothing is made."""
    async with open_research() as ada:
        answer = await ada.post("/v1/sessions", json=body)
        listed = (await ada.get("/v1/sessions")).json()["sessions"]
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert [one["pointer"] for one in answer.json().get("errors", [])] == ([pointer] if pointer else [])
    assert listed == []


async def test_the_agent_cannot_be_changed(open_research: Any) -> None:
    """Neither by a change, nor by asking another one; and a processor must be one of its agent."""
    async with open_research() as ada:
        path = (await ada.post("/v1/sessions", json={"agent": "critic"})).headers["location"]
        changed = await ada.patch(path, json={"agent": "search"})
        foreign = await ada.patch(path, json={"processor": "turbo"})
        premium = await ada.patch(path, json={"processor": "ultra"})
        body = {**NONLOCAL, "session_id": path.rpartition("/")[2]}
        asked = await ada.post("/v1/agents/search/stream", json=body)
        found = (await ada.get(path)).json()
    assert [one.status_code for one in (changed, foreign, premium, asked)] == [422, 422, 403, 409]
    assert (found["agent"], found["processor"], found["version"]) == ("critic", "core", 1)
