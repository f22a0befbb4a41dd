"""Cookies that were not made here, or not for this, and what they cost."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.core.context import RequestContext
from prodkit.core.features import Kit
from prodkit.web_sessions.cookie import Cookie, NewSession, Seals, cookie_values
from tests.support.asgi import http_scope
from tests.web_sessions.world import OTHER_SECRET, SECRET, ShakyStore, World

NAME = "__Host-prodkit_session"
PATTERN = Cookie("prodkit_session", secure=True, same_site="strict").pattern


def seals(*names: str, cookie_name: str = NAME, secrets: dict[str, str] | None = None) -> Seals:
    known = {"a": SECRET, "b": OTHER_SECRET} if secrets is None else secrets
    chosen = {name: known[name].encode() for name in names or known}
    return Seals(chosen, cookie_name, lambda count: b"\x07" * count)


def context_with(*lines: bytes, more: Any = ()) -> RequestContext:
    scope = http_scope("/", headers=[*((b"cookie", line) for line in lines), *more])
    return RequestContext(Kit(World_clock, ""), scope, 0.0)


class World_clock:  # noqa: N801 - stands for a clock that nobody reads
    """No test of this file asks for the time."""


class TestSeals:
    def test_what_was_made_is_recognised(self):
        """By its reference and its token, which do not change."""
        made = seals().new()
        assert seals().open(made.cookie.encode()) == (made.reference, made.token.encode())
        assert made.cookie not in repr(made)
        assert made.token not in repr(made)
        assert SECRET not in repr(seals())

    def test_two_sessions_share_nothing(self):
        """Cookie, reference and token differ, and none of them is part of another."""
        numbers = iter(range(100))
        source = Seals({"a": SECRET.encode()}, NAME, lambda count: bytes([next(numbers)]) * count)
        first, second = source.new(), source.new()
        parts = {*first.cookie.split(".")[1:], first.reference, first.token}
        assert len(parts | {*second.cookie.split(".")[1:], second.reference, second.token}) == 8

    def test_the_first_secret_signs_and_all_are_accepted(self):
        """Rotation: a new one is put in front, and old cookies stay good until the old one is removed."""
        old = seals("a").new()
        both = seals("b", "a")
        assert both.new().cookie.startswith("b.")
        assert both.open(old.cookie.encode()) == seals("a").open(old.cookie.encode())
        assert seals("b").open(old.cookie.encode()) is None

    @pytest.mark.parametrize(
        "forge",
        [
            lambda made: made.cookie[:-1] + ("A" if made.cookie[-1] != "A" else "B"),
            lambda made: "b" + made.cookie[1:],
            lambda made: "c" + made.cookie[1:],
            lambda made: made.cookie + "=",
            lambda made: made.cookie + "\n",
            lambda made: f'"{made.cookie}"',
            lambda made: made.cookie.upper(),
            lambda made: made.cookie.replace(".", "%2E"),
            lambda made: made.cookie + "." + made.cookie,
            lambda made: made.cookie.rpartition(".")[0],
            lambda made: made.cookie.rpartition(".")[0] + ".",
            lambda made: made.cookie.rpartition(".")[0] + "." + "A" * 43,
            lambda made: made.cookie.rpartition(".")[0] + "." + made.token,
            lambda made: f"a.{made.cookie.split('.')[2]}.{made.cookie.split('.')[1]}",
            lambda made: made.reference,
            lambda made: f"a.{made.reference}",
            lambda made: "",
            lambda made: "a" * 100_000,
            lambda made: "." * 8000,
        ],
    )
    def test_everything_else_is_not(self, forge):
        """One changed character, another secret's name, quotes, padding, the token in the signature's place, nothing, much."""
        made = seals().new()
        assert seals().open(forge(made).encode()) is None

    def test_another_application_with_the_same_secret_is_another(self):
        """Also on the same host: the name of the cookie is signed."""
        assert seals(cookie_name="other").open(seals().new().cookie.encode()) is None

    def test_every_other_last_character_is_another_cookie(self):
        """The last character of 256 bits has spare ones: no second spelling of a cookie is accepted."""
        made = seals().new()
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        whole = made.cookie.encode()
        key, session_id, signature = whole.split(b".")
        accepted = [
            spelled
            for letter in alphabet
            for spelled in (
                b"%b.%b.%b%c" % (key, session_id, signature[:-1], letter),
                b"%b.%b%c.%b" % (key, session_id[:-1], letter, signature),
            )
            if seals().open(spelled)
        ]
        assert set(accepted) == {whole}

    @given(st.binary(max_size=300))
    def test_whatever_comes_is_no_error(self, value):
        """No bytes at all raise anything, and none are accepted."""
        assert seals().open(value) is None

    @given(st.integers(0, 88), st.integers(0, 255))
    def test_every_changed_byte_is_another_cookie(self, index, byte):
        """A cookie is accepted byte by byte as it was made, or not at all."""
        whole = seals().new().cookie.encode()
        changed = whole[:index] + bytes([byte]) + whole[index + 1 :]
        assert (seals().open(changed) is not None) is (changed == whole)


class TestFinding:
    @pytest.mark.parametrize(
        ("lines", "found"),
        [
            ([], []),
            ([b""], []),
            ([b"__Host-prodkit_session=v"], [b"v"]),
            ([b"a=1; __Host-prodkit_session=v; b=2"], [b"v"]),
            ([b"a=1;__Host-prodkit_session=v;b=2"], [b"v"]),
            ([b"a=1", b"__Host-prodkit_session=v"], [b"v"]),
            ([b"__Host-prodkit_session=v", b"a=1"], [b"v"]),
            ([b"__Host-prodkit_session=v=w"], [b"v=w"]),
            ([b"x__Host-prodkit_session=v; __Host-prodkit_sessions=v; y=__Host-prodkit_session=v"], []),
            ([b"__host-session=v; __Host-prodkit_session"], []),
            ([b"__Host-prodkit_session=v; __Host-prodkit_session=w"], [b"v", b"w"]),
            ([b"__Host-prodkit_session=v; __Host-prodkit_session=v"], [b"v", b"v"]),
            ([b"__Host-prodkit_session=v", b"__Host-prodkit_session=w"], [b"v", b"w"]),
            ([b'__Host-prodkit_session="v"'], [b'"v"']),
            ([b"__Host-prodkit_session="], [b""]),
            ([b" __Host-prodkit_session=v ; b=2"], [b"v"]),
            ([b"\t__Host-prodkit_session=v\t"], [b"v"]),
            ([b"__Host-prodkit_session=v, __Host-prodkit_session=w"], [b"v, __Host-prodkit_session=w"]),
        ],
    )
    def test_every_value_of_that_name_is_found(self, lines, found):
        """Wherever it stands, and nothing that only looks like it."""
        assert list(cookie_values(context_with(*lines), PATTERN)) == found

    @given(st.binary(max_size=200))
    def test_whatever_comes_is_no_error_here_either(self, line):
        """A header is bytes, and bytes are whatever they are."""
        assert len(cookie_values(context_with(line, line), PATTERN)) in {0, 2}

    def test_a_thousand_cookies_cost_little(self):
        """8 KiB of cookies, with ours in between and as a flood of ours, are looked through in well under a millisecond."""
        for line in (
            b"; ".join([b"c%d=1" % n for n in range(1000)] + [b"__Host-prodkit_session=v"])[:9000],
            b";" * 8192 + b"__Host-prodkit_session=v",
            b"__Host-prodkit_session=v;" * 500,
            b"__Host-prodkit_session" * 600,
            b";" + b" " * 8192,
            b"; " * 4096,
        ):
            context = context_with(line)
            best = min(_timed(cookie_values, context, PATTERN) for _ in range(20))
            assert best < 0.002, (line[:40], best)


def _timed(call: Any, *arguments: Any) -> float:
    begun = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - begun


def test_the_value_that_sets_it_is_whole():
    """What the browser is told, in full."""
    cookie = Cookie("prodkit_session", secure=True, same_site="lax")
    assert cookie.setting("v") == "__Host-prodkit_session=v; Path=/; HttpOnly; SameSite=Lax; Secure"
    assert NewSession("c", "r", "t").cookie == "c"


class TestRequests:
    @pytest.mark.parametrize(
        "value", ["", "x", "a.b.c", "a." + "A" * 43 + "." + "B" * 43, "ä", "\x7f", "a" * 8000]
    )
    def test_a_forged_cookie_asks_no_store(self, value):
        """Whoever makes cookies up makes us compute one MAC, and is nobody: 401 where one has to be somebody, else welcome."""
        world = World()
        headers = {"Cookie": f"{NAME}={value}".encode("latin-1")}
        for _ in range(3):
            assert world.client.get("/me", headers=headers).status_code == 401
        assert world.client.get("/open", headers=headers).json() == "anonymous"
        assert world.client.post("/me", headers=headers).status_code == 401
        assert world.store.asked == []

    def test_a_session_of_before_a_removed_secret_is_over(self):
        """One whose secret is still listed goes on, with the token it had."""
        store = ShakyStore()
        browser = World(store).log_in()
        rotated = World(store, secrets={"b": OTHER_SECRET, "a": SECRET})
        rotated.clock.set_wall(rotated.clock.wall())
        browser.client = rotated.client
        assert browser.send("POST", "/me").status_code == 200
        assert rotated.log_in().value.startswith("b.")
        browser.client = World(store, secrets={"b": OTHER_SECRET}).client
        assert browser.send("GET", "/me").status_code == 401

    def test_the_same_name_with_another_secret_is_another(self):
        """A secret that was replaced without renaming it ends all sessions, and nothing worse."""
        store = ShakyStore()
        browser = World(store).log_in()
        browser.client = World(store, secrets={"a": OTHER_SECRET}).client
        assert not browser.is_in()

    @pytest.mark.parametrize("order", [0, 1])
    def test_two_cookies_of_the_name_are_none(self, order):
        """A neighbour on the domain may toss one in front or behind: neither is believed, good or not."""
        world = World()
        ann, bob = world.log_in("ann"), world.log_in("bob")
        for pair in ((ann.cookie, bob.cookie), (ann.cookie, f"{NAME}=x"), (ann.cookie, ann.cookie)):
            first, second = pair if order else pair[::-1]
            assert world.client.get("/me", headers={"Cookie": f"{first}; {second}"}).status_code == 401
            lines = [("Cookie", first), ("Cookie", second)]
            assert world.client.get("/me", headers=lines).status_code == 401
        assert ann.is_in()

    def test_a_header_full_of_cookies_is_answered(self):
        """Also with a good one among a thousand others."""
        world = World()
        browser = world.log_in()
        crowd = "; ".join(f"c{n}=1" for n in range(1000))
        assert world.client.get("/me", headers={"Cookie": f"{crowd}; {browser.cookie}"}).status_code == 200
        assert world.client.get("/me", headers={"Cookie": crowd}).status_code == 401

    def test_the_session_is_taken_from_the_cookie_only(self):
        """In the URL, in another header or as a bearer token it is nothing."""
        world = World()
        browser = world.log_in()
        assert world.client.get("/me", params={NAME: browser.value}).status_code == 401
        assert world.client.get("/me", headers={"X-Session": browser.value}).status_code == 401
        assert (
            world.client.get("/me", headers={"Authorization": f"Bearer {browser.value}"}).status_code == 401
        )
