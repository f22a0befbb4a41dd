"""Policies as text: what a browser would silently ignore is refused, and completing one never loosens it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.security_headers import PRESETS
from prodkit.security_headers.csp import fault_of, with_nonce, with_reports


def parsed(policy: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for part in policy.split(";") if (words := part.split())}


@pytest.mark.parametrize("policy", [one["content-security-policy"] for one in PRESETS.values()])
def test_presets_are_understood(policy: str):
    """What is refused from others is not sent by ourselves."""
    assert fault_of(policy) is None


@pytest.mark.parametrize(
    "policy",
    [
        "default-src 'self'; upgrade-insecure-requests; sandbox allow-scripts; report-uri /r; report-to none",
        "script-src 'self' 'sha256-abc=' https://cdn.example:443 *.example.com data:; trusted-types none self",
        " default-src  'none' ;; ",
    ],
)
def test_what_is_right_passes(policy: str):
    """Every kind of source, values that are no sources, and superfluous spaces."""
    assert fault_of(policy) is None


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        ("", "no directive"),
        (" ; ", "no directive"),
        ("default-src 'self', img-src *", "another policy"),
        ("Default-Src 'self'", "name of directive 1"),
        ("default-src 'none'; script_src 'self'", "name of directive 2"),
        ("img-src *; img-src 'none'", "img-src stands twice"),
        ("script-src self", "self is the name of a host"),
        ("script-src unsafe-inline", "unsafe-inline is the name of a host"),
        ("script-src sha256-secret", "sha256-... is the name of a host"),
        ("script-src 'nonce-abc'", "a nonce that is always the same"),
        ("script-src 'none' 'self'", "'none' has no effect"),
    ],
)
def test_what_a_browser_would_ignore_is_a_fault(policy: str, fault: str):
    """Each leaves a hole that nothing would tell of, and each has a cure."""
    found = fault_of(policy)
    assert found is not None
    problem, bar, cure = found.partition(" | ")
    assert fault in problem
    assert bar
    assert cure
    assert "secret" not in found


@pytest.mark.parametrize(
    ("policy", "scripts", "styles"),
    [
        ("default-src 'none'", ["'nonce-x'"], ["'nonce-x'"]),
        ("default-src 'self'; style-src 'none'", ["'self'", "'nonce-x'"], ["'nonce-x'"]),
        ("script-src https://a.example", ["https://a.example", "'nonce-x'"], None),
    ],
)
def test_nonce_is_added_to_what_was_in_force(policy: str, scripts: list[str], styles: list[str] | None):
    """A directive that is missing inherits; where nothing was in force, nothing is restricted that was not."""
    found = parsed(with_nonce(policy, "x"))
    assert found["script-src"] == scripts
    assert found.get("style-src") == styles


@pytest.mark.parametrize("policy", ["{}-src 'self' 'unsafe-inline'", "default-src 'self' 'unsafe-inline'"])
def test_nonce_of_a_script_leaves_inline_styles_alone(policy: str):
    """Where all inline styles are allowed they still are; a script without the nonce is not, whatever the policy said."""
    scripts = parsed(with_nonce(policy.format("script"), "x"))
    assert scripts["script-src"] == ["'self'", "'unsafe-inline'", "'nonce-x'"]
    styles = parsed(with_nonce(policy.format("style"), "x"))
    assert styles.get("style-src", styles.get("default-src")) == ["'self'", "'unsafe-inline'"]


def test_nonce_reaches_the_narrower_directives():
    """`script-src-elem` is what counts for elements where it stands."""
    found = parsed(with_nonce("script-src 'self'; script-src-elem 'none'; img-src *", "x"))
    assert found == {
        "script-src": ["'self'", "'nonce-x'"],
        "script-src-elem": ["'nonce-x'"],
        "img-src": ["*"],
    }


@settings(database=None, deadline=None, max_examples=60)
@given(st.text(alphabet=" ;,'-:*abcdefslnorc\t\u2603", max_size=60))
def test_any_text_is_judged(text: str):
    """Whatever an operator writes is accepted or refused, and what is accepted takes a nonce and a place for reports."""
    if fault_of(text) is None:
        completed = with_reports(with_nonce(text, "x"), "csp", "/r")
        assert set(parsed(completed)) >= set(parsed(text))


SOURCES = st.lists(
    st.sampled_from(["'self'", "https://a.example", "data:", "blob:"]), max_size=3, unique=True
)
NAMES = st.sampled_from(["default-src", "script-src", "style-src", "img-src", "base-uri", "script-src-elem"])


@settings(database=None, deadline=None, max_examples=60)
@given(st.dictionaries(NAMES, SOURCES, min_size=1))
def test_nonce_allows_nothing_else(directives: dict[str, list[str]]):
    """For any policy, each directive allows afterwards what it allowed before, and at most the nonce besides."""
    before = directives
    after = parsed(with_nonce("; ".join(" ".join([name, *values]) for name, values in before.items()), "x"))
    for name, sources in after.items():
        allowed = before.get(name, before.get("default-src", []))
        assert set(sources) - {"'nonce-x'"} == set(allowed)
    assert set(after) - set(before) <= {"script-src", "style-src"}


@pytest.mark.parametrize(
    "own", ["default-src 'self'; report-to mine", "default-src 'self'; report-uri /mine"]
)
def test_a_place_for_reports_of_its_own_stays(own: str):
    """Nothing is added to a policy that says where it reports to."""
    assert with_reports(own, "csp", "/r") == own
    assert (
        with_reports("default-src 'self'; ", "csp", "/r")
        == "default-src 'self'; report-uri /r; report-to csp"
    )
