"""Who was logged in, as text in a store and back again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.core.identity import Principal
from prodkit.web_sessions.principals import read_back, written
from prodkit.web_sessions.sessions import subject_of
from tests.web_sessions.world import World

ANN = Principal(id="ann", kind="api_key")
TEXTS = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
PRINCIPALS = st.builds(
    Principal,
    id=TEXTS,
    kind=TEXTS.filter(lambda kind: kind != "anonymous"),
    scopes=st.frozensets(TEXTS, max_size=3),
    tenant=st.none() | TEXTS,
    plan=st.none() | TEXTS,
    expires_at=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    claims=st.dictionaries(TEXTS, JSON, max_size=3),
)


class TestPrincipals:
    @given(PRINCIPALS)
    def test_what_was_written_comes_back(self, principal):
        """Field by field, claims included, whatever characters there are."""
        text = written(principal)
        assert text is not None
        back = read_back(text)
        assert back == principal
        assert back.claims == principal.claims

    @given(st.text(max_size=50) | JSON.map(json.dumps))
    def test_anything_else_is_nobody(self, text):
        """A file that somebody has written into lets nobody in, and raises nothing."""
        assert read_back(text) is None

    @pytest.mark.parametrize(
        "change",
        [
            {"id": 1},
            {"kind": "anonymous"},
            {"scopes": "read"},
            {"expires_at": "never"},
            {"claims": []},
            {"more": 1},
            {"tenant": 7},
        ],
    )
    def test_almost_right_is_not_right(self, change):
        """Another type, another field, nobody."""
        document = json.loads(written(ANN) or "")
        assert read_back(json.dumps(document | change)) is None
        assert read_back("[" * 100_000) is None

    def test_a_record_of_another_release_is_no_session(self, caplog):
        """Its owner logs in again; the log says why."""
        world = World()
        browser = world.log_in()
        reference, record = next(iter(world.store._records.items()))
        world.store._records[reference] = replace(record, principal="{}")
        assert not browser.is_in()
        assert "cannot be read" in caplog.text

    def test_whose_sessions_end_together(self):
        """Kind and id; a name of any length and of any characters fits."""
        assert subject_of(ANN) == "api_key:ann"
        assert subject_of(Principal(id="ann", kind="jwt")) != subject_of(ANN)
        assert len(subject_of(Principal(id="x" * 10_000, kind="jwt"))) == 128
        subject_of(Principal(id="\ud800", kind="jwt")).encode()
