"""Sessions and what was said in them: lists that shift nothing, versions, tenants, deletion."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.research_agents.state import cursors
from examples.research_agents.state.database import Database
from examples.research_agents.state.runs import Runs
from examples.research_agents.state.sessions import Sessions, StaleVersionError
from prodkit.core.clock import FakeClock


@pytest.fixture
async def elsewhere(url: str, database: Database, clock: FakeClock) -> AsyncIterator[Sessions]:
    """Those of another worker on the same file."""
    other = Database(url)
    await other.start()
    yield Sessions(other, clock)
    await other.aclose()


async def test_a_session_is_seen_by_every_worker(sessions: Sessions, elsewhere: Sessions) -> None:
    """What one has made, another finds as it is, and by no other name."""
    made = await sessions.create("acme", "ada", "search", "fast", "Scopes")
    assert await elsewhere.get("acme", made.id) == made
    assert (made.version, made.title, made.interaction_id) == (1, "Scopes", None)
    assert made.created_at == made.updated_at == 1_750_000_000_000
    assert await elsewhere.get("acme", made.id[:-1]) is None
    assert await elsewhere.get("acme", made.id + " ") is None
    assert await elsewhere.get("acme", "%") is None


async def test_another_tenants_session_does_not_exist(
    sessions: Sessions, runs: Runs, new_run, clock: FakeClock
) -> None:
    """It is not found, listed, read, changed or deleted, and is the same afterwards."""
    made = await runs.begin(new_run(1))
    assert await sessions.get("rivals", made.id) is None
    assert await sessions.list("rivals") == []
    assert await sessions.messages("rivals", made.id) is None
    clock.advance(1)
    assert await sessions.patch("rivals", made.id, title="mine", version=1) is None
    assert await sessions.patch("rivals", made.id, title="mine") is None
    assert await sessions.delete("rivals", made.id) is None
    assert await sessions.get("acme", made.id) == made


async def test_the_newest_come_first(sessions: Sessions, clock: FakeClock) -> None:
    """In the order in which they were made; changing one does not move it."""
    made = []
    for _ in range(3):
        made.append(await sessions.create("acme", "ada", "search", "fast"))
        clock.advance(1)
    await sessions.patch("acme", made[0].id, title="changed")
    assert [one.id for one in await sessions.list("acme")] == [one.id for one in reversed(made)]


async def test_only_those_of_one_caller(sessions: Sessions) -> None:
    """Of the tenant's sessions, the ones that he began."""
    mine = await sessions.create("acme", "ada", "search", "fast")
    await sessions.create("acme", "bob", "search", "fast")
    await sessions.create("rivals", "ada", "search", "fast")
    assert await sessions.list("acme", principal="ada") == [mine]


async def test_pages_hold_each_session_once(sessions: Sessions, clock: FakeClock) -> None:
    """Made in the same millisecond, and while somebody turns pages: none is twice, none is missing."""
    there = {(await sessions.create("acme", "ada", "search", "fast")).id for _ in range(5)}
    clock.advance(1)
    there |= {(await sessions.create("acme", "ada", "search", "fast")).id for _ in range(2)}
    seen: list[str] = []
    place = None
    while (page := await sessions.list("acme", after=place, limit=2)) and len(seen) < 20:
        seen += [one.id for one in page]
        place = cursors.decode(cursors.encode(page[-1].created_at, page[-1].id))
        clock.advance(1)
        await sessions.create("acme", "ada", "search", "fast", "made meanwhile")
    assert len(seen) == 7
    assert set(seen) == there


@given(
    st.integers(0, 10**15 - 1),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64),
)
def test_a_cursor_leads_back_to_its_place(created_at: int, identifier: str) -> None:
    """Whatever the id, dots included; and it needs no escaping in a URL."""
    cursor = cursors.encode(created_at, identifier)
    assert cursors.decode(cursor) == (created_at, identifier)
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(
    st.one_of(st.text(max_size=60), st.binary(max_size=40).map(base64.urlsafe_b64encode).map(bytes.decode))
)
def test_what_is_no_cursor_is_refused_and_never_fails(text: str) -> None:
    """None or a place that a database can compare; no exception, whatever callers send."""
    place = cursors.decode(text)
    if place is not None:
        number, identifier = place
        assert 0 <= number < 10**15
        assert identifier.isascii()


@pytest.mark.parametrize(
    "cursor", ["", "!", "AAAA", "bm9kb3Q", "LTEuYQ", "MS4", "wrLCsi5h", "A" * 201, "MTIzNDU2Nzg5MDEyMzQ1Ni5h"]
)
def test_cursors_that_are_close_to_one(cursor: str) -> None:
    """No dot, a negative number, superscript digits, a number too long for any time; an empty id is a place."""
    assert cursors.decode(cursor) in {None, (1, "")}


async def test_a_change_raises_the_version(sessions: Sessions, clock: FakeClock) -> None:
    """What is not named stays; what was seen before is told by its version."""
    made = await sessions.create("acme", "ada", "search", "fast", "Scopes")
    clock.advance(2.5)
    changed = await sessions.patch("acme", made.id, processor="advanced", version=1)
    assert changed is not None
    assert (changed.version, changed.processor, changed.title) == (2, "advanced", "Scopes")
    assert changed.updated_at == made.created_at + 2500
    assert changed.created_at == made.created_at
    again = await sessions.patch("acme", made.id, title="")
    assert again is not None
    assert (again.version, again.processor, again.title) == (3, "advanced", "")


async def test_what_was_seen_too_long_ago_changes_nothing(sessions: Sessions) -> None:
    """The refusal says which version it has now."""
    made = await sessions.create("acme", "ada", "search", "fast", "Scopes")
    changed = await sessions.patch("acme", made.id, title="Names")
    for version in (1, 3, 99):
        with pytest.raises(StaleVersionError) as stale:
            await sessions.patch("acme", made.id, title="lost", version=version)
        assert stale.value.version == 2
    assert await sessions.get("acme", made.id) == changed


async def test_of_two_who_saw_the_same_one_wins(sessions: Sessions, elsewhere: Sessions) -> None:
    """From two workers at once: exactly one change is made, and the other is told of it."""
    made = await sessions.create("acme", "ada", "search", "fast")
    for version in range(1, 6):
        answers = await asyncio.gather(
            sessions.patch("acme", made.id, title="here", version=version),
            elsewhere.patch("acme", made.id, title="there", version=version),
            return_exceptions=True,
        )
        lost = [answer for answer in answers if isinstance(answer, BaseException)]
        assert [type(answer) for answer in lost] == [StaleVersionError], answers
        found = await sessions.get("acme", made.id)
        assert found is not None
        assert found.version == version + 1
        assert found in answers


async def test_messages_come_in_order_and_page_by_page(sessions: Sessions, runs: Runs, new_run) -> None:
    """Questions and answers as they were said; who has seen up to a position is given what comes behind it."""
    session = await runs.begin(new_run(1))
    await runs.complete("run_1", {"answer": "One.", "citations": []})
    await runs.begin(new_run(2, session_id=session.id))
    await runs.begin(new_run(3, session_id=session.id))
    await runs.complete("run_3", {"answer": "Three."})
    messages = await sessions.messages("acme", session.id)
    assert messages is not None
    assert [(one.position, one.role, one.content, one.run_id) for one in messages] == [
        (1, "user", "Question 1?", "run_1"),
        (2, "assistant", "One.", "run_1"),
        (3, "user", "Question 2?", "run_2"),
        (4, "user", "Question 3?", "run_3"),
        (5, "assistant", "Three.", "run_3"),
    ]
    assert messages[1].detail == {"answer": "One.", "citations": []}
    assert messages[0].detail is None
    assert await sessions.messages("acme", session.id, after=3, limit=1) == [messages[3]]
    assert await sessions.messages("acme", session.id, after=5) == []
    assert await sessions.messages("acme", "ses_none") is None


async def test_a_deleted_session_is_gone_with_what_was_said(
    sessions: Sessions, elsewhere: Sessions, runs: Runs, new_run, database: Database
) -> None:
    """At once, everywhere, for good; a second deletion finds none; its neighbour stays."""
    session = await runs.begin(new_run(1, message="a private matter"))
    await runs.complete("run_1", {"answer": "a private answer"})
    await runs.begin(new_run(2, session_id=session.id, message="another private matter"))
    await runs.append("run_2", [(1, "token", {"text": "private"})])
    other = await runs.begin(new_run(3))
    assert await elsewhere.delete("acme", session.id) == frozenset({"run_2"})
    assert await sessions.get("acme", session.id) is None
    assert await sessions.messages("acme", session.id) is None
    assert await sessions.patch("acme", session.id, title="again") is None
    assert await elsewhere.delete("acme", session.id) is None
    assert await sessions.list("acme") == [other]
    async with database.session() as connection:
        dump = [
            str(row)
            for table in ("sessions", "runs", "messages", "run_events")
            for row in await connection.exec_driver_sql(f"SELECT * FROM {table}")
        ]
    assert "private" not in "".join(dump)
    cancelled = await runs.get("acme", "run_2")
    assert cancelled is not None
    assert (cancelled.status, cancelled.session_id, cancelled.message) == ("cancelled", None, "")
    assert cancelled.problem is not None
    assert cancelled.problem["status"] == 410


async def test_a_run_whose_session_was_deleted_records_nothing_more(
    sessions: Sessions, runs: Runs, new_run
) -> None:
    """Its worker learns so by the next thing it wants to record, and no message comes back."""
    session = await runs.begin(new_run(1))
    assert await sessions.delete("acme", session.id) == frozenset({"run_1"})
    assert await runs.append("run_1", [(1, "token", {"text": "x"})]) is False
    assert await runs.heartbeat(["run_1"]) == frozenset()
    assert await runs.complete("run_1", {"answer": "late"}) is False
    assert await runs.end("run_1", "failed", {"status": 502}) is False
    assert await runs.events_after("run_1") == []
    assert await sessions.messages("acme", session.id) is None


async def test_what_is_left_of_a_deleted_session_goes_after_an_hour(
    sessions: Sessions, runs: Runs, new_run, clock: FakeClock
) -> None:
    """Readers of its stream are told for an hour that it was deleted; then not even that is known."""
    session = await runs.begin(new_run(1))
    await sessions.delete("acme", session.id)
    clock.advance(3599)
    await runs.sweep()
    assert await runs.get("acme", "run_1") is not None
    clock.advance(2)
    assert (await runs.sweep()).forgotten == 1
    assert await runs.get("acme", "run_1") is None


async def test_a_deletion_and_a_beginning_at_once(
    sessions: Sessions, elsewhere: Sessions, runs: Runs, new_run
) -> None:
    """Whoever is first, afterwards there is no session and nothing of it, and no run that still runs."""
    for number in range(8):
        made = await sessions.create("acme", "ada", "search", "fast")
        begun, deleted = await asyncio.gather(
            runs.begin(new_run(number, session_id=made.id)),
            elsewhere.delete("acme", made.id),
            return_exceptions=True,
        )
        assert deleted in (frozenset(), {f"run_{number}"})
        assert isinstance(begun, LookupError) is (not deleted)
        run = await runs.get("acme", f"run_{number}")
        assert run is None if not deleted else (run is not None and run.status == "cancelled")
        assert await sessions.messages("acme", made.id) is None
