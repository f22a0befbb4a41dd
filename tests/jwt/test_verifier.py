"""The verifier: every algorithm, every refusal, and nothing else for any input."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import InstallationError, MissingExtraError
from prodkit.jwt import (
    InvalidTokenError,
    JWTVerifier,
    KeysUnavailableError,
    StaticKeySource,
    key_from_jwk,
    key_from_pem,
    key_from_secret,
    signatures,
)
from tests.jwt.tokens import (
    ASYMMETRIC,
    ISSUER,
    NOW,
    OTHER_SECRET,
    SECRET,
    b64,
    compact,
    public_pem,
    static_keys,
    token,
    verified,
    verifier,
)

ALGORITHMS = (*ASYMMETRIC, "HS256", "HS384", "HS512")


def named(kid: str) -> Any:
    """The secret of these tests under a name."""
    return key_from_jwk({"kty": "oct", "k": b64(SECRET.encode()), "kid": kid}, allow_secret=True)


def reason_of(text: Any, **options: Any) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        verified(text, **options)
    assert caught.value.__cause__ is None
    return caught.value.reason


class Source:
    """A key source that does what a test says."""

    def __init__(self, answer: Any) -> None:
        self.generation = 0
        self.asked: list[tuple[str | None, str]] = []
        self._answer = answer

    def keys_for(self, kid: str | None, algorithm: str) -> Any:
        self.asked.append((kid, algorithm))
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer() if callable(self._answer) else self._answer


class TestAlgorithms:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_a_good_token_gives_its_claims(self, algorithm):
        """Every algorithm there is, as text and as bytes."""
        text = token(algorithm=algorithm)
        for form in (text, text.encode()):
            assert verified(form, algorithms=[algorithm])["sub"] == "user-1"

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_only_the_chosen_algorithms_are_taken(self, algorithm):
        """A token cannot choose: one that is good by another algorithm is refused."""
        others = [
            name for name in ALGORITHMS if name != algorithm and (name[:2] == "HS") == (algorithm[:2] == "HS")
        ]
        assert reason_of(token(algorithm=algorithm), algorithms=others) == "algorithm"

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_a_signature_of_something_else_is_none(self, algorithm):
        """Payload exchanged, signature cut, lengthened, empty or of another token."""
        head, payload, signature = token(algorithm=algorithm).split(".")
        _, other, other_signature = token(algorithm=algorithm, sub="admin").split(".")
        for forged in (
            f"{head}.{other}.{signature}",
            f"{head}.{payload}.{other_signature}",
            f"{head}.{payload}.",
            f"{head}.{payload}.{signature[:-4]}",
            f"{head}.{payload}.{signature}AAAA",
        ):
            assert reason_of(forged, algorithms=[algorithm]) in {"signature", "encoding"}

    def test_the_header_cannot_bring_its_key(self):
        """A token signed with the attacker's own key, which it carries, is refused."""
        jwk = {"kty": "oct", "k": b64(OTHER_SECRET.encode())}
        for name, value in (("jwk", jwk), ("jku", "https://evil.example/keys"), ("x5c", ["AAAA"])):
            forged = token(header={name: value}, key=OTHER_SECRET.encode())
            assert reason_of(forged) == "signature"
            assert verified(token(header={name: value}))

    def test_two_secrets_hold_while_one_replaces_the_other(self):
        """And none beside them."""
        keys = StaticKeySource([key_from_secret(SECRET), key_from_secret(OTHER_SECRET)])
        assert verified(token(key=OTHER_SECRET.encode()), keys=keys)
        assert verified(token(), keys=keys)
        assert reason_of(token(key=b"x" * 32), keys=keys) == "signature"

    @pytest.mark.parametrize(
        ("algorithms", "error"),
        [
            ("HS256", TypeError),
            (["HS256", "RS256"], ValueError),
            ([], ValueError),
            (["none"], ValueError),
        ],
    )
    def test_impossible_algorithms_are_refused_at_once(self, algorithms, error):
        """Before the first token, and long before the first attacker."""
        with pytest.raises(error):
            JWTVerifier(issuer=ISSUER, audience="a", algorithms=algorithms, keys=static_keys())


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (token(exp=NOW - 30), "expired"),
            (token(exp="9999999999"), "claim"),
            (token(exp=[1]), "claim"),
            (token(exp=None), "claim"),
            (compact({"alg": "HS256", "typ": "JWT"}, b'{"exp":Infinity}'), "payload"),
            (compact({"alg": "HS256", "typ": "JWT"}, b'{"exp":1e999}'), "payload"),
            (compact({"alg": "HS256", "typ": "JWT"}, b'{"sub":"a","sub":"b"}'), "payload"),
            (compact({"alg": "HS256", "typ": "JWT"}, b"[" * 3000), "payload"),
            (compact({"alg": "HS256", "typ": "JWT"}, b"[]"), "payload"),
            (compact({"alg": "HS256", "typ": "JWT"}, b"\xff"), "payload"),
            (compact({"alg": "HS256", "typ": "JWT"}, b""), "payload"),
            (token(exp=...), "missing_claim"),
            (token(aud=...), "missing_claim"),
            (token(iss="https://evil.example"), "issuer"),
            (token(aud="https://other.example"), "audience"),
            (token(nbf=NOW + 31), "not_yet_valid"),
            (token(iat=NOW + 31), "issued_in_future"),
            (token(header={"typ": ...}), "type"),
            (token(header={"typ": "id+jwt"}), "type"),
            (token(header={"alg": "none"}), "algorithm"),
            (token(header={"crit": ["b64"], "b64": False}), "critical_header"),
            (token(key=OTHER_SECRET.encode()), "signature"),
            ("\ud800" + token(), "malformed"),
            ("", "malformed"),
        ],
        ids=range(24),
    )
    def test_a_bad_token_is_refused_with_its_reason(self, text, reason):
        """What has been a 500 elsewhere too: types, infinities, nesting, surrogates."""
        assert reason_of(text) == reason

    def test_claims_are_read_only_after_the_signature(self):
        """An unsigned payload is not even parsed, so that a stranger cannot make us."""
        assert reason_of(compact({"alg": "HS256", "typ": "JWT"}, b"[" * 3000, key=b"x" * 32)) == "signature"

    def test_a_token_signed_by_an_unknown_key_is_refused(self):
        """A kid nobody knows leads to no key, not to any key."""
        keys = StaticKeySource([named("a")])
        assert verified(token(header={"kid": "a"}), keys=keys)
        assert verified(token(), keys=keys)
        assert reason_of(token(header={"kid": "b"}), keys=keys) == "unknown_key"

    def test_it_shows_whose_tokens_it_takes(self):
        """And nothing of a key."""
        assert repr(verifier(algorithms=["HS256"])) == f"JWTVerifier({ISSUER!r}, ['HS256'])"

    def test_time_is_the_clocks(self):
        """The same token is good, and a while later it is not."""
        clock = FakeClock()
        checked = verifier(clock=clock)
        text = token(exp=NOW + 60)
        checked.verify(text)
        clock.advance(89)
        checked.verify(text)
        clock.advance(1)
        with pytest.raises(InvalidTokenError, match="expired"):
            checked.verify(text)

    @given(
        st.text(max_size=80)
        | st.binary(max_size=80)
        | st.text("eyJhbGciOIUzNiJ9._-=\ud800", max_size=80)
        | st.tuples(st.binary(max_size=60), st.binary(max_size=60)).map(lambda pair: compact(*pair))
    )
    def test_nothing_but_its_own_error_comes_out(self, text):
        """For any text and bytes, and for any header and payload with a good signature."""
        with pytest.raises(InvalidTokenError) as caught:
            verified(text)
        assert caught.value.reason != "internal_error"

    @pytest.mark.parametrize(
        "value", [None, 5, ["a.b.c"], object(), bytearray(b"a.b.c"), memoryview(b"a.b.c")]
    )
    def test_what_is_no_text_is_refused_too(self, value):
        """A programmer's mistake is no 500 in production either."""
        with pytest.raises(InvalidTokenError):
            verified(value)


class TestSources:
    async def test_a_verifier_waits_only_for_keys_that_have_to_be_fetched(self):
        """Known keys: an answer at once. Others: an awaitable."""

        async def fetched() -> Any:
            await asyncio.sleep(0)
            return [key_from_secret(SECRET)]

        waiting: Any = verifier(keys=Source(fetched)).verify(token())
        assert (await waiting).claims["sub"] == "user-1"
        bad: Any = verifier(keys=Source(fetched)).verify(token(key=OTHER_SECRET.encode()))
        with pytest.raises(InvalidTokenError, match="signature"):
            await bad

    def test_a_source_is_asked_only_for_tokens_that_could_be_good(self):
        """Junk, another algorithm and another kind of token do not reach it, and so no identity provider."""
        source = Source([])
        for text in (
            "a.b.c",
            token(algorithm="HS512"),
            token(header={"typ": "id+jwt"}),
            token(header={"kid": 1}),
        ):
            with pytest.raises(InvalidTokenError):
                verified(text, keys=source, algorithms=["HS256"])
        assert source.asked == []
        assert reason_of(token(header={"kid": "k"}), keys=source) == "unknown_key"
        assert source.asked == [("k", "HS256")]

    def test_an_absent_provider_is_not_a_bad_token(self):
        """KeysUnavailableError goes through as it is."""
        with pytest.raises(KeysUnavailableError):
            verified(token(), keys=Source(KeysUnavailableError("away")))

    async def test_an_absent_provider_is_not_a_bad_token_later_either(self):
        """Also where it is found out while waiting."""

        async def away() -> Any:
            raise KeysUnavailableError

        waiting: Any = verifier(keys=Source(away)).verify(token())
        with pytest.raises(KeysUnavailableError):
            await waiting

    def test_a_source_cannot_make_us_try_for_ever(self):
        """At most four keys of what it answers are tried."""
        wrong, good = key_from_secret(OTHER_SECRET), key_from_secret(SECRET)
        assert verified(token(), keys=Source([wrong, wrong, wrong, good]))
        assert reason_of(token(), keys=Source([*[wrong] * 100, good])) == "signature"

    @pytest.mark.parametrize(
        "error",
        [
            RecursionError(),
            MemoryError(),
            OverflowError(),
            UnicodeError(),
            TypeError(),
            KeyError("secret-text"),
        ],
    )
    def test_a_fault_of_our_own_is_a_refusal(self, error, caplog):
        """Refused and logged by type and place, without the message, which may hold anything."""
        with caplog.at_level(logging.ERROR, "prodkit.jwt"):
            assert reason_of(token(), keys=Source(error)) == "internal_error"
        (record,) = caplog.records
        assert record.__dict__["error_type"] == type(error).__name__
        assert record.__dict__["place"].startswith("test_verifier.py:")
        assert record.exc_info is None
        assert "secret-text" not in caplog.text

    async def test_a_fault_while_waiting_is_a_refusal(self, caplog):
        """The same for what has to be awaited."""

        async def broken() -> Any:
            raise RecursionError

        waiting: Any = verifier(keys=Source(broken)).verify(token())
        with pytest.raises(InvalidTokenError, match="internal_error"):
            await waiting
        assert "token_verification_failed" in caplog.text

    def test_headers_are_remembered_only_for_good_signatures(self):
        """And not without bound, so that neither strangers nor a strange issuer fill memory."""
        checked = verifier()
        for number in range(100):
            with pytest.raises(InvalidTokenError):
                checked.verify(token(header={"kid": f"bad-{number}"}, key=OTHER_SECRET.encode()))
        assert checked._headers == {}
        for number in range(200):
            checked.verify(token(header={"kid": f"good-{number}"}))
            assert len(checked._headers) <= 64
        checked.verify(token(header={"kid": "good-199"}))


class TestBackEnd:
    def test_signatures_are_computed_by_cryptography_alone(self):
        """In a fresh process: neither `ecdsa` nor `rsa` is imported by verifying, nor jose's modules that look keys up in its
        registry or fall back to them; and nothing of it is imported by importing prodkit.jwt.
        """
        program = """
import sys
import prodkit.jwt
assert not {"jose", "cryptography"} & set(sys.modules), "imported too early"
from tests.jwt.tokens import ASYMMETRIC, token, verified
for algorithm in (*ASYMMETRIC, "HS256", "HS384", "HS512"):
    assert verified(token(algorithm=algorithm), algorithms=[algorithm])["sub"] == "user-1"
from jose.backends import cryptography_backend
assert "jose.backends.cryptography_backend" in sys.modules
unwanted = {"ecdsa", "rsa", "pyasn1", "jose.jws", "jose.jwt", "jose.jwe", "jose.jwk",
            "jose.backends.ecdsa_backend", "jose.backends.rsa_backend"}
print(sorted(unwanted & set(sys.modules)))
"""
        found = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
        )
        assert (found.returncode, found.stdout) == (0, "[]\n"), found.stderr

    def test_another_back_end_is_refused(self):
        """In a process where jose cannot import its cryptography back end and silently falls back, nothing is verified."""
        program = """
import sys
sys.modules["jose.backends.cryptography_backend"] = None
import jose.backends
assert "rsa_backend" in jose.backends.RSAKey.__module__, jose.backends.RSAKey
del sys.modules["jose.backends.cryptography_backend"]
from prodkit.jwt import JWTVerifier, StaticKeySource, key_from_secret
try:
    key_from_secret("x" * 64)
except Exception as error:
    print(type(error).__name__, error)
"""
        found = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
        )
        assert found.stdout.startswith("InstallationError python-jose does not use cryptography"), (
            found.stderr
        )

    def test_the_fallback_is_seen_where_it_is(self, monkeypatch):
        """Any of the three classes being another one is enough."""
        import jose.backends

        for name in ("RSAKey", "ECKey", "HMACKey"):
            with monkeypatch.context() as changed:
                changed.setattr(jose.backends, name, object)
                with pytest.raises(InstallationError, match=r"fastapi-prodkit\[jwt\]"):
                    signatures.check_backend()
        signatures.check_backend()

    @pytest.mark.parametrize("module", ["jose", "cryptography"])
    def test_without_the_extra_it_says_what_to_install(self, module, monkeypatch):
        """Importing works; making something says which line installs what is missing."""
        keys = static_keys()
        for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Missing(module), *sys.meta_path])
        for make in (
            lambda: key_from_secret(SECRET),
            lambda: key_from_pem(public_pem("RS256")),
            lambda: key_from_jwk({}),
            lambda: JWTVerifier(issuer=ISSUER, audience="a", algorithms=["HS256"], keys=keys),
        ):
            with pytest.raises(MissingExtraError, match=r"fastapi-prodkit\[jwt\]"):
                make()


class Missing:
    """A finder that finds nothing, as if a package were not installed."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == self._module:
            raise ModuleNotFoundError(name=name)
