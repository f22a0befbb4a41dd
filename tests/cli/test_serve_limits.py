"""The limits of connections on the command line of `prodkit serve`."""

from __future__ import annotations

import pickle
import resource
from typing import Any

import pytest
import uvicorn

from prodkit.cli import main, serve, serving
from prodkit.serving import BoundedHTTP, ConnectionLimits
from tests.cli.processes import SHOP


@pytest.fixture
def options(tmp_path, monkeypatch):
    """What a command line comes to, without serving."""
    seen: list[serving.ServeOptions] = []

    def noted(target: str, application: Any, given: serving.ServeOptions) -> int:
        seen.append(given)
        return 0

    (tmp_path / "limited_shop.py").write_text(SHOP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("WEB_CONCURRENCY", "1")
    monkeypatch.setattr(serve, "serve", noted)

    def run(*words: str) -> serving.ServeOptions:
        assert main(["serve", "limited_shop:app", *words]) == 0
        return seen[-1]

    return run


def open_files(monkeypatch, soft: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))


def test_defaults_are_those_of_the_protocol(options, monkeypatch):
    """Nothing has two defaults."""
    open_files(monkeypatch, 1_000_000)
    assert options().http.limits == ConnectionLimits()


def test_each_option_reaches_the_protocol(options):
    """Also through the configuration that workers are started with."""
    given = options(
        "--head-timeout", "3", "--write-timeout", "20", "--max-connections", "50", "--max-connections-per-address", "7"
    )  # fmt: skip
    config = serving._config(serving.Worker("limited_shop:app", 0), given)
    assert isinstance(config, uvicorn.Config)
    arrived = pickle.loads(pickle.dumps(config.http))  # noqa: S301 - our own
    assert isinstance(arrived, BoundedHTTP)
    assert arrived.limits == ConnectionLimits(
        head_seconds=3, write_seconds=20, max_connections=50, max_connections_per_address=7
    )
    assert config.h11_max_incomplete_event_size == arrived.limits.max_head_bytes


@pytest.mark.parametrize(
    ("files", "connections"), [(1024, 896), (100, 1), (1_000_000, 10_000), (resource.RLIM_INFINITY, 10_000)]
)
def test_connections_leave_room_for_other_files(files, connections, options, monkeypatch):
    """A process without a file left accepts nobody, its probes neither."""
    open_files(monkeypatch, files)
    assert options().http.limits.max_connections == connections


def test_more_than_fits_is_warned_of(options, monkeypatch, capsys):
    """It is what was asked for, all the same."""
    open_files(monkeypatch, 1024)
    assert options("--max-connections", "2000").http.limits.max_connections == 2000
    assert "--max-connections 2000 is more than the limit of open files leaves room for, which is 896" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--head-timeout", "0"],
        ["--head-timeout", "inf"],
        ["--write-timeout", "-1"],
        ["--max-connections", "0"],
        ["--ws-max-size", "0"],
        ["--max-connections-per-address", "none"],
    ],
)
def test_impossible_limits_are_usage_errors(words, capsys):
    """Exit code 2, naming the option."""
    assert main(["serve", "nothing_here:app", *words]) == 2
    assert words[0] in capsys.readouterr().err


def test_websocket_messages_are_small_and_plain(options):
    """A little that is sent must not become much in memory, unless somebody asks for it."""
    config = serving._config(serving.Worker("limited_shop:app", 0), options())
    assert (config.ws_max_size, config.ws_per_message_deflate) == (1024 * 1024, False)
    given = options("--ws-max-size", "5000", "--ws-compression")
    config = serving._config(serving.Worker("limited_shop:app", 0), given)
    assert (config.ws_max_size, config.ws_per_message_deflate) == (5000, True)


def test_prefix_reaches_the_server(options):
    """What a proxy takes off is said to the server, as FastAPI wants it."""
    given = options("--root-path", "/shop/")
    config = serving._config(serving.Worker("limited_shop:app", 0), given)
    assert (given.root_path, config.root_path) == ("/shop", "/shop")
    assert options().root_path == ""


@pytest.mark.parametrize(
    "prefix", ["shop", "//shop", "/a b", "/a?b", "/a#b", "/%61", "https://example.com/", "/a\x00"]
)
def test_prefix_that_is_none_is_refused(options, prefix: str, capsys):
    """What could not be the beginning of a path is told before anything listens."""
    with pytest.raises((SystemExit, AssertionError)):
        options("--root-path", prefix)
    assert "--root-path" in capsys.readouterr().err
