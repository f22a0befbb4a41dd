"""Sending: what a real receiver gets, and what its answers lead to."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from prodkit.core.clock import FakeClock
from prodkit.core.notices import Notice, UndeliveredError
from prodkit.webhooks import sending, verify
from prodkit.webhooks.sending import Endpoint, Sender, retry_after_of
from tests.support.receiver import OTHER_SECRET, SECRET, Reply, receiving

NOTICE = Notice(
    id="note-1", type="test.happened", at=1_764_000_000.5, data={"who": "änn", "spent_usd": "0.5"}
)


def sender(*urls, secrets=(SECRET,), **options) -> Sender:
    return Sender([Endpoint(url, tuple(map(SecretStr, secrets))) for url in urls], **options)


def counts(made: Sender) -> dict[str, float]:
    return {sample.labels["outcome"]: sample.value for sample in made.samples() if sample.value}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of 127.0.0.1, by an authority of its own, with its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(private, hashes.SHA256())
    )
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(key + made.public_bytes(serialization.Encoding.PEM))
    return path


async def test_a_receiver_gets_one_signed_message():
    """POST of JSON with the three headers, signed for its secret by the time of the clock; `verify` agrees."""
    clock = FakeClock()
    with receiving() as receiver:
        made = sender(receiver.url + "?token=x")
        made.use(clock)
        await made.deliver(NOTICE)
    (got,) = receiver.got
    assert got.path == "/hooks?token=x"
    assert got.document == {
        "type": "test.happened",
        "timestamp": "2025-11-24T16:00:00.500000Z",
        "data": {"who": "änn", "spent_usd": "0.5"},
    }
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert (got.id, got.headers["webhook-timestamp"]) == ("note-1", str(int(clock.wall())))
    assert got.is_signed_with(SECRET)
    assert not got.is_signed_with(OTHER_SECRET)
    assert verify(got.headers, got.body, [SECRET], now=clock.wall()) == "note-1"
    assert counts(made) == {"delivered": 1}


async def test_while_a_secret_is_replaced_both_sign():
    """The receiver may know either."""
    with receiving() as receiver:
        await sender(receiver.url, secrets=(OTHER_SECRET, SECRET)).deliver(NOTICE)
    (got,) = receiver.got
    assert len(got.signatures()) == 2
    assert got.is_signed_with(SECRET)
    assert got.is_signed_with(OTHER_SECRET)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
async def test_any_success_is_success(status):
    """2xx, whatever is in the body."""
    with receiving(Reply(status)) as receiver:
        await sender(receiver.url).deliver(NOTICE)
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [301, 307, 308, 400, 401, 404, 500, 502])
async def test_anything_else_is_none(status):
    """Redirects are not followed: they would bring what is signed to somebody else."""
    with receiving() as elsewhere, receiving(Reply(status, {"location": elsewhere.url})) as receiver:
        made = sender(receiver.url)
        with pytest.raises(UndeliveredError, match="1 of 1") as caught:
            await made.deliver(NOTICE)
    assert caught.value.retry_after_seconds is None
    assert (len(receiver.got), elsewhere.got) == (1, [])
    assert counts(made) == {"refused": 1}


async def test_who_has_taken_it_is_not_asked_again():
    """Of two endpoints the one that failed gets it again, with the same id and body; then both have had it once."""
    with receiving() as content, receiving(Reply(500)) as failing:
        made = sender(content.url, failing.url)
        with pytest.raises(UndeliveredError, match="1 of 2"):
            await made.deliver(NOTICE)
        for _ in range(2):
            await made.deliver(NOTICE)
    assert len(content.got) == 1
    first, second = failing.got
    assert (first.id, first.body) == (second.id, second.body)
    assert counts(made) == {"delivered": 2, "refused": 1}


async def test_what_is_remembered_of_it_is_bounded(monkeypatch):
    """The oldest notices are forgotten."""
    monkeypatch.setattr(sending, "_REMEMBERED", 3)
    with receiving() as receiver:
        made = sender(receiver.url)
        for number in range(5):
            await made.deliver(Notice(id=f"n{number}", type="t", at=0, data={}))
    assert list(made._taken) == ["n2", "n3", "n4"]


async def test_gone_is_for_good(caplog):
    """After 410 nothing is sent there any more, and that is an error in the log; other endpoints go on."""
    with receiving(Reply(410)) as gone, receiving() as content:
        made = sender(gone.url, content.url)
        await made.deliver(NOTICE)
        await made.deliver(Notice(id="note-2", type="t", at=0, data={}))
    assert (len(gone.got), len(content.got)) == (1, 2)
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert line.message == "webhook_endpoint_gone"
    assert counts(made) == {"gone": 1, "delivered": 2}


class TestRetryAfter:
    """A receiver may ask to be left alone, within bounds."""

    @pytest.mark.parametrize("status", [429, 503])
    async def test_it_is_told(self, status):
        """With 429 and 503, where it means something; the longest of several counts."""
        late, later = Reply(status, {"retry-after": "60"}), Reply(status, {"retry-after": "120"})
        with receiving(late) as one, receiving(later) as other, receiving() as content:
            made = sender(one.url, other.url, content.url)
            with pytest.raises(UndeliveredError) as caught:
                await made.deliver(NOTICE)
        assert caught.value.retry_after_seconds == 120

    async def test_elsewhere_it_means_nothing(self):
        """A 500 with it is a 500."""
        with receiving(Reply(500, {"retry-after": "60"})) as receiver:
            made = sender(receiver.url)
            with pytest.raises(UndeliveredError) as caught:
                await made.deliver(NOTICE)
        assert caught.value.retry_after_seconds is None

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("0", 0),
            (" 90 ", 90),
            ("86401", 86_400),
            ("9" * 5000, 86_400),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("٣", None),
            ("Fri, 27 Nov 99999999999 12:00:00 GMT", None),
            ("Fri, 27 Nov 2026 99999999999999999999:00:00 GMT", None),
            ("Fri, 27 Nov 2026 12:00:00 +99999999999999999999", None),
        ],
    )
    def test_how_it_is_read(self, value, seconds):
        """Whole seconds, a day at most; what is none says nothing."""
        assert retry_after_of(value, 0.0) == seconds

    def test_a_date_is_read_too(self):
        """As seconds from now: none where it is over, a day at most."""
        now = datetime(2026, 11, 27, 12, tzinfo=UTC)
        for hours, seconds in ((-1, 0), (1, 3600), (1000, 86_400)):
            value = format_datetime(now + timedelta(hours=hours), usegmt=True)
            assert retry_after_of(value, now.timestamp()) == seconds
        assert retry_after_of("Fri, 27 Nov 2026 12:00:07 -0000", now.timestamp()) == 7


class TestBounds:
    """Whatever a receiver does, an attempt is over in time and holds little."""

    async def test_no_host_has_such_a_name(self):
        """That is no fault of the program, and the others are told."""
        with receiving() as receiver:
            made = sender("https://xn--.example/hooks", receiver.url)
            with pytest.raises(UndeliveredError):
                await made.deliver(NOTICE)
        assert counts(made) == {"delivered": 1, "unreachable": 1}

    async def test_nobody_listens(self):
        """A refused connection is a failed attempt."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        made = sender(f"http://127.0.0.1:{port}/")
        with pytest.raises(UndeliveredError):
            await made.deliver(NOTICE)
        assert counts(made) == {"unreachable": 1}

    async def test_no_http(self):
        """Garbage is a failed attempt."""
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"\x00\x01 not http\r\n\r\n")

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            made = sender(f"http://127.0.0.1:{server.getsockname()[1]}/")
            with pytest.raises(UndeliveredError):
                await made.deliver(NOTICE)
            thread.join(timeout=5)
        assert counts(made) == {"unreachable": 1}

    async def test_a_slow_one_is_given_up(self, monkeypatch):
        """When the time is up, and the event loop was free meanwhile."""
        monkeypatch.setattr(sending, "TOTAL_SECONDS", 0.3)
        with receiving(Reply(seconds=30)) as receiver:
            made = sender(receiver.url)
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.01)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            began = time.monotonic()
            with pytest.raises(UndeliveredError):
                await made.deliver(NOTICE)
            assert time.monotonic() - began < 5
            ticking.cancel()
        assert counts(made) == {"timeout": 1}
        assert ticks > 5

    async def test_a_body_without_end_is_not_read(self):
        """The status is enough: a body of a gigabyte, a byte at a time, delays nothing."""
        with receiving(Reply(200, drips=True)) as receiver:
            began = time.monotonic()
            await sender(receiver.url).deliver(NOTICE)
            assert time.monotonic() - began < 5

    async def test_a_certificate_of_nobody_is_refused(self, certificate):
        """TLS is verified: of an authority that is not known, and for another name, nothing is sent; else it is."""
        with receiving(certificate=certificate) as receiver:
            made = sender(receiver.url)
            with pytest.raises(UndeliveredError):
                await made.deliver(NOTICE)
            assert counts(made) == {"unreachable": 1}
            elsewhere = sender(receiver.url.replace("127.0.0.1", "localhost"))
            elsewhere._tls.load_verify_locations(certificate)
            with pytest.raises(UndeliveredError):
                await elsewhere.deliver(NOTICE)
            assert receiver.got == []
            made._tls.load_verify_locations(certificate)
            await made.deliver(NOTICE)
        assert len(receiver.got) == 1

    async def test_proxies_of_the_environment_are_not_used(self, monkeypatch):
        """What is meant for something else leads no webhook elsewhere; the setting does."""
        with receiving() as receiver, receiving() as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            await sender(receiver.url).deliver(NOTICE)
            assert (len(receiver.got), len(proxy.got)) == (1, 0)
            through = SecretStr(f"http://127.0.0.1:{proxy.port}")
            await sender(receiver.url, proxy=through).deliver(NOTICE)
            assert (len(receiver.got), len(proxy.got)) == (1, 1)


async def test_nothing_secret_is_written(caplog):
    """Neither the secret nor path and query of a URL, which may hold another one, whatever happens and at any level."""
    caplog.set_level(logging.DEBUG)
    with receiving(Reply(200), Reply(500), Reply(410)) as receiver:
        with socket.create_server(("127.0.0.1", 0)) as server:
            closed = f"http://127.0.0.1:{server.getsockname()[1]}/canary-path?key=canary-query"
        url = f"http://127.0.0.1:{receiver.port}/canary-path?key=canary-query"
        made = sender(url, closed)
        for number in range(3):
            notice = Notice(id=f"n{number}", type="t", at=0, data={})
            with pytest.raises(UndeliveredError) as caught:
                await made.deliver(notice)
            assert "canary" not in str(caught.value)
    written = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert {record.getMessage() for record in caplog.records if record.name == "prodkit.webhooks"} == {
        "webhook_delivered",
        "webhook_failed",
        "webhook_endpoint_gone",
    }
    assert f"http://127.0.0.1:{receiver.port}" in written
    assert len(receiver.got) == 3
    assert "canary" not in written
    assert SECRET.removeprefix("whsec_") not in written
    for got in receiver.got:
        assert got.headers["webhook-signature"] not in written
    assert "canary" not in repr(made._endpoints)
    assert SECRET.removeprefix("whsec_") not in repr(made._endpoints)
