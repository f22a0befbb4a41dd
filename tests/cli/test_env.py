"""`prodkit env` and the .env.example it makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from dotenv import dotenv_values

from prodkit.cli import main
from prodkit.cli.env import render
from prodkit.core.environment import SECRETS_DIR, variables_of
from prodkit.settings import Settings
from tests.cli.processes import prodkit

ROOT = Path(__file__).resolve().parents[2]


def test_committed_example_is_up_to_date():
    """A new setting is in .env.example: run `python -m prodkit env > .env.example`."""
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == f"{render()}\n"


def test_command_prints_it(capsys):
    """The file is the output of the command, byte for byte."""
    assert main(["env"]) == 0
    assert capsys.readouterr() == (f"{render()}\n", "")


def test_every_setting_is_there_and_described():
    """Nothing can be set that the file does not show, and nothing is without a word."""
    lines = render().splitlines()
    for variable in variables_of(Settings):
        assert variable.description, variable.name
        assert sum(line.startswith(f"# {variable.name}=") for line in lines) == 1
    assert any(line.startswith(f"# {SECRETS_DIR}=") for line in lines)


def test_nothing_in_it_is_active():
    """Copied as it is, it changes nothing."""
    assert all(line.startswith("#") or not line for line in render().splitlines())


def test_comments_are_wrapped():
    """Prose fits a terminal; only a value may be longer."""
    values = tuple(f"# {variable.name}=" for variable in variables_of(Settings))
    assert [line for line in render().splitlines() if len(line) > 100 and not line.startswith(values)] == []


def test_secrets_have_no_value():
    """An example secret would be in production somewhere."""
    lines = render().splitlines()
    secrets = [variable.name for variable in variables_of(Settings) if variable.is_secret]
    assert "PRODKIT_OPERATIONS__TOKEN" in secrets
    for name in secrets:
        assert f"# {name}=" in lines


def test_printed_defaults_are_the_defaults(tmp_path, monkeypatch):
    """Uncommented as a whole, the file sets exactly what holds without it: quoting and JSON survive."""
    monkeypatch.chdir(tmp_path)
    names = {
        variable.name for variable in variables_of(Settings) if variable.default and not variable.is_secret
    }
    settings = [
        line.removeprefix("# ") for line in render().splitlines() if line[2:].partition("=")[0] in names
    ]
    assert len(settings) == len(names) > 20
    (tmp_path / ".env").write_text("\n".join(settings), encoding="utf-8")
    assert set(dotenv_values(".env")) == names
    from_file = Settings()
    (tmp_path / ".env").unlink()
    assert from_file == Settings()


@pytest.mark.process
def test_output_is_the_same_every_time(tmp_path):
    """Sets have no order of their own; the file has."""
    one = prodkit("env", cwd=tmp_path, PYTHONHASHSEED="1").stdout
    two = prodkit("env", cwd=tmp_path, PYTHONHASHSEED="2").stdout
    assert one == two
    assert one == f"{render()}\n"
