"""MODULE:ATTR: what is accepted, and what is said about the rest."""

from __future__ import annotations

import sys

import pytest

from prodkit.cli.console import RefusedError, UsageError
from prodkit.cli.target import kit_or_none, load
from prodkit.core.exceptions import SettingsError

MODULE = """
from fastapi import FastAPI
from prodkit.hardening import harden

print("imported")
app = FastAPI()

def create_app():
    made = FastAPI()
    harden(made)
    return made

class Holder:
    inner = app

async def raw(scope, receive, send): ...

class Instance:
    async def __call__(self, scope, receive, send): ...

instance = Instance()
number = 7
def two(a, b): ...
def broken(): raise ArithmeticError("sum is off")
def typed(): raise TypeError("inside")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module of its own for each test, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != ""])
    name = f"target_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("attribute", ["app", "create_app", "Holder.inner", "raw", "instance"])
def test_applications_and_factories_load(module, attribute, capsys):
    """Instances, factories, attributes of attributes and plain ASGI callables; prints stay off standard output."""
    assert callable(load(f"{module}:{attribute}"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "imported" in err


def test_kit_is_found_where_there_is_one(module):
    """What the factory hardened is hardened; the bare one is not."""
    assert kit_or_none(load(f"{module}:create_app")) is not None
    assert kit_or_none(load(f"{module}:app")) is None
    assert kit_or_none(load(f"{module}:raw")) is None


@pytest.mark.parametrize("words", ["shop", ":app", "shop:", "", "shop.py:app", "src/shop:app"])
def test_malformed_target_is_a_usage_error(words):
    """The message shows the form that is wanted."""
    with pytest.raises(UsageError, match="MODULE:ATTR"):
        load(words)


def test_what_is_not_there_is_a_usage_error(module):
    """A missing module or attribute is a slip on the command line, and is named."""
    with pytest.raises(UsageError, match="no module 'nothing_here'"):
        load("nothing_here.main:app")
    with pytest.raises(UsageError, match="has no attribute 'ap'"):
        load(f"{module}:ap")


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("number", "is a int"),
        ("two", "no ASGI application and no factory"),
        ("broken", "ArithmeticError: sum is off"),
        ("typed", "TypeError: inside"),
    ],
)
def test_what_is_no_application_is_refused(module, attribute, said):
    """So is a factory that fails; a TypeError inside is not taken for a wrong signature."""
    with pytest.raises(RefusedError, match=said):
        load(f"{module}:{attribute}")


def test_broken_import_is_not_a_missing_module(tmp_path, monkeypatch):
    """A module that exists and imports one that does not is broken, not misspelt."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "target_broken.py").write_text("import nothing_here_either", encoding="utf-8")
    with pytest.raises(RefusedError, match="importing target_broken failed: ModuleNotFoundError"):
        load("target_broken:app")


def test_wrong_settings_pass_unchanged(module, monkeypatch):
    """Every fault reaches the operator as it was found."""
    monkeypatch.setenv("PRODKIT_NOTHING", "1")
    with pytest.raises(SettingsError, match="PRODKIT_NOTHING"):
        load(f"{module}:create_app")
