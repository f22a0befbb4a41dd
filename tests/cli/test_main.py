"""The command line as a whole: exit codes, help, errors, colour, a reader that goes away."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from pydantic import BaseModel, ValidationError

from prodkit.cli import COMMANDS, env, main
from prodkit.cli.console import Console, RefusedError
from prodkit.core.exceptions import InstallationError
from tests.cli.processes import environment

NAMES = [command.__name__.rpartition(".")[2] for command in COMMANDS]


def test_no_command_is_a_usage_error(capsys):
    """Exit code 2 says that the words made no sense, and the usage is on standard error."""
    assert main([]) == 2
    assert "usage: prodkit" in capsys.readouterr().err


def test_help_lists_every_command(capsys):
    """What there is can be found out from the command itself."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert set(NAMES) == {"budgets", "config", "env", "keys", "serve", "usage"}
    assert all(name in out for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself_with_examples(name, capsys):
    """`--help` is there everywhere, and shows a line that one can copy."""
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    assert f"  prodkit {name}" in out


@pytest.mark.parametrize("name", NAMES)
def test_options_are_never_guessed(name):
    """A shortened option is an error today, and so cannot change its meaning with a new option tomorrow."""
    assert main([name, "--traceb"]) == 2


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InstallationError("install it once"), 1, "install it once\n"),
        (RefusedError("not today"), 1, "not today\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_expected_errors_are_a_message_and_a_code(error, code, said, monkeypatch, capsys):
    """What an operator can cure is said without a traceback."""

    def fail() -> str:
        raise error

    monkeypatch.setattr(env, "render", fail)
    assert main(["env"]) == code
    assert capsys.readouterr() == ("", said)


def test_unexpected_error_is_one_line(monkeypatch, capsys):
    """A bug of ours is one line that says it is one, without what looks like a credential."""

    def fail() -> str:
        message = "broken\nwith password=hunter2 inside"
        raise ArithmeticError(message)

    monkeypatch.setattr(env, "render", fail)
    assert main(["env"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "internal error: ArithmeticError: broken with password=[redacted] inside" in err
    assert "--traceback" in err

    assert main(["env", "--traceback"]) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "hunter2" not in err


def test_error_of_pydantic_shows_no_input():
    """The settings class of an application may fail over a secret; its message would repeat it."""

    class Theirs(BaseModel):
        port: int

    with pytest.raises(ValidationError) as caught:
        Theirs.model_validate({"port": "hunter2"})
    assert "hunter2" in str(caught.value)
    line = Console.one_line(caught.value)
    assert line.startswith("ValidationError: port: Input should be a valid integer")
    assert "hunter2" not in line


@pytest.mark.process
@pytest.mark.parametrize("words", [["env"], ["config"], ["--help"]])
def test_reader_that_has_gone_is_no_error(words, tmp_path):
    """`prodkit env | head -1` ends quietly and with the code of the command."""
    command = [sys.executable, "-m", "prodkit", *words]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "variables", "coloured"),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
    ],
)
def test_colour_is_for_terminals(stream, variables, coloured, monkeypatch):
    """A file or a pipe gets plain text, and so does whoever has set NO_COLOR."""
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Console().styled("x", "bold", stream) == ("\x1b[1mx\x1b[0m" if coloured else "x")


def test_serve_without_uvicorn_names_the_extra(monkeypatch, capsys):
    """The core installs without a server; the message holds the line that adds one."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "shop:app"]) == 1
    assert "prodkit serve needs uvicorn: pip install 'fastapi-prodkit[server]'" in capsys.readouterr().err
