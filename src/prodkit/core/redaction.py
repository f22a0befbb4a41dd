"""What may never be written down: by name, by shape and by type.

Used by logs, error reports and `prodkit config`. It fails closed: what cannot be looked through is replaced whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from pydantic import SecretBytes, SecretStr

__all__ = ["MASK", "is_secret_name", "redact", "redact_text"]

MASK: Final = "[redacted]"

_MAX_DEPTH: Final = 8
_MAX_ITEMS: Final = 200

_SECRET_NAME = re.compile(
    r"(pass(word|wd|phrase)?$|passwd|password|secret|token$|_token|access_token|api[-_]?key|apikey|authorization"
    r"|cookie|credential|private[-_]?key|pepper|session[-_]?id$|dsn$|connection[-_]?string|signature$)",
    re.IGNORECASE,
)
# Names that the pattern above would catch and that hold no secret.
_HARMLESS_NAME = frozenset(
    {
        "allow_credentials",
        "cookie_name",
        "input_tokens",
        "max_tokens",
        "output_tokens",
        "token_type",
        "total_tokens",
        "with_credentials",
    }
)

_SHAPES: Final = (
    # scheme://user:password@host, up to the last @, since a password may hold one
    (
        re.compile(r"(?P<keep>(?<![a-z0-9+.\-])[a-z0-9+.\-]++://[^\s/:@]*+:)[^\s/]+(?=@)", re.IGNORECASE),
        r"\g<keep>" + MASK,
    ),
    # Authorization: Bearer x, Basic x
    (
        re.compile(r"(?P<keep>\b(?:bearer|basic)\s+)[A-Za-z0-9\-._~+/]{8,}=*", re.IGNORECASE),
        r"\g<keep>" + MASK,
    ),
    # a JSON Web Token; looked for once in each run of its characters, so that a long text takes linear time
    (
        re.compile(
            r"(?<![A-Za-z0-9_\-])(?=[A-Za-z0-9_\-]++\.[A-Za-z0-9_\-]{5,}+\.)"
            r"[A-Za-z0-9_\-]*?e(?:y[AJ]|w[0ko])[A-Za-z0-9_\-]{5,}+\.[A-Za-z0-9_\-]{5,}+\.[A-Za-z0-9_\-]*+"
        ),
        MASK,
    ),
    # an API key of ours, `prefix_environment_id_secret`, and a static one; whatever stands right before it, as %22 does
    (
        re.compile(
            r"[a-z][a-z0-9]{0,15}_[a-z][a-z0-9]{0,15}_[A-Za-z0-9]{12}_[A-Za-z0-9]{49}|pk_[A-Za-z0-9_\-]{43}"
        ),
        MASK,
    ),
    # the cookie of a session: key id, id, signature
    (
        re.compile(
            r"(?<![A-Za-z0-9_\-])[A-Za-z0-9_\-]{1,32}\.[A-Za-z0-9_\-]{43}\.[A-Za-z0-9_\-]{43}(?![A-Za-z0-9_\-])"
        ),
        MASK,
    ),
    # name=value and "name": "value" inside a text
    (
        re.compile(
            r"(?P<keep>\b(?:password|passwd|secret|api[-_]?key|apikey|client_secret"
            r"|(?:access|refresh|id|auth|csrf|xsrf|session)[-_]?token)"
            r"[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;]+",
            re.IGNORECASE,
        ),
        r"\g<keep>" + MASK,
    ),
    # ?name=value in a URL, where also short names are those of credentials
    (
        re.compile(
            r"(?P<keep>[?&][\w.\-]{0,64}?(?:token|ticket|jwt|key|password)=)[^\s\"'&#]+",
            re.IGNORECASE,
        ),
        r"\g<keep>" + MASK,
    ),
    # a PEM private key
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        MASK,
    ),
)


def is_secret_name(name: str) -> bool:
    """Whether a field, header, query parameter or variable of this name must not show its value."""
    return name not in _HARMLESS_NAME and _SECRET_NAME.search(name) is not None


def redact_text(text: str) -> str:
    """*text* with everything that has the shape of a credential masked."""
    for pattern, replacement in _SHAPES:
        text = pattern.sub(replacement, text)
    return text


def redact(value: object, *, depth: int = _MAX_DEPTH) -> object:  # noqa: PLR0911 - one line for each kind of value
    """A copy of *value* that is safe to write: mappings by name, texts by shape, pydantic secrets always.

    Containers deeper than *depth* levels or longer than 200 items are cut; unknown objects are left as they are,
    since whoever renders them calls `str` on them and passes the result through `redact_text`.
    """
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, (SecretStr, SecretBytes)):
        return MASK
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if depth <= 0 and isinstance(value, (Mapping, Sequence, AbstractSet)):
        return MASK
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_MAX_ITEMS]
        return {
            key: MASK if isinstance(key, str) and is_secret_name(key) else redact(item, depth=depth - 1)
            for key, item in pairs
        }
    if isinstance(value, (Sequence, AbstractSet)):
        return [redact(item, depth=depth - 1) for item in list(value)[:_MAX_ITEMS]]
    return value
