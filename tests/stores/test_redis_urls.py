"""URLs of a Redis: what they say, what they never show, and TLS."""

from __future__ import annotations

import datetime as dt
import ssl
import subprocess
import sys
import textwrap

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from prodkit.core.exceptions import SettingsError, StoreUnavailableError
from prodkit.stores.redis_link import RedisLink
from prodkit.stores.redis_urls import parse
from tests.stores.redis_scripts import ECHO
from tests.support.fault_proxy import fault_proxy
from tests.support.valkey import shared_valkey
from tests.support.valkey_fixtures import *  # noqa: F403  fixtures

SECRET = "hunter2"


def test_urls_say_where_and_who():
    """Each form once."""
    alone = parse(f"redis://user:{SECRET}%23@db.example/3")
    assert (alone.addresses, alone.credentials.db) == ((("db.example", 6379),), 3)
    assert (alone.credentials.username, alone.credentials.password) == ("user", SECRET + "#")
    assert parse("unix://:pw@/run/r.sock?db=2").addresses == (("/run/r.sock", 0),)
    guarded = parse(f"redis+sentinel://:{SECRET}@a,[::1]:7/main/1?sentinel_password=guard")
    assert guarded.addresses == (("a", 26379), ("::1", 7))
    assert (guarded.service, guarded.credentials.db, guarded.guards.password) == ("main", 1, "guard")
    assert parse("redis+cluster://a:1,b:2").kind == "cluster"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@host/3",
        f"unix://:{SECRET}@/run/r.sock",
        f"redis+sentinel://u:{SECRET}@a/main?sentinel_password={SECRET}",
        f"rediss+cluster://u:{SECRET}@a:1",
    ],
)
def test_no_secret_is_shown(url):
    """Neither by a name nor by any representation."""
    link = RedisLink(url)
    assert SECRET not in link.name + repr(link) + repr(link._target) + repr(vars(link))


@pytest.mark.parametrize(
    "rest",
    [
        "http://host",
        "redis://",
        "redis://host:0",
        "redis://host:x",
        "redis://host:70000",
        "redis://host/x",
        "redis://host/1/2",
        "redis://a,b",
        "redis://host?speed=1",
        "redis://host?ssl_ca_certs=x",
        "rediss://host?ssl_cert_reqs=none",
        "rediss://host?ssl_cert_reqs=maybe",
        "rediss://host?ssl_ca_certs=/absent",
        "redis+sentinel://host",
        "redis+cluster://host/1",
        "unix://host/path",
        "redis://host#x",
        "redis://[::1",
    ],
)
def test_urls_that_mean_nothing_are_refused_without_being_shown(rest):
    """With the name of the setting, and what to do."""
    scheme, _, place = rest.partition("://")
    with pytest.raises(SettingsError, match="PRODKIT_STORE") as refused:
        parse(f"{scheme}://user:{SECRET}@{place}")
    assert SECRET not in str(refused.value)


def test_verification_is_off_only_where_it_was_allowed():
    """Code has to allow it, the URL alone cannot."""
    assert not parse(
        "rediss://host?ssl_cert_reqs=none", allow_unverified_tls=True
    ).credentials.tls.is_verified
    assert parse("rediss://host", allow_unverified_tls=True).credentials.tls.is_verified


def certificate(directory, *names):
    """A certificate that signs itself, for *names*; returns the file of it, and that with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    ).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "ca.pem").write_bytes(made)
    (directory / "both.pem").write_bytes(made + secret)
    return directory / "ca.pem", directory / "both.pem"


@pytest.mark.parametrize(
    ("name", "host", "known", "good"),
    [
        ("localhost", "localhost", True, True),
        ("other", "localhost", True, False),
        ("localhost", "127.0.0.1", True, False),
        ("localhost", "localhost", False, False),
    ],
)
async def test_tls_verifies_the_name_and_the_authority(valkey, tmp_path, name, host, known, good):
    """Whoever is not the server is told nothing."""
    authority, both = certificate(tmp_path, name)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(both)
    async with fault_proxy(shared_valkey().port, tls=server_side) as proxy:
        option = f"?ssl_ca_certs={authority}" if known else ""
        link = RedisLink(f"rediss://{host}:{proxy.port}{option}", timeout_seconds=5.0)
        if good:
            assert await link.run(ECHO, ["k"], ["x" * 100_000]) == [b"k", b"x" * 100_000]
        else:
            with pytest.raises(StoreUnavailableError, match="cannot be reached"):
                await link.run(ECHO, ["k"], ["x"])
        await link.aclose()


def test_nothing_of_redis_is_needed_until_a_link_is_made():
    """Every module imports where the extra is not installed, and whoever makes a link is told the line that installs it."""
    code = """
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "redis":
                    raise ModuleNotFoundError(name, name=name)

        sys.meta_path.insert(0, Absent())
        from prodkit.core.exceptions import MissingExtraError
        from prodkit.stores import redis_keys, redis_ledger, redis_limits, redis_sessions
        from prodkit.stores.redis_link import RedisLink
        try:
            RedisLink("redis://localhost")
        except MissingExtraError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install 'fastapi-prodkit[redis]'" in done.stdout
