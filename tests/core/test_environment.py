"""Names, types and sources of environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, IPvAnyNetwork, SecretBytes, SecretStr

from prodkit.core.environment import SECRETS_DIR, closest, read_sources, unknown_names, variables_of


class Item(BaseModel):
    number: int


class Section(BaseModel):
    text: Annotated[str, Field(description="Some\n  words.")] = "x"
    count: int = 7
    share: float = 0.5
    on: bool = True
    mode: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ("one", "two words")
    networks: frozenset[IPvAnyNetwork] = frozenset()
    limits: Mapping[str, int] = Field(default_factory=lambda: {"a": 1})
    maybe: int | None = None
    either: int | Literal["auto"] = "auto"
    token: SecretStr | None = SecretStr("hunter2")
    keys: dict[str, SecretBytes] = Field(default_factory=dict)
    path: Path | None = None
    price: Decimal = Decimal("0.10")
    items: tuple[Item, ...] = ()


class Everything(BaseModel):
    store: str = "memory://"
    section: Section = Section()


VARIABLES = {variable.field: variable for variable in variables_of(Everything)}


def test_names_are_prefix_section_field():
    """Two underscores nest, as pydantic-settings reads them."""
    assert VARIABLES["store"].name == "PRODKIT_STORE"
    assert VARIABLES["store"].section == ""
    assert VARIABLES["text"].name == "PRODKIT_SECTION__TEXT"
    assert VARIABLES["text"].section == "section"
    assert VARIABLES["text"].description == "Some words."
    assert list(VARIABLES) == ["store", *Section.model_fields]


@pytest.mark.parametrize(
    ("field", "type_text", "default"),
    [
        ("text", "text", "x"),
        ("count", "whole number", "7"),
        ("share", "number", "0.5"),
        ("on", "true or false", "true"),
        ("mode", "a, b", "a"),
        ("names", "list of text (JSON)", '["one", "two words"]'),
        ("networks", "list of text (JSON)", "[]"),
        ("limits", "mapping (JSON)", '{"a": 1}'),
        ("maybe", "whole number", ""),
        ("either", "whole number or auto", "auto"),
        ("path", "path", ""),
        ("price", "number", "0.10"),
        ("items", "list of objects (JSON)", "[]"),
    ],
)
def test_types_and_defaults_are_written_for_people(field, type_text, default):
    """The type in words, the default as one would write it into a .env file."""
    assert VARIABLES[field].type_text == type_text
    assert VARIABLES[field].default == default


def test_secrets_are_marked_and_have_no_default():
    """Also where they are inside of a mapping, or somebody gave one a default."""
    assert {name for name, variable in VARIABLES.items() if variable.is_secret} == {"token", "keys"}
    assert VARIABLES["token"].default == ""
    assert "hunter2" not in repr(VARIABLES["token"])


def test_sets_have_one_order():
    """A default that is a set is written the same in every process."""

    class Model(BaseModel):
        names: frozenset[str] = frozenset("abcdefgh")

    (variable,) = variables_of(Model)
    assert variable.default == '["a", "b", "c", "d", "e", "f", "g", "h"]'


@pytest.mark.parametrize(
    ("name", "is_unknown"),
    [
        ("PRODKIT_STORE", False),
        ("prodkit_store", False),
        ("PRODKIT_SECTION", False),
        ("PRODKIT_SECTION__TEXT", False),
        ("PRODKIT_SECTION__LIMITS__a", False),
        ("PRODKIT_OTHER__ANYTHING", False),
        ("PRODKIT_ALSO", False),
        ("STORE", False),
        ("MYPRODKIT_STORE", False),
        ("PRODKIT_STROE", True),
        ("PRODKIT_SECTION__TXT", True),
        ("PRODKIT_SECTION__TEXT__DEEPER", True),
        ("PRODKIT_SECTION_TEXT", True),
        ("PRODKIT_OTHERS__ANYTHING", True),
        ("PRODKIT_", True),
    ],
)
def test_what_is_unknown(name, is_unknown):
    """Only names with our prefix are judged, and a feature that is installed vouches for its own."""
    found = unknown_names([name], VARIABLES.values(), {"other"}, {"PRODKIT_ALSO"})
    assert found == ([name] if is_unknown else [])


def test_closest_is_near_or_nothing():
    """A suggestion that is far off would send somebody the wrong way."""
    known = ["PRODKIT_STORE", "PRODKIT_CORS__ORIGINS"]
    assert closest("prodkit_stroe", known) == "PRODKIT_STORE"
    assert closest("PRODKIT_CORS__ORIGNS", known) == "PRODKIT_CORS__ORIGINS"
    assert closest("XYZ", known) is None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory, and no secrets directory of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("prodkit.core.environment.DEFAULT_SECRETS_DIR", str(tmp_path / "none"))
    return tmp_path


def values_of(env_file=".env", secrets_dir=None) -> dict[str, dict[str, str]]:
    sources, faults = read_sources(env_file, secrets_dir)
    assert faults == []
    return {source.label: dict(source.values) for source in sources}


def test_sources_come_in_the_order_they_win(folder, monkeypatch):
    """Environment, then .env files with the last one first, then secrets files; only names of ours."""
    monkeypatch.setenv("prodkit_a", "1")
    monkeypatch.setenv("OTHER", "1")
    (folder / "one.env").write_text("PRODKIT_B=2\nOTHER=1\n", encoding="utf-8")
    (folder / "two.env").write_text("export PRODKIT_B='3'\nPRODKIT_EMPTY\n", encoding="utf-8")
    (folder / "secrets").mkdir()
    (folder / "secrets" / "prodkit_c").write_text("4", encoding="utf-8")
    found = values_of(["one.env", "two.env", "absent.env"], "secrets")
    assert list(found) == ["environment", "two.env", "one.env", "secrets file"]
    assert list(found.values()) == [
        {"PRODKIT_A": "1"},
        {"PRODKIT_B": "3", "PRODKIT_EMPTY": ""},
        {"PRODKIT_B": "2"},
        {"PRODKIT_C": "4"},
    ]


def test_no_source_is_needed(folder):
    """Neither a .env file nor a secrets directory has to exist."""
    assert values_of() == {"environment": {}, "secrets file": {}}
    assert values_of(None) == {"environment": {}, "secrets file": {}}


@pytest.mark.parametrize(
    ("written", "read"),
    [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" a b ", " a b "), ("a\nb\n", "a\nb")],
)
def test_newline_at_the_end_is_no_part_of_a_secret(written, read, folder):
    """`echo` and editors add it. Everything else stays, also between lines."""
    (folder / "PRODKIT_X").write_bytes(written.encode())
    assert values_of(None, folder)["secrets file"] == {"PRODKIT_X": read}


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_secrets_directory_is_named_by_a_variable(where, folder, monkeypatch):
    """In the environment or in .env, in any case of letters."""
    (folder / "s").mkdir()
    (folder / "s" / "PRODKIT_X").write_text("1", encoding="utf-8")
    if where == "environment":
        monkeypatch.setenv(SECRETS_DIR.lower(), "s")
    else:
        (folder / ".env").write_text(f"{SECRETS_DIR}=s", encoding="utf-8")
    assert values_of()["secrets file"] == {"PRODKIT_X": "1"}


def test_secrets_of_kubernetes_are_links(folder):
    """A mounted secret is a link to a link; the hidden directories beside it are not read as settings."""
    real = folder / "..2026_11_22"
    real.mkdir()
    (real / "PRODKIT_X").write_text("1", encoding="utf-8")
    (folder / "..data").symlink_to(real.name)
    (folder / "PRODKIT_X").symlink_to("..data/PRODKIT_X")
    assert values_of(None, folder)["secrets file"] == {"PRODKIT_X": "1"}


def test_files_of_others_are_never_opened(folder):
    """A secrets directory is shared: a directory, a huge or an unreadable file of somebody else is no fault."""
    (folder / "kubernetes.io").mkdir()
    os.mkfifo(folder / "other_fifo")  # opening it would wait for ever
    assert values_of(None, folder)["secrets file"] == {}


def faults_of(env_file=None, secrets_dir=None) -> dict[str, str]:
    return {fault.name: f"{fault.message} {fault.cure}" for fault in read_sources(env_file, secrets_dir)[1]}


def test_what_cannot_be_read_is_a_fault_with_its_name(folder):
    """Wrong encoding, a directory where a file is expected, a file too large: all of them at once, no content shown."""
    (folder / ".env").write_bytes(b"PRODKIT_A=hunter2\xff")
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "PRODKIT_B").write_bytes(b"hunter2\xff")
    (secrets / "PRODKIT_C").mkdir()
    (secrets / "PRODKIT_D").write_bytes(b"hunter2" * 10_000)
    found = faults_of(".env", secrets)
    assert list(found) == [".env", "PRODKIT_B", "PRODKIT_C", "PRODKIT_D"]
    assert "not UTF-8" in found[".env"]
    assert "not UTF-8" in found["PRODKIT_B"]
    assert "cannot be read" in found["PRODKIT_C"]
    assert "larger than 65536 bytes" in found["PRODKIT_D"]
    assert "hunter2" not in str(found)


def test_named_secrets_directory_has_to_exist(folder):
    """Whoever names one relies on it; nobody named the default one."""
    assert SECRETS_DIR in faults_of(None, folder / "absent")
    (folder / "file").write_text("", encoding="utf-8")
    assert SECRETS_DIR in faults_of(None, folder / "file")
