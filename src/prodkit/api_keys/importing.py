"""Keys that callers hold already, from another system that kept them in plain text or as SHA-256.

They go on working as they are, without a prefix and a checksum, and are kept like all others: as an HMAC, here of their
SHA-256. Such a key is found by a digest of a digest, so the store tells nothing about it either.
"""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from prodkit.api_keys.terms import EARLIEST, LATEST, KeyTerms, KeyTermsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FoundKey", "UnfitKeysError", "imported_id", "is_imported_id", "is_token", "read_keys"]

_ID: Final = re.compile(r"imported-[0-9a-f]{32}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_FIELDS: Final = frozenset(
    {"key", "sha256", "owner", "scopes", "tenant", "plan", "name", "networks", "expires_at"}
)
_LONGEST_LINE: Final = 16_384
_MOST_SHOWN: Final = 20
# OWASP ASVS 5.0, 6.5.2: a secret with fewer can be found by trying, however it is hashed.
_FEWEST_BITS: Final = 112
_FEWEST_SIGNS: Final = 8
_LONGEST_KEY: Final = 512
# RFC 7515, 7.1; `eyJ` is how a JSON object begins in base64url
_TOKEN: Final = re.compile(rb"eyJ[A-Za-z0-9_\-]*\.[A-Za-z0-9_\-]*\.[A-Za-z0-9_\-]*")
_KEY: Final = re.compile(r"[!-~]+")


class UnfitKeysError(ValueError):
    """Lines that cannot be imported; nothing was. The message names lines and faults, and shows no key."""

    def __init__(self, faults: list[str]) -> None:
        shown = "".join(f"\n  - {fault}" for fault in faults[:_MOST_SHOWN])
        more = f"\n  and {len(faults) - _MOST_SHOWN} more" if len(faults) > _MOST_SHOWN else ""
        noun = "line" if len(faults) == 1 else "lines"
        super().__init__(f"{len(faults)} {noun} cannot be imported, so nothing was:{shown}{more}")


@dataclass(frozen=True, slots=True)
class FoundKey:
    """One key that can be imported.

    Attributes:
        line: where it stood.
        hashed: the SHA-256 of the key; not in the repr.
        terms: what it may do.
        expires_at: unix seconds, or None.
    """

    line: int
    hashed: bytes = field(repr=False)
    terms: KeyTerms
    expires_at: float | None


def imported_id(hashed: bytes) -> str:
    """The id of an imported key of which *hashed* is the SHA-256; it can be shown, and cannot be chosen."""
    return f"imported-{sha256(hashed).hexdigest()[:32]}"


def is_imported_id(text: str) -> bool:
    """Whether *text* could be the id of an imported key."""
    return _ID.fullmatch(text) is not None


def is_token(credential: bytes) -> bool:
    """Whether *credential* is a JSON Web Token by its looks, and so no key: the store is not asked about it."""
    return _TOKEN.fullmatch(credential) is not None


def read_keys(lines: Iterable[str], *, is_csv: bool) -> list[FoundKey]:
    """Every key in *lines*: JSON objects one a line, or CSV with a line of names.

    Fields: `key` (plain text) or `sha256` (64 hexadecimal digits), `owner`, and optionally `scopes`, `networks` (lists; in CSV
    separated by spaces), `tenant`, `plan`, `name`, `expires_at` (ISO 8601 with an offset, from 1970 to
    the year 9000).

    Raises:
        UnfitKeysError: with every line that is not fit; one key that can be guessed is a fault too, as far as can be told.
    """
    found: list[FoundKey] = []
    faults: list[str] = []
    seen: dict[bytes, int] = {}
    rows = _csv_rows(lines) if is_csv else _json_rows(lines)
    for number, row in rows:
        try:
            key = _key_of(number, row if isinstance(row, dict) else _refuse(row))
        except (KeyTermsError, _FaultError) as fault:
            faults.append(f"line {number}: {fault}")
            continue
        first = seen.setdefault(key.hashed, number)
        if first != number:
            faults.append(f"line {number}: the same key as in line {first}")
            continue
        found.append(key)
    if faults:
        raise UnfitKeysError(faults)
    return found


class _FaultError(Exception):
    """What is wrong with one line."""


def _refuse(row: object) -> dict[str, Any]:
    raise _FaultError(str(row) if isinstance(row, _FaultError) else "it is no JSON object")


def _json_rows(lines: Iterable[str]) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if len(line) > _LONGEST_LINE:
            yield number, _FaultError(f"it is longer than {_LONGEST_LINE} characters")
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            yield number, _FaultError("it is not JSON")


def _csv_rows(lines: Iterable[str]) -> Iterator[tuple[int, object]]:
    reader = csv.DictReader(lines, restkey="", strict=True)
    try:
        for row in reader:
            cells = {name: value for name, value in row.items() if value}
            for name in ("scopes", "networks"):
                if isinstance(cells.get(name), str):
                    cells[name] = cells[name].split()
            yield reader.line_num, cells
    except csv.Error as error:
        yield reader.line_num, _FaultError(f"it is not CSV: {error}")


def _key_of(line: int, row: dict[str, Any]) -> FoundKey:  # Any: nothing is known of it yet
    unknown = len(set(row) - _FIELDS)
    if unknown:
        # Not by name: where a line of names is missing, the first key would stand in their place.
        message = f"{unknown} of its fields are unknown; known are {', '.join(sorted(_FIELDS))}"
        raise _FaultError(message)
    texts = {name: _text(row, name) for name in ("owner", "tenant", "plan", "name", "expires_at")}
    owner = texts["owner"]
    if owner is None:
        message = "it has no owner"
        raise _FaultError(message)
    return FoundKey(
        line,
        _hash_of(row),
        KeyTerms(
            owner=owner,
            scopes=_texts(row, "scopes"),
            tenant=texts["tenant"],
            plan=texts["plan"],
            networks=_texts(row, "networks"),
            name=texts["name"] or "",
        ),
        None if texts["expires_at"] is None else _moment(texts["expires_at"]),
    )


def _hash_of(row: dict[str, Any]) -> bytes:
    key, hashed = _text(row, "key"), _text(row, "sha256")
    if (key is None) == (hashed is None):
        message = "it has to have one of key and sha256"
        raise _FaultError(message)
    if hashed is not None:
        if _SHA256.fullmatch(hashed) is None:
            message = "its sha256 is not 64 hexadecimal digits"
            raise _FaultError(message)
        return bytes.fromhex(hashed)
    return sha256(_fit(key or "").encode("ascii")).digest()


def _fit(key: str) -> str:
    """*key*, if it can stand in a header and holds enough that cannot be guessed, as far as its signs tell."""
    if len(key) > _LONGEST_KEY or _KEY.fullmatch(key) is None:
        message = f"its key is not 1 to {_LONGEST_KEY} printable ASCII characters without spaces"
        raise _FaultError(message)
    if is_token(key.encode("ascii")):
        message = "its key is a JSON Web Token, which is not looked for among keys"
        raise _FaultError(message)
    signs = set(key)
    # Dashes and dots separate; what stands between them was drawn from the smallest alphabet that has it all.
    drawn = [sign for sign in key if sign.isalnum()]
    alphabets = (("0123456789", 10), ("0123456789abcdef", 16), ("0123456789ABCDEF", 16))
    size = next((size for alphabet, size in alphabets if set(drawn) <= set(alphabet)), None)
    if size is None:
        size = 36 if all(not sign.isupper() for sign in drawn) else 62
    if len(signs) < _FEWEST_SIGNS or len(drawn) * math.log2(size) < _FEWEST_BITS:
        message = (
            f"its key has fewer than {_FEWEST_BITS} bits that cannot be guessed: give its caller a new one"
        )
        raise _FaultError(message)
    return key


def _text(row: dict[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        message = f"its {name} is no text"
        raise _FaultError(message)
    return value


def _texts(row: dict[str, Any], name: str) -> list[str]:
    value = row.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        message = f"its {name} are no list of texts"
        raise _FaultError(message)
    return value


def _moment(text: str) -> float:
    message = "its expires_at is not ISO 8601 with an offset, or Z"
    try:
        moment = datetime.fromisoformat(text)
        at = moment.timestamp()
    except (ValueError, OverflowError):
        raise _FaultError(message) from None
    if moment.tzinfo is None:
        raise _FaultError(message)
    if not EARLIEST <= at <= LATEST:
        message = "its expires_at is not between the years 1970 and 9000; a key without one does not end"
        raise _FaultError(message)
    return at
