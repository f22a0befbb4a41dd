"""What one signal after another does to a server, without a process."""

from __future__ import annotations

import argparse
import signal
from dataclasses import dataclass
from typing import Any

import pytest

from prodkit.cli.draining import Draining
from prodkit.cli.serve import _options
from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.features import Kit


class Loop:
    """Time that stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0
        self.later: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_soon_threadsafe(self, call, *arguments) -> None:
        call(*arguments)

    def call_later(self, seconds, call) -> None:
        self.later.append((self.now + seconds, call))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [call for at, call in self.later if at <= self.now]
        self.later = [(at, call) for at, call in self.later if at > self.now]
        for call in due:
            call()


class Transport:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


class Connection:
    def __init__(self) -> None:
        self.transport = Transport()


class State:
    def __init__(self) -> None:
        self.connections: set[Connection] = set()


class Server:
    def __init__(self) -> None:
        self.should_exit = self.force_exit = False
        self.server_state = State()


@dataclass
class Story:
    is_worker: bool = False
    lame_duck: float = 5.0

    def __post_init__(self) -> None:
        self.loop, self.server = Loop(), Server()
        self.kit = Kit(SYSTEM_CLOCK, "https://problems.test/")
        self.draining = Draining(
            self.server,
            self.kit,
            self.lame_duck,
            is_worker=self.is_worker,
            loop=self.loop,  # type: ignore[arg-type]
        )

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.draining.on_signal(number, None)


def test_first_sigterm_is_not_ready_and_not_yet_going():
    """Between the two lies the lame duck, to the second."""
    story = Story()
    before = story.kit.is_draining
    story.signal()
    assert (before, story.kit.is_draining) == (False, True)
    story.loop.pass_time(4.9)
    at_4_9 = story.server.should_exit
    story.loop.pass_time(0.1)
    assert (at_4_9, story.server.should_exit, story.server.force_exit) == (False, True, False)


def test_sigint_goes_at_once():
    """Nobody takes a process out of rotation for a person at a terminal."""
    story = Story()
    story.signal(signal.SIGINT)
    story.loop.pass_time(0)
    assert story.kit.is_draining
    assert story.server.should_exit


@pytest.mark.parametrize(
    ("is_worker", "after", "second", "is_cut"),
    [
        (False, 1.0, signal.SIGTERM, True),
        (False, 1.0, signal.SIGINT, True),
        (False, 0.4, signal.SIGTERM, False),
        (True, 1.0, signal.SIGTERM, False),
        (True, 1.0, signal.SIGINT, True),
        (True, 0.1, signal.SIGINT, False),
    ],
)
def test_what_a_second_signal_means(is_worker, after, second, is_cut):
    """Somebody is impatient; or it is the same signal again, from a group or a supervisor."""
    story = Story(is_worker=is_worker)
    connection = Connection()
    story.server.server_state.connections.add(connection)
    story.signal()
    story.loop.pass_time(after)
    story.signal(second)
    assert story.server.force_exit is is_cut
    assert connection.transport.aborted is is_cut


def arguments_of(**given: float | None) -> argparse.Namespace:
    """What the command line leaves at its defaults, and what is *given*."""
    defaults = {"host": "h", "port": 1, "uds": None, "root_path": None, "workers": 1, "keep_alive": 65}
    limits = {
        "head_timeout": 10.0,
        "write_timeout": 60.0,
        "ws_max_size": 1024 * 1024,
        "ws_compression": False,
        "max_connections": None,
        "max_connections_per_address": None,
    }
    return argparse.Namespace(**defaults | limits | given)


@pytest.mark.parametrize(
    ("given", "shutdown", "wanted"), [(None, 25.0, 5.0), (None, 4.0, 2.0), (0.0, 25.0, 0.0), (7.0, 25.0, 7.0)]
)
def test_default_lame_duck(given, shutdown, wanted):
    """Five seconds, less where the whole stop is shorter, and what was asked for."""
    arguments = arguments_of(lame_duck=given, shutdown=shutdown)
    assert _options(arguments, object()).lame_duck_seconds == wanted


def test_no_lame_duck_in_development():
    """Nobody wants to wait five seconds for a restart at the desk."""
    from fastapi import FastAPI

    from prodkit.hardening import harden
    from prodkit.settings import Settings

    app = FastAPI()
    harden(app, settings=Settings(environment="development"))
    arguments = arguments_of(lame_duck=None, shutdown=25.0)
    assert _options(arguments, app).lame_duck_seconds == 0
