"""Content security policies as text: checked before they are sent, and completed with a nonce or a place for reports.

A browser ignores what it does not know in a policy. A directive with a typing error, or a keyword without its quotes, is
therefore a hole that nothing tells of: it is refused where the application is built.

Source: Content Security Policy Level 3, 2.2 (policies), 2.3.1 (source lists) and 6 (directives); Trusted Types, 4.3.
"""

from __future__ import annotations

from typing import Final

__all__ = ["fault_of", "with_nonce", "with_reports"]

_DIRECTIVES: Final = frozenset(
    {
        "base-uri",
        "child-src",
        "connect-src",
        "default-src",
        "fenced-frame-src",
        "font-src",
        "form-action",
        "frame-ancestors",
        "frame-src",
        "img-src",
        "manifest-src",
        "media-src",
        "object-src",
        "report-to",
        "report-uri",
        "require-trusted-types-for",
        "sandbox",
        "script-src",
        "script-src-attr",
        "script-src-elem",
        "style-src",
        "style-src-attr",
        "style-src-elem",
        "trusted-types",
        "upgrade-insecure-requests",
        "worker-src",
    }
)
# Of no effect unless quoted: without quotes they are host names.
_KEYWORDS: Final = frozenset(
    {
        "inline-speculation-rules",
        "none",
        "report-sample",
        "self",
        "strict-dynamic",
        "trusted-types-eval",
        "unsafe-eval",
        "unsafe-hashes",
        "unsafe-inline",
        "wasm-unsafe-eval",
    }
)
_CODES: Final = ("nonce-", "sha256-", "sha384-", "sha512-")
# Whose values are no source lists.
_OTHER: Final = frozenset({"report-to", "report-uri", "sandbox", "trusted-types"})
# Where inline code is allowed: the directive, and those that are asked in its absence.
_INLINE: Final = {
    "script-src": ("default-src",),
    "script-src-elem": (),
    "style-src": ("default-src",),
    "style-src-elem": (),
}


def _parsed(policy: str) -> list[list[str]]:
    """Each directive as its name and values, in order; of two with one name browsers read the first."""
    return [words for part in policy.split(";") if (words := part.split())]


def fault_of(policy: str) -> str | None:
    """What is wrong with *policy* and how to put it right, as `fault | cure`; None where a browser reads all of it."""
    if "," in policy:
        return "a comma begins another policy | Separate directives by semicolons and sources by spaces."
    if not _parsed(policy):
        return "it has no directive | Write one, e.g. default-src 'self'."
    seen: set[str] = set()
    for position, (name, *sources) in enumerate(_parsed(policy), start=1):
        if name not in _DIRECTIVES:
            return f"browsers do not know the name of directive {position} | Correct it, in lower case."
        if name in seen:
            return f"{name} stands twice, and browsers read only the first | Put all sources into one."
        seen.add(name)
        if name not in _OTHER:
            fault = _fault_of_sources(name, sources)
            if fault is not None:
                return fault
    return None


def _fault_of_sources(name: str, sources: list[str]) -> str | None:
    for source in sources:
        if source in _KEYWORDS or source.startswith(_CODES):
            what = source if source in _KEYWORDS else f"{source.partition('-')[0]}-..."
            return f"{name}: without single quotes {what} is the name of a host | Write it between single quotes."
        if source.startswith("'nonce-"):
            return f"{name}: a nonce that is always the same lets everybody's script run | Use the dependency csp_nonce."
    if "'none'" in sources and len(sources) > 1:
        return f"{name}: 'none' has no effect beside other sources | Remove one or the other."
    return None


def with_nonce(policy: str, nonce: str) -> str:
    """*policy*, with inline scripts and styles allowed that carry *nonce*.

    A directive that is missing gets the sources that were in force in its place, so that nothing else is allowed. Styles that
    are all allowed inline stay so: beside a nonce browsers ignore 'unsafe-inline', which for scripts is what a nonce is for.
    """
    source = f"'nonce-{nonce}'"
    directives: dict[str, list[str]] = {}
    for name, *sources in _parsed(policy):
        directives.setdefault(name, sources)
    for name, fallbacks in _INLINE.items():
        found = next((one for one in (name, *fallbacks) if one in directives), None)
        is_open = found is not None and name.startswith("style-") and "'unsafe-inline'" in directives[found]
        if found is not None and not is_open:
            directives[name] = [*(one for one in directives[found] if one != "'none'"), source]
    return _text(directives)


def with_reports(policy: str, endpoint: str, url: str) -> str:
    """*policy* with violations reported to *endpoint*, which Reporting-Endpoints leads to *url*; what it says itself stays.

    Both directives, because some browsers know only the older one; the others ignore it beside the newer.
    """
    names = {words[0] for words in _parsed(policy)}
    if names & {"report-to", "report-uri"}:
        return policy
    return f"{policy.rstrip().rstrip(';')}; report-uri {url}; report-to {endpoint}"


def _text(directives: dict[str, list[str]]) -> str:
    return "; ".join(" ".join([name, *sources]) for name, sources in directives.items())
