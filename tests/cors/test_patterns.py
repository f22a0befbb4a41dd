"""Patterns mean what they mean in Python, take time for the origin only, and say how the registered name ends."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.cors.endings import has_loose_end
from prodkit.cors.origins import regex_fault
from prodkit.cors.patterns import OriginPattern, PatternError

ATOMS = st.sampled_from(["a", "b", r"\.", "-", "[ab]", "[^a]", "[a-c.]", r"\d", r"\w", "."])


def quantified(part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(part, st.sampled_from(["", "", "?", "*", "+", "{2}", "{0,2}", "{1,}", "{1,3}"])).map(
        "".join
    )


PATTERNS = st.recursive(
    quantified(ATOMS),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.lists(inner, min_size=1, max_size=3)
        .map("|".join)
        .map("({})".format)
        .flatmap(lambda t: quantified(st.just(t)))
        | inner.map("(?:{})".format).flatmap(lambda t: quantified(st.just(t)))
    ),
    max_leaves=6,
)


@settings(database=None, deadline=None, max_examples=120)
@given(PATTERNS, st.lists(st.text(alphabet="abc.-1", max_size=6), max_size=8))
def test_means_what_it_means_in_python(pattern: str, texts: list[str]):
    """Whatever is understood is understood as `re` understands it."""
    ours = OriginPattern(f"^{pattern}$")
    theirs = re.compile(pattern.encode())
    for text in ["", "a", "ab", *texts]:
        assert ours.matches(text.encode()) is (theirs.fullmatch(text.encode()) is not None)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^([a-z]+)+!$",
        r"^([a-z]|[a-z])*!$",
        r"^([a-z]*)*([a-z]*)*!$",
        r"^(a?){30}a{30}!$",
        r"^(.*)*(.*)*(.*)*!$",
    ],
)
def test_no_pattern_takes_long(pattern: str):
    """Patterns on which `re` would run for years are decided while one waits."""
    compiled = OriginPattern(pattern)
    began = time.process_time()
    assert not compiled.matches(b"a" * 300)
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        (r"^(a$", "never closed"),
        (r"^a)$", "never opened"),
        (r"^()$", "empty alternative"),
        (r"^(a|)b$", "empty alternative"),
        (r"^$", "empty alternative"),
        (r"^+a$", "nothing is repeated"),
        (r"^a^b$", "nothing is repeated or ends"),
        (r"^a$b$", "nothing is repeated or ends"),
        (r"^a+?b$", "two repetitions"),
        (r"^a{2}{3}$", "two repetitions"),
        (r"^a{0}$", "zero times"),
        (r"^a{x}$", "no count"),
        (r"^a{3,2}$", "small to large"),
        (r"^a{999}$", "small to large"),
        (r"^(?=a)a$", "question mark"),
        (r"^(?i)a$", "question mark"),
        (r"^(?P<x>a)$", "question mark"),
        (r"^(a)\1$", "escape that is not known"),
        (r"^a\x2e$", "escape that is not known"),
        (r"^a\b$", "escape that is not known"),
        (r"^[[:alpha:]]$", "cannot be read"),
        (r"^[a$", "cannot be read"),
        (r"^[z-a]$", "cannot be read"),
        (r"^[\x2e]$", "cannot be read"),
        (r"^[a--b]$", "cannot be read"),
        (r"^[a&&b]$", "cannot be read"),
        (r"^bücher$", "no origin has"),
        ("^" + "(" * 20 + "a" + ")" * 20 + "$", "inside of each other"),
        (r"^((a{99}){99}){99}$", "too long"),
    ],
)
def test_what_is_not_understood_is_refused(pattern: str, fault: str):
    """Nothing is guessed, and every refusal names its cure."""
    with pytest.raises(PatternError, match=fault) as refused:
        OriginPattern(pattern)
    assert " | " in str(refused.value)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^https://([a-z0-9-]+\.)*example\.com$",
        r"^https://[a-z0-9.-]+\.example\.com$",
        r"^https://[^/.]+\.example\.com$",
        r"^https://(app|www)\.example\.(com|org)$",
        r"^https://[a-z]+\.example\.co\.uk$",
        r"^https://[a-z]+[.]example[.]com$",
        r"^https://ex(?:am)ple\.com(:\d{2,5})?$",
        r"^https?://localhost(:[0-9]+)?$",
        r"^http://[a-z]+\.localhost:3000$",
        r"^http://192\.168\.1\.[0-9]{1,3}(:[0-9]+)?$",
        r"^https://shop-[a-z0-9-]+-team\.vercel\.app$",
        r"^https://[a-z]+\.example\.me\.uk$",
        r"^https://[a-z]+\.(sap|example)\.de$",
        r"^https://pr-[0-9]+---shop-abc123-uc\.a\.run\.app$",
        r"^https://[a-z0-9-]+\.d1abc2\.amplifyapp\.com$",
        r"^https://(app\.|www\.)+example\.com$",
        r"^https://app\.example\.com|https://pr-\d+\.example\.net$",
        r"^http://\[::1\]:[0-9]+$",
    ],
)
def test_registered_name_is_spelled_out(pattern: str):
    """What stands before the registered name may vary, and so may the port."""
    assert regex_fault(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "stranger"),
    [
        (r"^https://[a-z-]*example\.com$", "https://evilexample.com"),
        (r"^https://[a-z-]*example[.]com$", "https://evilexample.com"),
        (r"^https://[a-z-]*ex(?:am)ple\.com$", "https://evilexample.com"),
        (r"^https://(x|[a-z]+)ample\.com$", "https://evilample.com"),
        (r"^https://example\.[a-z]+$", "https://example.evil"),
        (r"^https://example\.com[a-z.]*$", "https://example.com.evil"),
        (r"^https://example\.(com|[a-z]+)$", "https://example.evil"),
        (r"^https://app\.example\.com|https://[a-z]+example\.net$", "https://evilexample.net"),
        (r"^https://[a-z]*example\.co\.uk$", "https://evilexample.co.uk"),
        (r"^https://app\d\.io$", "https://app7.io"),
        (r"^https://e+xample\.com$", "https://eeexample.com"),
        (r"^https://[a-z]+\.vercel\.app$", "https://evil.vercel.app"),
        (r"^https://[a-z0-9-]+\.github\.io$", "https://evil.github.io"),
        (r"^https://[a-z]+\.me\.uk$", "https://evil.me.uk"),
        (r"^https://[a-z]+\.id\.au$", "https://evil.id.au"),
        (r"^https://[a-z]+\.go\.jp$", "https://evil.go.jp"),
        (r"^https://[a-z]+\.asso\.fr$", "https://evil.asso.fr"),
        (r"^https://[a-z]+\.com\.(de|io)$", "https://evil.com.io"),
        (r"^https://[a-z]+\.blogspot\.com$", "https://evil.blogspot.com"),
        (r"^https://[a-z0-9-]+\.github\.dev$", "https://evil-1.github.dev"),
        (r"^https://[a-z0-9-]+\.run\.app$", "https://evil.run.app"),
        (r"^https://[a-z0-9-]+\.a\.run\.app$", "https://evil-uc.a.run.app"),
        (r"^https://[a-z0-9-]+\.europe-west1\.run\.app$", "https://evil-7.europe-west1.run.app"),
        (r"^https://[a-z0-9-]+\.s3\.eu-west-1\.amazonaws\.com$", "https://evil.s3.eu-west-1.amazonaws.com"),
        (
            r"^https://[a-z0-9-]+\.s3\.(us-east-2|us-east-1)\.amazonaws\.com$",
            "https://evil.s3.us-east-2.amazonaws.com",
        ),
        (r"^https://[a-z0-9-]+\.s3\.[a-z0-9-]+\.amazonaws\.com$", "https://evil.s3.eu-north-1.amazonaws.com"),
        (r"^https://[a-z-]+\.(vercel|netlify)\.app$", "https://evil.netlify.app"),
        (r"^https://[a-z0-9.:-]+$", "https://evil.example:1"),
        (r"^http://[0-9.]+$", "http://203.0.113.9"),
        (r"^https://(a|b|c|d)*example\.com$", "https://aexample.com"),
    ],
)
def test_names_that_can_be_bought_are_refused(pattern: str, stranger: str):
    """Each of these takes the origin of somebody else, which is why it does not start."""
    assert re.fullmatch(pattern, stranger)
    found = regex_fault(pattern)
    assert found is not None
    assert "strangers" in found


@pytest.mark.parametrize(
    "pattern",
    [
        r"^https://a\.example[:a-z]$",
        r"^https://a\.example\.com[.:][0-9]+$",
        r"^https://(a|b){60}example\.com$",
        r"^https://a{64,}\.com$",
    ],
)
def test_what_cannot_be_told_is_loose(pattern: str):
    """A port that may be a name, and more ways than one can look at, are no promise about the end."""
    assert has_loose_end(OriginPattern(pattern))
