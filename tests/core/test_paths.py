"""What is configured for a path holds for exactly what the router would route there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette._utils import get_route_path

from prodkit.core.paths import PathMap, application_path, has_dot_segment, path_fault
from tests.support.asgi import http_scope

PATHS = PathMap(
    {
        "/a": "a",
        "/a/b": "a/b",
        "/a/{id}/c": "a/id/c",
        "/a/b/{id}": "a/b/id",
        "/{any}/x/y/z": "long",
        "/é": "é",
    }
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", "-"),
        ("", "-"),
        ("*", "-"),
        ("/a", "a"),
        ("/a/", "a"),
        ("/a/q", "a"),
        ("/ab", "-"),
        ("/A", "-"),
        ("//a", "-"),
        ("/a//b", "a"),
        ("/a/b", "a/b"),
        ("/a/b/", "a/b"),
        ("/a/b/7", "a/b/id"),
        ("/a/b/c", "a/b/id"),
        ("/a/q/c", "a/id/c"),
        ("/a/q/c/d/e", "a/id/c"),
        ("/a//c", "a"),
        ("/a/x/y/z", "long"),
        ("/q/x/y/z", "long"),
        ("/q/x/y", "-"),
        ("/é/1", "é"),
    ],
)
def test_longest_prefix_holds(path: str, found: str):
    """Whole segments count, literal ones before parameters, and an empty segment is no parameter."""
    assert PATHS.find(path, "-") == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", "-"),
        ("", "-"),
        ("/a/b", "a/b"),
        ("/a/q", "a"),
        ("/a//", "a"),
        ("/a//q", "a"),
        ("/a/q//", "a"),
        ("/a/q\n", "a"),
        ("/b//c\n", "-"),
        ("/a//b", "?"),
        ("/a///b/", "?"),
        ("//a", "?"),
        ("//a/b", "?"),
        ("//b", "-"),
        ("/a/b//7", "?"),
        ("/a\n", "?"),
        ("/a/b\n", "?"),
        ("/a\n\n", "-"),
        ("/a\n/b", "-"),
        ("/a/q/c\n", "?"),
        ("/a/../b", "?"),
        ("/a//../b", "?"),
        ("/a/..\n", "?"),
        ("/a/.//b", "?"),
    ],
)
def test_what_others_take_for_another_path(path: str, found: str):
    """Several slashes are one to who looks for a file, a line break at the end is none to the router: where that matters, it shows."""
    assert PATHS.find_surely(path, "-", "?") == found


def test_none_is_a_value():
    """An entry whose value is None is found, and ends the search."""
    assert PathMap({"/a": None, "/a/b": 1}).find("/a/c", 2) is None


def test_later_entry_of_one_place_holds():
    """Names of parameters do not make two places of one."""
    assert PathMap({"/{a}": 1, "/{b}": 2}).find("/x", 0) == 2


def test_depth_of_a_request_costs_nothing():
    """No more of a path is looked at than the deepest entry has segments."""
    assert PATHS.find("/a" + "/b" * 100_000, "-") == "a/b/id"


@settings(database=None, deadline=None, max_examples=120)
@given(
    st.sampled_from(["", "/api", "/a", "/a/b", "/é"]),
    st.text(alphabet="/ab.é%", max_size=8),
)
def test_path_is_the_routers(root_path: str, rest: str):
    """What is compared is what Starlette routes, whatever stands before it."""
    for path in (rest, root_path + rest, root_path + root_path + rest):
        scope = http_scope(path, root_path=root_path)
        assert application_path(scope) == get_route_path(scope)


def test_scope_without_root_path():
    """`root_path` is optional in ASGI."""
    scope = http_scope("/a")
    del scope["root_path"]
    assert application_path(scope) == "/a"


@pytest.mark.parametrize(
    ("path", "has_one"),
    [
        ("/a/../b", True),
        ("/a/./b", True),
        ("/..", True),
        ("/a/.", True),
        ("/a/..\n", False),
        ("/.well-known/x", False),
        ("/a/..b", False),
        ("/a/b..", False),
        ("/a/...", False),
        ("/a.b", False),
    ],
)
def test_dot_segments_are_seen(path: str, has_one: bool):
    """Only whole segments of one or two dots mean another place."""
    assert has_dot_segment(path) is has_one


@pytest.mark.parametrize("text", ["/a", "/a/b", "/.well-known", "/a/{id}/b", "/ünïcode", "/a b"])
def test_prefixes(text: str):
    """Literal segments and whole parameters are prefixes."""
    assert path_fault(text) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "begin with a slash"),
        ("a", "begin with a slash"),
        ("/", "ends with a slash"),
        ("/a/", "ends with a slash"),
        ("/a/*", "is not a path"),
        ("/a?b=1", "is not a path"),
        ("/a#b", "is not a path"),
        ("/a\\b", "is not a path"),
        ("/a\nb", "is not a path"),
        ("/a%2Fb", "percent-encoded"),
        ("//a", "empty or a dot"),
        ("/a/../b", "empty or a dot"),
        ("/a/.", "empty or a dot"),
        ("/a/{id:int}", "no converter"),
        ("/a/x{id}", "no converter"),
        ("/a/{}", "no converter"),
    ],
)
def test_what_is_no_prefix(text: str, fault: str):
    """What would never match, or looks as if it meant more than it does, is named with its cure."""
    found = path_fault(text)
    assert found is not None
    assert fault in found
    assert " | " in found
