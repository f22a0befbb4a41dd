"""Keys that must not be trusted, found before the first token: too short, too long, guessable, or no secret at all.

Used on demand, by `prodkit.jwt.keys`: it needs the extra `jwt`.

Source: RFC 7518, 3.2 (secrets as long as the hash) and 3.3 (RSA of 2048 bits); NIST SP 800-131A; RFC 8725, 3.5.
"""

from __future__ import annotations

import binascii
import re
import zlib
from base64 import b64decode
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING or find_spec("cryptography"):  # as in prodkit.jwt.signatures
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key
    from cryptography.x509 import load_der_x509_certificate

__all__ = ["MAX_RSA_BITS", "MIN_RSA_BITS", "rsa_fault", "secret_fault"]

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
"""Verifying takes time with the square of it; four times what anybody signs with."""
# Verifying takes time with the length of it. Windows CryptoAPI never took more than 32 bits, so nobody publishes more;
# BoringSSL refuses from 34 bits on for the same reason.
_MAX_EXPONENT: Final = 2**32 - 1
MIN_SECRET_BYTES: Final = 32
# Random bytes of that length have about 30 different ones, hexadecimal digits of them about 16.
_MIN_DIFFERENT_BYTES: Final = 8
# Of HS512 it asks for 64; beyond a few kilobytes it is no secret but a file.
_MAX_SECRET_BYTES: Final = 4096

# What stands in manuals and templates, in lower case, without anything but letters and digits. All of them are in the
# word lists of tools that guess secrets.
_PLACEHOLDERS: Final = (
    "changeme",
    "changethis",
    "replaceme",
    "yoursecret",
    "your256bit",
    "your384bit",
    "your512bit",
    "mysecret",
    "supersecret",
    "secretkey",
    "topsecret",
    "stringsecret",
    "placeholder",
    "insecure",
    "notasecret",
    "dontuse",
    "donotuse",
    "keyboardcat",
    "password",
    "atleast32",
    "atleast256bits",
    # two of tutorials for Spring, and the key in FastAPI's tutorial on tokens
    "404e635266556a586e3272357538782f413f4428472b4b6250645367566b5970",
    "5367566b59703373367639792f423f4528482b4d6251655468576d5a71347437",
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
)
# Random bytes do not compress; hexadecimal digits of 16 of them, the least that is taken, make 36 and more.
_MIN_COMPRESSED_BYTES: Final = 30
_MIN_SURPRISES: Final = 14
_ROWS: Final = frozenset(
    bytes(pair)
    for row in (b"1234567890", b"qwertyuiop", b"qwertzuiop", b"asdfghjkl", b"zxcvbnm")
    for pair in pairwise(row)
)
_WORD = re.compile(rb"[A-Z]?[a-z]{2,}|[A-Z]{3,}")
_TEXT_SHARE: Final = 0.7
# Of random letters one pair in fourteen is among these; of English text every other one.
_FREQUENT: Final = frozenset(
    (
        b"th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se "
        b"ha as ou io le ve co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur"
    ).split()
)
_FREQUENT_SHARE: Final = 0.35
_MIN_FREQUENT: Final = 8
_NO_LETTER_OR_DIGIT = re.compile(rb"[^a-z0-9]+")
_ARMOUR = re.compile(rb"-----\s*BEGIN|---- BEGIN|ssh-(rsa|dss|ed25519)|ecdsa-sha2-|cert-v01@openssh")
_JWK = re.compile(rb'\s*\{.*"kty"', re.DOTALL)


def _powers_of(generator: int, prime: int) -> frozenset[int]:
    return frozenset(pow(generator, exponent, prime) for exponent in range(prime))


# Primes made by the flawed generator of Infineon's chips are a power of 65537 modulo each of these (CVE-2017-15361),
# and so is the modulus; of other moduli one in a hundred million is. Such keys of 2048 bits can be factored.
# Source: Nemec et al., "The Return of Coppersmith's Attack", ACM CCS 2017, 2.
_ROCA: Final = tuple(
    (prime, _powers_of(65537, prime))
    for prime in range(3, 168)
    if all(prime % divisor for divisor in range(2, 13) if divisor < prime)
)


def rsa_fault(modulus: int, exponent: int) -> str | None:
    """What is wrong with the RSA public key, or None."""
    bits = modulus.bit_length()
    if bits < MIN_RSA_BITS:
        return f"an RSA key has {bits} bits and needs {MIN_RSA_BITS}"
    if bits > MAX_RSA_BITS:
        return f"an RSA key has {bits} bits, and more than {MAX_RSA_BITS} only cost time"
    if modulus % 2 == 0:
        return "an RSA modulus is even"
    if exponent % 2 == 0 or not 3 <= exponent <= _MAX_EXPONENT:
        return "an RSA exponent is not an odd number from 3 on of at most 32 bits, beyond which it only costs time"
    if all(modulus % prime in powers for prime, powers in _ROCA):
        return "an RSA key was made by a chip whose keys can be factored (ROCA, CVE-2017-15361)"
    return None


def secret_fault(secret: bytes) -> str | None:
    """What is wrong with *secret* as a key for HMAC, or None. Never says anything of the secret itself."""
    if len(secret) < MIN_SECRET_BYTES:
        return f"a secret has {len(secret)} bytes and HS256 needs {MIN_SECRET_BYTES}"
    if len(secret) > _MAX_SECRET_BYTES:
        return f"a secret has more than {_MAX_SECRET_BYTES} bytes: it is something else"
    letters = _NO_LETTER_OR_DIGIT.sub(b"", secret.lower()).decode("ascii")
    if any(word in letters for word in _PLACEHOLDERS):
        return "a secret is an example from a manual, which everybody knows"
    if _ARMOUR.search(secret) or _JWK.match(secret) or _is_der(secret) or _is_der(_decoded(secret)):
        return "a secret is a key of a key pair or a certificate, which others know"
    return _pattern_in(secret)


def _pattern_in(secret: bytes) -> str | None:
    """By what *secret* can be guessed although it is long enough. An estimate: what it does not see is no better for it."""
    if len(set(secret)) < _MIN_DIFFERENT_BYTES or len(zlib.compress(secret, 9)) < _MIN_COMPRESSED_BYTES:
        return "a secret repeats itself, and can be guessed"
    if _surprises(secret) < _MIN_SURPRISES:
        return "a secret counts up or follows a keyboard, and can be guessed"
    if _reads_like_text(secret):
        return "a secret is made of words, and can be guessed"
    return None


def _surprises(secret: bytes) -> int:
    """How many bytes are not what the one before leads to: the same, its neighbour in the alphabet, or on a keyboard."""
    return sum(
        abs(pair[1] - pair[0]) > 1 and bytes(pair) not in _ROWS and bytes(pair[::-1]) not in _ROWS
        for pair in pairwise(secret.lower())
    )


def _reads_like_text(secret: bytes) -> bool:
    """Whether most of it is words, with letters that follow one another as they do in English."""
    words = [word.lower() for word in _WORD.findall(secret)]
    if sum(map(len, words)) < _TEXT_SHARE * len(secret):
        return False
    pairs = [bytes(pair) for word in words for pair in pairwise(word)]
    return sum(pair in _FREQUENT for pair in pairs) >= max(_MIN_FREQUENT, _FREQUENT_SHARE * len(pairs))


def _decoded(text: bytes) -> bytes:
    """What *text* is the Base64 of, as between the lines of PEM; nothing when it is not."""
    try:
        return b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_der(data: bytes) -> bool:
    if data[:1] != b"\x30":  # a SEQUENCE, as all of them are
        return False
    for load in (load_der_public_key, load_der_x509_certificate, _load_private):
        try:
            load(data)
        except (ValueError, UnsupportedAlgorithm):
            continue
        return True
    return False


def _load_private(data: bytes) -> object:
    try:
        return load_der_private_key(data, password=None)
    except TypeError:  # encrypted, and hence one
        return None
