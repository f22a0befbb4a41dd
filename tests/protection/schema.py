"""How schemathesis is run over an application that serves.

It runs in a process of its own, because it changes hypothesis wherever it is imported. `SCHEMA_SECONDS` in the environment
asks for a long run of so many seconds, with all of its phases over all operations.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SECONDS = int(os.environ.get("SCHEMA_SECONDS", "0"))
HERE = Path(__file__).parent

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "ignored_auth",
    "ensure_resource_availability",
    # ours, of problem_checks.py
    "errors_are_problems",
    "documents_fit",
)


def run(port: int, key: str, folder: Path, *, examples: int, leave_out: str | None = None) -> None:
    """Test the application at *port* as the caller with *key*; fails with what schemathesis says.

    Args:
        port: on 127.0.0.1.
        key: sent as a bearer token.
        folder: where it may write.
        examples: how many of each kind for each operation, in a short run.
        leave_out: paths that match are left out of a short run.
    """
    command = [
        *(
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"http://127.0.0.1:{port}/openapi.json",
        ),
        *("-H", f"Authorization: Bearer {key}", "--checks", ",".join(CHECKS), "--continue-on-failure"),
        *("--suppress-health-check", "all", "--warnings", "off"),
    ]
    if SECONDS:
        command += ["--max-time", str(SECONDS), "--max-examples", "150"]
    else:
        command += ["--phases", "fuzzing", "--max-examples", str(examples), "--generation-deterministic"]
        if leave_out is not None:
            command += ["--exclude-path-regex", leave_out]
    # Nothing else of the environment: neither proxies nor the measuring of coverage.
    environment = {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(HERE),
        "SCHEMATHESIS_HOOKS": "problem_checks",
    }
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
    assert "Test cases:" in ended.stdout
