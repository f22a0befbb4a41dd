"""`make demo`'s program: as a process, the way a new user meets it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "examples.research_agents.demo"]
# Not through a proxy of the environment.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found through /proc"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Demo:
    """A running demo and what it printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.lines = []
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))
            if len([one for one in self.lines if one.startswith("curl ")]) == 3:
                break
        said = dict(line.split(": ", 1) for line in self.lines if line.startswith(("URL: ", "API key: ")))
        self.url, self.key = said["URL"], said["API key"]
        self.children = children_of(process.pid)

    def ask(self, message: str, way: str = "chat", key: str | None = None) -> tuple[int, str]:
        return self.call(f"/v1/agents/search/{way}", {"message": message}, key)

    def call(self, path: str, body: object = None, key: str | None = None) -> tuple[int, str]:
        request = urllib.request.Request(
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.key if key is None else key}",
                "Content-Type": "application/json",
            },
        )
        try:
            with OPENER.open(request, timeout=15) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def surroundings(folder: Path) -> dict[str, str]:
    """The environment of a demo that keeps what it keeps under *folder*, and not with that of the developer."""
    temporary, kept = folder / "temporary", folder / "kept"
    for one in (temporary, kept):
        one.mkdir(exist_ok=True)
    return {
        **os.environ,
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "TMPDIR": str(temporary),
        "PRODKIT_STORE": f"sqlite:///{kept / 'prodkit.db'}",
        "RESEARCH_DATABASE_URL": f"sqlite+aiosqlite:///{kept / 'research.db'}",
    }


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Demo]:
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env=surroundings(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield Demo(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with started(tmp_path) as demo:
        yield demo


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    return tmp_path / "temporary"


def test_it_answers_with_the_key_it_printed_and_ends_cleanly(demo: Demo, temporary: Path) -> None:
    """Ready when it says so; a chat, a stream and an honest refusal; SIGTERM drains, exit code 0, no process left."""
    assert demo.url.startswith("http://127.0.0.1:")
    assert all(line.startswith("curl -sS") and f" {demo.url}/v1/agents/" in line for line in demo.lines[-3:])
    assert f"Docs: {demo.url}/docs" in demo.lines
    assert len(demo.children) == 1
    assert list(temporary.iterdir())
    status, body = demo.ask("What does the nonlocal statement do?")
    assert status == 200, body
    assert "previously bound variables" in json.loads(body)["answer"]
    assert json.loads(body)["engine"] == "local-extractive"
    status, body = demo.ask("What does the nonlocal statement do?", way="stream")
    assert status == 200
    assert "event: run.completed" in body
    status, body = demo.ask("What does the nonlocal statement do?", key="pk_not-the-key")
    assert status == 401
    assert json.loads(body)["status"] == 401
    demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(timeout=15) == 0
    assert all(gone_within(child, 5) for child in demo.children)
    assert list(temporary.iterdir()) == []


def test_its_curl_lines_work_as_printed(demo: Demo) -> None:
    """Pasted into a shell, each of the three answers from sources."""
    for line in demo.lines[-3:]:
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True)
        assert '"citations":[{' in done.stdout, (line, done.stdout, done.stderr)


def test_the_next_demo_knows_what_was_said(tmp_path: Path) -> None:
    """Its key is another one, and the old one is worth nothing; sessions and their cost are still there."""
    with started(tmp_path) as first:
        status, body = first.ask("What does the nonlocal statement do?")
        assert status == 200, body
        session = json.loads(body)["session_id"]
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(timeout=15) == 0
    with started(tmp_path) as second:
        assert second.call("/v1/usage", key=first.key)[0] == 401
        status, body = second.call(f"/v1/sessions/{session}/messages")
        assert (status, len(json.loads(body)["messages"])) == (200, 2)
        assert json.loads(second.call("/v1/usage")[1])["total_usd"] == "0.001"


def test_a_closed_terminal_ends_it_cleanly_too(demo: Demo, temporary: Path) -> None:
    """SIGHUP is handled like SIGTERM: exit code 0, no process and no directory left."""
    demo.process.send_signal(signal.SIGHUP)
    assert demo.process.wait(timeout=15) == 0
    assert all(gone_within(child, 5) for child in demo.children)
    assert list(temporary.iterdir()) == []


def test_nothing_is_left_when_it_is_killed(demo: Demo, temporary: Path) -> None:
    """The child ends by itself and cleans up, also when nobody could tell it to."""
    demo.process.kill()
    demo.process.wait(timeout=5)
    assert demo.children
    assert all(gone_within(child, 10) for child in demo.children)
    assert list(temporary.iterdir()) == []


def test_ctrl_c_before_it_serves_ends_it() -> None:
    """No half-started demo stays behind."""
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env={**os.environ, "PORT": str(free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            deadline = time.monotonic() + 15
            while not (children := children_of(process.pid)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=15) == 0
            assert all(gone_within(child, 10) for child in children)
        finally:
            process.kill()


def test_a_port_in_use_is_one_clear_line() -> None:
    """With what to do, and exit code 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            COMMAND,
            cwd=ROOT,
            env={**os.environ, "PORT": port},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"demo: 127.0.0.1:{port} is in use; choose another one: PORT=8001 make demo\n"


@pytest.mark.parametrize("port", ["eighty", "70000"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    """In one line, too."""
    done = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env={**os.environ, "PORT": port},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("demo: ")
    assert done.stderr.count("\n") == 1


def test_the_sources_refuse_to_start_without_a_token() -> None:
    """The local server has no default secret."""
    environment = {name: value for name, value in os.environ.items() if name != "LOCAL_PARALLEL_TOKEN"}
    done = subprocess.run(
        [sys.executable, "-m", "examples.research_agents.local_parallel"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "LOCAL_PARALLEL_TOKEN" in done.stderr
