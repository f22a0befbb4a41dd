"""`python -m examples.research_agents.demo`, which is what `make demo` runs: the application and its sources, ready to try.

Two processes: the hardened application here, and the local Parallel server as a child that ends when this process does,
however it does. Sessions, documents, keys and the ledger are kept in `.data`, so that the next demo finds them; the key that is
made for this run is revoked at its end. Whatever `PRODKIT_*` and `RESEARCH_*` are set in the environment are honoured; with
`RESEARCH_PARALLEL_API_KEY` the sources are Parallel's (or those of `RESEARCH_PARALLEL_BASE_URL`), no child is started, and
the budget is what real money allows.
"""

from __future__ import annotations

import asyncio
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
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from dotenv import dotenv_values
from fastapi import FastAPI
from pydantic import ValidationError

from prodkit import kit_of
from prodkit.api_keys import KeyRegistry
from prodkit.core.exceptions import ProdkitError

from .serving import AnnouncingServer, bind

_START_SECONDS = 60.0  # a cold machine compiles everything it imports
_KEY_LIFETIME = timedelta(hours=12)
_SCOPES = ("agents:run", "usage:read", "budgets:write")
_TO_TRY = (
    ("search", "chat", "What does the nonlocal statement do?"),
    ("critic", "chat", "The package fastapi requires Python 2. Python has a with statement."),
    ("deep_research", "stream", "What is the difference between the global and nonlocal statements?"),
)
T = TypeVar("T")

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
            makes_key = _hardening_defaults(simulated="RESEARCH_PARALLEL_API_KEY" not in given)
            return _serve(listener, host, serving, makes_key=makes_key)
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


def _hardening_defaults(*, simulated: bool) -> bool:
    """Put what the demo needs into the environment, where neither it nor `.env` says anything.

    Args:
        simulated: whether nothing is really billed, so that the budget may be one nobody reaches by trying.

    Returns:
        whether a key shall be made for this run: not where who may call is configured already.
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
    makes_key = not any(
        name.startswith(("PRODKIT_AUTHENTICATION__", "PRODKIT_API_KEYS__", "PRODKIT_WEB_SESSIONS__"))
        for name in given
    )
    if makes_key:
        defaults |= {
            "PRODKIT_API_KEYS__PEPPERS": _pepper(),
            # The key a session is opened with ends with this run, and the session with it: so may the secret.
            "PRODKIT_WEB_SESSIONS__SECRETS": json.dumps({"run": secrets.token_urlsafe(48)}),
            # Without TLS only some browsers take the cookie otherwise, and only from this machine itself.
            "PRODKIT_WEB_SESSIONS__SECURE": "false",
            "PRODKIT_AUTHENTICATION__PUBLIC_DOCS": "true",
        }
    for name, value in defaults.items():
        if name not in given:
            os.environ[name] = value
    return makes_key


def _pepper() -> str:
    """The pepper of the keys in `.data`, as its setting; made by the first demo, readable by its user only."""
    folder = _DATA / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "PRODKIT_API_KEYS__PEPPERS"
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(json.dumps({"demo": secrets.token_urlsafe(48)}))
    return file.read_text().strip()


def _serve(listener: socket.socket, host: str, serving: threading.Event, *, makes_key: bool) -> int:
    """Serve until a signal; 1 when the application refused to start."""
    from .app import create_app  # noqa: PLC0415 - slow to import; the child is started first

    app = create_app()
    with _key_for_this_run(app) if makes_key else contextlib.nullcontext("") as key:
        return _serve_until_signal(app, listener, host, key, serving)


@contextlib.contextmanager
def _key_for_this_run(app: FastAPI) -> Iterator[str]:
    """A key of a normal user; revoked at the end, and expired not much later where this process is killed."""
    registry = kit_of(app).one(KeyRegistry)
    if registry is None:
        message = "there is nothing that makes keys"
        raise DemoError(message)

    async def once(work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        finally:
            # The next use, from the server's own loop, opens it again.
            await registry.store.aclose()

    issuing = registry.issue(
        "demo", tenant="demo", scopes=_SCOPES, expires_in=_KEY_LIFETIME, name="made by make demo"
    )
    issued = asyncio.run(once(issuing))
    try:
        yield issued.secret
    finally:
        asyncio.run(once(registry.revoke(issued.record.id)))


def _serve_until_signal(
    app: FastAPI, listener: socket.socket, host: str, key: str, serving: threading.Event
) -> int:

    port = listener.getsockname()[1]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    config = uvicorn.Config(
        app,
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
