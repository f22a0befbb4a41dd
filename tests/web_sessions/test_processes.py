"""Several processes share one file of sessions."""

from __future__ import annotations

import asyncio
import time

import pytest

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.stores.sqlite_sessions import SqliteSessionStore
from tests.stores.processes import finish, script
from tests.web_sessions.world import Browser, World

OTHER = """
import contextlib
from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.stores.sqlite_sessions import SqliteSessionStore
from tests.web_sessions.world import Browser, World
world = World(SqliteSessionStore(sys.argv[1], timeout_seconds=5.0), SYSTEM_CLOCK)
browser = Browser(world.client, sys.argv[2], sys.argv[3])
stack = contextlib.ExitStack()
stack.enter_context(world.client)
"""


def world_over(path) -> World:
    return World(SqliteSessionStore(path, timeout_seconds=5.0), SYSTEM_CLOCK)


@pytest.fixture
def world(tmp_path):
    world = world_over(tmp_path / "app.db")
    with world.client:
        yield world


@pytest.mark.process
def test_an_end_in_one_is_seen_in_the_other_within_five_seconds(world, tmp_path):
    """The other one has just let the caller in, and goes on asking: five seconds after the log-out it is 401 at the latest."""
    browser = world.log_in()
    source = """
    assert browser.is_in()
    print("in", flush=True)
    sys.stdin.readline()
    while browser.is_in():
        time.sleep(0.02)
    print(time.time())
    stack.close()
    """
    process = script(source, tmp_path / "app.db", browser.cookie, browser.token, imports=OTHER)
    assert process.stdout.readline() == "in\n"
    assert browser.send("DELETE", "/session").status_code == 204
    ended_at = time.time()
    process.stdin.write("go\n")
    process.stdin.flush()
    assert float(finish(process)[-1]) - ended_at < 5


@pytest.mark.process
def test_who_logged_in_at_one_is_known_to_the_other(world, tmp_path):
    """With the same token; and a restart forgets nobody."""
    browser = world.log_in()
    source = """
    print(browser.send("POST", "/me").status_code, browser.send("GET", "/session").json()["csrf_token"])
    stack.close()
    """
    process = script(source, tmp_path / "app.db", browser.cookie, browser.token, imports=OTHER)
    assert finish(process) == ["200", browser.token]
    again = world_over(tmp_path / "app.db")
    with again.client:
        assert Browser(again.client, browser.cookie, browser.token).is_in()


def test_the_file_alone_is_no_cookie(world, tmp_path):
    """Nothing of the cookie and nothing of the token stands in it, nor in what lies beside it."""
    browser = world.log_in()
    assert browser.is_in()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert b"ann" in b"".join(files.values())
    key, session_id, signature = browser.value.split(".")
    assert key == "a"
    for secret in (session_id, signature, browser.token):
        assert not any(secret.encode() in content for content in files.values())


def test_a_file_that_is_gone_is_no_bad_cookie(world, tmp_path):
    """503 and not 401, once what is known is too old."""
    browser = world.log_in()
    asyncio.run(world.store.aclose())
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "app.db").mkdir()
    assert browser.send("GET", "/me").status_code == 503
    assert world.client.get("/me").status_code == 401
