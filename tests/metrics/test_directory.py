"""metrics: workers of one machine show the sum of all, and no counter goes backwards when one ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import SettingsError
from prodkit.installation import install
from prodkit.metrics import Metrics
from prodkit.metrics.directory import SharedDirectory
from prodkit.metrics.totals import Totals
from prodkit.operations import Operations
from tests.support.server import wait_until

BUCKETS = (0.1, 1.0)
TOKEN = "an-operations-token-of-length"
KEY = ("GET", "/", 200, "ok")


def failing(what: str, error: BaseException) -> None:
    raise AssertionError(what) from error


def counted(number: int, *, level: float = 0.0) -> Totals:
    totals = Totals(BUCKETS)
    totals.http[KEY] = [number * 0.05, 0, number, 0, 0, 0, 0, 0]
    totals.counters["decisions_total", (("outcome", "denied"),)] = number
    totals.gauges["level", ()] = level
    totals.documentation = {"decisions_total": "Decisions.", "level": "Level."}
    return totals


def requests_in(totals: Totals) -> float:
    return sum(sum(cell[2:5]) for cell in totals.http.values())


WRITER = """
    import sys
    from pathlib import Path
    from prodkit.metrics.directory import SharedDirectory
    from tests.metrics.test_directory import BUCKETS, counted, failing

    directory = SharedDirectory(Path(sys.argv[1]), BUCKETS, 100, failing)
    directory.write(counted(int(sys.argv[2]), level=float(sys.argv[3])))
    print("written", flush=True)
    sys.stdin.read()
"""


def worker(path: Path, number: int, level: float) -> subprocess.Popen[str]:
    """A real process that has written its counts and waits for the end of its input."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(number), str(level)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


@pytest.fixture
def directory(tmp_path: Path) -> SharedDirectory:
    return SharedDirectory(tmp_path / "shared", BUCKETS, 100, failing)


@pytest.mark.process
def test_sum_of_living_and_dead_processes(tmp_path: Path, directory: SharedDirectory) -> None:
    """Counters of a killed worker stay, folded into the archive once; its gauges go."""
    path = tmp_path / "shared"
    one, other = worker(path, 3, 1.0), worker(path, 4, 9.0)
    try:
        together = directory.others()
        assert (requests_in(together), together.gauges["level", ()]) == (7, 9.0)
        other.kill()
        other.communicate()
        for _ in range(3):
            after = directory.others()
            assert (requests_in(after), after.gauges["level", ()]) == (7, 1.0)
            assert after.counters["decisions_total", (("outcome", "denied"),)] == 7
        assert len(list(path.glob("*-*.json"))) == 1
    finally:
        for process in (one, other):
            if process.poll() is None:
                process.communicate(timeout=10)
    assert requests_in(directory.others()) == 7


def test_own_file_is_not_read_twice(directory: SharedDirectory) -> None:
    """A process adds its present counts itself; what it wrote is for the others."""
    directory.write(counted(5))
    assert requests_in(directory.others()) == 0


def dead_file(path: Path, totals: Totals, pid: int = 4_999_999) -> Path:
    file = path / f"{pid}-abc-0.json"
    file.write_text(json.dumps(totals.to_json()))
    return file


def test_number_of_a_dead_process_may_live_again(tmp_path: Path, directory: SharedDirectory) -> None:
    """A file of this process's own number from an earlier run is somebody else's, and dead."""
    file = dead_file(tmp_path / "shared", counted(2), os.getpid())
    assert requests_in(directory.others()) == 2
    assert not file.exists()


def test_crash_while_folding_counts_once(
    tmp_path: Path, directory: SharedDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends between writing the archive and removing what is in it makes nothing count twice."""
    file = dead_file(tmp_path / "shared", counted(2))

    def crash(self: Path, **_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        with pytest.raises(KeyboardInterrupt):
            directory.others()
    assert file.exists()
    assert requests_in(directory.others()) == 2
    assert not file.exists()
    dead_file(tmp_path / "shared", counted(3), 4_999_998)
    assert requests_in(directory.others()) == 5


def test_broken_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    """Half a file, another release's and one with other buckets hide nobody else's counts; a broken one is reported."""
    failures: list[str] = []
    directory = SharedDirectory(tmp_path, BUCKETS, 100, lambda what, error: failures.append(what))
    dead_file(tmp_path, counted(2))
    (tmp_path / "4999998-abc-0.json").write_text('{"format": 1, "buck')
    dead_file(tmp_path, Totals((7.0,)), 4_999_997)
    (tmp_path / "4999996-abc-0.json").write_text('{"format": 99}')
    (tmp_path / "notes.txt").write_text("hello")
    assert requests_in(directory.others()) == 2
    assert failures == ["metrics directory"]
    (tmp_path / "archive.json").write_text("[]")
    assert requests_in(directory.others()) == 0


def test_archive_is_bounded(tmp_path: Path) -> None:
    """Routes that are gone do not stay apart for ever: beyond the budget they are one."""
    directory = SharedDirectory(tmp_path, BUCKETS, 10, failing)
    for number in range(30):
        totals = Totals(BUCKETS)
        totals.http["GET", f"/{number}", 200, "ok"] = [0, 0, 1, 0, 0, 0, 0, 0]
        dead_file(tmp_path, totals, 4_900_000 + number)
    found = directory.others()
    assert (len(found.http), requests_in(found)) == (11, 30)


def test_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """An operator learns at start-up that the sum cannot be had."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="PRODKIT_METRICS__DIRECTORY"):
        install(FastAPI(), Metrics(directory=tmp_path / "file" / "below"))


def test_scrape_adds_what_others_left(tmp_path: Path) -> None:
    """An application that starts where others have counted shows them, and leaves its own counts when it stops."""
    buckets = Metrics().settings.buckets_seconds
    earlier = Totals(buckets)
    earlier.http["GET", "/pid", 200, "ok"] = [0, 0, 5, *[0] * (1 + 2 * len(buckets))]
    dead_file(tmp_path, earlier)
    app = FastAPI()
    app.get("/pid")(lambda: 1)
    kit = install(app, Operations(token=TOKEN), Metrics(directory=tmp_path), clock=FakeClock())
    with TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        client.get("/pid")
        page = client.get("/metrics").text
        assert count_of(page) == 6
        assert "process_cpu_seconds_total" not in page, "it would be of one worker among many"
    own = [json.loads(file.read_text()) for file in tmp_path.glob("*-*.json")]
    assert [
        requests for document in own for (_, requests) in document["http"] if requests[2:19].count(0) < 17
    ]
    assert kit.failures == {}


def test_directory_that_vanishes_costs_the_sum_only(tmp_path: Path) -> None:
    """Without it the page shows this process, and the failure is counted."""
    app = FastAPI()
    app.get("/pid")(lambda: 1)
    clock = FakeClock()
    kit = install(app, Operations(token=TOKEN), Metrics(directory=tmp_path / "shared"), clock=clock)
    client = TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"})
    client.get("/pid")
    (tmp_path / "shared").rmdir()
    assert count_of(client.get("/metrics").text) == 1
    assert kit.failures == {"metrics directory": 1}


APPLICATION = """
    import os
    from fastapi import FastAPI
    from prodkit.installation import install
    from prodkit.metrics import Metrics
    from prodkit.operations import Operations

    app = FastAPI()
    install(app, Operations(networks=["127.0.0.0/8"]), Metrics(directory=os.environ["SHARED"]))

    @app.get("/pid")
    async def pid() -> int:
        return os.getpid()
"""


def fetched(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def count_of(page: str) -> float:
    return sum(
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith("http_server_requests_total{") and 'route="/pid"' in line
    )


@pytest.mark.process
def test_two_workers_of_a_real_server_show_one_sum(tmp_path: Path) -> None:
    """Whichever worker is scraped, all requests of both are there, also after one of them was killed and replaced."""
    (tmp_path / "served.py").write_text(textwrap.dedent(APPLICATION))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "served:app", "--workers=2", f"--port={port}"]
    options = ["--no-proxy-headers", "--log-level=warning"]
    environment = os.environ | {"SHARED": str(tmp_path / "shared")}
    server = subprocess.Popen([*command, *options], cwd=tmp_path, env=environment)
    try:
        wait_until(lambda: _answers(port), 30)
        pids: set[str] = set()
        asked = 0

        def both() -> bool:
            nonlocal asked
            pids.add(fetched(port, "/pid"))
            asked += 1
            return len(pids) == 2

        wait_until(both, 30)
        # A scraped worker knows what the other one wrote last: at most a second ago.
        wait_until(lambda: count_of(fetched(port, "/metrics")) == asked, 10)
        os.kill(int(pids.pop()), signal.SIGKILL)
        wait_until(lambda: _answers(port), 20)
        wait_until(lambda: count_of(fetched(port, "/metrics")) == asked, 10)
    finally:
        server.terminate()
        server.wait(timeout=20)
    assert count_of_directory(tmp_path / "shared") == asked


def _answers(port: int) -> bool:
    try:
        return bool(fetched(port, "/metrics"))
    except OSError:
        return False


def count_of_directory(path: Path) -> float:
    """What a process that starts afterwards would show."""
    buckets = Metrics().settings.buckets_seconds
    totals = SharedDirectory(path, buckets, 2000, failing).others()
    last = 3 + len(buckets)
    return sum(sum(cell[2:last]) for key, cell in totals.http.items() if key[1] == "/pid")
