"""A real nginx with the configuration of the page, in front of a real server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.server import read_all, wait_until

NAME = "api.example.com"
CALLER = "127.0.0.2"
BINARY = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

_MAIN = """
daemon off;
master_process off;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{configuration}
}}
"""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


def adapted(configuration: str, changes: dict[str, str]) -> str:
    """*configuration* for this machine; each of *changes* has to be there, or the page was changed without its test."""
    for old, new in changes.items():
        assert old in configuration, f"the page no longer says {old!r}"
        configuration = configuration.replace(old, new)
    return configuration


def certificate(folder: Path) -> tuple[Path, Path]:
    """The paths of a certificate for `NAME`, which signs itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


@contextlib.contextmanager
def nginx(folder: Path, configuration: str, port: int) -> Iterator[None]:
    """nginx with *configuration* inside `http`, once it listens on *port*."""
    assert BINARY is not None
    file = folder / "nginx.conf"
    file.write_text(_MAIN.format(configuration=configuration), encoding="utf-8")
    log = folder / "error.log"
    with subprocess.Popen([BINARY, "-p", str(folder), "-c", str(file), "-e", str(log)]) as process:
        try:
            wait_until(lambda: process.poll() is not None or _listens(port))
            assert process.poll() is None, log.read_text(encoding="utf-8")
            yield
        finally:
            process.terminate()
            process.wait(timeout=10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def serving_on_unix_socket(app: Any, path: Path) -> Iterator[None]:
    """Serve *app* as `prodkit serve --uds` does."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, proxy_headers=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        assert server.started
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive()


class Caller:
    """Somebody at `CALLER` who speaks to *port*, encrypted where there is a *certificate* to believe."""

    def __init__(self, port: int, certificate: Path | None = None) -> None:
        self.port = port
        self._certificate = certificate

    def connect(self, name: str = NAME) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=5, source_address=(CALLER, 0))
        if self._certificate is None:
            return plain
        try:
            context = ssl.create_default_context(cafile=str(self._certificate))
            return context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    def ask(self, path: str, *lines: str, method: str = "GET", host: str = NAME, body: bytes = b"") -> bytes:
        head = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *lines]
        if body:
            head.append(f"Content-Length: {len(body)}")
        with self.connect() as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + body)
            return read_all(connection)
