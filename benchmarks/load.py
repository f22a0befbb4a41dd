"""Requests per second of a real server on one processor, loaded from another, in pairs with the bare application."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from benchmarks.applications import VARIANTS, path_at
from benchmarks.processes import SCRATCH, NotMeasuredError, environment_of, python_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["CONNECTIONS", "CONTROL", "Server", "load", "pairs"]

CONNECTIONS: Final = 32
CONTROL: Final = "control"
"""A second bare application: what it differs from the first is what the machine's noise makes of no difference."""

_WRK_RATE = re.compile(r"^\s*(\d+) requests in .*^Requests/sec:\s*([0-9.]+)", re.MULTILINE | re.DOTALL)


class Server:
    """A running `benchmarks.server`.

    Raises:
        NotMeasuredError: the application cannot be built here.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        application = "bare" if name == CONTROL else name
        self._process = subprocess.Popen(
            [python_for(name), "-m", "benchmarks.server", application, _processor(0)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=SCRATCH,
            env=environment_of(),
        )
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            self.close()
            message = f"{name}: the server did not start"
            raise NotMeasuredError(message)
        self.port = int(line)

    def processor_seconds(self) -> float | None:
        """Processor time used so far by all of its threads; None where there is no /proc."""
        try:
            fields = (
                Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            )
        except OSError:
            return None
        # proc_pid_stat(5): utime and stime are the 14th and 15th field, of which two come before the bracket
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it; takes as long as its shutdown does."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(port: int, headers: Iterable[tuple[bytes, bytes]], seconds: float) -> tuple[float, int]:
    """Requests per second of what listens on *port*, and how many were answered.

    Raises:
        NotMeasuredError: not every answer was a 200.
    """
    lines = [f"{name.decode()}: {value.decode()}" for name, value in headers if name != b"host"]
    wrk = shutil.which("wrk")
    if wrk is None:
        head = "\r\n".join([f"GET {path_at(1)} HTTP/1.1", "host: api.example.com", *lines, "", ""])
        command = [sys.executable, "-m", "benchmarks.client", str(port), str(CONNECTIONS), str(seconds), head]
    else:
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s"]
        for line in ("Host: api.example.com", *lines):
            command += ["-H", line]
        command.append(f"http://127.0.0.1:{port}{path_at(1)}")
    done = _run_on(_processor(1), command)
    if done.returncode != 0 or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise NotMeasuredError(done.stderr.strip() or done.stdout.strip())
    if wrk is None:
        rate, answered = done.stdout.split()
        return float(rate), int(answered)
    found = _WRK_RATE.search(done.stdout)
    if found is None:
        raise NotMeasuredError(done.stdout)
    return float(found[2]), int(found[1])


def _side(server: Server, headers: Iterable[tuple[bytes, bytes]], seconds: float) -> dict[str, float | None]:
    """One half of a pair: requests per second, and microseconds of the server's processor time for each."""
    before = server.processor_seconds()
    rate, answered = load(server.port, headers, seconds)
    after = server.processor_seconds()
    processor = None if before is None or after is None else (after - before) / answered * 1e6
    return {"per_second": rate, "processor_microseconds": processor}


def pairs(
    names: Iterable[str], rounds: int, seconds: float, tell: Callable[[str], None] = print
) -> dict[str, list[dict[str, Any]]]:
    """For each of *names* and the control, *rounds* pairs, `bare` and `ours`, measured one after the other.

    Who is first changes from round to round; a name that cannot be served is left out, and *tell* says why.
    """
    servers: dict[str, Server] = {}
    found: dict[str, list[dict[str, Any]]] = {}
    bare = Server("bare")
    try:
        for name in (CONTROL, *names):
            try:
                servers[name] = Server(name)
            except NotMeasuredError as error:
                tell(f"not measured: {error}")
        for name, server in servers.items():  # the first requests import, compile and fill caches
            load(server.port, _headers(name), 1)
        load(bare.port, _headers(CONTROL), 1)
        for turn in range(rounds):
            for name, server in servers.items():
                order = [("bare", bare), ("ours", server)]
                if turn % 2:
                    order.reverse()
                pair = {side: _side(one, _headers(name), seconds) for side, one in order}
                found.setdefault(name, []).append({"first": order[0][0], **pair})
            tell(f"round {turn + 1} of {rounds}")
    finally:
        bare.close()
        for server in servers.values():
            server.close()
    return found


def _headers(name: str) -> tuple[tuple[bytes, bytes], ...]:
    return VARIANTS["core" if name == CONTROL else name].headers


def _processor(number: int) -> str:
    """The processor with that number among those we may use, or `-` where there is only one or no choice."""
    if not hasattr(os, "sched_getaffinity"):
        return "-"
    ours = sorted(os.sched_getaffinity(0))
    return str(ours[number]) if len(ours) > 1 else "-"


def _run_on(processor: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    if processor != "-" and shutil.which("taskset"):
        command = ["taskset", "-c", processor, *command]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=SCRATCH, env=environment_of()
    )
