"""`prodkit serve` as a real process: what it says, what it listens on, and how it stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from prodkit.cli import main
from tests.cli.processes import SHOP, environment, eventually, free_port, listens, prodkit, served

pytestmark = pytest.mark.process

FAILING = """
from contextlib import asynccontextmanager
from fastapi import FastAPI
from prodkit.hardening import harden

@asynccontextmanager
async def lifespan(app):
    raise RuntimeError("no database")
    yield

app = FastAPI(lifespan=lifespan)
harden(app)
"""


def in_background(call) -> tuple[threading.Thread, list[object]]:
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call())
        except OSError as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


def test_what_production_needs(tmp_path):
    """No server header, a date, nobody's forwarding header believed, one access line by us and none by uvicorn."""
    with served(tmp_path, "--lame-duck", "0") as server:
        status, body, headers = server.get("/", {"X-Forwarded-For": "203.0.113.9"})
        assert status == 200
        assert json.loads(body)["client"] == "127.0.0.1"
        assert "server" not in headers
        assert headers["date"]
        server.signal()
        assert server.process.wait(20) == 0
        lines = [line for line in server.text().splitlines() if '"path":"/"' in line]
        assert len(lines) == 1
        assert "uvicorn.access" not in server.text()


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_is_seen_by_probes_before_anything_stops(workers, tmp_path):
    """Readiness says 503 while requests are still served; what is under way is finished; the exit code is 0."""
    with served(
        tmp_path, "--lame-duck", "1.5", "--workers", str(workers), PRODKIT_STORE="sqlite:///shop.db"
    ) as server:
        assert server.get("/readyz")[0] == 200
        # A worker that is not up yet would be ended before it could drain.
        eventually(lambda: server.text().count("Application startup complete") == workers)
        thread, results = in_background(lambda: server.get("/slow?seconds=2.5"))
        time.sleep(0.2)
        server.signal()
        eventually(lambda: server.get("/readyz")[0] == 503, 5)
        assert server.get("/")[0] == 200
        assert server.get("/livez")[0] == 200
        eventually(lambda: not listens(server.port), 5)
        assert server.process.poll() is None, "the slow request is still under way"
        thread.join(10)
        assert results[0][1] == b'{"finished":true}'
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.text()
        # No process died of the signal; the supervisor has imported the application as well.
        assert len(list(tmp_path.glob("ended-*"))) == workers + (workers > 1)


def test_sigint_does_not_wait_for_a_load_balancer(tmp_path):
    """ctrl-c comes from a person: drained, exit code 0, no lame duck."""
    with served(tmp_path, "--lame-duck", "20", "--shutdown", "30") as server:
        server.get("/")
        server.signal(signal.SIGINT)
        assert server.process.wait(10) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_second_signal_ends_it_now(workers, tmp_path):
    """Impatience is believed: connections are cut, the exit code says that it was no clean stop."""
    words = ["--lame-duck", "0", "--shutdown", "60", "--workers", str(workers)]
    with served(tmp_path, *words, PRODKIT_STORE="sqlite:///shop.db") as server:
        server.get("/")
        eventually(lambda: server.text().count("Application startup complete") == workers)
        thread, results = in_background(lambda: server.get("/slow?seconds=50", seconds=60))
        time.sleep(0.3)
        server.signal()
        eventually(lambda: "Waiting for connections to close" in server.text(), 10)
        time.sleep(0.6)  # a repeat within half a second is taken for the same signal
        server.signal()
        assert server.process.wait(10) == 1
        thread.join(10)
        assert isinstance(results[0], OSError)


def test_signal_to_the_whole_group_is_one_signal(tmp_path):
    """systemd signals every process of a service, and the supervisor passes it on: nothing is cut for that."""
    with served(tmp_path, "--lame-duck", "0", "--workers", "2", PRODKIT_STORE="sqlite:///shop.db") as server:
        server.get("/")
        eventually(lambda: server.text().count("Application startup complete") == 2)
        thread, results = in_background(lambda: server.get("/slow?seconds=2.5"))
        time.sleep(0.3)
        os.killpg(server.process.pid, signal.SIGTERM)
        thread.join(20)
        assert results[0][0] == 200
        assert server.process.wait(20) == 0


def test_requests_are_bounded_at_the_end(tmp_path):
    """A stream that never ends does not hold the process for ever."""
    with served(tmp_path, "--lame-duck", "0", "--shutdown", "1") as server:
        server.get("/")
        in_background(lambda: server.get("/slow?seconds=50", seconds=60))
        time.sleep(0.3)
        server.signal()
        assert server.process.wait(10) == 0


def test_workers_share_a_private_metrics_directory(tmp_path):
    """One directory for this run, for nobody else to read, and gone afterwards."""
    with served(tmp_path, "--workers", "2", "--lame-duck", "0", TMPDIR=str(tmp_path)) as server:
        seen = {}

        def both() -> bool:
            body = json.loads(server.get("/")[1])
            seen[body["pid"]] = body["directory"]
            return len(seen) == 2

        eventually(both)
        (directory,) = {Path(path) for path in seen.values()}
        assert directory.parent == tmp_path
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert "each of the 2 workers counts for itself" in server.text()
        server.signal()
        assert server.process.wait(20) == 0
        assert not directory.exists()


def test_metrics_directory_of_the_operator_is_left_alone(tmp_path):
    """Named in the settings, it is used and not removed."""
    (tmp_path / "metrics").mkdir()
    with served(
        tmp_path, "--workers", "2", "--lame-duck", "0", PRODKIT_METRICS__DIRECTORY="metrics"
    ) as server:
        assert json.loads(server.get("/")[1])["directory"] == "metrics"
        server.signal()
        assert server.process.wait(20) == 0
    assert (tmp_path / "metrics").is_dir()


@pytest.mark.parametrize("words", [[], ["--workers", "2"]])
def test_wrong_settings_refuse_before_anything_listens(words, tmp_path):
    """Every fault is listed once, in the parent, and the port stays closed."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    port = free_port()
    with socket.socket() as taken:
        # Taken: had it tried to bind, it would say so.
        taken.bind(("127.0.0.1", port))
        done = prodkit(
            "serve",
            "shop:app",
            "--port",
            str(port),
            *words,
            cwd=tmp_path,
            PRODKIT_STROE="x",
            PRODKIT_ENVIRONMENT="prod",
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("2 settings are wrong; nothing was started:")
    assert "Traceback" not in done.stderr
    assert "in use" not in done.stderr


@pytest.mark.parametrize("words", [[], ["--workers", "2"]])
def test_lifespan_that_fails_is_a_failed_start(words, tmp_path):
    """Exit code 1, and no endless starting of workers that cannot start."""
    (tmp_path / "shop.py").write_text(FAILING, encoding="utf-8")
    done = prodkit("serve", "shop:app", "--port", str(free_port()), *words, cwd=tmp_path)
    assert done.returncode == 1
    assert "no database" in done.stdout + done.stderr


@pytest.mark.parametrize("words", [[], ["--workers", "2"]])
def test_port_that_is_taken_is_a_failed_start(words, tmp_path):
    """Exit code 1, and the reason."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = prodkit("serve", "shop:app", "--port", str(taken.getsockname()[1]), *words, cwd=tmp_path)
    assert done.returncode == 1
    assert "address already in use" in (done.stdout + done.stderr).lower()


def test_unix_socket_left_behind_is_replaced(tmp_path):
    """After a crash the next start works without a hand; the socket is removed at the end."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    command = [
        sys.executable,
        "-m",
        "prodkit",
        "serve",
        "shop:app",
        "--uds",
        "s",
        "--workers",
        "2",
        "--lame-duck",
        "0",
    ]
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=log, stderr=log)
    try:

        def answered() -> bool:
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(str(path)) != 0:
                    return False
                client.settimeout(20)
                client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return client.recv(100).startswith(b"HTTP/1.1 200")

        eventually(answered)
        again = prodkit("serve", "shop:app", "--uds", "s", "--workers", "2", cwd=tmp_path)
        assert again.returncode == 1
        assert "somebody listens on s already" in again.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not path.exists()
    finally:
        process.kill()
        process.wait(10)


def test_application_that_is_not_hardened_is_served_with_a_warning(tmp_path):
    """It keeps uvicorn's own log; it is warned of; it stops cleanly all the same."""
    code = "from fastapi import FastAPI\ndef make():\n    return FastAPI()\n"
    with served(tmp_path, app="shop:make", code=code) as server:
        assert server.get("/docs")[0] == 200
        server.signal()
        assert server.process.wait(20) == 0
        assert "shop:make is not hardened" in server.text()
        assert '"GET /docs HTTP/1.1" 200' in server.text()


@pytest.mark.parametrize(
    "words",
    [
        ["--port", "70000"],
        ["--workers", "0"],
        ["--lame-duck", "-1"],
        ["--lame-duck", "nan"],
        ["--keep-alive", "0"],
        ["--shutdown", "ten"],
    ],
)
def test_impossible_options_are_usage_errors(words, capsys):
    """Exit code 2, naming the option, before anything is imported."""
    assert main(["serve", "nothing_here:app", *words]) == 2
    assert words[0] in capsys.readouterr().err


def test_lame_duck_leaves_time_for_requests(tmp_path):
    """A stop that would be all lame duck is refused."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    done = prodkit("serve", "shop:app", "--lame-duck", "30", cwd=tmp_path)
    assert done.returncode == 2
    assert "leaves nothing of --shutdown 25" in done.stderr
