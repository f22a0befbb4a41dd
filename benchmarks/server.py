"""A uvicorn server for one application on a free port of loopback; started by `benchmarks.load`.

Arguments: the application's name or `bare`, and the processor to stay on or `-`. Prints the port, and ends when its
standard input does.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

import uvicorn

from benchmarks.applications import bare
from benchmarks.worker import silenced, variant_named


def main() -> None:
    name, processor = sys.argv[1:]
    if processor != "-":
        os.sched_setaffinity(0, {int(processor)})
    answers = silenced()
    app = bare() if name == "bare" else variant_named(name).build(1)
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    # As `prodkit serve` has it: the client's address and access lines are the application's business.
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
    )
    server = uvicorn.Server(config)

    def end_with_parent() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    print(listening.getsockname()[1], file=answers)
    server.run([listening])


if __name__ == "__main__":
    main()
