"""`python -m examples.research_agents.local_parallel`: the server as a process of its own.

Reads its token from `LOCAL_PARALLEL_TOKEN` (an argument would be visible to every user of the machine), binds a free
loopback port, prints one line `{"port": N}` once it serves, and ends when its standard input closes: whoever started it
holds the other end, so it cannot outlive them, however they ended. In `LOCAL_PARALLEL_FOLDER`, a temporary directory of
theirs, it keeps its files, and removes it when it ends: they may be past doing it.

`LOCAL_PARALLEL_LATENCY_SECONDS` makes every task run and chat wait that long first, as a provider far away would;
`LOCAL_PARALLEL_FAULTS=1` lets tests order misbehaviour (see `faults`).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from examples.research_agents.serving import AnnouncingServer, bind

from .server import create_server


def _serve(app: ASGIApp) -> None:
    listener = bind("127.0.0.1", 0)

    def announce() -> None:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = AnnouncingServer(config, announce)

    def end_with_parent() -> None:
        # Not sys.stdin: a thread blocked inside its buffer would hold a lock the interpreter needs to end.
        while os.read(0, 1024):
            pass
        server.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True, name="parent-watch").start()
    server.run(sockets=[listener])


def main() -> int:
    """Run until standard input closes. Exit code 2 when the token is missing or a setting makes no sense."""
    token = os.environ.pop("LOCAL_PARALLEL_TOKEN", "")
    if not token:
        sys.stderr.write("set LOCAL_PARALLEL_TOKEN to the token callers will send\n")
        return 2
    own = os.environ.pop("LOCAL_PARALLEL_FOLDER", "")
    if own:
        tempfile.tempdir = own
    folder = Path(__file__).resolve().parents[3] / "docs"
    try:
        app = create_server(
            token,
            docs_folder=folder if folder.is_dir() else None,
            latency_seconds=float(os.environ.get("LOCAL_PARALLEL_LATENCY_SECONDS", "0")),
            faults=os.environ.get("LOCAL_PARALLEL_FAULTS") == "1",
        )
    except ValueError as error:
        sys.stderr.write(f"LOCAL_PARALLEL_TOKEN, LOCAL_PARALLEL_LATENCY_SECONDS: {error}\n")
        return 2
    try:
        _serve(app)
    finally:
        if own:
            shutil.rmtree(own, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
