"""`python -m examples.research_agents.demo`, which is what `make demo` runs: the application and its sources, ready to try.

Two processes: the hardened application here, and the local Parallel server as a child that ends when this process does,
however it does. Sessions, documents and the ledger are kept in `.data`, so that the next demo finds them; the key dies with
the process. Whatever `PRODKIT_*` and `RESEARCH_*` are set in the environment are honoured; with
`RESEARCH_PARALLEL_API_KEY` the sources are Parallel's (or those of `RESEARCH_PARALLEL_BASE_URL`), no child is started, and
the budget is what real money allows.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import secrets
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from dotenv import dotenv_values
from pydantic import ValidationError

from prodkit.authentication import StaticKeys
from prodkit.core.exceptions import ProdkitError

from .serving import AnnouncingServer, bind

_START_SECONDS = 60.0  # a cold machine compiles everything it imports
_KEY_LIFETIME = timedelta(hours=12)
_TO_TRY = (
    ("search", "chat", "What does the nonlocal statement do?"),
    ("critic", "chat", "The package fastapi requires Python 2. Python has a with statement."),
    ("deep_research", "stream", "What is the difference between the global and nonlocal statements?"),
)
_DATA = Path(".data")  # what `make clean` removes


class DemoError(Exception):
    """The demo cannot start; the message says why, and is all that is printed."""


def main() -> int:
    """Run until ctrl-c, SIGTERM or SIGHUP. Exit code 0 after a clean end, 1 when it could not start."""
    host = os.environ.get("HOST") or "127.0.0.1"
    port = os.environ.get("PORT") or "8000"
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        return _refuse(f"PORT must be a number from 0 to 65535, not {port!r}")
    try:
        listener = bind(host, int(port))
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        reason = (
            "is in use; choose another one: PORT=8001 make demo"
            if in_use
            else f"cannot be used: {error.strerror}"
        )
        return _refuse(f"{host}:{port} {reason}")
    serving = threading.Event()

    def end(*_: object) -> None:
        # While it serves, uvicorn handles signals, and raises them again when it has drained; by then all is done.
        if not serving.is_set():
            sys.exit(0)

    def hang_up(*_: object) -> None:
        # A closed terminal ends the demo like SIGTERM; uvicorn itself does not know this signal.
        signal.raise_signal(signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, hang_up)
    try:
        given = dict(os.environ)
        with tempfile.TemporaryDirectory(prefix="prodkit-demo-") as folder, _sources(folder):
            key = _hardening_defaults(simulated="RESEARCH_PARALLEL_API_KEY" not in given)
            return _serve(listener, host, key, serving)
    except (DemoError, ProdkitError, ValidationError) as error:
        return _refuse(str(error))
    finally:
        listener.close()


def _refuse(reason: str) -> int:
    print(f"demo: {reason}", file=sys.stderr)
    return 1


@contextlib.contextmanager
def _sources(folder: str) -> Iterator[None]:
    """The local Parallel server as a child, reachable through `RESEARCH_*`; nothing when a key for another is set.

    Its files go into *folder*, so that they are removed also when it has to be killed. When we are, it removes the folder.
    """
    if os.environ.get("RESEARCH_PARALLEL_API_KEY"):
        yield
        return
    token = secrets.token_urlsafe(32)
    child = subprocess.Popen(
        [sys.executable, "-m", "examples.research_agents.local_parallel"],
        cwd=Path(__file__).resolve().parents[2],
        env={**_inherited(), "LOCAL_PARALLEL_TOKEN": token, "LOCAL_PARALLEL_FOLDER": folder},
        stdin=subprocess.PIPE,  # our end closes when we die, even by SIGKILL; the child ends when it does
        stdout=subprocess.PIPE,
        start_new_session=True,  # ctrl-c is for us: the child has to answer until the last request is done
    )
    try:
        port = _port_of(child)
        os.environ["RESEARCH_PARALLEL_API_KEY"] = token
        os.environ["RESEARCH_PARALLEL_BASE_URL"] = f"http://127.0.0.1:{port}"
        yield
    finally:
        if child.stdin is not None:
            child.stdin.close()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _inherited() -> dict[str, str]:
    """The environment without our own settings: the child needs none of them, and some are secret."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PRODKIT_", "RESEARCH_"))
    }


def _port_of(child: subprocess.Popen[bytes]) -> int:
    """The port the child says it serves on, once it does."""
    # Meanwhile this process does the slow imports it will need anyway.
    from . import app  # noqa: F401, PLC0415

    out = child.stdout
    if out is None:
        message = "the local Parallel server has no output"
        raise DemoError(message)
    deadline = time.monotonic() + _START_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(out, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if selector.select(left):
                line = out.readline()
                if not line:
                    break
                return int(json.loads(line)["port"])
    message = "the local Parallel server did not start; its messages are above"
    raise DemoError(message)


def _hardening_defaults(*, simulated: bool) -> str:
    """Put what the demo needs into the environment, where neither it nor `.env` says anything.

    Args:
        simulated: whether nothing is really billed, so that the budget may be one nobody reaches by trying.

    Returns:
        the key made for this run; empty when authentication is configured already.
    """
    given = {**dotenv_values(".env"), **os.environ}
    defaults = {
        "PRODKIT_ENVIRONMENT": "development",
        "PRODKIT_STORE": f"sqlite:///{_DATA / 'prodkit.db'}",
        "PRODKIT_OPERATIONS__NETWORKS": '["127.0.0.0/8", "::1/128"]',
        # Enough for a load test from this machine.
        "PRODKIT_RATE_LIMITING__DEFAULT": "12000/minute",
        "PRODKIT_RATE_LIMITING__ADDRESS": "24000/minute",
        "PRODKIT_BUDGETS__DEFAULT": "1000.00/day" if simulated else "5.00/day",
    }
    if "PRODKIT_STORE" not in given:
        _DATA.mkdir(mode=0o700, exist_ok=True)
    shown = ""
    if not any(name.startswith("PRODKIT_AUTHENTICATION__") for name in given):
        shown, digest = StaticKeys.generate()
        expires_at = datetime.now(UTC) + _KEY_LIFETIME
        key = {
            "sha256": digest,
            "scopes": ["agents:run", "usage:read", "budgets:write"],
            "tenant": "demo",
            "expires_at": expires_at.isoformat(),
        }
        defaults["PRODKIT_AUTHENTICATION__MODE"] = "keys"
        defaults["PRODKIT_AUTHENTICATION__STATIC_KEYS"] = json.dumps({"demo": key})
        defaults["PRODKIT_AUTHENTICATION__PUBLIC_DOCS"] = "true"
    for name, value in defaults.items():
        if name not in given:
            os.environ[name] = value
    return shown


def _serve(listener: socket.socket, host: str, key: str, serving: threading.Event) -> int:
    """Serve until a signal; 1 when the application refused to start."""
    from .app import create_app  # noqa: PLC0415 - slow to import; the child is started first

    port = listener.getsockname()[1]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    config = uvicorn.Config(
        create_app(),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )
    # One line for every search would bury what the demo is about: the access log.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    server = AnnouncingServer(config, lambda: _announce(url, key))
    serving.set()
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _announce(url: str, key: str) -> None:
    """What to do next, once there is something to do it with."""
    shown = key or "the one you configured"
    headers = f"-H 'Authorization: Bearer {key or 'KEY'}' -H 'Content-Type: application/json'"
    print(f"URL: {url}")
    print(f"API key: {shown}")
    print(f"Docs: {url}/docs")
    for agent, verb, message in _TO_TRY:
        command = f"curl -sS{'N' if verb == 'stream' else ''} {url}/v1/agents/{agent}/{verb}"
        print(f"{command} {headers} -d {shlex.quote(json.dumps({'message': message}))}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
