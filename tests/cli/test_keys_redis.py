"""`prodkit keys` where the keys are in Redis: the same commands, one more URL."""

from __future__ import annotations

import json
import time
from hashlib import sha256

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.cli import main
from prodkit.core.context import CurrentPrincipal
from prodkit.hardening import harden
from tests.cli.processes import eventually
from tests.support.valkey import free_port, running_valkey, shared_valkey

PEPPER = "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778"
PASSWORD = "a-password-of-the-server"


@pytest.fixture
def keys(monkeypatch, capsys):
    """Runs `prodkit keys`; the answer is the code, standard output and standard error."""
    shared_valkey().ask("FLUSHALL")
    monkeypatch.setenv("PRODKIT_STORE", shared_valkey().url)
    monkeypatch.setenv("PRODKIT_API_KEYS__PEPPERS", json.dumps({"2026-11": PEPPER}))

    def run(*words):
        code = main(["keys", *words])
        out, err = capsys.readouterr()
        assert PEPPER not in out + err
        assert PASSWORD not in out + err
        return code, out, err

    return run


def application():
    app = FastAPI()

    @app.get("/me")
    async def me(principal: CurrentPrincipal) -> dict[str, object]:
        return {"id": principal.id, "scopes": sorted(principal.scopes)}

    harden(app)
    return TestClient(app)


def test_a_key_lives_and_ends_in_redis(keys):
    """Made, replaced, listed and revoked by commands; an application of the same settings accepts and refuses it."""
    code, out, _ = keys("create", "shop", "--scope", "a", "--tenant", "acme", "--json")
    assert code == 0
    old = json.loads(out)
    code, out, _ = keys("rotate", old["id"], "--json")
    new = json.loads(out)
    assert code == 0
    assert json.loads(keys("show", old["id"], "--json")[1])["replaced_by"] == new["id"]
    listed = json.loads(keys("list", "--tenant", "acme", "--json")[1])["keys"]
    assert [key["id"] for key in listed] == sorted([old["id"], new["id"]])
    assert json.loads(keys("list", "--tenant", "other", "--json")[1])["keys"] == []
    with application() as client:

        def status(key):
            return client.get("/me", headers={"Authorization": f"Bearer {key['key']}"}).status_code

        eventually(lambda: [status(old), status(new)] == [200, 200])
        assert keys("revoke", old["id"])[0] == 0
        begun = time.monotonic()
        while status(old) != 401:
            assert time.monotonic() - begun < 5
        eventually(lambda: status(new) == 200)


def test_more_keys_than_a_page_are_imported_and_listed(keys, tmp_path):
    """Each once; a second time changes nothing."""
    file = tmp_path / "keys.jsonl"
    lines = [
        json.dumps({"sha256": sha256(f"old-{number}".encode()).hexdigest(), "owner": f"o{number}"})
        for number in range(501)
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert json.loads(keys("import", str(file), "--json")[1])["imported"] == 501
    assert json.loads(keys("import", str(file), "--json")[1])["imported"] == 0
    listed = json.loads(keys("list", "--json")[1])["keys"]
    assert {key["owner"] for key in listed} == {f"o{number}" for number in range(501)}
    assert len(listed) == 501


def test_a_server_that_is_not_there_is_said_in_a_line(keys, monkeypatch):
    """Not reached, or reached with the wrong password: no traceback, and no password."""
    monkeypatch.setenv("PRODKIT_STORE", f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0")
    code, out, err = keys("list")
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 3
    with running_valkey(password="another") as server:
        monkeypatch.setenv("PRODKIT_STORE", server.url.replace("another", PASSWORD))
        code, out, err = keys("list")
        assert (code, out) == (1, "")
        assert "Traceback" not in err
        monkeypatch.setenv("PRODKIT_STORE", server.url)
        assert keys("list", "--json")[0] == 0


def test_a_name_that_another_program_uses_is_said_in_a_line(keys):
    """Nothing is overwritten, and what stands there is not shown."""
    shared_valkey().ask("SET", "pk:keys:1:{keys}:records", "their-private-data")
    code, out, err = keys("create", "shop")
    assert (code, out) == (1, "")
    assert "another program" in err
    assert "their" not in err
    assert "Traceback" not in err
    assert shared_valkey().ask("GET", "pk:keys:1:{keys}:records") == "their-private-data"
