"""`prodkit keys`: for operators and their scripts."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from hashlib import sha256

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.cli import main
from prodkit.cli.arguments import DiscreetParser
from prodkit.core.context import CurrentPrincipal
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.hardening import harden
from prodkit.stores.sqlite import SqliteKeyStore
from tests.cli.processes import prodkit

PEPPER = "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778"
OLD_KEY = "sk_old_4eC39HqLyjWDarjtT1zdp7dc"


@pytest.fixture
def keys(tmp_path, monkeypatch, capsys):
    """Runs `prodkit keys`; the answer is the code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRODKIT_STORE", "sqlite:///keys.db")
    monkeypatch.setenv("PRODKIT_API_KEYS__PEPPERS", json.dumps({"2026-11": PEPPER}))

    def run(*words):
        code = main(["keys", *words])
        out, err = capsys.readouterr()
        assert PEPPER not in out + err
        return code, out, err

    return run


def made(keys, *words):
    code, out, _ = keys("create", "shop", "--json", *words)
    assert code == 0
    return json.loads(out)


def served():
    """The application that these keys are for."""
    app = FastAPI()

    @app.get("/me")
    async def me(principal: CurrentPrincipal) -> dict[str, object]:
        return {"id": principal.id, "scopes": sorted(principal.scopes)}

    harden(app)
    return TestClient(app)


def test_a_key_that_was_made_here_opens_the_application(keys, monkeypatch):
    """Same settings, same file: no further step. The key alone is on standard output, so that it can be piped on."""
    code, out, err = keys(
        "create", "shop", "--scope", "a", "--scope", "b", "--expires-in", "90d", "--name", "till"
    )
    assert code == 0
    key = out.removesuffix("\n")
    assert key.startswith("pk_live_")
    assert "\n" not in key
    assert key not in err
    assert key[8:20] in err
    with served() as client:
        answer = client.get("/me", headers={"Authorization": f"Bearer {key}"})
        assert answer.json() == {"id": "shop", "scopes": ["a", "b"]}
        assert client.get("/me").status_code == 401


def test_a_revocation_here_closes_it_there(keys):
    """The application refuses within the second it may trust its memory; a second time is as the first."""
    key = made(keys)
    with served() as client:
        headers = {"Authorization": f"Bearer {key['key']}"}
        assert client.get("/me", headers=headers).status_code == 200
        assert keys("revoke", key["id"])[0] == 0
        statuses = {200}
        import time

        begun = time.monotonic()
        while 401 not in statuses:
            statuses.add(client.get("/me", headers=headers).status_code)
            assert time.monotonic() - begun < 5
    assert keys("revoke", key["id"])[0] == 0
    assert json.loads(keys("show", key["id"], "--json")[1])["state"] == "revoked"


def test_a_key_is_replaced(keys):
    """The new one is printed once, the old one says by which it was replaced; again is refused."""
    old = made(keys, "--scope", "a", "--tenant", "acme", "--plan", "pro", "--network", "192.0.2.0/24")
    code, out, _ = keys("rotate", old["id"], "--overlap", "2w", "--json")
    new = json.loads(out)
    assert code == 0
    for name in ("scopes", "tenant", "plan", "networks", "owner"):
        assert new[name] == old[name]
    shown = json.loads(keys("show", old["id"], "--json")[1])
    assert (shown["state"], shown["replaced_by"]) == ("replaced", new["id"])
    code, out, err = keys("rotate", old["id"])
    assert (code, out) == (1, "")
    assert "replaced by" in err


def test_lists_show_no_secret(keys):
    """Neither do they for programs; the tenant chooses."""
    first, second = made(keys, "--tenant", "acme"), made(keys, "--tenant", "other", "--name", "till")
    code, out, err = keys("list")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split()[:3] == ["ID", "STATE", "OWNER"]
    assert len(out.splitlines()) == 3
    for text in (
        out,
        keys("list", "--json")[1],
        keys("show", first["id"])[1],
        keys("show", first["id"], "--json")[1],
    ):
        assert first["id"] in text
        assert first["key"][-43:] not in text
    listed = json.loads(keys("list", "--tenant", "other", "--json")[1])["keys"]
    assert [key["id"] for key in listed] == [second["id"]]


def test_lists_are_whole(keys, monkeypatch):
    """Page after page."""
    monkeypatch.setattr("prodkit.cli.keys._PAGE", 2)
    ids = sorted(made(keys)["id"] for _ in range(5))
    assert [key["id"] for key in json.loads(keys("list", "--json")[1])["keys"]] == ids


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        (("create",), 2),
        (("create", ""), 2),
        (("create", "shop", "--expires-in", "soon"), 2),
        (("create", "shop", "--expires-in", "5s"), 2),
        (("create", "shop", "--not-before", "2030-01-01"), 2),
        (("create", "shop", "--scope", "two words"), 2),
        (("create", "shop", "--network", "10.0.0.1/8"), 2),
        (("rotate", "x", "--overlap", "400d"), 2),
        (("show", "unknown"), 1),
        (("rotate", "unknown"), 1),
        (("revoke", "unknown"), 1),
        (("import", "missing.jsonl"), 1),
    ],
)
def test_exit_codes(keys, words, code):
    """2 for a command line that makes no sense, 1 for what is refused; results are only good ones."""
    returned, out, err = keys(*words)
    assert (returned, out) == (code, "")
    assert err
    assert "internal error" not in err


def test_a_key_that_is_given_in_place_of_an_id_is_not_repeated(keys):
    """A slip must not put it into a terminal's history of errors, or a log of CI."""
    key = made(keys)["key"]
    for action in ("show", "rotate", "revoke"):
        code, out, err = keys(action, key)
        assert code == 1
        assert key not in out + err


@pytest.mark.parametrize(
    "words",
    [
        ("show", "a", "KEY"),
        ("show", "a", "--KEY"),
        ("show", "a", "--json=KEY"),
        ("list", "KEY", "KEY"),
        ("create", "x", "--expires-in", "KEY"),
        ("create", "x", "--not-before", "KEY"),
        ("create", "x", "--network", "KEY"),
        ("create", "x", "--scope", 'a"KEY'),
        ("create", "x", "--tenant", "KEY\n"),
        ("create", "KEY\x00"),
        ("rotate", "a", "--overlap", "KEY"),
        ("import", "-", "--format", "KEY"),
        ("import", "KEY"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("key", [OLD_KEY, "4eC39HqLyjWDarjtT1", "pk_live_4fKq0ZpL9xYb_" + "aB3" * 16 + "x"])
def test_no_error_repeats_what_may_be_a_key(keys, words, key):
    """Wherever it was typed by mistake, and whether it is one of ours or of another system."""
    code, out, err = keys(*(word.replace("KEY", key) for word in words))
    assert code in (1, 2)
    assert out == ""
    assert err
    assert key not in err
    assert "internal error" not in err


def test_a_short_word_is_named(keys):
    """A slip of the finger is easier to find when it is shown."""
    assert "'jsonm'" in keys("import", "-", "--format", "jsonm")[2]
    assert "1 argument is unknown" in keys("show", "a", "b")[2]


def test_options_are_named_however_long(capsys):
    """They are ours; only what was typed may be something else."""
    parser = DiscreetParser()
    parser.add_argument("--a-very-long-name-of-an-option")
    for words in (
        ["--a-very-long-name-of-an-option"],
        [f"--b={OLD_KEY}"],
        [f"--{OLD_KEY.lower()}"],
        [OLD_KEY],
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
    err = capsys.readouterr().err
    assert "argument --a-very-long-name-of-an-option: expected" in err
    assert OLD_KEY not in err
    assert OLD_KEY.lower() not in err


def test_an_impossible_date_hides_no_key(keys):
    """A row that was written by hand or by an older release is listed, shown and revoked like the others."""
    first, second = made(keys), made(keys)
    with sqlite3.connect("keys.db") as file:
        file.execute(
            "UPDATE api_keys SET not_before = -62135683140.0, expires_at = 1e300 WHERE id = ?", [first["id"]]
        )
    file.close()
    code, out, _ = keys("list")
    assert code == 0
    assert first["id"] in out
    assert second["id"] in out
    assert keys("show", first["id"])[0] == 0
    assert keys("revoke", first["id"])[0] == 0


def test_an_import_that_stops_is_done_again(keys, monkeypatch, tmp_path):
    """It says how far it came, and the second time the rest is imported."""
    (tmp_path / "old.csv").write_text(f"key,owner\n{OLD_KEY},shop\n{OLD_KEY}2,till\n", encoding="utf-8")
    put, answers = SqliteKeyStore.put, iter([True, False])

    async def sometimes(store, record):
        if not next(answers, True):
            message = "it is away"
            raise StoreUnavailableError(message)
        await put(store, record)

    monkeypatch.setattr(SqliteKeyStore, "put", sometimes)
    code, out, err = keys("import", "old.csv")
    assert (code, out) == (1, "")
    assert "1 of 2 keys are here" in err
    code, _, err = keys("import", "old.csv")
    assert code == 0
    assert "1 keys imported, 1 were here already" in err


def test_memory_is_refused(keys, monkeypatch):
    """A key in the memory of this command would be gone before anybody could use it."""
    monkeypatch.setenv("PRODKIT_STORE", "memory://")
    code, out, err = keys("create", "shop")
    assert (code, out) == (1, "")
    assert "PRODKIT_STORE=sqlite" in err


def test_without_peppers_there_are_no_keys(keys, monkeypatch):
    """And with a wrong setting none either: the application would not start."""
    monkeypatch.setenv("PRODKIT_API_KEYS__PEPPERS", "{}")
    code, _, err = keys("list")
    assert code == 1
    assert "PRODKIT_API_KEYS__PEPPERS" in err
    monkeypatch.setenv("PRODKIT_API_KEYS__PEPPERS", '{"a": "short and secret"}')
    code, _, err = keys("list")
    assert code == 1
    assert "short and secret" not in err


def test_its_own_store(keys, monkeypatch, tmp_path):
    """PRODKIT_API_KEYS__STORE goes before PRODKIT_STORE, as in the application."""
    monkeypatch.setenv("PRODKIT_API_KEYS__STORE", "sqlite:///other.db")
    made(keys)
    assert not (tmp_path / "keys.db").exists()
    (owner,) = sqlite3.connect(tmp_path / "other.db").execute("SELECT owner FROM api_keys").fetchone()
    assert owner == "shop"


def test_keys_of_an_application_that_says_it_in_code(keys, monkeypatch, tmp_path):
    """`--app` takes prefix, peppers and store from where they stand."""
    (tmp_path / "shop_keys.py").write_text(
        "from fastapi import FastAPI\n"
        "from prodkit.api_keys import APIKeys\n"
        "from prodkit.authentication import Authentication\n"
        "from prodkit.installation import install\n"
        "app, bare = FastAPI(), FastAPI()\n"
        f"keys = APIKeys(peppers={{'x': '{PEPPER}'}}, prefix='acme', store='sqlite:///coded.db')\n"
        "install(app, Authentication(), keys)\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    code, out, _ = keys("create", "shop", "--app", "shop_keys:app")
    assert code == 0
    assert out.startswith("acme_live_")
    assert len(json.loads(keys("list", "--app", "shop_keys:app", "--json")[1])["keys"]) == 1
    code, _, err = keys("list", "--app", "shop_keys:bare")
    assert code == 1
    assert "APIKeys" in err
    sys.modules.pop("shop_keys")


def test_old_keys_are_taken_over(keys, monkeypatch, tmp_path):
    """From a file or from standard input, plain or hashed; twice is as once, and --check changes nothing."""
    lines = [
        {"key": OLD_KEY, "owner": "shop", "scopes": ["a"]},
        {"sha256": sha256(b"another").hexdigest(), "owner": "till"},
    ]
    (tmp_path / "old.jsonl").write_text("\r\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert keys("import", "old.jsonl", "--check")[0] == 0
    assert json.loads(keys("list", "--json")[1])["keys"] == []
    assert json.loads(keys("import", "old.jsonl", "--json")[1])["imported"] == 2
    text = f"owner,key\nshop,{OLD_KEY}\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    code, out, err = keys("import", "-", "--format", "csv")
    assert (code, out) == (0, "")
    assert "0 keys imported, 1 were here already" in err
    monkeypatch.setenv("PRODKIT_API_KEYS__ACCEPT_IMPORTED", "true")
    with served() as client:
        assert client.get("/me", headers={"X-API-Key": OLD_KEY}).json() == {"id": "shop", "scopes": ["a"]}


def test_weak_keys_stop_an_import(keys, tmp_path):
    """With their lines, without themselves, and nothing is imported."""
    (tmp_path / "old.csv").write_text(f"key,owner\n{OLD_KEY},shop\nhunter2,shop\n", encoding="utf-8")
    code, out, err = keys("import", "old.csv")
    assert (code, out) == (1, "")
    assert "line 3" in err
    assert "hunter2" not in err
    assert json.loads(keys("list", "--json")[1])["keys"] == []


def test_a_file_that_is_no_text(keys, tmp_path):
    """It is refused with the reason."""
    (tmp_path / "old.jsonl").write_bytes(b"\xff\xfe\x00")
    code, _, err = keys("import", "old.jsonl")
    assert code == 1
    assert "UTF-8" in err


@pytest.mark.process
def test_nothing_but_the_key_is_on_standard_output(tmp_path):
    """In a process of its own: no log line, no warning, no traceback beside it."""
    peppers = json.dumps({"2026-11": PEPPER})
    settings = {"PRODKIT_STORE": "sqlite:///keys.db", "PRODKIT_API_KEYS__PEPPERS": peppers}
    done = prodkit("keys", "create", "shop", cwd=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 1
    assert len(done.stderr.splitlines()) == 1
    listed = prodkit("keys", "list", cwd=tmp_path, **settings)
    assert listed.stderr == ""
    assert len(listed.stdout.splitlines()) == 2
