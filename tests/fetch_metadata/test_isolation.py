"""What pages of other origins cause is refused unless something allows it; people, programs and our own pages go on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import WebSocketDenialResponse

from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.core.problems import Problem
from prodkit.cors import CORS
from prodkit.fetch_metadata import FetchMetadata, FetchMetadataSettings, Isolation
from tests.fetch_metadata.browsers import APP, COOKIE, EVIL, FORM, IMAGE, client_of, refused, sent
from tests.support.asgi import http_scope, websocket_scope
from tests.support.hardening import assert_problem

# ------------------------------------------------------------------------------------------------ who is let through


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        COOKIE,
        {"Authorization": "Bearer x"},
        {"Origin": EVIL},
        {"Origin": EVIL, "Authorization": "Bearer x"},
        {"Origin": "null"},
        sent("same-origin"),
        sent("same-origin", Origin="null", **COOKIE),
        sent("same-origin", "no-cors", "image"),
        sent("none", "navigate", "document"),
        sent("none", "navigate", "document", **COOKIE),
    ],
    ids=str,
)
def test_legitimate_callers_are_never_refused(method: str, headers: dict[str, str]):
    """Webhooks, programs, our own pages and what a person typed in pass, whatever they do."""
    assert not refused(client_of(), headers, method)


@pytest.mark.parametrize("dest", ["document", "iframe", "frame", ""])
def test_links_may_be_followed(dest: str):
    """A navigation by GET or HEAD is how the web works; framing is for the security headers to say."""
    for method in ("GET", "HEAD"):
        answer = client_of().request(method, "/x", headers=sent(mode="navigate", dest=dest, **COOKIE))
        assert answer.status_code == 200


# ----------------------------------------------------------------------------------------------------- who is refused


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "ANYTHING"])
@pytest.mark.parametrize("mode", ["navigate", "cors", "no-cors", "same-origin", "", "new-mode"])
def test_forged_changes_are_refused(method: str, mode: str):
    """Forms, beacons and scripts of others change nothing, signed in or not; a word that is not known yet helps nobody."""
    for more in ({}, COOKIE):
        assert_problem(client_of().request(method, "/x", headers=sent(mode=mode, Origin=EVIL, **more)), 403)


@pytest.mark.parametrize(
    ("mode", "dest"),
    [
        ("no-cors", "image"),
        ("no-cors", "script"),
        ("no-cors", "style"),
        ("no-cors", "video"),
        ("no-cors", "empty"),
        ("navigate", "object"),
        ("navigate", "embed"),
        ("cors", "empty"),
        ("cors", "font"),
        ("websocket", "websocket"),
        ("", ""),
    ],
)
def test_embedding_is_refused(mode: str, dest: str):
    """ASVS 3.5.8: what is loaded into pages of others in the name of the user is not loaded."""
    assert refused(client_of(), sent(mode=mode, dest=dest))


@pytest.mark.parametrize(
    "site", ["cross-site", "same-site", "", "Same-Origin", "same-origin, none", "new-site"]
)
def test_only_two_words_are_our_own(site: str):
    """Whatever else stands in the header comes from others."""
    assert refused(client_of(), sent(site), "POST")


def test_metadata_on_two_lines():
    """No browser sends it so; who does shows nothing with it."""
    client = client_of()
    twice = [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "same-origin")]
    assert client.post("/x", headers=twice).status_code == 403
    others = [("Sec-Fetch-Site", "same-origin"), ("Accept", "a"), ("Accept", "b")]
    assert client.post("/x", headers=others).status_code == 200


def test_neighbours_of_the_same_site():
    """A page of another name under our registered one is a stranger until that is said."""
    for headers, method in ((sent("same-site"), "POST"), (sent("same-site", "no-cors", "image"), "GET")):
        assert refused(client_of(), headers, method)
        assert not refused(client_of(allow_same_site=True), headers, method)
    assert refused(client_of(allow_same_site=True), FORM, "POST")


# ----------------------------------------------------------------------------------------------- browsers without it


@pytest.mark.parametrize(
    "credentials",
    [
        COOKIE,
        {"Authorization": "Basic eDp5"},
        {"Authorization": "negotiate abc"},
        {"Authorization": "NTLM abc"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "origin", [EVIL, "null", "http://testserver:81", "http://testserver.evil.example", ""]
)
def test_origin_decides_without_metadata(origin: str, credentials: dict[str, str]):
    """What an old browser does as the signed-in user has to come from our own page; reading and programs go on."""
    client = client_of()
    assert refused(client, {"Origin": origin, **credentials}, "POST")
    assert not refused(client, {"Origin": origin, **credentials}, "GET")
    assert not refused(client, {"Origin": origin}, "POST")
    assert not refused(client, {"Origin": "http://testserver", **credentials}, "POST")
    assert not refused(client, {"Origin": "https://testserver", **credentials}, "POST")


def test_sockets():
    """A page of others opens no WebSocket as the user; browsers send an Origin there, and hardly any metadata."""
    client = client_of()
    for headers in (
        {"Origin": EVIL, **COOKIE},
        {"Origin": "null", **COOKIE},
        sent(mode="websocket", Origin=EVIL),
    ):
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect("/ws", headers=headers),
        ):
            pass
        assert_problem(denied.value, 403)
    for headers in (
        {},
        COOKIE,
        {"Origin": EVIL},
        {"Origin": "http://testserver", **COOKIE},
        sent("same-origin", "websocket", Origin="http://testserver", **COOKIE),
    ):
        with client.websocket_connect("/ws", headers=headers):
            pass


# ------------------------------------------------------------------------------------------------ what CORS allows


def test_what_cors_allows_is_allowed():
    """A listed page may do what CORS lets it do, and a stranger still nothing."""
    client = client_of(CORS(origins=[APP], allow_credentials=True))
    for method in ("GET", "POST", "DELETE"):
        for mode in ("cors", "navigate"):
            assert not refused(client, sent(mode=mode, Origin=APP, **COOKIE), method)
        assert refused(client, sent(Origin=EVIL, **COOKIE), method)
    assert not refused(client, {"Origin": APP, **COOKIE}, "POST")
    assert (
        client.options("/x", headers=sent(Origin=APP, **{"Access-Control-Request-Method": "PUT"})).status_code
        == 204
    )
    with client.websocket_connect("/ws", headers={"Origin": APP, **COOKIE}):
        pass


def test_listed_page_without_credentials():
    """Who may not send cookies does not act with them, and acts as nobody as it likes."""
    client = client_of(CORS(origins=[APP]))
    for mode in ("cors", "navigate"):
        assert not refused(client, sent(mode=mode, Origin=APP), "POST")
        assert not refused(client, sent(mode=mode, Origin=APP, Authorization="Bearer x"), "POST")
        assert refused(client, sent(mode=mode, Origin=APP, **COOKIE), "POST")
    assert refused(client, {"Origin": APP, **COOKIE}, "POST")
    assert not refused(client, sent(Origin=APP, **COOKIE), "GET")  # the browser does not show the answer
    assert refused(client, IMAGE)  # it carries no Origin
    # A handshake always carries the cookies, and whom CORS lists may open it.
    for headers in ({"Origin": APP, **COOKIE}, sent(mode="websocket", Origin=APP, **COOKIE)):
        with client.websocket_connect("/ws", headers=headers):
            pass


def test_what_is_public():
    """Everybody may ask as nobody, and embed what nobody in particular is shown; nobody acts as the user."""
    client = client_of(CORS(paths={"/public": {"origins": ["*"]}}))
    for headers, method in ((sent(Origin=EVIL), "POST"), (sent(Origin=EVIL), "GET"), (IMAGE, "GET")):
        assert not refused(client, headers, method, "/public/x")
        assert refused(client, headers, method, "/x")
    for headers, method in (
        (sent(Origin=EVIL, **COOKIE), "POST"),
        (IMAGE | COOKIE, "GET"),
        (FORM | COOKIE, "POST"),
    ):
        assert refused(client, headers, method, "/public/x")


@pytest.mark.parametrize("options", [{"origins": ["*"]}, {"paths": {"/public": {"origins": ["*"]}}}], ids=str)
def test_what_is_public_opens_no_socket_as_the_user(options: dict[str, Any]):
    """A handshake carries the cookies whatever CORS says, so `*` is for those without; our own page needs no permission."""
    client = client_of(CORS(**options))
    for told in ({"Origin": EVIL}, sent(mode="websocket", Origin=EVIL)):
        with client.websocket_connect("/public/x", headers=told):
            pass
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect("/public/x", headers=told | COOKIE),
        ):
            pass
        assert_problem(denied.value, 403)
    with client.websocket_connect("/public/x", headers={"Origin": "http://testserver", **COOKIE}):
        pass


def test_public_for_another_policy_is_the_same():
    """The question is asked of CORS with what the browser attached, also for a handshake."""
    isolation = Isolation(FetchMetadataSettings(mode="enforce"))
    kit = assemble([CORS(origins=["*"])])
    isolation.join(kit)
    for credentials, passes in (
        ([], True),
        ([(b"cookie", b"sid=1")], False),
        ([(b"authorization", b"Basic eDp5")], False),
    ):
        lines = [(b"origin", EVIL.encode()), (b"sec-fetch-site", b"cross-site"), *credentials]
        context = RequestContext(kit, websocket_scope("/ws", lines), 0.0)
        if passes:
            isolation.guard(context)
        else:
            with pytest.raises(Problem):
                isolation.guard(context)


@pytest.mark.parametrize("tls", [{"client_cert_name": "CN=x"}, {"client_cert_chain": ["x"]}], ids=str)
def test_certificate_is_a_credential(tls: dict[str, Any]):
    """A browser shows its certificate to whatever page asks: a change that comes with one is judged as with a cookie."""
    lines = [(b"origin", EVIL.encode())]
    scopes = [
        http_scope("/", "POST", lines, extensions={"tls": tls}),
        websocket_scope("/", lines, extensions={"tls": tls}),
    ]
    for scope in scopes:
        isolation = Isolation(FetchMetadataSettings(mode="enforce"))
        with pytest.raises(Problem):
            isolation.guard(RequestContext(assemble([]), scope, 0.0))
        scope["extensions"] = {"tls": {}}
        isolation.guard(RequestContext(assemble([]), scope, 0.0))


def test_headers_by_which_a_proxy_tells():
    """What the operator names counts as what a browser attached, on changes and on sockets; without a word it is any header."""
    told = {"Origin": EVIL, "X-Forwarded-Client-Cert": "Subject=x"}
    assert not refused(client_of(), told, "POST")
    client = client_of(CORS(origins=["*"]), ambient_headers=["X-Forwarded-CLIENT-Cert"])
    assert refused(client, told, "POST")
    assert not refused(client, told, "GET")
    assert not refused(client, told | {"Origin": "http://testserver"}, "POST")
    assert not refused(client, {"Origin": EVIL}, "POST")
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client.websocket_connect("/ws", headers=told),
    ):
        pass
    assert_problem(denied.value, 403)


@pytest.mark.parametrize("name", ["", "X Y", "X:", "\u00e9", "X-Cert\n"])
def test_what_is_no_name_of_a_header(name: str):
    """It would never match, and the operator would think it did."""
    with pytest.raises(SettingsError, match="entry 2 is not the name of a header"):
        FetchMetadata(ambient_headers=["X-Cert", name])


def test_refusal_is_readable_where_cors_allows_the_page():
    """A listed page sees why, and the headers of a refusal are those of any other."""
    client = client_of(CORS(origins=[APP]))
    answer = client.post("/x", headers=sent(Origin=APP, **COOKIE))
    assert_problem(answer, 403)
    assert answer.headers["access-control-allow-origin"] == APP
    assert "access-control-allow-origin" not in client.post("/x", headers=FORM).headers


NAMES = st.sampled_from(
    [b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"origin", b"cookie", b"authorization", b"host"]
)
VALUES = st.sampled_from(
    [b"same-origin", b"none", b"cross-site", b"navigate", b"no-cors", b"embed", b"null"]
) | st.binary(max_size=12)


@settings(database=None, deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=8),
    st.sampled_from(["GET", "POST", "OPTIONS", "X"]),
    st.booleans(),
)
def test_arbitrary_headers(lines: list[tuple[bytes, bytes]], method: str, is_socket: bool):
    """Any bytes are judged: the guard passes or refuses and raises nothing else, and what changes something needs our word."""
    scope = http_scope("/", method, headers=lines)
    if is_socket:
        scope["type"] = "websocket"
        del scope["method"]
    context = RequestContext(assemble([]), scope, 0.0)
    sites = [value for name, value in lines if name == b"sec-fetch-site"]
    try:
        Isolation(FetchMetadataSettings(mode="enforce")).guard(context)
    except Problem:
        assert sites not in ([b"same-origin"], [b"none"])
    else:
        assert sites in ([], [b"same-origin"], [b"none"]) or (method == "GET" and not is_socket)
