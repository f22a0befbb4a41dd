"""The JWS examples of the standards, and the classes of cases that well-known libraries decide wrongly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from prodkit.jwt import (
    InvalidTokenError,
    StaticKeySource,
    WeakKeyError,
    key_from_jwk,
    key_from_pem,
    key_from_secret,
    verify_signature,
)
from tests.jwt.tokens import HASHES, SECRET, b64, compact, private_key, public_pem, raw_signature
from tests.jwt.vectors import VECTORS

NAMES = list(VECTORS)


def key_of(name: str) -> Any:
    _, jwk, _ = VECTORS[name]
    return key_from_jwk(jwk, allow_secret=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_the_standards_are_good(name):
    """What the RFCs print verifies, and gives the payload they print."""
    algorithm, _, text = VECTORS[name]
    payload = verify_signature(text, [key_of(name)], [algorithm])
    begins = {"RFC 7515, A.4": b"Payload", "RFC 8037, A.4": b"Example of Ed25519 signing"}
    default = (
        b"It\xe2\x80\x99s a dangerous business" if "7520" in name else b'{"iss":"joe",\r\n "exp":1300819380'
    )
    assert payload.startswith(begins.get(name, default))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_no_example_survives_a_changed_bit(name, part):
    """One other bit in header, payload or signature, and it is refused."""
    algorithm, _, text = VECTORS[name]
    parts = text.split(".")
    middle = len(parts[part]) // 2
    other = "A" if parts[part][middle] != "A" else "B"
    parts[part] = parts[part][:middle] + other + parts[part][middle + 1 :]
    with pytest.raises(InvalidTokenError):
        verify_signature(".".join(parts), [key_of(name)], [algorithm])


@pytest.mark.parametrize("name", NAMES)
def test_no_example_verifies_by_another_key_or_algorithm(name):
    """A key of another example, and an algorithm that was not asked for, are refused."""
    algorithm, jwk, text = VECTORS[name]
    others = [key_of(other) for other in NAMES if VECTORS[other][1] != jwk]
    with pytest.raises(InvalidTokenError):
        verify_signature(text, others[:4], [algorithm])
    with pytest.raises(InvalidTokenError, match="algorithm"):
        verify_signature(text, [key_of(name)], ["ES384"])


def secret_jwk(**members: Any) -> dict[str, Any]:
    return {"kty": "oct", "k": b64(SECRET.encode()), "alg": "HS256", "kid": "one"} | members


def hmac_token(header: Any = None, payload: bytes = b"Test") -> str:
    return compact(header or {"alg": "HS256", "kid": "one"}, payload)


def accepted(text: str, *jwks: dict[str, Any], algorithms: Any = ("HS256",)) -> bool:
    """Whether *text* verifies by keys that are found as a verifier would find them."""
    keys = [key for key in (key_from_jwk(jwk, allow_secret=True) for jwk in jwks) if key is not None]
    try:
        verify_signature(text, StaticKeySource(keys).keys_for("one", algorithms[0]), algorithms)
    except InvalidTokenError:
        return False
    return True


def test_the_cases_below_differ_from_a_good_one():
    """Without their fault they would be accepted, so that it is the fault that is refused."""
    assert accepted(hmac_token(), secret_jwk())


@pytest.mark.parametrize("use", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": ["sign"]}, {"use": 1}])
def test_a_key_for_something_else_verifies_nothing(use):
    """`use` and `key_ops` are obeyed (Wycheproof: rejectWrongUse, rejectWrongKeyOps)."""
    assert key_from_jwk(secret_jwk(**use), allow_secret=True) is None


def test_a_key_for_another_algorithm_verifies_nothing():
    """`alg` of a key is obeyed, within the same family too."""
    assert not accepted(hmac_token({"alg": "HS384", "kid": "one"}), secret_jwk(), algorithms=("HS384",))


def test_a_key_of_another_name_verifies_nothing():
    """`kid` is compared; a token does not fall through to whichever key happens to fit."""
    assert not accepted(hmac_token(), secret_jwk(kid="two"))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("junk", [" ", "    ", "\n", "####", "!!", "=", "==", "?", "\x00", "+", "/", "é"])
def test_nothing_but_base64url_is_in_a_token(place, junk):
    """Junk that lenient decoders skip, and padding, is refused at the end and the beginning of each segment, also where
    the signature is over it (Wycheproof: spacesInHeader, invalidCharactersInPayload, invalidBase64Padding ...).
    """
    parts = hmac_token().split(".")
    for changed in (parts[place] + junk, junk + parts[place]):
        text = ".".join([*parts[:place], changed, *parts[place + 1 :]])
        assert not accepted(text, secret_jwk())
        signing_input = text.rpartition(".")[0].encode()
        if place < 2:
            signature = b64(raw_signature("HS256", signing_input))
            assert not accepted(f"{signing_input.decode()}.{signature}", secret_jwk())


def test_one_content_has_one_encoding():
    """Spare bits at the end of a segment are zero: else a deny-list of tokens could be walked around."""
    text = hmac_token(payload=b"Test")
    head, payload, signature = text.split(".")
    # 43 characters hold 258 bits, of which 256 count.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    position = alphabet.index(signature[-1])
    for spare in range(1, 4):
        other = signature[:-1] + alphabet[(position & ~3) | ((position + spare) & 3)]
        assert other != signature
        assert not accepted(f"{head}.{payload}.{other}", secret_jwk())


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "eyJhbGciOiJub25lIn0.VGVzdA.",
        "eyJhbGciOiJOT05FIn0.VGVzdA.",
        "eyJhbGciOiJuT25lIn0.VGVzdA.c1LR",
        json.dumps({"payload": "VGVzdA", "protected": "eyJhbGciOiJIUzI1NiJ9", "signature": "c1LR"}),
        hmac_token() + ".",
        "." + hmac_token(),
        hmac_token() + ".a.b",
        hmac_token().rpartition(".")[0] + ".",
    ],
)
def test_only_the_compact_form_of_three_parts_is_a_token(text):
    """No `none` in any case, no JSON serialization, no JWE of five parts, no empty signature."""
    assert not accepted(text, secret_jwk())


def test_a_public_key_is_no_secret():
    """A token signed by HMAC with the PEM or the DER of a public key is refused wherever RS256 is taken."""
    public = private_key("RS256").public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key = key_from_pem(public_pem("RS256"))
    for secret in (public_pem("RS256").encode(), der):
        forged = compact({"alg": "HS256"}, b"Test", key=secret)
        with pytest.raises(InvalidTokenError, match="algorithm"):
            verify_signature(forged, [key], ["RS256"])
        with pytest.raises(InvalidTokenError, match="unknown_key"):
            verify_signature(forged, [key], ["HS256"])
        with pytest.raises(ValueError, match="mixes"):
            verify_signature(forged, [key], ["RS256", "HS256"])
        with pytest.raises(WeakKeyError, match="key pair"):
            key_from_secret(secret)


@pytest.mark.parametrize("name", ["RS256", "PS256"])
def test_one_rsa_scheme_is_not_the_other(name):
    """PKCS #1 and PSS signatures are not taken for one another (Wycheproof: WrongPrimitive)."""
    other = {"RS256": "PS256", "PS256": "RS256"}[name]
    forged = compact({"alg": other}, b"Test", algorithm=name)
    with pytest.raises(InvalidTokenError, match="signature"):
        verify_signature(forged, [key_from_pem(public_pem("RS256"))], ["RS256", "PS256"])


@pytest.mark.parametrize("salt", [0, 31, 33, 64])
def test_the_salt_of_a_pss_signature_has_the_length_of_the_hash(salt):
    """RFC 7518, 3.5: any other length is another scheme, even where it would verify."""
    head = ".".join(map(b64, (b'{"alg":"PS256"}', b"Test")))
    for length, good in ((salt, False), (32, True)):
        scheme = padding.PSS(padding.MGF1(HASHES["256"]), length)
        signature = private_key("PS256").sign(head.encode(), scheme, HASHES["256"])
        keys = [key_from_pem(public_pem("PS256"))]
        if good:
            assert verify_signature(f"{head}.{b64(signature)}", keys, ["PS256"]) == b"Test"
            continue
        with pytest.raises(InvalidTokenError, match="signature"):
            verify_signature(f"{head}.{b64(signature)}", keys, ["PS256"])


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_ecdsa_signatures_have_their_length_and_are_not_zero(algorithm):
    """Zero, DER instead of the two numbers, and numbers of another length are refused (CVE-2022-21449)."""
    key = key_from_pem(public_pem(algorithm))
    good = compact({"alg": algorithm}, b"Test", algorithm=algorithm)
    assert verify_signature(good, [key], [algorithm]) == b"Test"
    head, _, signature = good.rpartition(".")
    size = len(signature) * 3 // 4
    der = private_key(algorithm).sign(head.encode(), ec.ECDSA(HASHES[algorithm[2:]]))
    for forged in (bytes(size), der, b"\x00" + bytes(size), b"", b"\xff" * size):
        with pytest.raises(InvalidTokenError):
            verify_signature(f"{head}.{b64(forged)}", [key], [algorithm])
