"""Sixty-four streams at once, on a real server: the short form of `python -m benchmarks.streams`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.local_server import ROOT


@pytest.mark.process
def test_many_streams_at_once_leave_nothing_behind() -> None:
    """Each ends with an answer; afterwards no run and no task is left that was not there before."""
    command = [sys.executable, "-m", "benchmarks.streams", "--clients", "64", "--seconds", "3"]
    # Its processes are not watched for coverage, which would make sixty-four streams take twice as long.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["failed"] == {}
    assert found["streams"] >= 64
    assert found["after"]["runs"] == 0
    assert found["after"]["tasks"] <= found["before"]["tasks"]
    assert found["after"]["mebibytes"] < found["before"]["mebibytes"] + 100
