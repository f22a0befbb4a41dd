"""Who was logged in, as text in a store and back again."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.core.identity import Principal
from prodkit.web_sessions.principals import Kept, read_back, written
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
        for is_vouched_for in (False, True):
            text = written(principal, is_vouched_for=is_vouched_for)
            assert text is not None
            back = read_back(text)
            assert back == Kept(principal, is_vouched_for=is_vouched_for)
            assert written(back.principal, is_vouched_for=is_vouched_for) == text

    def test_claims_come_back_so_that_nobody_can_change_them(self):
        """Requests of one session share them: what holds others is read-only, at any depth, as those of a token are."""
        claims = MappingProxyType({"amr": ("pwd", "otp"), "act": MappingProxyType({"sub": ["x"]})})
        text = written(replace(ANN, claims=claims), is_vouched_for=True) or ""
        back = read_back(text).principal.claims
        assert back["amr"] == ("pwd", "otp")
        assert back["act"]["sub"] == ("x",)
        with pytest.raises(TypeError):
            back["act"]["sub"] = "eve"
        with pytest.raises(TypeError):
            back["more"] = True

    @pytest.mark.parametrize(
        "claims", [{1: "x"}, {1: "x", "1": "y"}, {"x": {None: 1}}, {"x": "\ud83d\ude00"}]
    )
    def test_what_would_come_back_as_something_else_is_not_written(self, claims):
        """A name that is no text, and half signs that would become a whole one."""
        assert written(replace(ANN, claims=claims), is_vouched_for=True) is None

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
            {"is_vouched_for": None},
        ],
    )
    def test_almost_right_is_not_right(self, change):
        """Another type, another field, nobody."""
        document = json.loads(written(ANN, is_vouched_for=True) or "")
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
        """Those of one id in one tenant and of one kind; a name of any length and of any characters fits."""
        ann = replace(ANN, tenant="acme")
        assert subject_of(ann) == subject_of(
            replace(ann, scopes=frozenset({"read"}), plan="pro", expires_at=1.0)
        )
        others = [
            ANN,
            replace(ANN, tenant="rivals"),
            replace(ann, kind="jwt"),
            replace(ann, id="bob"),
            Principal(id="me:ann", kind="api_key", tenant="ac"),
            Principal(id="4:acme:ann", kind="api_key"),
            Principal(id="x" * 10_000, kind="jwt"),
            Principal(id="\ud800", kind="jwt", tenant="\udc00"),
        ]
        subjects = {subject_of(one) for one in (ann, *others)}
        assert len(subjects) == 1 + len(others)
        assert {len(subject) for subject in subjects} == {32}
