"""Keys: what each may verify, and which must not be trusted."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from prodkit.core.exceptions import ProdkitError
from prodkit.jwt import (
    KeySource,
    StaticKeySource,
    WeakKeyError,
    key_from_jwk,
    key_from_pem,
    key_from_secret,
)
from prodkit.jwt.algorithms import ALGORITHMS, checked_algorithms
from prodkit.jwt.keys import keys_from_text
from prodkit.jwt.strength import rsa_fault
from tests.jwt.tokens import OTHER_SECRET, SECRET, b64, private_key, public_pem, raw_signature
from tests.jwt.vectors import VECTORS

RSA_JWK = dict(VECTORS["RFC 7515, A.2"][1])
EC_JWK = dict(VECTORS["RFC 7515, A.3"][1])
OKP_JWK = dict(VECTORS["RFC 8037, A.4"][1])
OCT_JWK = dict(VECTORS["RFC 7515, A.1"][1])


def key_of(jwk: Any, **options: Any) -> Any:
    """Any: a test that is given None fails in the next line."""
    return key_from_jwk(jwk, **options)


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def pem(key: Any) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class TestWhatAKeyMayDo:
    @pytest.mark.parametrize(
        ("jwk", "family", "algorithms"),
        [
            (RSA_JWK, "RSA", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
            (EC_JWK, "EC", {"ES256"}),
            (OKP_JWK, "OKP", {"EdDSA", "Ed25519"}),
            (OKP_JWK | {"alg": "EdDSA"}, "OKP", {"EdDSA", "Ed25519"}),
            (RSA_JWK | {"alg": "PS256"}, "RSA", {"PS256"}),
            (OCT_JWK, "oct", {"HS256", "HS384", "HS512"}),
            (OCT_JWK | {"alg": "HS256"}, "oct", {"HS256"}),
            (
                RSA_JWK | {"use": "sig", "key_ops": ["verify"], "kid": "a", "x5c": ["junk"], "n2": 1},
                "RSA",
                None,
            ),
        ],
    )
    def test_a_key_verifies_what_fits_it(self, jwk, family, algorithms):
        """Its family, its curve, and only the algorithm it is declared for."""
        key = key_from_jwk(jwk, allow_secret=True)
        assert key.family == family
        assert key.kid == jwk.get("kid")
        assert algorithms is None or key.algorithms == algorithms
        assert jwk.get("n", jwk.get("x", jwk.get("k")))[:8] not in repr(key)

    @pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
    def test_a_key_never_verifies_by_an_algorithm_that_is_not_its_own(self, algorithm):
        """False, and no exception, whatever the signature."""
        key = key_from_jwk(EC_JWK)
        assert key.verify(algorithm, b"x", b"y") is False
        assert key.verify("none", b"x", b"") is False

    @pytest.mark.parametrize(
        "jwk",
        [
            {},
            {"kty": "rsa"},
            {"kty": 1},
            {"kty": "AKP", "alg": "ML-DSA-44"},
            {"kty": "OKP", "crv": "Ed448", "x": "AA"},
            {"kty": "OKP", "crv": "X25519", "x": "AA"},
            EC_JWK | {"crv": "secp256k1"},
            EC_JWK | {"crv": None},
            EC_JWK | {"crv": ["P-256"]},
            {"kty": ["RSA"]},
            {"kty": {}, "use": [], "alg": []},
            RSA_JWK | {"use": "enc"},
            RSA_JWK | {"use": None},
            RSA_JWK | {"key_ops": ["encrypt"]},
            RSA_JWK | {"key_ops": "verify"},
            RSA_JWK | {"key_ops": None},
            RSA_JWK | {"alg": "RSA-OAEP"},
            RSA_JWK | {"alg": "none"},
            RSA_JWK | {"alg": 1},
            OCT_JWK,  # a secret in a document from outside
        ],
    )
    def test_what_is_not_for_verifying_is_none(self, jwk):
        """An unknown kind, a key for encryption, or a published "secret" is left out, and does not spoil a whole set."""
        assert key_from_jwk(jwk) is None

    @pytest.mark.parametrize(
        "jwk",
        [
            RSA_JWK | {"kid": 1},
            RSA_JWK | {"kid": "k" * 257},
            RSA_JWK | {"kid": "a\n"},
            RSA_JWK | {"n": 5},
            RSA_JWK | {"n": ""},
            RSA_JWK | {"n": RSA_JWK["n"] + "="},
            RSA_JWK | {"n": "é"},
            {"kty": "RSA", "n": RSA_JWK["n"]},
            RSA_JWK | {"alg": "ES256"},
            RSA_JWK | {"alg": "HS256"},
            EC_JWK | {"alg": "ES384"},
            EC_JWK | {"alg": "RS256"},
            EC_JWK | {"x": EC_JWK["y"]},  # not on the curve
            EC_JWK | {"x": b64(bytes(32)), "y": b64(bytes(32))},
            EC_JWK | {"x": EC_JWK["x"][:-4]},
            EC_JWK | {"crv": "P-384"},
            OKP_JWK | {"x": "AAAA"},
            OKP_JWK | {"x": b64(bytes(33))},
            OKP_JWK | {"d": OKP_JWK["x"]},
            RSA_JWK | {"d": "AQAB"},
            RSA_JWK | {"p": "AQAB"},
            EC_JWK | {"d": "AQAB"},
            EC_JWK | {"k": "AQAB"},
        ],
    )
    def test_a_malformed_key_says_why(self, jwk):
        """ValueError and nothing else: also for a point beside the curve, and for a private part that was published."""
        with pytest.raises(ValueError, match=r"\w"):
            key_from_jwk(jwk)

    @pytest.mark.parametrize("curve", [ec.SECP224R1(), ec.SECP256K1(), ec.BrainpoolP256R1()])
    def test_a_curve_that_no_algorithm_uses_is_refused(self, curve):
        """ES256 is P-256, and no other curve of that size."""
        with pytest.raises(ValueError, match="curve"):
            key_from_pem(pem(ec.generate_private_key(curve).public_key()))

    @pytest.mark.parametrize(
        "make",
        [
            ed448.Ed448PrivateKey.generate,
            x25519.X25519PrivateKey.generate,
            lambda: dsa.generate_private_key(2048),
        ],
    )
    def test_other_kinds_of_keys_are_refused(self, make):
        """Ed448, X25519 and DSA verify no token."""
        with pytest.raises(ValueError, match="neither RSA"):
            key_from_pem(pem(make().public_key()))


class TestWeakKeys:
    @pytest.mark.parametrize(
        ("modulus", "exponent", "word"),
        [
            (1 << 2046 | 1, 65537, "2047 bits"),
            (1 << 1023 | 1, 65537, "1024 bits"),
            (0, 65537, "0 bits"),
            (1 << 8192 | 1, 65537, "8192"),
            (1 << 2047, 65537, "even"),
            (1 << 2047 | 1, 1, "odd"),
            (1 << 2047 | 1, 0, "odd"),
            (1 << 2047 | 1, 65536, "odd"),
            (1 << 2047 | 1, 1 << 32 | 1, "32 bits"),
        ],
    )
    def test_rsa_has_bounds_on_both_sides(self, modulus, exponent, word):
        """Too short can be broken; too long, or a huge exponent, only makes us compute."""
        with pytest.raises(WeakKeyError, match=word):
            key_from_jwk({"kty": "RSA", "n": number(modulus), "e": number(exponent) or "AA"})

    def test_rsa_of_usual_sizes_is_fine(self):
        """2048 bits, and e = 3 as of old."""
        modulus = private_key("RS256").public_key().public_numbers().n
        assert rsa_fault(modulus, 3) is None
        assert rsa_fault(modulus, 65537) is None

    def test_keys_of_the_flawed_chip_are_refused(self):
        """ROCA: 65537 to some power, modulo the product of small primes. The honest key of the test above passes."""
        primes = [p for p in range(2, 168) if all(p % d for d in range(2, p))]
        product = 1
        for prime in primes:
            product *= prime
        modulus = pow(65537, 1234, product)
        modulus += product * ((1 << 2047) // product + 1)
        assert "ROCA" in (rsa_fault(modulus, 65537) or "")

    def test_a_short_pem_is_refused(self):
        """The same bounds for keys the developer gives."""
        short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that it is refused is what is tested
        with pytest.raises(WeakKeyError, match="1024 bits"):
            key_from_pem(pem(short.public_key()))

    @pytest.mark.parametrize(
        "secret",
        [
            "",
            "x",
            "change-me",
            "kP3v-9sXcQ7m2ZtR8wLhF5yNbJ4dGaU",  # 31
            "changeme-changeme-changeme-changeme",
            "Change_Me! a1b2c3d4e5f6g7h8i9j0k1l2",
            "your-256-bit-secret-your-256-bit-secret",
            "a-string-secret-at-least-256-bits-long",
            "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
            "django-insecure-0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p",
            "a" * 64,
            "\x00" * 64,
            "abcdefghij" * 7,
            "01" * 40,
            "k" * 5000 + SECRET,
        ],
    )
    def test_a_secret_that_can_be_guessed_is_refused(self, secret):
        """Short ones, an unset variable, what manuals print, what repeats itself; the message holds nothing of it."""
        with pytest.raises(WeakKeyError) as caught:
            key_from_secret(secret)
        assert not secret or secret[:12] not in str(caught.value)

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
    def test_a_public_key_is_no_secret(self, algorithm):
        """However it is written: PEM, DER, Base64 of DER, SSH, JWK, certificate, private key."""
        private = private_key(algorithm)
        public = private.public_key()
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pkcs8 = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        locked = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
        forms = [
            pem(public).encode(),
            spki,
            b"".join(pem(public).encode().splitlines()[1:-1]),
            b"\n".join(pem(public).encode().splitlines()[1:-1]),
            public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
            pkcs8,
            locked,
            private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            json.dumps(RSA_JWK).encode(),
            json.dumps({"keys": [EC_JWK]}).encode(),
        ]
        for form in forms:
            with pytest.raises(WeakKeyError, match="key pair"):
                key_from_secret(form)

    def test_random_secrets_are_fine(self):
        """As bytes, as hexadecimal digits, as Base64; also when they begin as DER does."""
        for _ in range(50):
            for secret in (secrets.token_bytes(32), secrets.token_hex(32), secrets.token_urlsafe(32)):
                assert key_from_secret(secret).family == "oct"
        assert key_from_secret(b"\x30\x20" + secrets.token_bytes(32)).family == "oct"

    @pytest.mark.parametrize(
        ("size", "names"), [(32, {"HS256"}), (48, {"HS256", "HS384"}), (63, {"HS256", "HS384"})]
    )
    def test_a_secret_is_used_where_it_is_long_enough(self, size, names):
        """RFC 7518, 3.2: as long as the hash, or it is not used for that one."""
        assert key_from_secret(SECRET.encode()[:size]).algorithms == names
        with pytest.raises(WeakKeyError, match="too short"):
            key_from_jwk({"kty": "oct", "k": b64(SECRET.encode()[:size]), "alg": "HS512"}, allow_secret=True)

    def test_weak_keys_are_the_operators_business(self):
        """WeakKeyError is a ProdkitError that says what to cure, and a ValueError for those who only know that."""
        assert issubclass(WeakKeyError, ProdkitError)
        assert issubclass(WeakKeyError, ValueError)


class TestTexts:
    def test_public_keys_come_as_pem_jwk_or_set(self):
        """Each of the forms in which people have them."""
        assert [key.family for key in keys_from_text(public_pem("ES256"))] == ["EC"]
        assert [key.family for key in keys_from_text(json.dumps(RSA_JWK))] == ["RSA"]
        both = json.dumps({"keys": [RSA_JWK, OKP_JWK, RSA_JWK | {"use": "enc"}, {"kty": "?"}]})
        assert [key.family for key in keys_from_text(both)] == ["RSA", "OKP"]

    def test_a_certificate_is_its_key(self):
        """Only the key is used: the dates of this one are long past."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old")])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private_key("ES256").public_key())
            .serial_number(1)
            .not_valid_before(datetime(2001, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2002, 1, 1, tzinfo=UTC))
            .sign(private_key("ES256"), hashes.SHA256())
        )
        key = key_from_pem(made.public_bytes(Encoding.PEM))
        assert key.verify("ES256", b"data", raw_signature("ES256", b"data"))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "junk",
            "[]",
            "{}",
            '{"keys": 1}',
            '{"keys": [1]}',
            '{"keys": []}',
            "[" * 100_000,
            json.dumps(OCT_JWK),
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            private_key("ES256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        ],
        ids=range(12),
    )
    def test_anything_else_is_refused(self, text):
        """A private key above all: who only verifies must not have it. The message repeats nothing."""
        with pytest.raises(ValueError, match="public key") as caught:
            keys_from_text(text)
        assert "AAAA" not in str(caught.value)


class TestStaticKeys:
    def test_a_named_key_is_found_by_its_name(self):
        """And a token that names none means it only if no other could be meant."""
        one, two = key_of(RSA_JWK | {"kid": "one"}), key_of(EC_JWK | {"kid": "two"})
        source = StaticKeySource([one, two])
        assert isinstance(source, KeySource)
        assert source.keys_for("one", "RS256") == (one,)
        assert source.keys_for("one", "ES256") == ()
        assert source.keys_for("three", "RS256") == ()
        assert source.keys_for(None, "RS256") == (one,)
        several = StaticKeySource([one, key_from_pem(public_pem("RS256"), kid="other")])
        assert several.keys_for(None, "RS256") == ()

    def test_keys_without_a_name_are_tried_in_turn(self):
        """So that an old and a new secret hold at the same time."""
        old, new = key_from_secret(SECRET), key_from_secret(OTHER_SECRET)
        source = StaticKeySource([old, new])
        for kid in (None, "anything"):
            assert source.keys_for(kid, "HS256") == (old, new)
        assert source.keys_for(None, "RS256") == ()
        assert SECRET not in repr(source)

    def test_how_many_there_may_be(self):
        """None is a mistake, and each key without a name costs every token time."""
        with pytest.raises(ValueError, match="1 to 64"):
            StaticKeySource([])
        with pytest.raises(ValueError, match="names"):
            StaticKeySource([key_from_secret(SECRET)] * 5)
        with pytest.raises(ValueError, match="same kid"):
            StaticKeySource([key_of(RSA_JWK | {"kid": "a"}), key_from_pem(public_pem("RS256"), kid="a")])


class TestAlgorithms:
    @pytest.mark.parametrize(
        "names", [[], ["none"], ["HS256", "RS256"], ["hs256"], ["ES256K"], [""], ["HS256", "EdDSA"], [None]]
    )
    def test_impossible_sets_are_refused(self, names):
        """Nothing, unknown ones, and secrets together with key pairs."""
        with pytest.raises(ValueError, match="algorithms"):
            checked_algorithms(names)

    @pytest.mark.parametrize("names", ["RS256", b"RS256", "HS256HS512", None, 5])
    def test_one_text_is_no_set(self, names):
        """`"HS256" in "HS256xx"` is true, and would be a hole."""
        with pytest.raises(TypeError, match="collection"):
            checked_algorithms(names)

    def test_ed25519_generates(self):
        """The fixtures of this folder are what they say."""
        assert isinstance(private_key("Ed25519"), ed25519.Ed25519PrivateKey)
