"""The ten tests of the MDN HTTP Observatory, as we read its documented rules, over one response.

It is our reading and no verdict of the Observatory: its scanner looks at a public site, ours at a response in a test. What
needs a scan (the preload list, certificates) counts as not there.

Source: MDN, HTTP Observatory, "Tests and scoring" (score modifiers; bonus points count from 90 on).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

BASE = 100
ENOUGH_FOR_BONUS = 90
_HALF_A_YEAR = 15_768_000
_BROAD = {"*", "http:", "https:", "ftp:", "http://*", "https://*", "http://*.*", "https://*.*"}
_PRIVATE = {"no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"}


@dataclass
class Score:
    """What each test added or took.

    Attributes:
        modifiers: by the name of the test.
    """

    modifiers: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bonus points count only where the rest is good enough."""
        without = BASE + sum(one for one in self.modifiers.values() if one < 0)
        bonus = sum(one for one in self.modifiers.values() if one > 0)
        return max(0, without + (bonus if without >= ENOUGH_FOR_BONUS else 0))


def score(answer: Any, *, http: Any = None, cross_origin: Any = None) -> Score:
    """Score *answer*, which came over https.

    Args:
        answer: of httpx.
        http: what the same address answers over http; None where nothing listens there.
        cross_origin: the answer to a request with a foreign Origin; None for the same as *answer*.
    """
    policy = _policy(answer)
    return Score(
        {
            "content-security-policy": _csp(policy),
            "cookies": _cookies(answer),
            "cross-origin-resource-sharing": _cors(cross_origin or answer),
            "redirection": _redirection(http),
            "referrer-policy": _referrer(answer),
            "strict-transport-security": _hsts(answer),
            "subresource-integrity": _integrity(answer),
            "x-content-type-options": 0 if answer.headers.get("x-content-type-options") == "nosniff" else -5,
            "x-frame-options": _frames(answer, policy),
            "cross-origin-resource-policy": _resource_policy(answer),
        }
    )


def _policy(answer: Any) -> dict[str, set[str]]:
    """All policies as one; a source that two of them do not share is allowed by neither, but no test here has two."""
    directives: dict[str, set[str]] = {}
    for line in answer.headers.get_list("content-security-policy"):
        for part in line.split(";"):
            words = part.split()
            if words:
                directives.setdefault(words[0].lower(), set(words[1:]))
    return directives


def _csp(policy: dict[str, set[str]]) -> int:  # noqa: PLR0911 - one line for each rule
    if not policy:
        return -25
    default = policy.get("default-src", {"*"})
    scripts, styles, objects = (policy.get(f"{kind}-src", default) for kind in ("script", "style", "object"))
    scripts, styles = _effective(scripts), _effective(styles)
    if scripts & (_BROAD | {"'unsafe-inline'", "data:"}) or objects & _BROAD:
        return -20
    passive = {"img-src", "media-src"}
    active = scripts.union(*(sources for name, sources in policy.items() if name not in passive))
    if any(source.startswith(("http:", "ftp:")) for source in active):
        return -20
    if "'unsafe-eval'" in scripts | styles:
        return -10
    shown = set().union(*(policy.get(name, default) for name in passive))
    if any(source.startswith(("http:", "ftp:")) for source in shown):
        return -10
    if styles & (_BROAD | {"'unsafe-inline'", "data:"}):
        return 0
    return 10 if default == {"'none'"} else 5


def _effective(sources: set[str]) -> set[str]:
    """A browser that knows nonces and hashes ignores `'unsafe-inline'` beside them."""
    has_code = any(source.startswith(("'nonce-", "'sha256-", "'sha384-", "'sha512-")) for source in sources)
    return sources - {"'unsafe-inline'"} if has_code else sources


def _cookies(answer: Any) -> int:
    cookies = [
        morsel for line in answer.headers.get_list("set-cookie") for morsel in SimpleCookie(line).values()
    ]
    has_hsts = _hsts(answer) == 0
    worst = 5 if cookies else 0
    for cookie in cookies:
        is_session = bool(re.search(r"login|sess", cookie.key, re.IGNORECASE))
        if not cookie["secure"]:
            worst = min(worst, (-10 if is_session else -5) if has_hsts else (-40 if is_session else -20))
        if is_session and not cookie["httponly"]:
            worst = min(worst, -30)
        if cookie["samesite"].lower() not in {"strict", "lax"}:
            worst = min(worst, -20 if cookie["samesite"] else 0)
    return worst


def _cors(answer: Any) -> int:
    origin = answer.headers.get("access-control-allow-origin")
    reflected = origin is not None and origin == answer.request.headers.get("origin")
    with_credentials = answer.headers.get("access-control-allow-credentials", "").lower() == "true"
    return -50 if reflected and with_credentials else 0


def _redirection(http: Any) -> int:
    if http is None:
        return 0
    if not 300 <= http.status_code < 400:
        return -20
    target = str(http.headers.get("location", ""))
    if not target.startswith("https://"):
        return -20
    return 0 if target.split("/")[2] == http.request.url.host else -5


def _referrer(answer: Any) -> int:
    values = [one.strip() for one in answer.headers.get("referrer-policy", "").lower().split(",")]
    if values == [""]:
        return 0
    return 5 if values[-1] in _PRIVATE else -5


def _hsts(answer: Any) -> int:
    match = re.search(r"max-age=(\d+)", answer.headers.get("strict-transport-security", ""))
    if match is None:
        return -20
    return 0 if int(match[1]) >= _HALF_A_YEAR else -10


def _integrity(answer: Any) -> int:
    if not answer.headers.get("content-type", "").startswith("text/html"):
        return 0
    worst, has_integrity = 0, False
    for tag in re.findall(r"<script\b[^>]*>", answer.text):
        source = re.search(r"\ssrc=[\"']([^\"']*)", tag)
        if source is None:
            continue
        has_integrity = has_integrity or "integrity=" in tag
        if source[1].startswith(("http:", "//")):
            worst = min(worst, -20 if "integrity=" in tag else -50)
        elif source[1].startswith("https:") and "integrity=" not in tag:
            worst = min(worst, -5)
    return 5 if worst == 0 and has_integrity else worst


def _frames(answer: Any, policy: dict[str, set[str]]) -> int:
    if "frame-ancestors" in policy:
        return 5
    return 0 if answer.headers.get("x-frame-options", "").lower() in {"deny", "sameorigin"} else -20


def _resource_policy(answer: Any) -> int:
    value = answer.headers.get("cross-origin-resource-policy", "").strip().lower()
    if value in {"same-site", "same-origin"}:
        return 10
    return 0 if value in {"", "cross-origin"} else -5
