"""From a URL to a PostgreSQL: what is taken, where, and what is refused without repeating a secret."""

from __future__ import annotations

import ssl
import subprocess
import sys
import textwrap

import pytest

from prodkit.api_keys import APIKeysSettings
from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import MissingExtraError, SettingsError
from prodkit.core.redaction import redact_text
from prodkit.settings import Settings
from prodkit.stores import KeyRecord
from prodkit.stores.durable_urls import check_durable_url, open_keys, open_ledger
from prodkit.stores.memory import MemoryKeyStore
from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.postgres_keys import PostgresKeyStore
from prodkit.stores.postgres_ledger import PostgresLedger
from prodkit.stores.postgres_urls import parse
from prodkit.stores.urls import check_limits_url, check_url, open_store
from tests.stores.postgres_stores import asked
from tests.support.postgres import shared_postgres

NAMES = [
    ("postgresql+asyncpg://ada:hunter2@host:6432/app", "postgresql://host:6432/app"),
    ("postgresql://host/app", "postgresql://host:5432/app"),
    ("postgresql://ada:hunter2@[::1]/app?sslmode=disable", "postgresql://::1:5432/app"),
    ("postgresql:///app?host=/run/postgresql", "postgresql:/run/postgresql (port 5432)/app"),
    (
        "postgresql://ada:hunter2@:5433/a%20b?host=/run/postgresql",
        "postgresql:/run/postgresql (port 5433)/a b",
    ),
]


@pytest.mark.parametrize(("url", "name"), NAMES)
def test_the_name_has_no_credentials(url, name):
    """What is logged says where, and never who or with what; neither does the repr."""
    target = parse(url, setting="PRODKIT_METERING__STORE")
    assert target.name == name
    assert "hunter2" not in repr(target)


def test_user_and_password_are_decoded():
    """Special characters are written as in any URL; what is not given is left to the environment."""
    target = parse("postgresql://a%40b:p%3A%2F@host/app", setting="X")
    assert (target.user, target.password, target.schema) == ("a@b", "p:/", "prodkit")
    target = parse("postgresql://host/app", setting="X")
    assert (target.user, target.password) == (None, None)


def test_options_are_read():
    """Each is a bounded number or a plain name."""
    target = parse(
        "postgresql://host/app?schema=billing&max_connections=9&statement_cache_size=0", setting="X"
    )
    assert (target.schema, target.max_connections, target.statement_cache_size) == ("billing", 9, 0)


def test_certificates_are_verified_where_it_is_said():
    """`verify-full` checks name and authority, `verify-ca` the authority, `require` alone nothing, as in libpq."""
    modes = {
        mode: parse(f"postgresql://h/d?sslmode={mode}", setting="X").tls
        for mode in ("verify-full", "verify-ca", "require")
    }
    assert {mode: (tls.check_hostname, tls.verify_mode) for mode, tls in modes.items()} == {
        "verify-full": (True, ssl.CERT_REQUIRED),
        "verify-ca": (False, ssl.CERT_REQUIRED),
        "require": (False, ssl.CERT_NONE),
    }
    assert parse("postgresql://h/d", setting="X").tls == "prefer"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hunter2@host",
        "postgresql://ada:hunter2@host/",
        "postgresql://ada:hunter2@host/a/b",
        "postgresql://ada:hunter2@a,b/app",
        "postgresql://ada:hunter2@/app",
        "postgresql://ada:hunter2@host:99999/app",
        "postgresql://ada:hunter2@host/app#x",
        "postgresql://ada:hunter2@host/app?sslmode=maybe",
        "postgresql://ada:hunter2@host/app?sslrootcert=/etc/ca.pem",
        "postgresql://ada:hunter2@host/app?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
        "postgresql://ada:hunter2@host/app?sslmode=verify-full&sslkey=/nowhere/key.pem",
        "postgresql://ada:hunter2@host/app?schema=Pro-d",
        "postgresql://ada:hunter2@host/app?schema=pg_x",
        "postgresql://ada:hunter2@host/app?schema=",
        "postgresql://ada:hunter2@host/app?max_connections=1",
        "postgresql://ada:hunter2@host/app?max_connections=many",
        "postgresql://ada:hunter2@host/app?password=hunter2",
        "postgresql://ada:hunter2@host/app?host=/run/postgresql",
        "postgresql://ada:hunter2@host/app?timeout_seconds=soon",
        "postgres://ada:hunter2@host/app",
        "postgresql+psycopg://ada:hunter2@host/app",
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_cure(url):
    """The message names the setting, and never repeats a password."""
    for use in (open_ledger, open_keys, lambda url, setting: check_durable_url(url, setting=setting)):
        with pytest.raises(SettingsError) as caught:
            use(url, setting="PRODKIT_SOME__STORE")
        assert "PRODKIT_SOME__STORE" in str(caught.value)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("check", [check_url, check_limits_url, open_store])
@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg", "postgres"])
def test_elsewhere_the_message_says_which_settings_take_it(check, scheme):
    """As the store of everything, or of limits, it is refused, and the cure names the two settings."""
    with pytest.raises(SettingsError) as caught:
        check(f"{scheme}://ada:hunter2@host/app")
    assert "PRODKIT_METERING__STORE" in str(caught.value)
    assert "PRODKIT_API_KEYS__STORE" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_settings_take_it_for_ledger_and_keys(monkeypatch):
    """From the environment: the store of all is refused, those of the two features are kept, and nothing shows the password."""
    url = "postgresql+asyncpg://ada:hunter2@host/app"
    assert "hunter2" not in redact_text(url)
    monkeypatch.setenv("PRODKIT_STORE", url)
    with pytest.raises(SettingsError, match="PRODKIT_METERING__STORE") as caught:
        Settings()
    assert "hunter2" not in str(caught.value)
    monkeypatch.delenv("PRODKIT_STORE")
    monkeypatch.setenv("PRODKIT_METERING__STORE", url)
    monkeypatch.setenv("PRODKIT_API_KEYS__STORE", url)
    monkeypatch.setenv("PRODKIT_API_KEYS__PEPPERS", '{"one": "0123456789abcdef0123456789abcdef"}')
    settings = Settings()
    assert settings.metering.store == settings.api_keys.store == url
    assert "hunter2" not in repr(settings)
    with pytest.raises(ValueError, match="names no database"):
        APIKeysSettings(store="postgresql://host")


def test_the_other_stores_are_opened_by_the_same_functions(tmp_path):
    """What is no PostgreSQL is opened as ever."""
    assert isinstance(open_ledger("memory://"), MemoryLedger)
    assert isinstance(open_keys("memory://"), MemoryKeyStore)
    assert type(open_ledger(f"sqlite:///{tmp_path}/app.db")).__name__ == "SqliteLedger"


async def test_ledger_and_keys_are_opened():
    """One URL for both, over one set of connections; the time of the ledger is that of the clock it is given."""
    url = shared_postgres().url() + "&timeout_seconds=7.5"
    clock = FakeClock()
    ledger, keys = open_ledger(url, clock=clock), open_keys(url)
    assert isinstance(ledger, PostgresLedger)
    assert isinstance(keys, PostgresKeyStore)
    hold = await ledger.reserve(asked("h", 1))
    assert hold.expires_at == clock.wall() + 60.0
    await keys.put(KeyRecord(id="k", digest=b"d", pepper_id="p", owner="o", created_at=1.0))
    assert (await keys.find("k")).owner == "o"
    assert ledger._link is keys._link
    assert (ledger._timeout_seconds, keys._timeout_seconds) == (7.5, 7.5)
    await ledger.aclose()
    await keys.aclose()


def test_without_the_extra_the_message_says_what_to_install():
    """Where asyncpg is not installed every module can be imported, and the URL names the extra."""
    source = """
        import sys
        sys.modules["asyncpg"] = None
        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name == "asyncpg" or name.startswith("asyncpg."):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        del sys.modules["asyncpg"]
        sys.meta_path.insert(0, Absent())
        import prodkit.stores.postgres_keys, prodkit.stores.postgres_ledger
        from prodkit.core.exceptions import MissingExtraError
        from prodkit.stores.durable_urls import check_durable_url, open_keys, open_ledger
        for use in (open_ledger, open_keys, lambda url: check_durable_url(url, setting="X")):
            try:
                use("postgresql://ada:hunter2@host/app")
            except MissingExtraError as error:
                print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], check=True, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("pip install 'fastapi-prodkit[postgres]'" in line and "hunter2" not in line for line in lines)
    assert issubclass(MissingExtraError, ImportError)
