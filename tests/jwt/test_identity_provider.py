"""testing.identity_provider and testing.tokens: what they make is good in the eyes of libraries that are not ours."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import httpx
import jwt as pyjwt
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet as JoserfcKeySet

from prodkit.testing.identity_provider import LocalIdentityProvider
from prodkit.testing.tokens import SigningKey, mint, sign

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SYMMETRIC = ("HS256", "HS384", "HS512")


def parts(token: str) -> tuple[dict, dict]:
    header, payload, _ = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    return json.loads(header), json.loads(payload)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # joserfc's way to recommend RFC 9864's names
@pytest.mark.parametrize("make", [SigningKey.known, lambda algorithm: SigningKey.generate(algorithm, "k")])
@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_others_verify_what_is_minted(algorithm: str, make) -> None:
    """PyJWT and joserfc read the published key and accept the token, and not one of another key."""
    key = make(algorithm)
    token = mint(key=key, scopes=["a", "b"])
    public = pyjwt.PyJWK(key.public_jwk())
    claims = pyjwt.decode(token, public, [algorithm], audience="api", issuer="https://idp.example")
    assert (claims["sub"], claims["scope"]) == ("alice", "a b")
    published = JoserfcKeySet.import_key_set({"keys": [key.public_jwk()]})
    assert joserfc_jwt.decode(token, published, algorithms=[algorithm]).claims == claims
    with pytest.raises(pyjwt.InvalidSignatureError):
        pyjwt.decode(mint(key=SigningKey.generate(algorithm)), public, [algorithm], audience="api")


@pytest.mark.parametrize("algorithm", SYMMETRIC)
def test_others_verify_shared_secrets(algorithm: str) -> None:
    """The secret is long enough for its algorithm, and is in no set."""
    key = SigningKey.known(algorithm)
    assert pyjwt.decode(mint(algorithm), key.secret, [algorithm], audience="api")["sub"] == "alice"
    with pytest.raises(ValueError, match="no public half"):
        key.public_jwk()
    with pytest.raises(ValueError, match="no shared secret"):
        _ = SigningKey.known("RS256").secret


def test_known_key_is_the_same_everywhere() -> None:
    """Two processes that never met agree on it."""
    names = ["RS256", "ES256", "ES512", "EdDSA"]
    program = f"from prodkit.testing.tokens import SigningKey\nprint([SigningKey.known(a).public_pem() for a in {names}])"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    here = [SigningKey.known(algorithm).public_pem() for algorithm in names]
    assert printed.stdout == f"{here}\n"


def test_hostile_tokens_can_be_made() -> None:
    """Header and claims as told: replaced, added, left out; or any bytes at all."""
    header, claims = parts(
        mint(
            "RS256",
            header={"alg": "none", "crit": ["exp"], "typ": None},
            sub=None,
            expires_in=-10,
            now=1000,
            iat="x",
            realm_access={"roles": []},
        )
    )
    assert header == {"alg": "none", "crit": ["exp"], "kid": "known-rs256"}
    assert claims == {
        "iss": "https://idp.example",
        "aud": "api",
        "iat": "x",
        "exp": 990,
        "realm_access": {"roles": []},
    }
    assert "exp" not in parts(mint(expires_in=None))[1]
    raw = sign(SigningKey.known("ES256"), b"\xff", b"{")
    assert base64.urlsafe_b64decode(raw.split(".")[0] + "==") == b"\xff"


def test_keys_do_not_show_themselves() -> None:
    """Not even test keys, so that nobody learns to print keys."""
    assert repr(SigningKey.known("HS256")) == "SigningKey('HS256', 'known-hs256')"


@pytest.mark.parametrize("algorithm", ["none", "ES257", "RSA", "", "HS1"])
def test_unknown_algorithm_is_refused(algorithm: str) -> None:
    """No token is made by guessing what was meant."""
    with pytest.raises(ValueError, match="not an algorithm"):
        mint(algorithm)
    with pytest.raises(ValueError, match="not an algorithm"):
        SigningKey.generate(algorithm)


def test_publishes_what_it_signs_with() -> None:
    """Discovery leads to the keys, rotation adds one, removal takes it away, requests are counted, secrets stay."""
    with LocalIdentityProvider(issuer="https://idp.example") as provider, httpx.Client() as client:
        metadata = client.get(f"{provider.url}/.well-known/openid-configuration").json()
        assert metadata == {"issuer": "https://idp.example", "jwks_uri": provider.jwks_uri}
        provider.rotate("RS256")
        provider.rotate("HS256")
        published = client.get(provider.jwks_uri).json()["keys"]
        assert [entry["kid"] for entry in published] == ["key-1", "key-2"]
        assert not {"d", "p", "q", "k"} & {name for entry in published for name in entry}
        provider.remove("key-1")
        assert [entry["kid"] for entry in client.get(provider.jwks_uri).json()["keys"]] == ["key-2"]
        with pytest.raises(KeyError):
            provider.remove("key-1")
        assert provider.requests == {"/.well-known/openid-configuration": 1, "/jwks.json": 2}
        assert client.get(f"{provider.url}/other").status_code == 404


def test_token_is_the_provider_s_own() -> None:
    """Issuer, audience and newest key by default; each can be another."""
    with LocalIdentityProvider(audience="shop") as provider:
        header, claims = parts(provider.token(sub="bob", scopes=["x"], tenant="t1"))
        assert (header["kid"], claims["iss"], claims["aud"]) == ("key-1", provider.issuer, "shop")
        assert (claims["sub"], claims["scope"], claims["tenant"]) == ("bob", "x", "t1")
        _, other = parts(
            provider.token(issuer="https://evil.example", audience=["a", "b"], now=10, expires_in=5)
        )
        assert (other["iss"], other["aud"], other["exp"]) == ("https://evil.example", ["a", "b"], 15)


def test_can_be_away_and_come_back_at_the_same_address() -> None:
    """Stopped, connections are refused, also in the middle of an answer; started, the address is the old one."""
    with LocalIdentityProvider() as provider:
        before = provider.url
        provider.stop()
        provider.stop()
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(provider.jwks_uri, timeout=5)
        provider.start()
        assert provider.url == before
        with urllib.request.urlopen(provider.jwks_uri, timeout=5) as answer:
            assert answer.status == 200
        provider.cache_control = "max-age=5"
        assert httpx.get(provider.jwks_uri).headers["cache-control"] == "max-age=5"


@pytest.mark.process
def test_runs_by_hand() -> None:
    """The module run as a program prints an issuer that answers and a token it signed, and ends when interrupted."""
    command = [sys.executable, "-m", "prodkit.testing.identity_provider", "--port", "0", "--scopes", "a", "b"]
    with subprocess.Popen(
        [*command, "--algorithm", "Ed25519", "--audience", "shop", "--sub", "carol"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            printed = dict(process.stdout.readline().split() for _ in range(4))
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", printed["issuer"])
            keys = JoserfcKeySet.import_key_set(httpx.get(printed["keys"]).json())
            claims = joserfc_jwt.decode(printed["token"], keys, algorithms=["Ed25519"]).claims
            assert (claims["iss"], claims["aud"], claims["sub"]) == (printed["issuer"], "shop", "carol")
            assert claims["scope"] == "a b"
            assert claims["exp"] > time.time() + 3000
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()


@pytest.mark.process
def test_wrong_algorithm_is_told_by_hand() -> None:
    """A word, not a traceback."""
    command = [sys.executable, "-m", "prodkit.testing.identity_provider", "--algorithm", "HS256"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "--algorithm" in ended.stderr
