"""Settings: every fault at once, by the name an operator knows; nothing secret, ever; nothing unknown, ever."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import traceback

import pytest
from fastapi import FastAPI

from prodkit.core.environment import variables_of
from prodkit.core.exceptions import SettingsError
from prodkit.core.features import Parts
from prodkit.hardening import harden
from prodkit.settings import Settings
from tests.cli.processes import SHOP, environment, free_port

CANARY = "canary-9d2f7b31c4"
ALL = list(variables_of(Settings))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, and no secrets directory of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("prodkit.core.environment.DEFAULT_SECRETS_DIR", str(tmp_path / "none"))
    return tmp_path


def faults(**values) -> dict[str, str]:
    """What is wrong, by name."""
    with pytest.raises(SettingsError) as caught:
        Settings(**values)
    return {fault.name: f"{fault.message} {fault.cure}" for fault in caught.value.faults}


# ---------------------------------------------------------------------------------------------- what is read


def test_nothing_set_is_fine():
    """Production, one process, nothing secret."""
    settings = Settings()
    assert settings.environment == "production"
    assert settings.store == "memory://"


def test_sources_win_in_order(folder, monkeypatch):
    """Argument, environment, .env, secrets file; each field for itself, also within one section."""
    (folder / "secrets").mkdir()
    for name in (
        "PRODKIT_STORE",
        "PRODKIT_METRICS__PATH",
        "PRODKIT_LOGS__LEVEL",
        "PRODKIT_CORS__MAX_AGE_SECONDS",
    ):
        text = {"PRODKIT_STORE": "sqlite:///secret.db", "PRODKIT_CORS__MAX_AGE_SECONDS": "4"}.get(
            name, "/secret"
        )
        (folder / "secrets" / name).write_text("ERROR" if "LEVEL" in name else text, encoding="utf-8")
    (folder / ".env").write_text(
        "PRODKIT_SECRETS_DIR=secrets\nPRODKIT_METRICS__PATH=/file\nPRODKIT_LOGS__LEVEL=WARNING\nPRODKIT_LOGS__ACCESS=false\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PRODKIT_LOGS__LEVEL", "DEBUG")
    settings = Settings(environment="development")
    assert settings.environment == "development"
    assert settings.logs.level == "DEBUG"
    assert settings.logs.access is False
    assert settings.metrics.path == "/file"
    assert settings.store == "sqlite:///secret.db"
    assert settings.cors.max_age_seconds == 4


def test_section_as_json_and_single_fields_mix(monkeypatch):
    """A whole section may be one JSON object; a variable of its own wins over it."""
    monkeypatch.setenv("PRODKIT_CORS", '{"origins": ["https://a.example"], "max_age_seconds": 1}')
    monkeypatch.setenv("PRODKIT_CORS__MAX_AGE_SECONDS", "2")
    cors = Settings().cors
    assert list(cors.origins) == ["https://a.example"]
    assert cors.max_age_seconds == 2


def test_secret_file_ends_in_a_newline(folder, monkeypatch):
    """As every editor leaves it; the newline would never match what a caller sends."""
    (folder / "PRODKIT_OPERATIONS__TOKEN").write_text(f"{CANARY}\n", encoding="utf-8")
    monkeypatch.setenv("PRODKIT_SECRETS_DIR", str(folder))
    token = Settings().operations.token
    assert token is not None
    assert token.get_secret_value() == CANARY


def test_settings_cannot_be_changed():
    """What was checked is what holds."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().store = "sqlite:///x.db"  # type: ignore[misc]


# ------------------------------------------------------------------------------------------- what is refused


def test_every_fault_is_listed_at_once(folder, monkeypatch):
    """One start tells everything: unknown, impossible, not JSON, unreadable; each with its name and a cure."""
    monkeypatch.setenv("PRODKIT_ENVIRONMENT", "staging")
    monkeypatch.setenv("PRODKIT_STORE", "mysql://host")
    monkeypatch.setenv("PRODKIT_CORS__ORIGINS", "https://a.example")
    monkeypatch.setenv("PRODKIT_SECURITY_HEADERS", "{")
    monkeypatch.setenv("PRODKIT_REQUEST_LIMITS__MAX_BODY_BYTES", "many")
    monkeypatch.setenv("PRODKIT_OPERATIONS__TOKEN", "short")
    monkeypatch.setenv("PRODKIT_SECRETS_DIR", str(folder / "absent"))
    (folder / ".env").write_text("PRODKIT_RATE_LIMITNG__DEFAULT=1/minute\n", encoding="utf-8")
    found = faults()
    assert set(found) == {
        "PRODKIT_ENVIRONMENT",
        "PRODKIT_STORE",
        "PRODKIT_CORS__ORIGINS",
        "PRODKIT_SECURITY_HEADERS",
        "PRODKIT_REQUEST_LIMITS__MAX_BODY_BYTES",
        "PRODKIT_OPERATIONS__TOKEN",
        "PRODKIT_SECRETS_DIR",
        "PRODKIT_RATE_LIMITNG__DEFAULT",
    }
    assert 'like ["a", "b"]' in found["PRODKIT_CORS__ORIGINS"]
    assert "not valid JSON" in found["PRODKIT_CORS__ORIGINS"]
    assert "single quotes" in found["PRODKIT_CORS__ORIGINS"]
    assert "JSON object" in found["PRODKIT_SECURITY_HEADERS"]
    assert "memory://" in found["PRODKIT_STORE"]
    assert all(text.rstrip().endswith((".", "?")) or "python -c" in text for text in found.values())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PRODKIT_STROE", "PRODKIT_STORE"),
        ("prodkit_stroe", "PRODKIT_STORE"),
        ("PRODKIT_RATE_LIMITNG__DEFAULT", "PRODKIT_RATE_LIMITING__DEFAULT"),
        ("PRODKIT_CORS__ORIGIN", "PRODKIT_CORS__ORIGINS"),
        ("PRODKIT_CORS_ORIGINS", "PRODKIT_CORS__ORIGINS"),
        ("PRODKIT_SECRET_DIR", "PRODKIT_SECRETS_DIR"),
    ],
)
@pytest.mark.parametrize("where", ["environment", ".env", "secrets file"])
def test_unknown_name_is_refused_with_what_was_meant(name, meant, where, folder, monkeypatch):
    """A typo is a protection that is silently off, wherever it stands."""
    if where == "environment":
        monkeypatch.setenv(name, "1")
    elif where == ".env":
        (folder / ".env").write_text(f"{name}=1\n", encoding="utf-8")
    else:
        (folder / "secrets").mkdir()
        (folder / "secrets" / name).write_text("1", encoding="utf-8")
        monkeypatch.setenv("PRODKIT_SECRETS_DIR", "secrets")
    (text,) = faults().values()
    assert f"(in {'the environment' if where == 'environment' else where})" in text
    assert f"Did you mean {meant}?" in text


def test_typo_within_a_value(monkeypatch):
    """Within JSON, too, the name that was meant is told; the key, which may be a secret in the wrong place, stays cut."""
    monkeypatch.setenv("PRODKIT_CORS__PATHS", '{"/api": {"origin": ["*"]}, "/open": {"zzzz": 1}}')
    found = faults()
    assert "Did you mean origins?" in found["PRODKIT_CORS__PATHS[/ap...].origin"]
    assert "Remove it" in found["PRODKIT_CORS__PATHS[/op...].zzzz"]


def test_unknown_name_that_is_like_nothing():
    """Where nothing is near, the way to the list is named, and no guess is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRODKIT_ZZZZZZZZZZZZZZZZZZZ", "1")
        (text,) = faults().values()
    assert "`prodkit env`" in text


def test_name_of_an_installed_feature_is_known(monkeypatch):
    """A feature that `harden` is given registers its variables by its name; any other still counts as a typo."""

    class Tenants:
        name = "tenants"
        provides = ()

        def parts(self, kit):
            return Parts()

    monkeypatch.setenv("PRODKIT_TENANTS__HEADER", "X-Tenant")
    harden(FastAPI(), Tenants())
    with pytest.raises(SettingsError, match="PRODKIT_TENANTS__HEADER"):
        harden(FastAPI())
    assert Settings(feature_names=["tenants"]).environment == "production"


def test_unknown_field_inside_a_json_section_is_refused(monkeypatch):
    """The JSON form has no hole that the plain form has not."""
    monkeypatch.setenv("PRODKIT_CORS", '{"orgins": []}')
    assert list(faults()) == ["PRODKIT_CORS__ORGINS"]


def test_empty_value_is_a_value(monkeypatch):
    """`PRODKIT_OPERATIONS__TOKEN=` out of an unset variable of a deployment is no token; it is refused, not ignored."""
    monkeypatch.setenv("PRODKIT_OPERATIONS__TOKEN", "")
    assert list(faults()) == ["PRODKIT_OPERATIONS__TOKEN"]


def test_unknown_argument_is_refused():
    """Also in code."""
    found = faults(stroe="memory://", corss={})
    assert "Did you mean store?" in found["Settings(stroe=...)"]
    assert "Did you mean cors?" in found["Settings(corss=...)"]


# ------------------------------------------------------------------------------------------- what is secret


def everything_said(error: BaseException) -> str:
    """The message, its representation, and the traceback with all that is chained to it."""
    return f"{error}{error!r}{error.args}{''.join(traceback.format_exception(error))}{error.__cause__}{error.__context__}"


@pytest.mark.parametrize(
    "variable", [v for v in ALL if v.is_secret or v.field == "store"], ids=lambda v: v.name
)
@pytest.mark.parametrize(
    "wrong", [CANARY[:9], f"{CANARY}\n{CANARY}", f'{{"{CANARY}": ', f"redis://u:{CANARY}@h", f'["{CANARY}"]']
)
def test_secret_is_not_in_an_error(variable, wrong, monkeypatch):
    """A wrong secret is refused by name; neither it nor what broke on it is repeated anywhere."""
    monkeypatch.setenv(variable.name, wrong)
    monkeypatch.setenv("PRODKIT_ENVIRONMENT", "staging")
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert "canary" not in everything_said(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("variable", [v for v in ALL if v.section], ids=lambda v: v.name)
def test_value_that_is_no_json_is_not_in_an_error(variable, monkeypatch):
    """Lists, mappings and whole sections: the text that could not be parsed may be a secret in the wrong place."""
    monkeypatch.setenv(f"PRODKIT_{variable.section.upper()}", f'{{"{variable.field}": {CANARY}')
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert "canary" not in everything_said(caught.value)
    assert [fault.name for fault in caught.value.faults] == [f"PRODKIT_{variable.section.upper()}"]


@pytest.mark.parametrize("value", [f'{{"{CANARY}": "alice"}}', f'{{"{CANARY}": {{"sha256": "x"}}}}'])
def test_mapping_the_wrong_way_round_shows_no_secret(value, monkeypatch):
    """Whoever writes the key where its owner belongs reads which entry is wrong, and nobody reads the key."""
    monkeypatch.setenv("PRODKIT_AUTHENTICATION__STATIC_KEYS", value)
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert CANARY.lower() not in everything_said(caught.value).lower()
    assert caught.value.faults[0].name.startswith("PRODKIT_AUTHENTICATION__STATIC_KEYS[can...]")


def test_secret_is_not_in_the_settings_as_text(monkeypatch):
    """`repr`, `str` and what a logger makes of them, also of the password in a store's URL."""
    monkeypatch.setenv("PRODKIT_OPERATIONS__TOKEN", CANARY)
    settings = Settings()
    assert settings.operations.token is not None
    with_password = settings.model_copy(update={"store": f"redis://user:{CANARY}@host"})
    for shown in (settings, with_password, settings.operations):
        assert CANARY not in f"{shown!r}{shown!s}{shown}"
    assert CANARY not in repr(settings.model_dump())


# ------------------------------------------------------------------------------------- what a server does with it


@pytest.mark.process
@pytest.mark.parametrize(
    "server",
    [
        ["-m", "uvicorn", "shop:app"],
        ["-O", "-m", "uvicorn", "shop:app"],
        ["-m", "uvicorn", "--factory", "shop:make"],
        ["-m", "gunicorn", "-k", "asgi", "shop:app"],
    ],
    ids=["uvicorn", "optimised", "factory", "gunicorn"],
)
def test_server_never_listens_with_a_wrong_setting(server, folder):
    """The refusal comes where the application is built, so no server can take it for a missing lifespan and serve."""
    factory = "\ndef make():\n    made = FastAPI()\n    harden(made)\n    return made\n"
    code = SHOP if "--factory" not in server else SHOP.replace("kit = harden(app)", "") + factory
    (folder / "shop.py").write_text(code, encoding="utf-8")
    port = free_port()
    address = ["--port", str(port)] if "uvicorn" in server else ["-b", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [sys.executable, *server, *address],
        cwd=folder,
        env=environment(PRODKIT_STROE=CANARY, PRODKIT_ENVIRONMENT="staging"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    answered = False
    while process.poll() is None:
        time.sleep(0.01)
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                try:
                    probe.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    answered = answered or bool(probe.recv(1))
                except OSError:
                    pass
    out, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    assert not answered
    assert "PRODKIT_STROE" in out
    assert "PRODKIT_ENVIRONMENT" in out
    assert CANARY not in out
