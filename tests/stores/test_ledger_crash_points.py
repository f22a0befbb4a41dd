"""kill -9 between any two things that a ledger is told: nothing is lost, nothing is charged twice, nothing stays held."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.postgres import shared_postgres
from tests.support.valkey import shared_valkey

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX"),
]

# What kill -9 leaves does not depend on the disk, and a thousand waits for one would be most of the time.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(dir=MEMORY) as made:
        yield Path(made)


def crashed(way, url):
    """Die at every moment there is; see `tests.stores.crash_points`."""
    command = [sys.executable, "-m", "tests.stores.crash_points", way, str(url)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def deaths(way, url):
    done = crashed(way, url)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)


def test_a_process_may_be_killed_between_any_two_statements(directory):
    """Of SQLite. What follows is the end of the leases, or the same verbs again: both are true."""
    assert deaths("sqlite", directory / "app.db") > 150


def test_a_process_may_be_killed_before_and_after_any_command():
    """Of Redis: before it is sent, and when it was sent and nobody reads the answer any more."""
    server = shared_valkey()
    server.ask("FLUSHALL")
    assert deaths("redis", server.url) > 40


def test_a_process_may_be_killed_between_any_two_statements_of_a_server():
    """Of PostgreSQL. What follows is the end of the leases, or the same verbs again: both are true."""
    assert deaths("postgres", shared_postgres().url()) > 80


def test_a_ledger_without_transactions_is_found_out(directory):
    """The same file with every statement a transaction of its own does not survive this."""
    done = crashed("torn", directory / "torn.db")
    assert done.returncode == 1
    assert "AssertionError" in done.stderr
    assert "after moment" in done.stderr
