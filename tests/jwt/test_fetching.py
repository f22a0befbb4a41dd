"""jwt.fetching: one small GET against servers that do everything wrong. The sockets are real."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from prodkit.jwt.fetching import Fetch, FetchError, Reason, StandardFetch, fetch_with_httpx, max_age_of
from prodkit.testing.identity_provider import LocalIdentityProvider

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads a request and then does what *answer* does; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            held.append(client)
            with contextlib.suppress(OSError):
                client.recv(65536)
                answer(client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
    finally:
        # Wakes up accept, which a close alone does not.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for client in held:
            client.close()
        thread.join(5)


def sending(*pieces: bytes, pause_seconds: float = 0.0) -> Callable[[socket.socket], None]:
    def answer(client: socket.socket) -> None:
        for piece in pieces:
            client.sendall(piece)
            time.sleep(pause_seconds)
        client.close()

    return answer


def hanging(client: socket.socket) -> None:
    del client


def fetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prodkit-jwks-fetch"]


async def no_fetch_threads() -> None:
    async with asyncio.timeout(3):
        while fetch_threads():
            await asyncio.sleep(0.005)


async def refused(fetch: Fetch, url: str) -> Reason:
    with pytest.raises(FetchError) as caught:
        await fetch(url)
    return caught.value.reason


@pytest.fixture(params=["standard", "httpx"])
async def make_fetch(request):
    """Both fetchers keep the same promises."""
    async with httpx.AsyncClient() as client:

        def make(**options) -> Fetch:
            if request.param == "standard":
                return StandardFetch(**options)
            return fetch_with_httpx(client, **options)

        yield make


async def test_body_and_freshness_come_back(make_fetch) -> None:
    """Status, body and Cache-Control, with the length told, in chunks, or until the connection ends."""
    for answer in (
        HEAD + b"Cache-Control: max-age=77\r\nContent-Length: 2\r\n\r\n{}",
        HEAD
        + b"Cache-Control: max-age=77\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        HEAD + b"Cache-Control: max-age=77\r\n\r\n{}",
    ):
        with serving(sending(answer)) as url:
            fetched = await make_fetch()(url)
        assert (fetched.status, fetched.body, fetched.cache_control) == (200, b"{}", "max-age=77")


async def test_request_is_plain() -> None:
    """Host with its port, path and query as configured, no compression asked for, nothing of the environment."""
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        client, _ = listener.accept()
        seen.append(client.recv(65536))
        client.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        client.close()

    threading.Thread(target=serve, daemon=True).start()
    await StandardFetch()(f"http://127.0.0.1:{port}/a/b?tenant=x%20y")
    listener.close()
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /a/b?tenant=x%20y HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in lines
    assert "Accept-Encoding: identity" in lines
    assert not [line for line in lines if line.lower().startswith(("authorization", "cookie"))]


async def test_redirect_is_told_and_not_followed(make_fetch) -> None:
    """A redirect leads nowhere, so that no answer makes us ask another host."""
    with LocalIdentityProvider() as provider:
        provider.behave("redirect")
        fetched = await make_fetch()(provider.jwks_uri)
        assert (fetched.status, fetched.body) == (302, b"")
        assert provider.requests == {"/jwks.json": 1}


async def test_too_much_is_not_read(make_fetch) -> None:
    """A body above the cap is given up on, whether its size is told or only found out."""
    endless = [HEAD + b"\r\n", *[b" " * 65536] * 64]
    with serving(sending(HEAD + b"Content-Length: 9999999\r\n\r\n" + b" " * 2000)) as url:
        assert await refused(make_fetch(max_bytes=1000), url) is Reason.TOO_LARGE
    with serving(sending(*endless)) as url:
        assert await refused(make_fetch(), url) is Reason.TOO_LARGE
    with serving(sending(HEAD + b"Content-Length: 1000\r\n\r\n" + b" " * 1000)) as url:
        assert len((await make_fetch(max_bytes=1000)(url)).body) == 1000


async def test_compressed_body_is_refused(make_fetch) -> None:
    """Nothing is unpacked, so nothing can unpack to gigabytes."""
    with serving(sending(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")) as url:
        assert await refused(make_fetch(), url) is Reason.ENCODED


@pytest.mark.parametrize(
    "answer",
    [
        hanging,
        sending(*[b"H"] * 200, pause_seconds=0.02),
        sending(HEAD, *[b"X-Header: 1\r\n"] * 200, pause_seconds=0.02),
        sending(HEAD + b"Content-Length: 200\r\n\r\n", *[b" "] * 200, pause_seconds=0.02),
        sending(HEAD + b"\r\n", *[b" "] * 200, pause_seconds=0.02),
        sending(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 200, pause_seconds=0.02),
    ],
    ids=["silent", "status line", "headers", "body", "body without length", "continue"],
)
async def test_slow_server_is_left_when_the_time_is_up(make_fetch, answer) -> None:
    """The limit is for the whole, so that a byte now and then buys no more; and no thread stays behind."""
    with serving(answer) as url:
        began = time.monotonic()
        assert await refused(make_fetch(timeout_seconds=0.2), url) is Reason.TIMEOUT
        assert time.monotonic() - began < 1.5
        await no_fetch_threads()
        assert time.monotonic() - began < 3


async def test_silent_tls_handshake_is_left_too() -> None:
    """A server that accepts an https connection and says nothing holds neither the caller nor the thread."""
    with serving(hanging) as url:
        began = time.monotonic()
        fetch = StandardFetch(timeout_seconds=0.2)
        assert await refused(fetch, url.replace("http:", "https:")) is Reason.TIMEOUT
        await no_fetch_threads()
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "answer",
    [
        sending(),
        sending(b"SSH-2.0-OpenSSH\r\n"),
        sending(HEAD + b"Content-Length: 50\r\n\r\n{}"),
        sending(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ],
    ids=["nothing", "another protocol", "cut off", "bad chunk"],
)
async def test_broken_answers_are_failures(make_fetch, answer) -> None:
    """Whatever breaks is one kind of failure; nothing the server sent is repeated."""
    with serving(answer) as url:
        with pytest.raises(FetchError) as caught:
            await make_fetch()(url)
        assert caught.value.reason is Reason.UNREACHABLE
        assert "SSH" not in str(caught.value)


@pytest.mark.parametrize(
    "headers", [b"X: " + b"a" * 70_000 + b"\r\n", b"X: 1\r\n" * 200, b"Content-Length: x\r\n" * 200]
)
async def test_headers_without_end_are_given_up(headers: bytes) -> None:
    """Neither a line of 70 kB nor 200 lines are read."""
    with serving(sending(HEAD + headers + b"\r\n{}")) as url:
        assert await refused(StandardFetch(), url) is Reason.UNREACHABLE


async def test_refused_connection_is_a_failure(make_fetch) -> None:
    """Nobody there."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert await refused(make_fetch(), f"http://127.0.0.1:{port}/") is Reason.UNREACHABLE


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable meant for other programs does not choose the way keys come."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with LocalIdentityProvider() as provider:
        assert (await StandardFetch()(provider.jwks_uri)).status == 200


async def test_cancelled_fetch_ends_its_thread() -> None:
    """Whoever goes away takes the thread along, and the next fetch finds the way free."""
    fetch = StandardFetch(timeout_seconds=30)
    with serving(hanging) as url:
        task = asyncio.create_task(fetch(url))
        while not fetch_threads():
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await no_fetch_threads()
    with LocalIdentityProvider() as provider:
        assert (await fetch(provider.jwks_uri)).status == 200


async def test_name_lookup_that_hangs_keeps_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be interrupted is not tried again beside itself; when it ends, fetching goes on."""
    release = threading.Event()
    original = socket.getaddrinfo

    def stuck(*args, **kwargs):
        release.wait(10)
        return original(*args, **kwargs)

    with LocalIdentityProvider() as provider:
        monkeypatch.setattr(socket, "getaddrinfo", stuck)
        fetch = StandardFetch(timeout_seconds=0.1)
        assert await refused(fetch, provider.jwks_uri) is Reason.TIMEOUT
        began = time.monotonic()
        for _ in range(20):
            assert await refused(fetch, provider.jwks_uri) is Reason.UNREACHABLE
        assert time.monotonic() - began < 1
        assert len(fetch_threads()) == 1
        release.set()
        await no_fetch_threads()
        assert provider.requests == {}
        assert (await fetch(provider.jwks_uri)).status == 200


async def test_no_thread_to_be_had_is_a_failed_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process out of threads goes on with the keys it has, and can fetch again later."""
    fetch = StandardFetch()
    with LocalIdentityProvider() as provider:
        with monkeypatch.context() as patch:
            patch.setattr(
                threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no more"))
            )
            assert await refused(fetch, provider.jwks_uri) is Reason.ERROR
        assert (await fetch(provider.jwks_uri)).status == 200


# ------------------------------------------------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, as one file."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_tls_is_verified(certificate: Path) -> None:
    """An unknown authority and a wrong name are refused; an authority that was given is trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as client:
                client.recv(65536)
                client.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")

    threading.Thread(target=serve, daemon=True).start()
    url = f"https://127.0.0.1:{listener.getsockname()[1]}/keys"
    trusting = ssl.create_default_context(cafile=str(certificate))
    try:
        assert await refused(StandardFetch(), url) is Reason.UNREACHABLE
        assert (await StandardFetch(tls=trusting)(url)).body == b"{}"
        assert await refused(StandardFetch(tls=trusting), url.replace("127.0.0.1", "localhost")) is (
            Reason.UNREACHABLE
        )
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


# ------------------------------------------------------------------------------------------------ the rest


@pytest.mark.process
def test_process_ends_while_a_fetch_hangs() -> None:
    """A provider that says nothing does not hold up the end of a process."""
    program = """
import asyncio, sys
from prodkit.jwt.fetching import StandardFetch
async def main():
    asyncio.create_task(StandardFetch(timeout_seconds=60)(sys.argv[1]))
    await asyncio.sleep(0.2)
asyncio.run(main())
print("ended")
"""
    with serving(hanging) as url:
        ended = subprocess.run(
            [sys.executable, "-c", program, url], capture_output=True, text=True, timeout=20, check=True
        )
    assert ended.stdout == "ended\n"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("public", None),
        ("max-age=60", 60),
        ("public,max-age=60", 60),
        ('public, Max-Age = "60"', 60),
        ("x-max-age=60", None),
        ("max-age=-1", None),
        ("no-store", 0),
        ("no-cache", 0),
        ("no-cachet", None),
        ("max-age=" + "9" * 5000, 9_999_999_999),
    ],
)
def test_freshness_is_read_leniently(header: str | None, seconds: float | None) -> None:
    """What cannot be read says nothing, and is no error."""
    assert max_age_of(header) == seconds
