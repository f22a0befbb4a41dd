"""From a URL to stores."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import SettingsError, StoreUnavailableError
from prodkit.stores import Rate
from prodkit.stores.urls import open_store
from prodkit.testing import hit


async def test_memory():
    """`memory://` needs nothing and is seen by this process only."""
    stores = open_store("memory://")
    assert (stores.name, stores.shared) == ("memory://", False)
    await stores.check()
    assert (await hit(stores.limits, ("k", Rate(1, 1.0), 1)))[0].allowed
    assert await stores.keys.find("k") is None
    await stores.aclose()


async def test_sqlite_absolute(tmp_path):
    """Four slashes name an absolute path; escapes are decoded; both stores are in the one file."""
    stores = open_store(f"sqlite:///{tmp_path}/with%20space.db", clock=FakeClock())
    assert stores.shared
    await stores.check()
    await stores.aclose()
    assert [entry.name for entry in tmp_path.iterdir()] == ["with space.db"]


async def test_sqlite_relative(tmp_path, monkeypatch):
    """Three slashes name a path relative to the working directory at the time of opening."""
    monkeypatch.chdir(tmp_path)
    stores = open_store("sqlite:///app.db")
    monkeypatch.chdir("/")
    await stores.check()
    await stores.aclose()
    assert (tmp_path / "app.db").exists()


async def test_the_clock_is_handed_on(tmp_path):
    """Time that a test moves is the time of the store."""
    for url in ("memory://", f"sqlite:///{tmp_path}/app.db"):
        clock = FakeClock()
        stores = open_store(url, clock=clock)
        rate = Rate(1, 3600.0)
        assert [(await hit(stores.limits, ("k", rate, 1)))[0].allowed for _ in range(2)] == [True, False]
        clock.advance(3600.0)
        assert (await hit(stores.limits, ("k", rate, 1)))[0].allowed
        await stores.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.db",
        "redid://localhost",
        "memory:///path",
        "memory://host",
        "sqlite://host/app.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///folder/",
        "sqlite:///app.db?mode=ro",
        "sqlite:///app.db#x",
        "mongo://user:hunter2@host/db",
        "sqlite://user:hunter2@host/app.db",
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_cure(url):
    """The message names the setting and what it may be, and never repeats a password."""
    with pytest.raises(SettingsError) as caught:
        open_store(url, setting="PRODKIT_KEYS__STORE")
    assert "PRODKIT_KEYS__STORE" in str(caught.value)
    assert "memory://" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_missing_directory_is_refused_with_the_cure(tmp_path):
    """At construction, with the directory in question and the setting to change."""
    with pytest.raises(StoreUnavailableError, match=r"none does not exist.*PRODKIT_STORE"):
        open_store(f"sqlite:///{tmp_path}/none/app.db")


def test_only_what_is_used_is_loaded():
    """A process with memory stores does not load the SQLite ones."""
    code = """
        import sys
        from prodkit.stores.urls import open_store
        open_store("memory://")
        print("prodkit.stores.sqlite" in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
